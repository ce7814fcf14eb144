"""When jobs are due: by the schedule, which only processors write."""

import tempfile
import time
import unittest.mock

import transaction

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Run
from lovely.remotetask.policy import DAY
from lovely.remotetask.policy import Policy
from lovely.remotetask.storage import audit
from lovely.remotetask.storage import books
from lovely.remotetask.storage import cleaning
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import crons
from lovely.remotetask.storage import passing
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_store import FAILURE
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import B
from lovely.remotetask.tests.test_store import StoreCase
from lovely.remotetask.tests.test_zone import copy_zone
from lovely.remotetask.tests.test_zone import zone_data


HOUR = 3600


class ScheduleCase(StoreCase):

    def cron(self, **kw):
        jobid = self.service.addCronJob('test.task', **kw)
        transaction.commit()
        return jobid

    def due(self, jobid):
        return self.job(jobid).due

    def claim_without_a_clock(self, now):
        """Claim as a worker does whose clock is not to be trusted."""
        transaction.begin()
        claims = engine(self.service).claim(B, 10, now, scheduled=False)
        transaction.commit()
        return [claim.job for claim in claims]


class TimeTest(ScheduleCase):

    def test_seen_first(self):
        """To tell a cron job its time, nobody writes the job."""
        jobid = self.cron(minute=(10,))
        serial = self.job(jobid)._p_serial
        self.claim(now=0)
        self.assertEqual(600, self.due(jobid))
        self.assertEqual(600, self.job(jobid).scheduledFor.timestamp())
        self.assertEqual(serial, self.job(jobid)._p_serial)

    def test_runs(self):
        """Its next time is that of its last run, then that of the schedule.
        """
        jobid = self.cron(minute=(10,))
        self.claim(now=0)
        self.assertEqual([jobid], self.claim(now=600))
        self.finish()
        self.assertEqual(HOUR + 600, self.due(jobid))
        self.assertEqual([], self.claim(now=HOUR))
        self.assertEqual([jobid], self.claim(now=HOUR + 600))

    def test_handed_back(self):
        """Claimed and handed back, it is due as before."""
        jobid = self.cron(delay=10)
        self.claim(now=0)
        self.assertEqual([jobid], self.claim(now=10))
        self.assertEqual(PROCESSING, self.job(jobid).status)
        workers(self.service).stop_worker(A)
        transaction.commit()
        self.assertEqual(10, self.due(jobid))
        self.assertEqual([jobid], self.claim(now=10))

    def test_lost(self):
        """So it is if its process is gone."""
        jobid = self.cron(delay=10)
        self.claim(now=0)
        self.claim(now=10)
        workers(self.service).release(lambda worker: False, 100)
        transaction.commit()
        self.assertEqual(10, self.due(jobid))
        self.assertEqual([jobid], self.claim(now=100))

    def test_changed(self):
        """Rescheduled or cancelled, it has no time at once."""
        jobid = self.cron(delay=10)
        self.claim(now=0)
        self.service.reschedule(jobid)
        transaction.commit()
        self.assertIsNone(self.due(jobid))
        self.claim(now=5)
        self.assertEqual(15, self.due(jobid))
        self.service.cancel(jobid)
        transaction.commit()
        self.assertIsNone(self.job(jobid).scheduledFor)
        self.claim(now=5)
        self.assertEqual([], list(self.service.store.schedule))
        self.assertEqual([], list(self.service.store.crons))

    def test_a_delay_becomes_a_pattern(self):
        """It is a cron job then: found among them, and paused."""
        for passed in True, False:
            with self.subTest(passed=passed):
                jobid = self.change_kind({'delay': 10}, passed, minute=(10,))
                self.assertEqual(CRONJOB, self.job(jobid).status)
                self.claim(now=0)
                self.assertEqual(600, self.due(jobid))
                self.check_counts()
                self.assertEqual([jobid], [
                    job.id for job in self.service.cron_jobs()])
                self.assertTrue(self.service.pause_job(jobid))
                self.service.cancel(jobid)
                transaction.commit()

    def test_a_pattern_becomes_a_delay(self):
        """It is none any more, runs once, and has ended."""
        for passed in True, False:
            with self.subTest(passed=passed):
                jobid = self.change_kind({'minute': (10,)}, passed, delay=10)
                self.assertEqual(DELAYED, self.job(jobid).status)
                self.claim(now=0)
                self.check_counts()
                self.assertEqual([], self.service.cron_jobs())
                self.assertEqual([jobid], self.claim(now=10))
                self.finish()
                self.assertEqual(COMPLETED, self.job(jobid).status)
                self.check_counts()

    def change_kind(self, fields, passed, **others):
        jobid = self.cron(**fields)
        if passed:
            self.claim(now=0)
        self.job(jobid).update(**others)
        self.service.reschedule(jobid)
        transaction.commit()
        return jobid

    def test_claimed_while_it_is_rescheduled(self):
        """It is not run at the time that does not hold any more."""
        jobid = self.cron(minute=(10,))
        self.claim(now=0)
        other = Opened(self)
        other.service.jobs[jobid].update(minute=(20,))
        other.service.reschedule(jobid)
        claim, = engine(self.service).claim(A, 1, 600)
        transaction.commit()
        other.commit()
        transaction.begin()
        self.assertFalse(crew.is_live(self.service.jobs[jobid], claim))
        engine(self.service).settle(A, [jobid])
        transaction.commit()
        self.assertEqual([], self.claim(now=601))
        self.assertEqual([jobid], self.claim(now=1200))

    def test_one_place(self):
        """However often its time changes, it is in the schedule once."""
        jobid = self.cron(minute=(10,))
        for now in range(0, 10 * HOUR, HOUR):
            self.claim(now=now)
            self.service.reschedule(jobid)
            transaction.commit()
            self.claim(now=now + 700)
            self.finish() if workers(self.service).claimed_ids(A) else None
            self.assertEqual(1, len(self.service.store.schedule))

    def test_index(self):
        """All recurring jobs are known, those at rest are not."""
        ids = [self.cron(minute=(number,)) for number in range(3)]
        delayed = self.cron(delay=5)
        self.claim(now=0)
        self.assertCountEqual([*ids, delayed], self.service.store.crons)
        self.claim(now=5)
        self.finish()
        self.service.cancel(ids[0])
        transaction.commit()
        self.claim(now=5)
        self.assertCountEqual(ids[1:], self.service.store.crons)


class WrongClockTest(ScheduleCase):

    def test_too_late(self):
        """What a clock of tomorrow has made due is corrected."""
        jobid = self.cron(minute=(10,))
        self.claim(now=0)
        self.assertEqual([jobid], self.claim(now=10 ** 9))
        self.finish()
        serial = self.job(jobid)._p_serial
        self.assertGreater(self.due(jobid), 10 ** 8)
        upkeep(self.service).correct_schedule(HOUR)
        transaction.commit()
        self.assertEqual(HOUR + 600, self.due(jobid))
        self.assertEqual(serial, self.job(jobid)._p_serial)
        self.assertEqual([jobid], self.claim(now=HOUR + 600))

    def test_another_attempt(self):
        """So is what waits for another attempt, among any number of others."""
        for number in range(20):
            self.service.add('test.task', delay=NOW + number)
        failed = [self.failed_at(now) for now in (8 * DAY, 10 ** 9)]
        with unittest.mock.patch.object(audit, 'DISTANT', 5):
            for _ in range(100):
                upkeep(self.service).correct_schedule(NOW)
                transaction.commit()
        self.assertCountEqual(failed, self.claim(now=NOW))
        self.check_counts()
        self.finish()
        self.check_counts()

    def failed_at(self, now):
        """Return the id of a job that is to be tried again after a while."""
        self.service.policy = Policy(
            attempts=5, retry_wait=600, retry_on=(ValueError,))
        jobid = self.add('test.task')
        self.claim()
        job = self.job(jobid)
        engine(self.service).fail(
            job, Run(job.claim, NOW), outcome_of(int, 'no'), NOW + now)
        transaction.commit()
        workers(self.service).stop_worker(A)
        transaction.commit()
        self.assertGreater(self.job(jobid).due, NOW + now)
        return jobid

    def test_attempt_of_a_changed_one(self):
        """A note that is not passed yet knows more."""
        jobid = self.failed_at(8 * DAY)
        self.service.cancel(jobid)
        transaction.commit()
        upkeep(self.service).correct_schedule(NOW)
        transaction.commit()
        self.assertEqual(CANCELLED, self.job(jobid).status)
        self.assertEqual([], self.claim(now=NOW + 10 * DAY))
        self.check_counts()

    def test_right_ones(self):
        """Others stay, and nothing is written."""
        self.failed_at(-NOW)
        self.cron(minute=(10,))
        self.cron(delay=10 ** 6)
        self.add('test.task', delay=10 ** 6)
        self.claim(now=0)
        upkeep(self.service).correct_schedule(1)
        self.assertEqual([], self.connection._registered_objects)

    def test_not_scheduled(self):
        """Who has no good clock takes nothing that waits for a time."""
        jobid = self.cron(minute=(10,))
        delayed = self.add('test.task', delay=1e9)
        queued = self.add('test.task')
        self.assertEqual([queued], self.claim_without_a_clock(NOW))
        self.assertIsNone(self.due(jobid))
        self.assertEqual([], self.claim_without_a_clock(NOW))
        self.claim(now=0)
        self.assertEqual(600, self.due(jobid))
        self.assertEqual([jobid], self.claim(now=600))
        self.assertEqual([delayed], self.claim(now=NOW))
        self.check_counts()

    def test_passed_without_a_clock(self):
        """Such jobs are found on the pages meanwhile, and cancelled."""
        ids = [self.cron(minute=(10,)) for _ in range(2)]
        self.claim_without_a_clock(NOW)
        self.assertEqual(ids[::-1], [
            job.id for job in self.service.find(status=CRONJOB).jobs])
        self.service.cancel(ids[0])
        transaction.commit()
        self.claim(now=0)
        self.assertEqual(ids[1:], self.claim(now=600))
        self.check_counts()


class NoTimeTest(ScheduleCase):
    """The next time of a job cannot be told."""

    def test_first_time(self):
        """Where there is no time zone data, it is left to others."""
        before = self.add('test.task')
        jobid = self.cron(minute=(10,), timezone='Europe/Berlin')
        after = self.add('test.task')
        with zone_data():
            self.assertEqual([before, after], self.claim(now=0))
            self.check_left(jobid)
        self.check_told_by_others(jobid)

    def test_after_a_run(self):
        """So it is after a run, which counts, and has gone well."""
        jobid = self.cron(minute=(10,), timezone='Europe/Berlin')
        self.claim(now=0)
        self.assertEqual([jobid], self.claim(now=600))
        with zone_data():
            self.finish()
            self.check_left(jobid)
        self.assertEqual([None], [
            attempt.errorClass for attempt in self.job(jobid).history])
        self.check_told_by_others(jobid)

    def test_no_such_zone_here(self):
        """And where other data are, so old that they lack the zone."""
        jobid = self.cron(minute=(10,), timezone='Europe/Berlin')
        self.claim(now=0)
        with tempfile.TemporaryDirectory() as folder:
            copy_zone('Europe/Paris', folder)
            with zone_data(folder):
                upkeep(self.service).correct_schedule(0)
                self.assertEqual([jobid], self.claim(now=600))
                self.finish()
                self.check_left(jobid)
        self.check_told_by_others(jobid)

    def test_told_before(self):
        """A time that was told holds, whoever looks after it."""
        jobid = self.cron(minute=(10,), timezone='Europe/Berlin')
        self.claim(now=0)
        with zone_data():
            upkeep(self.service).correct_schedule(0)
            self.assertEqual([], self.connection._registered_objects)
            self.assertEqual([jobid], self.claim(now=600))

    def test_says_so_once(self):
        """The log tells it, and for all jobs once."""
        for _ in range(3):
            self.cron(minute=(10,), timezone='Asia/Tokyo')
        crons.said.clear()
        with logged(crons.__name__) as lines, zone_data():
            self.claim(now=0)
            upkeep(self.service).correct_schedule(0)
        self.assertEqual(1, len(lines), lines)
        self.assertIn('other processes', lines[0])
        self.assertIn('Asia/Tokyo', lines[0])

    def test_undone(self):
        """One whose run was undone waits for others, too."""
        jobid = self.cron(minute=(10,), timezone='Europe/Berlin')
        self.claim(now=0)
        with zone_data():
            transaction.begin()
            books.take_out_anywhere(self.service.store, jobid)
            passing.undone(
                self.service.store, self.job(jobid), CRONJOB, 0)
            transaction.commit()
            self.check_left(jobid)
        self.check_told_by_others(jobid)

    def check_left(self, jobid):
        """Check that a job waits, and in nobody's way."""
        job = self.job(jobid)
        self.assertEqual((CRONJOB, None, None),
                         (job.status, job.scheduledFor, job.error))
        self.assertEqual([], self.claim(now=10 ** 9))
        self.assertIsNone(engine(self.service).next_due())
        self.assertFalse(self.service.hasJobsWaiting(10 ** 9))
        upkeep(self.service).correct_schedule(0)
        self.assertEqual([], self.connection._registered_objects)
        self.check_counts()

    def check_told_by_others(self, jobid):
        """Check that who knows the zone tells the time of a job."""
        upkeep(self.service).correct_schedule(HOUR)
        transaction.commit()
        self.assertEqual(HOUR + 600, self.due(jobid))
        self.assertEqual([jobid], self.claim(now=HOUR + 600))
        self.finish()
        self.check_counts()

    def test_correction(self):
        """Where it cannot be told whether a time is right, it is held."""
        jobid = self.cron(minute=(10,))
        other = self.cron(minute=(20,))
        self.claim(now=0)
        method = CronJob.timeOfNextCall

        def of_next_call(job, now=None):
            if job.id == jobid:
                raise ValueError('odd')
            return method(job, now)
        with unittest.mock.patch.object(
                CronJob, 'timeOfNextCall', of_next_call):
            upkeep(self.service).correct_schedule(0)
        transaction.commit()
        self.assertEqual(HELD, self.job(jobid).status)
        self.assertEqual(CRONJOB, self.job(other).status)
        self.check_counts()

    def test_absurd_delay(self):
        """A delay that lovely.remotetask 0.5 took, and no clock shows."""
        jobid = self.cron(delay=10)
        other = self.add('test.task')
        self.service.jobs[jobid].delay = 10 ** 400
        transaction.commit()
        self.assertEqual([other], self.claim())
        self.assertEqual(HELD, self.job(jobid).status)
        self.assertEqual(
            [jobid], [job.id for job in self.service.find(HELD).jobs])

    def test_zone(self):
        """A zone that is in no data, and that nobody has ever known, is wrong.
        """
        jobid = self.cron(minute=(10,))
        self.service.jobs[jobid].timezone = 'Europe/Nowhere'
        other = self.add('test.task', startLater=True)
        self.service.startJob(other)
        transaction.commit()
        with zone_data():
            self.assertEqual([other], self.claim())
            self.assertEqual(CRONJOB, self.job(jobid).status)
        upkeep(self.service).correct_schedule(NOW)
        transaction.commit()
        self.assertEqual(HELD, self.job(jobid).status)
        self.assertIn('Europe/Nowhere', self.service.getError(jobid))
        self.check_counts()
        self.service.jobs[jobid].timezone = None
        self.assertTrue(self.service.requeue(jobid))
        transaction.commit()
        self.assertEqual([jobid], self.claim(worker=B))


class ClaimedByIdTest(StoreCase):
    """A job is claimed and run before its note was passed; see `claim_job`.

    Whoever passes the note later finds the job where its run has put it.
    """

    def cron(self, **kw):
        jobid = self.service.addCronJob('test.task', **kw)
        transaction.commit()
        # It was cancelled for a while.
        self.service.cancel(jobid)
        transaction.commit()
        return jobid

    def failed(self):
        jobid = self.add('test.task', 'fail')
        self.claim()
        self.finish()
        return jobid

    def run_by_id(self, jobid, end):
        """Requeue a job, claim it by its id, and end its run."""
        self.assertTrue(self.service.requeue(jobid))
        transaction.commit()
        claim, = engine(self.service).claim_job(B, jobid, NOW)
        transaction.commit()
        job = engine(self.service).claimed(claim)
        if end == 'complete':
            engine(self.service).complete(job, Run(claim, NOW), None, NOW)
        else:
            getattr(job, end)(Run(claim, NOW), FAILURE, NOW, *(
                [NOW + 60] if end == 'retry' else []))
        transaction.commit()
        return job.stored_status

    def check(self, jobid, status):
        self.check_counts()
        found = [(each, job.id) for each in STATUSES
                 for job in self.service.find(each).jobs]
        self.assertEqual([(status, jobid)], found)

    def test_each(self):
        """It is counted once, and found under what it is."""
        for make, end in (
                (lambda: self.cron(minute=(0,)), 'retry'),
                (lambda: self.cron(minute=(0,)), 'complete'),
                (lambda: self.cron(minute=(0,)), 'fail'),
                (lambda: self.cron(delay=100), 'retry'),
                (lambda: self.cron(delay=100), 'complete'),
                # At the same time as before.
                (self.failed, 'fail'), (self.failed, 'retry'),
                (self.failed, 'complete')):
            with self.subTest(make=make, end=end):
                self.setUp()
                jobid = make()
                status = self.run_by_id(jobid, end)
                self.check(jobid, status)
                engine(self.service).settle(B, [jobid], [jobid], NOW)
                transaction.commit()
                self.check(jobid, status)
                # Passes the notes.
                self.assertEqual([], self.claim())
                self.check(jobid, status)

    def test_its_delay_goes_on(self):
        """Whoever settles the claim has scheduled it; it is not put off."""
        jobid = self.cron(delay=100)
        self.run_by_id(jobid, 'retry')
        self.service.reschedule(jobid)
        transaction.commit()
        engine(self.service).settle(B, [jobid], [jobid], NOW)
        transaction.commit()
        due = self.job(jobid).due
        self.assertLess(NOW, due)
        # Passes the notes.
        self.assertEqual([jobid], self.claim(now=due + 5000))
        self.check_counts()

    def cancelled_and_listed(self):
        """Return the id of a job that is listed before its note is passed."""
        jobid = self.add('test.task')
        self.claim(worker=B)
        claim = self.service.store.workers[B].get(jobid)
        job = engine(self.service).claimed(claim)
        job.retry(Run(claim, NOW), FAILURE, NOW, NOW + 60)
        transaction.commit()
        self.assertTrue(self.service.cancel(jobid))
        transaction.commit()
        engine(self.service).settle(B, [jobid], [jobid], NOW)
        transaction.commit()
        return jobid

    def check_gone(self):
        # Passes the note.
        self.assertEqual([], self.claim(now=NOW + 100))
        later = time.time() + 40 * DAY
        while upkeep(self.service).prune(100, later):
            transaction.commit()
        transaction.commit()
        self.assertEqual([], list(self.service.jobs))
        self.check_counts()
        self.assertEqual({}, {
            status: number for status, number
            in self.service.counts().items() if number})

    def test_pruned_before_its_note_is_passed(self):
        """It is kept until then, and does not come back afterwards."""
        self.cancelled_and_listed()
        upkeep(self.service).prune(100, time.time() + 40 * DAY)
        transaction.commit()
        self.check_counts()
        self.check_gone()

    def test_cleaned_before_its_note_is_passed(self):
        """The same, for those that are cleaned: many at once, or few."""
        for few in 0, 100:
            with self.subTest(few), unittest.mock.patch.object(
                    cleaning, 'FEW', few):
                self.cancelled_and_listed()
                self.service.clean((CANCELLED,))
                transaction.commit()
                cleaning.drop_some(self.service.store, 100)
                transaction.commit()
                self.assertEqual([], list(self.service.jobs))
                self.check_gone()
