"""Jobs that misbehave, in a small form, and the means to judge them.

The long form, with processes, servers, disks and clocks that fail, is the
proof: ``python3 bootstrap.py faults``.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from gocept.async_.tests.hostile import clock
from gocept.async_.tests.hostile import outages
from gocept.async_.tests.hostile.each import run_together
from gocept.async_.tests.hostile.everything import KINDS
from gocept.async_.tests.hostile.kinds import PLACES
from gocept.async_.tests.hostile.kinds import THREADS
from gocept.async_.tests.hostile.plan import Plan
from gocept.async_.tests.hostile.verdict import Verdict
from gocept.async_.tests.hostile.watch import HealthWatch
from gocept.async_.tests.hostile.watch import LogWatch
from gocept.async_.tests.hostile.watch import Outage
from lovely.remotetask.runends import LOST_PROCESS


def quick(kind):
    """Return whether jobs of a kind end soon, and end no process."""
    return (THREADS in kind.places and kind.most and not kind.loud
            and kind.family != 'deaths' and kind.calls in (0, 1))


class HostileLayer:
    """A layer of its own: `bin/test` runs it beside others."""


class HostileTest(unittest.TestCase):

    layer = HostileLayer
    # Takes long: see CONTRIBUTING.rst.
    level = 2

    def test_all_quick_kinds(self):
        """Jobs that misbehave in all ways harm no other, and end honestly."""
        kinds = [kind for kind in KINDS.values() if quick(kind)]
        self.assertGreater(len(kinds), 200)
        self.assertEqual([], run_together(THREADS, kinds))


def judged(*fates, called=1, slack=0, undone=()):
    """Return what is wrong with jobs that have become so.

    fates -- kind, value, status, attempts.
    """
    report = {'wrong': [], 'fates': {
        f'job-{number}': {
            'kind': kind, 'service': 'events', 'value': value,
            'status': status, 'attempts': attempts, 'error': None,
            'due': None}
        for number, (kind, value, status, attempts) in enumerate(fates)}}
    return Verdict(report, dict.fromkeys(report['fates'], called),
                   slack, undone).judge()


class VerdictTest(unittest.TestCase):

    def test_good(self):
        """A job that was called once and has one effect is right."""
        self.assertEqual([], judged((None, 1, 'completed', 1)))

    def test_doubled_effect(self):
        """Two effects are not."""
        self.assertRegex(
            judged((None, 2, 'completed', 2), called=2)[0],
            r'good: has to have \(1,\) effects; completed: job-0: 2 effects')

    def test_lost_effect(self):
        """Nor is none, though the job says that it is completed."""
        self.assertRegex(judged((None, 0, 'completed', 1))[0], '0 effects')

    def test_not_completed(self):
        """A good job that is in error is wrong."""
        self.assertRegex(
            judged((None, 0, 'error', 1))[0], 'has to be completed')

    def test_uncounted_calls(self):
        """No job is called more often than is counted."""
        self.assertRegex(
            judged(('system_exit', 0, 'error', 1), called=2)[0],
            'more often than is counted')
        self.assertEqual([], judged(
            ('system_exit', 0, 'error', 1), called=2, slack=1))

    def test_too_many_calls(self):
        """What is not to be tried again is not."""
        self.assertRegex(
            judged(('system_exit', 0, 'error', 3), called=3)[0],
            'not be called more than 1 times')

    def test_effect_of_an_error(self):
        """A job in error has no effect."""
        self.assertRegex(
            judged(('system_exit', 1, 'error', 1))[0], r'have \(0,\) effects')

    def test_undone(self):
        """Where its end was undone, a job is run again, or held."""
        undone = {'undone': ['job-0'], 'called': 2}
        self.assertEqual([], judged((None, 1, 'completed', 1), **undone))
        self.assertEqual([], judged((None, 0, 'held', 1), **undone))
        self.assertRegex(judged((None, 0, 'completed', 1), **undone)[0],
                         r'have \(1,\) effects')

    def test_killed_each_time(self):
        """A long job whose process was killed each time is in error."""
        gone = LOST_PROCESS.format('host:1:thread')
        for kind, error, slack, attempts, is_right in (
                ('reads_much', gone, 3, 3, True),
                ('reads_much', gone, 0, 3, False),
                ('reads_much', gone, 3, 1, False),
                ('reads_much', 'no', 3, 3, False),
                (None, gone, 3, 3, False)):
            with self.subTest(kind=kind, error=error, slack=slack):
                fate = {'kind': kind, 'service': 'events', 'value': 0,
                        'status': 'error', 'attempts': attempts,
                        'error': error, 'due': None}
                self.assertEqual(is_right, not Verdict(
                    {'wrong': [], 'fates': {'job': fate}}, {'job': attempts},
                    slack).judge())

    def test_alike(self):
        """Of what is alike, one is told."""
        wrong = judged(*[(None, 0, 'error', 1)] * 3)
        self.assertEqual(1, len(wrong))
        self.assertRegex(wrong[0], 'and 2 more')


class LogWatchTest(unittest.TestCase):

    LINE = '2026-11-26T03:13:07 {} {} lovely.remotetask x: {}\n'
    CELERY = '[2026-11-26 03:13:07,123: WARNING/ForkPoolWorker-1] {}\n'

    def watch(self, *texts):
        """Return a LogWatch that saw each text a second after the other."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        path = Path(folder, 'event.log')
        watch = LogWatch(path)
        for now, text in enumerate(texts):
            with path.open('a') as log:
                log.write(text)
            watch.look(float(now))
        return watch

    def test_few_lines(self):
        """A line now and then is all right."""
        watch = self.watch(*[self.LINE.format(5, 'ERROR', 'bad')] * 30)
        self.assertEqual(1.1, watch.most())
        self.assertEqual([], watch.wrong())

    def test_too_many_lines(self):
        """More than 20 a second are not."""
        lines = self.LINE.format(5, 'WARNING', 'trying again') * 250
        self.assertRegex(self.watch(lines).wrong()[0], '25 lines a second')

    def test_each_process(self):
        """They are counted by process."""
        lines = ''.join(self.LINE.format(pid, 'WARNING', 'trying again') * 150
                        for pid in (5, 6))
        self.assertEqual([], self.watch(lines).wrong())

    def test_lines_of_celery(self):
        """The log of Celery has another form."""
        self.assertEqual(
            25.0, self.watch(self.CELERY.format('bad') * 250).most())

    def test_lines_of_jobs(self):
        """One line for each job is not too much, however many there are."""
        for text in 'completed in 0.1 s (f, attempt 1)', 'failed after 0.1 s':
            line = self.LINE.format(5, 'INFO', text)
            self.assertEqual(0, self.watch(line * 999).most(), text)

    def test_completed(self):
        """When jobs were completed is remembered."""
        line = self.LINE.format(5, 'INFO', 'events/5: completed in 0.1 s')
        self.assertEqual([0.0, 2.0], self.watch(line, '', line).completed)

    def test_half_a_line(self):
        """A line that is just being written counts once."""
        line = self.LINE.format(5, 'ERROR', 'bad')
        self.assertEqual(0.1, self.watch(line[:60], line[60:]).most())


class Slot:
    """A worker that says that it is ready, or not."""

    status = 200

    def ready(self):
        return self.status


class HealthWatchTest(unittest.TestCase):

    def watch(self, status, completed=()):
        """Return a HealthWatch of an outage from the second 10 to 30."""
        slot = Slot()
        watch = HealthWatch(
            [slot], [Outage('an outage', 10.0, 30.0)], completed)
        for now in range(40):
            slot.status = status if 20 < now < 30 else 200
            watch.look(float(now))
        return watch

    def test_ready_in_an_outage(self):
        """Who is ready while nothing can be done is told of."""
        self.assertEqual(
            ['/ready was 200, 9 times, 11 to 19 s after the beginning of an '
             'outage'], self.watch(200).wrong())

    def test_something_works(self):
        """Nobody lies as long as jobs are completed, nor a while after it."""
        self.assertEqual(
            ['/ready was 200, 4 times, 16 to 19 s after the beginning of an '
             'outage'], self.watch(200, [3.0, 16.0, 31.0]).wrong())

    def test_not_ready(self):
        """A while after it begins, and until it ends, nobody is ready."""
        watch = self.watch(503)
        self.assertEqual([], watch.wrong())
        self.assertEqual(9, watch.asked)


class ClockTest(unittest.TestCase):

    SAY = 'import time; print(time.time(), time.time_ns() / 1e9)'

    def test_jump(self):
        """A process with the variable has another clock, others have not."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        shutil.copy(clock.__file__, Path(folder, 'sitecustomize.py'))
        offset = Path(folder, 'offset')
        outages.set_clock(offset, -86400)
        for variables, expected in (
                ({}, 0), ({'HOSTILE_CLOCK': str(offset)}, -86400)):
            said = subprocess.run(
                [sys.executable, '-c', self.SAY], text=True, check=True,
                env={**os.environ, **variables, 'PYTHONPATH': folder},
                capture_output=True).stdout
            for found in said.split():
                self.assertAlmostEqual(
                    time.time() + expected, float(found), delta=60)


class DiskTest(unittest.TestCase):

    def test_full(self):
        """On a full disk no byte can be written, afterwards it can."""
        with contextlib.ExitStack() as stack:
            disk = outages.Disk(stack, megabytes=1)
            if not disk.is_small:
                self.skipTest('No file system can be mounted here.')
            file = Path(disk.path, 'file')
            with disk.full(), self.assertRaises(OSError):
                file.write_text('x')
            file.write_text('x')
        self.assertFalse(Path(disk.path).exists())


class Namer:
    """Names jobs; see each.Crew."""

    def __init__(self, place):
        self.place = place

    def bad(self, kind, number=1, *args, **options):
        return [[kind.name, number, args, options]]

    def good(self, *args, **options):
        return [['good', args, options]]


class PlanTest(unittest.TestCase):

    def test_seed(self):
        """With a seed, a run can be repeated."""
        one, two, other = (Plan(Namer(THREADS), seed, 50, 80)
                           for seed in (1, 1, 2))
        self.assertEqual(one.requests, two.requests)
        self.assertNotEqual(one.requests, other.requests)

    def test_kinds(self):
        """There are enough kinds in each place, one of them a segfault."""
        for place in PLACES:
            with self.subTest(place):
                kinds = Plan(Namer(place), 1, 0, 500).kinds
                self.assertGreater(len(kinds), 200)
                self.assertIn(KINDS['segfault'], kinds)
                self.assertEqual([], [
                    kind.name for kind in kinds
                    if place not in kind.places or kind.loud])

    def test_few_kinds(self):
        """A short run has fewer, and still a segfault."""
        kinds = Plan(Namer(THREADS), 1, 0, 60).kinds
        self.assertEqual(60, len({kind.name for kind in kinds}))
        self.assertIn(KINDS['segfault'], kinds)
