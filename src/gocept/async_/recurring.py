"""What goes wrong again and again: when to try again, and when to say so."""

import logging
import threading
import time
from collections.abc import Callable

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import Pauses


class Complaint:
    """One line of the log for what happens often.

    It is written at once, then after intervals that grow from ten seconds to
    an hour.

    log -- a method of a logger.
    """

    def __init__(self, log: Callable[..., object],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._pauses = Pauses(10.0, 3600.0)
        self._due: float | None = None
        self._unsaid = 0
        # Many threads may meet the same.
        self._lock = threading.Lock()

    def say(self, text: str, *args: object) -> None:
        """Write the line, with its arguments, unless it was written lately."""
        now = self._clock()
        with self._lock:
            if self._due is not None and now < self._due:
                self._unsaid += 1
                return
            unsaid, self._unsaid = self._unsaid, 0
            self._due = now + self._pauses.next()
        more = f' ({unsaid} times more since it was said)' if unsaid else ''
        self._log(f'{text}%s', *args, more)

    def end(self) -> bool:
        """End the complaint.  Return whether there was a complaint."""
        with self._lock:
            was = self._due is not None
            self._due = None
            self._unsaid = 0
            self._pauses.reset()
        return was


class Trial:
    """Something that is tried again and again, and may fail.

    call -- without arguments.
    what -- str, what it does, for "cannot ...".
    log -- a logger.
    pauses -- Pauses, after failures.
    """

    def __init__(self, call: Callable[[], object], what: str,
                 log: logging.Logger, pauses: Pauses) -> None:
        self._call = call
        self._what = what
        self._log = log
        self._pauses = pauses
        self._complaint = Complaint(log.error)
        self._due = float('-inf')

    def run(self, now: float) -> None:
        """Try it, unless it has failed lately.

        now -- monotonic time.
        """
        if now < self._due:
            return
        outcome = outcome_of(self._call)
        if outcome.failed:
            self._due = now + self._pauses.next()
            self._complaint.say('cannot %s: %s', self._what, outcome.error)
        elif self._complaint.end():
            self._pauses.reset()
            self._log.info('can %s again', self._what)
