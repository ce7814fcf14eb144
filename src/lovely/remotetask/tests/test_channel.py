"""The channel of PostgreSQL, without a server.

Those with one are in gocept.async_.tests.test_wires.
"""

import collections
import tempfile
import unittest
import unittest.mock

import ZODB.config
import zope.component
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from zope.interface.verify import verifyObject

from lovely.remotetask.interfaces import IChannel
from lovely.remotetask.interfaces import IChannelConnection
from lovely.remotetask.running.channel import PostgreSQL
from lovely.remotetask.running.channel import channel_of


Notice = collections.namedtuple('Notice', 'pid channel payload')


class Cursor:

    def __init__(self, connection):
        self.connection = connection

    def execute(self, statement, parameters=None):
        if self.connection.broken:
            raise OSError('broken')
        self.connection.executed.append((
            self.connection.autocommit, statement, parameters))

    def fetchone(self):
        return 42, self.connection.schema

    def fetchall(self):
        return []


class Psycopg2:
    """A connection as psycopg2 makes it."""

    autocommit = broken = closed = False
    schema = 'public'

    def __init__(self):
        self.executed = []
        self.notifies = []

    def poll(self):
        self.polled = True

    def fileno(self):
        return 7

    def close(self):
        self.closed = True


class PG8000(Psycopg2):
    """A connection as pg8000 makes it."""

    poll = fileno = None

    def __init__(self):
        self.executed = []
        self.notifications = collections.deque()
        self._usock = unittest.mock.Mock(**{'fileno.return_value': 8})


class Adapter:
    """An adapter as RelStorage has it for PostgreSQL."""

    __module__ = 'relstorage.adapters.postgresql.adapter'

    def __init__(self, connection, driver='psycopg2'):
        self.connection = connection
        self.driver = unittest.mock.Mock(MODULE_NAME=driver)
        self.poller = unittest.mock.Mock(
            **{'get_current_tid.return_value': 17})
        self.connmanager = self

    def open(self, application_name):
        self.application_name = application_name
        return self.connection, Cursor(self.connection)


class AWSAdapter(Adapter):
    """One that somebody has made of it."""

    __module__ = 'somebody'


class Storage:
    """As RelStorage refers to its adapter."""

    def __init__(self, adapter):
        self._adapter = adapter


class Wrapper:
    """As zc.zlibstorage refers to what it compresses."""

    def __init__(self, base):
        self.base = base


class FindTest(unittest.TestCase):
    """Which storages have a channel."""

    def test_others(self):
        """What only this process commits to, and what has no server."""
        with tempfile.TemporaryDirectory() as folder:
            file = FileStorage(f'{folder}/Data.fs')
            self.addCleanup(file.close)
            for storage in (file, DemoStorage(base=file), DemoStorage()):
                self.assertIsNone(channel_of(storage))

    def test_sqlite(self):
        """RelStorage on files."""
        with tempfile.TemporaryDirectory() as folder:
            db = ZODB.config.databaseFromString(
                f'%import relstorage\n<zodb>\n<relstorage>\n<sqlite3>\n'
                f'data-dir {folder}\n</sqlite3>\n</relstorage>\n</zodb>')
            try:
                self.assertIsNone(channel_of(db.storage))
            finally:
                db.close()

    def test_postgresql(self):
        """Also what compresses, and an adapter that is made of it."""
        for class_ in (Adapter, AWSAdapter):
            storage = Storage(class_(Psycopg2()))
            for each in (storage, Wrapper(storage)):
                found = channel_of(each)
                self.assertTrue(verifyObject(IChannel, found))
        # What is changed there stays in memory.
        demo = DemoStorage()
        demo.base = storage
        self.assertIsNone(channel_of(demo))

    def test_unknown_driver(self):
        """Where it is not known how to hear, processors look."""
        for name in ('psycopg4', None):
            self.assertIsNone(channel_of(
                Storage(Adapter(Psycopg2(), name))))

    def test_unlike(self):
        """What only looks like it has none."""
        self.assertIsNone(channel_of(Storage(None)))
        self.assertIsNone(channel_of(Storage(object())))

    def test_adapter(self):
        """One that is registered takes precedence."""
        registry = zope.component.getGlobalSiteManager()
        arguments = (lambda storage: 'mine', [None], IChannel)
        registry.registerAdapter(*arguments)
        self.addCleanup(registry.unregisterAdapter, *arguments)
        self.assertEqual('mine', channel_of(DemoStorage()))
        self.assertEqual('mine', channel_of(Storage(Adapter(Psycopg2()))))


class ConnectionTest(unittest.TestCase):

    def open(self, connection=None, driver='psycopg2'):
        self.connection = connection or Psycopg2()
        self.adapter = Adapter(self.connection, driver)
        return PostgreSQL(self.adapter).open()

    def executed(self):
        found = list(self.connection.executed)
        del self.connection.executed[:]
        return found

    def test_interface(self):
        self.assertTrue(verifyObject(IChannelConnection, self.open()))

    def test_no_transaction(self):
        """Each statement is for itself; the server shows whose it is."""
        found = self.open()
        found.listen()
        found.send(['one'])
        self.assertEqual({True}, {each[0] for each in self.executed()})
        self.assertEqual('lovely.remotetask', self.adapter.application_name)
        self.assertEqual(17, found.newest())

    def name(self, schema):
        connection = Psycopg2()
        connection.schema = schema
        self.open(connection).listen()
        *_, (_, statement, _) = self.executed()
        return statement.removeprefix('LISTEN ')

    def test_name(self):
        """One for each schema, and one that needs no quotes."""
        names = [self.name(schema) for schema in (
            'public', 'other', 'with "quotes"; --', 'ünicode', '', None)]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertRegex(name, r'\Alovely_remotetask_[0-9a-f]{16}\Z')
        self.assertEqual(names[0], self.name('public'))

    def test_send(self):
        """However many words, it is one request; they are parameters."""
        found = self.open()
        self.executed()
        found.send(['one', "'; --"])
        (_, statement, parameters), = self.executed()
        self.assertEqual(
            'SELECT pg_notify(%s, %s), pg_notify(%s, %s)', statement)
        self.assertEqual(['one', "'; --"], parameters[1::2])

    def test_receive(self):
        """What others have sent; each word once."""
        found = self.open()
        self.connection.notifies += [
            Notice(1, 'any', 'one'), Notice(42, 'any', 'own'),
            Notice(2, 'any', '')]
        self.assertEqual(['one', ''], found.receive())
        self.assertTrue(self.connection.polled)
        self.assertEqual([], found.receive())
        self.assertEqual(7, found.fileno())

    def test_pg8000(self):
        """It reads what comes before an answer; so it is asked."""
        found = self.open(PG8000(), 'pg8000')
        self.connection.notifications += [
            (1, 'any', 'one'), (42, 'any', 'own')]
        self.executed()
        self.assertEqual(['one'], found.receive())
        self.assertEqual('SELECT 1', self.executed()[0][1])
        self.assertEqual([], found.receive())
        self.assertEqual(8, found.fileno())

    def test_cannot_be_used(self):
        """What was opened is closed."""
        connection = Psycopg2()
        connection.broken = True
        with self.assertRaises(OSError):
            self.open(connection)
        self.assertTrue(connection.closed)
