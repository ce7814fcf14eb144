"""The management pages, by raw HTTP."""

import contextlib
import re
import time
import unittest
import zoneinfo
from html import unescape
from unittest import mock
from urllib.parse import quote
from urllib.parse import urlencode
from urllib.parse import urljoin

import transaction
import zope.component
import zope.interface
import zope.site.folder
import zope.site.site
from webtest import TestApp
from ZODB.Connection import Connection
from zope.app.wsgi.testlayer import BrowserLayer
from zope.component.interfaces import ISite
from zope.configuration import xmlconfig
from zope.configuration.exceptions import ConfigurationError
from zope.pagetemplate.pagetemplate import PageTemplate
from zope.publisher.interfaces.browser import IBrowserRequest
from zope.security.checker import selectChecker
from zope.securitypolicy.interfaces import IPrincipalPermissionManager
from zope.securitypolicy.zopepolicy import ZopeSecurityPolicy
from zope.traversing.interfaces import IBeforeTraverseEvent

import gocept.async_
import gocept.async_.tests
from gocept.async_.pages import directive
from gocept.async_.pages.earlier import Lead
from gocept.async_.pages.views import Views
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.testing import login
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.configuration import read
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.functional import add_service
from gocept.async_.tests.pageslayer import PagesTestCase
from gocept.async_.tests.pageslayer import PeopleTestCase
from lovely.remotetask import TaskService
from lovely.remotetask.browser.assets import Assets
from lovely.remotetask.browser.page import TIME
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.pages import Pages
from lovely.remotetask.browser.selection import Selection
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import IJob
from lovely.remotetask.interfaces import IJobExecution
from lovely.remotetask.interfaces import IJobPanel
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.management import Management
from lovely.remotetask.measure import Slice
from lovely.remotetask.operations import Operations
from lovely.remotetask.task import SimpleTask


SKIN_LAYER = BrowserLayer(
    gocept.async_.tests, 'skin.zcml', name='SKIN_LAYER', allowTearDown=True)

HOSTILE = '"><script>alert(1)</script>\x00\u202e\ud800&amp;{{7*7}}'


class WithoutDirectiveTest(FunctionalTestCase):

    layer = FUNCTIONAL_LAYER

    def test_nothing_is_reachable(self):
        """No page is there unless ZCML asks for it."""
        app = TestApp(self.layer.make_wsgi_app())
        app.authorization = 'Basic', ('mgr', 'mgrpw')
        for path in ('@@async/', '@@async/events/jobs', 'tasks/@@async/',
                     'tasks/jobs.html', 'tasks/index.html'):
            with self.subTest(path):
                self.assertEqual(
                    404, app.get(f'/{path}', expect_errors=True).status_int)


class PublicationTest(PagesTestCase):
    """The pages are published by others than Zope's own publication, too."""

    def test_classes_have_checkers(self):
        """Grok takes proxies off, and asks for the checker of the class."""
        classes = [Assets, Lead, Page, Pages]
        for class_ in classes:
            classes += class_.__subclasses__()
            page = object.__new__(class_)
            with self.subTest(class_.__name__):
                selectChecker(page).check(page, '__call__')
        self.assertGreater(len(classes), 12)


class RoutesTest(PagesTestCase):

    # By the permission that is needed.
    PAGES = {
        'lovely.remotetask.View': [
            '', '+overview.json', 'events/crons', 'events/crons.json',
            'events/', 'events/service.json',
            'events/jobs', 'events/jobs.json', 'events/jobs/{jobid}',
            'events/jobs/{jobid}.json', 'events/workers',
            'events/workers.json'],
        'lovely.remotetask.Manage': [
            'events/cron-add', 'events/cron-add?hour=2',
            'events/cron-add.json', 'events/jobs/{cron}/pattern'],
    }

    MAY = {'lovely.remotetask.View': {
        'viewer', 'reader', 'operator', 'manager'},
        'lovely.remotetask.Manage': {'manager'}}

    def assert_seen(self, path, may):
        for who, expected in (('anonymous', 401), ('user', 403),
                              ('viewer', 200), ('reader', 200),
                              ('operator', 200), ('manager', 200)):
            if expected == 200 and who not in may:
                expected = 403
            with self.subTest(path, who=who):
                self.assertEqual(expected, self.ask(path, who).status_int)

    def test_permissions(self):
        """Each page is shown to those who have its permission, and nobody
        else."""
        ids = {'cron': self.service.addCronJob('echo', hour=2),
               'jobid': self.add()}
        for permission, paths in self.PAGES.items():
            for path in paths:
                self.assert_seen(path.format(**ids), self.MAY[permission])

    def test_assets_are_for_everybody(self):
        """The style sheet is found where a page says, by anybody, and kept.
        """
        for path in ('', 'events/', 'events/jobs'):
            page = self.ask(path)
            found = re.findall(r'(?:href|src)="([^"]*\+static[^"]*)"',
                               page.text)
            self.assertEqual(2, len(found))
            for each in found:
                self.app.authorization = None
                asset = page.goto(each)
                self.assertEqual(200, asset.status_int)
                self.assertIn('immutable', asset.headers['Cache-Control'])
                if '.js' in each:
                    self.assertLessEqual(self.size(asset), 16_000)

    def size(self, script):
        """Return how many bytes a script has, with those that it needs."""
        scripts = {'pages.js': script}
        left = [script]
        while left:
            for name in re.findall(r"'\./(\w+\.js)'", left.pop().text):
                if name not in scripts:
                    scripts[name] = found = script.goto(name)
                    left.append(found)
                    self.assertEqual(200, found.status_int)
                    self.assertIn('immutable', found.headers['Cache-Control'])
        return sum(len(each.body) for each in scripts.values())

    def test_there_is_nothing_else(self):
        """What is no page is not found."""
        for path in ('nothing/', 'events/nothing', 'events/jobs/x',
                     'events/jobs/1.json/requeue', 'events/jobs/99',
                     'events/jobs/99999999999999999999999', '+static/a/b',
                     'events/service.json/x', 'events/../../x',
                     'events/jobs/1/nothing', 'events/jobs/-1'):
            with self.subTest(path):
                self.assertEqual(404, self.ask(path).status_int)

    def test_with_a_slash(self):
        """An address without its last slash leads to the one with it."""
        self.login('manager')
        for path in ('/@@async', '/@@async/events'):
            self.assertEqual(200, self.app.get(path).follow().status_int)

    def test_query_like_the_path(self):
        """What the server calls the path is no field of a query."""
        for path, who, status in (
                ('?PATH_INFO:int=1', 'anonymous', 401),
                ('?PATH_INFO=x', 'viewer', 200),
                ('events/?PATH_INFO:int=1', 'viewer', 200),
                ('events/nothing?PATH_INFO:int=1', 'viewer', 404)):
            with self.subTest(path):
                self.assertEqual(status, self.ask(path, who).status_int)

    def test_names_are_encoded(self):
        """A service with any name is reached by its link."""
        overview = self.ask('')
        found = re.search('href="([^"]*)">Größe', overview.text).group(1)
        page = overview.goto(found)
        self.assertIn('<h1>Größe 10% m²</h1>', page.text)
        self.assertEqual(200, page.click('Jobs', index=0).status_int)

    def test_any_name(self):
        """One name that no encoding has spoils no page, and is reached."""
        add_service(self.root, 'a\ud800', 'odd')
        transaction.commit()
        found, = [each['url'] for each
                  in self.ask('+overview.json').json['services']
                  if each['name'] == 'a\ud800']
        self.assertIn('a\\ud800', self.ask('').text)
        self.assertIn('a\\ud800', self.ask(found).text)
        self.assertEqual(200, self.ask('+metrics').status_int)

    def test_reads_only(self):
        """No page writes anything."""
        ids = {'cron': self.service.addCronJob('echo', hour=2),
               'jobid': self.add()}
        self.run_jobs()
        db = self.service._p_jar.db()
        before = db.lastTransaction()
        for paths in self.PAGES.values():
            for path in paths:
                with self.subTest(path):
                    self.assertEqual(200, self.ask(
                        path.format(**ids)).status_int)
                    self.assertEqual(before, db.lastTransaction())


class HeadersTest(PagesTestCase):

    def test_policy(self):
        """Nothing inline, nothing from elsewhere, no frames, no copies."""
        headers = self.ask('events/jobs').headers
        policy = headers['Content-Security-Policy']
        self.assertIn("default-src 'none'", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn('unsafe', policy)
        self.assertEqual('no-store', headers['Cache-Control'])

    def test_nothing_is_inline(self):
        """The policy would refuse it."""
        jobid = self.add()
        for path in ('', 'events/', 'events/jobs', f'events/jobs/{jobid}'):
            text = self.ask(path).text
            self.assertNotRegex(text, r'<[^>]* (style|on\w+)=|<style')
            self.assertNotRegex(text, r'<script(?![^>]* src=)')
            # All links are relative.
            self.assertNotRegex(text, r'(href|src|action)="(/|http)')

    def test_language(self):
        """Pages are in the language that the reader prefers."""
        page = self.ask('events/', headers={'Accept-Language': 'en-US, de'})
        self.assertIn('lang="en"', page.text)
        page = self.ask('events/', headers={'Accept-Language': 'de-AT, fr'})
        self.assertIn('lang="de"', page.text)
        self.assertIn('>Zusammenfassung<', page.text)
        page = self.ask('events/', headers={'Accept-Language': 'fr'})
        self.assertIn('lang="en"', page.text)

    def test_fragment(self):
        """The content alone; and not again while it stays the same."""
        self.add()
        first = self.ask('events/jobs?fragment=1')
        self.assertNotIn('<html', first.text)
        etag = first.headers['ETag']
        again = self.ask('events/jobs?fragment=1',
                         headers={'If-None-Match': etag})
        self.assertEqual((304, b''), (again.status_int, again.body))
        self.add()
        self.assertEqual(200, self.ask(
            'events/jobs?fragment=1',
            headers={'If-None-Match': etag}).status_int)

    def test_time(self):
        """Each answer tells when it was made, and so that it is of a page.
        """
        etag = self.ask('events/jobs?fragment=1').headers['ETag']
        for path, status, headers in (
                ('events/jobs', 200, {}), ('events/jobs?fragment=1', 200, {}),
                ('events/jobs?fragment=1', 304, {'If-None-Match': etag}),
                ('events/jobs/99', 404, {})):
            answer = self.ask(path, headers=headers)
            with self.subTest(path, status=status):
                self.assertEqual(status, answer.status_int)
                self.assertLess(abs(
                    time.time() - int(answer.headers[TIME]) / 1000), 60)
        self.assertIn('data-now="', self.ask('events/jobs').text)

    def test_regions(self):
        """A page has the same parts, whether there is anything in them."""
        paths = ('', 'events/', 'events/jobs', 'events/crons',
                 'events/workers', 'events/audit', 'events/metrics')

        def regions():
            return {path: re.findall(r'data-region="(\w+)"', self.ask(
                f'{path}?fragment=1').text) for path in paths}

        empty = regions()
        self.assertEqual([], [
            path for path, found in empty.items() if not found])
        self.service.addCronJob('echo', hour=2)
        self.add()
        self.run_jobs()
        Operations(self.service, 'somebody').cancel(self.add())
        workers = IJobExecution(self.service).workers
        now = time.time()
        workers.sign('w', now, {'host': 'web1', 'pid': 1, 'kind': 'x',
                                'threads': 1, 'started': now}, 1.0)
        workers.measure('w', 1, [Slice(int(now) // 60 * 60 - 60, 0, 0.0)])
        transaction.commit()
        self.assertEqual(empty, regions())

    def test_validators(self):
        """What a server between has made of the mark is known again."""
        etag = self.ask('events/?fragment=1').headers['ETag']
        for sent in (f'W/{etag}', f'"other", {etag}', f'"x",W/{etag} ', '*'):
            with self.subTest(sent):
                answer = self.ask('events/?fragment=1',
                                  headers={'If-None-Match': sent})
                self.assertEqual(304, answer.status_int)
        for sent in ('', etag[:-2], f'{etag[:-1]}x"', 'W/', '"*"'):
            self.assertEqual(200, self.ask(
                'events/?fragment=1',
                headers={'If-None-Match': sent}).status_int)

    def test_head(self):
        """HEAD answers as GET does, without a body."""
        jobid = self.add()
        for path, who in (('', 'viewer'), ('+overview.json', 'viewer'),
                          ('+metrics', 'viewer'), ('events/', 'viewer'),
                          ('events/jobs.json?status=x', 'viewer'),
                          ('events/audit.json', 'viewer'),
                          ('events/audit.json', 'anonymous'),
                          ('events/jobs/99.json', 'viewer'),
                          ('events/nothing.json', 'viewer'),
                          (f'events/jobs/{jobid}/cancel', 'manager')):
            with self.subTest(path, who=who):
                expected = self.ask(path, who).status_int
                answer = self.ask(path, who, 'HEAD')
                self.assertEqual((expected, b''),
                                 (answer.status_int, answer.body))

    def test_old_assets(self):
        """Another version than was asked for is not kept under its name."""
        name = re.search(r'[+]static/[^"]*[.]css', self.ask('').text).group()
        for path, kept in ((name, True), ('+static/0123/pages.css', False),
                           (f'events/{name}', True)):
            answer = self.ask(path)
            self.assertEqual(200, answer.status_int)
            self.assertEqual(
                kept, 'immutable' in answer.headers['Cache-Control'])


class ContentTest(PagesTestCase):

    def test_hostile_texts(self):
        """Whatever anybody says is text on a page, and exact in JSON."""
        add_service(self.root, '"><script>alert(1)</script>', 'hostile')
        login(HOSTILE.replace('\ud800', ''))
        sample.fail.enqueue('as nobody there is')
        login('zope.user')
        sample.fail.enqueue(HOSTILE)
        process('events', raise_errors=False)
        job, other = self.service.find(status=ERROR).jobs
        if job.principal != 'zope.user':
            job, other = other, job
        paths = ['', 'events/', 'events/jobs', f'events/jobs/{job.id}',
                 f'events/jobs/{other.id}']
        for path in paths:
            text = self.ask(path).text
            self.assertNotIn('<script>alert', text)
            self.assertNotIn('\x00', text)
            self.assertNotIn('\u202e', text)
        page = self.ask(f'events/jobs/{job.id}').text
        self.assertIn('&lt;script&gt;alert(1)', page)
        # The message of a failed test could not be printed.
        self.assertEqual(ascii(HOSTILE), ascii(self.ask(
            f'events/jobs/{job.id}.json').json['error']))

    def test_hostile_parameters(self):
        """So is what an address says; too much is refused."""
        for name in ('status', 'function', 'id', 'after', 'limit', 'said',
                     'fragment'):
            for value in ('"><script>alert(1)</script>', '%00', 'x' * 5000,
                          "';--", '%ff%fe', '9' * 400):
                given = value if value[0] == '%' else quote(value)
                with self.subTest(name, value=value[:20]):
                    answer = self.ask(f'events/jobs?{name}={given}')
                    self.assertIn(answer.status_int, (200, 400))
                    self.assertNotIn('<script>alert', answer.text)
            twice = self.ask(f'events/jobs?{name}=a&{name}=b')
            self.assertIn(twice.status_int, (200, 400))

    def test_private(self):
        """What a job is about is told to those who may see it alone."""
        login('zope.user')
        sample.fail.enqueue('the private number 4711')
        process('events', raise_errors=False)
        jobid = self.job().id
        for path in ('', 'events/', 'events/jobs', f'events/jobs/{jobid}'):
            for json in ('', '.json'):
                if path in ('', 'events/') and json:
                    continue
                answer = self.ask(path + json, 'viewer')
                self.assertEqual(200, answer.status_int, path + json)
                self.assertNotIn('4711', answer.text, path)
        self.assertIn('4711', self.ask(f'events/jobs/{jobid}', 'reader').text)
        found = self.ask(f'events/jobs/{jobid}.json', 'reader').json
        self.assertIn('4711', found['error'])

    def test_large(self):
        """An argument of nine million characters makes no large page."""
        jobid = self.add('echo', {'text': 'a' * 9_000_000})
        for path in ('events/', 'events/jobs', f'events/jobs/{jobid}',
                     f'events/jobs/{jobid}.json',
                     'events/bulk?action=cancel&status=queued'):
            answer = self.ask(path)
            self.assertEqual(200, answer.status_int)
            self.assertLess(len(answer.body), 40_000, path)
        self.assertIn('aaa', self.ask(f'events/jobs/{jobid}').text)

    def test_filter(self):
        """The address says which jobs are listed."""
        self.add()
        self.run_jobs()
        waits = self.add(priority=3)
        found = self.ask('events/jobs.json?status=queued').json
        self.assertEqual([str(waits)], [each['id'] for each in found['jobs']])
        self.assertEqual(1, found['counts'][COMPLETED])
        self.assertEqual(
            [], self.ask('events/jobs.json?function=x.y').json['jobs'])
        self.assertEqual(400, self.ask(
            'events/jobs?status=nothing').status_int)

    def test_workers_and_summary(self):
        """All pages say of a worker that it is there, or none does."""
        for age, state, living in ((10, 'alive', 1), (74, 'late', 1),
                                   (100, 'late', 1), (179, 'late', 1),
                                   (200, 'gone', 0)):
            with self.subTest(age):
                records = IJobExecution(self.service).workers
                records.sign('web1:1:t:x', time.time() - age, {
                    'host': 'web1', 'pid': 1, 'kind': 'x', 'threads': 1,
                    'started': 1.0}, 1.0)
                transaction.commit()
                worker, = self.ask('events/workers.json').json['workers']
                self.assertEqual((state, living), (
                    worker['state'],
                    self.ask('events/service.json').json['workers']))

    def test_overview_leads_to_what_it_counts(self):
        """Each number leads to a list of so many jobs."""
        self.service.addCronJob('echo', hour=2)
        for _ in range(2):
            self.service.addCronJob('echo', delay=1000)
        for _ in range(3):
            self.service.add('echo', startLater=True)
        for _ in range(4):
            self.add()
        cells = self.ask('').html.select('td.number a')
        self.assertEqual(
            [('4', 'Queued'), ('2', 'Delayed'), ('1', 'Cron'),
             ('3', 'Start later')],
            [(link.text, link['title']) for link in cells])
        for link in cells:
            self.assertEqual(int(link.text), self.ask(
                link['href']).text.count('data-row="'))

    def test_filter_keeps_all(self):
        """Who fills in one more field narrows the list, and never widens it.
        """
        asked = {'status': 'queued', 'function': 'a.b', 'principal': 'alice',
                 'error_class': 'a.B', 'since': '2026-01-31 14:30',
                 'until': '2026-02-28', 'task': 'echo', 'id': '17'}
        self.assertEqual({*Selection._fields, 'id'}, set(asked))
        form = self.ask(f'events/jobs?{urlencode(asked)}').forms[0]
        self.assertEqual(asked, dict(form.submit_fields()))

    def test_pages(self):
        """Each job is on one page, and the last page leads to no other."""
        added = {str(self.add()) for _ in range(5)}
        found, after = [], ''
        while after is not None:
            page = self.ask(
                f'events/jobs.json?limit=2&after={quote(after)}').json
            found += [each['id'] for each in page['jobs']]
            after = page['after']
        self.assertEqual((5, added), (len(found), set(found)))

    def test_limit_is_kept(self):
        """How many jobs a page has is part of its address, on all pages."""
        for _ in range(3):
            self.add()
        page = self.ask('events/jobs?status=queued&limit=1')
        page = page.click('Older')
        self.assertIn('limit=1', page.request.url)
        self.assertEqual(1, page.text.count('data-row="'))
        page = page.click('Newest')
        self.assertIn('limit=1', page.request.url)
        self.assertIn('status=queued', page.request.url)

    def test_translations(self):
        """A table asks for the words of its rows once."""
        for _ in range(50):
            self.add()
        with mock.patch('zope.i18n.negotiator.Negotiator.getLanguage',
                        return_value='en') as asked:
            self.ask('events/jobs?limit=2')
            few = asked.call_count
            self.ask('events/jobs')
        self.assertEqual(2 * few, asked.call_count)

    def test_permissions_of_rows(self):
        """A row asks once whether its job may be seen, and asks the job."""
        ids = [self.add() for _ in range(50)]
        with mock.patch.object(
                ZopeSecurityPolicy, 'checkPermission', autospec=True,
                side_effect=ZopeSecurityPolicy.checkPermission) as asked:
            self.ask('events/jobs')
        self.assertLess(asked.call_count, 2 * len(ids))

    def hide(self, *ids):
        """Deny the viewer to see some jobs."""
        for jobid in ids:
            IPrincipalPermissionManager(
                self.service.jobs[jobid]).denyPermissionToPrincipal(
                    'lovely.remotetask.View', 'tests.viewer')
        transaction.commit()

    def test_hidden_job(self):
        """It is shown to others alone; it hides no other job."""
        hidden, shown = self.add(), self.add()
        self.hide(hidden)
        for who, ids in ('viewer', {shown}), ('manager', {shown, hidden}):
            found = self.ask('events/jobs.json', who).json['jobs']
            self.assertEqual(ids, {int(row['id']) for row in found})
            page = self.ask('events/jobs', who)
            self.assertEqual(hidden in ids, f'jobs/{hidden}"' in page.text)
        for path in f'events/jobs/{hidden}', f'events/jobs/{hidden}.json':
            self.assertEqual(403, self.ask(path, 'viewer').status_int)
        self.assertEqual([], self.ask(
            f'events/jobs.json?id={hidden}', 'viewer').json['jobs'])

    def test_hidden_failure(self):
        """It is in no summary, and not told of with the next one."""
        login('zope.user')
        hidden, shown = (sample.fail.enqueue(text) for text in 'ab')
        self.run_jobs()
        self.hide(hidden)
        for who, number in ('viewer', 1), ('manager', 2):
            group, = self.ask(
                'events/service.json', who).json['failures']
            self.assertEqual(number, group['number'])
        self.assertIsNone(self.ask(
            f'events/jobs/{shown}.json', 'viewer').json['previous_failure'])

    def test_failed_cron_job(self):
        """It waits for its next time; its failure is among the last ones."""
        calls = []

        def fail(input):
            calls.append(input)
            if len(calls) == 1:
                raise RuntimeError('no')
        zope.component.provideUtility(SimpleTask(fail), ITask, 'failing')
        cron = self.service.addCronJob('failing', minute=(10,))
        process('events', raise_errors=False, after=3600)
        self.assertEqual(CRONJOB, self.service.jobs[cron].status)
        group, = self.ask('events/service.json').json['failures']
        self.assertEqual(
            ('failing', 'builtins.RuntimeError', 1, str(cron)),
            (group['function'], group['error_class'], group['number'],
             group['job']))
        self.assertIn(f'jobs/{cron}"', self.ask('events/').text)
        # Until it goes well again.
        process('events', after=2 * 3600)
        self.assertEqual(
            [], self.ask('events/service.json').json['failures'])

    def test_unknown_time_zone(self):
        """The process that runs the jobs may know it; this one does not."""
        self.service.addCronJob('echo', hour=2, timezone='Europe/Berlin')
        # Processors tell when it is due.
        process('events')
        with mock.patch('zoneinfo.ZoneInfo',
                        side_effect=zoneinfo.ZoneInfoNotFoundError('no')):
            page = self.ask('events/crons')
        self.assertEqual(200, page.status_int)
        self.assertIn('Europe/Berlin', page.text)

    def test_kept_for_ages(self):
        """The calendar ends before the job is removed."""
        jobid = self.add()
        with mock.patch.object(Management, 'removed_at', lambda *args: 1e12):
            self.assertIn(
                '9999-12-31', self.ask(f'events/jobs/{jobid}').text)

    def test_places_that_make_no_sense(self):
        """Where the next page begins is written by the pages alone."""
        for after in '[' * 1000, '["legacy",', '["legacy",-2]', '5':
            self.assertEqual(400, self.ask(
                f'events/jobs?after={quote(after)}').status_int)

    def test_hidden_cron_job(self):
        """The others are shown."""
        hidden, shown = (
            self.service.addCronJob('echo', hour=hour) for hour in (2, 3))
        self.hide(hidden)
        found = self.ask('events/crons.json', 'viewer').json['crons']
        self.assertEqual([str(shown)], [row['id'] for row in found])

    def test_nothing_found_yet(self):
        """A page that has looked in vain says so, and leads on."""
        login('zope.user')
        sample.fail.enqueue('no')
        transaction.commit()
        for _ in range(3):
            self.add()
        name = 'gocept.async_.tests.sample.fail'
        after = ''
        with mock.patch('lovely.remotetask.browser.joblist.SECONDS', -1):
            for _ in range(3):
                text = self.ask(f'events/jobs?function={name}{after}').text
                self.assertIn('Nothing found yet', text)
                self.assertNotIn('No job matches', text)
                [after] = re.findall('(&amp;after=[^"]+)">Go on looking', text)
                after = unescape(after)
            text = self.ask(f'events/jobs?function={name}{after}').text
            self.assertIn(f'title="{name}"', text)
            self.assertNotIn('Nothing found yet', text)

    def test_no_example(self):
        """What matches far back can be acted upon: an example is none yet."""
        login('zope.user')
        sample.fail.enqueue('no')
        transaction.commit()
        self.add()
        where = 'events/bulk?action=cancel&status=queued&function='
        with mock.patch('lovely.remotetask.storage.listing.LOOK_AT', 0), \
                mock.patch('lovely.remotetask.browser.bulkpage.SAMPLE', 1):
            text = self.ask(f'{where}gocept.async_.tests.sample.fail').text
        self.assertIn('None of the newest jobs matches', text)
        self.assertIn('data-bulk=""', text)
        self.assertNotIn('data-bulk', self.ask(f'{where}x').text)

    def test_panel(self):
        """An application tells of its jobs, in texts."""
        class Panel:
            title = 'Order'

            def __init__(self, job, request):
                self.job = job

            def lines(self):
                yield '<b>', self.job.id

        self.add_panel(Panel)
        text = self.ask(f'events/jobs/{self.add()}').text
        self.assertIn('<h2>Order</h2>', text)
        self.assertIn('<dt>&lt;b&gt;</dt>', text)

    def add_panel(self, factory):
        registry = zope.component.getGlobalSiteManager()
        registered = factory, (IJob, IBrowserRequest), IJobPanel
        registry.registerSubscriptionAdapter(*registered)
        self.addCleanup(registry.unregisterSubscriptionAdapter, *registered)

    def test_panels_that_fail(self):
        """What an application cannot tell spoils neither page nor others."""
        def panel(title, lines=None):
            found = mock.Mock(title=title, lines=lambda: lines)
            return lambda job, request: found

        def unmade(job, request):
            raise SystemExit('secret')

        class Reader:
            title = 'Input'

            def __init__(self, job, request):
                self.job = job

            def lines(self):
                # Not for those who may not see arguments.
                yield 'Input', str(self.job.input)

        for each in (unmade, Reader, lambda job, request: None,
                     panel('Nothing'), panel('Odd', [5]),
                     panel('Three', [('a', 'b', 'c')]),
                     panel('Text', [('a', mock.Mock(
                         __str__=mock.Mock(side_effect=KeyError)))]),
                     panel('Well', [('Number', 4711)])):
            self.add_panel(each)
        jobid = self.add(input='private')
        with self.assertLogs('lovely.remotetask.management') as logged:
            text = self.ask(f'events/jobs/{jobid}', 'viewer').text
        self.assertIn('<dd>4711</dd>', text)
        self.assertNotIn('private', text)
        self.assertNotIn('secret', text)
        self.assertNotIn('<h2>Input</h2>', text)
        self.assertEqual(5, text.count('cannot be shown'))
        self.assertEqual(5, len(logged.records))
        self.assertNotIn('secret', '\n'.join(logged.output))
        with self.assertLogs('lovely.remotetask.management'):
            self.assertIn('private', self.ask(f'events/jobs/{jobid}').text)

    def test_crons_behind_many(self):
        """The page says if it could not look at all that wait."""
        self.service.addCronJob('echo', hour=2)
        transaction.commit()
        self.assertTrue(self.ask('events/crons.json').json['complete'])
        self.assertNotIn('may be missing', self.ask('events/crons').text)
        with mock.patch('lovely.remotetask.browser.cronpage.SECONDS', -1):
            self.assertFalse(self.ask('events/crons.json').json['complete'])
            self.assertIn('may be missing', self.ask('events/crons').text)

    def test_failure_before(self):
        """One failure leads to that before, and says when it is removed."""
        first, second = (sample.fail.enqueue('no') for _ in range(2))
        process('events', raise_errors=False)
        found = [self.ask(f'events/jobs/{each}.json').json
                 for each in (first, second)]
        found.sort(key=lambda each: each['completed'])
        self.assertIsNone(found[0]['previous_failure'])
        self.assertEqual(found[0]['id'], found[1]['previous_failure'])
        self.assertGreater(found[0]['removed_at'], found[0]['completed'])
        page = self.ask(f'events/jobs/{found[1]["id"]}')
        page = page.click('The failure before this one')
        self.assertIn(f'#{found[0]["id"]}', page.text)

    def test_removed(self):
        """The page of a job that is gone says so."""
        answer = self.ask('events/jobs/12345')
        self.assertEqual(404, answer.status_int)
        self.assertIn('There is no job 12345.', answer.text)
        answer = self.ask('events/jobs/12345.json')
        self.assertEqual('application/problem+json', answer.content_type)

    def test_old_schema(self):
        """A service that earlier code has stored is not written by a page."""
        self.service.schema = 0
        transaction.commit()
        db = self.service._p_jar.db()
        before = db.lastTransaction()
        self.assertEqual(503, self.ask('events/').status_int)
        self.assertEqual(503, self.ask('events/jobs').status_int)
        self.assertEqual(200, self.ask('').status_int)
        self.assertEqual(before, db.lastTransaction())


class DirectiveTest(unittest.TestCase):

    def test_layer(self):
        """Another layer, and another name, can be given."""
        context = xmlconfig.ConfigurationMachine()
        xmlconfig.registerCommonDirectives(context)
        xmlconfig.include(context, 'meta.zcml', gocept.async_)
        xmlconfig.string('''
          <configure xmlns:async="http://namespaces.gocept.com/async">
            <async:pages name="jobs" layout="standard_macros/view"
              layer="zope.publisher.interfaces.browser.IBrowserRequest" />
          </configure>''', context, execute=False)
        names = [action['discriminator'][2] for action in context.actions
                 if action['discriminator']
                 and action['discriminator'][0] == 'view']
        self.assertEqual(
            ['', 'addcronjob.html', 'detail', 'editjob', 'index.html', 'jobs',
             'jobs.html'], sorted(set(names)))

    def test_values_that_cannot_be_used(self):
        """No address, or no header, could have them."""
        for attribute, *values in (
                ('name', '', ' ', 'a/b', '@@async', '+x', '.', '..',
                 'a b', 'a?b', 'a%b', 'Auftr\xe4ge', 'a&#10;b'),
                ('frame_ancestors', "'self', https://portal.example",
                 "'self'; sandbox", "'self'&#10;X-Other: 1", '\u202e')):
            for value in values:
                with self.subTest(value), self.assertRaisesRegex(
                        ConfigurationError, attribute):
                    read(f'<async:pages {attribute}="{value}" />')

    def test_values_that_can_be_used(self):
        for name in 'async', 'our-jobs_2.html':
            read(f'<async:pages name="{name}" frame_ancestors="" />')

    def test_without_the_extra(self):
        """The sentence says what to install."""
        with mock.patch('importlib.util.find_spec', lambda name: None), \
                self.assertRaisesRegex(ConfigurationError, r'\[pages\]'):
            directive.pages(None, name='async')


class SkinTest(PeopleTestCase):
    """In a skin of the application that does not extend the default one."""

    layer = SKIN_LAYER

    def test_there_alone(self):
        """The pages, and the earlier addresses, are found in that skin."""
        jobid = self.add()
        self.login('manager')
        service = '++etc++site/default/events'
        for path in ('@@jobs/', '@@jobs/events/', '@@jobs/events/jobs',
                     f'@@jobs/events/jobs/{jobid}.json',
                     f'{service}/@@jobs/crons', f'{service}/jobs.html',
                     f'{service}/{jobid}', f'{service}/{jobid}/detail'):
            with self.subTest(path):
                answer = self.app.get(f'/++skin++Ours/{path}')
                if answer.status_int != 200:
                    answer = answer.follow()
                self.assertEqual(200, answer.status_int)
                self.assertIn('/++skin++Ours/', answer.request.path)
                self.assertEqual(404, self.app.get(
                    f'/{path}', expect_errors=True).status_int)

    def test_links(self):
        """All that a page leads to is in the skin, too."""
        self.login('manager')
        page = self.app.get('/++skin++Ours/@@jobs/')
        for link in 'events', 'Jobs', 'Cron', 'Workers', 'Audit':
            page = page.click(f'^{link}$', index=0)
            self.assertEqual(200, page.status_int)
            self.assertIn('/++skin++Ours/@@jobs/', page.request.path)


class ElsewhereTest(PagesTestCase):
    """In a layout, a layer and at an address of the application's own."""

    def register(self, **settings):
        """Register the pages once more, as "laid"."""
        views = Views('laid', **settings)
        for factory, context in ((views.overview, ISite),
                                 (views.service, ITaskService)):
            zope.component.provideAdapter(
                factory, (context, IBrowserRequest), zope.interface.Interface,
                'laid')
            self.addCleanup(
                zope.component.getGlobalSiteManager().unregisterAdapter,
                factory, (context, IBrowserRequest),
                zope.interface.Interface, 'laid')

    def test_layout(self):
        """The pages are put into a macro of the application."""
        self.lay()
        self.login('manager')
        for path in ('', 'events/', 'events/jobs'):
            page = self.app.get(f'/@@laid/{path}')
            self.assertIn('<h1>Our shop</h1>', page.text)
            self.assertIn('class="async"', page.text)
            self.assertIn('pages.css', page.text)
            self.assertEqual(1, page.text.count('<html'))

    def lay(self, **settings):
        """Register the pages in a layout of the application."""
        template = PageTemplate()
        template.write('''<html metal:define-macro="view">
            <head><style metal:define-slot="style_slot"></style></head>
            <body><h1>Our shop</h1><metal:b define-slot="body" /></body>
            </html>''')
        self.register(layout='our_macros/view', **settings)
        macros = type('Macros', (), {
            '__init__': lambda *args: None,
            '__getitem__': lambda self, name: template.macros[name]})
        zope.component.provideAdapter(
            macros, (zope.interface.Interface, IBrowserRequest),
            zope.interface.Interface, 'our_macros')
        self.addCleanup(
            zope.component.getGlobalSiteManager().unregisterAdapter, macros,
            (zope.interface.Interface, IBrowserRequest),
            zope.interface.Interface, 'our_macros')

    def test_frames_of_a_layout(self):
        """So it can in a layout, of which nothing else is said."""
        self.lay(frame_ancestors="'self'")
        self.login('manager')
        for path in ('', 'events/', 'events/jobs', 'events/jobs.json'):
            with self.subTest(path):
                self.assertEqual(
                    ["frame-ancestors 'self'"], self.policies(path))

    def test_policy_of_a_layout(self):
        """What the application says of it holds, too."""
        def say(event):
            event.request.response.setHeader(
                'Content-Security-Policy', "img-src 'self'")
        zope.component.provideHandler(say, (IBeforeTraverseEvent,))
        self.addCleanup(
            zope.component.getGlobalSiteManager().unregisterHandler,
            say, (IBeforeTraverseEvent,))
        self.lay()
        self.login('manager')
        self.assertCountEqual(
            ["frame-ancestors 'none'", "img-src 'self'"],
            self.policies('events/'))

    def policies(self, path):
        return self.app.get(f'/@@laid/{path}').headers.getall(
            'Content-Security-Policy')

    def test_frames(self):
        """Who may show the pages in a frame can be said."""
        self.register(frame_ancestors="'self' https://portal.example")
        self.login('manager')
        self.assertIn(
            "frame-ancestors 'self' https://portal.example",
            self.app.get('/@@laid/').headers['Content-Security-Policy'])

    def test_virtual_host(self):
        """Behind a proxy that changes addresses, all links hold."""
        self.add()
        self.login('manager')
        base = '/++vh++https:shop.example:443/admin/++'
        page = self.app.get(f'{base}/@@async')
        self.assertEqual(
            f'{base}/@@async/', urljoin(f'{base}/@@async',
                                        page.headers['Location']))
        for path in ('', 'events/', 'events/jobs'):
            page = self.app.get(f'{base}/@@async/{path}')
            for link in re.findall(r'(?:href|src)="([^"#]*)"', page.text):
                if not link.startswith('data:'):
                    where = urljoin(f'{base}/@@async/{path}', unescape(link))
                    self.assertEqual(
                        200, self.app.get(where).status_int, where)

    def test_no_name(self):
        """A service without a name has one for people, wherever it is told.
        """
        for name in '', ' ':
            service = self.root[f'nameless{len(name)}'] = TaskService()
            self.root.getSiteManager().registerUtility(
                service, ITaskService, name)
            service.add('echo')
        transaction.commit()
        with mock.patch('lovely.remotetask.browser.servicepage.LONG', -1):
            page = self.ask('')
        self.assertEqual(4, len(page.html.find_all('a', string='(no name)')))
        self.assertEqual(
            [], [link for link in page.html.find_all('a') if not link.text])
        for path in '%25/', '%20/':
            self.assertEqual('(no name)', self.ask(path).html.h1.text)

    def test_subsite(self):
        """A site shows the services that are seen from it."""
        folder = self.root['shop'] = zope.site.folder.Folder()
        folder.setSiteManager(
            zope.site.site.LocalSiteManager(folder, default_folder=False))
        add_service(folder, 'own')
        transaction.commit()
        self.login('manager')
        page = self.app.get('/shop/@@async/')
        self.assertIn('>own</a>', page.text)
        self.assertIn('>events</a>', page.text)
        self.assertEqual(
            200, self.app.get('/shop/@@async/own/jobs').status_int)
        self.assertNotIn('>own</a>', self.ask('').text)


class BrokenTest(PagesTestCase):

    def test_one_of_several(self):
        """A service that cannot be read says so; the others stay."""
        with mock.patch.object(
                TaskService, 'counts', autospec=True,
                side_effect=self.break_events) as counts:
            page = self.ask('')
            found = self.ask('+overview.json').json['services']
        self.assertTrue(counts.called)
        self.assertEqual(200, page.status_int)
        self.assertIn('the disk is gone', page.text)
        self.assertEqual(
            {'Größe 10% m²': False, 'events': True, 'mail': False},
            {each['name']: 'broken' in each for each in found})

    def test_message(self):
        """What an exception says is for those who may see arguments."""
        with mock.patch.object(TaskService, 'counts', autospec=True,
                               side_effect=self.break_events):
            for who, shown in ('viewer', False), ('reader', True):
                for path in '', '+overview.json':
                    text = self.ask(path, who).text
                    self.assertIn('OSError', text)
                    self.assertEqual(shown, 'the disk is gone' in text)

    def test_storage_away(self):
        """So does one of which nothing can be read at all."""
        def fail(management):
            raise OSError('the server is away')

        with mock.patch.object(Management, 'is_current', property(fail)):
            page = self.ask('')
        self.assertEqual(200, page.status_int)
        self.assertEqual(3, page.text.count('the server is away'))

    def break_events(self, service):
        if service.__name__ == 'events':
            raise OSError('the disk is gone')
        return {}

    def test_unreadable_job(self):
        """A job whose record cannot be read is shown, and can be removed."""
        jobid = self.add()
        with self.unreadable(jobid):
            for path in ('events/jobs', f'events/jobs/{jobid}', 'events/'):
                self.assertEqual(200, self.ask(path).status_int)
            self.assertIn('cannot be read', self.ask(
                f'events/jobs/{jobid}').text)

    @contextlib.contextmanager
    def unreadable(self, jobid):
        oid = self.service.jobs[jobid]._p_oid
        setstate = Connection.setstate

        def fail(connection, loaded):
            if loaded._p_oid == oid:
                raise ValueError('rotten')
            return setstate(connection, loaded)

        with mock.patch.object(Connection, 'setstate', fail):
            self.service._p_jar.cacheMinimize()
            yield
