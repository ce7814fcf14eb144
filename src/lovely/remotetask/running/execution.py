"""Run claimed jobs: each in its context, and with its own end.

This is the only path by which processors run jobs, and the test helper too.
`group` puts several into one transaction.
"""

import contextlib
import functools
import os
import random
import sys
import time

import transaction
import zope.component
import zope.interface
import zope.publisher.base
import zope.security.management
from persistent import Persistent
from ZODB.broken import Broken
from zope.component.interfaces import ISite
from zope.security.interfaces import IPrincipal

from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask.foreign import blame
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.outcome import attempt
from lovely.remotetask.foreign.outcome import failure_of
from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import undescribed
from lovely.remotetask.job import Run
from lovely.remotetask.part import parents
from lovely.remotetask.running import runlog
from lovely.remotetask.running import surroundings
from lovely.remotetask.running.gate import ProcessorStopped
from lovely.remotetask.running.refusal import CommitRefusal
from lovely.remotetask.running.refusal import is_committed
from lovely.remotetask.running.session import Session
from lovely.remotetask.running.session import opened_engine
from lovely.remotetask.running.session import opened_service
from lovely.remotetask.running.surroundings import Surroundings
from lovely.remotetask.running.surroundings import interaction


# Published here, wherever it lives.
__all__ = ['interaction', 'opened_service']

# How often bookkeeping is tried, which meets the conflicts of processors.
BOOKKEEPING_ATTEMPTS = 20
# Seconds after which it is not: then it is a server that does not answer.
BOOKKEEPING_PATIENCE = 5.0

# Bytes that a result may take whatever the limit of a service is.
SMALL = 100

# What became of a claim that was to be run.
# Its end is stored, or somebody else has the job.
ENDED = 'ended'
# The function was called, and how that ended could not be stored.
UNSTORED = 'unstored'
# The function was not called, because of what it stands on.
NOT_BEGUN = 'not begun'
# It was called, and because of what it stands on nothing could be stored.
INTERRUPTED = 'interrupted'


@zope.interface.implementer(IPrincipal)
class Nobody:
    """The principal of a job that was added without one; may do nothing."""

    id = None
    title = description = ''
    groups = ()


class ProcessorRequest(zope.publisher.base.BaseRequest):
    """The participation of a running job; by it jobs know that they are."""

    def __init__(self, principal=None):
        super().__init__(None, {})
        self.setPrincipal(Nobody() if principal is None else principal)


def is_running():
    """Return whether the caller is part of a running job.

    A hook that is called after the commit of a job is not.
    """
    if is_committed.get():
        return False
    current = zope.security.management.queryInteraction()
    return current is not None and any(
        isinstance(participation, ProcessorRequest)
        for participation in current.participations)


# One job

class Work:
    """A job that is about to be run: its task, its input, its context.

    Raise CannotRun if the installed code cannot run it.
    """

    def __init__(self, service, job):
        self.service = service
        self.job = job
        self.task = _find_task(service, job)
        # A task with a context tells by itself what does not fit.
        self.input = job.input if self._has_context() else _load_input(job)

    def context(self):
        """Return a context manager; its value does the work.

        See ITaskContext.
        """
        args = self.service, self.job.id, self.input
        if self._has_context():
            return self.task.context(*args)
        return contextlib.nullcontext(functools.partial(self.task, *args))

    def _has_context(self):
        return interfaces.ITaskContext.providedBy(self.task)


def _find_task(service, job):
    task = zope.component.queryUtility(service.taskInterface, name=job.task)
    if task is None:
        raise interfaces.CannotRun(
            f'Task {job.task!r} is not registered; register an ITask utility '
            f'of that name.')
    return task


def _load_input(job):
    outcome = attempt(_loaded, job)
    if not outcome.failed:
        _check_whole(outcome.value)
        return outcome.value
    if outcome.retryable or blame.is_interrupted(
            outcome.exception, job._p_jar.db()):
        raise outcome.exception
    raise interfaces.CannotRun(
        f'The input cannot be loaded ({outcome.errorClass}: '
        f'{outcome.error}); install the code that it was stored with, and '
        f'requeue the job.') from outcome.exception


def _check_whole(input):
    # Of a persistent object the class alone is looked at.
    if value.is_small(input) or (
            issubclass(type(input), Persistent)
            and not issubclass(type(input), Broken)):
        return
    broken = value.broken(input)
    if broken:
        raise interfaces.CannotRun(
            f'The input has objects of classes that are gone: '
            f'{", ".join(broken)}; install the code that has them, and '
            f'requeue the job.')


def _loaded(job):
    found = job.input
    activate = getattr(type(found), '_p_activate', None)
    if activate is not None:
        activate(found)
    return found


def in_this_process(call, *args):
    """Call something; if it comes back in a forked child, end that.

    The child has the parent's connections, and would go on as a second one
    that runs the job.
    """
    pid = os.getpid()
    outcome = attempt(call, *args, describe=undescribed)
    if os.getpid() != pid:
        _leave_child(outcome)
    if outcome.failed:
        raise outcome.exception
    return outcome.value


def _leave_child(outcome):
    """End a forked child as Python ends a process, but for its atexit."""
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
            attempt(_complain, code)
            code = 1
    elif outcome.failed:
        attempt(_complain, failure_of(outcome.exception).traceback)
        code = 1
    for stream in sys.stdout, sys.stderr:
        attempt(_flush, stream)
    return (code or 0) & 0xff


def _complain(text):
    print(text, file=sys.stderr)


def _flush(stream):
    # A job may have put anything there, or nothing.
    stream.flush()


def result_of(engine, call):
    """Return what a call returns, as it is read back from the database."""
    result = in_this_process(call)
    # Most are so small that no service has to be asked for its limit.
    return result if value.is_small(result, SMALL) else value.copy(
        result, engine.service._p_jar, engine.max_size(), 'the result')


def name_function(job):
    """Return what a job runs, for people: its function, or its task."""
    # An input that cannot be loaded has no name.
    found = attempt(lambda: job.input.function_name).value
    return plain(found if isinstance(found, str) else job.task, 500)


def run_job(engine, run, begin, commit):
    """Run a job in the current transaction, complete and commit it.

    engine -- an IJobExecution.
    begin -- called with service, run and the name of the function before
        that is called, in the job's context.
    commit -- called without arguments, in the job's context.

    Return the name of its function, for people.
    """
    service = engine.service
    job = engine.claimed(run.claim)
    work = Work(service, job)
    with work.context() as call:
        # The input is loaded by now, and need not be looked into apart.
        function = name_function(job)
        begin(service, run, function)
        txn = transaction.get()
        output = result_of(engine, call)
        if transaction.get() is not txn or job.fence != run.claim.fence:
            # The function has begun another transaction, or has done
            # something to its own job.
            job = engine.claimed(run.claim)
        engine.complete(job, run, output)
        commit()
    return function


def _sign(service, run, function):
    """Tell the transaction whose it is and what it does; for undo logs."""
    txn = transaction.get()
    txn.note(_storable(
        f'{service.__name__}: job {run.claim.job} {function}'))
    principal = _current_principal_id()
    if principal is not None:
        txn.user = _storable(f' {principal}')


def _storable(text):
    # Storages refuse long ones, and what is not UTF-8.
    return escaped(plain(text, 1000))


def _current_principal_id():
    current = zope.security.management.queryInteraction()
    for participation in getattr(current, 'participations', ()):
        found = attempt(lambda: str(participation.principal.id))  # noqa: B023
        if not found.failed and participation.principal.id is not None:
            return found.value
    return None


# Processors

def in_transaction(db, path, commit, call, *args):
    """Call ``call(engine, *args)`` in a transaction of its own, commit it.

    The engine is the IJobExecution of the service at a path.

    commit -- called to commit the current transaction.

    For bookkeeping: a transient error is tried again, others are raised.
    """
    end = time.monotonic() + BOOKKEEPING_PATIENCE
    for number in range(BOOKKEEPING_ATTEMPTS):
        with opened_engine(db, path) as engine:
            outcome = attempt(_call_and_commit, commit, call, engine, *args)
        if not outcome.failed:
            return outcome.value
        if not outcome.retryable or time.monotonic() > end:
            break
        # Whoever was quicker needs a moment too.
        time.sleep(random.uniform(0, min(0.1, 0.001 * 2 ** number)))
    raise outcome.exception


def _call_and_commit(commit, call, engine, *args):
    found = call(engine, *args)
    commit()
    return found


def job_context(service, name):
    """Return a context manager: the service's site, and nobody.

    name -- see Surroundings.
    """
    return Surroundings(_site_of(service), ProcessorRequest(), name)


def _site_of(service):
    return next(filter(ISite.providedBy, parents(service)), None)


class Attempt:
    """A claimed job that is run once, in a transaction of its own.

    commit -- called to commit the current transaction.
    """

    def __init__(self, db, path, claim, commit):
        self.db = db
        self.path = path
        self.run = Run(claim, moment.now())
        self.commit = commit
        # Whether the function may have been called.
        self.begun = False

    def __call__(self):
        """Run the job, and store how that went.  Return what became of it.

        The result and the effects of the job commit in one transaction.
        Where that fails, none of it stays, and what becomes of the job is
        stored in another one.
        """
        # Also what opens the session, or closes it, may fail in any way.
        outcome = attempt(surroundings.in_context, self._run_in_session)
        if not outcome.failed:
            outcome = outcome.value
        if not outcome.failed:
            runlog.completed(self.path, self.run, outcome.value)
            return ENDED
        return self.store_failure(self.judged(outcome))

    def _run_in_session(self):
        """Return an Outcome: the name of the function, or the failure."""
        session = Session(self.db)
        outcome = None
        try:
            engine = session.begin(self.path)
            with job_context(engine.service, self._name):
                self.begun = True
                # Before the session is over: its data managers can tell
                # whether an error is transient.
                outcome = attempt(
                    in_this_process, self._run_and_commit, session, engine)
            return outcome
        finally:
            session.close(clean=outcome is None or outcome.failed)

    def _run_and_commit(self, session, engine):
        refusal = CommitRefusal(session.manager)

        def commit():
            session.resume()
            session.check()
            refusal.lift()
            self.commit()
        try:
            return run_job(engine, self.run, _sign, commit)
        finally:
            session.resume()

    def _name(self):
        return runlog.name(self.path, self.run)

    def judged(self, outcome):
        """Return the outcome, and whether it is the job's own failure."""
        interrupted = outcome.failed and (
            outcome.is_a(ProcessorStopped)
            or blame.is_interrupted(outcome.exception, self.db))
        return outcome._replace(interrupted=interrupted)

    def store_failure(self, failure):
        """Store why the run failed, and let the exception go.

        Return what became of the claim.
        """
        end = self._store_and_tell(failure)
        let_go(failure.exception)
        return end

    def _store_and_tell(self, failure):
        if not self.begun:
            runlog.not_begun(self.path, self.run, failure)
            return NOT_BEGUN
        # The last resort is to store nothing of the exception itself.
        for each in (failure, failure, undescribed(failure.exception)):
            stored = self.judged(attempt(self._store, each))
            if not stored.failed or stored.interrupted:
                break
            runlog.not_stored(self.path, self.run, failure, stored)
            let_go(stored.exception)
        if stored.interrupted:
            runlog.interrupted(self.path, self.run, stored)
            return INTERRUPTED
        if stored.failed:
            return UNSTORED
        self._tell(failure, stored.value)
        return ENDED

    def _store(self, failure):
        return in_transaction(
            self.db, self.path, self.commit, _fail, self.run, failure)

    def _tell(self, failure, end):
        if end.completed:
            runlog.committed(self.path, self.run, end, failure)
        elif end.status is None:
            runlog.left_alone(self.path, self.run, failure)
        else:
            runlog.failed(self.path, self.run, end, failure)


def run_claimed(db, path, claim, commit):
    """Run a claimed job once, and store how that went.

    claim -- IClaim; if it is not good any more, nothing is done.
    commit -- called to commit the current transaction.

    Return what became of it: ENDED, UNSTORED, NOT_BEGUN or
    INTERRUPTED.  Never raise
    for what a job does.
    """
    return Attempt(db, path, claim, commit)()


def _fail(engine, run, failure):
    """Store why a run failed.  Return the runlog.End of it."""
    try:
        job = engine.claimed(run.claim)
    except interfaces.ClaimLost:
        return _look_at_end(engine, run)
    engine.fail(job, run, failure)
    return runlog.End(
        job.stored_status, name_function(job), engine.logs_messages())


def _look_at_end(engine, run):
    """Return how a job stands that is not claimed any more."""
    job = engine.service.jobs.get(run.claim.job)
    if job is None or not job.was_run_by(run.claim):
        return runlog.End(None, None)
    # What failed did so when the database had committed already.
    return runlog.End(job.stored_status, name_function(job),
                      engine.logs_messages(), True)
