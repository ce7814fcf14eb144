"""What becomes of jobs that earlier code has stored."""

import datetime
import decimal
import unittest

from lovely.remotetask.foreign.unreadable import UnreadableRecord
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Job
from lovely.remotetask.storage import fate


# 2026-11-26 12:00 UTC
NOW = 1795694400
HOUR = 3600

# The same moments as Python 2 has stored them: naive, in some time zone.
CREATED = datetime.datetime(2026, 11, 26, 11)
BEGAN = datetime.datetime(2026, 11, 26, 11, 30)


class Books:
    """Stands for what the queue and the schedule say of the one job."""

    def __init__(self, queued=False, scheduled=False, time=None, new=False):
        self.queued = queued
        self.scheduled = scheduled
        self.time = time
        self.new = new

    def is_queued(self, job):
        return self.queued

    def is_scheduled(self, job):
        return self.scheduled

    def is_new(self, job):
        return self.new

    def time_of(self, job):
        return self.time


def stored(class_, status, **state):
    """Return a job with the attributes that Python 2 has stored."""
    job = class_.__new__(class_)
    vars(job).update(id=1, task='a.task', status=status, created=CREATED,
                     **state)
    return job


def fate_of(job, now=NOW, **books):
    return fate.fate_of(job, 1, Books(**books), now)


class OnceTest(unittest.TestCase):
    """Jobs that are run once, as soon as possible."""

    def test_queued(self):
        """It is queued, and there is nothing to tell."""
        found = fate_of(stored(Job, QUEUED), queued=True)
        self.assertEqual(QUEUED, found.status)
        self.assertEqual([], found.findings(1))

    def test_order(self):
        """They are due long ago, in the order in which they were created."""
        dues = []
        for created in (CREATED, CREATED + datetime.timedelta(0, 0, 1),
                        BEGAN, datetime.datetime(2999, 1, 1)):
            job = stored(Job, QUEUED)
            vars(job)['created'] = created
            dues.append(fate_of(job, queued=True).due)
        self.assertEqual(sorted(set(dues)), dues)
        self.assertLess(dues[-1], 100)

    def test_created_is_none(self):
        """Nothing that is stored is trusted."""
        for created in (None, -5, float('nan'), datetime.datetime.min):
            job = stored(Job, QUEUED)
            vars(job)['created'] = created
            with self.subTest(created):
                self.assertEqual(0.0, fate_of(job, queued=True).due)

    def test_lost_and_never_run(self):
        """Whoever had claimed it died before: it is run, and that is told."""
        found = fate_of(stored(Job, QUEUED))
        self.assertEqual(QUEUED, found.status)
        told, = found.findings(1)
        self.assertEqual(fate.LOST, told.kind)

    def test_lost_and_run(self):
        """What it did may be stored already: it is held."""
        for class_, status in ((Job, QUEUED), (Job, PROCESSING),
                               (CronJob, DELAYED)):
            with self.subTest(status):
                found = fate_of(stored(class_, status, started=BEGAN))
                self.assertEqual(HELD, found.status)
                told, = found.findings(1)
                self.assertEqual(fate.HOLDS, told.kind)
                self.assertIn('may be stored', told.text)

    def test_run_and_queued_again(self):
        """Somebody has queued it again: it is run."""
        for status in (QUEUED, PROCESSING):
            found = fate_of(stored(Job, status, started=BEGAN), queued=True)
            self.assertEqual(QUEUED, found.status)

    def test_queue_that_cannot_be_read(self):
        """Nobody knows what was lost; what has begun is held."""
        self.assertEqual(
            QUEUED, fate_of(stored(Job, QUEUED), queued=None).status)
        self.assertEqual(HELD, fate_of(
            stored(Job, QUEUED, started=BEGAN), queued=None).status)
        self.assertFalse(fate_of(stored(Job, QUEUED), queued=None).was_lost)

    def test_at_rest(self):
        """What has ended, or waits to be started, stays as it is."""
        for status in (COMPLETED, CANCELLED, ERROR, STARTLATER):
            self.assertEqual(status, fate_of(stored(
                Job, status, started=BEGAN)).status)

    def test_unknown_status(self):
        """It is none to be worked with."""
        for status in ('new', None, 5, ['queued']):
            with self.subTest(status), self.assertRaises(UnreadableRecord):
                fate_of(stored(Job, status))

    def test_another_record(self):
        with self.assertRaises(UnreadableRecord):
            fate.fate_of(stored(Job, QUEUED), 2, Books(), NOW)

    def test_no_time_at_all(self):
        """One that has ended is listed all the same; see upgrade._tell_times.
        """
        job = stored(Job, COMPLETED)
        vars(job)['created'] = None
        self.assertEqual(COMPLETED, fate_of(job).status)


class DelayedTest(unittest.TestCase):

    def job(self, **state):
        return stored(CronJob, DELAYED, **{'delay': HOUR, **state})

    def test_keeps_its_moment(self):
        """The one of the schedule: what it was shown as was local time."""
        job = self.job(scheduledFor=datetime.datetime(2001, 1, 1))
        self.assertEqual(NOW + 5, fate_of(
            job, scheduled=True, time=NOW + 5).due)
        self.assertEqual(NOW - 86400, fate_of(
            job, scheduled=True, time=NOW - 86400).due)

    def test_no_processor_has_seen_it(self):
        """Its delay counts from now on, as it did."""
        self.assertEqual(NOW + HOUR, fate_of(self.job(), scheduled=True).due)

    def test_rescheduled(self):
        """Its delay counts from now on, whenever it was to be run before."""
        job = self.job(scheduledFor=datetime.datetime(2001, 1, 1))
        self.assertEqual(
            NOW + HOUR, fate_of(job, scheduled=True, new=True).due)

    def test_lost_before_it_ran(self):
        """It is run when it was to."""
        moment = datetime.datetime(2026, 11, 26, 11, 45)
        found = fate_of(self.job(scheduledFor=moment))
        self.assertEqual(moment.timestamp(), found.due)
        self.assertEqual(DELAYED, found.status)
        self.assertTrue(found.was_lost)

    def test_impossible_delay(self):
        """It is held, and says why."""
        for delay in (-5, 10 ** 30, 'x', float('nan')):
            with self.subTest(delay):
                found = fate_of(self.job(delay=delay), scheduled=True)
                self.assertEqual(HELD, found.status)
                self.assertIn('delay must', found.reason)

    def test_no_delay(self):
        """Somebody has given it a pattern meanwhile: it is run once."""
        found = fate_of(self.job(delay=None, minute=(30,)), scheduled=True)
        self.assertEqual(DELAYED, found.status)
        self.assertEqual(NOW + HOUR / 2, found.due)


class CronTest(unittest.TestCase):

    def fate_of(self, time=None, **pattern):
        return fate_of(stored(CronJob, CRONJOB, **pattern), scheduled=True,
                       time=time)

    def test_next_time(self):
        """The one of its pattern: Python 2 added the seconds of somewhen."""
        self.assertEqual(NOW + HOUR, self.fate_of(
            NOW + HOUR + 17, minute=(0,)).due)

    def test_overdue(self):
        """It is made up for: due when it was."""
        found = self.fate_of(NOW - 30 * HOUR, hour=(6,))
        self.assertEqual(NOW - 30 * HOUR, found.due)
        self.assertEqual(CRONJOB, found.status)

    def test_due_earlier_than_the_pattern_says(self):
        """As Python 2 was late by its seconds, today's run is still to come.
        """
        self.assertEqual(NOW + 30, self.fate_of(NOW + 30, hour=(12,)).due)

    def test_time_in_the_far_future(self):
        """A clock was wrong."""
        self.assertEqual(NOW + HOUR, self.fate_of(
            NOW + 10 ** 8, minute=(0,)).due)

    def test_run_that_was_lost(self):
        """The next one is not."""
        job = stored(CronJob, CRONJOB, minute=(0,), started=BEGAN)
        self.assertEqual(CRONJOB, fate_of(job).status)

    def test_impossible_values(self):
        """They never matched; the others did, and do."""
        for name, values, kept in (
                ('minute', (0, 20, 40, 60), (0, 20, 40)),
                ('hour', (0, 24), (0,)),
                ('dayOfWeek', (5, 7), (5,)),
                ('month', (0, 1, 13, '2', None), (1,)),
                ('dayOfMonth', (32, 1, -1), (1,)),
                ('minute', [5, 'x'], (5,)),
                ('minute', (5, 5.5, float('inf')), (5,)),
                ('minute', (30.0, True, decimal.Decimal(7)), (30, 1))):
            with self.subTest(f'{name} {values}'):
                found = self.fate_of(**{name: values})
                self.assertEqual(CRONJOB, found.status)
                self.assertEqual(kept, found.pattern[name])
                told, = found.findings(1)
                self.assertEqual(fate.PATTERN, told.kind)
                self.assertIn(f'{name}=', told.text)

    def test_no_value_is_left(self):
        """It never ran; it is held, and says why.

        What is left of the pattern are numbers, and no time matches them.
        """
        for pattern in ({'minute': (60,)}, {'hour': (24, 25), 'minute': (0,)},
                        {'dayOfWeek': (7,)}, {'month': ('May',)},
                        {'minute': 77}, {'minute': '5'}):
            with self.subTest(str(pattern)):
                found = self.fate_of(**pattern)
                self.assertEqual(HELD, found.status)
                name = next(iter(pattern))
                self.assertIn(f'{name}=', found.reason)
                self.assertTrue(found.pattern[name])
                self.assertEqual(
                    {int}, set(map(type, found.pattern[name])))

    def test_no_day(self):
        """All values are possible, but not together."""
        found = self.fate_of(month=(2,), dayOfMonth=(30,))
        self.assertEqual(HELD, found.status)
        self.assertIn('No day ever matches', found.reason)

    def test_a_rare_day(self):
        """Python 2 stumbled over those that are more than a year away."""
        self.assertEqual(CRONJOB, self.fate_of(
            month=(2,), dayOfMonth=(29,)).status)

    def test_delay(self):
        """A pattern that somebody has replaced by a delay."""
        self.assertEqual(NOW + 60, self.fate_of(delay=60).due)

    def test_no_cron_job(self):
        """The record of some other job has this status."""
        self.assertEqual(HELD, fate_of(stored(Job, CRONJOB)).status)
        self.assertEqual(HELD, fate_of(stored(Job, DELAYED)).status)
