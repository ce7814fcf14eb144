"""Callers whose connection has a transaction manager of its own."""

import transaction

from lovely.remotetask.running import registry
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import QuietProcessor


class OwnManagerTest(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.task(lambda input: None)
        self.service.processorFactory = QuietProcessor
        self.service.startProcessing()
        self.addCleanup(registry.stop_all, 0)
        transaction.commit()
        self.processor = registry._find(self.service)
        self.processor.woken = 0

    def test_its_commit_wakes(self):
        """The processor is told when that manager commits, not before."""
        own = Opened(self)
        own.service.add('test.task')
        transaction.commit()
        self.assertEqual(0, self.processor.woken)
        own.commit()
        self.assertEqual(1, self.processor.woken)

    def test_nothing_is_left_in_the_threads_transaction(self):
        """That may never end; it would keep each job alive."""
        own = Opened(self)
        for _ in range(3):
            own.add('test.task')
        self.assertFalse(getattr(transaction.get(), '_data', None))

    def test_the_thread_has_no_transaction(self):
        """A thread whose manager is explicit has none, and needs none."""
        transaction.abort()
        outer = transaction.manager.manager
        transaction.manager.manager = transaction.TransactionManager(
            explicit=True)
        try:
            own = Opened(self)
            jobid = own.add('test.task')
            own.service.cancel(jobid)
            own.commit()
            own.service.requeue(jobid)
            own.commit()
        finally:
            transaction.manager.manager = outer
        self.assertEqual('queued', self.job(jobid).status)
        self.assertEqual(2, self.processor.woken)
