"""Jobs that are run without a stored claim: which may be, and what is lost."""

import time

import transaction

from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import ClaimLost
from lovely.remotetask.job import Claim
from lovely.remotetask.job import Run
from lovely.remotetask.policy import Policy
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine


SEAT = 'host:1:seat:token'


class Seat:
    """See ISeat."""

    def __init__(self, keeps=True):
        self._keeps = keeps
        self.refusals = []

    def refuse(self, is_known):
        self.refusals.append(is_known)

    def is_kept_by_run(self):
        return self._keeps


class UnclaimedCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.task(lambda input: input)
        self.engine = engine(self.service)
        self.engine.workers.enter(SEAT, unclaimed=True)
        transaction.commit()
        self.seat = Seat()

    def claim(self, jobid):
        return Claim(jobid, SEAT, SEAT.rpartition(':')[0], time.time(), 1, 0,
                     QUEUED, self.seat)

    def admits(self, jobid):
        try:
            self.engine.admit(self.claim(jobid))
        except ClaimLost:
            return False
        return True

    def complete(self, jobid):
        claim = self.claim(jobid)
        self.engine.complete(
            self.engine.claimed(claim), Run(claim, time.time()), None)
        transaction.commit()

    def counts(self):
        return {status: number for status, number
                in self.service.counts().items() if number}

    def lose(self):
        """Let the seat be gone, and another one be there."""
        self.engine.workers.release_worker(SEAT)
        self.engine.workers.enter(SEAT, unclaimed=True)
        transaction.commit()


class AdmitTest(UnclaimedCase):

    def test_new(self):
        """A job that was just added may be run."""
        self.assertTrue(self.admits(self.add('test.task')))
        self.assertEqual([], self.seat.refusals)

    def test_stored_claims(self):
        """Nothing is asked of them here."""
        jobid = self.add('test.task')
        claim, = self.engine.claim_job('a:1:x:y', jobid)
        self.assertIsNone(self.engine.admit(claim))

    def test_changed(self):
        """Whoever has changed the job: callers, or processors."""
        jobs = [self.add('test.task') for _ in range(3)]
        self.service.cancel(jobs[0])
        self.service.requeue(jobs[0])
        self.engine.claim_job('a:1:x:y', jobs[1])
        self.engine.outdate(jobs[2])
        jobs.append(self.add('test.task', startLater=True))
        self.service.startJob(jobs[-1])
        jobs.append(self.add('test.task', delay=60))
        transaction.commit()
        self.assertEqual([False] * 5, list(map(self.admits, jobs)))

    def test_claimed_by_others(self):
        """Processors that claim many do not write them."""
        jobid = self.add('test.task')
        self.engine.claim('a:1:x:y', 1)
        self.assertFalse(self.admits(jobid))

    def test_paused_or_one_attempt(self):
        jobid = self.add('test.task')
        self.service.policy = Policy(attempts=1)
        self.assertFalse(self.admits(jobid))
        self.service.policy = Policy()
        self.assertTrue(self.admits(jobid))
        self.service.paused = True
        self.assertFalse(self.admits(jobid))

    def test_unknown_seat(self):
        """Others have dropped it: it is told so."""
        jobid = self.add('test.task')
        self.engine.workers.stop_worker(SEAT)
        self.assertFalse(self.admits(jobid))
        self.assertFalse(self.admits(-1))
        self.assertEqual([False, False], self.seat.refusals)

    def test_after_a_loss(self):
        """What was there before has to be claimed; what comes has not."""
        before = self.add('test.task')
        self.lose()
        self.assertFalse(self.admits(before))
        self.assertTrue(self.admits(self.add('test.task')))


class BooksTest(UnclaimedCase):
    """The claim is stored with the end, so all is counted as ever."""

    def test_completed(self):
        jobid = self.add('test.task')
        self.complete(jobid)
        self.assertEqual([jobid], self.engine.workers.claimed_ids(SEAT))
        self.assertEqual({COMPLETED: 1}, self.counts())
        self.engine.settle(SEAT, [jobid])
        transaction.commit()
        self.assertEqual({COMPLETED: 1}, self.counts())
        self.assertEqual(
            [jobid], [job.id for job in self.service.find(COMPLETED).jobs])

    def test_turns(self):
        """They grow with each job that has ended, or is claimed."""
        self.engine.workers.enter('a:1:x:y')
        before = self.engine.workers.turns()
        self.assertEqual([SEAT], list(before))
        self.complete(self.add('test.task'))
        between = self.engine.workers.turns()
        self.engine.keep(self.claim(self.add('test.task')))
        self.assertEqual(3, len(
            {before[SEAT], between[SEAT], self.engine.workers.turns()[SEAT]}))

    def test_kept_meanwhile(self):
        """The end does not write the record then."""
        jobid = self.add('test.task')
        self.engine.keep(self.claim(jobid))
        transaction.commit()
        self.assertEqual('processing', self.job(jobid).status)
        self.seat = Seat(keeps=False)
        serial = self.service.store.workers[SEAT]._p_serial
        self.complete(jobid)
        self.assertEqual(serial, self.service.store.workers[SEAT]._p_serial)
        self.assertEqual({COMPLETED: 1}, self.counts())

    def test_keep_what_has_ended(self):
        """It is not: it would be counted twice."""
        jobid = self.add('test.task')
        self.seat = Seat(keeps=False)
        self.complete(jobid)
        self.engine.keep(self.claim(jobid))
        self.assertEqual([], self.engine.workers.claimed_ids(SEAT))


class LossTest(UnclaimedCase):

    def test_counted(self):
        """Once, if the job was there before."""
        before = self.add('test.task')
        self.lose()
        after = self.add('test.task')
        self.assertEqual([True, False, False, False], [
            self.engine.outdate(jobid)
            for jobid in (before, before, after, -1)])
        self.assertEqual([1, 0], [
            self.service.jobs[jobid].attempts for jobid in (before, after)])
        self.assertEqual({QUEUED: 2}, self.counts())

    def test_last_attempt(self):
        """Nothing is known of the seat but its name."""
        self.service.policy = Policy(attempts=2)
        jobid = self.add('test.task')
        self.lose()
        self.assertTrue(self.engine.outdate(jobid))
        claim, = self.engine.claim_job('a:1:x:y', jobid)
        self.engine.workers.release_worker('a:1:x:y')
        job = self.service.jobs[jobid]
        self.assertEqual((ERROR, 2), (job.status, job.attempts))
        self.assertIn('host:1:seat', job.history[0].error)
        self.assertEqual({ERROR: 1}, self.counts())

    def test_one_attempt(self):
        """Such jobs are never run unclaimed, so nothing is counted."""
        self.service.policy = Policy(attempts=1)
        jobid = self.add('test.task')
        self.lose()
        self.assertFalse(self.engine.outdate(jobid))
        self.assertEqual(QUEUED, self.job(jobid).status)

    def test_no_loss(self):
        """A seat that was left, one with a claim, and other workers."""
        first, second = self.add('test.task'), self.add('test.task')
        self.engine.workers.stop_worker(SEAT)
        self.engine.workers.enter(SEAT, unclaimed=True)
        self.engine.keep(self.claim(first))
        self.engine.workers.release_worker(SEAT)
        self.engine.workers.enter('a:1:x:y')
        self.engine.workers.release_worker('a:1:x:y')
        self.engine.workers.release_worker('nobody')
        self.assertEqual(1, self.service.jobs[first].attempts)
        self.assertFalse(self.engine.outdate(second))

    def test_two_losses(self):
        """The second one counts for what was added in between."""
        self.lose()
        jobid = self.add('test.task')
        self.assertTrue(self.admits(jobid))
        self.lose()
        self.assertTrue(self.engine.outdate(jobid))


class DueTest(UnclaimedCase):

    def test_due(self):
        """Whether a job has waited for a time, in the queue or the schedule.
        """
        now = time.time()
        self.assertFalse(self.engine.has_due(now))
        self.add('test.task')
        self.assertFalse(self.engine.has_due(now + 99))
        self.add('test.task', delay=60, priority=3)
        self.assertFalse(self.engine.has_due(now))
        self.assertTrue(self.engine.has_due(now + 99))
        self.service.hasJobsWaiting()
        transaction.commit()
        self.assertFalse(self.engine.has_due(now))
        self.assertTrue(self.engine.has_due(now + 99))
        self.service.paused = True
        self.assertFalse(self.engine.has_due(now + 99))
