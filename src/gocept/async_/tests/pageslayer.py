"""An application with the management pages, asked in this process."""

import transaction
import zope.component
import zope.component.hooks
from webtest import TestApp
from zope.app.wsgi.testlayer import BrowserLayer

import gocept.async_.tests
from gocept.async_.testing import logout
from gocept.async_.tests.functional import ApplicationTestCase
from lovely.remotetask.interfaces import IManagement
from lovely.remotetask.interfaces import ITaskService


PAGES_LAYER = BrowserLayer(
    gocept.async_.tests, 'pages.zcml', name='PAGES_LAYER', allowTearDown=True)

# Who there is, and what they may do.
PEOPLE = {'anonymous': None, 'user': 'userpw', 'viewer': 'viewer',
          'reader': 'reader', 'operator': 'operator', 'manager': 'manager'}


class PeopleTestCase(ApplicationTestCase):
    """The service called events, and people who ask for pages.

    A subclass says in which layer.
    """

    def make_service(self):
        return zope.component.getUtility(ITaskService, 'events')

    def setUp(self):
        super().setUp()
        self.app = TestApp(self.layer.make_wsgi_app())

    def ask(self, path, who='manager', method='GET', **options):
        """Return the answer to a request.

        path -- below the overview.
        """
        self.login(who)
        return self.app.request(
            f'/@@async/{path}', method=method, expect_errors=True, **options)

    def post(self, path, who='manager', headers=None, **fields):
        """Send a form."""
        self.login(who)
        return self.app.post(f'/@@async/{path}', fields, expect_errors=True,
                             headers=headers or {})

    def post_json(self, path, who='manager', headers=None, **fields):
        """Send a JSON document."""
        self.login(who)
        return self.app.post_json(
            f'/@@async/{path}', fields, expect_errors=True,
            headers=headers or {})

    def login(self, who):
        """Send a password with what is asked from now on."""
        # Requests are answered in this thread, and begin their own.
        logout()
        password = PEOPLE[who]
        self.app.authorization = (
            None if password is None else ('Basic', (who, password)))

    def token(self, who='manager'):
        """Return the token that a page shows to somebody."""
        return IManagement(self.service).make_token(
            f'tests.{who}' if who != 'user' else 'zope.user')

    def add(self, task='echo', input=None, **options):
        """Add a job, and commit.  Return its id."""
        jobid = self.service.add(task, input, **options)
        transaction.commit()
        return jobid

    def run_jobs(self):
        """Run all jobs that wait."""
        self.service.process()
        transaction.commit()


class PagesTestCase(PeopleTestCase):
    """In the application with the pages."""

    layer = PAGES_LAYER
