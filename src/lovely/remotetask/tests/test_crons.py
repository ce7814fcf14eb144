"""Jobs that run again and again: found at once, and paused one by one."""

import datetime
import time
import unittest.mock

import transaction

from lovely.remotetask import moment
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.job import Run
from lovely.remotetask.storage import taking
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_listing import ListingCase
from lovely.remotetask.tests.test_selection import StoredCall
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import B
from lovely.remotetask.tests.test_undo import UndoCase


HOUR = 3600
# A full hour.
NOON = 4_000_003_200


class CronCase(ListingCase):

    def add_cron(self, input=None, passed=True, **pattern):
        """Add a job that runs each hour; processors know its next time."""
        jobid = self.service.addCronJob(
            'test.task', input, **(pattern or {'minute': (0,)}))
        transaction.commit()
        if passed:
            self.claim(now=NOON + 1)
        return jobid

    def pause(self, jobid):
        self.assertTrue(self.service.pause_job(jobid))
        transaction.commit()

    def resume(self, jobid):
        self.assertTrue(self.service.resume_job(jobid))
        transaction.commit()

    def cron_ids(self):
        transaction.begin()
        return [job.id for job in self.service.cron_jobs()]


class CostTest(CronCase):
    """Found behind any number of jobs of which no processor has heard."""

    def loaded(self):
        """Return the cron jobs, and how many objects were loaded for them."""
        self.db.cacheMinimize()
        other = Opened(self)
        other.connection.cacheMinimize()
        other.connection.getTransferCounts(clear=True)
        found = [job.id for job in other.service.cron_jobs()]
        return found, other.connection.getTransferCounts()[0]

    def add_many(self, number):
        for _ in range(number):
            self.service.add('test.task')
        transaction.commit()

    def test_among_those_that_wait(self):
        """Those before, among and after 4000 others cost no more."""
        self.add_cron(passed=False)
        self.add_many(100)
        _, few = self.loaded()
        self.add_many(2000)
        self.add_cron(passed=False)
        self.add_many(2000)
        found, many = self.loaded()
        self.assertEqual(2, len(found))
        self.assertLess(many, few + 120)

    def test_among_those_that_were_cancelled(self):
        """Notes of callers in between cost no more, either."""
        self.add_cron(passed=False)
        self.add_many(100)
        _, few = self.loaded()
        for _ in range(2):
            for _ in range(1000):
                self.service.cancel(self.service.add('test.task'))
            self.add_cron(passed=False)
        self.add_many(100)
        found, many = self.loaded()
        self.assertEqual(3, len(found))
        self.assertLess(many, few + 120)

    def test_deadline(self):
        """Those that processors know are found in whatever time."""
        known = self.add_cron()
        self.add_cron(passed=False)
        for _ in range(100):
            self.service.cancel(self.add_cron(passed=False))
        transaction.commit()
        found = self.service.cron_jobs(deadline=time.monotonic() - 1)
        self.assertEqual([known], [job.id for job in found])
        found = self.service.cron_jobs(deadline=time.monotonic() + 60)
        self.assertEqual(2, len(found))

    def test_between_notes(self):
        """What callers have changed in between hides none."""
        expected = []
        for number in range(40):
            waits = self.service.add('test.task')
            self.add_many(number)
            expected.append(self.add_cron(passed=False))
            gone = self.add_cron(passed=False)
            self.add_many(number % 5)
            self.service.cancel(gone)
            if number % 3:
                self.service.cancel(waits)
            if number % 4 == 3:
                # It waits to be run once.
                self.service.requeue(gone)
            transaction.commit()
        found, _ = self.loaded()
        self.assertEqual(sorted(expected), sorted(found))


class FoundTest(CronCase):

    def test_in_any_state(self):
        """New, known, running, ended, paused; and once each."""
        jobid = self.add_cron(passed=False)
        self.assertEqual([jobid], self.cron_ids())
        self.claim(now=NOON + 1)
        self.assertEqual([jobid], self.cron_ids())
        self.assertEqual([jobid], self.claim(now=NOON + HOUR))
        self.assertEqual([jobid], self.cron_ids())
        self.assertEqual([], self.pages(status=CRONJOB))
        self.assertEqual([jobid], self.pages(status=PROCESSING))
        self.finish(settle=False)
        self.assertEqual([jobid], self.cron_ids())
        self.assertEqual([jobid], self.pages(status=CRONJOB))
        engine(self.service).settle(A, [jobid])
        self.pause(jobid)
        self.assertEqual([jobid], self.cron_ids())
        self.assertEqual([jobid], self.pages(status=CRONJOB))
        self.claim(now=NOON + 3 * HOUR)
        self.assertEqual([jobid], self.cron_ids())
        self.assertEqual([jobid], self.pages(status=CRONJOB))

    def test_no_others(self):
        """Neither what runs once, nor what will not run any more."""
        self.add_cron(delay=10)
        cancelled, removed = self.add_cron(), self.add_cron()
        self.service.cancel(cancelled)
        self.service.remove(removed)
        transaction.commit()
        for _ in range(2):
            self.assertEqual([], self.cron_ids())
            self.claim(now=0)
        self.assertEqual([], list(self.service.store.recurring))

    def test_requeued(self):
        """A cancelled one that was requeued is one again, after its run."""
        jobid = self.add_cron()
        self.service.cancel(jobid)
        transaction.commit()
        self.claim(now=NOON + 1)
        self.service.requeue(jobid)
        transaction.commit()
        self.assertEqual([jobid], self.claim(now=NOON + 1))
        self.finish()
        self.assertEqual([jobid], self.cron_ids())

    def test_newest_first(self):
        ids = [self.add_cron() for _ in range(5)]
        self.assertEqual(ids[::-1], self.cron_ids())
        self.assertEqual(ids[::-1], self.pages(2, status=CRONJOB))

    def test_behind_others(self):
        """However many wait for a time, none of them is loaded."""
        jobid = self.add_cron()
        for number in range(1500):
            if number % 2:
                self.service.addCronJob('test.task', delay=100 + number)
            else:
                self.service.add('test.task', delay=100)
        transaction.commit()
        for _ in range(3):
            self.claim(now=0)
        self.assertEqual(750, len(self.pages(100, status=DELAYED)))
        for find in (lambda service: service.find('cronjob').jobs,
                     lambda service: service.cron_jobs()):
            other = Opened(self)
            other.connection.cacheMinimize()
            other.connection.getTransferCounts(clear=True)
            self.assertEqual([jobid], [job.id for job in find(other.service)])
            self.assertLess(other.connection.getTransferCounts()[0], 60)

    def test_store_of_before(self):
        """One that has no list of them gets it from a processor."""
        first = self.add_cron()
        self.service.store.recurring = self.service.store.pauses = None
        transaction.commit()
        self.assertEqual([first], self.cron_ids())
        second = self.add_cron()
        self.assertEqual([second, first], self.cron_ids())
        self.assertEqual(
            [first, second], list(self.service.store.recurring))
        self.pause(first)
        self.assertTrue(self.job(first).paused)

    def test_unreadable(self):
        """One that cannot be read hides no other."""
        first, second = self.add_cron(), self.add_cron()
        oid = self.service.jobs[second]._p_oid
        with unittest.mock.patch.object(
                type(self.connection), 'setstate', autospec=True,
                side_effect=failing(type(self.connection).setstate, oid)):
            self.connection.cacheMinimize()
            found = self.service.find('cronjob').jobs
            self.assertEqual([second, first], [job.id for job in found])
            self.assertIn('cannot be read', found[0].error)


def failing(setstate, oid):
    def fail(connection, record):
        if record._p_oid == oid:
            raise AttributeError('the class is gone')
        return setstate(connection, record)
    return fail


class PauseCase(CronCase):

    def check_not_due(self, jobid):
        """Check that nobody runs a job, nor is it in anybody's way."""
        for now in (NOON + HOUR, NOON + 50 * HOUR, NOW):
            for worker in (A, B):
                self.assertEqual([], self.claim(worker=worker, now=now))
        transaction.begin()
        self.assertIsNone(self.service.store.read(
            taking.oldest_waiting, self.service.store, NOW + HOUR).value)
        self.assertIsNone(engine(self.service).next_due())
        self.assertFalse(self.service.hasJobsWaiting(NOW))
        self.assertEqual([], engine(self.service).claim_job(A, jobid, NOW))
        upkeep(self.service).correct_schedule(NOW)
        upkeep(self.service).look_after(NOW)
        transaction.commit()
        self.assertEqual([], self.claim(now=NOW))
        job = self.job(jobid)
        self.assertEqual((CRONJOB, True, None),
                         (job.status, job.paused, job.scheduledFor))
        self.check_counts()

    def check_runs_again(self, jobid):
        """Check that processors find that a job is not paused any more."""
        job = self.job(jobid)
        self.assertEqual((CRONJOB, False, None),
                         (job.status, job.paused, job.scheduledFor))
        upkeep(self.service).correct_schedule(NOON + 5 * HOUR + 1)
        transaction.commit()
        self.assertEqual([], self.claim(now=NOON + 6 * HOUR - 1))
        self.assertEqual([jobid], self.claim(now=NOON + 6 * HOUR))
        self.check_counts()
        self.finish()
        self.assertEqual([jobid], self.claim(now=NOON + 7 * HOUR))
        self.finish()


class PauseTest(PauseCase):

    def test_paused(self):
        """It is not due, and its status is as before."""
        jobid = self.add_cron()
        self.assertIsNotNone(self.job(jobid).scheduledFor)
        self.pause(jobid)
        self.check_not_due(jobid)
        self.assertFalse(self.service.pause_job(jobid))

    def test_before_processors_know_it(self):
        jobid = self.add_cron(passed=False)
        self.pause(jobid)
        self.check_not_due(jobid)

    def test_after_a_failed_attempt(self):
        """Nor is it tried again."""
        self.service.policy = self.service.policy._replace(
            retry_on=('lovely.remotetask.task.TaskError',), attempts=5)
        jobid = self.add_cron('fail')
        with moment.at(NOON + HOUR):
            self.assertEqual([jobid], self.claim(now=NOON + HOUR))
            self.pause(jobid)
            self.finish()
        self.check_not_due(jobid)

    def test_while_it_runs(self):
        """The run goes on, and is the last one; nobody meets anybody."""
        jobid = self.add_cron()
        self.assertEqual([jobid], self.claim(now=NOON + HOUR))
        runner = Opened(self)
        claim = runner.service.store.workers[A].get(jobid)
        job = engine(runner.service).claimed(claim)
        job.retried = 1
        self.pause(jobid)
        runner.commit()
        self.finish()
        self.assertEqual(1, len(self.job(jobid).history))
        self.check_not_due(jobid)

    def test_after_a_restart(self):
        """Whoever opens the database later finds it paused."""
        jobid = self.add_cron()
        self.pause(jobid)
        self.db.cacheMinimize()
        self.check_not_due(jobid)
        self.db.cacheMinimize()
        self.resume(jobid)
        self.claim(now=NOON + 100)
        self.assertEqual([jobid], self.claim(now=NOON + HOUR))

    def test_resumed(self):
        """Its next time counts from then; what was missed is missed."""
        for parked in (True, False):
            with self.subTest(parked=parked):
                jobid = self.add_cron()
                self.pause(jobid)
                if parked:
                    self.check_not_due(jobid)
                self.resume(jobid)
                self.assertFalse(self.service.resume_job(jobid))
                self.assertEqual([], self.claim(now=NOON + 5 * HOUR + 1))
                self.assertEqual(
                    datetime.datetime.fromtimestamp(
                        NOON + 6 * HOUR, datetime.UTC),
                    self.job(jobid).scheduledFor)
                self.assertEqual([jobid], self.claim(now=NOON + 6 * HOUR))
                self.finish()
                self.service.cancel(jobid)
                transaction.commit()

    def test_resumed_while_it_runs(self):
        jobid = self.add_cron()
        self.claim(now=NOON + HOUR)
        self.pause(jobid)
        self.resume(jobid)
        self.assertEqual(PROCESSING, self.job(jobid).status)
        self.finish()
        self.assertEqual([jobid], self.claim(now=NOON + 2 * HOUR))

    def test_missed_while_it_runs(self):
        """A time before it was resumed is missed, as it is without a run."""
        jobid = self.add_cron()
        self.assertEqual([jobid], self.claim(now=NOON + HOUR))
        self.pause(jobid)
        with moment.at(NOON + 3.5 * HOUR):
            self.resume(jobid)
        self.finish_at(NOON + 3.7 * HOUR)
        self.assertEqual(NOON + 4 * HOUR, self.job(jobid).due)
        self.assertEqual([], self.claim(now=NOON + 3.8 * HOUR))
        # What comes after that is made up for.
        self.assertEqual([jobid], self.claim(now=NOON + 4 * HOUR))
        self.finish_at(NOON + 9.5 * HOUR)
        self.assertEqual(NOON + 5 * HOUR, self.job(jobid).due)
        self.service.remove(jobid)
        transaction.commit()
        self.claim(now=NOON)
        self.assertEqual([], list(self.service.store.resumed))

    def test_changed_while_it_runs(self):
        """Nor does a new pattern count before it was given."""
        for by_clock_ahead in False, True:
            jobid = self.add_cron()
            self.assertEqual([jobid], self.claim(now=NOON + HOUR))
            with moment.at(NOON + (99 if by_clock_ahead else 3.5) * HOUR):
                self.job(jobid).update(minute=(10,))
                self.service.reschedule(jobid)
                transaction.commit()
            self.finish_at(NOON + 3.7 * HOUR)
            self.assertEqual(NOON + 4 * HOUR + 600, self.job(jobid).due)
            self.service.cancel(jobid)
            transaction.commit()

    def finish_at(self, now):
        transaction.begin()
        job = self.job(*workers(self.service).claimed_ids(A))
        engine(self.service).complete(
            job, Run(job.claim, job.claim.time), None, now)
        engine(self.service).settle(A, [job.id], now=now)
        transaction.commit()

    def test_resumed_while_its_run_is_settled(self):
        """Neither sees what the other one does: it has a time soon again."""
        ends = (self.finish, lambda: workers(self.service).stop_worker(A),
                lambda: workers(self.service).release(lambda claim: False))
        for number, end in enumerate(ends):
            with self.subTest(number):
                jobid = self.add_cron()
                self.assertEqual([jobid], self.claim(now=NOON + HOUR))
                self.pause(jobid)
                other = Opened(self)
                other.manager.begin()
                self.assertTrue(other.service.resume_job(jobid))
                end()
                transaction.commit()
                other.commit()
                self.check_runs_again(jobid)
                self.service.cancel(jobid)
                transaction.commit()

    def test_what_cannot_be_paused(self):
        """What runs once, has ended, or is no job."""
        once, delayed = self.add('test.task'), self.add_cron(delay=10)
        cancelled = self.add_cron()
        self.service.cancel(cancelled)
        for jobid in (once, delayed, cancelled):
            self.assertFalse(self.service.pause_job(jobid))
            self.assertFalse(self.service.resume_job(jobid))
        for call in (self.service.pause_job, self.service.resume_job):
            with self.assertRaises(KeyError):
                call(12345)
        self.assertFalse(list(self.service.store.pauses))

    def test_cancelled(self):
        """A cancelled job is not paused, and not when it is requeued."""
        jobid = self.add_cron()
        self.pause(jobid)
        self.service.cancel(jobid)
        transaction.commit()
        job = self.job(jobid)
        self.assertEqual((CANCELLED, False), (job.status, job.paused))
        self.claim(now=NOON + 1)
        self.service.requeue(jobid)
        transaction.commit()
        self.assertEqual([jobid], self.claim(now=NOON + 1))

    def test_cancelled_at_the_same_moment(self):
        """Requeued, it runs; then it is paused, and can be resumed."""
        jobid = self.add_cron()
        other = Opened(self)
        transaction.begin()
        self.service.pause_job(jobid)
        other.service.cancel(jobid)
        other.commit()
        transaction.commit()
        self.check_requeued(jobid)

    def test_held(self):
        """So does one that was paused and is held, before it is requeued."""
        jobid = self.add_cron()
        self.pause(jobid)
        job = self.job(jobid)
        self.service.store.change(job, job.hold, 'no reason', NOON)
        transaction.commit()
        self.check_requeued(jobid)

    def check_requeued(self, jobid):
        self.claim(now=NOON + 1)
        self.assertTrue(self.service.requeue(jobid))
        transaction.commit()
        self.assertEqual([jobid], self.claim(now=NOON + 1))
        self.finish()
        self.check_not_due(jobid)
        self.resume(jobid)
        self.check_runs_again(jobid)

    def test_removed(self):
        """Nothing of it is left, however it was removed."""
        jobid = self.add_cron()
        self.pause(jobid)
        self.check_not_due(jobid)
        self.service.remove(jobid)
        transaction.commit()
        self.claim(now=NOON)
        store = self.service.store
        self.assertEqual([[], [], [], []], [list(tree) for tree in (
            store.pauses, store.recurring, store.crons, store.schedule)])
        self.check_counts()

    def test_updated(self):
        """Another pattern does not let it go on."""
        jobid = self.add_cron()
        self.pause(jobid)
        self.job(jobid).update(minute=(30,))
        self.service.reschedule(jobid)
        transaction.commit()
        self.check_not_due(jobid)
        self.resume(jobid)
        self.claim(now=NOON + 1)
        self.assertEqual([jobid], self.claim(now=NOON + HOUR / 2))

    def test_aborted(self):
        jobid = self.add_cron()
        self.service.pause_job(jobid)
        transaction.abort()
        self.assertFalse(self.job(jobid).paused)
        self.assertEqual([jobid], self.claim(now=NOON + HOUR))

    def test_two_at_once(self):
        """Two managers pause two jobs: both are."""
        first, second, third = (self.add_cron() for _ in range(3))
        self.pause(third)
        other = Opened(self)
        transaction.begin()
        self.service.pause_job(first)
        other.service.pause_job(second)
        transaction.commit()
        other.commit()
        self.assertTrue(all(
            self.job(jobid).paused for jobid in (first, second, third)))


class UndoneTest(UndoCase, PauseCase):

    def test_undone(self):
        """The transaction that has resumed it was undone: paused it is."""
        jobid = self.add_cron()
        self.pause(jobid)
        self.check_not_due(jobid)
        self.service.resume_job(jobid)
        self.commit('resumed')
        self.undo('resumed')
        self.check_not_due(jobid)

    def test_pause_undone(self):
        """The transaction that has paused it was undone: it goes on."""
        jobid = self.add_cron()
        self.assertTrue(self.service.pause_job(jobid))
        self.commit('paused')
        self.check_not_due(jobid)
        self.undo('paused')
        self.check_runs_again(jobid)


class CopyTest(CronCase):

    def test_a_copy(self):
        """It runs at once; the cron job keeps its time."""
        jobid = self.add_cron(StoredCall('module.f', 'jane', [1]))
        before = self.job(jobid).scheduledFor
        copied = self.service.copy(jobid)
        transaction.commit()
        job = self.job(copied)
        self.assertEqual(
            (QUEUED, 'test.task', 'module.f', 'jane', False),
            (job.status, job.task, job.function, job.principal,
             job.recurring))
        self.assertEqual([copied], self.claim(now=NOON + 2))
        self.finish()
        self.assertEqual([1], self.job(copied).input.argument)
        self.assertEqual(before, self.job(jobid).scheduledFor)
        self.assertEqual(0, self.job(jobid).attempts)

    def test_of_any_job(self):
        """Whatever has become of it; inputs are shared, and stay."""
        jobid = self.add('test.task', {'a': 1}, priority=9)
        self.claim()
        self.finish()
        copied = self.service.copy(jobid)
        self.service.remove(jobid)
        transaction.commit()
        self.claim()
        self.assertEqual(
            ({'a': 1}, 9), (self.job(copied).input, self.job(copied).priority))

    def test_unknown(self):
        with self.assertRaises(KeyError):
            self.service.copy(5)
