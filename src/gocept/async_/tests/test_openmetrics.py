"""What is told Prometheus can be read by it, and stays small."""

import math
import subprocess
import sys
import unittest

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gocept.async_.openmetrics import OTHERS_LABEL
from gocept.async_.openmetrics import Told
from gocept.async_.openmetrics import buckets
from gocept.async_.openmetrics import exposition
from gocept.async_.tests.interpreter import environment
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.measure import Functions


HOSTILE = 'a"b\\c\nd{}=,\x00\u202e\ud800'


def functions(*names, outcome='completed'):
    found = Functions()
    for name in names:
        found.of(name).count(outcome, 0.25, 2.0)
    return found


def read(text):
    """Return all samples: a dict, name and labels to value."""
    return {(sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples}


def value(samples, name, **labels):
    return samples[(name, *sorted(labels.items()))]


class ExpositionTest(unittest.TestCase):

    def test_service(self):
        """Each number has a name of its own."""
        found = read(exposition({'events': Told(
            {QUEUED: 3, ERROR: 1}, 12.5, 2, False, True,
            functions('f', 'f'))}, {'ready': 1, 'late': 0}))
        for name, number in (('async_oldest_waiting_seconds', 12.5),
                             ('async_workers', 2), ('async_paused', 0),
                             ('async_works', 1)):
            self.assertEqual(number, value(found, name, service='events'))
        self.assertEqual(3, value(
            found, 'async_jobs_stored', service='events', status='queued'))
        self.assertEqual(2, value(
            found, 'async_runs_total', service='events', function='f',
            outcome='completed'))
        self.assertEqual(0.5, value(
            found, 'async_job_run_seconds_sum', service='events',
            function='f'))
        self.assertEqual(2, value(
            found, 'async_job_wait_seconds_bucket', service='events',
            function='f', le='3.16'))
        self.assertEqual(1, value(found, 'async_processes', state='ready'))

    def test_what_is_not_known(self):
        """It is left out: no number is made up."""
        found = read(exposition({'events': Told(works=False)}))
        self.assertEqual({('async_works', ('service', 'events')): 0.0}, found)

    def test_any_name(self):
        """Services and functions may be called anything."""
        found = read(exposition({HOSTILE: Told(
            {QUEUED: 1}, functions=functions(HOSTILE))}))
        self.assertEqual(1, value(
            found, 'async_runs_total', service=HOSTILE[:-1] + '?',
            function=HOSTILE[:-1] + '?', outcome='completed'))

    def test_same_label(self):
        """Functions that are told alike are told once, together."""
        told = functions('', OTHERS_LABEL, 'f\ud800', 'f\udfff', 'f?', 'g')
        text = exposition({'events': Told(functions=told)}).decode()
        lines = [line.rpartition(' ')[0] for line in text.splitlines()
                 if not line.startswith('#')]
        self.assertEqual(len(set(lines)), len(lines))
        found = read(text.encode())
        for function, number in ((OTHERS_LABEL, 2), ('f?', 3), ('g', 1)):
            labels = {'service': 'events', 'function': function}
            self.assertEqual(number, value(
                found, 'async_runs_total', outcome='completed', **labels))
            self.assertEqual(number, value(
                found, 'async_job_run_seconds_count', **labels))
        self.assertEqual(1, told[''].completed)

    def test_cardinality(self):
        """However many functions there are, there are few series."""
        some = read(exposition({'events': Told(
            functions=functions(*(f'f{n}' for n in range(101))))}))
        many = read(exposition({'events': Told(
            functions=functions(*(f'f{n}' for n in range(5000))))}))
        self.assertEqual(len(some), len(many))
        self.assertLess(len(many), 5000)
        self.assertEqual(4900, value(
            many, 'async_runs_total', service='events',
            function=OTHERS_LABEL, outcome='completed'))

    def test_buckets(self):
        """Each has at least what the one before has; the last one has all."""
        found = Functions()
        for seconds in (0.0, 0.01, 0.3, 5.0, 1e4, 1e9, math.nan):
            found.of('f').count('completed', seconds)
        pairs = buckets(found['f'].runs)
        self.assertEqual(('0.001', 1.0), pairs[0])
        self.assertEqual(('+Inf', 6.0), pairs[-1])
        numbers = [number for _, number in pairs]
        self.assertEqual(sorted(numbers), numbers)
        limits = [float(limit) for limit, _ in pairs]
        self.assertEqual(sorted(set(limits)), limits)

    def test_without_the_extra(self):
        """Nothing of prometheus_client is imported before it is asked for."""
        subprocess.run([
            sys.executable, '-c', 'import sys\n'
            'import gocept.async_.worker.command, gocept.async_.pages.views\n'
            'assert "prometheus_client" not in sys.modules'],
            env=environment(), check=True, timeout=60)
