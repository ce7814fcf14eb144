"""What is done again and again, and may fail by itself.

After a failure it is tried again after a pause that grows.  The log is told at
once, and then after times that grow: a database that is away for an hour
need not fill it.
"""

import threading
import time
from collections.abc import Hashable

from lovely.remotetask import retry
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.outcome import Outcome


# Seconds until something that failed is tried again, at first and at most.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0

# Seconds until the log is told again, at first and at most.
FIRST_SILENCE = 10.0
LONGEST_SILENCE = 3600.0

# So many kinds of failures are told of at once, within one such time.
KINDS = 5

# So much of what an exception says is shown.
REASON_SIZE = 300


class Pauses(retry.Pauses):
    """Those of a duty; not all that fail wait equally long.

    most -- the longest one.
    """

    def __init__(self, most: float | None = None) -> None:
        super().__init__(
            FIRST_PAUSE, LONGEST_PAUSE if most is None else most, 0.5)


class Duty:
    """Something that is done again and again.

    what -- str: what cannot be done while it fails.
    interval -- seconds from one time to the next.
    most -- the longest pause after a failure; LONGEST_PAUSE by default.
    due -- when to do it next, in seconds of the monotonic clock.
    """

    def __init__(self, what: str, interval: float = 0.0,
                 most: float | None = None) -> None:
        self.what = what
        self.interval = interval
        self.due = float('-inf')
        self._pauses = Pauses(most)
        # Why it failed, None while it does not; since when; and after how
        # many seconds others are to know.
        self._reason: str | None = None
        self._since = 0.0
        self._patience = 0.0
        # When the log may be told again, and how long it is not.
        self._quiet_until = float('-inf')
        self._silences = retry.Pauses(FIRST_SILENCE, LONGEST_SILENCE)
        self._silence = self._silences.next()
        self._kinds: set[Hashable] = set()
        self._told = False
        # All runners of a processor have one duty.
        self._lock = threading.Lock()

    def is_due(self, now: float) -> bool:
        """Return whether it is time to do it."""
        return now >= self.due

    def has_ended(self, now: float) -> bool:
        """Take it for done.

        Return whether the log is to be told that it can be done again.
        """
        with self._lock:
            self.due = now + self.interval
            if self._reason is None:
                return False
            self._reason = None
            self._pauses.reset()
            told, self._told = self._told, False
            return told

    def has_failed(self, now: float, reason: str, kind: Hashable = None,
                   patience: float = 0.0) -> bool:
        """Take it for failed.

        reason -- str, for people.
        kind -- what tells this from failures for other reasons.
        patience -- seconds for which it may fail before others are to know.

        Return whether the log is to be told.
        """
        with self._lock:
            # What is done seldom is not tried more often because it fails.
            self.due = now + max(self._pauses.next(), self.interval)
            if self._reason is None:
                self._since = now
            self._reason, self._patience = reason, patience
            return now - self._since >= patience and self._is_news(now, kind)

    def _is_news(self, now: float, kind: Hashable) -> bool:
        if now >= self._quiet_until:
            if now - self._quiet_until > self._silence:
                # The duty has gone well for long enough: the silences are
                # short again.
                self._silences.reset()
                self._silence = self._silences.next()
            self._kinds = set()
            self._quiet_until = now + self._silence
            self._silence = self._silences.next()
        elif kind in self._kinds or len(self._kinds) == KINDS:
            return False
        self._kinds.add(kind)
        self._told = True
        return True

    @property
    def is_failing(self) -> bool:
        """Whether it has failed, and not succeeded since."""
        return self._reason is not None

    @property
    def trouble(self) -> str | None:
        """A sentence on why it cannot be done now, or None."""
        reason, since = self._reason, self._since
        if (reason is None
                or self._patience and
                time.monotonic() - since < self._patience):
            return None
        return f'cannot {self.what}: {reason}'


def reason_of(outcome: Outcome) -> str:
    """Return why a call failed, on one line and never empty.

    outcome -- a failed Outcome.
    """
    return escaped(plain(
        f'{outcome.errorClass}: {outcome.error or "(no message)"}',
        REASON_SIZE))
