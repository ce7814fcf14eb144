"""The pages among the screens of zope.app, with their skin Rotterdam.

They need zope.app.zcmlfiles, which nothing else here needs: see `.ci/run`.
"""

import unittest
import xmlrpc.client

from gocept.async_.tests.browser import scenes
from gocept.async_.tests.browser.driver import Browser
from gocept.async_.tests.browser.stage import Stage


PATHS = ('/@@async/', '/@@async/events/', '/@@async/events/jobs',
         '/@@async/events/crons', '/@@async/events/workers',
         '/@@async/events/audit', '/++etc++site/default/events/@@async/jobs')


class ScreensTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.stage = Stage('rotterdam.zcml')
        cls.addClassCleanup(cls.stage.close)
        scenes.few(cls.stage)
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)
        cls.browser.resize(1280, 800)

    def open(self, path, who='manager'):
        self.browser.login(self.stage.server.url, who)
        self.browser.open(self.stage.server.url + path)

    def follow(self, text):
        """Click on the first link with a text."""
        self.browser.run('''
            [...document.links].find(
              each => each.textContent.trim() === arguments[0]).click()
            ''', text)

    def wait_for(self, part):
        """Wait until the address has a part."""
        self.browser.wait_for(lambda: part in self.browser.url, part)

    def test_add(self):
        """A service is added, shown among the contents, and has its pages."""
        self.open('/@@contents.html')
        self.follow('Remote Task Service')
        self.wait_for('type_name')
        self.browser.type('[name=new_value]', 'tasks')
        self.browser.press('enter')
        self.browser.wait_for(lambda: 'tasks' in self.browser.text)
        self.follow('tasks')
        self.wait_for('/tasks/@@async/jobs')
        self.assertIn('All\n0', self.browser.text)
        self.follow('Registration')
        self.wait_for('/tasks/@@registration.html')
        self.assertIn('yet registered', self.browser.text)

    def test_contents_first(self):
        """A site shows its contents first; the jobs are one of its tabs."""
        self.open('/@@SelectedManagementView.html')
        self.wait_for('contents.html')
        self.follow('Background jobs')
        self.wait_for('/@@async/')

    def test_layout(self):
        """All pages stand in the layout, with the tabs of the object."""
        for path in PATHS:
            with self.subTest(path):
                self.open(path)
                self.assertTrue(self.browser.run(
                    'return !!document.querySelector("#workspace .async h1")'))
                self.assertEqual([], self.browser.complaints())
                self.assertIn('Registration', self.tabs())

    def test_tabs_lead_somewhere(self):
        """Each tab of a service is found, wherever one is in its pages."""
        self.open('/++etc++site/default/events/@@async/jobs')
        self.assertEqual(['Jobs', 'Add a cron job', 'Metadata',
                          'Registration'],
                         list(self.tabs()))
        for title, address in self.tabs().items():
            with self.subTest(title):
                self.assertEqual(200, self.browser.run(
                    'return fetch(arguments[0]).then(each => each.status)',
                    address))

    def test_viewer(self):
        """So do those see them who may see the jobs and nothing else."""
        self.open('/@@async/events/jobs', 'viewer')
        self.assertEqual(['Jobs'], list(self.tabs()))
        self.assertIn('MailboxFull', self.browser.text)

    def tabs(self):
        """Return the tabs that the layout shows: a dict, title to address."""
        return dict(self.browser.run('''
            return [...document.querySelectorAll('.itemViews a')].map(
              each => [each.textContent.trim(), each.href])'''))

    def test_xmlrpc(self):
        """Other programs add jobs, and ask for them, by the six methods."""
        address = (self.stage.server.url.replace('//', '//manager:manager@')
                   + '/++etc++site/default/events')
        with xmlrpc.client.ServerProxy(address) as proxy:
            self.assertIn('echo', proxy.getAvailableTasks())
            jobid = proxy.add('echo', {'a': 1})
            self.assertEqual('queued', proxy.getStatus(jobid))
            with self.stage.service() as service:
                service.processNext(jobid=int(jobid))
            self.assertEqual('completed', proxy.getStatus(jobid))
            self.assertEqual({'a': 1}, proxy.getResult(jobid))
            self.assertEqual('None', proxy.getError(jobid))
            self.assertTrue(proxy.cancel(proxy.add('echo', {})))
