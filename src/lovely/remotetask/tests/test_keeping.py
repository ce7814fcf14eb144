"""What becomes of jobs that ended: kept, pruned, requeued; the pause."""

import datetime
import enum
import time
import unittest.mock

import transaction

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.job import Run
from lovely.remotetask.management import Management
from lovely.remotetask.policy import DAY
from lovely.remotetask.policy import Policy
from lovely.remotetask.storage import cleaning
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_processor import LoopingProcessor
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import B
from lovely.remotetask.tests.test_store import StoreCase


class Level(enum.IntEnum):
    FIVE = 5
    HIGH = 9


class Name(enum.StrEnum):
    TASK = 'test.task'
    ZONE = 'Europe/Berlin'


class KeepingCase(StoreCase):

    def follow(self, **settings):
        """Let the services have a policy."""
        patch = unittest.mock.patch.object(
            TaskService, 'policy', Policy(**settings))
        patch.start()
        self.addCleanup(patch.stop)

    def ended(self, input=None, now=0.0):
        """Return the id of a job that ended at a time."""
        jobid = self.add('test.task', input)
        self.service.processNext(now, jobid)
        transaction.commit()
        return jobid


class PruneTest(KeepingCase):

    def test_by_time(self):
        """Completed ones go after a week, failed ones after 30 days."""
        completed, failed = self.ended(), self.ended('fail')
        self.assertEqual(0, upkeep(self.service).prune(100, 7 * DAY - 1))
        self.assertEqual(1, upkeep(self.service).prune(100, 7 * DAY + 1))
        self.assertNotIn(completed, self.service.jobs)
        self.assertEqual(0, upkeep(self.service).prune(100, 30 * DAY - 1))
        self.assertEqual(1, upkeep(self.service).prune(100, 30 * DAY + 1))
        self.assertNotIn(failed, self.service.jobs)
        transaction.commit()
        self.check_counts()

    def test_the_policy(self):
        """How long is what the policy of the service says."""
        self.follow(retention=10, error_retention=20)
        self.ended()
        self.ended('fail')
        self.assertEqual(1, upkeep(self.service).prune(100, 15))
        self.assertEqual(1, upkeep(self.service).prune(100, 25))

    def at_a_clock_behind(self, seconds, call, *args, **kw):
        """Let a caller do something whose clock is behind by seconds."""
        with unittest.mock.patch('time.time', return_value=(
                time.time() - seconds)):
            return call(*args, **kw)

    def test_cancelled_by_a_clock_that_is_behind(self):
        """Its retention begins when it was cancelled, not a month before."""
        for seconds in 8 * DAY, 1000 * DAY, 3600:
            with self.subTest(seconds):
                jobid = self.add('test.task')
                self.assertTrue(self.at_a_clock_behind(
                    seconds, self.service.cancel, jobid))
                transaction.commit()
                now = time.time()
                self.assertEqual(0, upkeep(self.service).prune(100, now))
                self.assertLess(abs(
                    self.service.jobs[jobid].completed.timestamp() - now), 60)

    def test_delayed_by_a_clock_that_is_behind(self):
        """It waits for so long, wherever the call was made."""
        for seconds in 8 * DAY, 1000 * DAY, 3600:
            with self.subTest(seconds):
                jobid = self.at_a_clock_behind(
                    seconds, self.service.add, 'test.task', delay=600)
                transaction.commit()
                found = engine(self.service).claim(
                    'host:1:thread:x', 100, time.time())
                self.assertEqual([], found)
                self.assertEqual(QUEUED, self.service.getStatus(jobid))

    def test_a_limit(self):
        """No more than the limit are removed at once, oldest first."""
        ids = [self.ended(now=number) for number in range(7)]
        self.assertEqual(5, upkeep(self.service).prune(5, 10 * DAY))
        self.assertEqual(ids[5:], sorted(self.service.jobs))
        self.assertEqual(2, upkeep(self.service).prune(5, 10 * DAY))

    def test_others_stay(self):
        """What has not ended stays, however old."""
        self.add('test.task')
        self.add('test.task', startLater=True)
        self.service.addCronJob('test.task', minute=(10,))
        self.service.addCronJob('test.task', delay=10)
        transaction.commit()
        self.claim(now=0)
        self.assertEqual(0, upkeep(self.service).prune(100, NOW))
        self.assertEqual(4, len(self.service.jobs))

    def test_held_cron_jobs(self):
        """Nobody would run it any more: a person requeues or removes it."""
        held = [self.service.addCronJob('test.task', minute=(10,))
                for _ in range(3)]
        once = self.service.addCronJob('test.task', delay=10)
        for jobid in (*held, once):
            job = self.service.jobs[jobid]
            self.service.store.change(job, job.hold, 'no reason', 0)
        transaction.commit()
        self.claim(now=0)
        management = Management(self.service)
        for jobid in held:
            self.assertIsNone(management.removed_at(self.service.jobs[jobid]))
        self.assertIsNotNone(management.removed_at(self.service.jobs[once]))
        # Those that stay are in nobody's way.
        self.assertEqual(1, upkeep(self.service).prune(2, NOW))
        self.assertCountEqual(held, self.service.jobs)
        transaction.commit()
        self.check_counts()

    def test_by_a_processor(self):
        """A processor removes some in a transaction of its own."""
        jobid = self.ended()
        self.assertEqual(1, self.processor().prune(now=10 * DAY))
        transaction.begin()
        self.assertNotIn(jobid, self.service.jobs)


class KeepResultTest(KeepingCase):

    def test_completed(self):
        """Without keep_result a completed job is removed when it is settled.
        """
        self.follow(keep_result=False)
        jobid = self.add('test.task')
        self.assertTrue(self.processor().processNext())
        transaction.begin()
        self.assertNotIn(jobid, self.service.jobs)
        self.check_counts()
        self.assertEqual(0, len(self.service.jobs))

    def test_failed(self):
        """A failed one is kept."""
        self.follow(keep_result=False)
        jobid = self.add('test.task', 'fail')
        self.processor().processNext()
        self.assertEqual(ERROR, self.job(jobid).status)

    def test_of_a_lost_worker(self):
        """Nor does it stay if its worker was gone before it was settled."""
        self.follow(keep_result=False)
        for end in ('release', 'stop_worker'):
            with self.subTest(end):
                jobid = self.add('test.task')
                self.claim()
                self.finish(settle=False)
                if end == 'release':
                    workers(self.service).release(lambda worker: False)
                else:
                    workers(self.service).stop_worker(A)
                transaction.commit()
                self.assertNotIn(jobid, self.service.jobs)
                self.check_counts()


class ClaimedByIdTest(KeepingCase):
    """A job that was claimed by its id leaves its key in the schedule.

    Whoever comes to that key later finds the job removed.
    """

    def scheduled(self):
        """Return the id of a job that waits in the schedule."""
        jobid = self.add('test.task', delay=60)
        self.assertFalse(self.service.hasJobsWaiting())
        transaction.commit()
        return jobid

    def run_by_id(self, jobid):
        """Run it as Celery does, by a claim that is settled; commit."""
        now = time.time() + 60
        claim, = engine(self.service).claim_job(A, jobid, now)
        engine(self.service).complete(
            engine(self.service).claimed(claim), Run(claim, now), None, now)
        engine(self.service).settle(A, [jobid])
        transaction.commit()

    def run_here(self, jobid):
        self.assertTrue(self.service.processNext(jobid=jobid))
        transaction.commit()

    def check_gone(self):
        """Check that it stays removed, and is counted nowhere."""
        for _ in range(2):
            self.check_counts()
            self.assertEqual([], list(self.service.jobs))
            self.assertEqual([], self.service.find(COMPLETED).jobs)
            self.assertEqual([], self.claim(now=time.time() + 61))
        self.assertEqual([], list(self.service.store.schedule))

    def test_no_results(self):
        """Without keep_result, by a claim or in the caller's transaction."""
        self.follow(keep_result=False)
        for run in (self.run_by_id, self.run_here):
            # In an open segment, and in a full one.
            for count in (1, 20):
                with self.subTest(run.__name__, count=count):
                    for jobid in [self.scheduled() for _ in range(count)]:
                        run(jobid)
                    self.check_gone()

    def test_pruned(self):
        """It was kept for long enough, and its delay is longer."""
        self.run_here(self.scheduled())
        self.assertEqual(1, upkeep(self.service).prune(100, NOW))
        transaction.commit()
        self.check_gone()

    def test_cleaned(self):
        """It was put aside, and is dropped after that."""
        self.run_here(self.scheduled())
        with unittest.mock.patch.object(cleaning, 'FEW', 0):
            self.service.clean((COMPLETED,))
            transaction.commit()
        self.check_gone()
        cleaning.drop_some(self.service.store, 100)
        transaction.commit()
        self.check_gone()


class RequeueTest(KeepingCase):

    def test_failed(self):
        """A failed job runs again, with all its attempts."""
        jobid = self.ended('fail')
        self.assertTrue(self.service.requeue(jobid))
        transaction.commit()
        self.assertEqual((QUEUED, 0), (self.job(jobid).status,
                                       self.job(jobid).attempts))
        self.job(jobid).input = 'better'
        transaction.commit()
        self.claim()
        self.finish()
        job = self.job(jobid)
        self.assertEqual((COMPLETED, None), (job.status, job.error))
        self.assertEqual(2, len(job.history))

    def test_held(self):
        """A held job runs once its task is there again."""
        self.service_task(effect, 'test.effect')
        jobid = self.add('test.effect', 'once')
        with unittest.mock.patch(
                'zope.component.queryUtility', return_value=None):
            self.claim()
            transaction.begin()
            self.service.processNext(NOW, jobid)
            transaction.commit()
        self.assertEqual('held', self.job(jobid).status)
        self.assertTrue(self.service.requeue(jobid))
        transaction.commit()
        self.assertTrue(self.processor().processNext())
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertEqual(['once'], self.effects)
        self.check_counts()

    def test_cancelled_cron_job(self):
        """A cancelled cron job is on its schedule again."""
        jobid = self.service.addCronJob('test.task', minute=(10,))
        self.service.cancel(jobid)
        self.assertTrue(self.service.requeue(jobid))
        transaction.commit()
        self.claim()
        self.finish()
        self.assertEqual('cronjob', self.job(jobid).status)
        self.check_counts()

    def test_others(self):
        """Jobs that wait, run or are completed are not requeued."""
        completed = self.ended()
        later = self.add('test.task', startLater=True)
        queued = self.add('test.task')
        for jobid in (completed, later, queued):
            self.assertFalse(self.service.requeue(jobid))
        self.claim()
        self.assertFalse(self.service.requeue(queued))
        self.assertEqual(
            [COMPLETED, STARTLATER],
            [self.service.getStatus(jobid) for jobid in (completed, later)])

    def test_unknown(self):
        """An unknown id is a KeyError that names it."""
        with self.assertRaisesRegex(KeyError, '42'):
            self.service.requeue(42)


class PauseTest(KeepingCase):

    def test_paused(self):
        """A paused service takes jobs and gives none."""
        self.service.paused = True
        jobid = self.add('test.task')
        self.assertEqual([], self.claim())
        self.assertFalse(self.processor().processNext())
        self.assertFalse(engine(self.service).is_behind())
        self.service.paused = False
        transaction.commit()
        self.assertEqual([jobid], self.claim())

    def test_what_runs(self):
        """A job that runs is finished."""
        jobid = self.add('test.task')
        self.claim()
        self.service.paused = True
        transaction.commit()
        self.finish()
        self.assertEqual(COMPLETED, self.job(jobid).status)


class BadInputTest(KeepingCase):

    def refused(self, error, call, *args, **kw):
        with self.subTest(call=call.__name__, args=args, kw=kw), \
                self.assertRaises(error):
            call(*args, **kw)
        self.assertEqual(0, len(self.service.jobs))
        self.assertEqual([], list(self.service.jobs))

    def test_priority(self):
        """A priority is a number from 0 to 9."""
        for priority in (-1, 10, True, '5', 5.0, None):
            self.refused(ValueError, self.service.add, 'test.task',
                         priority=priority)

    def test_delay(self):
        """A delay is a number of seconds, 0 or more, not endless."""
        for delay in (-1, '5', True, float('inf'), float('nan'), 1e300,
                      10 ** 400, datetime.timedelta(hours=1)):
            for add in (self.service.add, self.service.addCronJob):
                self.refused(ValueError, add, 'test.task', delay=delay)

    def test_now(self):
        """A time is a number of POSIX seconds of the calendar."""
        for now in (float('nan'), float('inf'), 1e300, 10 ** 400, '0', True,
                    datetime.datetime.now()):
            for call in (self.service.process, self.service.processNext,
                         self.service.claimNextJob,
                         self.service.hasJobsWaiting,
                         self.service.oldest_waiting):
                self.refused(ValueError, call, now)

    def test_members_of_an_enum(self):
        """They are stored as numbers and texts: their class may move."""
        self.add(Name.TASK, priority=Level.HIGH, delay=Level.FIVE)
        self.add('test.task', priority=Level.FIVE)
        self.service.addCronJob(
            Name.TASK, hour=(Level.FIVE,), timezone=Name.ZONE)
        self.service.addCronJob(Name.TASK, delay=Level.FIVE)
        transaction.commit()
        self.service.process(Level.HIGH)
        transaction.commit()
        self.claim()
        for stored in self.db.storage.iterator():
            for record in stored:
                self.assertNotIn(__name__.encode(), record.data)

    def test_status(self):
        """No job is found or removed by a status that is none."""
        self.refused(ValueError, self.service.find, status='asleep')
        self.refused(ValueError, self.service.clean, ['asleep'])

    def test_ids(self):
        """An unknown id, or one of another service, is a KeyError."""
        self.root['other'] = other = TaskService()
        for _ in range(3):
            other.add('test.task')
        foreign = max(other.jobs)
        transaction.commit()
        for jobid in (foreign, 42, -1, 'a', None, True):
            for name in ('getStatus', 'getResult', 'getError', 'startJob',
                         'reschedule', 'requeue', 'remove'):
                self.refused(KeyError, getattr(self.service, name), jobid)
            self.assertFalse(self.service.cancel(jobid))
        self.assertEqual(3, len(other.jobs))


class OrphanTest(KeepingCase):
    """Claims whose commit went through, though an error came back."""

    def test_of_a_processor(self):
        """The next step settles claims that the processor knows nothing of.
        """
        jobid = self.add('test.task')
        a_processor = self.processor(LoopingProcessor)
        self.assertEqual([jobid], self.claim(worker=a_processor.worker_id))
        a_processor()
        self.assertEqual((COMPLETED, 1), (self.job(jobid).status,
                                          self.job(jobid).attempts))
        self.check_counts()

    def test_known_ones_stay(self):
        """Those that it knows of stay claimed."""
        jobid = self.add('test.task')
        a_processor = self.processor()
        self.assertEqual(jobid, a_processor.claimNextJob())
        a_processor.step()
        a_processor.stop()
        a_processor.claims.end(len(a_processor.team.runners))
        for runner in a_processor.team.runners:
            runner.thread.join(PATIENCE)
        self.assertEqual([], self.claim(worker=B))
        self.assertEqual(PROCESSING, self.job(jobid).status)
