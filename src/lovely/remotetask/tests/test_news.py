"""Which commits of others make an idle processor look for jobs."""

import unittest.mock

import persistent.mapping
import transaction

from lovely.remotetask.interfaces import DEFAULT_PRIORITY
from lovely.remotetask.job import Run
from lovely.remotetask.running import quirks
from lovely.remotetask.storage import lease
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers


OTHER = 'host:2:other:token'

# Later than anything here.
NOW = 4e9


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

        A step in between does not see it.
        """
        before = self.db.storage.lastTransaction()
        self.service.add('test.task')
        transaction.commit()
        with unittest.mock.patch.object(
                quirks, 'last_transaction_heard_of', lambda db: before):
            self.made.idling.look()
            self.assertFalse(self.has_news())
        self.assertTrue(self.has_news())

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
        changes = self.made.idling._changes
        with unittest.mock.patch.object(changes, '_storage') as storage:
            self.made.idling.end()
        storage.release.assert_called_once_with()
        self.assertIsNone(self.made.idling._changes)
