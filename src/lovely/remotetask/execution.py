"""Run one claimed job: its context, its transaction, its failure.

This is the only path by which processors run jobs, and the test helper too.
"""

import contextlib
import logging
import time
import traceback
from typing import Any
from typing import NamedTuple

import transaction
import zope.component
import zope.component.hooks
import zope.interface
import zope.publisher.base
import zope.security.management
from zope.app.publication.zopepublication import ZopePublication
from zope.component.interfaces import ISite
from zope.security.interfaces import IPrincipal

from lovely.remotetask import interfaces
from lovely.remotetask.task import TaskError


log = logging.getLogger(__name__)

# How often a job is run in all before a conflict counts as its error, and
# how often the bookkeeping around it is tried.
JOB_ATTEMPTS = 3
BOOKKEEPING_ATTEMPTS = 10


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


class Outcome(NamedTuple):
    """How a call went: either its value, or what the exception was."""

    value: Any = None
    exception: BaseException | None = None
    error: str | None = None
    errorClass: str | None = None
    traceback: str | None = None
    retryable: bool = False

    @property
    def failed(self):
        return self.exception is not None


def attempt(call, *args):
    """Call something that may fail in any way.  Return an Outcome.

    The one place that catches everything.  SystemExit too: a function that
    calls ``sys.exit()`` ends itself, not the thread that runs it.
    """
    try:
        return Outcome(call(*args))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as exception:
        return _failure(exception)


def _failure(exception):
    class_ = type(exception)
    return Outcome(
        exception=exception,
        error=_message(exception),
        errorClass=f'{class_.__module__}.{class_.__qualname__}',
        # Not format_exception: zope.testrunner replaces it by one that
        # leaves out causes.
        traceback=''.join(
            traceback.TracebackException.from_exception(exception).format()),
        # Ask first: abort drops the data managers that know the answer.
        retryable=transaction.get().isRetryableError(exception))


def _message(exception):
    # Not by `attempt`: what that catches is shown by this.
    with contextlib.suppress(Exception):
        return str(exception)
    return f'<unprintable {type(exception).__name__} object>'


@contextlib.contextmanager
def interaction(participation):
    """Replace the current interaction for a while."""
    # endInteraction and restoreInteraction cannot be nested.
    thread_local = zope.security.management.thread_local
    previous = zope.security.management.queryInteraction()
    zope.security.management.endInteraction()
    zope.security.management.newInteraction(participation)
    try:
        yield
    finally:
        zope.security.management.endInteraction()
        if previous is not None:
            thread_local.interaction = previous


def is_running():
    """Return whether the caller is part of a running job."""
    current = zope.security.management.queryInteraction()
    return current is not None and any(
        isinstance(participation, ProcessorRequest)
        for participation in current.participations)


def call_task(service, job):
    """Call the task of a job.  Return the task's result."""
    task = zope.component.queryUtility(
        service.taskInterface, name=job.task)
    if task is None:
        raise TaskError(
            f'Task {job.task!r} is not registered; register an ITask utility '
            f'of that name.')
    return task(service, job.id, job.input)


def run_in_current_transaction(service, job, now):
    """Run a claimed job; if it fails, roll back to where it began."""
    savepoint = transaction.savepoint(optimistic=True)
    outcome = attempt(call_task, service, job)
    if outcome.failed:
        savepoint.rollback()
        service.fail(job, outcome, now)
    else:
        service.complete(job, outcome.value, now)


@contextlib.contextmanager
def opened_service(db, path):
    """Open the service of that path in a new transaction, never committed.

    Raise NoSuchService if there is none.
    """
    transaction.begin()
    connection = db.open()
    try:
        yield _find_service(connection, path)
    finally:
        # Closing a connection that has joined a transaction is an error.
        transaction.abort()
        connection.close()


def _find_service(connection, path):
    found = connection.root().get(ZopePublication.root_name)
    for name in path:
        found = _step(found, name)
    if not interfaces.IJobExecution.providedBy(found):
        raise interfaces.NoSuchService(
            f'/{"/".join(path)} is no task service: {found!r}.')
    return found


def _step(location, name):
    if location is None:
        return None
    if name == '++etc++site' and ISite.providedBy(location):
        return location.getSiteManager()
    return location.get(name)


def in_transaction(db, path, commit, call, *args):
    """Call ``call(service, *args)`` in a transaction of its own, commit it.

    commit -- called to commit the current transaction.

    For bookkeeping: a transient error is tried again, others are raised.
    """
    for _ in range(BOOKKEEPING_ATTEMPTS):
        with opened_service(db, path) as service:
            outcome = attempt(_call_and_commit, commit, call, service, *args)
        if not outcome.failed:
            return outcome.value
        if not outcome.retryable:
            break
    raise outcome.exception


def _call_and_commit(commit, call, service, *args):
    value = call(service, *args)
    commit()
    return value


def run_claimed(db, path, jobid, token, commit):
    """Run a claimed job to its end: completed or in error.

    token -- of the claim; if the job is no longer claimed under it, nothing
        is done.
    commit -- called to commit the current transaction.

    The result and the effects of the job commit in one transaction.  Where
    that fails, none of it stays, and the reason is stored in another one.
    """
    prefix = f'{"/".join(path)}/{jobid}'
    started = time.monotonic()
    for number in range(1, JOB_ATTEMPTS + 1):
        outcome = _run_once(db, path, jobid, token, commit, number)
        if not outcome.retryable:
            break
        log.warning('%s: attempt %s met %s: %s',
                    prefix, number, outcome.errorClass, outcome.error)
    duration = time.monotonic() - started
    if isinstance(outcome.exception, interfaces.ClaimLost):
        log.warning('%s: left alone: %s', prefix, outcome.error)
    elif outcome.failed:
        in_transaction(db, path, commit, _fail, jobid, token, outcome, number)
        log.error('%s: failed after %.3f s\n%s',
                  prefix, duration, outcome.traceback)
    else:
        log.info('%s: completed in %.3f s', prefix, duration)


def _run_once(db, path, jobid, token, commit, number):
    with opened_service(db, path) as service, \
            zope.component.hooks.site(_site_of(service)), \
            interaction(ProcessorRequest()), \
            commit_refused() as refusal:
        return attempt(_run_and_commit, service, jobid, token, commit, number,
                       refusal)


def _run_and_commit(service, jobid, token, commit, number, refusal):
    job = service.claimed(jobid, token)
    transaction.get().note(f'{service.__name__}: job {jobid} ({job.task})')
    output = call_task(service, job)
    # Once more: the function may have aborted the transaction.
    job = service.claimed(jobid, token)
    job.attempts += number - 1
    service.complete(job, output)
    refusal.lift()
    commit()


def _fail(service, jobid, token, outcome, number):
    job = service.claimed(jobid, token)
    job.attempts += number - 1
    service.fail(job, outcome)


class _CommitRefusal:
    """Makes every commit of this thread an error, until lifted.

    A function that commits would store half of its effects under a job that
    is not completed; run again after a crash, it would store them twice.
    """

    lifted = False
    refused = None

    def lift(self):
        # The function may have swallowed the error.
        if transaction.get() is self.refused:
            self._refuse()
        self.lifted = True

    def newTransaction(self, txn):
        txn.addBeforeCommitHook(self._refuse)

    def beforeCompletion(self, txn):
        pass

    def afterCompletion(self, txn):
        # Nobody is told of the one that an abort is followed by.
        if not self.lifted:
            self.newTransaction(transaction.get())

    def _refuse(self):
        if self.lifted:
            return
        self.refused = transaction.get()
        # The hook is gone when it was called once.
        self.refused.doom()
        raise TaskError(
            'A running job must not commit: its effects are committed '
            'together with its status when the function returns. Queue '
            'further jobs, or use savepoints.')


@contextlib.contextmanager
def commit_refused():
    refusal = _CommitRefusal()
    # The manager keeps a weak reference, and tells us at once of the
    # transaction that has begun already.
    transaction.manager.registerSynch(refusal)
    try:
        yield refusal
    finally:
        transaction.manager.unregisterSynch(refusal)


def _site_of(service):
    location = service
    while location is not None and not ISite.providedBy(location):
        location = getattr(location, '__parent__', None)
    return location
