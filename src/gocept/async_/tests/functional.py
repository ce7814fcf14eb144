"""What the functional tests of this package have in common."""

import unittest

import transaction
import zope.component
import zope.component.hooks

from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.testing import logout
from gocept.async_.tests import sample
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITaskService


def add_service(site, name, key='tasks'):
    """Create a task service, registered in a site."""
    site[key] = service = TaskService()
    site.getSiteManager().registerUtility(service, ITaskService, name=name)
    return service


class ApplicationTestCase(unittest.TestCase):
    """An application with a service called events, in its root folder.

    A subclass says in which layer: for pytest, that of a base class would be
    set up, too.
    """

    def setUp(self):
        sample.calls.clear()
        sample.called.clear()
        self.addCleanup(logout)
        self.addCleanup(transaction.abort)
        self.addCleanup(zope.component.hooks.setSite, None)
        self.root = self.layer.getRootFolder()
        zope.component.hooks.setSite(self.root)
        self.service = self.make_service()
        transaction.commit()

    def make_service(self):
        return add_service(self.root, 'events')

    @property
    def jobs_db(self):
        """The database in which the service itself is."""
        return self.service._p_jar.db()

    def jobs(self):
        return list(self.service.jobs.values())

    def job(self):
        job, = self.jobs()
        return job


class FunctionalTestCase(ApplicationTestCase):
    """In the small application of the functional tests."""

    layer = FUNCTIONAL_LAYER
