"""Which lane a transaction adds to; no two that overlap have the same."""

import gc
import random
import threading
import time
import unittest.mock

import transaction
import ZODB.utils

from lovely.remotetask.storage import adder
from lovely.remotetask.storage import lease
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import tidy
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import Opened


def lane_of(jobid):
    return numbering.split_id(jobid)[1]


class PoolCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.task(Calls())
        self.here = Opened(self)

    def add(self, where=None):
        """Add a job, do not commit.  Return the number of its lane."""
        return lane_of((where or self.here).service.add('test.task'))

    def free(self):
        """Return the numbers of the lanes that this process may take."""
        transaction.begin()
        numbers = {found._p_oid: number for number, found
                   in self.service.store.lanes.items()}
        return sorted(numbers[entry.oid] for entry
                      in adder._spare_lanes(self.service.store))

    def another_process(self):
        """Act as a process that has no lanes yet."""
        adder._begin()

    def later(self, seconds):
        """Let time go by, for the rest of the test."""
        now, monotonic = adder.time.time(), adder.time.monotonic()
        clock = unittest.mock.Mock()
        clock.time = lambda: now + seconds
        clock.monotonic = lambda: monotonic + seconds
        patch = unittest.mock.patch.object(adder, 'time', clock)
        patch.start()
        self.addCleanup(patch.stop)


class TransactionTest(PoolCase):

    def test_one_lane(self):
        """A transaction adds all its jobs to one lane."""
        self.assertEqual(1, len({self.add() for _ in range(50)}))

    def test_two_at_once(self):
        """Two transactions that overlap have two lanes, and both commit."""
        other = Opened(self)
        self.assertNotEqual(self.add(), self.add(other))
        other.commit()
        self.here.commit()
        transaction.begin()
        self.assertEqual(2, len(self.service.jobs))

    def test_meanwhile(self):
        """Until it ends nobody else can take its lane."""
        self.assertNotIn(self.add(), self.free())

    def test_after_a_commit(self):
        """Then it can be taken."""
        first = self.add()
        self.here.commit()
        self.assertIn(first, self.free())

    def test_after_an_abort(self):
        """So it can after an abort."""
        first = self.add()
        self.here.abort()
        self.assertIn(first, self.free())

    def test_one_after_the_other(self):
        """However many follow each other, they need no further lanes."""
        lanes = set()
        for number in range(50):
            lanes.add(self.add())
            (self.here.abort if number % 3 else self.here.commit)()
        self.assertLessEqual(len(lanes), lease.LANES_AT_ONCE)

    def test_after_a_commit_that_failed(self):
        """So it can after a commit that failed, and be used."""
        first = self.add()
        self.add()
        self.here.service.__parent__.effects.append(threading.Lock())
        with self.assertRaises(TypeError):
            self.here.commit()
        self.here.abort()
        self.assertIn(first, self.free())
        for _ in range(lease.LANES_AT_ONCE):
            self.add()
            self.here.commit()
        transaction.begin()
        self.assertEqual(lease.LANES_AT_ONCE, len(self.service.jobs))

    def test_a_savepoint(self):
        """To roll back to a savepoint before does not give it back."""
        savepoint = self.here.manager.savepoint()
        first = self.add()
        savepoint.rollback()
        other = Opened(self)
        self.assertNotEqual(first, self.add(other))
        self.assertEqual(first, self.add())
        self.here.commit()
        other.commit()
        transaction.begin()
        self.assertEqual(2, len(self.service.jobs))

    def test_a_forgotten_transaction(self):
        """One that is never ended gives its lane back when it is gone."""
        manager = transaction.TransactionManager()
        connection = self.db.open(manager)
        service = connection.root()['Application']['tasks']
        first = lane_of(service.add('test.task'))
        txn = manager.get()
        # As if all were dropped; the connection itself may go to its pool.
        for each in connection.connections.values():
            each._resetCache()
            each._registered_objects = []
            each._needs_to_join = True
        manager._txn = None
        txn._resources = []
        del each, txn, service
        gc.collect()
        self.assertIn(first, self.free())

    def test_is_given_back_once(self):
        """However a transaction ends, its lane is given back once."""
        self.add()
        self.here.commit()
        self.here.abort()
        gc.collect()
        entries = list(adder._spare_lanes(self.here.service.store))
        self.assertEqual(len({entry.oid for entry in entries}), len(entries))

    def test_a_service_that_is_not_committed(self):
        """What nobody else can see needs no lease."""
        from lovely.remotetask import TaskService
        self.here.connection.root()['Application']['new'] = new = TaskService()
        self.here.manager.savepoint()
        self.assertEqual(0, lane_of(new.add('test.task')))
        self.here.commit()
        self.assertEqual(0, lane_of(new.add('test.task')))


class SnapshotTest(PoolCase):

    def test_a_lane_that_has_changed_since(self):
        """A lane that was added to after this snapshot began is not taken."""
        self.here.service.counts()
        other = Opened(self)
        taken = self.add(other)
        other.commit()
        self.assertNotEqual(taken, self.add())
        self.here.commit()

    def test_first_use_by_an_old_snapshot(self):
        """A process that has no lanes takes one that its snapshot shows."""
        self.here.service.counts()
        self.another_process()
        other = Opened(self)
        for _ in range(3):
            self.add(other)
            other.commit()
        self.another_process()
        self.add()
        self.here.commit()
        transaction.begin()
        self.assertEqual(4, len(self.service.jobs))

    def test_no_lane_that_it_can_see(self):
        """Where its snapshot shows no free lane, it adds nevertheless."""
        worlds = [Opened(self) for _ in range(lease.SPARE_LANES + 4)]
        for world in worlds:
            world.manager.begin()
            world.service.counts()
        for world in worlds:
            self.add(world)
        conflicts = 0
        for world in worlds:
            try:
                world.commit()
            except transaction.interfaces.TransientError:
                conflicts += 1
                world.abort()
        self.assertLess(conflicts, 5)
        transaction.begin()
        self.assertEqual(
            len(worlds) - conflicts, len(set(self.service.jobs)))

    def test_interleaved(self):
        """However 2 to 8 transactions interleave, all commits succeed."""
        for count in range(2, 9):
            with self.subTest(count):
                rng = random.Random(count)
                worlds = [Opened(self) for _ in range(count)]
                before = len(self.service.jobs)
                added = 0
                for _ in range(count * 40):
                    world = rng.choice(worlds)
                    if rng.random() < 0.6:
                        self.add(world)
                        added += 1
                    else:
                        world.commit()
                for world in worlds:
                    world.commit()
                transaction.begin()
                self.assertEqual(before + added, len(self.service.jobs))
                self.assertEqual(before + added, len(set(self.service.jobs)))


class LeaseTest(PoolCase):

    def owners(self):
        transaction.begin()
        return {number: lease.owner for number, lease
                in self.service.store.leases.items()
                if lease.owner is not None}

    def test_two_processes(self):
        """What one process has leased another does not take."""
        first = self.add()
        self.here.commit()
        leased = {*self.owners()}
        self.assertIn(first, leased)
        self.another_process()
        self.assertNotIn(self.add(), leased)

    def test_it_ends(self):
        """An hour after its last use a lane may be leased by others."""
        first = self.add()
        self.here.commit()
        owner = self.owners()[first]
        for seconds, same in ((-60, True), (60, False)):
            self.later(lease.LEASE + seconds)
            # Those that nobody has had are taken first.
            for _ in range(lease.SPARE_LANES):
                self.another_process()
                self.add()
                self.here.abort()
            self.assertEqual(same, self.owners()[first] == owner)

    def test_its_process_stops_before(self):
        """A process does not use a lane that it has not used for long."""
        first = self.add()
        self.here.commit()
        self.later(adder.USED * lease.LEASE + 60)
        self.assertNotEqual(first, self.add())

    def test_clock_that_is_behind(self):
        """A lease does not look as if it had ended long ago."""
        self.later(-2 * lease.LEASE)
        self.another_process()
        self.tidy(self.add())
        self.here.commit()

    def test_clock_of_the_storage_was_ahead(self):
        """What was added in its future was added just now."""
        with unittest.mock.patch.object(ZODB.utils, 'time', (
                unittest.mock.Mock(time=lambda: time.time() + 10 ** 6,
                                   gmtime=time.gmtime))):
            self.add()
            self.here.commit()
        # Ids of transactions go on in smallest steps, for days.
        for _ in range(4):
            self.later(lease.LEASE / 2)
            self.add()
            self.here.commit()
        transaction.begin()
        self.service.process()
        self.service.clean()
        self.service.hasJobsWaiting()
        transaction.commit()
        self.tidy(self.add())
        self.here.commit()

    def tidy(self, number):
        """Tidy a lane up, as another process does, whose clock is right."""
        with unittest.mock.patch.object(
                random, 'sample', lambda numbers, count: [number]):
            transaction.begin()
            tidy.tidy(self.service.store)
            transaction.commit()

    def test_a_fork(self):
        """A child does not use the lanes of its parent."""
        self.add()
        self.here.commit()
        before = adder._process
        self.another_process()
        self.assertNotEqual(before, adder._process)
        self.assertEqual({}, dict(adder._spare))

    def test_spare_lanes(self):
        """There are always some that nobody uses."""
        worlds = [Opened(self) for _ in range(20)]
        for world in worlds:
            self.add(world)
        transaction.begin()
        free = len(self.service.store.lanes) - len(self.owners())
        self.assertGreaterEqual(free, lease.SPARE_LANES)

    def test_no_more_than_there_are_numbers_for(self):
        """When all numbers are used, lanes are shared."""
        number = lease.SPARE_LANES
        with unittest.mock.patch.object(numbering, 'MAX_LANES', number):
            worlds = [Opened(self) for _ in range(number + 4)]
            for world in worlds:
                self.add(world)
        transaction.begin()
        self.assertEqual(number, len(self.service.store.lanes))

    def test_two_that_lease_at_once(self):
        """Of two who lease the same lanes, the later one tries again."""
        lease_lanes, leases = adder.lease_lanes, []
        original = lease.take

        def take(store, *args):
            result = original(store, *args)
            leases.append(result)
            if len(leases) == 1:
                process, adder._process = adder._process, 'another'
                lease_lanes(self.service.store)
                adder._process = process
            return result
        transaction.begin()
        with unittest.mock.patch.object(lease, 'take', take):
            entries = lease_lanes(self.here.service.store)
        self.assertEqual(3, len(leases))
        owners = self.owners()
        self.assertEqual(4, len(owners))
        oids = {entry.oid for entry in entries}
        for number, owner in owners.items():
            self.assertEqual(
                owner == adder._process,
                self.service.store.lanes[number]._p_oid in oids)
