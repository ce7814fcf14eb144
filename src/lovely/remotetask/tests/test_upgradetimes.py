"""Times, and names of tasks, that lovely.remotetask 0.5 has stored."""

import contextlib
import datetime
import time
import unittest.mock

import transaction

from lovely.remotetask.browser import cronwords
from lovely.remotetask.cron import RANGES as PATTERN
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.test_upgrade import CANCELLED_0
from lovely.remotetask.tests.test_upgrade import COMPLETED_0
from lovely.remotetask.tests.test_upgrade import DELAYED_10S
from lovely.remotetask.tests.test_upgrade import EVERY_QUARTER
from lovely.remotetask.tests.test_upgrade import FAR
from lovely.remotetask.tests.test_upgrade import QUEUED_0
from lovely.remotetask.tests.test_upgrade import TASK_ERROR
from lovely.remotetask.tests.test_upgrade import UpgradeCase


JOBS = COMPLETED_0, TASK_ERROR, CANCELLED_0, QUEUED_0, EVERY_QUARTER

# Ends of the calendar, with and without a time zone, and far east and west.
EXTREMES = [each.replace(tzinfo=zone)
            for each in (datetime.datetime.min, datetime.datetime.max)
            for zone in (None, datetime.UTC, *(
                datetime.timezone(datetime.timedelta(hours=hours))
                for hours in (-12, 14)))]


class StoredCase(UpgradeCase):

    def store(self, jobid, **state):
        """Let something be stored of a job; None: it is missing."""
        job = self.stored_jobs()[jobid]
        job._p_activate()
        vars(job).update(state)
        for name in state:
            if state[name] is None:
                del vars(job)[name]
        job._p_changed = True


class ZoneTest(StoredCase):
    """The processes that use a database are in different time zones."""

    @contextlib.contextmanager
    def zone(self, name):
        self.addCleanup(time.tzset)
        with unittest.mock.patch.dict('os.environ', TZ=name):
            time.tzset()
            self.db.cacheMinimize()
            yield
            transaction.commit()

    def listed(self):
        """Return the statuses of which jobs are listed, and how many."""
        ledger = self.service.store.ledger
        return {status: number for status in LISTED if (
            number := sum(map(len, ledger.trees(status))))}

    def times(self):
        return {job.id: (job.created, job.started, job.completed)
                for job in self.service.jobs.values()}

    def test_times_stay(self):
        """Whoever reads them has the same moments."""
        with self.zone('America/New_York'):
            before = self.times()
        with self.zone('Asia/Tokyo'):
            self.assertEqual(before, self.times())

    def check_lists(self, first, second):
        """What is changed elsewhere leaves the list in which it is."""
        with self.zone(first):
            self.service.counts()
        with self.zone(second):
            self.service.requeue(TASK_ERROR)
            self.service.remove(COMPLETED_0)
            self.service.reschedule(EVERY_QUARTER)
            transaction.commit()
            self.drain(self.service, now=1)
            self.service.clean()
            transaction.commit()
            upkeep(self.service).prune(100, now=time.time())
            transaction.commit()
            self.drain(self.service, now=1)
            counts = self.counts(self.service)
            self.assertEqual(
                {status: number for status, number in counts.items()
                 if status in LISTED}, self.listed())
            self.assertNotIn(COMPLETED, counts)

    def test_from_the_west(self):
        self.check_lists('America/New_York', 'Asia/Tokyo')

    def test_from_the_east(self):
        self.check_lists('Europe/Berlin', 'UTC')

    def test_retention(self):
        with self.zone('Asia/Tokyo'):
            self.service.counts()
        with self.zone('America/New_York'):
            self.assertEqual(12, upkeep(self.service).prune(100, now=FAR))
            self.assertEqual(27, len(list(self.service.jobs)))


class OddTimesTest(StoredCase):

    def check(self):
        """The jobs are worked with as others are."""
        self.assertEqual([], self.service.unreadable())
        for jobid in JOBS:
            job = self.service.jobs[jobid]
            self.assertIsNotNone(job.created)
            self.assertEqual(job.status in LISTED, bool(job.completed))
        self.drain(self.service, now=1)
        self.service.requeue(TASK_ERROR)
        self.service.requeue(CANCELLED_0)
        transaction.commit()
        self.drain(self.service, now=1)
        counts = self.counts(self.service)
        self.assertNotIn(QUEUED, counts)
        self.service.remove(COMPLETED_0)
        transaction.commit()
        self.drain(self.service, now=FAR)
        self.assertEqual(
            counts[COMPLETED] - 1 + counts[DELAYED],
            self.counts(self.service)[COMPLETED])

    def test_extremes(self):
        for moment in EXTREMES:
            with self.subTest(moment):
                transaction.abort()
                for jobid in JOBS:
                    self.store(jobid, created=moment, completed=None)
                self.store(TASK_ERROR, completed=moment, started=moment)
                self.service.counts()
                for jobid in JOBS:
                    self.assertIsNotNone(self.service.jobs[jobid].created)
                self.assertEqual([], self.service.unreadable())

    def test_earliest(self):
        for jobid in JOBS:
            self.store(jobid, created=datetime.datetime.min)
        self.store(TASK_ERROR, completed=datetime.datetime.min)
        self.check()

    def test_latest(self):
        for jobid in JOBS:
            self.store(jobid, created=datetime.datetime.max)
        self.check()

    def test_missing(self):
        """They are those of the upgrade."""
        for jobid in JOBS:
            self.store(jobid, created=None, completed=None)
        self.check()

    def test_delayed(self):
        for moment in EXTREMES:
            with self.subTest(moment):
                transaction.abort()
                self.service._p_activate()
                vars(self.service)['_scheduledJobs'] = None
                self.store(DELAYED_10S, scheduledFor=moment)
                self.assertEqual(
                    DELAYED, self.service.jobs[DELAYED_10S].status)
                self.assertIsNotNone(
                    self.service.jobs[DELAYED_10S].scheduledFor)


class OddTaskTest(StoredCase):
    """`addCronJob` of 0.5 took anything for a task."""

    def test_held(self):
        """A job that is to be run says what is wrong with it."""
        tasks = None, b'shop.echo', 5, ('shop', 'echo'), ['echo']
        jobids = [jobid for jobid, job in self.stored_jobs().items()
                  if job.stored_status in (QUEUED, CRONJOB, DELAYED)]
        odd = dict(zip(jobids, 5 * tasks, strict=False))
        for jobid, task in odd.items():
            self.store(jobid, task=task)
        self.service.counts()
        transaction.commit()
        self.drain(self.service, now=FAR)
        for jobid, task in odd.items():
            with self.subTest(task):
                job = self.service.jobs[jobid]
                self.assertEqual(HELD, job.status)
                self.assertIn(f'Its task is {task!r}, ', job.error)
                self.assertNotIn('unreadable', repr(job))
                self.assertTrue(self.service.cancel(jobid))

    def test_at_rest(self):
        """It stays as it is."""
        self.store(TASK_ERROR, task=None)
        self.store(CANCELLED_0, task=b'x')
        for jobid, status in (TASK_ERROR, ERROR), (CANCELLED_0, CANCELLED):
            job = self.service.jobs[jobid]
            self.assertEqual(status, job.status)
            self.assertNotIn('unreadable', repr(job))


class OddPatternTest(StoredCase):
    """`CronJob.update` of 0.5 stored whatever it was given."""

    def odd(self, minutes, **state):
        """Store each of some patterns.  Return their jobs of today."""
        jobids = [jobid for jobid, job in self.stored_jobs().items()
                  if job.stored_status == CRONJOB][:len(minutes)]
        for jobid, minute in zip(jobids, minutes, strict=True):
            self.store(jobid, **dict.fromkeys(PATTERN, ()), **state)
            self.store(jobid, minute=minute)
        self.service.counts()
        transaction.commit()
        return [self.service.jobs[jobid] for jobid in jobids]

    def test_goes_on(self):
        """What it met is stored as it is stored today."""
        jobs = self.odd([
            5, [5, 6], (5.0, True), frozenset([5]), ['5', 6.0], None])
        self.assertEqual([(5,), (5, 6), (5, 1), (5,), (6,), ()],
                         [job.minute for job in jobs])
        for job in jobs:
            self.assertEqual(CRONJOB, job.status)
            self.assertEqual({int}, {int, *map(type, job.minute)})
            self.assertIsNotNone(job.timeOfNextCall())

    def test_held(self):
        """It can be shown, and is never taken for any time."""
        for job in self.odd([60, '5', b'5', {'a': 1}, [5.5], (None,)]):
            self.assertEqual(HELD, job.status)
            self.assertEqual([int], list(map(type, job.minute)))
            with self.assertRaisesRegex(ValueError, 'minute must be'):
                self.service.requeue(job.id)

    def test_at_rest(self):
        jobs = self.odd([5, 60, None, (0, 60)], status=CANCELLED)
        self.assertEqual([(5,), (60,), (), (0,)],
                         [job.minute for job in jobs])
        self.assertEqual({CANCELLED}, {job.status for job in jobs})

    def test_words(self):
        """What no time matches can be told, where it is a name, too."""
        for name, value in (('dayOfWeek', 7), ('dayOfWeek', -1),
                            ('month', 13), ('month', 0), ('minute', 60),
                            ('hour', 24), ('dayOfMonth', -1)):
            with self.subTest(name, value=value):
                pattern = {**dict.fromkeys(PATTERN, []), name: [value]}
                self.assertIn(str(value), cronwords.words(
                    pattern, lambda text, **values: ' '.join(
                        map(str, values.values()))))
                self.assertIn(str(value), cronwords.fields(pattern)[name])
