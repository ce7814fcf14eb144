"""What idle connections keep in memory."""

import unittest.mock

import persistent.mapping
import transaction
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask.running import quirks
from lovely.remotetask.tests.databases import TwoDatabases
from lovely.remotetask.tests.fixture import DatabaseCase


def change(connection, number=1):
    """Store some new objects."""
    for _ in range(number):
        connection.root()['any'] = persistent.mapping.PersistentMapping()
        transaction.commit()


def open_at_once(db, number):
    """Open connections, and close them: they are idle.  Return them."""
    found = [db.open(transaction.TransactionManager()) for _ in range(number)]
    for each in found:
        each.close()
    return found


def heard(connection):
    """Return how many objects a connection is to forget."""
    return len(connection._storage._invalidations)


class RefreshTest(DatabaseCase):

    def test_idle_connections(self):
        """The one that is not needed any more forgets, too."""
        idle = open_at_once(self.db, 3)
        change(self.service._p_jar, 10)
        self.assertEqual({11}, {heard(each) for each in idle})
        order = [each for _, each in self.db.pool.available]
        quirks.refresh_idle(self.db)
        self.assertEqual({0}, {heard(each) for each in idle})
        self.assertEqual(
            order, [each for _, each in self.db.pool.available])
        self.assertEqual({None}, {each.opened for each in idle})

    def test_what_they_show(self):
        """What they have in memory is not older than they say."""
        manager = transaction.TransactionManager()
        idle = self.db.open(manager)
        root = idle.root()
        list(root)
        idle.close()
        change(self.service._p_jar)
        quirks.refresh_idle(self.db)
        self.assertIs(idle, self.db.open(transaction.TransactionManager()))
        self.addCleanup(idle.close)
        self.assertIn('any', root)

    def test_one_that_is_used(self):
        """It is left alone, and keeps its snapshot."""
        manager = transaction.TransactionManager()
        used = self.db.open(manager)
        self.addCleanup(used.close)
        change(self.service._p_jar)
        quirks.refresh_idle(self.db)
        self.assertEqual(2, heard(used))

    def test_timeout(self):
        """The application lets them go by itself; they would not be idle."""
        self.db.pool.timeout = 600
        idle, = open_at_once(self.db, 1)
        change(self.service._p_jar)
        quirks.refresh_idle(self.db)
        self.assertEqual(2, heard(idle))

    def test_one_that_cannot_be_opened(self):
        """The others are given back."""
        idle = open_at_once(self.db, 2)
        open, calls = self.db.open, []

        def open_first(manager):
            calls.append(manager)
            if len(calls) == 2:
                raise OSError('no answer')
            return open(manager)
        with unittest.mock.patch.object(self.db, 'open', open_first), \
                self.assertRaises(OSError):
            quirks.refresh_idle(self.db)
        self.assertEqual({None}, {each.opened for each in idle})

    def test_other_storages(self):
        """What asks its database at each transaction is not asked."""
        idle, = open_at_once(self.db, 1)
        change(self.service._p_jar)
        with unittest.mock.patch.object(
                self.db, '_mvcc_storage', MappingStorage()):
            quirks.refresh_idle(self.db)
        self.assertEqual(2, heard(idle))

    def test_now_and_then(self):
        """A processor does so, also where it has nothing to do."""
        made = self.processor()
        self.addCleanup(made.team.join, int)
        self.addCleanup(made.team.end)
        made.step(0.0)
        idle, = open_at_once(self.db, 3)[2:]
        change(self.service._p_jar, 10)
        made.step(made.heartbeat - 1)
        self.assertLess(0, heard(idle))
        made.step(made.heartbeat + 1)
        # Its own step is heard, too.
        self.assertLess(heard(idle), 10)


class TwoTest(TwoDatabases, DatabaseCase):
    """Connections to the database of the jobs go with the others."""

    def test_of_the_jobs(self):
        idle = self.db.open(transaction.TransactionManager())
        jobs = idle.get_connection('jobs')
        idle.close()
        before = heard(jobs)
        self.service.note = 'any'
        transaction.commit()
        self.assertLess(before, heard(jobs))
        quirks.refresh_idle(self.db)
        self.assertEqual(0, heard(jobs))
