"""Each worker has its share of the lanes, and they do not meet."""

import unittest.mock

import transaction

from lovely.remotetask.job import Run
from lovely.remotetask.storage import adder
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lease
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import share
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers


A, B, C = (f'host:{number}:processor:token' for number in range(3))
NOW = 4e9


class ShareCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.task(lambda input: None)
        # So each process is busy.
        patch = unittest.mock.patch.object(adder, 'BUSY', 2)
        patch.start()
        self.addCleanup(patch.stop)

    def enter(self, *worker_ids):
        for worker in worker_ids:
            workers(self.service).enter(worker, NOW)
        transaction.commit()

    def add_many(self, number=200, **arguments):
        return [self.add('test.task', **arguments) for _ in range(number)]

    def claim(self, worker, limit=50, own=True, service=None):
        claims = engine(service or self.service).claim(
            worker, limit, NOW, own=own)
        if service is None:
            transaction.commit()
        return [claim.job for claim in claims]

    def shelves_of(self, ids):
        return {numbering.shelf_number(jobid) for jobid in ids}


class SharesTest(ShareCase):

    def test_all_are_dealt_out(self):
        """Each shelf is somebody's; one alone has all."""
        ids = []
        for number in range(20):
            ids.append(f'host:{number}:processor:token')
            self.enter(ids[-1])
            shares = [share.shelves(self.service.store, each) for each in ids]
            self.assertEqual(
                set(range(numbering.SHELVES)), set().union(*shares))
            self.assertTrue(all(shares))
            if len(ids) <= numbering.SHELVES:
                self.assertEqual(numbering.SHELVES, sum(map(len, shares)))
                self.assertLessEqual(
                    max(map(len, shares)) - min(map(len, shares)), 1)

    def test_one_who_is_not_known_yet(self):
        """It has a share as if it were."""
        self.enter(A)
        before = share.shelves(self.service.store, B)
        self.enter(B)
        self.assertEqual(before, share.shelves(self.service.store, B))

    def test_of_a_job(self):
        """The id of a job tells whether it is of one's share."""
        self.enter(A, B)
        jobid = self.add('test.task')
        found = [workers(self.service).is_own(each, jobid) for each in (A, B)]
        self.assertEqual([False, True], sorted(found))


class ClaimTest(ShareCase):

    def test_the_only_worker(self):
        """It gets jobs as they were added, from whatever lanes."""
        ids = self.add_many()
        self.assertEqual(ids[:50], self.claim(A))
        self.assertEqual(ids[50:90], self.claim(A, 40))

    def test_two_workers_at_once(self):
        """They claim different jobs, settle them, and do not meet."""
        self.enter(A, B)
        self.add_many()
        # Whoever comes first makes the cursors, and shelves.
        opened = {A: Opened(self), B: Opened(self)}
        self.run_all(opened[A], C, self.claim(C, 200, own=False))
        workers(opened[A].service).stop_worker(C)
        opened[A].commit()
        self.add_many()
        opened[B].abort()
        found = {A: [], B: []}
        for _ in range(3):
            for worker, each in opened.items():
                self.run_all(each, worker, found[worker])
            for each in opened.values():
                each.abort()
            # All claims settled, and others made, at the same time.
            for worker, each in opened.items():
                engine(each.service).settle(worker, found[worker], now=NOW)
                found[worker] = self.claim(worker, 20, service=each.service)
            for each in opened.values():
                each.commit()
            self.assertEqual([20, 20], list(map(len, found.values())))
            self.assertFalse(self.shelves_of(found[A])
                             & self.shelves_of(found[B]))

    def run_all(self, opened, worker, ids):
        opened.abort()
        for jobid in ids:
            job = opened.service.jobs[jobid]
            job.succeed(Run(job.claim, NOW), None, NOW)
        opened.commit()

    def test_nothing_of_its_own(self):
        """It helps others, who begin elsewhere."""
        self.enter(A, B)
        ids = set(self.add_many())
        own = share.shelves(self.service.store, A)
        while found := self.claim(A):
            shelves = self.shelves_of(found)
            self.assertTrue(shelves <= own or len(shelves) == 1)
            ids -= set(found)
        self.assertEqual(set(), ids)

    def test_urgent_jobs_of_others(self):
        """They come before what is less urgent of one's own."""
        self.enter(A, B)
        self.add_many(100, priority=3)
        urgent = self.add_many(100, priority=7)
        left = set(urgent)
        while left:
            for worker in (A, B):
                found = self.claim(worker, 20)
                left -= set(found)
                if not set(found) <= set(urgent):
                    self.assertEqual(set(), left)

    def test_from_all(self):
        """Who looks around takes what was added first."""
        self.enter(A, B, C)
        ids = self.add_many()
        self.assertEqual(ids[:30], self.claim(B, 30, own=False))

    def test_is_behind(self):
        """Also where only others have something to do."""
        self.enter(A, B)
        jobid = self.add('test.task')
        for worker in (A, B):
            self.assertTrue(engine(self.service).is_behind(worker))
        self.assertEqual([jobid], self.claim(A))
        for worker in (A, B):
            self.assertFalse(engine(self.service).is_behind(worker))


class LanesTest(ShareCase):
    """A busy process adds to lanes of all shelves, where that helps."""

    def added(self, number=400):
        return self.shelves_of(self.add_many(number))

    def test_several_workers(self):
        """They are to have something each."""
        self.enter(A, B)
        self.assertEqual(set(range(numbering.SHELVES)), self.added())

    def test_many_jobs(self):
        """There will be several workers, perhaps."""
        self.assertEqual(set(range(numbering.SHELVES)), self.added())

    def test_nothing_waits(self):
        """One worker is all that is needed."""
        found = set()
        for _ in range(50):
            found |= self.shelves_of([self.add('test.task')])
            self.claim(A)
        self.assertEqual({0}, found)

    def test_now_and_then(self):
        """One job in a while needs no lanes of others."""
        self.enter(A, B)
        with unittest.mock.patch.object(
                adder.Spare, 'is_busy', return_value=False):
            self.assertEqual({0}, self.added(50))

    def test_many_processes(self):
        """Where lanes become scarce, none is taken without need."""
        self.enter(A, B)
        with unittest.mock.patch.object(lease, 'MANY_LANES', 10):
            self.assertEqual({0}, self.added(50))

    def test_what_fails(self):
        """The caller does not notice; it needs none of these lanes."""
        self.enter(A, B)
        take = lease.take

        def take_or_fail(*args):
            if args[5]:
                raise RuntimeError('the disk is full')
            return take(*args)
        with unittest.mock.patch.object(lease, 'take', take_or_fail):
            self.assertEqual({0}, self.added(50))

    def test_one_lane_for_a_while(self):
        """Jobs that follow each other are in one place."""
        self.enter(A, B)
        ids = self.add_many()
        lanes = [numbering.split_id(jobid)[1] for jobid in ids]
        changes = sum(one != two for one, two in zip(
            lanes, lanes[1:], strict=False))
        self.assertLess(changes, len(ids) / lane.SEGMENT_SIZE + 10)
