"""What time it is for jobs: now, unless a test plays the clock."""

import contextlib
import contextvars
import time
from collections.abc import Iterator

from lovely.remotetask.number import check_time


# Seconds by which a clock may differ from that of the storage.
FAR = 60.0

# The time that a test has set, None for that of the clock.
_set: contextvars.ContextVar[float | None] = contextvars.ContextVar(
    '_set', default=None)

# Seconds by which the clock of this machine is known to be ahead.
_ahead = contextvars.ContextVar('_ahead', default=0.0)


def now(at_least: float = 0.0) -> float:
    """Return the time, in POSIX seconds.

    at_least -- when something has happened that lies in the past: a clock that
        is behind this by more than FAR is not believed.
    """
    found = _set.get()
    if found is not None:
        return found
    shown = time.time() - _ahead.get()
    return at_least if shown < at_least - FAR else shown


def given(seconds: float | None) -> float:
    """Return a time that a caller gave, checked; the time now for None.

    Raise ValueError or TypeError for what is no time.
    """
    return now() if seconds is None else check_time(seconds)


@contextlib.contextmanager
def corrected(ahead: float) -> Iterator[None]:
    """Correct the clock for a while.

    ahead -- seconds by which it is known to be.
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
