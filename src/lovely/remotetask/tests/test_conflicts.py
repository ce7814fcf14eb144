"""The conflicts that docs/reference/writers.rst names: who pays for them."""

import transaction
from transaction.interfaces import TransientError

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import ClaimLost
from lovely.remotetask.job import Run
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import B
from lovely.remotetask.tests.test_store import StoreCase


class ConflictCase(StoreCase):

    def setUp(self):
        super().setUp()
        self.service_task(effect, 'test.effect')
        self.jobid = self.add('test.effect', 'once')
        self.one, self.two = Opened(self), Opened(self)

    def run_job(self, world, claim):
        """Run a claimed job as a processor does; do not commit."""
        job = engine(world.service).claimed(claim)
        effect(world.service, job.input)
        engine(world.service).complete(job, Run(claim, NOW), None, NOW)

    def claimed(self, world, worker=A):
        claim, = engine(world.service).claim(worker, 1, NOW)
        world.commit()
        return claim

    def refused(self, world):
        with self.assertRaises(TransientError):
            world.commit()
        world.abort()


class ClaimConflictTest(ConflictCase):

    def test_two_claim_from_one_strand(self):
        """The later one gets a conflict; begun anew it finds nothing."""
        engine(self.two.service).claim(B, 1, NOW)
        self.claimed(self.one)
        self.refused(self.two)
        self.assertEqual([], engine(self.two.service).claim(B, 1, NOW))
        self.assertEqual(A, self.job(self.jobid).claim.worker)

    def test_two_claim_from_the_schedule(self):
        """So it is with a job of the schedule."""
        self.claim()
        workers(self.service).stop_worker(A)
        transaction.commit()
        self.two.manager.begin()
        engine(self.two.service).claim(B, 1, NOW)
        self.one.manager.begin()
        self.claimed(self.one)
        self.refused(self.two)
        self.assertEqual([], engine(self.two.service).claim(B, 1, NOW))

    def test_adders_do_not_meet_claimers(self):
        """Who adds, while others claim and settle, gets no conflict."""
        for number in range(100):
            self.two.service.add('test.task', number)
            self.claim()
            self.finish()
            self.two.commit()
        self.claim()
        self.finish()
        self.check_counts()
        self.assertEqual(101, self.service.counts()[COMPLETED])

    def test_two_that_settle(self):
        """Two that write schedule and ledger: one tries again, no count lost.
        """
        self.add('test.effect')
        self.claimed(self.one, A)
        self.two.manager.begin()
        self.claimed(self.two, B)
        for world, worker in ((self.one, A), (self.two, B)):
            world.manager.begin()
            claim, = [world.service.store.workers[worker].get(jobid)
                      for jobid in workers(world.service).claimed_ids(worker)]
            job = engine(world.service).claimed(claim)
            engine(world.service).complete(job, Run(claim, NOW), None, NOW)
            engine(world.service).settle(worker, [job.id])
        self.one.commit()
        try:
            self.two.commit()
        except TransientError:
            self.two.abort()
            self.finish(B)
        self.check_counts()


class RunConflictTest(ConflictCase):

    def test_two_run_one_job(self):
        """The one that ends later aborts; the job's effect is there once."""
        claim = self.claimed(self.one)
        self.two.manager.begin()
        self.run_job(self.one, claim)
        self.run_job(self.two, claim)
        self.one.commit()
        self.refused(self.two)
        with self.assertRaises(ClaimLost):
            engine(self.two.service).claimed(claim)
        self.assertEqual(['once'], self.effects)

    def test_a_claim_that_is_taken_away_while_its_job_runs(self):
        """Whoever runs it aborts, and finds the claim lost."""
        claim = self.claimed(self.one)
        self.run_job(self.one, claim)
        self.two.manager.begin()
        workers(self.two.service).release(lambda worker: False, NOW)
        self.two.commit()
        self.refused(self.one)
        with self.assertRaises(ClaimLost):
            engine(self.one.service).claimed(claim)
        self.assertEqual([], self.effects)
        again = self.claimed(self.two, B)
        self.run_job(self.two, again)
        self.two.commit()
        self.assertEqual(['once'], self.effects)

    def test_taken_away_too_late(self):
        """Where the job ends first, whoever takes it away tries again."""
        claim = self.claimed(self.one)
        self.two.manager.begin()
        workers(self.two.service).release(lambda worker: False, NOW)
        self.run_job(self.one, claim)
        self.one.commit()
        self.refused(self.two)
        self.assertEqual([], workers(self.two.service).release(
            lambda worker: False, NOW))
        self.two.commit()
        self.assertEqual(COMPLETED, self.job(self.jobid).status)
        self.check_counts()

    def test_handed_back_while_it_runs(self):
        """Whoever hands a claim back that runs nevertheless, tries again."""
        for hand_back in (
                lambda world: engine(world.service).settle(A, [self.jobid]),
                lambda world: workers(world.service).stop_worker(A)):
            with self.subTest(hand_back):
                self.setUp()
                claim = self.claimed(self.one)
                self.two.manager.begin()
                hand_back(self.two)
                self.run_job(self.one, claim)
                self.one.commit()
                self.refused(self.two)
                hand_back(self.two)
                self.two.commit()
                self.assertEqual(COMPLETED, self.job(self.jobid).status)
                self.check_counts()

    def test_a_stalled_processor(self):
        """A claim that was taken away, and made again, is another one."""
        stalled = self.claimed(self.one)
        self.two.manager.begin()
        workers(self.two.service).release(lambda worker: False, NOW)
        self.two.commit()
        again = self.claimed(self.two, A)
        self.assertEqual(2, again.attempt)
        transaction.begin()
        with self.assertRaises(ClaimLost):
            engine(self.service).claimed(stalled)
        self.run_job(self.two, again)
        self.two.commit()
        transaction.begin()
        for claim in (stalled, again):
            with self.assertRaises(ClaimLost):
                engine(self.service).claimed(claim)
        self.assertEqual(['once'], self.effects)


class CancelConflictTest(ConflictCase):

    def test_cancelled_while_it_is_claimed(self):
        """Both commit: the job is cancelled, its claim is good for nothing.
        """
        self.two.service.cancel(self.jobid)
        claim = self.claimed(self.one)
        self.two.commit()
        transaction.begin()
        with self.assertRaises(ClaimLost):
            engine(self.service).claimed(claim)
        engine(self.service).settle(A, [self.jobid])
        transaction.commit()
        self.assertEqual(CANCELLED, self.job(self.jobid).status)
        self.check_counts()

    def test_claimed_after_it_was_cancelled(self):
        """So it is in the other order."""
        claim, = engine(self.one.service).claim(A, 1, NOW)
        self.two.service.cancel(self.jobid)
        self.two.commit()
        self.one.commit()
        transaction.begin()
        with self.assertRaises(ClaimLost):
            engine(self.service).claimed(claim)
        workers(self.service).stop_worker(A)
        transaction.commit()
        self.check_counts()
        self.assertEqual([], self.claim())

    def test_and_removed(self):
        """A job that is claimed while it is removed troubles nobody."""
        for end in ('settle', 'stop_worker', 'release'):
            with self.subTest(end):
                jobid = self.add('test.effect')
                for world in (self.one, self.two):
                    world.manager.begin()
                engine(self.one.service).claim(A, 10, NOW)
                self.two.service.remove(jobid)
                self.two.commit()
                try:
                    self.one.commit()
                except TransientError:
                    self.one.abort()
                transaction.begin()
                {'settle': lambda: engine(self.service).settle(
                    A, workers(self.service).claimed_ids(A)),
                 'stop_worker': lambda: workers(self.service).stop_worker(A),
                 'release': lambda: workers(self.service).release(
                     lambda worker: False, NOW)}[end]()
                transaction.commit()
                self.check_counts()

    def test_cancelled_while_it_runs(self):
        """A job that ends is not cancelled any more; that one tries again."""
        claim = self.claimed(self.one)
        self.two.manager.begin()
        self.assertFalse(self.two.service.cancel(self.jobid))
        self.run_job(self.one, claim)
        self.one.commit()
        self.two.commit()
        self.assertEqual(COMPLETED, self.job(self.jobid).status)

    def test_cancelled_and_run_by_its_id(self):
        """Who cancels a job that was run meanwhile gets a conflict."""
        self.two.service.cancel(self.jobid)
        self.one.service.processNext(NOW, self.jobid)
        self.one.commit()
        self.refused(self.two)
        self.assertFalse(self.two.service.cancel(self.jobid))
        self.assertEqual(['once'], self.effects)
        self.check_counts()

    def test_requeued_twice(self):
        """Of two who requeue a job, the later one gets a conflict."""
        self.service.cancel(self.jobid)
        transaction.commit()
        for world in (self.one, self.two):
            world.manager.begin()
            self.assertTrue(world.service.requeue(self.jobid))
        self.one.commit()
        self.refused(self.two)
        self.assertFalse(self.two.service.requeue(self.jobid))
        self.assertEqual([self.jobid], self.claim())
        self.assertEqual(PROCESSING, self.job(self.jobid).status)
