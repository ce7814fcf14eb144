"""Prometheus' own tool takes the alerts of the documents, and the metrics.

``.ci/run`` installs it, and says in PROMTOOL what it is called.
"""

import contextlib
import http.client
import os
import subprocess
import unittest
from pathlib import Path

import gocept.async_
from gocept.async_.openmetrics import CONTENT_TYPE
from gocept.async_.openmetrics import PLAIN
from gocept.async_.tests.test_pagesmetrics import HOSTILE
from gocept.async_.tests.test_pagesmetrics import MetricsTestCase
from gocept.async_.tests.test_worker import WorkerCase
from gocept.async_.tests.test_worker import ZeoStage
from gocept.async_.tests.workerstage import until


PROMTOOL = os.environ.get('PROMTOOL')

ALERTS = (Path(gocept.async_.__file__).parents[3]
          / 'docs' / 'howto' / 'metrics')

needs_promtool = unittest.skipUnless(PROMTOOL, 'PROMTOOL names no promtool')


def complaints(*arguments, text=None):
    """Return what promtool says, '' if it is content.

    text -- what it is to check, by its standard input.
    """
    found = subprocess.run(
        [PROMTOOL, *arguments], input=text, text=True, cwd=ALERTS,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return '' if found.returncode == 0 else found.stdout


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
class PagesTest(MetricsTestCase):

    level = 2

    def test_metrics(self):
        """What the pages tell, whatever is in it."""
        self.count(3)
        self.count(2, function=HOSTILE, outcome='failed')
        self.count(1, function=HOSTILE, outcome='lost')
        answer = self.ask('+metrics', headers={'Accept': 'text/plain'})
        self.assertEqual(PLAIN, answer.headers['Content-Type'])
        self.assertIn('outcome="lost"', answer.text)
        self.assertEqual('', complaints('check', 'metrics', text=answer.text))


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
