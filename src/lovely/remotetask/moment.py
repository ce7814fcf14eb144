"""What time it is for jobs: now, unless a test plays the clock."""

import contextlib
import contextvars
import time
from collections.abc import Iterator

from lovely.remotetask.number import check_time


# The time that a test has set, None for that of the clock.
_set: contextvars.ContextVar[float | None] = contextvars.ContextVar(
    '_set', default=None)

# Seconds by which the clock of this machine is known to be ahead.
_ahead = contextvars.ContextVar('_ahead', default=0.0)


def now() -> float:
    """Return the time, in POSIX seconds."""
    found = _set.get()
    return time.time() - _ahead.get() if found is None else found


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
