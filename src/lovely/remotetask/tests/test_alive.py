"""Databases that do not answer, or take no changes, are told from others."""

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import transaction
import ZEO
import ZODB
import ZODB.config
import zope.interface
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IMVCCStorage
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask import startup
from lovely.remotetask.running.alive import NoSignOfLife
from lovely.remotetask.running.alive import sign_of_life
from lovely.remotetask.tests import databases
from lovely.remotetask.tests import faulty


# Seconds until what does not happen has failed.
PATIENCE = 60


@zope.interface.implementer(IMVCCStorage)
class Polled(MappingStorage):
    """Is asked for news by each transaction; that may fail."""

    error = None

    def new_instance(self):
        return self

    def release(self):
        pass

    def sync(self, force=True):
        pass

    def poll_invalidations(self):
        if self.error is not None:
            raise self.error


class Counted(MappingStorage):
    """Counts the transactions that were prepared."""

    votes = 0

    def tpc_vote(self, transaction):
        self.votes += 1
        return super().tpc_vote(transaction)


class AliveCase(unittest.TestCase):

    def setUp(self):
        self.folder = Path(
            self.enterContext(tempfile.TemporaryDirectory()))

    def open(self, storage):
        db = ZODB.DB(storage)
        self.addCleanup(db.close)
        return db

    def assert_dead(self, db, regex):
        with self.assertRaisesRegex(NoSignOfLife, regex):
            sign_of_life(db)

    @contextlib.contextmanager
    def asked_in_vain(self, db, doubt):
        """Meanwhile, who asks for a sign of life waits."""
        doubts = []
        outcome = []
        def ask():
            try:
                outcome.append(sign_of_life(db, doubt=doubts.append))
            except NoSignOfLife as error:
                outcome.append(error)
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        end = time.monotonic() + PATIENCE
        while doubts[-1:] != [doubt] and time.monotonic() < end:
            thread.join(0.01)
        thread.join(0.2)
        self.assertEqual(([doubt], []), (doubts[-1:], outcome))
        yield
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive())


class AnyStorageTest(AliveCase):

    def test_alive(self):
        """Nobody complains of a database that works, and nothing changes."""
        db = self.open(MappingStorage())
        before = db.lastTransaction()
        sign_of_life(db)
        self.assertEqual(before, db.lastTransaction())

    def test_storage_that_is_polled(self):
        """Who has to ask for news says so if that fails."""
        storage = Polled()
        db = self.open(storage)
        storage.error = OSError('connection refused')
        self.assert_dead(db, 'the database: connection refused')
        storage.error = None
        sign_of_life(db)

    def test_error_without_a_message(self):
        """Then the error's class is what is known."""
        storage = Polled()
        db = self.open(storage)
        storage.error = NotImplementedError()
        self.assert_dead(db, 'the database: builtins.NotImplementedError')
        storage.error = None

    def test_connections_go_back(self):
        """Asking again and again uses up no connections."""
        storage = Polled()
        db = self.open(storage)
        for storage.error in (None, OSError('away'), OSError('away'), None):
            with contextlib.suppress(NoSignOfLife):
                sign_of_life(db)
        self.assertEqual(1, len(db.connectionDebugInfo()))

    def test_connection_of_the_root_folder(self):
        """Nor does looking at the root folder while the server is away."""
        storage = Polled()
        db = self.open(storage)
        storage.error = OSError('away')
        for _ in range(3):
            with self.assertRaises(OSError), startup.root_folder(db):
                self.fail('nobody can have come here')
        storage.error = None
        self.assertEqual(1, len(db.connectionDebugInfo()))

    def test_writer_that_stands_still(self):
        """A transaction that is prepared, and goes no further."""
        db = self.open(MappingStorage())
        manager = transaction.TransactionManager(explicit=True)
        connection = db.open(manager)
        txn = manager.begin()
        connection.tpc_begin(txn)
        connection.tpc_vote(txn)
        with self.asked_in_vain(db, 'the database takes no changes'):
            connection.tpc_abort(txn)
        manager.abort()
        connection.close()

    def test_committed_since(self):
        """Who was committed to meanwhile takes changes; nobody is held up."""
        storage = Counted()
        db = self.open(storage)
        seen = {}
        sign_of_life(db, seen)
        with db.transaction() as connection:
            connection.root()['changed'] = True
        before = storage.votes
        sign_of_life(db, seen)
        self.assertEqual(before, storage.votes)
        sign_of_life(db, seen)
        self.assertEqual(before + 1, storage.votes)

    def test_further_database(self):
        """All databases of an application are asked; the bad one is named."""
        storage = Polled()
        db = databases.open_databases(MappingStorage(), storage)
        self.addCleanup(databases.close_databases, db.databases)
        sign_of_life(db)
        storage.error = OSError('away')
        self.assert_dead(db, 'the database "jobs": away')


class FileTest(AliveCase):

    def setUp(self):
        super().setUp()
        self.path = self.folder / 'Data.fs'
        self.storage = FileStorage(str(self.path))

    def test_alive(self):
        """A look leaves no file behind; nor does a pack get in its way."""
        db = self.open(self.storage)
        before = sorted(self.folder.iterdir())
        sign_of_life(db)
        self.assertEqual(before, sorted(self.folder.iterdir()))
        with db.transaction() as connection:
            connection.root()['changed'] = True
        db.pack()
        sign_of_life(db)

    def test_file_is_gone(self):
        """What is written to it would be lost."""
        db = self.open(self.storage)
        self.path.unlink()
        self.assert_dead(db, 'Data.fs')

    def test_another_file(self):
        """Somebody has put a backup in its place."""
        db = self.open(self.storage)
        self.path.rename(self.folder / 'old')
        self.path.write_bytes((self.folder / 'old').read_bytes())
        self.assert_dead(db, 'Data.fs is not the file that was opened')

    def test_file_below_another_storage(self):
        """A storage around it does not hide what has become of it."""
        db = self.open(DemoStorage(base=self.storage))
        self.path.unlink()
        self.assert_dead(db, 'Data.fs')

    def test_full_disk(self):
        """There is no room for another transaction."""
        db = self.open(self.storage)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (self.storage.getSize(), limits[1]))
        try:
            self.assert_dead(db, 'File too large')
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sign_of_life(db)

    def test_read_only(self):
        """Nobody asks whether it takes changes, for it is not meant to."""
        ZODB.DB(self.storage).close()
        db = self.open(FileStorage(str(self.path), read_only=True))
        sign_of_life(db)
        self.path.unlink()
        self.assert_dead(db, 'Data.fs')


class SqliteTest(AliveCase):

    def test_writer_that_stands_still(self):
        """It has the lock that each writer needs."""
        db = ZODB.config.databaseFromString(f"""
            %import relstorage
            <zodb>
              <relstorage>
                commit-lock-timeout 0
                <sqlite3>
                  data-dir {self.folder}
                </sqlite3>
              </relstorage>
            </zodb>""")
        self.addCleanup(db.close)
        sign_of_life(db)
        with contextlib.closing(sqlite3.connect(
                self.folder / 'main.sqlite3', isolation_level=None)) as other:
            other.execute('BEGIN IMMEDIATE')
            self.assert_dead(db, 'database is locked')
        sign_of_life(db)


class ZeoTest(AliveCase):

    def setUp(self):
        super().setUp()
        port = faulty.free_port()
        # Closed by its end.
        self.server = subprocess.Popen(
            [sys.executable, '-m', 'ZEO.runzeo', '-a', f'127.0.0.1:{port}',
             '-f', str(self.folder / 'Data.fs')],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=faulty.environment())
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.kill)
        self.db = ZEO.DB(
            ('127.0.0.1', port), wait=True, wait_timeout=PATIENCE)
        self.addCleanup(self.db.close)

    def test_server(self):
        """One that stands still does not answer; one that is gone is missed.
        """
        sign_of_life(self.db)
        self.server.send_signal(signal.SIGSTOP)
        with self.asked_in_vain(self.db, 'the database does not answer'):
            self.server.kill()
        # The client is told by the system, at once.
        end = time.monotonic() + PATIENCE
        while self.db.storage.is_connected() and time.monotonic() < end:
            os.sched_yield()
        began = time.monotonic()
        self.assert_dead(self.db, 'not connected to ')
        self.assertLess(time.monotonic() - began, PATIENCE / 2)
