"""All jobs of a status are removed, however many there are."""

import unittest.mock

import transaction

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.storage import cleaning
from lovely.remotetask.storage import lookup
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import B
from lovely.remotetask.tests.test_store import StoreCase


class CleaningCase(StoreCase):

    def setUp(self):
        super().setUp()
        patch = unittest.mock.patch.object(cleaning, 'FEW', 5)
        patch.start()
        self.addCleanup(patch.stop)

    def ended(self, count, input=None, settle=True):
        """Return the ids of jobs that have ended."""
        ids = [self.service.add('test.task', input) for _ in range(count)]
        transaction.commit()
        self.claim(count)
        self.finish(settle=settle)
        return ids

    def clean(self, *status):
        self.service.clean(status)
        transaction.commit()

    def drop(self, limit=7):
        """Let a processor drop what is to be dropped; return how often."""
        number = 0
        while upkeep(self.service).prune(limit, 0):
            number += 1
            transaction.commit()
            self.check_gone()
        return number

    def check_gone(self):
        transaction.begin()
        self.assertEqual(self.left, {status: number for status, number
                                     in self.service.counts().items()
                                     if number})
        number = sum(self.left.values())
        self.assertEqual(number, len(self.service.jobs))
        self.assertEqual(number, len(list(self.service.jobs)))
        self.assertEqual(number, len(self.service.find().jobs))
        for status in (COMPLETED, ERROR, CANCELLED):
            self.assertEqual(self.left.get(status, 0), len(
                self.service.find(status=status).jobs))


class ManyTest(CleaningCase):

    def test_gone_at_once(self):
        """They are in no status, page, mapping nor count."""
        ids = self.ended(40)
        self.ended(3, 'fail')
        self.left = {ERROR: 3}
        self.clean(COMPLETED)
        self.check_gone()
        for jobid in ids:
            self.assertNotIn(jobid, self.service.jobs)
            with self.assertRaises(KeyError):
                self.service.getStatus(jobid)
            self.assertFalse(self.service.cancel(jobid))
            with self.assertRaises(KeyError):
                self.service.remove(jobid)

    def test_dropped_in_slices(self):
        """Processors drop some at a time; nothing is left."""
        self.ended(40)
        self.left = {}
        self.clean(COMPLETED)
        self.assertEqual(6, self.drop())
        self.assertEqual((), self.service.store.ledger.swept)
        self.claim()
        for strand, _ in lookup.strands(self.service.store):
            for segment in strand.segments.values():
                self.assertEqual(not segment.full, bool(any(segment.jobs)))

    def test_little_is_written(self):
        """Who cleans writes one object, whatever the number of jobs."""
        self.ended(200)
        self.service.clean([COMPLETED])
        self.assertLessEqual(len(self.connection._registered_objects), 1)

    def test_added_and_ended_meanwhile(self):
        """Jobs that end later stay."""
        self.ended(20)
        self.clean(COMPLETED)
        ids = self.ended(8)
        self.left = {COMPLETED: 8}
        self.check_gone()
        self.drop()
        self.assertCountEqual(ids, self.service.jobs)

    def test_again(self):
        """What was cleaned before need not be dropped first."""
        self.ended(20)
        self.ended(20, 'fail')
        self.clean(COMPLETED)
        self.ended(10)
        self.left = {}
        self.clean(COMPLETED, ERROR)
        self.check_gone()
        self.drop()

    def test_changed_before(self):
        """Jobs that were requeued or removed before are not meant."""
        ids = self.ended(20, 'fail')
        self.service.requeue(ids[3])
        self.service.remove(ids[4])
        transaction.commit()
        self.left = {'queued': 1}
        self.clean(ERROR)
        self.check_gone()
        self.drop()
        self.check_gone()
        self.assertEqual([ids[3]], self.claim())

    def test_ends_at_the_same_moment(self):
        """A job that is settled while others clean is not lost."""
        self.ended(20)
        cleaner, other = Opened(self), Opened(self)
        cleaner.service.counts()
        jobid, = self.ended(1, settle=False)
        other.manager.begin()
        engine(other.service).settle(A, [jobid])
        # It sees the job as it was before.
        cleaner.service.clean([COMPLETED])
        cleaner.commit()
        with self.assertRaises(transaction.interfaces.TransientError):
            other.commit()
        other.abort()
        engine(other.service).settle(A, [jobid])
        other.commit()
        self.left = {COMPLETED: 1}
        self.check_gone()
        self.drop()
        self.assertEqual([jobid], list(self.service.jobs))

    def test_unreadable(self):
        """It does not matter whether they can be read."""
        ids = self.ended(20)
        self.service.jobs[ids[3]].__dict__['created'] = 'never'
        self.service.jobs[ids[3]]._p_changed = True
        transaction.commit()
        self.connection.cacheMinimize()
        self.left = {}
        self.clean(COMPLETED)
        self.check_gone()
        self.drop()
        self.check_gone()

    def test_unreadable_since(self):
        """Nor whether they can be read when they were cleaned."""
        ids = self.ended(20)
        self.clean(COMPLETED)
        for number, (name, value) in enumerate((
                ('id', 0), ('status', 'odd'), ('created', 'never'))):
            job = self.service.store.read(
                lookup.record, self.service.store, ids[number]).value
            job._p_activate()
            job.__dict__[name] = value
            job._p_changed = True
        transaction.commit()
        self.connection.cacheMinimize()
        self.left = {}
        self.check_gone()
        self.drop(3)
        self.check_gone()


class FewTest(CleaningCase):

    def test_one_by_one(self):
        """Few are removed like any others: no processor is met."""
        self.ended(4)
        self.ended(4, 'fail')
        other = Opened(self)
        other.service.clean()
        self.ended(3)
        other.commit()
        transaction.begin()
        self.check_counts()
        self.assertEqual(3, len(self.service.jobs))

    def test_not_listed_yet(self):
        """Those that processors have not listed are removed, too."""
        self.ended(3, settle=False)
        for _ in range(3):
            self.service.cancel(self.add('test.task'))
        transaction.commit()
        self.left = {}
        self.clean(COMPLETED, CANCELLED)
        self.check_gone()
        engine(self.service).settle(A, workers(self.service).claimed_ids(A))
        self.claim(worker=B)
        self.check_gone()


class MemoryTest(CleaningCase):

    def test_without_a_database(self):
        """So it is without a database, and without a processor."""
        service = TaskService()
        for _ in range(20):
            service.add('test.task')
        service.process(NOW)
        service.clean()
        self.assertEqual({}, dict(service.jobs))
        self.assertEqual(0, len(service.jobs))
        service.add('test.task')
        service.process(NOW)
        self.assertEqual(1, service.counts()[COMPLETED])
