"""The same done to many jobs, in small transactions."""

import unittest.mock

import transaction

from lovely.remotetask import bulk
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.test_store import StoreCase


class BulkTest(StoreCase):

    def setUp(self):
        super().setUp()
        patch = unittest.mock.patch.object(bulk, 'BATCH', 10)
        patch.start()
        self.addCleanup(patch.stop)

    def filled(self, count, input=None, run=True):
        ids = [self.service.add('test.task', input) for _ in range(count)]
        transaction.commit()
        if run:
            self.claim(count)
            self.finish()
        return ids

    def apply(self, *args, **kw):
        done = bulk.apply(self.service, *args, **kw)
        transaction.begin()
        self.check_counts()
        return done

    def test_requeue(self):
        """All failed jobs wait again, and only they."""
        failed = self.filled(35, 'fail')
        self.filled(3)
        self.assertEqual(35, self.apply('requeue', status=ERROR))
        self.assertEqual(
            {QUEUED}, {self.service.getStatus(jobid) for jobid in failed})
        self.assertEqual(3, self.service.counts()[COMPLETED])
        self.assertCountEqual(failed, self.claim())

    def test_cancel(self):
        """All queued jobs are cancelled."""
        ids = self.filled(35, run=False)
        self.assertEqual(35, self.apply('cancel', status=QUEUED))
        self.assertEqual(
            {CANCELLED}, {self.service.getStatus(jobid) for jobid in ids})

    def test_remove(self):
        """All that are selected are removed."""
        self.filled(35)
        kept = self.filled(5, 'fail')
        self.assertEqual(35, self.apply('remove', status=COMPLETED))
        self.assertCountEqual(kept, self.service.jobs)

    def test_remove_all(self):
        """Without a selection all jobs are meant; those that run stay."""
        self.filled(12, run=False)
        self.claim(2)
        self.assertEqual(10, self.apply('remove'))
        self.assertEqual([PROCESSING] * 2, [
            job.status for job in self.service.jobs.values()])

    def test_nothing_to_do(self):
        """What an action means nothing to is left alone, and not counted."""
        self.filled(5)
        self.assertEqual(0, self.apply('cancel', status=COMPLETED))
        self.assertEqual(5, self.service.counts()[COMPLETED])

    def test_progress(self):
        """After each small transaction it tells how many are done."""
        self.filled(25, 'fail')
        told = []
        before = self.jobs_db.lastTransaction()
        self.apply('requeue', status=ERROR, progress=told.append)
        self.assertEqual([10, 20, 25], told[:3])
        self.assertEqual(sorted(told), told)
        records = [record for record in self.jobs_db.storage.iterator()
                   if record.tid > before]
        self.assertGreaterEqual(len(records), 3)

    def test_a_conflict(self):
        """A batch that meets a conflict is done again, as a whole."""
        ids = self.filled(15, 'fail')
        other = Opened(self)
        type_ = type(self.service)
        original, met = type_.requeue, []

        def requeue(service, jobid):
            if not met:
                met.append(jobid)
                original(other.service, jobid)
                other.commit()
            return original(service, jobid)
        with unittest.mock.patch.object(type_, 'requeue', requeue):
            self.assertEqual(14, self.apply('requeue', status=ERROR))
        self.assertCountEqual(ids, self.claim())

    def test_bad_input(self):
        """An unknown action or status is refused, and nothing changed."""
        self.filled(3, run=False)
        with self.assertRaisesRegex(ValueError, "'explode'"):
            self.apply('explode')
        with self.assertRaisesRegex(ValueError, "'asleep'"):
            self.apply('cancel', status='asleep')
        with self.assertRaises(TypeError):
            self.apply('cancel', colour='red')
        self.assertEqual(3, self.service.counts()[QUEUED])
