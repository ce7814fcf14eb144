"""The end of a child that a job has forked, and that comes back from there."""

import os
import sys

from lovely.remotetask.foreign.outcome import Outcome
from lovely.remotetask.foreign.outcome import failure_of
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.outcome import undescribed


WELL = Outcome()


def in_this_process(call, *args):
    """Call something; if it comes back in a forked child, end that.

    The child has the parent's connections, and would go on as a second one
    that runs the job.
    """
    pid = os.getpid()
    outcome = outcome_of(call, *args, describe=undescribed)
    end_child(pid, outcome)
    if outcome.failed:
        raise outcome.exception
    return outcome.value


def end_child(pid, outcome=WELL):
    """End this process, if it was forked by another one.

    pid -- of the process that it was when the job began, or its commit.
    outcome -- how what it has called has ended.

    As Python ends a process, but for its atexit.
    """
    if os.getpid() == pid:
        return
    code = 1
    try:
        code = _take_leave(outcome)
    finally:
        # Also where the job has left nothing to print to.
        os._exit(code)


def _take_leave(outcome):
    """Print what a child has to say at its end.  Return its exit code."""
    code = 0
    if outcome.failed and outcome.is_a(SystemExit):
        code = outcome.exception.code
        if not isinstance(code, int | None):
            outcome_of(_complain, code)
            code = 1
    elif outcome.failed:
        outcome_of(_complain, failure_of(outcome.exception).traceback)
        code = 1
    for stream in sys.stdout, sys.stderr:
        outcome_of(_flush, stream)
    return (code or 0) & 0xff


def _complain(text):
    print(text, file=sys.stderr)


def _flush(stream):
    # A job may have put anything there, or nothing.
    stream.flush()
