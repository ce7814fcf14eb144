"""Run one claimed job: its context, its transaction, its failure.

This is the only path by which processors run jobs, and the test helper too.
"""

import contextlib
import logging
import random
import time

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
from lovely.remotetask.outcome import attempt
from lovely.remotetask.refusal import commit_refused


log = logging.getLogger(__name__)

# The status of such a transaction, see ITransaction.
COMMITTED = 'Committed'

# How often bookkeeping is tried, which meets the conflicts of processors.
BOOKKEEPING_ATTEMPTS = 20



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


@contextlib.contextmanager
def interaction(*participations):
    """Replace the current interaction for a while."""
    # endInteraction and restoreInteraction cannot be nested.
    thread_local = zope.security.management.thread_local
    previous = zope.security.management.queryInteraction()
    zope.security.management.endInteraction()
    zope.security.management.newInteraction(*participations)
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
        raise interfaces.CannotRun(
            f'Task {job.task!r} is not registered; register an ITask utility '
            f'of that name.')
    return task(service, job.id, job.input)


def run_in_current_transaction(service, job, claim, now):
    """Run a claimed job; if it fails, roll back to where it began."""
    savepoint = transaction.savepoint(optimistic=True)
    job.begin(claim, now)
    outcome = attempt(call_task, service, job)
    if outcome.failed:
        savepoint.rollback()
        job.begin(claim, now)
        service.fail(job, outcome, now)
    else:
        service.complete(job, outcome.value, now)


@contextlib.contextmanager
def opened_service(db, path):
    """Open the service of that path in a new transaction.

    It is aborted at the end, unless it was committed.

    Raise NoSuchService if there is none.
    """
    txn = transaction.begin()
    connection = db.open()
    try:
        yield _find_service(connection, path)
    finally:
        # Closing a connection that has joined a transaction is an error.
        # After a commit it has not, and would only ask the storage for news.
        if txn.status != COMMITTED:
            transaction.abort()
        connection.close()


def _find_service(connection, path):
    found = connection.root().get(ZopePublication.root_name)
    for name in path:
        found = _step(found, name)
    if not interfaces.IJobExecution.providedBy(found):
        raise interfaces.NoSuchService(
            f'{"/" + "/".join(path)!r} is no task service: {found!r}.')
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
    for number in range(BOOKKEEPING_ATTEMPTS):
        with opened_service(db, path) as service:
            outcome = attempt(_call_and_commit, commit, call, service, *args)
        if not outcome.failed:
            return outcome.value
        if not outcome.retryable:
            break
        # Whoever was quicker needs a moment too.
        time.sleep(random.uniform(0, min(0.1, 0.001 * 2 ** number)))
    raise outcome.exception


def _call_and_commit(commit, call, service, *args):
    value = call(service, *args)
    commit()
    return value


def run_claimed(db, path, claim, commit):
    """Run a claimed job once, and store how that went.

    claim -- IClaim; if it is not good any more, nothing is done.
    commit -- called to commit the current transaction.

    The result and the effects of the job commit in one transaction.  Where
    that fails, none of it stays, and what becomes of the job is stored in
    another one.
    """
    started = time.time()
    with _job_context(db, path) as (service, refusal):
        outcome = attempt(
            _run_and_commit, service, claim, commit, started, refusal)
    if outcome.failed:
        _store_failure(db, path, claim, outcome, commit, started)
    else:
        _log_success(path, claim, outcome.value, started)


def _store_failure(db, path, claim, failure, commit, started):
    """Store why a run failed; the job is what becomes of it then."""
    status = function = None
    if _has_lost_database(db, failure.exception):
        failure = failure._replace(retryable=True)
    if not isinstance(failure.exception, interfaces.ClaimLost):
        status, function = in_transaction(
            db, path, commit, _fail, claim, failure, started)
    if status is None:
        _log_run(logging.WARNING, path, claim, function,
                 'left alone, somebody else has the job: %s', failure.error)
    else:
        _log_failure(path, claim, function, status, failure, started)


def _has_lost_database(db, exception):
    """Return whether an exception says that the database went away.

    ZEO has a transient one for that.  RelStorage lets those of its driver
    through, of which nobody else knows that they are.

    db -- any of the databases of the application; all of them count.
    """
    return any(isinstance(exception, _disconnected_exceptions(each.storage))
               for each in db.databases.values())


def _disconnected_exceptions(storage):
    driver = getattr(getattr(storage, '_adapter', None), 'driver', None)
    return getattr(driver, 'disconnected_exceptions', ())


class _RunAlone(Exception):
    """The jobs of a group must be run one by one."""


def run_group(db, path, claims, commit):
    """Run several short jobs in one transaction.

    A job that fails is rolled back alone and handled alone.  If the
    transaction cannot be committed, all are run again one by one.
    """
    started = time.time()
    failed = []
    with _job_context(db, path) as (service, refusal):
        outcome = attempt(_run_group_and_commit, service, claims, commit,
                          started, refusal, failed)
    if outcome.failed:
        log.warning('%s: %s jobs are run again one by one: %s: %s',
                    '/'.join(path), len(claims), outcome.errorClass,
                    outcome.error)
        for claim in claims:
            run_claimed(db, path, claim, commit)
        return
    for claim, function in outcome.value:
        _log_success(path, claim, function, started)
    for claim, failure in failed:
        _store_failure(db, path, claim, failure, commit, started)


def _run_group_and_commit(service, claims, commit, started, refusal, failed):
    """Return pairs: the claim and the function of what was completed."""
    completed = []
    txn = transaction.get()
    txn.note(f'{service.__name__}: {len(claims)} jobs')
    for claim in claims:
        savepoint = transaction.savepoint(optimistic=True)
        outcome = attempt(_run_job, service, claim, started)
        if transaction.get() is not txn or outcome.retryable:
            # A function has aborted what others did, or a conflict has made
            # this snapshot worthless.
            raise _RunAlone(outcome.error)
        if outcome.failed:
            savepoint.rollback()
            failed.append((claim, outcome))
        else:
            completed.append((claim, outcome.value))
    refusal.lift()
    commit()
    return completed


def _run_job(service, claim, started):
    """Run a job.  Return the name of its function, or task, for the log."""
    txn = transaction.get()
    job = _begun(service, claim, started)
    function = _function_of(job)
    output = call_task(service, job)
    if transaction.get() is not txn:
        # The function has aborted the transaction; this one is another.
        job = _begun(service, claim, started)
    service.complete(job, output)
    return function


def _function_of(job):
    # An input that cannot be loaded has no name, either.
    found = attempt(getattr, job.input, 'function_name', None)
    return found.value or job.task


def _log_run(level, path, claim, function, text, *args):
    """Say something of a run, and what it is, also as fields of the record.

    The fields, for formatters: `service` (its path), `job` (its id),
    `function` and `attempt`.
    """
    service = '/'.join(path)
    log.log(level, f'%s/%s: {text}', service, claim.job, *args, extra={
        'service': service, 'job': claim.job, 'function': function,
        'attempt': claim.attempt})


def _log_success(path, claim, function, started):
    _log_run(logging.INFO, path, claim, function,
             'completed in %.3f s (%s, attempt %s)',
             time.time() - started, function, claim.attempt)


def _log_failure(path, claim, function, status, failure, started):
    run = time.time() - started, function, claim.attempt
    if status == interfaces.ERROR:
        _log_run(logging.ERROR, path, claim, function,
                 'failed after %.3f s (%s, attempt %s)\n%s',
                 *run, failure.traceback)
    else:
        _log_run(logging.WARNING, path, claim, function,
                 '%s after %.3f s (%s, attempt %s), now %s: %s',
                 failure.errorClass, *run, status, failure.error)


@contextlib.contextmanager
def _job_context(db, path):
    """Open a service as jobs find it; yield it and the commit refusal."""
    with opened_service(db, path) as service, \
            zope.component.hooks.site(_site_of(service)), \
            interaction(ProcessorRequest()), \
            commit_refused() as refusal:
        yield service, refusal


def _run_and_commit(service, claim, commit, started, refusal):
    transaction.get().note(f'{service.__name__}: job {claim.job}')
    function = _run_job(service, claim, started)
    refusal.lift()
    commit()
    return function


def _begun(service, claim, started):
    job = service.claimed(claim)
    job.begin(claim, started)
    return job


def _fail(service, claim, outcome, started):
    """Return the status the job has then, and what its function is called.

    None twice if somebody else has it.
    """
    try:
        job = _begun(service, claim, started)
    except interfaces.ClaimLost:
        return None, None
    service.fail(job, outcome)
    return job.stored_status, _function_of(job)


def _site_of(service):
    location = service
    while location is not None and not ISite.providedBy(location):
        location = getattr(location, '__parent__', None)
    return location
