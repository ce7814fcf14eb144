"""Which jobs were sent to the broker, and which messages got lost."""

import time
from collections.abc import Iterable
from typing import NamedTuple


# While there are messages in the broker, that of a job is most likely among
# them: it is taken for lost so many times later.
PATIENCE_IN_QUEUE = 30

# Seconds until a job is sent once more at the latest.
RESEND_AT_LAST = 300.0

# Seconds until it is forgotten that a job was sent.
FORGET = 2 * RESEND_AT_LAST


class Waiting(NamedTuple):
    """A job that could be claimed now.

    key -- its id and the number of attempts: each one is sent anew.
    address -- see processor.address.
    since -- POSIX seconds.
    scheduled -- whether it waited for that time, and so nobody sent it.
    """

    key: tuple
    address: dict
    since: float
    scheduled: bool


class Sent:
    """What one worker has sent, and remembers.

    patience -- seconds after which a message is taken for lost.
    """

    def __init__(self) -> None:
        self.patience = 0.0
        # By key, when the job was sent (monotonic seconds), and how many times
        # the patience it is given until it is sent again.
        self._sent: dict[tuple, tuple[float, float]] = {}

    def be_patient(self, resend_after: float, messages: int) -> None:
        """Take in how many messages there are in the queue."""
        self.patience = resend_after * (PATIENCE_IN_QUEUE if messages else 1)

    def is_lost(self, waiting: Waiting, now: float) -> bool:
        """Return whether to send a job.

        now -- POSIX seconds.
        """
        if waiting.key in self._sent:
            sent, factor = self._sent[waiting.key]
            return time.monotonic() - sent >= min(
                factor * self.patience, RESEND_AT_LAST)
        return waiting.scheduled or now - waiting.since >= self.patience

    def remember(self, sent: Iterable[Waiting]) -> None:
        """Remember what was sent; each time, it is given twice as long."""
        now = time.monotonic()
        # A job that has not been asked for again for long was run.
        self._sent = {key: found for key, found in self._sent.items()
                      if now - found[0] < FORGET}
        for each in sent:
            _, factor = self._sent.get(each.key, (None, 0.5))
            self._sent[each.key] = now, 2 * factor
