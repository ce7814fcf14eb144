"""The pages show what was counted: as charts, as tables, and as JSON."""

import re
import time
from html import unescape
from unittest import mock

import transaction

from gocept.async_ import openmetrics
from gocept.async_.tests.pageslayer import PagesTestCase
from gocept.async_.tests.promtool import complaints
from gocept.async_.tests.promtool import needs_promtool
from gocept.async_.tests.test_openmetrics import read
from gocept.async_.tests.test_openmetrics import value
from lovely.remotetask.browser import charts
from lovely.remotetask.interfaces import IJobExecution
from lovely.remotetask.measure import Slice


WORKER = 'host:1:thread:othermachine-1-token'
HOSTILE = '"><script>alert(1)</script>\x00\u202e\ud800&amp;'


class MetricsTestCase(PagesTestCase):

    def setUp(self):
        super().setUp()
        # A test may begin in one minute, and end in another.
        self.now = time.time()

    def count(self, minutes_ago, function='shop.mail', outcome='completed',
              number=1):
        """Let a worker have counted something."""
        now = self.now
        start = (int(now) // 60 - minutes_ago) * 60
        found = Slice(start, 3, 2.5)
        for _ in range(number):
            found.functions.of(function).count(outcome, 0.25, 0.5)
        workers = IJobExecution(self.service).workers
        workers.sign(WORKER, now, {'kind': 'SimpleProcessor', 'threads': 4,
                                  'started': now - 60}, 123.4)
        workers.measure(WORKER, (start, outcome, function), [found], now)
        transaction.commit()

    def json(self, path):
        return self.ask(path).json


class ChartTest(MetricsTestCase):

    def test_numbers(self):
        """Completed and failed, by function and by time."""
        self.count(5, number=3)
        self.count(2, outcome='failed', number=2)
        self.count(90)
        found = self.json('events/metrics.json')
        self.assertEqual(
            [3, 0, 0], [each['completed'] for each in found['slices']])
        row, = found['functions']
        self.assertEqual(('shop.mail', 3, 2), (
            row['function'], row['completed'], row['failed']))
        self.assertAlmostEqual(0.25, row['run_most'], delta=0.06)
        self.assertAlmostEqual(0.5, row['wait_most'], delta=0.11)
        for name, completed in ('day', 4), ('month', 4):
            with self.subTest(name):
                found = self.json(f'events/metrics.json?range={name}')
                self.assertEqual(completed, sum(
                    each['completed'] for each in found['slices']))

    def test_chart(self):
        """Each bar has a title; where no worker was, that is said."""
        self.count(5, number=3)
        text = unescape(self.ask('events/metrics').text)
        self.assertEqual(4, text.count('<svg'))
        self.assertIn('3 completed, 0 failed', text)
        self.assertIn('no worker', text)
        self.assertIn('not counted yet', text)
        first = text.split('</svg>')[0]
        self.assertEqual(60, len(re.findall('<g><title>[^<]+<', first)))

    def test_never_counted(self):
        """A service that nobody has worked for has no numbers, not zeros."""
        found = self.json('events/metrics.json')
        self.assertEqual([], found['slices'])
        text = self.ask('events/metrics').text
        self.assertIn('No job has ended', text)

    def test_bad_range(self):
        for asked in 'year', '%3Cscript%3E', 'hour&range=day':
            with self.subTest(asked):
                self.assertEqual(400, self.ask(
                    f'events/metrics.json?range={asked}').status_int)

    def test_hostile_name(self):
        """A name is text, in titles, tables and addresses."""
        self.count(1, HOSTILE)
        for path in 'events/metrics', 'events/', '':
            with self.subTest(path):
                answer = self.ask(path)
                self.assertEqual(200, answer.status_int)
                self.assertNotIn('<script>alert', answer.text)

    def test_many_functions(self):
        """Twenty of a minute, and all others together."""
        for number in range(25):
            self.count(1, f'shop.f{number}')
        found = self.json('events/metrics.json')['functions']
        self.assertEqual(21, len(found))
        self.assertIn('all others', self.ask('events/metrics').text)

    def test_summary(self):
        """The first page tells of the last hour, and so does the overview."""
        self.count(5, number=3)
        self.count(2, outcome='failed', number=2)
        self.count(90, outcome='failed', number=7)
        found = self.json('events/service.json')
        self.assertEqual(2, found['failed_last_hour'])
        self.assertIn('2 failed in the last hour',
                      self.ask('events/').text)
        row, = (each for each in self.json('+overview.json')['services']
                if each['name'] == 'events')
        self.assertEqual(2, row['failed_last_hour'])
        self.assertEqual(60, len(row['last_hour']))
        self.assertIn([3, 0], row['last_hour'])
        self.assertIn('Last hour: 3 completed, 2 failed',
                      unescape(self.ask('').text))

    def test_workers(self):
        """Who they are, what they use; also of one that does nothing."""
        self.count(1)
        row, = self.json('events/workers.json')['workers']
        self.assertEqual(
            ('SimpleProcessor', 4, 123.4, 'alive'),
            (row['kind'], row['threads'], row['memory'], row['state']))
        self.assertIn('123 MB', self.ask('events/workers').text)

    def test_dead_workers(self):
        """One that is silent for long is no reason to say that it works."""
        workers = IJobExecution(self.service).workers
        workers.sign(WORKER, time.time() - 1000)
        transaction.commit()
        self.assertEqual(0, self.json('events/service.json')['workers'])
        workers = IJobExecution(self.service).workers
        workers.beat(WORKER)
        transaction.commit()
        self.assertEqual(1, self.json('events/service.json')['workers'])

    def test_reads_only(self):
        """No page writes for that, also where nothing was counted yet."""
        before = self.service._p_jar.db().lastTransaction()
        for path in 'events/metrics', 'events/metrics.json', 'events/', '':
            self.ask(path)
        self.assertEqual(
            before, self.service._p_jar.db().lastTransaction())


class OpenMetricsTest(MetricsTestCase):
    """The page for Prometheus."""

    def test_services(self):
        """All services that may be seen, as what their workers counted."""
        self.count(5, number=3)
        answer = self.ask('+metrics')
        self.assertEqual(openmetrics.CONTENT_TYPE,
                         answer.headers['Content-Type'])
        found = read(answer.body)
        self.assertEqual(3, value(
            found, 'async_runs_total', service='events',
            function='shop.mail', outcome='completed'))
        self.assertEqual(1, value(found, 'async_workers', service='events'))
        self.assertEqual(0, value(found, 'async_workers', service='mail'))

    def test_plain(self):
        """Who reads the older format alone gets that."""
        self.count(3, outcome='lost')
        answer = self.ask('+metrics', headers={'Accept': 'text/plain'})
        self.assertEqual(openmetrics.PLAIN, answer.headers['Content-Type'])
        self.assertIn('# TYPE async_runs_total counter', answer.text)
        self.assertIn('async_lost_total{service="events"} 1.0', answer.text)
        self.assertIn('async_lost_total{service="mail"} 0.0', answer.text)

    @needs_promtool
    def test_promtool(self):
        """Prometheus' own tool takes it, whatever is in it."""
        self.count(3)
        self.count(2, function=HOSTILE, outcome='failed')
        self.count(1, function=HOSTILE, outcome='lost')
        answer = self.ask('+metrics', headers={'Accept': 'text/plain'})
        self.assertIn('outcome="lost"', answer.text)
        self.assertEqual('', complaints('check', 'metrics', text=answer.text))

    def test_permission(self):
        """For those who may see the services, and nobody else."""
        self.assertEqual(401, self.ask('+metrics', 'anonymous').status_int)
        self.assertEqual(200, self.ask('+metrics', 'viewer').status_int)
        self.assertEqual(405, self.ask('+metrics', method='POST').status_int)

    def test_without_the_extra(self):
        with mock.patch.object(
                openmetrics, 'is_installed', return_value=False):
            answer = self.ask('+metrics')
        self.assertEqual(501, answer.status_int)
        self.assertIn('gocept.async[metrics]', unescape(answer.text))


class ScaleTest(MetricsTestCase):

    def test_round_numbers(self):
        for number, expected in (
                (0, 1), (1, 1), (1.5, 2), (3, 5), (7, 10), (10, 10),
                (11, 20), (0.03, 0.05), (999_999, 1_000_000)):
            with self.subTest(number):
                self.assertAlmostEqual(expected, charts.ceiling(number))

    def test_no_number(self):
        """What is stored may be anything."""
        for number in float('nan'), -1:
            self.assertEqual(1, charts.ceiling(number))
