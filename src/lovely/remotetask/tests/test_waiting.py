"""Since when the job waits that waits longest."""

import time

import transaction

from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.storage.source import commit_time
from lovely.remotetask.tests.fixture import DatabaseCase


class OldestWaitingTest(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.task(lambda input: None)

    def oldest(self, now=None):
        transaction.begin()
        before = self.service.store._p_serial
        found = self.service.oldest_waiting(now)
        self.assertFalse(self.connection._registered_objects)
        self.assertEqual(before, self.service.store._p_serial)
        return found

    def test_promised(self):
        """The method is part of the interface."""
        self.assertIn('oldest_waiting', ITaskService)

    def test_nothing_waits(self):
        """Without a job there is no time, nor for one that has ended."""
        self.assertIsNone(self.oldest())
        self.service.cancel(self.add('test.task'))
        transaction.commit()
        self.assertIsNone(self.oldest())

    def test_queued(self):
        """A queued job waits since it was committed; the first one counts."""
        first = self.add('test.task')
        self.add('test.task')
        self.add('test.task', priority=9)
        self.assertEqual(commit_time(self.job(first)), self.oldest())

    def test_claimed(self):
        """A job that is claimed does not wait."""
        self.add('test.task')
        self.assertIsNotNone(self.processor().claimNextJob())
        self.assertIsNone(self.oldest())

    def test_behind_others(self):
        """Entries that are nothing to claim are passed."""
        self.service.cancel(self.add('test.task'))
        self.add('test.task', startLater=True)
        later = self.add('test.task')
        self.assertEqual(commit_time(self.job(later)), self.oldest())

    def test_scheduled(self):
        """A job with a delay waits since it is due."""
        self.add('test.task', delay=60)
        self.assertFalse(self.processor().hasJobsWaiting())
        now = time.time()
        self.assertIsNone(self.oldest(now))
        self.assertAlmostEqual(now + 60, self.oldest(now + 100), delta=10)

    def test_handed_back(self):
        """A job that was handed back has waited since it was queued."""
        jobid = self.add('test.task')
        processor = self.processor()
        processor.claimNextJob()
        processor._hand_back(transaction.commit)
        self.assertEqual(commit_time(self.job(jobid)), self.oldest())
