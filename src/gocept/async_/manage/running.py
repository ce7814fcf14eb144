"""Run one job here and now, and see what it does.

The command is a worker for that time, which has claimed this one job: others
leave it alone, it is run on the path of all jobs, and if this process dies,
the attempt is counted.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

from lovely.remotetask.foreign.outcome import in_runner
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.processor import HEARTBEAT
from lovely.remotetask.processor import MISSED_HEARTBEATS
from lovely.remotetask.running.execution import INTERRUPTED
from lovely.remotetask.running.execution import NOT_BEGUN
from lovely.remotetask.running.execution import UNSTORED
from lovely.remotetask.running.execution import opened_service
from lovely.remotetask.running.membership import Membership


# A job with one of these waits, or can be made to.
RUNNABLE = (*WAITING, STARTLATER, HELD, ERROR, CANCELLED)

# Who has run it, for people.
NAME = 'async-jobs'


class Ran(NamedTuple):
    """How a run has ended.

    status -- of the job now.
    error_class, traceback -- of the exception, None without one.
    duration -- seconds; None if it is not stored how the run has ended.
    """

    status: str
    error_class: str | None
    traceback: str | None
    duration: float | None

    @property
    def is_well(self) -> bool:
        """Whether the function has returned."""
        # A run that was lost has no error, and leaves a cron job waiting.
        return (self.error_class is None and self.duration is not None
                and self.status in (COMPLETED, CRONJOB))


def run(db: Any, path: list[str], jobid: int,
        quiet: bool = False) -> Ran | None:
    """Run a job in this thread; how it ends is stored.

    db -- the ZODB.DB with the root folder.
    path -- from there to the service.
    quiet -- whether what the job prints goes to standard error.

    Return None if it was not run: it is another one's by now, or was removed;
    or what it stands on has failed.
    """
    member = Membership(
        db, path, lambda: NAME, HEARTBEAT, MISSED_HEARTBEATS,
        lambda: {'kind': NAME, 'threads': 1})
    with _entered(member) as begun:
        claims = member.bookkeep(
            _claim, member.worker_id, jobid, member.clock.now())
        return _run(member, claims[0], begun, quiet) if claims else None


@contextlib.contextmanager
def _entered(member: Membership) -> Iterator[list[int]]:
    """Be a worker for a while, and known to others as one that lives.

    The value is a list, for the ids of jobs whose function was called: what
    is not stored of these at the end counts as lost.
    """
    member.become_another()
    member.look_at_clock()
    member.sign()
    begun: list[int] = []
    ended = threading.Event()
    beating = threading.Thread(
        target=_beat, args=(member, ended), name='heartbeat', daemon=True)
    beating.start()
    try:
        yield begun
    finally:
        ended.set()
        beating.join()
        member.leave(begun, member.gate.commit)


def _beat(member: Membership, ended: threading.Event) -> None:
    # Somebody may stand in a debugger for an hour.
    while not ended.wait(HEARTBEAT):
        # What fails now may go well the next time.
        outcome_of(member.sign)


def _claim(engine: Any, worker_id: str, jobid: int, now: float) -> Any:
    """Claim a job, whatever it waits for; make it wait if need be.

    All in one transaction: no worker comes in between.
    """
    service = engine.service
    job = service.jobs.get(jobid)
    status = None if job is None else job.status
    if status in (HELD, ERROR, CANCELLED):
        service.requeue(jobid)
    elif status == STARTLATER:
        service.startJob(jobid)
    return engine.claim_job(worker_id, jobid, now, early=True)


def _run(member: Membership, claim: Any, begun: list[int],
         quiet: bool) -> Ran | None:
    member.catch_up()
    begun.append(claim.job)
    with _printed(quiet), _interruptible():
        end = member.run(claim)
    if end == NOT_BEGUN:
        begun.clear()
        return None
    if end in (UNSTORED, INTERRUPTED):
        member.settle_lost(claim, end == INTERRUPTED)
    with opened_service(member.db, member.path) as service:
        # Not the object that was claimed: it may stand for one that could not
        # be read then.
        job = service.jobs.get(claim.job)
        return None if job is None else _ran(job)


def _printed(quiet: bool) -> Any:
    return (contextlib.redirect_stdout(sys.stderr) if quiet
            else contextlib.nullcontext())


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let the keyboard interrupt the job alone: its traceback tells where."""
    token = in_runner.set(True)
    try:
        yield
    finally:
        in_runner.reset(token)


def _ran(job: Any) -> Ran:
    history = job.history
    last = history[-1] if history else None
    return Ran(job.status, None if last is None else last.errorClass,
               outcome_of(lambda: job.traceback).value,
               None if last is None else last.duration)
