"""For the tests of applications: a layer, and helpers to run jobs in it."""

import contextlib
import importlib
import math
import time
from collections.abc import Iterator
from typing import Any

import transaction
import zope.authentication.interfaces
import zope.component
import zope.component.hooks
import zope.security.management
import zope.security.testing

from gocept.async_ import absence
from gocept.async_.declaration import check_name
from gocept.async_.declaration import declarations
from lovely.remotetask import moment
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.number import LAST
from lovely.remotetask.number import check_seconds
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running.events import JobEnded
from lovely.remotetask.running.events import Observer
from lovely.remotetask.running.execution import in_transaction
from lovely.remotetask.running.execution import opened_service
from lovely.remotetask.running.registry import root_database
from lovely.remotetask.running.registry import service_path
from lovely.remotetask.running.server import server
from lovely.remotetask.startup import openedDatabase
from lovely.remotetask.startup import root_folder


# How often jobs may enqueue jobs, one after the other, while no time passes.
ROUNDS = 1000


def __getattr__(name: str) -> Any:
    # On another application server the Toolkit is not installed.
    if name != 'FUNCTIONAL_LAYER':
        raise AttributeError(
            f'module {__name__!r} has no attribute {name!r}')
    return importlib.import_module('gocept.async_.testlayer').FUNCTIONAL_LAYER


def process(name: str = 'events', raise_errors: bool = True,
            after: float = 0) -> None:
    """Commit, then run all queued jobs of a service to their end, here.

    name -- str, of the ITaskService utility, seen from the current site or
        declared in ZCML.
    raise_errors -- raise AssertionError, with the job's traceback, after
        the first job that failed.
    after -- seconds: also run what is to be run within so much time, in its
        order.  While a job runs, it is the time at which it was due: what it
        adds with a delay counts from there.

    Raise ValueError, and commit nothing, for what is no name or no number of
    seconds.

    Raise AssertionError, whatever is said, if jobs enqueue others without end
    and no time passes.  A job whose function has aborted its transaction has
    failed here.

    The jobs run on the same path as in a processor, each in a transaction of
    its own, but in this thread: what they print is seen by doctests.  Jobs
    that wait for another attempt need not wait here; those that are due later
    than what is run otherwise come last, and bring no other job forward.
    """
    check_name(name)
    after = check_seconds('after', after)
    if after > LAST:
        # What is longer than the calendar stands for ever.
        after = math.inf
    transaction.commit()
    db, path = _locate(name)
    try:
        # As processors do now and then: see to what was undone, say.
        in_transaction(db, path, transaction.commit, _look_after)
        _Course(db, path, name, raise_errors, after).process()
    finally:
        # See what the jobs have committed.
        transaction.begin()


class _Course:
    """What jobs are run, and what time it is for them; see `process`."""

    def __init__(self, db: Any, path: Any, name: str, raise_errors: bool,
                 after: float) -> None:
        self._db, self._path, self._name = db, path, name
        self._raise_errors = raise_errors
        self._plays = bool(after)
        self._processor = _Processor(db, path)
        # Up to when jobs are due; it never goes beyond the end.
        self._now = time.time()
        self._end = self._now + after
        # What time it is for jobs: later, once one was run beyond the end.
        self._shown = self._now
        self._rounds = _Rounds(db, path, name)

    def process(self) -> None:
        """Run jobs until there is none to be run."""
        more = True
        while more:
            self._run_due()
            more = self._go_on()

    def _run_due(self) -> None:
        if not self._plays:
            # Jobs that were added meanwhile are not due before the present.
            self._now = self._end = max(self._now, time.time())
        while (jobid := self._processor.claimNextJob(self._now)) is not None:
            self._run(jobid)

    def _go_on(self) -> bool:
        """Go on to the next job.  Return whether there is one."""
        waiting = sorted(self._waiting())
        if waiting and waiting[0][0] <= self._end:
            self._now, _ = waiting[0]
            self._shown = max(self._shown, self._now)
            self._rounds = _Rounds(self._db, self._path, self._name)
            return True
        return any(self._run_early(jobid, due) for due, jobid in waiting)

    def _waiting(self) -> list[tuple[float, int]]:
        """Return when jobs are due that are still to be run, and their ids.
        """
        with opened_service(self._db, self._path) as service:
            return [(job.due, job.id) for job in service.jobs.values()
                    if job.status in WAITING and job.due is not None
                    and job.due > self._now
                    and (job.due <= _end_for(job, self._end)
                         or _waits_for_an_attempt(job))]

    def _run_early(self, jobid: int, due: float) -> bool:
        """Run a job that is due beyond the end, and no other one with it.

        Return whether it could be run.
        """
        if not self._processor.claim_job(jobid, due):
            return False
        self._shown = max(self._shown, due)
        self._run(jobid)
        return True

    def _run(self, jobid: int) -> None:
        with (moment.at(self._shown if self._plays else None),
              _ends() as ends):
            self._processor.processNext(jobid)
        failure = _failure(self._db, self._path, jobid) or _abort(ends)
        if self._raise_errors and failure is not None:
            raise AssertionError(
                f'Job {jobid} of {self._name!r} failed:\n{failure}')
        self._rounds.count(jobid)


class _Processor(SimpleProcessor):
    """Claims a job before its time, too."""

    def claim_job(self, jobid: int, due: float) -> bool:
        """Claim one job as if it were the time at which it is due.

        Return whether that was possible.
        """
        claims = self.membership.bookkeep(
            _claim_job, self.worker_id, jobid, due)
        if claims:
            # Before a transaction begins that runs the job.
            self.membership.catch_up()
        self._stepwise.update((claim.job, claim) for claim in claims)
        return bool(claims)


class _Rounds:
    """Counts how often jobs enqueue jobs while no time passes.

    Each round are as many runs as there were jobs when it began.
    """

    def __init__(self, db: Any, path: Any, name: str) -> None:
        self._db, self._path, self._name = db, path, name
        self._number = self._left = 0

    def count(self, jobid: int) -> None:
        """Count a run.  Raise AssertionError if there is no end."""
        if self._left > 0:
            self._left -= 1
            return
        self._number += 1
        with opened_service(self._db, self._path) as service:
            self._left = service.counts()[QUEUED] - 1
        if self._number > ROUNDS:
            raise AssertionError(
                f'Jobs of {self._name!r} enqueue jobs without end, and no '
                f'time passes; the last one was {jobid}. Let it enqueue the '
                f'next one with a delay.')


@contextlib.contextmanager
def _ends() -> Iterator[list[Any]]:
    """Collect the events that tell of the ends of runs."""
    found: list[Any] = []
    observer = Observer(found.append, JobEnded)
    observer.subscribe()
    try:
        yield found
    finally:
        observer.unsubscribe()


def _abort(ends: list[Any]) -> str | None:
    """Return what is wrong if a function has aborted its transaction."""
    if not any(end.aborted for end in ends):
        return None
    return ('Its function has aborted the transaction, or begun another one: '
            'what it had changed before is not stored. Raise an exception '
            'instead, or take a savepoint.')


def _look_after(engine: Any) -> None:
    engine.upkeep.look_after()


def _claim_job(engine: Any, worker_id: str, jobid: int, now: float) -> Any:
    return engine.claim_job(worker_id, jobid, now)


def _end_for(job: Any, end: float) -> float:
    # The delay of addCronJob ends at the next whole second.
    return (math.ceil(end) if job.status == DELAYED and math.isfinite(end)
            else end)


def _locate(name: str) -> tuple[Any, Any]:
    """Return the database with the root folder of a service, and its path.
    """
    service = server().visible_service(name)
    if service is not None:
        return _database(service, name), service_path(service)
    # A test that uses a browser has no site of its own.
    declared = next((each for each in declarations() if each.name == name),
                    None)
    db = openedDatabase()
    if declared is None or db is None:
        raise LookupError(
            f'{absence.unseen(name, declarations())} Or declare it in the '
            f'ZCML of the layer, and let the layer open its database.')
    with root_folder(db) as root:
        service = declared.find(root)
        if service is None or is_nowhere(service):
            raise LookupError(f'There is no task service {name!r}: '
                              f'{absence.missing(declared, root)}')
        return db, service_path(service)


def _database(service: Any, name: str) -> Any:
    db = root_database(service)
    if db is None:
        raise ValueError(
            f'The task service {name!r} is not stored in a database; call '
            f'its own process(), or add it to the site and register it there.')
    return db


def _waits_for_an_attempt(job: Any) -> bool:
    # A job that was interrupted is no matter of attempts: it would be tried
    # for ever.
    return (job.status in WAITING and job.attempts > 0
            and not job.interruptions)


def _failure(db: Any, path: Any, jobid: int) -> str | None:
    """Return the traceback of a job that failed, else None."""
    with opened_service(db, path) as service:
        job = service.jobs.get(jobid)
        if job is None or _waits_for_an_attempt(job):
            return None
        return job.traceback


@contextlib.contextmanager
def entered(site: Any) -> Iterator[None]:
    """Make a site the current one, until the end of a test.

    Then abort the transaction and log out.
    """
    with zope.component.hooks.site(site):
        try:
            yield
        finally:
            transaction.abort()
            logout()


def login(principal_id: str) -> None:
    """Begin an interaction of a principal, instead of the current one.

    principal_id -- str; need not exist, so that tests can see what happens
        to the calls of principals that are gone.
    """
    logout()
    participation = zope.security.testing.Participation(
        _find_principal(principal_id))
    zope.security.management.newInteraction(participation)


def logout() -> None:
    """End the current interaction, if there is one."""
    zope.security.management.endInteraction()


def _find_principal(principal_id: str) -> Any:
    authentication = zope.component.queryUtility(
        zope.authentication.interfaces.IAuthentication)
    try:
        return authentication.getPrincipal(principal_id)
    except (AttributeError,
            zope.authentication.interfaces.PrincipalLookupError):
        return zope.security.testing.Principal(principal_id)
