"""For the tests of applications: a layer, and helpers to run jobs in it."""


import transaction
import zope.authentication.interfaces
import zope.component
import zope.interface
import zope.security.management
import zope.security.testing
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.processor import service_path
from zope.app.wsgi.testlayer import BrowserLayer

import gocept.async_


FUNCTIONAL_LAYER = BrowserLayer(
    gocept.async_, 'ftesting.zcml', name='FUNCTIONAL_LAYER',
    allowTearDown=True)


def process(name='events', raise_errors=True):
    """Commit, then run all queued jobs of a service to their end, here.

    name -- str, of the ITaskService utility.
    raise_errors -- raise AssertionError, with the job's traceback, after
        the first job that failed.

    The jobs run on the same path as in a processor, each in a transaction of
    its own, but in this thread: what they print is seen by doctests.
    """
    transaction.commit()
    service = zope.component.getUtility(ITaskService, name=name)
    processor = SimpleProcessor(
        service._p_jar.db(), service_path(service))
    while (jobid := processor.claimNextJob()) is not None:
        processor.processNext(jobid)
        # See what the job has committed.
        transaction.begin()
        job = service.jobs.get(jobid)
        if raise_errors and job is not None and job.error is not None:
            raise AssertionError(
                f'Job {jobid} of {name!r} failed:\n{job.traceback}')
    transaction.begin()


def login(principal_id):
    """Begin an interaction of a principal, instead of the current one.

    principal_id -- str; need not exist, so that tests can see what happens
        to the calls of principals that are gone.
    """
    logout()
    participation = zope.security.testing.Participation(
        _find_principal(principal_id))
    zope.security.management.newInteraction(participation)


def logout():
    """End the current interaction, if there is one."""
    zope.security.management.endInteraction()


def _find_principal(principal_id):
    authentication = zope.component.queryUtility(
        zope.authentication.interfaces.IAuthentication)
    try:
        return authentication.getPrincipal(principal_id)
    except (AttributeError,
            zope.authentication.interfaces.PrincipalLookupError):
        return zope.security.testing.Principal(principal_id)
