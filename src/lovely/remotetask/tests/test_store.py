"""The job store: order, claims, notes, counts; driven by hand."""

import collections
import random
from unittest import mock

import transaction
import ZODB.utils
from persistent.timestamp import TimeStamp
from transaction.interfaces import TransientError

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import ClaimLost
from lovely.remotetask.job import Run
from lovely.remotetask.policy import Policy
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import source
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers


A, B = 'host:1:a:token-a', 'host:2:b:token-b'

# Later than any job that is added now.
NOW = 4e9


class StoreCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.calls = Calls()
        self.task(self.run_task)

    def run_task(self, input):
        self.calls(input)
        if input == 'fail':
            raise TaskError('An error occurred.')

    def claim(self, limit=100, worker=A, now=NOW):
        """Claim jobs, commit, and return their ids."""
        transaction.begin()
        claims = engine(self.service).claim(worker, limit, now)
        transaction.commit()
        return [claim.job for claim in claims]

    def finish(self, worker=A, settle=True):
        """Run all that a worker has claimed, then settle it; commit."""
        transaction.begin()
        claims = [self.service.store.workers[worker].get(jobid)
                  for jobid in workers(self.service).claimed_ids(worker)]
        for claim in claims:
            job = engine(self.service).claimed(claim)
            run = Run(claim, NOW)
            if job.input == 'fail':
                job.fail(run, FAILURE, NOW)
            else:
                engine(self.service).complete(job, run, None, NOW)
        if settle:
            engine(self.service).settle(
                worker, [claim.job for claim in claims])
        transaction.commit()

    def check_counts(self):
        """Check that the counts are those of the statuses of all jobs."""
        transaction.begin()
        found = collections.Counter(
            job.status for job in self.service.jobs.values())
        counts = {status: number for status, number
                  in self.service.counts().items() if number}
        self.assertEqual(found, counts)


class FAILURE:
    error, errorClass, traceback = 'message', 'module.Class', 'Traceback'


def _least_after(tid):
    last = TimeStamp(tid)
    return last.laterThan(last).raw()


class OrderTest(StoreCase):

    def test_first_in_first_out(self):
        """Jobs are claimed in the order in which they were added."""
        ids = [self.add('test.task') for _ in range(100)]
        self.assertEqual(ids[:60], self.claim(60))
        self.assertEqual(ids[60:], self.claim(60))

    def test_priority(self):
        """The highest priority goes first; equal ones in their order."""
        ids = {priority: [self.add('test.task', priority=priority)
                          for _ in range(2)] for priority in (3, 9, 0, 5)}
        self.assertEqual(
            [*ids[9], *ids[5], *ids[3], *ids[0]], self.claim())

    def test_lanes_are_merged_by_their_commits(self):
        """What was committed first is claimed first, whatever its lane."""
        others = [Opened(self), Opened(self)]
        ids = []
        one, two = others
        for _ in range(10):
            first = one.service.add('test.task')
            ids.append(two.add('test.task'))
            one.commit()
            ids.append(first)
        self.assertLess(
            1, len({numbering.split_id(jobid)[1] for jobid in ids}))
        self.assertEqual(ids, self.claim())

    def test_handed_back(self):
        """The same where they go back into the queue, however that was."""
        for give_back in (
                lambda: workers(self.service).stop_worker(A),
                lambda: workers(self.service).release(lambda claim: False)):
            ids = self.in_two_lanes()
            transaction.begin()
            # One thread, which may have begun the first one.
            self.assertEqual(ids, [claim.job for claim in engine(
                self.service).claim(A, 100, NOW, at_once=1)])
            transaction.commit()
            give_back()
            transaction.commit()
            found = []
            # What may have ended another worker is claimed alone.
            while claimed := self.claim(worker=B):
                self.finish(B)
                found += claimed
            self.assertEqual(ids, found)

    def in_two_lanes(self):
        """Add jobs in turns to two lanes; in one there were more before."""
        one, two = Opened(self), Opened(self)
        two.service.add('test.task')
        for _ in range(40):
            one.service.add('test.task')
        one.commit()
        two.commit()
        self.claim()
        self.finish()
        ids = []
        for _ in range(10):
            # Each of them takes the lane that the other one has not.
            ids += [world.service.add('test.task') for world in (one, two)]
            one.commit()
            two.commit()
        self.assertNotEqual(ids, sorted(ids))
        return ids

    def test_clock_that_was_ahead(self):
        """The same while ids of transactions differ by the least step.

        That is so as long as the clock of the database is behind the last id,
        and many of these are the same time, as a float.
        """
        with mock.patch.object(ZODB.utils, 'newTid', _least_after):
            self.test_lanes_are_merged_by_their_commits()

    def test_begun_early_committed_late(self):
        """A long transaction does not overtake what came meanwhile."""
        other = Opened(self)
        early = other.service.add('test.task')
        ids = [self.add('test.task') for _ in range(3)]
        other.commit()
        self.assertEqual([*ids, early], self.claim())

    def test_committed_later_than_the_cursor_went(self):
        """A job that is committed after later ones were claimed is found."""
        other = Opened(self)
        early = other.service.add('test.task')
        ids = [self.add('test.task') for _ in range(3)]
        self.assertEqual(ids, self.claim())
        other.commit()
        self.assertEqual([early], self.claim())

    def test_due_jobs_compete_by_priority(self):
        """Of those that are due at once the highest priority goes first."""
        low = self.add('test.task', delay=10, priority=1)
        high = self.add('test.task', delay=20, priority=9)
        self.assertEqual([], self.claim(now=0))
        self.assertEqual([high, low], self.claim())

    def test_a_delayed_job(self):
        """A job with a delay is claimed when that is over."""
        jobid = self.add('test.task', delay=10)
        due = self.job(jobid).due
        self.assertEqual([], self.claim(now=due - 0.001))
        self.assertEqual([jobid], self.claim(now=due))

    def test_a_limit(self):
        """Never more than the limit are claimed; none for 0."""
        for _ in range(3):
            self.add('test.task')
        self.assertEqual(2, len(self.claim(2)))
        self.assertEqual([], self.claim(0))
        self.assertEqual(1, len(self.claim(2)))

    def test_many_entries_that_are_nothing_to_claim(self):
        """They are passed, some at a time; what follows them is claimed."""
        for _ in range(source.PASS_AT_ONCE + 1):
            self.service.cancel(self.service.add('test.task'))
        jobid = self.add('test.task')
        # Each has an entry, and a note that it is cancelled.
        for _ in range(2):
            self.assertEqual([], self.claim())
            self.assertTrue(engine(self.service).is_behind())
        self.assertEqual([jobid], self.claim())
        self.assertFalse(engine(self.service).is_behind())


class PrefetchTest(StoreCase):

    def test_records_that_are_needed_are_asked_for_together(self):
        for number in range(3):
            self.service.add('test.task', (number,))
        self.service.add('test.task', 'stored with the job itself')
        transaction.commit()
        self.service._p_jar.cacheMinimize()
        with mock.patch.object(self.service._p_jar, 'prefetch') as prefetch:
            self.claim()
        asked = [type(each).__name__ for call in prefetch.call_args_list
                 for each in call.args[0]]
        self.assertEqual({'Job': 4, 'Value': 3}, collections.Counter(asked))


class SmallTest(StoreCase):

    def test_small_inputs(self):
        """A hundred bytes are taken by every service."""
        self.service.policy = Policy(max_size=1)
        self.assertEqual(5, self.service.jobs[
            self.service.add('test.task', 5)].input)
        with self.assertRaisesRegex(ValueError, 'and 1 are allowed'):
            self.service.add('test.task', 'a' * 100)


class WaitingTest(StoreCase):
    """Whether there are jobs is told exactly."""

    def has_jobs(self, now=NOW):
        transaction.begin()
        result = self.service.hasJobsWaiting(now)
        transaction.commit()
        return result

    def test_cancelled_ones_are_none(self):
        """Entries that are nothing to claim are no jobs, however many."""
        for _ in range(source.PASS_AT_ONCE + 1):
            self.service.cancel(self.service.add('test.task'))
        self.assertFalse(self.has_jobs())
        self.add('test.task')
        self.assertTrue(self.has_jobs())

    def test_claimed_ones_are_none(self):
        """Claimed jobs wait for nobody; handed back they do."""
        self.add('test.task')
        self.claim()
        self.assertFalse(self.has_jobs())
        workers(self.service).stop_worker(A)
        transaction.commit()
        self.assertTrue(self.has_jobs())

    def test_by_time(self):
        """A delayed job waits from its time on."""
        due = self.job(self.add('test.task', delay=10)).due
        self.assertFalse(self.has_jobs(due - 0.001))
        self.assertTrue(self.has_jobs(due))

    def test_for_later(self):
        """A job for later waits once it is started."""
        jobid = self.add('test.task', startLater=True)
        self.assertFalse(self.has_jobs())
        self.service.startJob(jobid)
        transaction.commit()
        self.assertTrue(self.has_jobs())


class NoteTest(StoreCase):
    """Jobs that wait again, before or after the cursor has passed them."""

    def in_another_lane(self, change, jobid):
        """Change a job in a transaction that has a lane of its own."""
        holding = Opened(self)
        holding.service.add('test.task', 'holding')
        other = Opened(self)
        getattr(other.service, change)(jobid)
        other.commit()
        holding.abort()

    def started(self, pass_first):
        jobid = self.add('test.task', startLater=True)
        if pass_first:
            self.claim()
        self.in_another_lane('startJob', jobid)
        return jobid

    def test_started(self):
        """A job that is started is claimed once, wherever the cursor is."""
        for pass_first in (False, True):
            with self.subTest(pass_first):
                jobid = self.started(pass_first)
                self.assertEqual([jobid], self.claim())
                self.assertEqual([], self.claim(worker=B))
                self.finish()
                self.check_counts()

    def test_one_after_the_other(self):
        """Nor does another worker get what one has claimed by the note."""
        for change, prepare in (('startJob', None), ('requeue', 'cancel')):
            with self.subTest(change):
                other = Opened(self)
                # This holds the lane with the smaller number.
                jobid = other.service.add(
                    'test.task', startLater=change == 'startJob')
                if prepare:
                    getattr(other.service, prepare)(jobid)
                other.commit()
                self.in_another_lane(change, jobid)
                self.assertEqual([jobid], self.claim(1))
                self.assertEqual([], self.claim(1, B))
                self.finish()
                self.check_counts()

    def test_requeued(self):
        """A cancelled job that is requeued is claimed once."""
        for pass_first in (False, True):
            with self.subTest(pass_first):
                jobid = self.add('test.task')
                self.service.cancel(jobid)
                transaction.commit()
                if pass_first:
                    self.claim()
                self.in_another_lane('requeue', jobid)
                self.assertEqual([jobid], self.claim())
                self.assertEqual([], self.claim(worker=B))
                self.finish()
                self.check_counts()

    def test_again_and_again(self):
        """However often it is cancelled and requeued, it is one job."""
        jobid = self.add('test.task')
        for _ in range(5):
            self.service.cancel(jobid)
            self.service.requeue(jobid)
            transaction.commit()
        self.check_counts()
        self.assertEqual([jobid], self.claim())
        self.finish()
        self.check_counts()
        self.assertEqual([], self.claim())

    def test_cancelled(self):
        """A cancelled job is not claimed, before and after the cursor."""
        for pass_first in (False, True):
            with self.subTest(pass_first):
                jobid = self.add('test.task', delay=10)
                if pass_first:
                    self.claim(now=0)
                self.service.cancel(jobid)
                transaction.commit()
                self.assertEqual([], self.claim())
                self.check_counts()

    def test_rescheduled(self):
        """A cron job that is scheduled anew leaves its old time."""
        jobid = self.service.addCronJob('test.task', minute=(10,))
        transaction.commit()
        self.claim(now=0)
        self.service.jobs[jobid].update(minute=(20,))
        self.service.reschedule(jobid)
        transaction.commit()
        self.assertEqual([], self.claim(now=600))
        self.assertEqual([jobid], self.claim(now=1200))
        self.assertEqual(PROCESSING, self.job(jobid).status)

    def test_requeued_before_it_was_settled(self):
        """A failed job may be requeued while its claim is still kept."""
        jobid = self.add('test.task', 'fail')
        self.claim()
        self.finish(settle=False)
        self.assertEqual(ERROR, self.job(jobid).status)
        self.service.requeue(jobid)
        transaction.commit()
        engine(self.service).settle(A, [jobid])
        transaction.commit()
        self.assertEqual([jobid], self.claim(worker=B))
        self.finish(B)
        self.check_counts()
        self.assertEqual([], self.claim())

    def test_removed_before_it_was_settled(self):
        """So may a job be removed."""
        jobid = self.add('test.task')
        self.claim()
        self.finish(settle=False)
        self.assertTrue(self.service.remove(jobid))
        transaction.commit()
        engine(self.service).settle(A, [jobid])
        transaction.commit()
        self.check_counts()
        self.assertEqual(0, len(self.service.jobs))


class RemoveTest(StoreCase):

    def removed(self, count):
        """Add jobs, end them, remove each; return the ids."""
        ids = [self.service.add('test.task') for _ in range(count)]
        transaction.commit()
        self.claim(count)
        self.finish()
        for jobid in ids:
            self.assertTrue(self.service.remove(jobid))
        transaction.commit()
        return ids

    def test_removed(self):
        """Removed jobs are gone, from open and from full segments."""
        ids = self.removed(2 * lane.SEGMENT_SIZE + 3)
        for jobid in ids:
            self.assertNotIn(jobid, self.service.jobs)
        self.assertEqual([], list(self.service.jobs))
        self.assertEqual(0, len(self.service.jobs))
        self.check_counts()

    def test_their_place_is_used_no_more(self):
        """Jobs that are added later have other ids."""
        ids = self.removed(lane.SEGMENT_SIZE + 3)
        self.assertFalse({self.add('test.task') for _ in range(50)} & {*ids})

    def test_nothing_stays(self):
        """In the long run the store does not grow with removed jobs."""
        for _ in range(20):
            self.removed(lane.SEGMENT_SIZE)
        segments = sum(len(strand.segments)
                       for strand, _ in lookup.strands(self.service.store))
        self.assertLessEqual(segments, 5)

    def test_removed_while_it_waits(self):
        """A waiting job is cancelled first."""
        jobid = self.add('test.task')
        self.assertTrue(self.service.remove(jobid))
        transaction.commit()
        self.assertEqual([], self.claim())
        self.assertNotIn(jobid, self.service.jobs)
        self.check_counts()

    def test_a_running_job(self):
        """A job that runs is not removed."""
        jobid = self.add('test.task')
        self.claim()
        self.assertFalse(self.service.remove(jobid))
        self.finish()
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_unknown(self):
        """To remove an unknown job is a KeyError, and changes nothing."""
        self.add('test.task')
        # The last one is more than Python makes a text of.
        for jobid in 42, -1, 2 ** 70, 10 ** 5000:
            with self.assertRaises(KeyError):
                self.service.remove(jobid)
        self.check_counts()


class SettleTest(StoreCase):

    def test_twice(self):
        """To settle a claim again changes nothing."""
        jobid = self.add('test.task')
        self.claim()
        self.finish()
        before = self.service.counts()
        engine(self.service).settle(A, [jobid, jobid, 42])
        self.assertEqual(before, self.service.counts())
        self.check_counts()

    def completed(self):
        """Return a completed job's id and its Rest; it is not loaded."""
        jobid = self.add('test.task')
        self.claim()
        job = self.job(jobid)
        rest = engine(self.service).complete(
            job, Run(job.claim, NOW), 'done', NOW)
        transaction.commit()
        job._p_invalidate()
        return jobid, rest

    def test_completed(self):
        """A job that is known to be completed need not be loaded."""
        jobid, rest = self.completed()
        job = self.service.store.lanes[
            numbering.split_id(jobid)[1]].strands[5].segment(0).jobs[0]
        self.assertIsNone(job._p_changed)
        engine(self.service).settle(A, [jobid], [jobid], rests={jobid: rest})
        self.assertIsNone(job._p_changed)
        transaction.commit()
        self.check_counts()
        self.assertEqual([jobid], [
            job.id for job in self.service.find(COMPLETED).jobs])
        self.assertEqual([], workers(self.service).claimed_ids(A))

    def test_completed_under_another_claim(self):
        """What is known of an earlier run counts for nothing."""
        jobid, rest = self.completed()
        job = self.job(jobid)
        engine(self.service).settle(
            A, [jobid], [jobid], rests={jobid: rest._replace(fence=7)})
        self.assertIs(False, job._p_changed)
        transaction.commit()
        self.check_counts()

    def test_completed_and_removed(self):
        """Whoever passes the note of that finds it, whenever it comes."""
        for passes_first in (False, True):
            with self.subTest(passes_first=passes_first):
                jobid, rest = self.completed()
                self.assertTrue(self.service.remove(jobid))
                transaction.commit()
                if passes_first:
                    self.claim(worker=B)
                engine(self.service).settle(
                    A, [jobid], [jobid], rests={jobid: rest})
                transaction.commit()
                self.claim(worker=B)
                self.check_counts()
                self.assertEqual([], list(self.service.jobs))

    def test_completed_and_not_kept(self):
        """A service that keeps no results gets rid of it at once."""
        self.service.policy = Policy(keep_result=False)
        jobid, rest = self.completed()
        engine(self.service).settle(A, [jobid], [jobid], rests={jobid: rest})
        transaction.commit()
        self.assertNotIn(jobid, self.service.jobs)
        self.check_counts()

    def test_unknown_worker(self):
        """Of a worker that was dropped there is nothing to settle."""
        jobid = self.add('test.task')
        self.claim()
        workers(self.service).stop_worker(A)
        engine(self.service).settle(A, [jobid])
        transaction.commit()
        self.assertEqual([jobid], self.claim(worker=B))

    def test_not_run(self):
        """A job that was not run waits as before."""
        jobid = self.add('test.task')
        self.claim()
        engine(self.service).settle(A, [jobid])
        transaction.commit()
        self.assertEqual((QUEUED, 0), (self.job(jobid).status,
                                       self.job(jobid).attempts))
        self.assertEqual([jobid], self.claim(worker=B))

    def test_stop_worker(self):
        """Handed back, jobs go before those that were added later."""
        ids = [self.add('test.task') for _ in range(3)]
        self.claim()
        later = self.add('test.task')
        workers(self.service).stop_worker(A)
        transaction.commit()
        self.assertEqual([*ids, later], self.claim(worker=B))
        self.assertEqual([0] * 3, [self.job(id).attempts for id in ids])

    def test_release(self):
        """Of a worker that is gone all jobs go back; the run is counted."""
        ids = [self.add('test.task') for _ in range(2)]
        self.claim()
        self.assertEqual(
            [], workers(self.service).release(lambda worker: True))
        self.assertEqual(
            ids, workers(self.service).release(lambda worker: False, NOW))
        transaction.commit()
        self.check_counts()
        self.assertEqual([1, 1], [self.job(id).attempts for id in ids])

    def test_lost_jobs_are_claimed_apart(self):
        """A worker takes one lost job at a time: it may end the process."""
        ids = [self.add('test.task') for _ in range(2)]
        self.claim()
        workers(self.service).release(lambda worker: False, NOW)
        transaction.commit()
        self.assertEqual(ids[:1], self.claim(worker=B))
        self.assertEqual([], self.claim(worker=B))
        self.assertEqual(ids[1:], self.claim(worker=A))

    def test_release_after_the_last_attempt(self):
        """A job that always ends its process is in error in the end."""
        jobid = self.add('test.task')
        for _ in range(3):
            self.assertEqual([jobid], self.claim())
            workers(self.service).release(lambda worker: False, NOW)
            transaction.commit()
        job = self.job(jobid)
        self.assertEqual(ERROR, job.status)
        self.assertIn('process that ran the job (host:1:a) is gone',
                      job.error)
        self.assertEqual(3, len(job.history))
        self.assertEqual([], self.claim())
        self.check_counts()

    def test_release_of_a_job_that_ended(self):
        """What had ended before its worker was gone stays ended."""
        jobid = self.add('test.task')
        self.claim()
        self.finish(settle=False)
        self.assertEqual(
            [], workers(self.service).release(lambda worker: False))
        transaction.commit()
        self.assertEqual((COMPLETED, 1), (self.job(jobid).status,
                                          self.job(jobid).attempts))
        self.check_counts()

    def test_beat(self):
        """A heartbeat is one small object; an unknown worker has none."""
        self.add('test.task')
        self.claim()
        worker = self.service.store.workers[A]
        serial = worker._p_serial
        workers(self.service).beat(A, NOW)
        workers(self.service).beat('unknown', NOW)
        transaction.commit()
        self.assertEqual(NOW, worker.heartbeat.time)
        self.assertEqual(serial, worker._p_serial)


class StaleTest(StoreCase):
    """Entries of the schedule that do not hold any more."""

    def test_a_lost_job_keeps_one_place(self):
        """A job that was lost twice is claimed once."""
        jobid = self.add('test.task')
        for _ in range(2):
            self.claim()
            workers(self.service).release(lambda worker: False, NOW)
            transaction.commit()
        self.assertEqual([jobid], self.claim())
        self.assertEqual([], self.claim(worker=B))

    def test_a_cancelled_job_leaves_the_schedule(self):
        """It is dropped when its time comes."""
        jobid = self.add('test.task', delay=10)
        self.claim(now=0)
        self.service.cancel(jobid)
        transaction.commit()
        self.claim()
        self.assertEqual(0, len(self.service.store.schedule))

    def test_a_job_run_by_its_id(self):
        """A job that was run by its id is not claimed afterwards."""
        jobid = self.add('test.task', delay=10)
        self.claim(now=0)
        self.service.processNext(jobid=jobid)
        transaction.commit()
        self.assertEqual([], self.claim())
        self.check_counts()


class RandomTest(StoreCase):
    """The counts after whatever may happen."""

    STEPS = 250

    def test_counts(self):
        """The counts are always what a look at all jobs finds."""
        for seed in range(4):
            with self.subTest(seed=seed):
                self.random = random.Random(seed)
                self.worlds = [Opened(self) for _ in range(3)]
                for number in range(self.STEPS):
                    self.step(number)
                self.commit_all()
                self.check_counts()

    def step(self, number):
        world = self.random.choice(self.worlds)
        action = self.random.choice([
            self.add_one, self.add_one, self.add_one, self.change,
            self.change, self.claim_some, self.run_some, self.drop,
            Opened.commit, Opened.commit, Opened.abort])
        try:
            action(world)
        except TransientError:
            world.abort()
        if number % 25 == 0:
            self.commit_all()
            self.check_counts()

    def commit_all(self):
        for world in self.worlds:
            try:
                world.commit()
            except TransientError:
                world.abort()
        self.settle_all()

    def add_one(self, world):
        kind = self.random.randrange(4)
        if kind == 0:
            world.service.addCronJob('test.task', minute=(10,))
        else:
            world.service.add(
                'test.task', self.random.choice(['fail', 'work']),
                startLater=kind == 1, priority=self.random.choice([5, 5, 9]))

    def change(self, world):
        ids = list(world.service.jobs)
        if ids:
            method = self.random.choice(
                ['startJob', 'cancel', 'requeue', 'remove'])
            getattr(world.service, method)(self.random.choice(ids))

    def claim_some(self, world):
        world.manager.begin()
        engine(world.service).claim(
            self.random.choice([A, B]), self.random.randrange(4), NOW)
        world.commit()

    def run_some(self, world):
        world.manager.begin()
        for worker in list(world.service.store.workers.values()):
            for jobid in list(worker.claims):
                claim = worker.get(jobid)
                try:
                    job = engine(world.service).claimed(claim)
                except ClaimLost:
                    continue
                run = Run(claim, NOW)
                if job.input == 'fail':
                    job.fail(run, FAILURE, NOW)
                else:
                    engine(world.service).complete(job, run, None, NOW)
        world.commit()

    def drop(self, world):
        if self.random.random() < 0.3:
            workers(world.service).release(lambda worker: False, NOW)

    def settle_all(self):
        transaction.begin()
        for worker in list(self.service.store.workers.values()):
            ended = [jobid for jobid in worker.claims
                     if lookup.find(self.service.store, jobid) is None
                     or self.service.getStatus(jobid) != PROCESSING]
            engine(self.service).settle(worker.id, ended)
        transaction.commit()


class LookUpTest(StoreCase):

    def test_each_job_is_found(self):
        """A job is found by its id before and after it is committed."""
        ids = [self.service.add('test.task', priority=number % 10)
               for number in range(50)]
        for _ in range(2):
            for jobid in ids:
                self.assertEqual(jobid, self.service.jobs[jobid].id)
            transaction.commit()
        self.assertCountEqual(ids, self.service.jobs)
        self.assertEqual(50, len(self.service.jobs))

    def test_ids_that_are_none(self):
        """No number but that of a job finds one; nor does a note's."""
        jobid = self.add('test.task', startLater=True)
        self.service.startJob(jobid)
        note = numbering.make_id(1, *numbering.split_id(jobid)[1:])
        transaction.commit()
        for other in (note, -1, jobid + 1, 2 ** 62, 2 ** 63, 2 ** 80, True,
                      'a', None, 1.5):
            with self.subTest(other):
                self.assertNotIn(other, self.service.jobs)
                with self.assertRaises(KeyError):
                    self.service.getStatus(other)

    def test_0(self):
        """The first job of the first lane with priority 0 has the id 0."""
        jobid = self.add('test.task', priority=0)
        self.assertEqual(0, jobid)
        self.assertEqual([0], self.claim())
        self.finish()
        self.assertEqual(COMPLETED, self.service.getStatus(0))
        self.assertTrue(self.service.remove(0))

    def test_the_status_of_a_claimed_job(self):
        """A job is processing while somebody has a claim on it."""
        jobid = self.add('test.task')
        cron = self.service.addCronJob('test.task', minute=(10,))
        transaction.commit()
        self.claim(now=0)
        self.claim(now=600)
        for number in (jobid, cron):
            self.assertEqual(PROCESSING, self.job(number).status)
            self.assertEqual('host:1:a', self.job(number).claim.processor)
        workers(self.service).stop_worker(A)
        self.assertEqual([QUEUED, CRONJOB], [
            self.job(number).status for number in (jobid, cron)
            if transaction.commit() is None])

    def test_counts_of_claimed_jobs(self):
        """Claimed jobs are counted as processing, not as waiting."""
        self.add('test.task')
        self.add('test.task', startLater=True)
        self.service.cancel(self.add('test.task'))
        transaction.commit()
        self.claim()
        counts = self.service.counts()
        self.assertEqual(
            (0, 1, 1, 1), (counts[QUEUED], counts[PROCESSING],
                           counts[STARTLATER], counts[CANCELLED]))
