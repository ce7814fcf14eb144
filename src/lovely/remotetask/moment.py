"""What time it is for jobs: now, unless a test plays the clock."""

import contextlib
import contextvars
import time


# The time that a test has set, None for that of the clock.
_set = contextvars.ContextVar('_set', default=None)


def now():
    """Return the time, in POSIX seconds."""
    found = _set.get()
    return time.time() if found is None else found


@contextlib.contextmanager
def at(moment):
    """Let it be another time for a while.

    moment -- POSIX seconds; None for the time of the clock.
    """
    token = _set.set(moment)
    try:
        yield
    finally:
        _set.reset(token)
