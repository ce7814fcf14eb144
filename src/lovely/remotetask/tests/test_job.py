"""Jobs, their legal changes of status, and when they are due."""

import calendar
import datetime
import time
import types
import unittest
import unittest.mock

from zope.interface.verify import verifyObject

from lovely.remotetask import interfaces
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.job import Claim
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Job
from lovely.remotetask.job import Run


CLAIM = Claim(1, 'host:1:thread:token', 'host:1:thread', 60.0, 1, 0, QUEUED)
FAILURE = types.SimpleNamespace(
    error='message', errorClass='module.Class', traceback='Traceback ...')

MINUTE, HOUR, DAY = 60, 3600, 86400


def cron(**fields):
    return CronJob(-1, 'test.task', (), **fields)


def utc(*args):
    """Return the POSIX seconds of a UTC time."""
    return calendar.timegm(datetime.datetime(*args).timetuple())


def next_call(now, **fields):
    """Return the next time after one, as an aware UTC datetime."""
    return at(cron(**fields).timeOfNextCall(now))


def at(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def day(*args):
    return datetime.datetime(*args, tzinfo=datetime.UTC)


def running(job_class=Job, **fields):
    job = job_class(1, 'test.task', None, **fields)
    job.change_status(job.waiting_status)
    return job


def run(started=61.0, claim=CLAIM):
    return Run(claim, started)


class StatusNamesTest(unittest.TestCase):

    def test_values(self):
        """The statuses are the published plain strings."""
        self.assertEqual(
            ['queued', 'processing', 'cancelled', 'error', 'completed',
             'delayed', 'cronjob', 'start later', 'held'],
            [QUEUED, PROCESSING, CANCELLED, ERROR, COMPLETED, DELAYED,
             CRONJOB, STARTLATER, HELD])


class JobTest(unittest.TestCase):

    def test_interfaces(self):
        """Jobs, cron jobs and claims provide what they say."""
        self.assertTrue(verifyObject(interfaces.IJob, Job(1, 'a', {})))
        self.assertTrue(verifyObject(interfaces.IJob, cron()))
        self.assertTrue(verifyObject(interfaces.ICronJob, cron()))
        self.assertTrue(verifyObject(interfaces.IClaim, CLAIM))

    def test_repr(self):
        """The representation shows the class and the id."""
        self.assertEqual('<Job 1>', repr(Job(1, 'a', None)))
        self.assertEqual('<CronJob -1>', repr(cron()))

    def test_repr_of_what_happened(self):
        """It shows what became of the job, too, and at which attempt."""
        job = running()
        self.assertEqual('<Job 1 queued test.task>', repr(job))
        job.fail(run(), FAILURE, 70)
        self.assertEqual('<Job 1 error test.task, attempt 1>', repr(job))

    def test_a_new_job(self):
        """A new job knows its call, when it was made, and nothing else."""
        before = datetime.datetime.now(datetime.UTC)
        job = Job(1, 'test.task', 'input')
        self.assertEqual(
            (1, 'test.task', 'input'), (job.id, job.task, job.input))
        self.assertLessEqual(before, job.created)
        self.assertEqual(datetime.UTC, job.created.tzinfo)
        self.assertEqual(
            [None] * 7,
            [job.output, job.error, job.errorClass, job.traceback, job.claim,
             job.started, job.completed])
        self.assertEqual(0, job.attempts)

    def test_succeed(self):
        """A job that succeeded has its result and when it ended."""
        job = running()
        job.succeed(run(), 'result', 70)
        self.assertEqual((COMPLETED, 'result'), (job.status, job.output))
        self.assertEqual((at(61), at(70)), (job.started, job.completed))
        self.assertIsNone(job.claim)

    def test_a_clock_that_was_set_back(self):
        """A job has not ended before it was begun."""
        job = running()
        job.succeed(run(started=61), None, -800_000)
        self.assertEqual(at(61), job.completed)
        self.assertEqual(0, job.history[0].duration)

    def test_history(self):
        """Each run leaves who did it, when, how long, and its error."""
        job = running()
        job.retry(run(), FAILURE, 70, due=80)
        other = CLAIM._replace(processor='other:1:thread')
        job.succeed(run(85, other), 'result', 90)
        self.assertEqual(
            [(61, 9, 'host:1:thread', 'module.Class', 'message',
              'Traceback ...'),
             (85, 5, 'other:1:thread', None, None, None)],
            [(*attempt[:4], attempt.error, attempt.traceback)
             for attempt in job.history])
        self.assertEqual(2, job.attempts)

    def test_history_of_many_runs(self):
        """The last 20 runs are kept."""
        job = running(CronJob)
        for number in range(30):
            job.succeed(run(number), None, number + 1)
        self.assertEqual([*range(10, 30)],
                         [attempt.started for attempt in job.history])

    def test_each_run_moves_the_fence(self):
        """A claim is good for one run."""
        job = running()
        job.retry(run(), FAILURE, 70, due=80)
        self.assertEqual(1, job.fence)

    def test_retry(self):
        """A job that is tried again waits; transient errors are apart."""
        job = running()
        job.retry(run(), FAILURE, 70, due=80)
        self.assertEqual((QUEUED, 80), (job.status, job.due))
        job.retry(run(85), FAILURE, 86, due=90, transient=True)
        self.assertEqual(
            (2, 1, 1), (job.attempts, job.transients, job.failures))

    def test_lose(self):
        """A run whose process is gone counts, without a duration."""
        job = Job(1, 'test.task', None)
        job.change_status(QUEUED)
        job.lose(CLAIM, 'The process is gone.')
        attempt, = job.history
        self.assertEqual(
            (60, None, 'host:1:thread'),
            (attempt.started, attempt.duration, attempt.processor))
        self.assertIn('is gone', attempt.error)
        self.assertEqual((QUEUED, 1, 1),
                         (job.status, job.attempts, job.fence))

    def test_wait_again(self):
        """A job that is queued again begins anew."""
        job = running()
        job.fail(run(), FAILURE, 70)
        job.wait_again()
        self.assertEqual(
            (QUEUED, None, 0, 0, 3),
            (job.status, job.due, job.attempts, job.transients, job.fence))
        self.assertEqual(1, len(job.history))

    def test_fail(self):
        """A job that failed has message, class and traceback."""
        job = running()
        job.fail(run(), FAILURE, 70)
        self.assertEqual(ERROR, job.status)
        self.assertEqual(
            ('message', 'module.Class', 'Traceback ...'),
            (job.error, job.errorClass, job.traceback))
        self.assertEqual(at(70), job.completed)

    def test_a_cron_job_rests_after_a_run(self):
        """A cron job is scheduled again whether its run failed or not."""
        job = running(CronJob)
        job.fail(run(), FAILURE, 70)
        self.assertEqual((CRONJOB, 'message'), (job.status, job.error))
        self.assertEqual(0, job.attempts)
        job.succeed(run(75), 'result', 80)
        self.assertEqual((CRONJOB, None), (job.status, job.error))
        self.assertEqual((None, None), (job.errorClass, job.traceback))

    def test_a_delayed_job_ends(self):
        """A delayed job runs once and is completed."""
        job = running(CronJob, delay=10)
        job.succeed(run(), 'result', 80)
        self.assertEqual(COMPLETED, job.status)


class StatusChangeTest(unittest.TestCase):
    """Which status may follow which; None is that of a job being made."""

    LEGAL = {
        (None, QUEUED), (None, STARTLATER), (None, DELAYED), (None, CRONJOB),
        (STARTLATER, QUEUED), (STARTLATER, CANCELLED),
        (QUEUED, PROCESSING), (QUEUED, CANCELLED),
        (DELAYED, PROCESSING), (DELAYED, CANCELLED),
        (CRONJOB, PROCESSING), (CRONJOB, CANCELLED),
        (PROCESSING, COMPLETED), (PROCESSING, ERROR),
        (PROCESSING, HELD), (PROCESSING, QUEUED), (PROCESSING, DELAYED),
        (PROCESSING, CRONJOB),
        (HELD, QUEUED), (HELD, CANCELLED),
        # Given a pattern, or a delay.
        (DELAYED, CRONJOB), (CRONJOB, DELAYED),
        # Without a run: it cannot be told when, or its last one was undone.
        (QUEUED, HELD), (DELAYED, HELD), (CRONJOB, HELD),
        (ERROR, QUEUED), (CANCELLED, QUEUED),
    }

    def every_change(self):
        for old in (None, *interfaces.STATUSES):
            for new in interfaces.STATUSES:
                job = Job(7, 'test.task', None)
                if old == PROCESSING:
                    job.__dict__['status'] = QUEUED
                    job.store = types.SimpleNamespace(
                        claim_of=lambda job: CLAIM)
                elif old is not None:
                    job.__dict__['status'] = old
                yield old, new, job

    def test_legal_changes(self):
        """Legal changes are made."""
        for old, new, job in self.every_change():
            if (old, new) in self.LEGAL:
                with self.subTest(old=old, new=new):
                    job.change_status(new)
                    self.assertEqual(new, job.stored_status)

    def test_illegal_changes(self):
        """All others raise an error that names both, and change nothing."""
        for old, new, job in self.every_change():
            if (old, new) not in self.LEGAL:
                with self.subTest(old=old, new=new), \
                        self.assertRaisesRegex(
                            interfaces.IllegalStatusChange,
                            f'Job 7 is {old!r} and cannot become {new!r}'):
                    job.change_status(new)
                self.assertEqual(old, job.status)

    def test_an_unknown_status(self):
        """What is no status at all is refused too."""
        with self.assertRaises(interfaces.IllegalStatusChange):
            Job(7, 'test.task', None).change_status('asleep')

    def test_an_ended_job_does_not_end(self):
        """An illegal end changes neither the result nor the times."""
        job = running()
        job.succeed(run(), 1, 70)
        with self.assertRaises(interfaces.IllegalStatusChange):
            job.succeed(run(), 2, 80)
        self.assertEqual((1, at(61), at(70), 1),
                         (job.output, job.started, job.completed,
                          len(job.history)))


class TimeOfNextCallTest(unittest.TestCase):
    """The epoch was a Thursday."""

    def test_minute(self):
        """Minutes are tried in turn; after the last, the next hour's."""
        job = cron(minute=(0, 10))
        self.assertEqual(10 * MINUTE, job.timeOfNextCall(0))
        self.assertEqual(HOUR, job.timeOfNextCall(10 * MINUTE))

    def test_hour(self):
        """With hours alone the minute is 0."""
        job = cron(hour=(2, 13))
        self.assertEqual(2 * HOUR, job.timeOfNextCall(0))
        self.assertEqual(13 * HOUR, job.timeOfNextCall(2 * HOUR))
        self.assertEqual(26 * HOUR, job.timeOfNextCall(13 * HOUR))

    def test_month(self):
        """With months alone it is the first at 00:00."""
        job = cron(month=(1, 5, 12))
        may = job.timeOfNextCall(0)
        self.assertEqual(day(1970, 5, 1), at(may))
        december = job.timeOfNextCall(may)
        self.assertEqual(day(1970, 12, 1), at(december))
        self.assertEqual(day(1971, 1, 1), at(job.timeOfNextCall(december)))

    def test_day_of_week(self):
        """Day 0 is Monday; with days of week alone it is 00:00."""
        fields = {'dayOfWeek': (0, 2, 4, 5)}
        self.assertEqual(day(1970, 1, 2), next_call(0, **fields))
        self.assertEqual(day(1970, 1, 3), next_call(DAY, **fields))
        self.assertEqual(day(1970, 1, 5), next_call(2 * DAY, **fields))
        self.assertEqual(day(1970, 1, 7), next_call(4 * DAY, **fields))

    def test_day_of_month(self):
        """With days of month alone it is 00:00."""
        fields = {'dayOfMonth': (1, 12, 21, 30)}
        self.assertEqual(day(1970, 1, 12), next_call(0, **fields))
        self.assertEqual(day(1970, 1, 21), next_call(12 * DAY, **fields))
        self.assertEqual(
            day(1970, 2, 1), next_call(utc(1970, 1, 30), **fields))

    def test_minute_and_day_of_month(self):
        """The hour between two fields that are set is every hour."""
        fields = {'minute': (10,), 'dayOfMonth': (1, 12, 21, 30)}
        self.assertEqual(day(1970, 1, 1, 0, 10), next_call(0, **fields))
        self.assertEqual(
            day(1970, 1, 1, 1, 10), next_call(10 * MINUTE, **fields))

    def test_minute_hour_and_day_of_month(self):
        """All fields that are set must match."""
        fields = {'minute': (10,), 'hour': (4,), 'dayOfMonth': (1, 12, 21, 30)}
        expected = day(1970, 1, 1, 4, 10)
        self.assertEqual(expected, next_call(0, **fields))
        self.assertEqual(expected, next_call(10 * MINUTE, **fields))
        self.assertEqual(
            day(1970, 1, 12, 4, 10), next_call(5 * HOUR, **fields))

    def test_month_and_day_of_week(self):
        """A day of week is as fine as a day of month: every one counts."""
        fields = {'month': (5,), 'dayOfWeek': (0,)}
        self.assertEqual(day(1970, 5, 4), next_call(0, **fields))
        self.assertEqual(
            day(1970, 5, 11), next_call(utc(1970, 5, 4), **fields))

    def test_month_and_hour(self):
        """The day between two fields that are set is every day."""
        fields = {'month': (5,), 'hour': (2,)}
        self.assertEqual(
            day(1970, 5, 2, 2), next_call(utc(1970, 5, 1, 2), **fields))

    def test_both_day_fields_must_match(self):
        """Friday the 13th is a Friday and a 13th, not either."""
        fields = {'dayOfMonth': (13,), 'dayOfWeek': (4,)}
        self.assertEqual(day(1970, 2, 13), next_call(0, **fields))
        self.assertEqual(
            day(1970, 3, 13), next_call(utc(1970, 2, 13), **fields))
        self.assertEqual(
            day(1970, 11, 13), next_call(utc(1970, 3, 13), **fields))

    def test_days_with_times(self):
        """On a day that matches, every time that matches counts."""
        fields = {'minute': (0, 59), 'hour': (23,), 'dayOfWeek': (0,)}
        self.assertEqual(day(1970, 1, 5, 23), next_call(0, **fields))
        self.assertEqual(
            day(1970, 1, 5, 23, 59),
            next_call(utc(1970, 1, 5, 23), **fields))
        self.assertEqual(
            day(1970, 1, 12, 23), next_call(utc(1970, 1, 5, 23, 59), **fields))

    def test_no_fields(self):
        """An empty pattern is every minute."""
        self.assertEqual(MINUTE, cron().timeOfNextCall(0))

    def test_times_are_aligned(self):
        """The seconds of now, whole or not, are not those of the result."""
        for now in (0, 17, 59.9, 2 * HOUR - 1, 2 * HOUR - 0.001):
            with self.subTest(now=now):
                self.assertEqual(2 * HOUR, cron(hour=(2,)).timeOfNextCall(now))
        self.assertEqual(
            26 * HOUR, cron(hour=(2,)).timeOfNextCall(2 * HOUR + 0.5))

    def test_after_now(self):
        """A time that is now is not the next one."""
        self.assertEqual(26 * HOUR, cron(hour=(2,)).timeOfNextCall(2 * HOUR))

    def test_returns_an_int(self):
        """The result is an int, as published."""
        self.assertIsInstance(cron(hour=(2,)).timeOfNextCall(0.5), int)
        self.assertIsInstance(cron(delay=10).timeOfNextCall(0.5), int)

    def test_now_is_the_current_time(self):
        """Without now, the current time is meant."""
        before = time.time()
        found = cron().timeOfNextCall()
        self.assertTrue(before < found <= time.time() + MINUTE)

    def test_utc(self):
        """Hours are UTC whatever the time zone of the machine."""
        self.addCleanup(time.tzset)
        with unittest.mock.patch.dict('os.environ', TZ='Asia/Tokyo'):
            time.tzset()
            self.assertEqual(2 * HOUR, cron(hour=(2,)).timeOfNextCall(0))

    def test_delay(self):
        """A delay is counted from now."""
        job = cron(delay=10)
        self.assertEqual(10, job.timeOfNextCall(0))
        self.assertEqual(11, job.timeOfNextCall(1))

    def test_a_day_that_short_months_lack(self):
        """On the 31st skips the months that are shorter."""
        fields = {'dayOfMonth': (31,)}
        self.assertEqual(
            day(1970, 3, 31), next_call(utc(1970, 1, 31), **fields))

    def test_leap_days(self):
        """The 29th of February is found in leap years."""
        fields = {'dayOfMonth': (29,), 'month': (2,)}
        self.assertEqual(day(1972, 2, 29), next_call(0, **fields))
        self.assertEqual(
            day(2000, 2, 29), next_call(utc(1996, 2, 29), **fields))

    def test_leap_days_over_a_century_without_one(self):
        """The year 2100 has no leap day."""
        self.assertEqual(
            day(2104, 2, 29),
            next_call(utc(2096, 2, 29), dayOfMonth=(29,), month=(2,)))

    def test_leap_days_on_a_day_of_week(self):
        """A leap day on a given day of the week comes every 28 years."""
        fields = {'dayOfMonth': (29,), 'month': (2,), 'dayOfWeek': (0,)}
        self.assertEqual(day(1988, 2, 29), next_call(0, **fields))
        self.assertEqual(
            day(2016, 2, 29), next_call(utc(1988, 2, 29), **fields))

    def test_leap_days_on_a_day_of_week_over_a_century(self):
        """Over 2100 it takes 40 years."""
        fields = {'dayOfMonth': (29,), 'month': (2,), 'dayOfWeek': (6,)}
        self.assertEqual(day(2076, 2, 29).weekday(), 5)
        found = next_call(utc(2100, 1, 1), **fields)
        self.assertEqual((2, 29, 6), (found.month, found.day, found.weekday()))


class UpdateTest(unittest.TestCase):

    OUT_OF_RANGE = {
        'minute': (-1, 60), 'hour': (-1, 24), 'dayOfMonth': (0, 32),
        'month': (0, 13), 'dayOfWeek': (-1, 7)}

    def test_fields_are_tuples(self):
        """Lists are taken too and kept as tuples, immutable."""
        job = cron(minute=[0, 10])
        self.assertEqual((0, 10), job.minute)

    def test_values_out_of_range(self):
        """A value out of range is named with its field and the range."""
        for name, values in self.OUT_OF_RANGE.items():
            for value in values:
                with self.subTest(name=name, value=value), \
                        self.assertRaisesRegex(
                            ValueError, f'{name} must be .* not {value}'):
                    cron(**{name: (value,)})

    def test_the_ends_of_the_ranges(self):
        """The first and the last value of each range are taken."""
        for name, (first, last) in self.OUT_OF_RANGE.items():
            with self.subTest(name=name):
                cron(**{name: (first + 1, last - 1)})

    def test_values_that_are_no_numbers(self):
        """Texts are what a crontab has; none of them is in a tuple."""
        for value in ('60', ('5',), ('MON',), (1.5,)):
            with self.subTest(value=value), self.assertRaises(ValueError):
                cron(minute=value)

    def test_impossible_patterns(self):
        """A pattern that no day ever matches is refused."""
        for fields in ({'dayOfMonth': (31,), 'month': (2,)},
                       {'dayOfMonth': (30,), 'month': (2,)},
                       {'dayOfMonth': (31,), 'month': (4, 6, 9, 11)}):
            with self.subTest(fields), \
                    self.assertRaisesRegex(ValueError, 'No day ever matches'):
                cron(**fields)

    def test_a_wrong_delay(self):
        """A delay is a number of seconds, not less than 0."""
        for delay in (-1, '10', True):
            with self.subTest(delay=delay), \
                    self.assertRaisesRegex(ValueError, 'delay must be'):
                cron(delay=delay)

    def test_a_refused_update_changes_nothing(self):
        """After an error the old pattern stands as a whole."""
        job = cron(hour=(2,))
        for fields in ({'minute': (5,), 'hour': (25,)},
                       {'minute': (5,), 'dayOfMonth': (31,), 'month': (2,)},
                       {'minute': (5,), 'delay': -1}):
            with self.assertRaises(ValueError):
                job.update(**fields)
            self.assertEqual(((), (2,), None),
                             (job.minute, job.hour, job.delay))

    def test_update_replaces_all_fields(self):
        """A field that is not given again is empty."""
        job = cron(hour=(2,))
        job.update(minute=(5,))
        self.assertEqual(5 * MINUTE, job.timeOfNextCall(0))
