"""Running jobs in the transaction of the caller, who has no processor."""

import transaction

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.job import Claim
from lovely.remotetask.job import Run
from lovely.remotetask.job import direct_run
from lovely.remotetask.running import registry
from lovely.remotetask.running.events import name_of
from lovely.remotetask.running.execution import Work
from lovely.remotetask.running.execution import result_of
from lovely.remotetask.running.execution import span_of
from lovely.remotetask.running.leftover import left_in
from lovely.remotetask.running.leftover import watching
from lovely.remotetask.running.refusal import COMMITTED
from lovely.remotetask.running.refusal import is_part_of_run
from lovely.remotetask.storage.current import FAILED
from lovely.remotetask.task import TaskError


def check_caller():
    """Raise TaskError in a job that runs.

    What that had run would be rolled back with it, and not be counted.
    """
    if is_part_of_run() or direct_run.get() != (None, None):
        raise TaskError(
            'A running job must not run other jobs in its own transaction. '
            'Leave them to a processor, or call their functions.')


def process(engine, job, now):
    """Run a job that was claimed, or taken; see ITaskService.processNext.

    engine -- the IJobExecution of its service.
    now -- POSIX seconds.

    Return whether it was run, now or before.
    """
    if job.status not in (*WAITING, PROCESSING):
        return job.status == COMPLETED
    claim = job.claim or Claim(
        job.id, '', registry.identity(), now, job.attempts + 1,
        job.fence, job.stored_status)
    _run(engine, job, claim, now)
    if claim.worker:
        engine.settle(claim.worker, [job.id])
    else:
        engine.put_back(job, claim.counted, now)
    return True


def _run(engine, job, claim, now):
    """Run a claimed job; if it fails, roll back to where it began."""
    run = Run(claim, now)
    callers = CallersTransaction(_manager(job))
    token = direct_run.set((job.store, claim))
    try:
        outcome = outcome_of(_call_task, engine, job, run)
        callers.take_back(job, outcome)
    finally:
        direct_run.reset(token)
    if outcome.failed:
        engine.fail(job, run, outcome, now)
        let_go(outcome.exception)
    else:
        engine.complete(job, run, outcome.value, now)


class CallersTransaction:
    """The transaction of a caller as it is before a job is run in it."""

    def __init__(self, manager):
        self._manager = manager
        self._txn = manager.get()
        self._was_doomed = self._txn.isDoomed()
        self._left = left_in(self._txn)
        self._watching = watching(manager)
        self._savepoint = manager.savepoint(optimistic=True)

    def take_back(self, job, outcome):
        """Roll back what a job has done that has failed.

        outcome -- Outcome of the run.

        Raise CannotRollBack, or TaskError, if the caller has to abort.
        """
        if (self._manager.get() is not self._txn
                and self._txn.status != COMMITTED):
            _raise_aborted(job, outcome)
        if outcome.failed and outcome_of(self._savepoint.rollback).failed:
            # A data manager cannot undo what the job has told it.
            _refuse(job, outcome, 'has failed, and its transaction has data '
                    'managers without savepoints')
        if outcome.failed and self._has_more():
            _refuse(job, outcome, 'has failed, and has left hooks or '
                    'synchronizers in its transaction')
        if not self._was_doomed and _is_lost(self._manager.get()):
            _refuse(job, outcome, 'has doomed its transaction')

    def _has_more(self):
        """Return whether more works at the commit than did before."""
        return (left_in(self._txn) != self._left
                or not watching(self._manager) <= self._watching)


def _is_lost(txn):
    """Return whether a transaction can only be aborted."""
    return txn.isDoomed() or txn.status == FAILED


def _refuse(job, outcome, why):
    raise interfaces.CannotRollBack(
        f'Job {job.id} {why}; abort it, and let a processor run the job.'
    ) from outcome.exception


def _raise_aborted(job, outcome):
    raise TaskError(
        f'Job {job.id} has aborted the transaction of its caller: what that '
        f'had changed is lost, and nothing is stored of the job. Let a '
        f'processor run it, in a transaction of its own.'
    ) from outcome.exception


def _manager(job):
    return (transaction.manager if job._p_jar is None
            else job._p_jar.transaction_manager)


def _call_task(engine, job, run):
    service = engine.service
    with (Work(service, job).context() as call,
          span_of(service, job, run, name_of(job))):
        return result_of(engine, call)
