"""How jobs are stored: ids, claims, conflicts, jobs of older versions.

Only this module knows of the storage; it changes with it.
"""

import datetime
import unittest.mock

import transaction

from lovely.remotetask import TaskService
from lovely.remotetask import interfaces
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Job
from lovely.remotetask.queue import JobQueue
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import TaskCase


MINUTE, HOUR = 60, 3600


class GenerateIdTest(TaskCase):

    def setUp(self):
        super().setUp()
        self.service = TaskService()
        self.task(Calls())

    def first_ids(self, *numbers):
        """Let the random ids be these."""
        patch = unittest.mock.patch(
            'random.randrange', side_effect=list(numbers))
        patch.start()
        self.addCleanup(patch.stop)

    def test_sequence(self):
        """Ids are sequential from a random start."""
        self.first_ids(1392637175)
        self.assertEqual(
            [1392637175, 1392637176, 1392637177],
            [self.service._generateId() for _ in range(3)])

    def test_taken_ids(self):
        """Where an id is taken, it starts from another one."""
        self.first_ids(5, 9)
        self.service.jobs[6] = object()
        self.assertEqual(
            [5, 9, 10], [self.service._generateId() for _ in range(3)])

    def test_the_greatest_id(self):
        """After the greatest int that a job id can be, it starts anew."""
        self.first_ids(2 ** 31 - 1, 3)
        self.assertEqual(2 ** 31 - 1, self.service.add('test.task'))
        self.assertEqual(3, self.service.add('test.task'))

    def test_0_is_run_like_any_other(self):
        """The job with id 0 is processed, directly and by a processor."""
        self.first_ids(0)
        self.service.add('test.task')
        self.service.add('test.task')
        self.service.process()
        self.assertEqual(
            [COMPLETED] * 2,
            [job.status for job in self.service.jobs.values()])

    def test_0_is_a_job_like_any_other(self):
        """The job with id 0 is claimed, run, started and cancelled."""
        self.first_ids(0, 0)
        self.assertEqual(0, self.service.add('test.task'))
        self.assertEqual(0, self.service.claimNextJob())
        self.assertTrue(self.service.processNext(jobid=0))
        self.assertEqual(COMPLETED, self.service.getStatus(0))
        self.service.clean()
        self.service._v_nextid = None
        self.assertEqual(
            0, self.service.add('test.task', startLater=True))
        self.assertTrue(self.service.startJob(0))
        self.service.cancel(0)
        self.assertEqual(CANCELLED, self.service.getStatus(0))


class ClaimTest(DatabaseCase):

    def test_two_claims_of_one_job(self):
        """Of two who claim the same job the second gets a ConflictError."""
        self.task(Calls())
        jobid = self.add('test.task')
        self.assertEqual(jobid, self.service.claim('here', 'token-1'))
        with self.elsewhere() as service:
            self.assertEqual(jobid, service.claim('there', 'token-2'))
        with self.assertRaises(transaction.interfaces.TransientError):
            transaction.commit()
        self.assertEqual('token-2', self.job(jobid).claim.token)

    def test_a_claim_counts_until_it_is_released(self):
        """Only the holder of the token may go on; others get ClaimLost."""
        self.task(Calls())
        jobid = self.add('test.task')
        self.service.claim('here', 'token-1')
        self.assertEqual(jobid, self.service.claimed(jobid, 'token-1').id)
        for wrong in ((jobid, 'token-2'), (jobid, None), (42, 'token-1')):
            with self.assertRaises(interfaces.ClaimLost):
                self.service.claimed(*wrong)
        self.assertEqual([], self.service.release(lambda claim: True))
        self.assertEqual([jobid], self.service.release(lambda claim: False))
        self.assertEqual(QUEUED, self.service.getStatus(jobid))
        with self.assertRaises(interfaces.ClaimLost):
            self.service.claimed(jobid, 'token-1')

    def test_release_of_a_cron_job(self):
        """A cron job whose run was lost is run again and goes on."""
        calls = Calls()
        self.task(calls)
        jobid = self.service.addCronJob('test.task', minute=(10,))
        self.assertIsNone(self.service.claim('here', 'token-1', 0))
        self.assertEqual(
            jobid, self.service.claim('here', 'token-1', 10 * MINUTE))
        self.service.release(lambda claim: False)
        self.service.process(11 * MINUTE)
        self.assertEqual(1, len(calls))
        self.service.process(HOUR + 10 * MINUTE)
        self.assertEqual(2, len(calls))
        self.assertEqual(CRONJOB, self.service.getStatus(jobid))

    def test_a_processor_runs_job_0(self):
        """A processor takes the job with id 0 for a job."""
        self.task(Calls())
        with unittest.mock.patch('random.randrange', return_value=0):
            self.assertEqual(0, self.add('test.task'))
        self.assertIs(True, self.processor().processNext())
        self.assertEqual(COMPLETED, self.job(0).status)

    def test_two_who_add_at_once(self):
        """Two transactions that add jobs at once do not conflict."""
        self.task(Calls())
        ids = [self.service.add('test.task')]
        with self.elsewhere() as service:
            ids.append(service.add('test.task'))
        transaction.commit()
        self.assertCountEqual(ids, self.service.jobs)

    def test_a_given_order(self):
        """Two jobs of the same tick of the clock both stay, in order."""
        queue = JobQueue()
        jobs = [Job(number, 'test.task', None) for number in range(3)]
        with unittest.mock.patch('time.time_ns', return_value=1):
            for job in jobs:
                queue.put(job)
        self.assertEqual(jobs, list(queue.waiting.values()))


class OldServiceTest(TaskCase):
    """A service as lovely.remotetask 0.5 stored it."""

    def setUp(self):
        super().setUp()
        self.calls = Calls()
        self.task(self.calls)
        self.service = TaskService()
        del self.service._jobs_to_run
        self.service._queue = self.service._scheduledQueue = 'old'
        self.service._scheduledJobs = 'old'

    def store(self, job, status, minute=0):
        job.status = status
        # They were naive and local.
        job.created = datetime.datetime(2010, 1, 1, 0, minute)
        self.service.jobs[job.id] = job
        return job

    def test_queued_jobs_run_in_their_order(self):
        """Queued jobs, those in no queue too, run as they were added."""
        for id, minute in ((1, 3), (2, 1), (3, 2)):
            self.store(Job(id, 'test.task', minute), QUEUED, minute)
        self.store(Job(4, 'test.task', 4), CANCELLED, 4)
        self.store(Job(5, 'test.task', 5), COMPLETED, 5)
        self.service.process()
        self.assertEqual([1, 2, 3], self.calls)

    def test_scheduled_jobs(self):
        """Cron and delayed jobs are scheduled anew."""
        self.store(CronJob(1, 'test.task', 'c', minute=(10,)), CRONJOB)
        self.store(CronJob(2, 'test.task', 'd', delay=10), DELAYED)
        self.service.process(0)
        self.service.process(10 * MINUTE)
        self.service.process(HOUR + 10 * MINUTE)
        self.assertEqual(['d', 'c', 'c'], self.calls)

    def test_add_first(self):
        """A job that is added first thing is run once, after the old ones."""
        self.store(Job(1, 'test.task', 'old'), QUEUED)
        self.service.add('test.task', 'new')
        self.service.process()
        self.assertEqual(['old', 'new'], self.calls)

    def test_old_queues_are_dropped(self):
        """The old queues are not kept."""
        self.service.hasJobsWaiting()
        for name in ('_queue', '_scheduledQueue', '_scheduledJobs'):
            self.assertFalse(hasattr(self.service, name))
