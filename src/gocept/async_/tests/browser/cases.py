"""The management pages as their readers have them: in a browser."""

import datetime
import os
import re
import time
import unittest
from pathlib import Path
from unittest import mock
from urllib.parse import quote
from zoneinfo import ZoneInfo

from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.browser import load
from gocept.async_.tests.browser import pictures
from gocept.async_.tests.browser import scenes
from gocept.async_.tests.browser.driver import Browser
from gocept.async_.tests.browser.process import SLICE
from gocept.async_.tests.browser.process import Process
from gocept.async_.tests.browser.stage import Stage
from lovely.remotetask import TaskService
from lovely.remotetask.browser.place import segment
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import IJobExecution
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.operations import Operations
from lovely.remotetask.storage import adder


# Where axe-core is: axe.min.js of that package of npm.
AXE = os.environ.get('AXE')

# What is run each time an address is opened: nothing of it may say that.
HOSTILE = '"\'><img src=x onerror="document.title=\'hacked\'"><script>' \
    'document.title="hacked"</script>{{7*7}}\u202e'

RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa',
         'best-practice']

# Lets the page look at itself five times a second.
QUICK = '''
  const choice = document.querySelector('.refresh select');
  choice.options[1].value = '0.2';
  choice.value = '0.2';
  choice.dispatchEvent(new Event('change'));
'''


class BrowserTestCase(unittest.TestCase):

    scene = 'few'

    @classmethod
    def setUpClass(cls):
        cls.stage = Stage.shared()
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)
        cls.browser.login(cls.stage.server.url, 'manager')

    def setUp(self):
        self.stage.clear()
        if self.scene is not None:
            getattr(scenes, self.scene)(self.stage)
        self.browser.resize(1280, 900)
        self.browser.prefer('light')
        self.browser.complaints()

    def open(self, path):
        self.browser.open(f'{self.stage.server.url}/@@async/{path}')

    def pages(self):
        """Yield the addresses of all pages, and open each."""
        found = {**pictures.addresses(self.stage),
                 'bulk': 'events/bulk?action=requeue&status=error',
                 'gone': 'events/jobs/4711'}
        with self.stage.service() as service:
            [cron, *_] = [job for job in service.cron_jobs()
                          if job.name is None]
            found['pattern'] = f'events/jobs/{cron.id}/pattern'
        for name, path in found.items():
            self.open(path)
            yield name


class AccessibilityTest(BrowserTestCase):

    def violations(self):
        self.browser.tell('Runtime.evaluate', expression=Path(
            AXE).read_text('utf-8'))
        return self.browser.run('''
            return axe.run({runOnly: arguments[0]}).then(
              found => found.violations.flatMap(each => each.nodes.map(
                node => each.id + ': ' + node.html.slice(0, 200) + ' '
                  + node.failureSummary)))''', RULES)

    @unittest.skipUnless(AXE, 'AXE names no axe.min.js')
    def test_axe(self):
        """axe finds nothing, in light and dark, wide and narrow."""
        for scheme in ('light', 'dark'):
            self.browser.prefer(scheme)
            for width in (1280, 320):
                self.browser.resize(width, 900)
                for name in self.pages():
                    with self.subTest(name, scheme=scheme, width=width):
                        self.browser.run(
                            'for (const each of document.querySelectorAll('
                            '"details")) each.open = true')
                        self.assertEqual([], self.violations())

    def test_narrow(self):
        """On a small screen nothing is beside it."""
        self.browser.resize(320, 700)
        for name in self.pages():
            with self.subTest(name):
                self.assertLessEqual(self.browser.run(
                    'return document.documentElement.scrollWidth'), 320)
                # Nothing is cut off from a table, either.
                self.assertEqual([], self.browser.run('''
                    return [...document.querySelectorAll('.table')].filter(
                      each => each.scrollWidth > each.clientWidth).map(
                      each => [each.scrollWidth, each.clientWidth])'''))

    def test_nothing_is_cut(self):
        """On a small screen each number has its word, and each tab is seen.
        """
        self.browser.resize(320, 700)
        for language in 'en', 'de':
            browser = Browser(language)
            self.addCleanup(browser.close)
            browser.resize(320, 700)
            browser.login(self.stage.server.url, 'manager')
            browser.open(f'{self.stage.server.url}/@@async/events/audit')
            with self.subTest(language):
                self.assertTrue(browser.run('''
                    const place = document.querySelector(
                      '.tabs [aria-current]').getBoundingClientRect();
                    return place.left >= 0 && place.right <= 320'''))
                browser.open(f'{self.stage.server.url}/@@async/events/')
                heights = browser.run('''
                    return [...document.querySelectorAll('.tiles a')].map(
                      each => each.offsetHeight)''')
                self.assertEqual(1, len(set(heights)), heights)

    def test_chosen_is_seen(self):
        """On a small screen the status that is listed is in sight."""
        self.browser.resize(320, 700)
        for status in 'error', 'completed', 'start+later':
            self.open(f'events/jobs?status={status}')
            with self.subTest(status):
                self.assertTrue(self.browser.run("""
                    const place = document.querySelector(
                      '.statuses [aria-current]').getBoundingClientRect();
                    return place.left >= 0 && place.right <= 320
                      && scrollY === 0"""))

    def test_large_numbers(self):
        """A hundred million jobs are told in the room for a dozen."""
        numbers = [7, 12_345, 123_456, 1_234_567, 12_345_678, 123_456_789]
        counts = dict(zip(STATUSES, 2 * numbers, strict=False))
        for width in 1280, 320:
            self.browser.resize(width, 700)
            with mock.patch.object(
                    TaskService, 'counts', lambda service: counts):
                self.open('events/')
            with self.subTest(width):
                self.assertEqual([], self.browser.run('''
                    return [...document.querySelectorAll('.tiles .number')]
                      .filter(each => {
                        const range = document.createRange();
                        range.selectNodeContents(each);
                        return range.getBoundingClientRect().width
                          > each.clientWidth;
                      }).map(each => each.textContent)'''))

    def test_low_rows(self):
        """No row is higher than it must be."""
        for width in (1280, 320):
            self.browser.resize(width, 900)
            self.open('events/jobs')
            self.assertLess(self.browser.run('''
                return Math.max(...[...document.querySelectorAll('tr')].map(
                  row => row.offsetHeight))'''), 42)

    def test_policy(self):
        """No page does what the policy forbids."""
        for name in self.pages():
            with self.subTest(name):
                self.assertEqual([], [
                    each for each in self.browser.complaints()
                    if '404' not in each])

    def test_keyboard(self):
        """All can be reached and done by the keyboard."""
        with self.stage.service() as service:
            [job, *_] = service.find(status=ERROR, limit=1).jobs
            jobid = job.id
        self.open(f'events/jobs/{jobid}')
        self.browser.press('tab')
        self.assertEqual('Skip to content', self.browser.run(
            'return document.activeElement.textContent'))
        self.browser.press('enter')
        for _ in range(3):
            self.browser.press('tab')
            if self.browser.run('return document.activeElement.'
                                'textContent') == 'Requeue':
                break
        self.browser.press('enter')
        self.browser.wait_for(
            lambda: 'waits to be run again' in self.browser.text)

    def test_theme(self):
        """The choice between light and dark is kept."""
        self.open('events/')
        color = 'return getComputedStyle(document.body).backgroundColor'
        before = self.browser.run(color)
        self.browser.click('.theme')
        self.assertNotEqual(before, self.browser.run(color))
        self.open('events/jobs')
        self.assertNotEqual(before, self.browser.run(color))
        self.browser.click('.theme')
        self.assertEqual(before, self.browser.run(color))


class HostileTest(BrowserTestCase):

    scene = None

    def add_service(self):
        """Add a service that is called so."""
        with self.stage.site() as root:
            root['hostile'] = service = TaskService()
            manager = root.getSiteManager()
            manager.registerUtility(service, ITaskService, HOSTILE)
        self.addCleanup(self.remove_service)

    def remove_service(self):
        with self.stage.site() as root:
            root.getSiteManager().unregisterUtility(
                provided=ITaskService, name=HOSTILE)
            del root['hostile']

    def test_names(self):
        """So do a service, a principal, a worker and those who act."""
        self.add_service()
        with self.stage.site() as root:
            service = root['hostile']
            scenes.login_as(HOSTILE)
            service.add('echo', HOSTILE)
            Operations(service, HOSTILE).pause()
            scenes.logout()
            IJobExecution(service).claim(HOSTILE, 1)
        base = segment(HOSTILE)
        self.assert_nothing_runs(['', *(
            f'{base}/{page}' for page in (
                '', 'jobs', 'crons', 'workers', 'audit'))])
        self.assertIn('onerror', self.browser.text)

    def test_nothing_runs(self):
        """Whatever names, messages and addresses say, no script runs."""
        with self.stage.site():
            scenes.login_as('zope.user')
            sample.fail.enqueue(HOSTILE)
            sample.record.enqueue(HOSTILE, **{HOSTILE: HOSTILE})
            process('events', raise_errors=False)
            scenes.logout()
        with self.stage.service() as service:
            service.addCronJob('echo', HOSTILE, hour=2)
        paths = [*pictures.addresses(self.stage).values()]
        paths += [f'events/jobs?{name}={quote(HOSTILE)}' for name in (
            'status', 'function', 'principal', 'error_class', 'since',
            'after', 'said')]
        paths.append(f'{quote(HOSTILE)}/')
        self.assert_nothing_runs(paths)

    def assert_nothing_runs(self, paths):
        for path in paths:
            with self.subTest(path):
                self.open(path)
                self.assertNotEqual(
                    'hacked', self.browser.run('return document.title'))
                self.assertEqual([], [
                    each for each in self.browser.complaints()
                    if 'Content Security Policy' in each])


class LiveTest(BrowserTestCase):

    def place(self, selector):
        return self.browser.run('''
            const found = document.querySelector(arguments[0]);
            const {x, y, width, height} = found.getBoundingClientRect();
            return [found.dataset.row, x, y, width, height]''', selector)

    def looks(self):
        """Return how often the page has asked."""
        return self.browser.run(
            'return performance.getEntriesByType("resource").filter('
            'each => each.name.includes("fragment")).length')

    def wait_for_looks(self, number):
        self.browser.run('performance.clearResourceTimings()')
        self.browser.wait_for(lambda: self.looks() >= number, 'a refresh')

    def test_no_row_moves(self):
        """What is under the pointer stays there while jobs come and end."""
        self.open('events/jobs')
        self.browser.run(QUICK)
        row = 'tbody tr:nth-child(4)'
        self.browser.point(row)
        before = self.place(row)
        for _ in range(4):
            with self.stage.service() as service:
                service.add('echo')
                service.processNext()
            self.wait_for_looks(5)
            self.assertEqual(before, self.place(row))
        self.assertIn('newer - show', self.browser.text)
        self.browser.click('.newer')
        self.browser.wait_for(
            lambda: 'newer - show' not in self.browser.text)

    def test_rows_change(self):
        """A row says what has become of its job."""
        with self.stage.service() as service:
            jobid = service.add('echo', priority=9)
        self.open('events/jobs')
        cell = f'return document.querySelector(\'[data-row="{jobid}"]\').' \
            'innerText'
        self.assertIn('Queued', self.browser.run(cell))
        self.browser.run(QUICK)
        with self.stage.service() as service:
            service.processNext(jobid=jobid)
        self.browser.wait_for(
            lambda: 'Completed' in self.browser.run(cell), 'the status')

    def test_what_is_in_use(self):
        """Typing, boxes that are checked and open texts are left alone."""
        self.open('events/jobs?status=error')
        self.browser.run(QUICK)
        self.browser.type('[name="principal"]', 'ali')
        with self.stage.service() as service:
            service.requeue(service.find(status=ERROR).jobs[0].id)
        self.wait_for_looks(3)
        self.assertEqual('ali', self.browser.run(
            'return document.querySelector("[name=principal]").value'))
        self.assertIn('Waiting for you', self.browser.text)
        self.browser.run('document.activeElement.blur()')
        self.browser.wait_for(lambda: 'Updated' in self.browser.text)
        self.browser.click('tbody input')
        self.wait_for_looks(3)
        self.assertTrue(self.browser.run(
            'return document.querySelector("tbody input").checked'))

    def test_goes_on_looking(self):
        """What was not found at once is looked for, until it is there."""
        with mock.patch('lovely.remotetask.browser.joblist.SECONDS', -1):
            self.open('events/jobs?function=shop.mail.deliver')
            self.browser.wait_for(lambda: self.browser.run(
                'return document.querySelector("[data-row]")'), 'the job')
        self.assertIn('after=', self.browser.url)
        self.assertNotIn('Nothing found yet', self.browser.text)
        self.assertEqual([], self.browser.complaints())

    def test_first_row(self):
        """Where nothing was, something new is told of, too."""
        self.stage.clear()
        self.open('events/jobs')
        self.assertIn('No jobs yet', self.browser.text)
        self.browser.run(QUICK)
        with self.stage.service() as service:
            service.add('echo', {})
        self.browser.wait_for(
            lambda: '1 newer' in self.browser.text, 'the new one')

    def test_hidden(self):
        """A tab that nobody sees asks for nothing."""
        self.open('events/jobs')
        self.browser.run(QUICK)
        self.wait_for_looks(2)
        self.browser.run('''
            Object.defineProperty(document, 'hidden', {
              value: true, configurable: true});
            document.dispatchEvent(new Event('visibilitychange'));''')
        before = self.browser.run('''
            return new Promise(done => setTimeout(() => done(
              performance.getEntriesByType('resource').length), 400))''')
        self.assertEqual(before, self.browser.run('''
            return new Promise(done => setTimeout(() => done(
              performance.getEntriesByType('resource').length), 800))'''))
        self.browser.run('''
            Object.defineProperty(document, 'hidden', {
              value: false, configurable: true});
            document.dispatchEvent(new Event('visibilitychange'));''')
        self.wait_for_looks(1)

    def test_unchanged(self):
        """What has not changed is not sent again."""
        self.open('events/')
        self.browser.run(QUICK)
        self.wait_for_looks(4)
        self.assertEqual([304], self.browser.run('''
            return [...new Set(performance.getEntriesByType('resource')
              .filter(each => each.name.includes('fragment')).slice(2)
              .map(each => each.responseStatus))]'''))

    def test_server_away(self):
        """The page says that the server is away, and goes on later."""
        self.open('events/jobs')
        self.browser.run(QUICK)
        port = self.stage.server.port
        self.stage.server.stop()
        try:
            self.browser.wait_for(
                lambda: 'does not answer' in self.browser.text)
        finally:
            self.stage.start(port)
        self.browser.wait_for(lambda: 'Updated' in self.browser.text)


class AnswersTestCase(BrowserTestCase):

    scene = None

    @property
    def line(self):
        return self.browser.run(
            'return document.querySelector(".live-line").textContent')

    def wait_for(self, text):
        self.browser.wait_for(lambda: text in self.line, text)

    def stub(self, script):
        """Let a function answer in the place of the server.

        script -- JavaScript: of the number of the request, and its options.
        """
        self.browser.run('''
            window.asked = 0;
            window.answer = (text, options = {}) => new Response(text, {
              ...options, headers: {'Content-Type': 'text/html',
                'X-Async-Time': Date.now(), ...options.headers}});
            window.later = (milliseconds, signal) => new Promise(
              (done, failed) => {
                setTimeout(done, milliseconds);
                signal?.addEventListener(
                  'abort', () => failed(signal.reason));
              });
            const answers = new (async () => {}).constructor(
              'number', 'signal', arguments[0]);
            window.fetch = (address, {signal} = {}) => answers(
              ++asked, signal);''', script)


class AnswersTest(AnswersTestCase):
    """What the page does with what is answered, and with what is not."""

    def failed(self):
        """Return the id of a job that has failed."""
        scenes.failures(self.stage, 1)
        with self.stage.service() as service:
            return service.find(status=ERROR).jobs[0].id

    def test_one_at_a_time(self):
        """Nothing is asked before the answer, whatever happens meanwhile."""
        self.open('events/')
        self.stub('''
            await later(number === 1 ? 1000 : 50);
            return answer(`<span data-region="state">${number}</span>`);''')
        self.browser.run(QUICK)
        self.browser.wait_for(lambda: self.browser.run('return asked'))
        self.browser.run(
            'document.dispatchEvent(new Event("visibilitychange"))')
        seen = [self.browser.run('''
            return new Promise(done => setTimeout(() => done([asked,
              document.querySelector("[data-region=state]").textContent
              ]), 100))''') for _ in range(12)]
        self.assertEqual([1], sorted({
            asked for asked, text in seen if text == 'running'
            or not text.isdigit()}), seen)
        shown = [int(text) for _, text in seen if text.isdigit()]
        self.assertEqual(sorted(shown), shown)

    def test_hangs(self):
        """A server that hangs does not answer."""
        self.open('events/')
        self.browser.run('AbortSignal.timeout = () => {'
                         '  const found = new AbortController();'
                         '  setTimeout(() => found.abort(), 300);'
                         '  return found.signal; }')
        self.stub('await later(1e9, signal)')
        self.browser.run(QUICK)
        self.wait_for('does not answer')
        self.browser.wait_for(lambda: self.browser.run('return asked > 1'))

    def test_something_else(self):
        """A page to log in is no success, though its status says so."""
        self.open('events/')
        self.browser.run('window.real = fetch')
        self.stub('return new Response("<form>Log in</form>")')
        self.browser.run(QUICK)
        self.wait_for('log in')
        self.browser.run('window.fetch = window.real')
        self.wait_for('Updated')

    def test_removed(self):
        """A job that is removed is not asked for any more."""
        jobid = self.failed()
        self.open(f'events/jobs/{jobid}')
        self.browser.run(QUICK)
        self.wait_for('Updated')
        with self.stage.service() as service:
            service.remove(jobid)
        self.wait_for('removed')
        self.browser.run('''
            performance.clearResourceTimings();
            document.dispatchEvent(new Event('visibilitychange'))''')
        self.assertEqual(0, self.browser.run('''
            return new Promise(done => setTimeout(() => done(
              performance.getEntriesByType('resource').length), 800))'''))

    def test_clock_of_an_answer(self):
        """An answer that is old misleads until the next one."""
        self.failed()
        self.open('events/jobs')
        self.stub('''
            return answer(document.querySelector('main').innerHTML, {
              headers: {'X-Async-Time': Date.now()
                - (number === 1 ? 1200000 : 0)}})''')
        self.browser.run(QUICK)
        self.browser.wait_for(lambda: self.browser.run('return asked > 2'))
        self.assert_is_past()

    def test_clock_that_is_set(self):
        """A clock that is set while the page is open misleads nobody."""
        self.failed()
        self.open('events/jobs')
        self.browser.run('window.now = Date.now;'
                         'Date.now = () => now() + 8 * 3600 * 1000')
        self.browser.run(QUICK)
        self.wait_for('Updated')
        self.assert_is_past()
        self.browser.run('Date.now = window.now; performance.'
                         'clearResourceTimings()')
        self.browser.wait_for(lambda: self.browser.run(
            'return performance.getEntriesByType("resource").length > 2'))
        self.assert_is_past()

    def before_opening(self, script):
        """Let a script run before each page, until the test ends."""
        self.browser.tell('Page.enable')
        found = self.browser.tell(
            'Page.addScriptToEvaluateOnNewDocument', source=script)
        self.addCleanup(
            self.browser.tell, 'Page.removeScriptToEvaluateOnNewDocument',
            identifier=found['identifier'])

    def test_clock_of_the_reader(self):
        """A browser whose clock is slow is told the time with the page."""
        self.failed()
        self.before_opening('''
            const now = Date.now;
            Date.now = () => now() - 3600000;
            Storage.prototype.getItem = () => "0"''')
        self.open('events/jobs')
        self.browser.wait_for(lambda: self.browser.run(
            'return document.querySelector("tbody time[data-local]")'))
        self.assert_is_past()

    def assert_is_past(self):
        """Check that no job seems to end in the future."""
        self.assertRegex(self.browser.run(
            'return document.querySelector("tbody time").textContent'),
            r'now|\d s ago')

    def test_no_storage(self):
        """Where a page may store nothing, it is refreshed all the same."""
        self.failed()
        self.before_opening('''
            Object.defineProperty(window, 'localStorage', {get() {
              throw new DOMException('denied', 'SecurityError')}})''')
        self.open('events/jobs')
        self.browser.wait_for(lambda: self.browser.run(
            'return document.querySelector("time[data-local]")'))
        self.assertEqual('5', self.browser.run(
            'return document.querySelector(".refresh select").value'))
        self.browser.run(QUICK)
        self.wait_for('Updated')
        self.assertEqual([], self.browser.complaints())

    def test_nobody_is_here(self):
        """It is said that the refresh has paused, and a click goes on."""
        self.open('events/')
        self.browser.run(QUICK)
        self.wait_for('Updated')
        self.browser.run('''
            const now = performance.now.bind(performance);
            performance.now = () => now() + 31 * 60 * 1000''')
        self.wait_for('half an hour')
        self.browser.run('document.querySelector(".go-on").click()')
        self.wait_for('Updated')
        self.assertFalse(self.browser.run(
            'return document.querySelector(".go-on").checkVisibility()'))


class RegionsTest(BrowserTestCase):
    """Each part of a page follows what is so on the server."""

    scene = None

    def wait_for(self, text):
        self.browser.wait_for(lambda: text in self.content, text)

    @property
    def content(self):
        return self.browser.run(
            'return document.querySelector("#async-content").innerText')

    def look(self, path):
        """Open a page that looks at itself all the time."""
        self.open(path)
        self.browser.run(QUICK)
        self.browser.wait_for(lambda: 'Updated' in self.browser.text)

    def add(self):
        with self.stage.service() as service:
            return service.add('echo')

    def run_one(self):
        with self.stage.service() as service:
            service.processNext()

    def row(self, jobid):
        return self.browser.run(
            f'return document.querySelector(\'[data-row="{jobid}"]\')'
            f'.innerText')

    def buttons(self, place='.buttons'):
        return self.browser.run('''
            return [...document.querySelectorAll(arguments[0] + ' button')]
              .filter(each => each.checkVisibility())
              .map(each => each.textContent)''', place)

    def test_first_worker(self):
        """The first worker appears where there was none."""
        self.look('events/workers')
        self.assertIn('There is no worker', self.content)
        with self.stage.service() as service:
            IJobExecution(service).workers.sign(
                'web1:1:t', time.time(), {
                    'host': 'web1', 'pid': 1, 'kind': 'x', 'threads': 1,
                    'started': time.time()}, 1.0)
        self.wait_for('web1:1')
        self.assertNotIn('There is no worker', self.content)

    def test_first_action(self):
        """So does what was done first."""
        jobid = self.add()
        with self.stage.service() as service:
            Operations(service, 'tests.manager')
        self.look('events/audit')
        before = self.content
        with self.stage.service() as service:
            Operations(service, 'tests.somebody').cancel(jobid)
        self.wait_for('tests.somebody')
        self.assertNotEqual(before, self.content)

    def test_first_cron_job(self):
        """A cron job is told of where there was none."""
        self.look('events/crons')
        with self.stage.service() as service:
            service.addCronJob('echo', hour=2)
        self.wait_for('1 newer')

    def test_newer_that_are_gone(self):
        """Nor is a job told as newer that is not there any more."""
        self.look('events/jobs?status=queued')
        self.add()
        self.wait_for('1 newer')
        self.run_one()
        self.browser.wait_for(lambda: '1 newer' not in self.content)

    def test_last_row(self):
        """The last row says that its job is somewhere else now."""
        jobid = self.add()
        self.look('events/jobs?status=queued')
        self.run_one()
        self.browser.wait_for(lambda: 'No longer here' in self.row(jobid))
        self.assertNotIn('Queued', self.row(jobid))

    def test_rows_that_are_gone(self):
        """So does one of many; without a colour, too; it may come back."""
        scenes.failures(self.stage, 3)
        with self.stage.service() as service:
            jobid = service.find(status=ERROR).jobs[0].id
        self.look('events/jobs?status=error')
        with self.stage.service() as service:
            service.requeue(jobid)
        self.browser.wait_for(lambda: 'No longer here' in self.row(jobid))
        self.assertNotIn('Failed', self.row(jobid))
        self.assertNotEqual('0px', self.size_on_a_phone(jobid))
        self.assertIn('line-through', self.browser.run(
            f'return getComputedStyle(document.querySelector('
            f'\'[data-row="{jobid}"] .main\')).textDecoration'))
        self.run_one()
        self.browser.wait_for(lambda: 'Failed' in self.row(jobid))
        self.assertNotIn('No longer here', self.row(jobid))

    def size_on_a_phone(self, jobid):
        """Return the size of the word that says what became of a job."""
        self.browser.resize(400, 800)
        try:
            return self.browser.run(
                f'return getComputedStyle(document.querySelector('
                f'\'[data-row="{jobid}"] .status\')).fontSize')
        finally:
            self.browser.resize(1280, 900)

    def test_more_than_a_page(self):
        """Of more than are shown, it is said that there are more."""
        jobid = self.add()
        self.look('events/jobs')
        self.run_one()
        for _ in range(60):
            self.add()
        self.wait_for('50+ newer')
        self.assertIn('No longer here', self.row(jobid))

    def test_older_is_not_newer(self):
        """What moves up from the next page is not told as newer."""
        scenes.failures(self.stage, 53)
        self.look('events/jobs?status=error')
        with self.stage.service() as service:
            jobid = service.find(status=ERROR, limit=1).jobs[0].id
            service.requeue(jobid)
        self.browser.wait_for(lambda: 'No longer here' in self.row(jobid))
        self.assertNotIn('newer', self.content)

    def test_buttons_of_a_job(self):
        """What can be done with a job is what can be done with it now."""
        jobid = self.add()
        self.look(f'events/jobs/{jobid}')
        self.assertIn('Cancel', self.buttons())
        self.run_one()
        self.wait_for('Completed')
        self.browser.wait_for(lambda: 'Cancel' not in self.buttons())
        jobid = self.add()
        self.look(f'events/jobs/{jobid}')
        self.assertNotIn('Requeue', self.buttons())
        with self.stage.service() as service:
            service.cancel(jobid)
        self.browser.wait_for(lambda: 'Requeue' in self.buttons())

    def test_no_button_changes_under_the_pointer(self):
        """They become what they should be when it has left them."""
        jobid = self.add()
        self.look(f'events/jobs/{jobid}')
        self.browser.point('.buttons form')
        self.run_one()
        self.wait_for('Completed')
        self.assertIn('Cancel', self.buttons())
        # What is not possible any more cannot be pressed; and what is asks for
        # what the page says.
        forms = dict(self.browser.run('''
            return [...document.querySelectorAll('.buttons button')].map(
              each => [each.textContent, [each.disabled, each.form.action]])
            '''))
        self.assertTrue(forms['Cancel'][0])
        self.assertFalse(forms['Remove'][0])
        self.assertIn('completed', forms['Remove'][1])
        self.browser.point('h1')
        self.browser.wait_for(lambda: 'Cancel' not in self.buttons())

    def test_buttons_of_a_service(self):
        """A service that somebody pauses can be resumed."""
        self.look('events/')
        self.assertIn('Pause', self.buttons('.heading'))
        with self.stage.service() as service:
            service.paused = True
        self.browser.wait_for(
            lambda: 'Resume' in self.buttons('.heading'))
        self.assertNotIn('Pause', self.buttons('.heading'))

    def test_buttons_of_a_cron_job(self):
        """So can a cron job."""
        with self.stage.service() as service:
            jobid = service.addCronJob('echo', hour=2)
        self.look('events/crons')
        before = self.buttons('.actions')
        with self.stage.service() as service:
            Operations(service, 'x').pause_job(jobid)
        self.browser.wait_for(lambda: self.buttons('.actions') != before)

    def test_copy(self):
        """A traceback can be copied, also after a refresh."""
        scenes.failures(self.stage, 1)
        with self.stage.service() as service:
            jobid = service.find(status=ERROR).jobs[0].id
        self.look(f'events/jobs/{jobid}')
        with self.stage.service() as service:
            Operations(service, 'tests.somebody').requeue(jobid)
        self.run_one()
        self.wait_for('tests.somebody')
        self.browser.click('.traceback summary')
        self.assertTrue(self.browser.run(
            'return document.querySelector(".copy").checkVisibility()'))

    def test_copy_by_hand(self):
        """Where no page may copy, the text is selected, and that is said."""
        scenes.failures(self.stage, 1)
        with self.stage.service() as service:
            jobid = service.find(status=ERROR).jobs[0].id
        self.open(f'events/jobs/{jobid}')
        self.browser.run('Object.defineProperty(navigator, "clipboard", {'
                         'value: undefined})')
        self.browser.click('.traceback summary')
        self.browser.click('.copy')
        self.browser.wait_for(lambda: 'Selected' in self.browser.run(
            'return document.querySelector(".copy").textContent'))
        self.assertIn('MailboxFull', self.browser.run(
            'return getSelection().toString()'))
        self.assertEqual([], self.browser.complaints())

    def test_newer_after_the_skip_link(self):
        """What is newer is shown, wherever one was led on the page."""
        self.add()
        self.open('events/jobs')
        self.browser.press('tab')
        self.browser.press('enter')
        self.assertIn('#async-content', self.browser.url)
        self.browser.run(QUICK)
        self.add()
        self.wait_for('1 newer')
        self.browser.click('.newer')
        self.browser.wait_for(lambda: self.browser.run(
            'return document.querySelectorAll("tbody tr").length') == 2)

    def test_other_columns(self):
        """Who may do less now sees no cell in another column."""
        scenes.failures(self.stage, 2)
        self.open('events/jobs?status=error')
        self.addCleanup(
            self.browser.login, self.stage.server.url, 'manager')
        self.browser.login(self.stage.server.url, 'viewer')
        before = self.browser.run(
            'return document.querySelector("tbody").innerText')
        self.browser.run(QUICK)
        self.browser.wait_for(lambda: 'Updated' in self.browser.text)
        cells = self.browser.run('''
            return [...document.querySelector('tbody tr').cells].map(
              each => each.innerText.trim())''')
        self.assertEqual(['', 'Failed'], cells[:2])
        self.assertNotIn('With those that are checked', self.browser.text)
        self.assertEqual(before.count('Failed'), self.browser.run(
            'return document.querySelector("tbody").innerText').count(
                'Failed'))


class CronTest(BrowserTestCase):

    scene = None

    def crons(self):
        with self.stage.service() as service:
            return [(job.hour, job.principal) for job in service.cron_jobs()]

    def test_add_and_change(self):
        """The enter key shows the next runs; a button keeps the job."""
        self.open('events/crons')
        self.browser.click('.heading .button')
        self.browser.run("""
            const found = document.querySelector('[name=function]');
            found.value = 'shop.stock.reorder'""")
        self.browser.type('[name="hour"]', '2-4')
        self.browser.press('enter')
        self.browser.wait_for(lambda: 'Next runs' in self.browser.text)
        self.assertIn('at 02:00, 03:00, 04:00 every day UTC',
                      self.browser.text)
        self.assertEqual([], self.crons())
        self.assertNotIn('token', self.browser.run('return location.href'))
        self.browser.click('[name="token"]')
        self.browser.wait_for(
            lambda: 'The cron job is added' in self.browser.text)
        self.assertEqual([((2, 3, 4), 'tests.manager')], self.crons())
        self.browser.click('td.main a')
        self.browser.click('[href$="/pattern"]')
        self.assertEqual('2-4', self.browser.run(
            'return document.querySelector("[name=hour]").value'))
        self.browser.type('[name="hour"]', ',25')
        self.browser.click('[name="token"]')
        self.browser.wait_for(
            lambda: 'hour must be 0 to 23' in self.browser.text)
        self.assertEqual('2-4,25', self.browser.run(
            'return document.querySelector("[name=hour]").value'))
        self.assertEqual([((2, 3, 4), 'tests.manager')], self.crons())


class ZoneTest(BrowserTestCase):

    def test_of_the_reader(self):
        """Times are told in the reader's time zone, whatever the server's.
        """
        browser = Browser(zone='America/St_Johns')
        self.addCleanup(browser.close)
        browser.login(self.stage.server.url, 'manager')
        browser.open(f'{self.stage.server.url}/@@async/events/jobs')
        title = browser.wait_for(lambda: browser.run(
            'return document.querySelector("time[data-local]")?.title'))
        local, _, absolute = title.rpartition(' (')
        self.assertRegex(absolute, r'\A\d{4}-\d\d-\d\d .* UTC\)\Z')
        # Newfoundland is half an hour off.
        minute = int(absolute[14:16])
        self.assertIn(f':{(minute + 30) % 60:02}:', local)


class BulkTestCase(BrowserTestCase):

    def add_failures(self, number):
        with self.stage.site():
            scenes.login_as('zope.user')
            for _ in range(number):
                sample.fail.enqueue('no')
            scenes.logout()
        with self.stage.service() as service:
            service.process()

    def counts(self):
        with self.stage.service() as service:
            return service.counts()


class BulkTest(BulkTestCase):

    def test_all(self):
        """All failures are requeued, slice after slice; later ones stay."""
        self.add_failures(60)
        before = self.counts()[ERROR]
        with mock.patch('lovely.remotetask.browser.bulkpage.SLICE', 10):
            self.open('events/bulk?action=requeue&status=error')
            self.add_failures(2)
            self.browser.click('.bulk button')
            self.browser.wait_for(
                lambda: f'Done: {before}.' in self.browser.text)
        self.assertGreaterEqual(self.counts()[ERROR], 2)

    def test_check_all(self):
        """One box checks all rows, and with another click none.

        What can be done then appears where it moves no row.
        """
        self.open('events/jobs?status=error')
        rows = 'return [...document.querySelectorAll("[data-row]")].map(' \
            'each => each.getBoundingClientRect().top)'
        before = self.browser.run(rows)
        for number in self.counts()[ERROR], 0:
            self.browser.click('input.all')
            self.assertEqual(number, self.browser.run(
                'return document.querySelectorAll("[name=job]:checked")'
                '.length'))
            self.assertEqual(number > 0, self.browser.run(
                'return document.querySelector(".selected").checkVisibility()'
            ))
            self.assertEqual(before, self.browser.run(rows))

    def test_back(self):
        """Who goes back finds no box checked: other jobs are beside them."""
        self.add_failures(6)
        self.open('events/jobs?status=error')
        self.browser.click('tbody tr:nth-child(1) input')
        self.browser.click('tbody tr:nth-child(2) input')
        self.browser.click('.selected [value=requeue]')
        self.browser.wait_for(lambda: 'Done: 2.' in self.browser.text)
        self.browser.run('history.back()')
        self.browser.wait_for(lambda: self.browser.run(
            'return document.querySelector("tbody tr") !== null'), 'the list')
        # A browser fills in what it remembers once the page is there.
        self.browser.wait_for(lambda: self.browser.run(
            'return performance.getEntriesByType("navigation")[0]'
            '.loadEventEnd > 0'), 'all of the page')
        self.assertEqual([], self.browser.run(
            'return [...document.querySelectorAll(":checked[name=job]")]'
            '.map(each => each.value)'))

    def test_shown_again_as_it_was(self):
        """A page that a browser had put aside is loaded anew."""
        self.open('events/jobs?status=error')
        self.browser.click('tbody tr:nth-child(1) input')
        self.browser.run(
            'dispatchEvent(new PageTransitionEvent("pageshow", '
            '{persisted: true}))')
        self.browser.wait_for(lambda: self.browser.run(
            'return performance.getEntriesByType("navigation")[0].type'
            ' === "reload" && !document.querySelector(":checked[name=job]")'),
            'the page')

    def test_enter_on_a_box(self):
        """It does nothing: no button is the one that is meant."""
        with self.stage.service() as service:
            jobid = service.add('echo')
        self.open('events/jobs?status=queued')
        self.browser.click('tbody input')
        self.browser.run('document.querySelector("tbody input").focus()')
        self.browser.press('enter')
        # A request that was sent is answered before this one.
        self.browser.open(f'{self.stage.server.url}/@@async/events/jobs')
        with self.stage.service() as service:
            self.assertEqual('queued', service.getStatus(jobid))

    def test_remove_checked(self):
        """What cannot be undone is asked, and not done without a yes."""
        before = self.counts()[ERROR]
        for says, left in ('false', before), ('true', 0):
            self.open('events/jobs?status=error')
            self.browser.run(f'window.confirm = text => {says}')
            self.browser.click('input.all')
            self.browser.click('.selected [value=remove]')
            self.browser.wait_for(lambda left=left: (
                self.counts()[ERROR] == left), 'the answer')
        self.assertIn('Done: 3.', self.browser.text)
        self.browser.click('#async-content a.button')
        self.assertIn('status=error', self.browser.url)

    def test_without_script(self):
        """Without a script there is a button to go on."""
        self.add_failures(6)
        browser = Browser(scripts=False)
        self.addCleanup(browser.close)
        browser.login(self.stage.server.url, 'manager')
        with mock.patch('lovely.remotetask.browser.bulkpage.SLICE', 4):
            browser.open(f'{self.stage.server.url}/@@async/events/bulk?'
                         f'action=requeue&status=error')
            before = self.counts()
            browser.click('.bulk button')
            text = self.page_after(browser, '')
            self.assertIn('Done: 4.', text)
            while 'Continue' in text:
                browser.click('.bulk button')
                text = self.page_after(browser, text)
        after = self.counts()
        self.assertEqual(0, after[ERROR])
        self.assertEqual(before[QUEUED] + before[ERROR], after[QUEUED])
        self.assertIn('Back', text)

    def page_after(self, browser, text):
        """Return the text of the next page that says what is done."""
        def found():
            now = browser.text
            return now if 'Done: ' in now and now != text else None
        return browser.wait_for(found, 'the next page')


class InterruptedTest(AnswersTestCase):
    """What is done to many jobs, and something comes between."""

    def setUp(self):
        super().setUp()
        scenes.failures(self.stage, 2)
        self.open('events/bulk?action=requeue&status=error')

    def begin(self, script):
        self.stub(f'''
            const json = (found, status = 200) => new Response(
              JSON.stringify(found), {{status, headers: {{
                'Content-Type': 'application/json'}}}});
            {script}''')
        self.browser.click('.bulk button')
        self.browser.wait_for(lambda: self.browser.run(
            'return document.querySelector(".stop").hidden'), 'the end')

    def shown(self):
        return self.browser.run('''
            const button = document.querySelector('.bulk button');
            return [button.disabled ? null : button.textContent,
              document.querySelector('.progress').textContent]''')

    SLICE = 'json({done: 500, skipped: 0, after: "x"})'

    def test_signed_out(self):
        """Who must log in is told so; it goes on from there."""
        self.begin(f'''return number === 1 ? {self.SLICE}
            : new Response('<form>Log in</form>')''')
        button, text = self.shown()
        self.assertEqual('Continue', button)
        self.assertIn('log in', text)
        self.assertIn('500', text)

    def test_refused(self):
        """What is refused midway tells why, and what was done."""
        self.begin(f'''return number === 1 ? {self.SLICE}
            : json({{detail: 'For a while.'}}, 503)''')
        button, text = self.shown()
        self.assertEqual('Continue', button)
        self.assertIn('For a while.', text)
        self.assertIn('500', text)

    def test_refused_at_once(self):
        """What is refused at once can be tried again."""
        self.begin("return json({detail: 'Type it.'}, 409)")
        self.assertEqual(['Requeue', 'Type it.'], self.shown())


class ManagersTest(BulkTestCase):
    """Two who look after the same jobs, each in a browser."""

    def setUp(self):
        super().setUp()
        self.other = Browser()
        self.addCleanup(self.other.close)
        self.other.login(self.stage.server.url, 'manager')

    def both_open(self, path):
        self.open(path)
        self.other.open(f'{self.stage.server.url}/@@async/{path}')

    def done(self, browser):
        """Return how many jobs a browser says are done, at the end."""
        browser.wait_for(lambda: browser.run(
            'return document.querySelector(".stop").hidden'), 'the end')
        return int(re.search(r'Done: (\d+)\.', browser.text).group(1))

    def test_the_same_action(self):
        """What both requeue is requeued once, and each is told his part."""
        self.add_failures(60)
        before = self.counts()
        with mock.patch('lovely.remotetask.browser.bulkpage.SLICE', 5):
            self.both_open('events/bulk?action=requeue&status=error')
            self.browser.click('.bulk button')
            self.other.click('.bulk button')
            done = self.done(self.browser), self.done(self.other)
        after = self.counts()
        self.assertEqual(0, after[ERROR])
        self.assertEqual(before[QUEUED] + before[ERROR], after[QUEUED])
        self.assertEqual(before[ERROR], sum(done), done)

    def test_different_actions(self):
        """What one removes and the other requeues is one of both."""
        self.add_failures(60)
        before = self.counts()
        with mock.patch('lovely.remotetask.browser.bulkpage.SLICE', 5):
            self.open('events/bulk?action=remove&status=error')
            self.other.open(f'{self.stage.server.url}/@@async/events/bulk?'
                            f'action=requeue&status=error')
            self.browser.click('.bulk button')
            self.other.click('.bulk button')
            removed = self.done(self.browser)
            requeued = self.done(self.other)
        after = self.counts()
        self.assertEqual(before[ERROR], removed + requeued)
        self.assertEqual(before[QUEUED] + requeued, after[QUEUED])
        self.assertEqual(0, after[ERROR])

    def test_one_job(self):
        """Who comes too late is told so, with a way back."""
        with self.stage.service() as service:
            jobid = service.find(status=ERROR, limit=1).jobs[0].id
        for action, sentence in (
                ('requeue', 'it was "Failed", and is "Queued" now'),
                ('remove', f'There is no job {jobid} any more')):
            self.both_open(f'events/jobs/{jobid}')
            for browser in self.browser, self.other:
                # What is asked first is not what is tested here.
                browser.run('window.confirm = () => true')
                browser.click(f'form[action*="/{action}"] button')
            self.other.wait_for(lambda text=sentence: text in self.other.text)
            self.assertIn('Background jobs', self.other.text)


class KilledTest(unittest.TestCase):
    """The server is killed while many jobs are requeued."""

    NUMBER = 400

    def setUp(self):
        self.process = Process()
        self.process.start('failures', self.NUMBER)
        self.addCleanup(self.process.close)
        self.browser = Browser()
        self.addCleanup(self.browser.close)
        self.browser.login(self.process.url, 'manager')
        self.browser.open(f'{self.process.url}/@@async/events/bulk?'
                          f'action=requeue&status=error')

    def wait_for(self, text):
        self.browser.wait_for(lambda: text in self.browser.text, text)

    def progress(self):
        return self.browser.run(
            'return document.querySelector(".progress").textContent')

    def counts(self):
        return self.browser.run(
            'return fetch("service.json").then(each => each.json())'
            )['counts']

    def test_goes_on(self):
        """The page says so, and goes on when there is a server again."""
        self.browser.click('.bulk button')
        self.wait_for('Done: ')
        self.process.kill()
        self.wait_for('does not answer')
        self.process.start()
        self.browser.wait_for(lambda: self.browser.run(
            'return document.querySelector(".stop").hidden'), 'the end')
        counts = self.counts()
        self.assertEqual((0, self.NUMBER), (counts[ERROR], counts[QUEUED]))
        # A slice whose answer was lost is not counted.
        done = int(re.search(r'Done: (\d+)', self.progress()).group(1))
        self.assertLessEqual(self.NUMBER - SLICE, done)
        self.assertLessEqual(done, self.NUMBER)

    def test_stopped_and_continued(self):
        """Who says stop meanwhile can continue later, where it was."""
        self.browser.click('.bulk button')
        self.wait_for('Done: ')
        self.process.kill()
        self.wait_for('does not answer')
        self.browser.click('.stop')
        self.process.start()
        self.wait_for('Continue')
        self.assertLess(0, self.counts()[ERROR])
        self.browser.click('.bulk button')
        self.browser.wait_for(lambda: self.browser.run(
            'return document.querySelector(".stop").hidden && '
            'document.querySelector(".bulk button").disabled'), 'the end')
        counts = self.counts()
        self.assertEqual((0, self.NUMBER), (counts[ERROR], counts[QUEUED]))


class FarAwayTest(unittest.TestCase):
    """A server in India, and a reader in Newfoundland."""

    @classmethod
    def setUpClass(cls):
        cls.process = Process('Asia/Kolkata')
        cls.process.start('failures', 2)
        cls.addClassCleanup(cls.process.close)
        cls.browser = Browser(zone='America/St_Johns')
        cls.addClassCleanup(cls.browser.close)
        cls.browser.resize(1280, 900)
        cls.browser.login(cls.process.url, 'manager')

    def open(self, path):
        self.browser.open(f'{self.process.url}/@@async/{path}')
        self.browser.wait_for(lambda: self.browser.run(
            'return document.querySelector("time[data-local]")'))

    def test_times(self):
        """Each is that of the job, whatever both clocks show."""
        now = time.time()
        self.open('events/jobs')
        for when, title in self.browser.run('''
                return [...document.querySelectorAll('time')].map(
                  each => [each.dateTime, each.title])'''):
            moment = datetime.datetime.fromisoformat(when)
            self.assertLess(abs(moment.timestamp() - now), 120)
            local, _, absolute = title.rpartition(' (')
            self.assertEqual(f'{moment:%Y-%m-%d %H:%M:%S} UTC)', absolute)
            there = moment.astimezone(ZoneInfo('America/St_Johns'))
            self.assertIn(f'{there:%M:%S}', local)
            self.assertIn(f'{there.month}/{there.day}/{there.year}', local)

    def test_filter(self):
        """Times are typed in UTC, as the field says."""
        now = datetime.datetime.now(datetime.UTC)
        hour = datetime.timedelta(hours=1)
        for begin, end, number in ((now - hour, now + hour, 2),
                                   (now + hour, now + 2 * hour, 0),
                                   (now - 6 * hour, now - hour, 0)):
            self.browser.open(f'{self.process.url}/@@async/events/jobs')
            for name, when in ('since', begin), ('until', end):
                self.browser.type(f'[name="{name}"]',
                                  f'{when:%Y-%m-%d %H:%M}')
            self.browser.press('enter')
            self.browser.wait_for(lambda: 'since=' in self.browser.url)
            self.assertEqual(number, self.browser.run(
                'return document.querySelectorAll("tbody tr").length'))

    def test_nights_of_a_change(self):
        """An hour that comes twice is told apart, one that is left out, too.
        """
        self.open('events/jobs')
        # Clocks go back at 04:30 UTC, and forward at 05:30 UTC.
        self.browser.run('''
            for (const when of arguments[0]) {
              const found = document.createElement('time');
              found.dateTime = found.title = when;
              document.querySelector('h1').append(found);
            }''', [
            '2026-11-01T04:15:00Z', '2026-11-01T05:15:00Z',
            '2026-03-08T05:15:00Z', '2026-03-08T05:45:00Z'])
        self.browser.run(QUICK)
        self.browser.wait_for(lambda: self.browser.run(
            'return !document.querySelector("h1 time:not([data-local])")'))
        shown = self.browser.run('''
            return [...document.querySelectorAll('h1 time')].map(
              each => each.title)''')
        for text, local in zip(shown, ('1:45:00', '1:45:00', '1:45:00',
                                       '3:15:00'), strict=True):
            self.assertIn(local, text)
        self.assertEqual(4, len(set(shown)))


class MassTest(BrowserTestCase):
    """All of 20 000 jobs."""

    scene = None
    NUMBER = 20_000

    def test_requeued(self):
        """They are requeued within the patience of a reader, not at once."""
        # Those that failed would take minutes to be made.
        for _ in range(self.NUMBER // 1000):
            with self.stage.service() as service:
                for _ in range(1000):
                    service.cancel(service.add('echo'))
        self.open('events/bulk?action=requeue&status=cancelled')
        self.browser.click('.bulk button')
        deadline = time.monotonic() + 120
        while not self.browser.run(
                'return document.querySelector(".stop").hidden'):
            self.assertLess(time.monotonic(), deadline, self.browser.text)
            time.sleep(0.2)
        self.assertIn('Done: 20000.', self.browser.text)
        with self.stage.service() as service:
            counts = service.counts()
        self.assertEqual(
            (0, self.NUMBER), (counts[CANCELLED], counts[QUEUED]))


class LoadTest(unittest.TestCase):
    """No page costs more where there are more jobs."""

    NUMBERS = 1_000, 50_000

    def test_loads(self):
        """As many objects are loaded for a thousand jobs as for 50 000."""
        few, many = load.measure(
            Stage.shared(), self.NUMBERS, self.add_on_all_shelves)
        for page in load.PAGES:
            with self.subTest(page):
                # A tree that has grown is a level deeper.
                self.assertLessEqual(
                    many[page].loads, 1.2 * few[page].loads + 10)

    def add_on_all_shelves(self, stage, number):
        """Add jobs as one does who adds much, where there are workers.

        He uses all shelves sooner or later: here, from the beginning.
        """
        begun = min(number, 1000)
        with mock.patch.object(adder, 'BUSY', 2), mock.patch.object(
                adder, '_workers_meet', return_value=True):
            for _ in range(0, begun, 20):
                scenes.more(stage, 20)
            scenes.more(stage, number - begun)

    def test_what_no_worker_has_seen(self):
        """Where many were cancelled while they waited there is a limit."""
        many, = load.measure(Stage.shared(), [8_000])
        for page, cost in many.items():
            with self.subTest(page):
                self.assertLessEqual(cost.loads, 3_000)


def tearDownModule():
    """End the server that all tests share."""
    Stage.end_shared()
