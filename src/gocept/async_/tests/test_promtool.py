"""Prometheus' own tool takes the alerts of the documents, and the metrics.

Those of the pages are in test_pagesmetrics.
"""

import contextlib
import http.client
import unittest

from gocept.async_.openmetrics import CONTENT_TYPE
from gocept.async_.openmetrics import PLAIN
from gocept.async_.tests.promtool import complaints
from gocept.async_.tests.promtool import needs_promtool
from gocept.async_.tests.test_worker import WorkerCase
from gocept.async_.tests.test_worker import ZeoStage
from gocept.async_.tests.workerstage import until


@needs_promtool
class AlertsTest(unittest.TestCase):

    level = 2

    def test_rules(self):
        """The rules are rules."""
        self.assertEqual('', complaints(
            'check', 'rules', '--lint=all', '--lint-fatal', 'alerts.yml'))

    def test_when_they_fire(self):
        """Each for what it is made for, and not before, nor beside it."""
        self.assertEqual('', complaints('test', 'rules', 'alerts_test.yml'))


@needs_promtool
class WorkerTest(WorkerCase):

    level = 2
    layer = ZeoStage

    def test_metrics(self):
        """What a worker tells on its port, in both formats."""
        worker = self.start('--service', 'events')
        self.add(1)
        self.assert_done_once(1)
        until(lambda: 'completed' in self.read(worker.port)[1], 'the run')
        kind, text = self.read(worker.port, 'text/plain;version=0.0.4')
        self.assertEqual(PLAIN, kind)
        self.assertIn('async_processes', text)
        self.assertEqual('', complaints('check', 'metrics', text=text))
        kind, text = self.read(worker.port, 'application/openmetrics-text')
        self.assertEqual(CONTENT_TYPE, kind)
        self.assertTrue(text.endswith('# EOF\n'))

    def read(self, port, accept='*/*'):
        """Return the content type and the text of /metrics."""
        with contextlib.closing(http.client.HTTPConnection(
                '127.0.0.1', port, timeout=10)) as connection:
            connection.request('GET', '/metrics', headers={'Accept': accept})
            answer = connection.getresponse()
            return answer.headers['Content-Type'], answer.read().decode()
