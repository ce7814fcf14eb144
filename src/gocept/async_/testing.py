"""For the tests of applications: a layer, and helpers to run jobs in it."""

import importlib
import time
from typing import Any

import transaction
import zope.authentication.interfaces
import zope.component
import zope.security.management
import zope.security.testing

from gocept.async_.declaration import declarations
from lovely.remotetask import moment
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running.execution import in_transaction
from lovely.remotetask.running.execution import opened_service
from lovely.remotetask.running.registry import root_database
from lovely.remotetask.running.registry import service_path
from lovely.remotetask.running.server import server
from lovely.remotetask.startup import openedDatabase
from lovely.remotetask.startup import root_folder


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

    The jobs run on the same path as in a processor, each in a transaction of
    its own, but in this thread: what they print is seen by doctests.  Jobs
    that wait for another attempt need not wait here.
    """
    transaction.commit()
    db, path = _locate(name)
    try:
        _process(db, path, name, raise_errors, after)
    finally:
        # See what the jobs have committed.
        transaction.begin()


def _process(db: Any, path: Any, name: str, raise_errors: bool,
             after: float) -> None:
    # As processors do now and then: see to what was undone, say.
    in_transaction(db, path, transaction.commit, _look_after)
    processor = SimpleProcessor(db, path)
    now: float | None = time.time()
    end = time.time() + after
    while now is not None:
        if not after:
            # Jobs that were added meanwhile are not due before the present.
            now = max(now, time.time())
        while (jobid := processor.claimNextJob(now)) is not None:
            with moment.at(now if after else None):
                processor.processNext(jobid)
            failure = _failure(db, path, jobid)
            if raise_errors and failure is not None:
                raise AssertionError(
                    f'Job {jobid} of {name!r} failed:\n{failure}')
        now = _next_time(db, path, now, max(end, now))


def _look_after(engine: Any) -> None:
    engine.upkeep.look_after()


def _next_time(db: Any, path: Any, now: float, end: float) -> float | None:
    """Return when the next job is to be run, None if there is none.

    Up to the time `end`; that of another attempt may be later.
    """
    with opened_service(db, path) as service:
        due = [job.due for job in service.jobs.values()
               if job.status in WAITING and job.due is not None
               and (job.due <= end or _waits_for_an_attempt(job))]
    return min((each for each in due if each > now), default=None)


def _locate(name: str) -> tuple[Any, Any]:
    """Return the database with the root folder of a service, and its path.
    """
    service = server().visible_service(name)
    if service is not None:
        return root_database(service), service_path(service)
    # A test that uses a browser has no site of its own.
    db = openedDatabase()
    with root_folder(db) as root:
        for declaration in declarations():
            service = declaration.find(root)
            if declaration.name == name and service is not None:
                return db, service_path(service)
    raise LookupError(
        f'There is no task service {name!r}; set the site that holds it, or '
        f'declare it (async:service) in the ZCML of the layer.')


def _waits_for_an_attempt(job: Any) -> bool:
    # One that could not be run would be tried for ever.
    return (job.status in WAITING and job.attempts > 0
            and not job.interruptions)


def _failure(db: Any, path: Any, jobid: int) -> str | None:
    """Return the traceback of a job that failed, else None."""
    with opened_service(db, path) as service:
        job = service.jobs.get(jobid)
        if job is None or _waits_for_an_attempt(job):
            return None
        return job.traceback


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
