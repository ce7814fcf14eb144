"""Who cancels, requeues or removes a job meets nobody but its run."""

import transaction
from transaction.interfaces import TransientError

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import CannotRun
from lovely.remotetask.job import Run
from lovely.remotetask.policy import DAY
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_store import FAILURE
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import B
from lovely.remotetask.tests.test_store import StoreCase


def _cannot_run():
    raise CannotRun('no reason')


class CallersCase(StoreCase):

    def setUp(self):
        super().setUp()
        self.caller, self.other = Opened(self), Opened(self)

    def ended(self, input='fail', settle=False):
        """Return the id of a job that has just ended."""
        jobid = self.add('test.task', input)
        claim = self.claimed(jobid)
        job = engine(self.service).claimed(claim)
        if input == 'fail':
            job.fail(Run(claim, NOW), FAILURE, NOW)
        else:
            engine(self.service).complete(job, Run(claim, NOW), None, NOW)
        if settle:
            engine(self.service).settle(A, [jobid])
        transaction.commit()
        return jobid

    def claimed(self, jobid):
        """Claim a job, commit that, and return the Claim."""
        self.assertEqual([jobid], self.claim(1))
        transaction.begin()
        return self.service.jobs[jobid].claim

    def call(self, name, jobid):
        """Do something to a job in a transaction that is still open."""
        self.caller.manager.begin()
        return getattr(self.caller.service, name)(jobid)

    def bookkeep(self):
        """Do all that a processor does, as the last commit shows it."""
        world = self.other
        world.manager.begin()
        engine(world.service).settle(A, [
            jobid for jobid in workers(world.service).claimed_ids(A)
            if world.service.jobs[jobid].status != PROCESSING])
        engine(world.service).claim(B, 5, NOW)
        workers(world.service).beat(B, NOW)
        upkeep(world.service).prune(100, NOW)
        upkeep(world.service).correct_schedule(NOW)
        world.commit()

    def check(self, **expected):
        """Check counts and pages: how many jobs there are by status."""
        transaction.begin()
        expected = {name: number for name, number in expected.items()
                    if number}
        counts = {status: number for status, number
                  in self.service.counts().items() if number}
        self.assertEqual(expected, counts)
        self.assertEqual(sum(expected.values()), len(self.service.jobs))
        self.assertEqual(sum(expected.values()), len(list(self.service.jobs)))
        for status, number in expected.items():
            self.assertEqual(
                number, len(self.service.find(status=status).jobs), status)


class NoConflictTest(CallersCase):
    """What is done to a job commits, whatever processors do meanwhile."""

    def each(self, make, name, expected):
        """Try one method with the processor before, between and after."""
        for settled in (False, True):
            with self.subTest(name, settled=settled):
                jobid = make()
                if settled:
                    self.bookkeep()
                self.assertIn(self.call(name, jobid), (True, None))
                self.bookkeep()
                # As often as processors like.
                self.add('test.task', 'another')
                self.bookkeep()
                self.caller.commit()
                self.assertEqual(
                    expected, self.job(jobid).status if expected else None)
                self.check_counts()
                self.bookkeep()
                self.check_counts()
                workers(self.service).release(lambda worker: False, NOW)
                transaction.commit()
                self.check_counts()
                self.remove_all()

    def remove_all(self):
        for jobid in list(self.service.jobs):
            self.assertTrue(self.service.remove(jobid))
        transaction.commit()
        self.check()

    def test_requeue(self):
        """Right after its end, or later, a job is requeued."""
        self.each(self.ended, 'requeue', QUEUED)

    def test_remove(self):
        """So is one removed."""
        self.each(lambda: self.ended('fine'), 'remove', None)

    def test_cancel(self):
        """And cancelled, as long as nobody runs it."""
        def make():
            return self.add('test.task', delay=1e10)
        self.each(make, 'cancel', CANCELLED)

    def test_start(self):
        """A job for later is started."""
        def make():
            return self.add('test.task', startLater=True)
        self.each(make, 'startJob', QUEUED)

    def test_reschedule(self):
        """A cron job is scheduled anew, also when it is seen first."""
        def make():
            jobid = self.service.addCronJob('test.task', delay=10 ** 9)
            transaction.commit()
            return jobid
        self.each(make, 'reschedule', 'delayed')

    def test_hundreds(self):
        """None of 200 callers who requeue right after the end conflicts."""
        for number in range(200):
            jobid = self.ended()
            self.assertTrue(self.call('requeue', jobid))
            engine(self.service).settle(A, [jobid])
            engine(self.service).claim(B, 1, 0)
            transaction.commit()
            self.caller.commit()
            workers(self.service).release(lambda worker: False, number)
            transaction.commit()
            self.call('remove', jobid)
            engine(self.service).claim(B, 0, NOW)
            transaction.commit()
            self.caller.commit()
        self.claim()
        self.check()

    def test_its_own_run(self):
        """The run of that job is met: who commits later pays."""
        jobid = self.add('test.task')
        self.assertTrue(self.call('cancel', jobid))
        claim = self.claimed(jobid)
        engine(self.service).complete(
            engine(self.service).claimed(claim), Run(claim, NOW), None, NOW)
        transaction.commit()
        with self.assertRaises(TransientError):
            self.caller.commit()
        self.caller.abort()
        self.assertFalse(self.caller.service.cancel(jobid))


class AtOnceTest(CallersCase):
    """What callers have done is seen before a processor has."""

    def test_requeued(self):
        """A requeued job is queued, also if its end is not settled."""
        for settle in (False, True):
            with self.subTest(settle=settle):
                jobid = self.ended(settle=settle)
                self.check(error=1)
                self.service.requeue(jobid)
                transaction.commit()
                self.check(queued=1)
                self.service.cancel(jobid)
                transaction.commit()
                self.check(cancelled=1)
                self.service.remove(jobid)
                transaction.commit()
                self.check()

    def test_ended(self):
        """A job that has ended is found as such before it is settled."""
        self.ended()
        self.ended('fine')
        self.check(error=1, completed=1)

    def test_removed(self):
        """A removed job is gone, wherever it was."""
        ids = [self.add('test.task', startLater=number == 0)
               for number in range(3)]
        for pass_first in (False, True):
            if pass_first:
                self.claim(0)
            self.service.remove(ids.pop())
            transaction.commit()
            self.check(queued=len(ids) - 1, **{STARTLATER: 1})
        self.service.remove(ids.pop())
        transaction.commit()
        self.check()

    def test_cleaned(self):
        """So are those that are cleaned before they are listed."""
        cancelled, kept = self.add('test.task'), self.add('test.task')
        self.service.cancel(cancelled)
        transaction.commit()
        self.service.clean([CANCELLED])
        transaction.commit()
        self.check(queued=1)
        self.service.cancel(kept)
        self.service.clean([ERROR])
        transaction.commit()
        self.check(cancelled=1)

    def test_ended_cron_job(self):
        """A cron job whose run has ended is found before it is settled."""
        self.service.addCronJob('test.task', minute=(10,))
        transaction.commit()
        self.claim(now=0)
        self.claim(now=600)
        self.check(processing=1)
        self.finish(settle=False)
        self.check(cronjob=1)

    def test_paged(self):
        """Over several pages each job is found once."""
        ids = [self.ended() for _ in range(9)]
        for jobid in ids[::2]:
            self.service.requeue(jobid)
        transaction.commit()
        for status, expected in ((QUEUED, ids[::2]), (ERROR, ids[1::2]),
                                 (None, ids)):
            found, after = [], None
            while True:
                page = self.service.find(status=status, after=after, limit=2)
                found += [job.id for job in page.jobs]
                after = page.after
                if after is None:
                    break
            self.assertCountEqual(expected, found)


class PassedTest(CallersCase):
    """What becomes of it when processors come to the notes."""

    def test_removed_for_good(self):
        """Nothing of a removed job stays in the books."""
        store = self.service.store
        for input in ('fail', 'fine'):
            jobid = self.ended(input, settle=True)
            self.service.remove(jobid)
            transaction.commit()
            self.claim()
            self.assertEqual([], list(store.ledger.newest(ERROR)))
            self.assertEqual([], list(store.ledger.newest(COMPLETED)))
        jobid = self.add('test.task', delay=100)
        self.claim(now=0)
        self.service.remove(jobid)
        transaction.commit()
        self.claim(now=0)
        self.assertEqual([], list(store.schedule))
        self.check()

    def test_notes_in_any_order(self):
        """Notes of one job may lie in several lanes."""
        jobid = self.ended(settle=True)
        holders = [Opened(self) for _ in range(3)]
        for world in holders:
            # Each of them keeps a lane of its own.
            world.service.add('test.task', 'holding')
        for name in ('requeue', 'cancel', 'requeue'):
            another = Opened(self)
            self.assertTrue(getattr(another.service, name)(jobid))
            another.commit()
            self.check_counts()
        for world in holders:
            world.abort()
        self.check(queued=1)
        self.assertEqual([jobid], self.claim())
        self.assertEqual([], self.claim(worker=B))
        self.finish()
        self.check(error=1)

    def test_pruned_meanwhile(self):
        """A job that is pruned while it is requeued is there again."""
        jobid = self.ended(settle=True)
        self.call('requeue', jobid)
        self.assertEqual(1, upkeep(self.service).prune(100, NOW + 40 * DAY))
        transaction.commit()
        self.caller.commit()
        self.assertEqual([jobid], self.claim())
        self.finish()
        self.check(error=1)
        self.assertEqual(ERROR, self.job(jobid).status)

    def test_pruned_and_trimmed_meanwhile(self):
        """The same where the segment of the job is gone before the note."""
        jobid = self.ended(settle=True)
        others = [self.service.add('test.task')
                  for _ in range(2 * lane.SEGMENT_SIZE)]
        transaction.commit()
        self.claim()
        self.finish()
        self.call('requeue', jobid)
        self.assertEqual(1 + len(others), upkeep(self.service).prune(
            100, NOW + 40 * DAY))
        _, number, priority = numbering.split_id(jobid)
        strand = self.service.store.lanes[number].strands[priority]
        self.assertTrue(strand.trim(strand.end, 100))
        transaction.commit()
        self.caller.commit()
        self.assertEqual([jobid], self.claim())
        self.check(processing=1)
        self.assertEqual([jobid], list(self.service.jobs))
        self.finish()
        self.check(error=1)
        self.assertEqual(1, upkeep(self.service).prune(100, NOW + 40 * DAY))
        transaction.commit()
        self.check()
        self.assertEqual([], list(self.service.jobs))

    def test_pruned_while_it_is_changed_several_times(self):
        """All notes together count what has become of it."""
        for changes in (('requeue',), ('requeue', 'cancel'),
                        ('requeue', 'remove'), ('remove',),
                        ('requeue', 'cancel', 'requeue'),
                        ('requeue', 'cancel', 'requeue', 'cancel')):
            for before in (), ('requeue', 'cancel'):
                with self.subTest(changes, before=before):
                    self.change_while_pruned(before, changes)
                    self.claim()
                    self.check_counts()
                    self.finish()
                    self.service.clean()
                    transaction.commit()
                    self.claim()
                    self.check()

    def change_while_pruned(self, before, changes):
        # Another one is kept: no number is less than none.
        both = [self.ended(settle=True) for _ in range(2)]
        for name in before:
            for jobid in both:
                getattr(self.service, name)(jobid)
            transaction.commit()
        caller = Opened(self)
        caller.service.counts()
        # The notes of before are passed since he has begun.
        self.assertEqual([], self.claim())
        self.assertEqual(1, upkeep(self.service).prune(1, NOW + 10 ** 10))
        jobid, = set(both).difference(self.service.jobs)
        transaction.commit()
        for name in changes:
            getattr(caller.service, name)(jobid)
        caller.commit()

    def test_changed_before_it_is_pruned(self):
        """Who is about to prune it begins anew."""
        for changes in ('requeue', 'cancel'), ('remove',):
            with self.subTest(changes):
                jobid = self.ended(settle=True)
                pruner, caller = Opened(self), Opened(self)
                upkeep(pruner.service).prune(100, NOW + 10 ** 10)
                for name in changes:
                    getattr(caller.service, name)(jobid)
                    caller.commit()
                with self.assertRaises(transaction.interfaces.TransientError):
                    pruner.commit()
                pruner.abort()
                self.claim()
                self.check_counts()

    def test_removed_meanwhile(self):
        """One that is pruned while it is removed is counted once."""
        jobid = self.ended('fine', settle=True)
        self.call('remove', jobid)
        self.assertEqual(1, upkeep(self.service).prune(100, NOW + 40 * DAY))
        transaction.commit()
        self.caller.commit()
        self.claim()
        self.check()

    def test_settled_late(self):
        """A stalled worker settles long after the job was run once more."""
        jobid = self.ended()
        self.service.requeue(jobid)
        transaction.commit()
        self.assertEqual([jobid], self.claim(worker=B))
        self.check(processing=1)
        self.finish(B)
        self.check(error=1)
        engine(self.service).settle(A, [jobid])
        transaction.commit()
        self.check(error=1)
        self.service.remove(jobid)
        transaction.commit()
        self.claim()
        self.check()

    def test_removed_after_another_run(self):
        """A claim is counted whose run was not the last one of the job.

        However many runs there were since, and whoever settles it.
        """
        for count in (1, 3, 7):
            for passes_first in (False, True):
                with self.subTest(count=count, passes_first=passes_first):
                    jobid = self.ended()
                    for _ in range(count):
                        self.service.requeue(jobid)
                        transaction.commit()
                        self.assertEqual([jobid], self.claim(worker=B))
                        self.finish(B)
                    self.check(error=1)
                    self.service.remove(jobid)
                    transaction.commit()
                    self.check()
                    if passes_first:
                        self.claim(worker=B)
                    workers(self.service).stop_worker(A)
                    transaction.commit()
                    self.check()
                    self.claim(worker=B)
                    self.check()

    def test_removed_job_is_small(self):
        """What is kept of its runs until then has none of their texts."""
        jobid = self.ended()
        for _ in range(30):
            self.service.requeue(jobid)
            transaction.commit()
            self.claim(worker=B)
            self.finish(B)
        job = self.job(jobid)
        self.service.remove(jobid)
        transaction.commit()
        data, _ = self.connection._storage.load(job._p_oid)
        self.assertNotIn(b'message', data)
        self.assertLess(len(data), 1500)

    def test_claimed_again_by_the_same_worker(self):
        """A claim that was not settled is counted when it is made anew."""
        jobid = self.ended()
        self.service.requeue(jobid)
        transaction.commit()
        self.assertEqual([jobid], self.claim())
        self.check(processing=1)
        workers(self.service).stop_worker(A)
        transaction.commit()
        self.check(queued=1)

    def test_removed_before_a_stalled_worker_settles(self):
        """What a claim says of a removed job is counted all the same."""
        for count in (1, 20):
            # In an open segment, and in a full one.
            ids = [self.ended('fine') for _ in range(count)]
            for jobid in ids:
                self.service.remove(jobid)
            transaction.commit()
            self.claim(worker=B)
            self.check()
            engine(self.service).settle(A, ids)
            transaction.commit()
            self.check()

    def test_many_changes(self):
        """Notes stay small, however many no processor has passed."""
        jobid = self.service.addCronJob('test.task', minute=(10,))
        transaction.commit()
        for _ in range(600):
            self.service.reschedule(jobid)
            transaction.commit()
        for strand, _ in lookup.strands(self.service.store):
            for segment in strand.segments.values():
                state, _ = self.jobs_db.storage.load(segment._p_oid)
                self.assertLess(len(state), 2000)
        self.claim(now=0)
        self.check(cronjob=1)
        self.assertFalse(lookup.is_behind(self.service.store))

    def test_held(self):
        """A held job is cancelled, requeued and removed like any other."""
        jobid = self.add('test.task')
        claim = self.claimed(jobid)
        failure = outcome_of(_cannot_run)
        engine(self.service).fail(
            engine(self.service).claimed(claim), Run(claim, NOW), failure, NOW)
        transaction.commit()
        self.check(held=1)
        self.assertEqual(HELD, self.service.getStatus(jobid))
        self.assertEqual('no reason', self.service.getError(jobid))
        self.assertTrue(self.service.requeue(jobid))
        transaction.commit()
        self.check(queued=1)
