"""Services are brought up to date in slices."""

import unittest.mock

import transaction
from ZODB.POSException import ConflictError

from gocept.async_.upgrade import slices
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.storage import telling
from lovely.remotetask.storage.upgrade import SCHEMA
from lovely.remotetask.storage.upgrade import upgrade_some
from lovely.remotetask.tests.test_upgrade import UpgradeCase


class SlicesTest(UpgradeCase):

    def setUp(self):
        super().setUp()
        self.enterContext(unittest.mock.patch.object(slices, 'SLICE', 10))
        self.oid = self.service._p_oid
        self.transactions = []
        finish = self.db.storage.tpc_finish

        def note(*args):
            self.transactions.append(finish(*args))
            return self.transactions[-1]
        self.db.storage.tpc_finish = note

    def find(self, connection):
        return connection.get(self.oid)

    def check(self):
        transaction.begin()
        self.assertEqual(SCHEMA, self.service.schema)
        self.assertEqual(39, len(list(self.service.jobs)))
        self.assertEqual(10, self.service.counts()[QUEUED])
        self.drain(self.service, now=1)
        self.assertEqual('later 0', self.calls[0])

    def test_transactions(self):
        """Each slice is one; what was found is returned."""
        done = slices.bring_up_to_date(self.db, self.find)
        self.assertEqual(39, done.number)
        self.assertEqual(3, len(done.findings))
        self.assertEqual(4, len(self.transactions))
        self.check()

    def test_again(self):
        """There is nothing to do."""
        slices.bring_up_to_date(self.db, self.find)
        self.transactions.clear()
        done = slices.bring_up_to_date(self.db, self.find)
        self.assertEqual((39, [], []), done)
        self.assertEqual([], self.transactions)

    def test_interrupted(self):
        """Started again, it goes on where it was."""
        calls = []

        def interrupted(connection):
            calls.append(connection)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return self.find(connection)
        with self.assertRaises(KeyboardInterrupt):
            slices.bring_up_to_date(self.db, interrupted)
        self.assertEqual(2, len(self.transactions))
        slices.bring_up_to_date(self.db, self.find)
        self.assertEqual(4, len(self.transactions))
        self.check()

    def test_two_processes(self):
        """One that is slower goes on where the other one is."""
        committed = []

        def overtaken(connection):
            service = self.find(connection)
            service._p_activate()
            if len(committed) < 2:
                with self.db.transaction() as other:
                    upgrade_some(self.find(other), 10)
                committed.append(True)
            return service
        done = slices.bring_up_to_date(self.db, overtaken)
        self.assertEqual(39, done.number)
        self.assertEqual(4, len(self.transactions))
        self.check()

    def test_no_other_conflict(self):
        """What fails each time is not tried for ever."""
        def conflict(connection):
            raise ConflictError
        self.enterContext(unittest.mock.patch.object(slices, 'ATTEMPTS', 3))
        with self.assertRaises(ConflictError):
            slices.bring_up_to_date(self.db, conflict)

    def test_progress(self):
        """It is told in between."""
        said = []
        with unittest.mock.patch.object(telling, 'INTERVAL', 0):
            slices.bring_up_to_date(
                self.db, self.find, lambda *args: said.append(args[2]))
        self.assertEqual([10, 20, 30], said)
