"""Lanes and segments that nobody needs any more."""

import unittest.mock

import transaction

from lovely.remotetask import machine
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.storage import adder
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lease
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import tidy
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import StoreCase


class TidyCase(StoreCase):

    def setUp(self):
        super().setUp()
        patch = unittest.mock.patch.object(tidy, 'LANES', numbering.MAX_LANES)
        patch.start()
        self.addCleanup(patch.stop)
        self.seconds = 0

    def process(self, here=False, **kw):
        """Add a job as a process does that lives for a moment.

        here -- whether it was one of this machine.

        Return the number of the lane.
        """
        name = f'host:99999999:adder:elsewhere-{self.seconds}'
        if here:
            name = f'host:99999999:adder:{machine.MACHINE}--1'
        with unittest.mock.patch.object(adder, '_process', name), \
                unittest.mock.patch.object(adder, 'time', self):
            adder._spare.clear()
            jobid = self.add('test.task', **kw)
        adder._spare.clear()
        return numbering.split_id(jobid)[1]

    # The clock of those processes.

    def time(self):
        return 4e9 + self.seconds

    def monotonic(self):
        return adder._began

    def tidy(self):
        """Look after all lanes as a processor does, until all is done."""
        transaction.begin()
        store = self.service.store
        with unittest.mock.patch.object(
                tidy.time, 'time', lambda: 5e9), \
                unittest.mock.patch.object(
                    lane.Lane, 'last_change', lambda self: 0.0):
            for _ in range(5):
                tidy.look_after(store, NOW)
                transaction.commit()

    def run_all(self, keep=False):
        while self.claim():
            self.finish()
        if not keep:
            upkeep(self.service).prune(10 ** 6, NOW + 10 ** 9)
            transaction.commit()

    @property
    def lanes(self):
        transaction.begin()
        return list(self.service.store.lanes)


class LeaseTest(TidyCase):

    def test_of_processes_that_are_gone(self):
        """Processes of one machine use the lanes of those that are gone."""
        used = {self.process(here=True) for _ in range(50)}
        self.assertEqual(1, len(used))
        self.assertLess(len(self.lanes), lease.SPARE_LANES + 5)

    def test_of_many_short_processes(self):
        """500 processes of other machines in an hour: lanes are left."""
        with unittest.mock.patch.object(
                lane.Lane, 'last_change', lambda self: 0.0):
            for _ in range(500):
                self.seconds += 7
                self.process()
        self.assertLess(len(self.lanes),
                        lease.MANY_LANES + lease.SPARE_LANES)
        self.run_all(keep=True)
        self.assertEqual(500, self.service.counts()[COMPLETED])

    def test_at_the_same_time(self):
        """Where all lanes are in use, the one that is due first is shared."""
        number = lease.SPARE_LANES + 4
        with unittest.mock.patch.object(numbering, 'MAX_LANES', number):
            for _ in range(number):
                self.seconds += 1
                self.process()
        self.assertEqual(number, len(self.lanes))
        self.run_all(keep=True)
        self.assertEqual(number, self.service.counts()[COMPLETED])

    def test_a_wrong_clock(self):
        """A lease that begins in years is none."""
        self.seconds = 10 ** 8
        number = self.process()
        self.seconds = 0
        free = lease._free(self.service.store, 4e9)
        self.assertIn(number, [found.number for found in free])

    def test_no_lane_is_looked_at_twice(self):
        """To lease one, lanes that are in use need not be loaded."""
        for _ in range(40):
            self.process()
        other = Opened(self)
        other.connection.cacheMinimize()
        other.service.store._p_activate()
        other.connection.getTransferCounts(clear=True)
        lease._free(other.service.store, 4e9 + 1)
        loaded = other.connection.getTransferCounts()[0]
        self.assertLess(loaded, len(self.lanes) + 10)


class TrimTest(TidyCase):

    def segments(self):
        transaction.begin()
        return sum(len(strand.segments)
                   for strand, _ in lookup.strands(self.service.store))

    def test_segments(self):
        """Nobody need add anything for empty segments to go."""
        for _ in range(10 * lane.SEGMENT_SIZE):
            self.service.add('test.task')
        transaction.commit()
        self.run_all()
        self.assertEqual(11, self.segments())
        self.tidy()
        self.assertLessEqual(self.segments(), 1)

    def test_what_is_left(self):
        """Segments with jobs stay, and so do those that were not passed."""
        ids = [self.service.add('test.task')
               for _ in range(4 * lane.SEGMENT_SIZE)]
        transaction.commit()
        self.claim(2 * lane.SEGMENT_SIZE)
        self.finish()
        for jobid in ids[:2 * lane.SEGMENT_SIZE]:
            if jobid != ids[3]:
                self.service.remove(jobid)
        transaction.commit()
        self.claim(1)
        self.tidy()
        self.assertIn(ids[3], self.service.jobs)
        self.assertEqual(
            1 + 2 * lane.SEGMENT_SIZE, len(list(self.service.jobs)))

    def test_leased(self):
        """Nothing is done to a lane that a process has."""
        for _ in range(2 * lane.SEGMENT_SIZE):
            self.service.add('test.task')
        transaction.commit()
        self.run_all()
        before = self.segments()
        tidy.look_after(self.service.store, NOW)
        self.assertEqual(before, self.segments())

    def test_meets_who_leases(self):
        """Who takes the lane at this moment is met, in private."""
        self.seconds = 1
        for _ in range(2 * lane.SEGMENT_SIZE + 1):
            self.process(here=True)
        with unittest.mock.patch.object(tidy, 'LANES', 0):
            self.run_all()
        other = Opened(self)
        with unittest.mock.patch.object(
                tidy.time, 'time', lambda: 5e9), \
                unittest.mock.patch.object(
                    lane.Lane, 'last_change', lambda self: 0.0):
            tidy.look_after(other.service.store, NOW)
        self.process(here=True)
        with self.assertRaises(transaction.interfaces.TransientError):
            other.commit()

class RetireTest(TidyCase):

    def many(self, number=60):
        """Let many processes have a lane each; return the ids they got."""
        before = set(self.service.jobs)
        for _ in range(number):
            self.seconds += 1
            self.process()
        transaction.begin()
        return set(self.service.jobs) - before

    def test_empty_lanes(self):
        """Lanes without jobs go, but some that are spare."""
        self.many()
        self.assertGreater(len(self.lanes), 60)
        self.run_all()
        self.tidy()
        self.assertEqual(lease.SPARE_LANES, len(self.lanes))
        self.check_counts()
        self.assertEqual({}, dict(self.service.jobs))

    def test_places_are_not_given_out_again(self):
        """A lane that is made again begins behind the one that was dropped.
        """
        first = self.many()
        self.run_all()
        self.tidy()
        self.seconds += 10 ** 6
        second = self.many()
        self.assertFalse(first & second)
        self.assertEqual(60, len(second))
        self.assertCountEqual(second, self.service.jobs)
        self.run_all(keep=True)
        self.assertEqual(60, self.service.counts()[COMPLETED])
        self.check_counts()

    def test_kept_jobs(self):
        """A lane with a job stays; all its jobs are found."""
        ids = self.many()
        self.run_all(keep=True)
        self.tidy()
        self.assertCountEqual(ids, self.service.jobs)

    def test_notes_in_a_lane_that_is_gone(self):
        """A job whose last note was there is what it was."""
        jobid = self.add('test.task', startLater=True)
        self.many()
        for _ in range(60):
            # Each in another lane.
            adder._spare.clear()
            with unittest.mock.patch.object(
                    adder, '_process', f'host:1:adder:x-{_}'):
                if self.service.getStatus(jobid) == 'start later':
                    self.service.startJob(jobid)
                else:
                    self.service.cancel(jobid) or self.service.requeue(jobid)
                transaction.commit()
        adder._spare.clear()
        self.run_all(keep=True)
        for other in list(self.service.jobs):
            if other != jobid:
                self.service.remove(other)
        transaction.commit()
        self.claim()
        self.tidy()
        self.assertEqual([jobid], list(self.service.jobs))
        self.check_counts()
        self.assertTrue(self.service.remove(jobid))
        transaction.commit()
        self.claim(worker=A)
        self.assertEqual(0, len(self.service.jobs))
