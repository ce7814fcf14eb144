"""The books of jobs at rest, on several shelves."""

import random

import transaction
from ZODB.POSException import ConflictError

from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.job import Job
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage.ledger import Ledger
from lovely.remotetask.storage.ledger import key_of
from lovely.remotetask.tests.fixture import DatabaseCase


def job_on(shelf, sequence=0, time=60.0, status=COMPLETED):
    """Return a job at rest whose id is that of a lane of a shelf."""
    number = shelf * numbering.LANES_AT_ONCE
    job = Job(numbering.make_id(sequence, number, 5), 'test.task', None)
    job.change_status(QUEUED)
    job.__dict__['status'] = status
    job.completed = time
    return job


class LedgerTest(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.ledger = self.connection.root()['ledger'] = Ledger()

    def listed(self, number=40):
        """List jobs on all shelves; return them by their times."""
        jobs = [job_on(each % numbering.SHELVES, each, 60.0 + each % 7)
                for each in range(number)]
        for job in random.sample(jobs, number):
            self.ledger.add(job)
            self.ledger.count(job.id, None, COMPLETED)
        transaction.commit()
        return sorted(jobs, key=key_of)

    def number(self, status=COMPLETED):
        """Return what the counts of all shelves add up to."""
        return sum(lengths[status]()
                   for lengths in self.ledger.counts.values())

    def test_shelves(self):
        """There is one from the beginning, all where that is too few."""
        self.ledger.add(job_on(0))
        self.assertEqual([0], list(self.ledger.jobs))
        for act in (lambda: self.ledger.add(job_on(3)),
                    lambda: self.ledger.count(
                        job_on(5).id, QUEUED, COMPLETED)):
            act()
            self.assertEqual(
                [*range(numbering.SHELVES)], sorted(self.ledger.jobs))
            self.assertEqual(
                [*range(numbering.SHELVES)], sorted(self.ledger.counts))
            self.ledger = Ledger()

    def test_nothing_there(self):
        """What is on no shelf is not listed, and makes none."""
        self.assertFalse(self.ledger.has(job_on(3)))
        self.assertFalse(self.ledger.take_out(ERROR, key_of(job_on(3))))
        self.ledger.count(job_on(3).id, QUEUED, QUEUED)
        self.assertEqual([0], list(self.ledger.jobs))

    def test_pages(self):
        """Jobs of all shelves are listed by time, from wherever one asks."""
        jobs = self.listed()
        found = [job for _, job in self.ledger.newest(COMPLETED)]
        self.assertEqual(jobs[::-1], found)
        for begin in range(len(jobs)):
            after = key_of(jobs[begin])
            self.assertEqual(jobs[:begin][::-1], [
                job for _, job in self.ledger.newest(COMPLETED, after)])

    def test_oldest(self):
        """Those are removed first that came to rest first, on any shelf."""
        jobs = self.listed()
        old = [job for job in jobs if key_of(job)[0] < 63]
        found = self.ledger.oldest(COMPLETED, 63)
        self.assertEqual(old, [job for _, job in found])
        some = self.ledger.oldest(COMPLETED, 63, {1, 2})
        self.assertEqual(
            [job for job in old if numbering.shelf_number(job.id) in (1, 2)],
            [job for _, job in some])

    def test_each_is_found(self):
        """A job is looked for on its own shelf."""
        for job in self.listed():
            self.assertTrue(self.ledger.has(job))
            self.assertTrue(self.ledger.take_out(COMPLETED, key_of(job)))
            self.assertFalse(self.ledger.has(job))
            self.ledger.count(job.id, COMPLETED, None)
        self.assertEqual(0, self.number())

    def test_swept(self):
        """All shelves are put aside at once, in one record."""
        jobs = self.listed()
        self.ledger.sweep(COMPLETED, self.number())
        self.assertEqual([self.ledger], self.connection._registered_objects)
        transaction.commit()
        self.assertEqual([], list(self.ledger.newest(COMPLETED)))
        self.assertTrue(all(map(self.ledger.is_swept, jobs)))
        swept, = self.ledger.swept
        self.assertEqual(len(jobs), len(swept.first(100)))
        self.assertEqual(3, len(swept.first(3)))

    def written_by_two(self, first, second):
        """List a job each in two transactions at a time; commit both."""
        self.listed()
        other = transaction.TransactionManager()
        connection = self.db.open(other)
        self.addCleanup(connection.close)
        self.addCleanup(other.abort)
        for ledger, job in ((self.ledger, first),
                            (connection.root()['ledger'], second)):
            ledger.add(job)
            ledger.count(job.id, QUEUED, COMPLETED)
        transaction.commit()
        other.commit()

    def test_two_shelves(self):
        """Who writes to one does not meet who writes to another."""
        self.written_by_two(job_on(1, 100, 99.0), job_on(2, 100, 99.0))
        transaction.begin()
        self.assertEqual(42, self.number())
        self.assertEqual(42, len(list(self.ledger.newest(COMPLETED))))

    def test_one_job(self):
        """Two that list the same job meet."""
        with self.assertRaises(ConflictError):
            self.written_by_two(job_on(1, 100, 99.0), job_on(1, 100, 99.0))

    def test_while_swept(self):
        """Who lists a job meets who puts all aside."""
        self.listed()
        other = transaction.TransactionManager()
        connection = self.db.open(other)
        self.addCleanup(connection.close)
        self.addCleanup(other.abort)
        connection.root()['ledger'].add(job_on(1, 100, 99.0))
        self.ledger.sweep(COMPLETED, 40)
        transaction.commit()
        with self.assertRaises(ConflictError):
            other.commit()
