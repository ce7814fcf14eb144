"""What lovely.remotetask 0.5 could do with its screens: what became of it."""

import re

import transaction
import zope.browser.interfaces
import zope.component
import zope.interface
from zope.app.wsgi.testlayer import BrowserLayer
from zope.browsermenu.menu import MenuAccessView
from zope.browsermenu.menu import getMenu
from zope.component.interfaces import IFactory
from zope.component.interfaces import ISite
from zope.pagetemplate.pagetemplate import PageTemplate
from zope.publisher.browser import BrowserPage
from zope.publisher.browser import TestRequest
from zope.publisher.interfaces import IDefaultViewName
from zope.publisher.interfaces.browser import IBrowserRequest
from zope.security.management import endInteraction
from zope.security.management import newInteraction

import gocept.async_.tests
from gocept.async_.pages.views import Views
from gocept.async_.tests.functional import add_service
from gocept.async_.tests.pageslayer import PagesTestCase
from gocept.async_.tests.pageslayer import PeopleTestCase
from lovely.remotetask.browser.page import PUBLIC
from lovely.remotetask.interfaces import IJob
from lovely.remotetask.interfaces import ITaskService


SCREENS_LAYER = BrowserLayer(
    gocept.async_.tests, 'screens.zcml', name='SCREENS_LAYER',
    allowTearDown=True)

BASE = '/++etc++site/default/events'


class AddressesTest(PagesTestCase):

    def setUp(self):
        super().setUp()
        self.jobid = self.add()
        self.cron = self.service.addCronJob('echo', hour=2)
        self.later = self.service.addCronJob('echo', delay=60)
        add_service(self.root, 'other', 'tasks')
        transaction.commit()
        self.login('manager')

    def leads_to(self, path):
        """Return where an address leads, after the service."""
        answer = self.app.get(path).follow()
        if answer.status_int == 302:
            # The summary is led to its slash.
            answer = answer.follow()
        self.assertEqual(200, answer.status_int)
        return answer.request.path

    def test_of_the_service(self):
        """Those of the service lead to its pages, at whatever address."""
        for old, new in (
                ('jobs.html', 'jobs'), ('@@jobs.html', 'jobs'),
                ('jobs.html/', 'jobs'), ('index.html', ''), ('', ''),
                ('/', ''), ('addcronjob.html', 'cron-add'),
                ('jobs.html?start=20&size=10', 'jobs'),
                ('jobs.html?PATH_INFO:int=1', 'jobs')):
            for base in BASE, '/tasks', '/++vh++http:x:80/a/++/tasks':
                with self.subTest(old, base=base):
                    path = base + (old if old == '/' or not old
                                   else f'/{old}')
                    self.assertEqual(
                        f'{base}/@@async/{new}', self.leads_to(path))

    def test_of_a_job(self):
        """Those of a job lead to its page."""
        for old, new in (
                (f'{self.jobid}', f'{self.jobid}'),
                (f'{self.jobid}/', f'{self.jobid}'),
                (f'{self.jobid}/detail', f'{self.jobid}'),
                (f'{self.jobid}/@@detail', f'{self.jobid}'),
                (f'{self.jobid}/detail/', f'{self.jobid}'),
                (f'{self.cron}/detail', f'{self.cron}'),
                (f'{self.cron}/editjob', f'{self.cron}/pattern'),
                (f'{self.later}/editjob', f'{self.later}')):
            with self.subTest(old):
                self.assertEqual(f'{BASE}/@@async/jobs/{new}',
                                 self.leads_to(f'{BASE}/{old}'))

    def test_what_is_not_there(self):
        """A job that is gone is told of; what never was is not found."""
        answer = self.app.get(f'{BASE}/12345').follow(expect_errors=True)
        self.assertIn('There is no job 12345.', answer.text)
        for path in ('nothing', f'{self.jobid}/editjob', '1x', '-1', '%D9%A3',
                     f'{self.jobid}/nothing', 'jobs.html/x', '12345/detail',
                     '9' * 30):
            with self.subTest(path):
                self.assertEqual(404, self.app.get(
                    f'{BASE}/{path}', expect_errors=True).status_int)

    def test_permissions(self):
        """Whoever may not see the pages sees no more at these addresses."""
        for who, status in (('anonymous', 401), ('user', 403)):
            self.login(who)
            for old in (f'{self.jobid}', f'{self.cron}/editjob'):
                with self.subTest(old, who=who):
                    self.assertEqual(status, self.app.get(
                        f'/tasks/{old}', expect_errors=True).status_int)

    def test_earlier_data(self):
        """A service that was not brought up to date says so, unwritten."""
        self.service.schema = 0
        transaction.commit()
        before = self.jobs_db.lastTransaction()
        answer = self.app.get(f'{BASE}/{self.jobid}').follow(
            expect_errors=True)
        self.assertEqual(503, answer.status_int)
        self.assertEqual(before, self.jobs_db.lastTransaction())

    def test_views_of_the_application(self):
        """What an application has shown of its jobs is where it was."""
        class Details(BrowserPage):
            __Security_checker__ = PUBLIC

            def __call__(self):
                job = self.context
                return f'The job {job.id} is {job.status}.'

        self.register(Details, (IJob, IBrowserRequest),
                      zope.interface.Interface, 'echo_detail')
        for name in 'echo_detail', '@@echo_detail':
            answer = self.app.get(f'{BASE}/{self.jobid}/{name}')
            self.assertIn(f'The job {self.jobid} is queued.', answer.text)

    def test_default_view_of_the_application(self):
        """So is what it shows first of a service."""
        class Ours(BrowserPage):
            __Security_checker__ = PUBLIC

            def __call__(self):
                return 'Our own page.'

        self.register('ours.html', (ITaskService, IBrowserRequest),
                      IDefaultViewName, '')
        self.register(Ours, (ITaskService, IBrowserRequest),
                      zope.interface.Interface, 'ours.html')
        self.assertEqual('Our own page.', self.app.get('/tasks/').text)

    def register(self, factory, for_, provided, name):
        registry = zope.component.getGlobalSiteManager()
        # Not a view name, which is no factory, by registerAdapter.
        registry.adapters.register(for_, provided, name, factory)
        self.addCleanup(registry.adapters.unregister, for_, provided, name)


class MenusTest(PeopleTestCase):
    """Where an application has the menus of zope.app."""

    layer = SCREENS_LAYER

    def items(self, menu, context, who='tests.manager'):
        request = TestRequest()
        request.setPrincipal(type('Principal', (), {
            'id': who, 'groups': ()})())
        newInteraction(request)
        self.addCleanup(endInteraction)
        return {item['title']: item['action']
                for item in getMenu(menu, context, request)}

    def test_tabs(self):
        """The jobs, and the cron jobs, have tabs at the service."""
        found = self.items('zmi_views', self.service)
        self.assertEqual(
            {'Jobs': 'jobs.html', 'Add a cron job': 'addcronjob.html'}, found)
        self.login('manager')
        for action in found.values():
            answer = self.app.get(f'{BASE}/@@{action}').follow()
            self.assertEqual(200, answer.status_int)

    def test_tab_of_a_site(self):
        """A site has a tab that leads to its services."""
        self.assertEqual({'Background jobs': '@@async/'}, self.items(
            'zmi_views', self.root, 'tests.viewer'))
        endInteraction()
        self.assertNotIn('Background jobs', self.items(
            'zmi_views', self.service))

    def test_tabs_of_a_viewer(self):
        """Who may not manage is not asked to."""
        self.assertEqual({'Jobs': 'jobs.html'}, self.items(
            'zmi_views', self.service, 'tests.viewer'))

    def test_can_be_added(self):
        """A service is among what can be added, and is made by that."""
        @zope.interface.implementer(zope.browser.interfaces.IAdding)
        class Adding:
            pass

        found = self.items('zope.app.container.add', Adding())
        made = zope.component.getUtility(
            IFactory, found['Remote Task Service'])()
        self.root['added'] = made
        self.assertEqual({}, {name: number for name, number
                              in made.counts().items() if number})

    def test_nobody_else_adds(self):
        """Who may not manage services makes none."""
        @zope.interface.implementer(zope.browser.interfaces.IAdding)
        class Adding:
            pass

        self.assertEqual({}, self.items(
            'zope.app.container.add', Adding(), 'tests.operator'))

    def test_tabs_in_the_layout(self):
        """In the layout of zope.app the tabs lead somewhere on each page."""
        template = PageTemplate()
        template.write('''<html metal:define-macro="view"><body>
            <i metal:define-slot="tabs">relative</i>
            <metal:b define-slot="body" /></body></html>''')

        class Macros:
            def __init__(self, context, request):
                pass

            def __getitem__(self, name):
                return template.macros[name]

        views = Views('laid', layout='standard_macros/view')
        view = zope.interface.Interface
        for factory, for_, name in (
                (Macros, view, 'standard_macros'),
                (MenuAccessView, view, 'view_get_menu'),
                (views.overview, ISite, 'laid')):
            self.provide(factory, (for_, IBrowserRequest), view, name)
        self.login('manager')
        for path in ('', 'events/', 'events/jobs', 'events/jobs?x=1'):
            page = self.app.get(f'/@@laid/{path}')
            self.assertNotIn('relative', page.text)
            tabs = re.findall(r'href="(http[^"]*)"', page.text)
            self.assertEqual(2 if path else 1, len(tabs))
            for each in tabs:
                answer = self.app.get(each)
                if answer.status_int != 200:
                    answer = answer.follow()
                self.assertEqual(200, answer.status_int)

    def provide(self, factory, for_, provided, name):
        registry = zope.component.getGlobalSiteManager()
        registry.registerAdapter(factory, for_, provided, name)
        self.addCleanup(
            registry.unregisterAdapter, factory, for_, provided, name)
