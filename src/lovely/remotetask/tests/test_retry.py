"""What is tried again: pauses, loops, and private transactions."""

import unittest
import unittest.mock

import transaction
import ZODB
from transaction.interfaces import TransientError

from lovely.remotetask import retry
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import Pauses
from lovely.remotetask.retry import again
from lovely.remotetask.retry import doubled
from lovely.remotetask.retry import in_private_transaction
from lovely.remotetask.retry import private_connection


class PausesTest(unittest.TestCase):

    def test_doubled(self):
        """Twice as long each time, up to the longest."""
        pauses = Pauses(1.0, 5.0)
        self.assertEqual([1.0, 2.0, 4.0, 5.0, 5.0],
                         [pauses.next() for _ in range(5)])
        pauses.reset()
        self.assertEqual(1.0, pauses.next())

    def test_spread(self):
        """By so much a pause may be shorter, never longer."""
        for spread in (0.5, 1.0):
            found = {doubled(1.0, 8.0, 2, spread) for _ in range(50)}
            self.assertGreater(len(found), 10)
            self.assertTrue(all(
                4.0 * (1 - spread) <= each <= 4.0 for each in found))

    def test_any_number(self):
        """Also one that is no float any more."""
        self.assertEqual(30.0, doubled(0.1, 30.0, 10 ** 6))


class AgainTest(unittest.TestCase):

    def setUp(self):
        self.slept = []
        self.enterContext(unittest.mock.patch.object(
            retry.time, 'sleep', self.slept.append))
        self.failures = []

    def call(self):
        return outcome_of(self._call)

    def _call(self):
        if self.failures:
            raise self.failures.pop()
        return 'value'

    def test_at_once(self):
        self.assertEqual('value', again(self.call, 3, Pauses(1.0, 2.0)))
        self.assertEqual([], self.slept)

    def test_transient(self):
        """After a pause each."""
        self.failures = [TransientError(), TransientError()]
        self.assertEqual('value', again(self.call, 3, Pauses(1.0, 9.0)))
        self.assertEqual([1.0, 2.0], self.slept)

    def test_without_pauses(self):
        self.failures = [TransientError()]
        self.assertEqual('value', again(self.call, 2))
        self.assertEqual([], self.slept)

    def test_last(self):
        """Nobody waits after that."""
        self.failures = [TransientError()] * 3
        with self.assertRaises(TransientError):
            again(self.call, 3, Pauses(1.0, 9.0))
        self.assertEqual([1.0, 2.0], self.slept)
        self.assertEqual([], self.failures)

    def test_others(self):
        """What does not pass is raised at once."""
        self.failures = [TransientError(), ValueError()]
        with self.assertRaises(ValueError):
            again(self.call, 3)
        self.assertEqual(1, len(self.failures))

    def test_patience(self):
        """Where each takes too long, it is not tried as often."""
        self.failures = [TransientError()] * 9
        with unittest.mock.patch.object(
                retry.time, 'monotonic', iter(range(0, 99, 4)).__next__), \
                self.assertRaises(TransientError):
            again(self.call, 9, patience=10.0)
        self.assertEqual(6, len(self.failures))

    def test_without_a_transaction(self):
        """The thread may have none that could be asked."""
        self.failures = [TransientError()]
        transaction.abort()
        with unittest.mock.patch.object(
                transaction.manager, 'manager',
                transaction.TransactionManager(explicit=True)):
            self.assertEqual('value', again(self.call, 2))


class PrivateTest(unittest.TestCase):

    def setUp(self):
        self.db = ZODB.DB(None)
        self.addCleanup(self.db.close)
        self.addCleanup(transaction.abort)

    def open(self):
        return [each['opened'] for each in self.db.connectionDebugInfo()
                if each['opened']]

    def stored(self, name):
        with self.db.transaction() as connection:
            return connection.root().get(name)

    def test_commit(self):
        """The transaction of the thread is left alone."""
        mine = self.db.open()
        mine.root()['mine'] = 1

        def call(connection):
            connection.root()['theirs'] = 2
            return 'found'
        self.assertEqual('found', in_private_transaction(self.db, call, 1))
        self.assertEqual((None, 2), (self.stored('mine'),
                                     self.stored('theirs')))
        transaction.abort()
        mine.close()
        self.assertEqual([], self.open())

    def test_conflict(self):
        """It begins anew, and sees what was committed."""
        seen = []

        def call(connection):
            seen.append(connection.root().get('number', 0))
            if len(seen) < 3:
                with self.db.transaction() as other:
                    other.root()['number'] = len(seen)
            connection.root()['number'] = 9
        in_private_transaction(self.db, call, 3)
        self.assertEqual([0, 1, 2], seen)
        self.assertEqual(9, self.stored('number'))
        self.assertEqual([], self.open())

    def test_failure(self):
        """Nothing of it stays."""
        def call(connection):
            connection.root()['number'] = 9
            raise ValueError()
        with self.assertRaises(ValueError):
            in_private_transaction(self.db, call, 3)
        self.assertIsNone(self.stored('number'))
        self.assertEqual([], self.open())

    def test_then(self):
        """Afterwards: what is seen by then is committed."""
        def call(connection):
            connection.root()['number'] = 9
            return connection
        found = in_private_transaction(
            self.db, call, 1, lambda connection: (
                self.stored('number'), connection.root()['number']))
        self.assertEqual((9, 9), found)

    def test_connection(self):
        """What is not committed is aborted; none need have begun."""
        with private_connection(self.db) as connection:
            connection.transaction_manager.begin()
            connection.root()['number'] = 9
        with private_connection(self.db):
            pass
        self.assertIsNone(self.stored('number'))
