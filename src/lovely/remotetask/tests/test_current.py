"""Which transaction a change becomes part of; where there is none."""

import unittest.mock

import transaction
import ZODB
import ZODB.DemoStorage
from transaction.interfaces import TransactionFailedError
from ZODB.POSException import ReadOnlyError
from zope.app.publication.zopepublication import ZopePublication

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import NoTransaction
from lovely.remotetask.tests import fixture
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import QuietProcessor
from lovely.remotetask.tests.test_store import StoreCase


class Failing:
    """A data manager that cannot commit."""

    transaction_manager = None

    def __init__(self, at='commit'):
        self.at = at

    def sortKey(self):
        return '~'

    def __getattr__(self, name):
        if name not in ('tpc_begin', 'commit', 'tpc_vote', 'tpc_finish',
                        'tpc_abort', 'abort'):
            raise AttributeError(name)

        def step(txn):
            if name == self.at:
                raise OSError('as told')
        return step


class Calling(Failing):
    """A data manager that calls something while the transaction commits."""

    def __init__(self, at, call):
        self.at = at
        self.call = call

    def __getattr__(self, name):
        step = super().__getattr__(name)
        return (lambda txn: self.call()) if name == self.at else step


class CurrentCase(StoreCase):

    def setUp(self):
        super().setUp()
        # Of a job with each status of which something can be done.
        self.failed = self.add('test.task', 'fail')
        self.claim()
        self.finish()
        self.later = self.add('test.task', startLater=True)
        self.cron = self.service.addCronJob('test.task', minute=(10,))
        self.waiting = self.add('test.task')
        self.here = Opened(self)
        self.here.service.counts()

    def changes(self, service):
        """Return all that changes a service, as functions by name."""
        return {
            'add': lambda: service.add('test.task', 'new'),
            'addCronJob': lambda: service.addCronJob('test.task', delay=5),
            'startJob': lambda: service.startJob(self.later),
            'reschedule': lambda: service.reschedule(self.cron),
            'requeue': lambda: service.requeue(self.failed),
            'cancel': lambda: service.cancel(self.waiting),
            'remove': lambda: service.remove(self.failed),
            'clean': lambda: service.clean(),
            'process': lambda: service.process(0),
            'processNext': lambda: service.processNext(0, self.waiting),
            'claimNextJob': lambda: service.claimNextJob(0),
            'hasJobsWaiting': lambda: service.hasJobsWaiting(0),
        }

    def refused(self, service, advice='', error=NoTransaction):
        """Check that each call is refused and nothing changed in memory."""
        for name, call in self.changes(service).items():
            with self.subTest(name), self.assertRaisesRegex(error, advice):
                call()

    def check_unchanged(self):
        """Check that nothing was stored, and that all goes on."""
        for world in (self.here, Opened(self)):
            world.manager.abort()
            world.manager.begin()
            service = world.service
            self.assertEqual(4, len(service.jobs))
            self.assertEqual(
                [ERROR, 'start later', 'cronjob', QUEUED],
                [service.getStatus(jobid) for jobid in (
                    self.failed, self.later, self.cron, self.waiting)])
        self.assertIn(self.here.add('test.task'), self.claim())
        self.check_counts()


class RefusedTest(CurrentCase):

    def test_failed(self):
        """In a transaction that has failed nothing is begun any more."""
        self.here.manager.get().join(Failing())
        with self.assertRaises(OSError):
            self.here.manager.commit()
        self.refused(self.here.service, 'has failed; abort it')
        self.check_unchanged()

    def test_failed_savepoint(self):
        """Nor where a savepoint has failed."""
        self.here.manager.get().join(Failing())
        with self.assertRaises(TypeError):
            self.here.manager.savepoint()
        with self.assertRaises(TransactionFailedError):
            self.here.manager.savepoint()
        self.refused(self.here.service, 'has failed; abort it')
        self.check_unchanged()

    def test_hooks_after_the_commit(self):
        """A transaction that has ended takes nothing."""
        met = []

        def hook(committed):
            self.refused(self.here.service, 'has ended')
            met.append(committed)
        for _ in range(2):
            self.here.service._p_changed = True
            self.here.manager.get().addAfterCommitHook(hook)
            self.here.manager.commit()
        self.assertEqual([True, True], met)
        self.check_unchanged()

    def test_hooks_after_a_call(self):
        """Also if it has taken a call before, and so has a lane."""
        jobid = self.here.service.add('test.task', 'first')
        self.here.manager.get().addAfterCommitHook(
            lambda committed: self.refused(self.here.service, 'has ended'))
        self.here.manager.commit()
        transaction.begin()
        self.assertTrue(self.service.remove(jobid))
        transaction.commit()
        self.check_unchanged()

    def test_hooks_after_an_abort(self):
        """So it is when it was aborted."""
        met = []

        def hook():
            self.refused(self.here.service, 'has ended')
            met.append(True)
        self.here.service.cancel(self.waiting)
        self.here.manager.get().addAfterAbortHook(hook)
        self.here.manager.abort()
        self.assertEqual([True], met)
        self.check_unchanged()

    def test_while_it_commits(self):
        """While others commit it is too late, whatever the step."""
        for at in ('tpc_begin', 'commit', 'tpc_vote', 'tpc_finish'):
            with self.subTest(at):
                self.here.manager.begin()
                self.here.manager.get().join(Calling(
                    at, lambda: self.refused(
                        self.here.service, 'being ended')))
                self.here.service._p_changed = True
                self.here.manager.commit()
        self.check_unchanged()

    def test_none_has_begun(self):
        """An explicit manager has a transaction once one is begun."""
        manager = transaction.TransactionManager(explicit=True)
        connection = self.db.open(manager)
        manager.begin()
        service = connection.root()['Application']['tasks']
        service.counts()
        manager.abort()
        self.refused(service, r'call its begin\(\)')
        manager.begin()
        manager.abort()
        connection.close()
        self.check_unchanged()

    def test_read_only(self):
        """Where the database cannot be written to, as in a replica."""
        with unittest.mock.patch.object(
                self.here.connection, 'isReadOnly', lambda: True):
            self.refused(self.here.service, 'is read-only', ReadOnlyError)
            self.assertFalse(self.here.connection._registered_objects)
        self.check_unchanged()

    def test_earlier_state(self):
        """Nor what is shown as it was at some time."""
        manager = transaction.TransactionManager()
        before = self.db.open(manager, at=self.db.lastTransaction())
        self.addCleanup(before.close)
        self.addCleanup(manager.abort)
        service = before.root()[ZopePublication.root_name]['tasks']
        self.refused(service, 'is read-only', ReadOnlyError)
        self.check_unchanged()

    def test_a_server_that_is_away(self):
        """It may be back before the commit, and is not said to be read-only.
        """
        with unittest.mock.patch.object(
                self.here.connection, 'isReadOnly', lambda: True), \
                unittest.mock.patch.object(
                    self.here.connection.db().storage, 'is_connected',
                    lambda: False, create=True):
            self.here.service.add('test.task')
        self.here.commit()

    def test_a_closed_connection(self):
        """A connection that was closed changes nothing any more."""
        connection = self.db.open(transaction.TransactionManager())
        service = connection.root()['Application']['tasks']
        service.counts()
        connection.close()
        self.refused(service, 'is closed; open one')
        self.check_unchanged()

    def test_a_closed_database(self):
        """Nor does one of a database that was closed."""
        db = ZODB.DB(ZODB.DemoStorage.DemoStorage())
        fixture.fill(db)
        connection = db.open()
        service = connection.root()['Application']['tasks']
        service.counts()
        transaction.abort()
        db.close()
        with self.assertRaises(NoTransaction):
            service.add('test.task')


class RightTest(CurrentCase):

    def test_hooks_before_the_commit(self):
        """What is called there is part of the transaction."""
        added = []

        def hook():
            added.append(self.here.service.add('test.task'))
            self.here.service.cancel(self.waiting)
        self.here.manager.get().addBeforeCommitHook(hook)
        self.here.service._p_changed = True
        self.here.manager.commit()
        self.assertEqual(QUEUED, self.job(added[0]).status)
        self.assertEqual(CANCELLED, self.job(self.waiting).status)
        self.check_counts()

    def test_synchronizers(self):
        """So it is for one who is told before."""
        test = self

        class Synchronizer:
            def newTransaction(self, txn):
                pass

            def afterCompletion(self, txn):
                pass

            def beforeCompletion(self, txn):
                test.here.service.add('test.task')
        each = Synchronizer()
        self.here.manager.registerSynch(each)
        self.here.manager.commit()
        self.here.manager.unregisterSynch(each)
        transaction.begin()
        self.assertEqual(5, len(self.service.jobs))

    def test_doomed(self):
        """A doomed transaction may do as if; nothing of it stays."""
        self.here.manager.get().doom()
        for name, call in self.changes(self.here.service).items():
            if not name.startswith('process'):
                call()
        self.here.manager.abort()
        self.check_unchanged()

    def test_the_managers_of_others(self):
        """The thread's own transaction has no part in it."""
        quiet = self.quiet_processor()
        transaction.abort()
        transaction.manager.explicit = True
        try:
            self.here.manager.begin()
            for name in ('add', 'startJob', 'cancel', 'reschedule'):
                self.changes(self.here.service)[name]()
            self.assertEqual(0, quiet.woken)
            self.here.manager.commit()
            self.assertLessEqual(1, quiet.woken)
        finally:
            transaction.manager.explicit = False
        self.assertEqual(CANCELLED, self.job(self.waiting).status)
        self.check_counts()

    def quiet_processor(self):
        from lovely.remotetask.running import registry
        quiet = self.processor(QuietProcessor)
        quiet.place = self.jobs_db, self.service._p_oid
        registry.start_processor(quiet)
        self.addCleanup(registry.stop_all, 0)
        return quiet

    def test_a_rolled_back_savepoint(self):
        """What was done since is forgotten, also by those who are told."""
        told = []
        quiet = self.quiet_processor()
        quiet.added = lambda jobs: told.extend(job.id for job in jobs)
        kept = self.here.service.add('test.task', 'kept')
        savepoint = self.here.manager.savepoint()
        lost = self.here.service.add('test.task', 'lost')
        self.here.service.cancel(self.waiting)
        savepoint.rollback()
        self.assertNotIn(lost, self.here.service.jobs)
        self.here.manager.commit()
        self.assertEqual([kept], told)
        self.assertEqual(QUEUED, self.job(self.waiting).status)
        self.check_counts()
