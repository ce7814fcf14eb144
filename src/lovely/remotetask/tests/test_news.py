"""Which commits of others make an idle processor look for jobs."""

import threading
import time
import unittest.mock

import persistent.mapping
import transaction

from lovely.remotetask.interfaces import DEFAULT_PRIORITY
from lovely.remotetask.job import Run
from lovely.remotetask.running import idling
from lovely.remotetask.running import quirks
from lovely.remotetask.storage import lease
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_shared import SHORT


OTHER = 'host:2:other:token'

# Later than anything here.
NOW = 4e9


class Waits(Exception):
    """Nothing has ended the wait."""


class NewsCase(DatabaseCase):
    """A processor of a database that tells of each commit, as ZEO does."""

    def setUp(self):
        super().setUp()
        self.task(Calls())
        self.enterContext(unittest.mock.patch.object(
            quirks, 'last_transaction_heard_of',
            lambda db: db.storage.lastTransaction()))
        self.made = self.processor()
        self.addCleanup(self.made.idling.end)
        self.addCleanup(self.made.team.join, int)
        self.addCleanup(self.made.team.end)
        self.addCleanup(self.made.stop)

    def rest(self):
        """Make steps until nothing is heard of these themselves."""
        for _ in range(5):
            self.made.idling.look()
            self.made.step()
            if not self.made.idling.has_news():
                return
        self.fail('it does not come to rest')

    def has_news(self):
        return self.made.idling.has_news()


class CommitTest(NewsCase):

    def setUp(self):
        super().setUp()
        self.cancelled = self.service.add('test.task')
        self.service.cancel(self.cancelled)
        self.delayed = self.service.addCronJob('test.task', delay=3600)
        transaction.commit()
        self.rest()

    def check(self, change, expected):
        self.assertFalse(self.has_news())
        change()
        self.assertFalse(self.has_news())
        transaction.commit()
        self.assertEqual(expected, self.has_news())
        self.assertEqual(expected, self.has_news(), 'it is forgotten')
        transaction.begin()
        # If nothing was heard, there is nothing.
        found = engine(self.service).claim(OTHER, 50, NOW)
        transaction.abort()
        if not expected:
            self.assertEqual([], [claim for claim in found
                                  if claim.job != self.delayed])

    def test_of_callers(self):
        """Whatever they let the service do is noticed."""
        for change in (
                lambda: self.service.add('test.task'),
                lambda: self.service.add(
                    'test.task', priority=DEFAULT_PRIORITY + 1),
                lambda: self.service.add('test.task', delay=60),
                lambda: self.service.requeue(self.cancelled),
                lambda: self.service.reschedule(self.delayed),
                lambda: self.service.cancel(self.delayed)):
            with self.subTest(change):
                self.check(change, True)
                self.doCleanups()
                self.setUp()

    def test_in_a_new_lane(self):
        """Of a process that has not added before."""
        lease.add_lane(self.service.store)
        transaction.commit()
        self.rest()
        store = self.service.store
        number = max(store.lanes)

        def add():
            with unittest.mock.patch(
                    'lovely.remotetask.storage.adder.lane_of_transaction',
                    return_value=store.lanes[number]):
                self.service.add('test.task')
        self.check(add, True)

    def test_lanes(self):
        self.check(lambda: lease.add_lane(self.service.store), True)

    def test_service(self):
        def pause():
            self.service.paused = True
        self.check(pause, True)

    def test_of_others(self):
        """What has nothing to do with it costs nothing."""
        root = self.service._p_jar.root()
        root['other'] = persistent.mapping.PersistentMapping()
        transaction.commit()
        self.rest()
        self.check(lambda: root['other'].update(number=1), False)

    def claimed(self):
        """Let another worker claim a job.  Return the claim."""
        self.service.add('test.task')
        transaction.commit()
        claim, = engine(self.service).claim(OTHER, 1, NOW)
        transaction.commit()
        self.rest()
        return claim

    def test_of_another_worker(self):
        """It has claimed a job, runs it, and settles the claim."""
        claim = self.claimed()

        def complete():
            found = engine(self.service)
            found.complete(
                found.claimed(claim), Run(claim, NOW), None, NOW)

        def settle():
            engine(self.service).settle(OTHER, [claim.job], [claim.job], NOW)
        for change in (lambda: workers(self.service).beat(OTHER, NOW),
                       complete, settle):
            self.check(change, False)
            self.rest()

    def test_given_back(self):
        """A job that another worker had claimed may be claimed again."""
        claim = self.claimed()
        self.check(lambda: engine(self.service).settle(
            OTHER, [claim.job], [], NOW), True)

    def test_told_late(self):
        """What is changed is heard before the transaction is told of.

        Connections show it by then.
        """
        before = self.db.storage.lastTransaction()
        jobid = self.service.add('test.task')
        transaction.commit()
        self.enterContext(unittest.mock.patch.object(
            self.db._mvcc_storage._storage, 'lastTransaction',
            lambda: before))
        self.assertTrue(self.has_news())
        with unittest.mock.patch.object(self.made.claims, 'add') as add:
            self.made.idling.look()
            self.made.step()
        self.assertEqual(
            [jobid], [claim.job for claim in add.call_args.args[0]])

    def test_told_one_by_one(self):
        """It goes on when all connections are told of a commit."""
        changes = self.made.idling._changes
        taken = threading.Event()
        thread = threading.Thread(
            target=lambda: (changes.take(), taken.set()), daemon=True)
        with self.db._mvcc_storage._lock:
            # As if it were the first one.
            changes._storage._invalidate(b'87654321', [b'12345678'])
            thread.start()
            self.assertFalse(taken.wait(SHORT))
        self.assertTrue(taken.wait(PATIENCE))

    def test_locks(self):
        """The storage is not asked meanwhile: who commits has its lock."""
        adapter, held = self.db._mvcc_storage, []
        ask = adapter._storage.lastTransaction
        with unittest.mock.patch.object(
                adapter._storage, 'lastTransaction',
                lambda: held.append(adapter._lock.locked()) or ask()):
            self.made.idling._changes.take()
        self.assertEqual([False], held)

    def test_nobody_can_tell(self):
        """After a claim, or where records cannot be read, all is news."""
        with unittest.mock.patch(
                'lovely.remotetask.storage.lookup.watched',
                side_effect=KeyError):
            self.made.idling.look()
            self.made.step()
        self.assertIsNone(self.made.claimer.watched)
        self.service._p_jar.root()['other'] = 1
        transaction.commit()
        self.assertTrue(self.has_news())

    def test_kept_back(self):
        """What is due and not claimed may be claimed after any commit."""
        with unittest.mock.patch.object(
                type(self.made.membership.clock), 'is_good',
                unittest.mock.PropertyMock(return_value=False)):
            self.made.idling.look()
            self.made.step()
        self.assertIsNone(self.made.claimer.watched)
        self.made.idling.look()
        self.made.step()
        self.assertIsNotNone(self.made.claimer.watched)

    def test_while_there_is_enough_to_run(self):
        """What is heard then is remembered."""
        with unittest.mock.patch.object(
                type(self.made.claims), 'waiting',
                unittest.mock.PropertyMock(return_value=1000)):
            self.service.add('test.task')
            transaction.commit()
            self.assertFalse(self.has_news())
        self.assertTrue(self.has_news())

    def test_end(self):
        """Nothing is kept for it afterwards."""
        told = self.made.idling._changes._storage
        self.assertIn(told, self.db._mvcc_storage._instances)
        self.made.idling.end()
        self.assertIsNone(self.made.idling._changes)
        self.assertNotIn(told, self.db._mvcc_storage._instances)


class CallTest(NewsCase):
    """Whoever changes what is watched calls; nobody looks meanwhile."""

    def setUp(self):
        super().setUp()
        self.rest()
        self.made.idling._compare_claims()
        self.waits = []
        self.enterContext(unittest.mock.patch.object(
            self.made.idling._call, 'wait', self.wait))

    def wait(self, seconds):
        self.waits.append(seconds)
        looks_then = self.change()
        if not (looks_then or self.made.idling._call.is_set()):
            raise Waits

    def is_called(self):
        return self.made.idling._is_called(1000.0)

    def test_added(self):
        def add():
            self.service.add('test.task')
            transaction.commit()
        self.change = add
        self.assertTrue(self.is_called())
        self.assertEqual([idling.TAKE], self.waits)

    def test_nothing_is_kept(self):
        """What others change meanwhile is forgotten now and then."""
        heard = self.made.idling._changes._storage._invalidations

        def commit():
            self.assertEqual(set(), heard)
            self.service._p_jar.root()['other'] = 1
            transaction.commit()
            self.assertNotEqual(set(), heard)
            return len(self.waits) < 3
        self.change = commit
        with self.assertRaises(Waits):
            self.is_called()

    def test_just_before(self):
        """What is changed while it looks ends the wait that follows."""
        has_news = self.made.idling.has_news

        def has_no_news_yet():
            found = has_news()
            if not self.waits:
                self.service.add('test.task')
                transaction.commit()
            return found
        self.change = int
        with unittest.mock.patch.object(
                self.made.idling, 'has_news', has_no_news_yet):
            self.assertTrue(self.is_called())

    def test_before_it_waits(self):
        """Since the last step."""
        self.service.add('test.task')
        transaction.commit()
        self.assertTrue(self.is_called())
        self.assertEqual([], self.waits)

    def test_of_others(self):
        """It goes on waiting."""
        def commit():
            self.service._p_jar.root()['other'] = 1
            transaction.commit()
        self.change = commit
        with self.assertRaises(Waits):
            self.is_called()

    def test_all_may_have_changed(self):
        """A client of ZEO has lost its cache; the transaction comes later."""
        def lose():
            self.db._mvcc_storage.invalidateCache()
            self.change = commit

        def commit():
            self.service._p_jar.root()['other'] = 1
            transaction.commit()
            return True
        self.change = lose
        self.assertTrue(self.is_called())
        self.assertEqual(idling.LOOK, self.waits[1])

    def test_nobody_can_tell(self):
        """It looks soon again where it does not know what is of use."""
        self.change = int
        for what, owner, name in (
                ('what is watched', self.made.claimer, 'watched'),
                ('the changes', self.made.idling, '_changes')):
            with self.subTest(what), \
                    unittest.mock.patch.object(owner, name, None):
                self.made.idling._seen = self.db.storage.lastTransaction()
                with self.assertRaises(Waits):
                    self.is_called()
                self.assertEqual(idling.LOOK, self.waits.pop())

    def test_others_are_quicker(self):
        """Who gets none of the jobs that are added looks 50 times a second.

        Otherwise all idle processors would try to claim each job.
        """
        idle = self.made.idling
        idle._compare_claims()

        def add():
            self.service.add('test.task')
            transaction.commit()
        add()
        idle._looked = time.monotonic()
        self.assertFalse(self.has_news())
        self.assertTrue(idle._has_to_look())
        idle._looked -= idling.LOOK
        self.assertTrue(self.has_news())

    def test_told_too_soon(self):
        self.made.idling._compare_claims()
        self.change = int
        self.made.idling.hear()
        with self.assertRaises(Waits):
            self.is_called()
        self.assertEqual(idling.LOOK, self.waits.pop())

    def test_another_adapter(self):
        """A ZODB that tells in another way is looked at."""
        idle = self.made.idling
        idle._hear_no_changes()
        with unittest.mock.patch.object(
                self.db, '_mvcc_storage', object()):
            idle.look()
        self.assertIsNone(idle._changes)
        self.assertTrue(idle._has_to_look())
