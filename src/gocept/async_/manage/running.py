"""Run one job here and now, and see what it does."""

import contextlib
import sys
from typing import Any
from typing import NamedTuple

import transaction

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.retry import is_transient


# A job with one of these waits, or can be made to.
RUNNABLE = (*WAITING, STARTLATER, HELD, ERROR, CANCELLED)


class Ran(NamedTuple):
    """How a run has ended.

    status -- of the job now.
    error_class, traceback -- of the exception, None without one.
    duration -- seconds.
    """

    status: str
    error_class: str | None
    traceback: str | None
    duration: float | None

    @property
    def is_well(self) -> bool:
        """Whether the function has returned."""
        return self.error_class is None and self.status in (
            COMPLETED, CRONJOB)


def run(db: Any, find: Any, jobid: int, quiet: bool = False) -> Ran | None:
    """Run a job in the transaction of this thread, and commit that.

    find -- called with a connection, returns the ITaskService.
    quiet -- whether what the job prints goes to standard error.

    Return None if somebody else has changed the same at the same moment: then
    nothing of the run is stored.
    """
    transaction.abort()
    connection = db.open()
    try:
        transaction.begin()
        service = find(connection)
        job = service.jobs[jobid]
        if job.status in (HELD, ERROR, CANCELLED):
            # In the same transaction: no worker comes in between.
            service.requeue(jobid)
        elif job.status == STARTLATER:
            service.startJob(jobid)
        with _printed(quiet):
            service.processNext(jobid=jobid)
        found = _ran(job)
        stored = outcome_of(transaction.commit)
        if stored.exception is not None and not is_transient(stored):
            raise stored.exception
        return None if stored.failed else found
    finally:
        transaction.abort()
        connection.close()


def _printed(quiet: bool) -> Any:
    return (contextlib.redirect_stdout(sys.stderr) if quiet
            else contextlib.nullcontext())


def _ran(job: Any) -> Ran:
    history = job.history
    last = history[-1] if history else None
    return Ran(job.status, None if last is None else last.errorClass,
               outcome_of(lambda: job.traceback).value,
               None if last is None else last.duration)
