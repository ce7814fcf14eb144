"""Run claimed jobs: each in its context, and with its own end.

This is the only path by which processors run jobs, and the test helper too.
`group` puts several into one transaction.
"""

import contextlib
import functools

import transaction
import zope.component
from persistent import Persistent
from ZODB.broken import Broken

from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask.foreign import blame
from lovely.remotetask.foreign import reference
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.outcome import undescribed
from lovely.remotetask.job import Run
from lovely.remotetask.job import direct_run
from lovely.remotetask.retry import Pauses
from lovely.remotetask.retry import again
from lovely.remotetask.running import events
from lovely.remotetask.running import runlog
from lovely.remotetask.running import signature
from lovely.remotetask.running import surroundings
from lovely.remotetask.running import tracing
from lovely.remotetask.running.child import in_this_process
from lovely.remotetask.running.events import name_of
from lovely.remotetask.running.gate import ProcessorStopped
from lovely.remotetask.running.refusal import CommitRefusal
from lovely.remotetask.running.refusal import is_behind_commit
from lovely.remotetask.running.refusal import is_part_of_run
from lovely.remotetask.running.server import server
from lovely.remotetask.running.session import Session
from lovely.remotetask.running.session import opened_engine
from lovely.remotetask.running.session import opened_service
from lovely.remotetask.running.surroundings import ProcessorRequest
from lovely.remotetask.running.surroundings import Surroundings
from lovely.remotetask.running.surroundings import interaction


# Published here, wherever it lives.
__all__ = [
    'ProcessorRequest', 'in_this_process', 'interaction', 'opened_service']

# How often bookkeeping is tried, which meets the conflicts of processors.
BOOKKEEPING_ATTEMPTS = 20
# Seconds after which it is not: then it is a server that does not answer.
BOOKKEEPING_PATIENCE = 5.0
# Seconds in between, at first and at most, and how much shorter they may be:
# bookkeeping is short, and those whom it meets are done soon.
BOOKKEEPING_PAUSES = 0.001, 0.1, 1.0

# What became of a claim that was to be run.
# Its end is stored, or somebody else has the job.
ENDED = 'ended'
# The function was called, and how that ended could not be stored.
UNSTORED = 'unstored'
# The function was not called, because of what it stands on.
NOT_BEGUN = 'not begun'
# It was called, and because of what it stands on nothing could be stored.
INTERRUPTED = 'interrupted'


def is_running():
    """Return whether the caller is part of a running job.

    A hook that is called after the commit of a job is not.
    """
    return is_part_of_run() or not is_behind_commit() and server().is_in_job()


class Ended(str):
    """ENDED, of a job that is at rest.

    rest -- see IJobExecution.complete.
    """

    def __new__(cls, rest):
        self = super().__new__(cls, ENDED)
        self.rest = rest
        return self


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
    outcome = outcome_of(_loaded, job)
    if not outcome.failed:
        _check_whole(outcome.value)
        return outcome.value
    if outcome.retryable or blame.is_interrupted(
            outcome.exception, job._p_jar.db()):
        raise outcome.exception
    raise interfaces.CannotRun(
        f'The input cannot be loaded ({value.reason(outcome)}); install the '
        f'code that it was stored with, and requeue the job.'
    ) from outcome.exception


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
    if issubclass(type(found), Persistent):
        loaded = reference.load(found)
        if loaded.failed:
            raise loaded.exception
    return found


def result_of(engine, call):
    """Return what a call returns, as it is read back from the database."""
    result = in_this_process(call)
    # Most are so small that no service has to be asked for its limit.
    return result if value.is_small(result, value.SMALL) else value.copy(
        result, engine.service._p_jar, engine.max_size(), 'the result')


def run_job(engine, run, begin, commit):
    """Run a job in the current transaction, complete and commit it.

    engine -- an IJobExecution.
    begin -- called with service, run and the name of the function before
        that is called, in the job's context.
    commit -- called without arguments, in the job's context.

    Return the runlog.End of it.
    """
    service = engine.service
    job = engine.claimed(run.claim)
    if run.claim.seat is not None:
        # No worker record tells yet that the job is being run; in the context
        # of the run, which ends with it, this does.
        direct_run.set((job.store, run.claim))
    work = Work(service, job)
    with work.context() as call:
        # The input is loaded by now, and need not be looked into apart.
        function = name_of(job)
        waited = waited_of(job, run)
        begin(service, run, function)
        with span_of(service, job, run, function):
            status, rest = _call_and_commit_job(
                engine, job, run, call, commit)
    return runlog.End(status, function, rest=rest, waited=waited)


def _call_and_commit_job(engine, job, run, call, commit):
    """Return the status of the job then, and its Rest."""
    txn = transaction.get()
    output = result_of(engine, call)
    if transaction.get() is not txn or job.fence != run.claim.fence:
        # The function has begun another transaction, or has done something to
        # its own job.
        job = engine.claimed(run.claim)
    rest = engine.complete(job, run, output)
    status = job.stored_status
    commit()
    return status, rest


def span_of(service, job, run, function):
    """Return a context manager: the Span of a run."""
    return tracing.Span(service.__name__, function, run, job.trace,
                        job.recurring)


def waited_of(job, run):
    """Return for how many seconds a job has waited since it was due.

    None where that is not known: it was changed since it was added.
    """
    since = job.due
    if since is None and not (job.attempts or job.note is not None):
        since = job.created.timestamp()
    return None if since is None else max(0.0, run.started - since)


def _sign(service, run, function):
    signature.sign(
        transaction.get(),
        f'{service.__name__}: job {run.claim.job} {function}',
        server().user_id())


# Processors

def in_transaction(db, path, commit, call, *args):
    """Call ``call(engine, *args)`` in a transaction of its own, commit it.

    The engine is the IJobExecution of the service at a path.

    commit -- called to commit the current transaction.

    For bookkeeping: a transient error is tried again, others are raised.
    """
    def once():
        with opened_engine(db, path, explicit=True) as engine:
            return outcome_of(_call_and_commit, commit, call, engine, *args)
    return again(once, BOOKKEEPING_ATTEMPTS, Pauses(*BOOKKEEPING_PAUSES),
                 BOOKKEEPING_PATIENCE)


def _call_and_commit(commit, call, engine, *args):
    found = call(engine, *args)
    commit()
    return found


def job_context(service, name):
    """Return a context manager: the service's site, and nobody.

    name -- see Surroundings.
    """
    return Surroundings(server().around_job(service), name)


class Execution:
    """A claimed job that is run once, in a transaction of its own.

    commit -- called to commit the current transaction.
    """

    def __init__(self, db, path, claim, commit):
        self.db = db
        self.path = path
        self.run = Run(claim, moment.now())
        self._commit = commit
        # What the gate has raised; a job may raise another one of its class.
        self._stopped = None
        # Whether the function may have been called; and whether the process
        # could open files then, which is asked from the second attempt on.
        self.begun = self.was_able = False

    def __call__(self):
        """Run the job, and store how that went.  Return what became of it.

        The result and the effects of the job commit in one transaction.
        Where that fails, none of it stays, and what becomes of the job is
        stored in another one.
        """
        # Also what opens the session, or closes it, may fail in any way.
        outcome = outcome_of(surroundings.in_context, self._run_in_session)
        if not outcome.failed:
            outcome = outcome.value
        if not outcome.failed:
            self.tell_of_end(outcome.value)
            return Ended(outcome.value.rest)
        return self.store_failure(self.judged(outcome))

    def _run_in_session(self):
        """Return an Outcome: the End, or the failure."""
        session = Session(self.db)
        outcome = None
        try:
            engine = session.begin(self.path)
            engine.admit(self.run.claim)
            with job_context(engine.service, self._name):
                self.was_able = self.run.claim.attempt > 1 and blame.is_able()
                self.begun = True
                # Before the session is over: its data managers can tell
                # whether an error is transient.
                outcome = outcome_of(
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
            session.confirm()
        try:
            end = run_job(engine, self.run, self._begin, commit)
            return end._replace(aborted=refusal.was_aborted)
        finally:
            session.resume()

    def commit(self):
        """Commit the current transaction; ProcessorStopped if that is late."""
        try:
            self._commit()
        except ProcessorStopped as stopped:
            self._stopped = stopped
            raise

    def _begin(self, service, run, function):
        _sign(service, run, function)
        self.tell_of_begin(function)

    def begin_in_group(self, service, run, function):
        """As `run_job` calls it; the transaction belongs to several jobs."""
        self.tell_of_begin(function)

    def _name(self):
        return runlog.name(self.path, self.run)

    def judged(self, outcome):
        """Return the outcome, and whether it is the job's own failure."""
        interrupted = outcome.failed and (
            outcome.exception is self._stopped
            or blame.is_interrupted(outcome.exception, self.db))
        return outcome._replace(
            interrupted=interrupted,
            exhausts=interrupted and self.was_able
            and blame.is_exhausted(outcome.exception))

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
            stored = self.judged(outcome_of(self._store, each))
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
        if end.status is None:
            runlog.left_alone(self.path, self.run, failure)
        else:
            self.tell_of_end(end, failure)

    # Events

    def tell_of_begin(self, function):
        """Say that the function is about to be called."""
        if events.is_wanted(events.JobBegan):
            events.send(events.JobBegan(*self._described(function)))

    def tell_of_end(self, end, failure=None):
        """Say how the run has ended.

        end -- runlog.End.
        failure -- Outcome; None without one.
        """
        kind = events.JobRetried if end.retried else events.JobEnded
        texts = failure and events.texts_of(failure, not end.messages)
        events.send(kind(
            *self._described(end.function), moment.now() - self.run.started,
            end.status, texts, failure is None or end.completed,
            end.aborted, end.waited, self.run.claim.worker))

    def _described(self, function):
        claim = self.run.claim
        return (tuple(self.path), claim.job, function, claim.attempt,
                claim.processor)


def run_claimed(db, path, claim, commit):
    """Run a claimed job once, and store how that went.

    claim -- IClaim; if it is not good any more, nothing is done.
    commit -- called to commit the current transaction.

    Return what became of it: ENDED, UNSTORED, NOT_BEGUN or
    INTERRUPTED.  Never raise
    for what a job does.
    """
    return Execution(db, path, claim, commit)()


def _fail(engine, run, failure):
    """Store why a run failed.  Return the runlog.End of it."""
    try:
        job = engine.claimed(run.claim)
    except interfaces.ClaimLost:
        return _look_at_end(engine, run)
    waited = waited_of(job, run)
    engine.fail(job, run, failure)
    # What a cron job does at its next time is no other attempt.
    retried = job.stored_status in interfaces.WAITING and bool(job.attempts)
    return runlog.End(job.stored_status, name_of(job),
                      engine.logs_messages(), retried=retried, waited=waited)


def _look_at_end(engine, run):
    """Return how a job stands that is not claimed any more."""
    job = engine.service.jobs.get(run.claim.job)
    if job is None or not job.was_run_by(run.claim):
        return runlog.End(None, None)
    # What failed did so when the database had committed already.
    return runlog.End(job.stored_status, name_of(job),
                      engine.logs_messages(), True)
