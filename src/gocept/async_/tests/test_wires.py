"""Words from process to process, through a real PostgreSQL server."""

import contextlib
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
import unittest
import unittest.mock

import ZODB.config

from gocept.async_.tests.interpreter import environment
from gocept.async_.tests.test_worker import PostgreSQLStage
from gocept.async_.tests.workerstage import PATIENCE
from gocept.async_.tests.workerstage import skip_without_postgresql
from gocept.async_.tests.workerstage import until
from lovely.remotetask import processor
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import wire
from lovely.remotetask.running.channel import APPLICATION
from lovely.remotetask.running.channel import PostgreSQL
from lovely.remotetask.running.outbox import Outbox
from lovely.remotetask.running.telegraph import Telegraph
from lovely.remotetask.running.wire import Wire
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import logged


CONFIGURATION = '''
%import relstorage
<zodb>
  <relstorage>
    keep-history {history}
    <postgresql>
      dsn {dsn}
    </postgresql>
  </relstorage>
</zodb>
'''

# Sends words in a process of its own.
SCENE = '''
import gc
import os
import sys
import time

import transaction
import ZODB.config

from lovely.remotetask.running import wire


db = ZODB.config.databaseFromString(sys.stdin.read())
oid = bytes.fromhex(sys.argv[1])


def child(code):
    """Fork; let the child do something.  Return its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code()
    gc.collect()
    # As multiprocessing does.
    os._exit(0)
'''

numbers = itertools.count(1)


class PostgreSQLCase(unittest.TestCase):
    """Has a database of its own on the server of the layer."""

    layer = PostgreSQLStage

    def setUp(self):
        skip_without_postgresql(self)
        self.database = f'wires_{os.getpid()}_{next(numbers)}'
        self.execute(f'CREATE DATABASE {self.database}', 'postgres')
        super().setUp()

    def dsn(self, database=None):
        return (f'host=127.0.0.1 port={self.layer.stage.server.port} '
                f'dbname={database or self.database} user=zodb')

    def execute(self, statement, database=None):
        """Execute a statement as the administrator does."""
        import psycopg2
        with contextlib.closing(psycopg2.connect(self.dsn(database))) as found:
            found.autocommit = True
            cursor = found.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def configuration(self, history=True):
        return CONFIGURATION.format(
            dsn=self.dsn(), history=str(history).lower())

    def open_database(self, history=True):
        return ZODB.config.databaseFromString(self.configuration(history))

    def connections(self):
        """Return the process ids of the server's ends of all wires."""
        return {pid for pid, in self.execute(
            f"SELECT pid FROM pg_stat_activity WHERE application_name = "
            f"'{APPLICATION}' AND datname = '{self.database}'")}

    def cut(self):
        """Cut all wires.  Return how many there were."""
        before = self.connections()
        for pid in before:
            self.execute(f'SELECT pg_terminate_backend({pid})')
        until(lambda: not before & self.connections(), 'all cut')
        return len(before)


class WireTest(PostgreSQLCase):
    """Wires without processors."""

    def channel(self, dsn=None):
        from relstorage.adapters.postgresql import PostgreSQLAdapter
        return PostgreSQL(PostgreSQLAdapter(dsn or self.dsn()))

    def wire(self, dsn=None):
        made = Wire(self.channel(dsn), 'wire')
        self.addCleanup(lambda: made.join(time.monotonic() + PATIENCE))
        self.addCleanup(made.end)
        # What it looks at.
        self.execute('CREATE TABLE IF NOT EXISTS transaction (tid bigint)')
        return made

    def listening(self, dsn=None, word='word'):
        made = self.wire(dsn)
        heard = threading.Event()
        made.listen(word, heard.set, 600)
        self.assertTrue(heard.wait(PATIENCE))
        heard.clear()
        return made, heard

    def test_from_process_to_process(self):
        """A word comes, and the connection is one."""
        _, heard = self.listening()
        made, own = self.listening()
        made.send('word')
        self.assertTrue(heard.wait(PATIENCE))
        self.assertFalse(own.is_set())
        self.assertEqual(2, len(self.connections()))

    def test_anything_is_sent(self):
        """By whoever has access to the server."""
        _, heard = self.listening()
        with contextlib.closing(self.channel().open()) as found:
            channel = found._name
        for text in ('', 'x' * 7999, '\n\x01', 'ünicode', "'; SELECT 1"):
            self.execute("SELECT pg_notify('{}', '{}')".format(
                channel, text.replace("'", "''")))
        self.assertFalse(heard.is_set())
        self.wire().send('word')
        self.assertTrue(heard.wait(PATIENCE))

    def test_own_words(self):
        """The driver reads them with the answer; they do not pile up."""
        self.wire()
        outbox = Outbox()
        telegraph = Telegraph(
            self.channel(), {'word': (int, 600)}, outbox, 'wire')
        self.addCleanup(telegraph.close)
        for now in range(3):
            outbox.put('word')
            telegraph.step(float(now))
        # Nothing but the memory that is used tells of them.
        self.assertEqual([], telegraph._connection._connection.notifies)

    def test_schemas(self):
        """Two applications in one database do not wake each other."""
        self.execute('CREATE SCHEMA other')
        self.execute('CREATE TABLE other.transaction (tid bigint)')
        other = f'{self.dsn()} options=-csearch_path=other'
        _, heard = self.listening()
        _, of_other = self.listening(other)
        self.wire(other).send('word')
        self.assertTrue(of_other.wait(PATIENCE))
        self.assertFalse(heard.is_set())

    def test_cut(self):
        """A connection that is lost comes back, and the log tells it."""
        made, heard = self.listening()
        sender = self.wire()
        with logged('lovely.remotetask', logging.WARNING) as lines:
            self.assertEqual(1, self.cut())
            # Nobody knows what was said meanwhile.
            self.assertTrue(heard.wait(PATIENCE))
        heard.clear()
        self.assertEqual(1, len(lines), lines)
        self.assertNotIn('host', lines[0])
        sender.send('word')
        self.assertTrue(heard.wait(PATIENCE))

    def test_cut_while_sending(self):
        """What could not be sent is sent on another connection."""
        _, heard = self.listening()
        sender = self.wire()
        sender.send('other')
        until(lambda: len(self.connections()) == 2, 'a second connection')
        with logged('lovely.remotetask'):
            self.cut()
            sender.send('word')
            self.assertTrue(heard.wait(PATIENCE))


class ProcessorTest(PostgreSQLCase, DatabaseCase):
    """Processors that wait for ten minutes, if nobody tells them."""

    def setUp(self):
        super().setUp()
        self.service_task(effect)

    def stop(self):
        processor.stop_all(PATIENCE)
        wire.end_all(PATIENCE)

    def processor(self, wait_time):
        """Return one on another client, as if it was in another process."""
        db = self.open_database()
        self.addCleanup(db.close)
        self.addCleanup(self.stop)
        return SimpleProcessor(db, ['tasks'], wait_time)

    def start(self):
        made = self.processor(600)
        processor.start_processor(made)
        until(made.idling._is_listening, 'a processor that listens')
        return made

    def wait_for(self, *effects):
        until(lambda: self.effects == list(effects), 'the jobs')

    def test_other_process(self):
        """A commit in one process wakes the processor in another."""
        self.start()
        self.add('test.task', 1)
        self.wait_for(1)
        self.add('test.task', 2)
        self.wait_for(1, 2)

    def test_cut(self):
        """What is committed while the wires are cut is run, too."""
        self.start()
        with logged('lovely.remotetask'):
            self.cut()
            self.add('test.task', 1)
            self.wait_for(1)
            self.cut()
        self.add('test.task', 2)
        self.wait_for(1, 2)

    def test_nobody_tells(self):
        """Who listens also looks, as often as it would without a channel."""
        made = self.processor(0.2)
        processor.start_processor(made)
        until(made.idling._is_listening, 'a processor that listens')
        with unittest.mock.patch.object(wire, 'tell'):
            self.add('test.task', 1)
            self.wait_for(1)

    def test_stop(self):
        """A process whose processors have stopped has no connection left."""
        made = self.start()
        made.stop()
        made.join(time.monotonic() + PATIENCE)
        until(lambda: not self.connections(), 'no connection')

    def run_scene(self, text):
        """Run a process that knows the database and the service."""
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', SCENE + text,
             self.service._p_oid.hex()],
            input=self.configuration(), capture_output=True, text=True,
            timeout=PATIENCE, env=environment())
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    def test_process_that_ends(self):
        """Its last commit is told at once, though it ends at once."""
        self.start()
        self.run_scene('''
from lovely.remotetask.tests.fixture import TaskCase

TaskCase().service_task(None)
service = db.open().get(oid)
service.add('test.task', 1)
transaction.commit()
''')
        self.wait_for(1)

    def test_fork(self):
        """A child has a connection of its own; the parent keeps its one."""
        self.run_scene('''
def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

def tell():
    wire.tell(db, oid)
    found = wire.wire_of(db)
    until(lambda: found._telegraph is not None
          and found._telegraph._connection is not None and not found._outbox)
    return found._telegraph._connection

before = tell()
assert child(lambda: None) == 0
assert child(lambda: tell() is not before or os._exit(1)) == 0
assert child(lambda: wire.end_all()) == 0
assert tell() is before
# The server would have said at once that it is closed.
time.sleep(0.1)
assert tell() is before
''')


class HistoryFreeTest(ProcessorTest):
    """The same in a database without history."""

    def open_database(self, history=False):
        return super().open_database(False)

    def configuration(self, history=False):
        return super().configuration(False)
