"""What time it is for jobs: now, unless a test plays the clock."""

import contextlib
import contextvars
import time
from collections.abc import Callable
from collections.abc import Iterator

from lovely.remotetask.number import check_time


# Seconds by which a clock may differ from that of the storage.
FAR = 60.0

# The time that a test has set, None for that of the clock.
_set: contextvars.ContextVar[float | None] = contextvars.ContextVar(
    '_set', default=None)

# Returns the seconds by which the clock of this machine is known to be ahead;
# None: nobody knows of any.
_ahead: contextvars.ContextVar[Callable[[], float] | None] = (
    contextvars.ContextVar('_ahead', default=None))


def now(at_least: float = 0.0) -> float:
    """Return the time, in POSIX seconds.

    at_least -- when something has happened that lies in the past: a clock that
        is behind this by more than FAR is not believed.
    """
    found = _set.get()
    if found is not None:
        return found
    ahead = _ahead.get()
    shown = time.time() - (0.0 if ahead is None else ahead())
    return at_least if shown < at_least - FAR else shown


def given(seconds: float | None) -> float:
    """Return a time that a caller gave, checked; the time now for None.

    Raise ValueError or TypeError for what is no time.
    """
    return now() if seconds is None else check_time(seconds)


@contextlib.contextmanager
def corrected(ahead: Callable[[], float]) -> Iterator[None]:
    """Correct the clock for a while.

    ahead -- returns the seconds by which it is known to be.  It is called each
        time: somebody may set the clock meanwhile.
    """
    token = _ahead.set(ahead)
    try:
        yield
    finally:
        _ahead.reset(token)


@contextlib.contextmanager
def at(moment: float | None) -> Iterator[None]:
    """Let it be another time for a while.

    moment -- POSIX seconds; None for the time of the clock.
    """
    token = _set.set(moment)
    try:
        yield
    finally:
        _set.reset(token)
