"""Whose turn it is in this process to run jobs that it may die of.

A job that was run when its process died may be to blame for that.  A service
has a worker run one such job at a time; so do all services of a process
together: else those of one would die with that of another again and again,
until they are in error.
"""

import threading
import time

from lovely.remotetask.forking import of_process


# Seconds for which the others wait.  What takes longer, and ends the process
# then, takes others along once more.
PATIENCE = 60.0


@of_process
def _begin():
    global _lock, _turn
    _lock = threading.Lock()
    # The worker whose turn it is: its id, and until when others wait, in
    # seconds of the monotonic clock.
    _turn = None


def take_turn(worker_id, now=None):
    """Return whether a worker may run one; then no other one may.

    now -- seconds of the monotonic clock.
    """
    global _turn
    now = time.monotonic() if now is None else now
    with _lock:
        if _turn is None or _turn[1] <= now:
            _turn = worker_id, now + PATIENCE
        return _turn[0] == worker_id


def has_turn(worker_id):
    """Return whether it is the turn of a worker."""
    turn = _turn
    return turn is not None and turn[0] == worker_id


def is_taken():
    """Return whether it is the turn of any."""
    return _turn is not None


def end_turn(worker_id):
    """Let others take their turn, if it was that of a worker."""
    global _turn
    with _lock:
        if has_turn(worker_id):
            _turn = None
