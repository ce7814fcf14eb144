"""Tests of object ids in reserve; the fault tests show them at work."""

import types
import unittest

import ZEO.ClientStorage
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask import startup
from lovely.remotetask.running.quirks import forget_reserve_on_reconnect


class Client:
    """What matters here of a ZEO client."""

    __module__ = ZEO.ClientStorage.__name__

    def __init__(self):
        self._oids = [b'1', b'2']
        self.connected = []

    def notify_connected(self, connection, info):
        self.connected.append((connection, info, list(self._oids)))


class ReserveTest(unittest.TestCase):

    def test_dropped_on_connect(self):
        """The reserve is empty before anything is done with the connection."""
        client = Client()
        oids = client._oids
        forget_reserve_on_reconnect(client)
        self.assertEqual([b'1', b'2'], client._oids)
        client.notify_connected('connection', info={})
        self.assertEqual([('connection', {}, [])], client.connected)
        self.assertIs(oids, client._oids)

    def test_other_storages(self):
        """They are left as they are."""
        storage = MappingStorage()
        forget_reserve_on_reconnect(storage)
        self.assertNotIn('notify_connected', vars(storage))

    def test_real_client(self):
        """The client of the ZEO that is installed has what this relies on."""
        self.assertTrue(callable(
            ZEO.ClientStorage.ClientStorage.notify_connected))
        self.assertIn(
            '_oids', ZEO.ClientStorage.ClientStorage.new_oid.__code__.co_names)

    def test_opened_database(self):
        """An application's clients are made safe when they were opened."""
        clients = {'': Client(), 'jobs': Client()}
        startup.forgetReservedIds(types.SimpleNamespace(
            database=types.SimpleNamespace(databases={
                name: types.SimpleNamespace(storage=client)
                for name, client in clients.items()})))
        for client in clients.values():
            self.assertIn('notify_connected', vars(client))
