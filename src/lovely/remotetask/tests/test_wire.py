"""Wires with threads of their own, on a channel within this process."""

import gc
import os
import socket
import threading
import time
import unittest
import unittest.mock
import weakref

import transaction
import ZODB
import zope.component
from ZODB.DemoStorage import DemoStorage

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import IChannel
from lovely.remotetask.running import registry
from lovely.remotetask.running import wire
from lovely.remotetask.running.bell import Bell
from lovely.remotetask.running.channel import word_for
from lovely.remotetask.running.wire import Wire
from lovely.remotetask.tests.databases import TwoDatabases
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import QuietProcessor
from lovely.remotetask.tests.test_telegraph import Channel


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError('It did not happen.')
        time.sleep(0.001)


class WireCase(unittest.TestCase):

    def setUp(self):
        self.channel = Channel()
        self.wires = []

    def wire(self, channel=None):
        made = Wire(channel or self.channel, 'a wire')
        self.addCleanup(self.end, made)
        return made

    def end(self, made):
        made.end()
        made.join(time.monotonic() + PATIENCE)

    def listening(self, word='word'):
        """Return a wire that listens, and the event of a word."""
        made = self.wire()
        event = threading.Event()
        made.listen(word, event.set, 600)
        until(lambda: made.is_listening)
        event.wait(PATIENCE)
        event.clear()
        return made, event


class WireTest(WireCase):

    def threads(self):
        return [each for each in threading.enumerate()
                if each.name == 'a wire']

    def test_from_wire_to_wire(self):
        """A word comes to who listens for it, and to nobody else."""
        _, heard = self.listening()
        _, other = self.listening('other')
        self.wire().send('word')
        self.assertTrue(heard.wait(PATIENCE))
        self.assertFalse(other.is_set())

    def test_nothing_is_opened_in_advance(self):
        """Neither a thread nor a connection."""
        made = self.wire()
        self.assertFalse(made.is_listening)
        self.assertEqual((0, []), (self.channel.opened, self.threads()))

    def test_one_connection(self):
        """All that is sent and heard goes by the same one."""
        made, _ = self.listening()
        made.listen('other', int, 600)
        made.send('third')
        until(lambda: self.channel.connections[0].sent)
        self.assertEqual(1, self.channel.opened)
        thread, = self.threads()
        self.assertTrue(thread.daemon)

    def test_who_is_new(self):
        """It has not heard what was told before: it is told that."""
        made, _ = self.listening()
        self.assertTrue(made.listen('other', int, 600))
        self.assertFalse(made.listen('other', int, 600))
        made.forget('other', int)
        self.assertTrue(made.listen('other', int, 600))

    def test_who_comes_after(self):
        """A processor that ends late does not cut off the one after it."""
        made, event = self.listening()
        later = threading.Event()
        made.listen('word', later.set, 600)
        made.forget('word', event.set)
        self.wire().send('word')
        self.assertTrue(later.wait(PATIENCE))

    def test_server_that_does_not_answer(self):
        """Whoever sends does not wait for it."""
        go = threading.Event()
        self.addCleanup(go.set)

        class Slow(Channel):
            def open(self):
                go.wait(PATIENCE)
                return super().open()
        slow = Slow()
        made = self.wire(slow)
        began = time.monotonic()
        for number in range(1000):
            made.send(f'word {number % 7}')
        self.assertLess(time.monotonic() - began, PATIENCE / 4)
        go.set()
        until(lambda: slow.connections and slow.connections[0].sent)
        self.assertEqual(7, len(slow.connections[0].sent[0]))

    def test_ended_at_stop(self):
        """The thread goes when nobody listens, and comes again."""
        made, event = self.listening()
        thread, = self.threads()
        made.forget('word', event.set)
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive())
        self.assertEqual([], self.channel.connections)
        self.assertFalse(made.is_listening)
        made.listen('word', int, 600)
        until(lambda: made.is_listening)

    def test_end_of_process(self):
        """The last words are sent, though they would have to wait."""
        made = self.wire()
        _, one = self.listening('one')
        _, two = self.listening('two')
        for word in ('one', 'two'):
            made.send(word)
        self.end(made)
        self.assertTrue(one.wait(PATIENCE))
        self.assertTrue(two.wait(PATIENCE))

    def test_end_of_process_without_server(self):
        """It does not wait for a server for long."""
        self.channel.down = OSError('gone')
        made = self.wire()
        made.send('word')
        began = time.monotonic()
        made.end()
        made.join(began + 0.05)
        self.assertLess(time.monotonic() - began, PATIENCE / 4)
        self.channel.down = None

    def test_thread_that_has_died(self):
        """Whoever comes next starts another."""
        made, heard = self.listening()
        with unittest.mock.patch.object(
                made._telegraph, 'step', side_effect=SystemExit):
            made.listen('other', int, 600)
            until(lambda: not self.threads())
        self.assertFalse(made.is_listening)
        made.listen('word', heard.set, 600)
        until(lambda: made.is_listening)
        heard.clear()
        self.wire().send('word')
        self.assertTrue(heard.wait(PATIENCE))

    def test_no_thread_to_be_had(self):
        """It costs time, and is tried again."""
        made = self.wire()
        with unittest.mock.patch.object(
                threading.Thread, 'start', side_effect=RuntimeError):
            made.send('word')
            made.listen('word', int, 600)
        self.assertFalse(made.is_listening)
        made.listen('word', int, 600)
        until(lambda: made.is_listening)


class Told:
    """A stand-in for a wire that remembers what it is told."""

    def __init__(self):
        self.words = []
        self.listened = []

    def send(self, word):
        self.words.append(word)

    def listen(self, word, call, interval):
        self.listened.append(word)


class AfterCommitTest(DatabaseCase):
    """Who tells of jobs, and when."""

    def setUp(self):
        super().setUp()
        self.task(Calls())
        self.told = Told()
        wire._wires[self.db] = self.told
        self.addCleanup(wire._wires.pop, self.db)
        self.word = word_for(self.service._p_oid)

    def test_after_the_commit(self):
        """Other processes are told once a commit is done, once for all."""
        self.service.add('test.task')
        self.service.add('test.task')
        self.assertEqual([], self.told.words)
        transaction.commit()
        self.assertEqual([self.word], self.told.words)

    def test_what_nobody_is_told_of(self):
        """What was not committed, and what is not to be run yet."""
        self.service.add('test.task')
        transaction.abort()
        savepoint = transaction.savepoint()
        self.service.add('test.task')
        savepoint.rollback()
        self.service.add('test.task', startLater=True)
        transaction.commit()
        self.assertEqual([], self.told.words)

    def test_each_service(self):
        """Each has a word of its own."""
        self.root['other'] = other = TaskService()
        transaction.commit()
        for service in (self.service, other):
            service.add('test.task')
        transaction.commit()
        self.assertEqual({self.word, word_for(other._p_oid)},
                         set(self.told.words))
        self.assertEqual(2, len(self.told.words))

    def test_told_otherwise(self):
        """A processor that runs no jobs tells those who do by itself."""
        def factory(*args, **kw):
            return QuietProcessor(*args, **kw)
        factory.runsJobs = False
        self.service.processorFactory = factory
        self.addCleanup(registry.stop_all, 0)
        self.service.startProcessing()
        transaction.abort()
        self.add('test.task')
        made, = registry._processors.values()
        self.assertEqual((1, []), (made.woken, self.told.words))

    def test_wire_that_fails(self):
        """Whoever commits does not hear of it."""
        self.told.send = unittest.mock.Mock(side_effect=OSError)
        jobid = self.service.add('test.task')
        transaction.commit()
        self.assertEqual(1, self.told.send.call_count)
        self.assertIsNotNone(self.job(jobid))

    def test_handed_back(self):
        """Others are told of what a processor has claimed, and not run."""
        jobid = self.add('test.task')
        a_processor = self.processor()
        self.assertEqual(jobid, a_processor.claimNextJob())
        del self.told.words[:]
        a_processor._finish()
        self.assertEqual([self.word], self.told.words)


class TwoDatabasesTest(TwoDatabases, DatabaseCase):
    """The service is in another database than its site."""

    def test_by_that_of_the_jobs(self):
        """It is told there, and heard there."""
        self.task(Calls())
        told = wire._wires[self.jobs_db] = Told()
        self.addCleanup(wire._wires.pop, self.jobs_db)
        self.add('test.task')
        word = word_for(self.service._p_oid)
        self.assertEqual([word], told.words)
        made = self.processor()
        made.membership.check()
        made.idling._listen()
        self.assertEqual([word], told.listened)
        self.assertIsNone(wire.wire_of(self.db))


class DatabaseTest(unittest.TestCase):

    def open(self):
        db = ZODB.DB(DemoStorage())
        self.addCleanup(db.close)
        return db

    def register(self, channel):
        registry = zope.component.getGlobalSiteManager()
        arguments = (lambda storage: channel, [None], IChannel)
        registry.registerAdapter(*arguments)
        self.addCleanup(registry.unregisterAdapter, *arguments)

    def test_without_channel(self):
        """A process whose storage has none opens nothing."""
        db = self.open()
        before = threading.enumerate()
        self.assertIsNone(wire.wire_of(db))
        wire.tell(db, b'12345678')
        self.assertEqual(before, threading.enumerate())

    def test_one_for_each_database(self):
        """However many services are in it."""
        self.register(Channel())
        one, two = self.open(), self.open()
        self.assertIs(wire.wire_of(one), wire.wire_of(one))
        self.assertIsNot(wire.wire_of(one), wire.wire_of(two))

    def test_closed(self):
        """One that is closed has none."""
        db = ZODB.DB(DemoStorage())
        db.close()
        self.assertIsNone(wire.wire_of(db))

    def test_is_let_go(self):
        """A database that is gone is not kept."""
        self.register(Channel())
        db = ZODB.DB(DemoStorage())
        wire.wire_of(db)
        db.close()
        gone = weakref.ref(db)
        del db
        gc.collect()
        self.assertIsNone(gone())

    def test_channel_that_cannot_be_told(self):
        """An adapter that fails is as good as none."""
        registry = zope.component.getGlobalSiteManager()

        def fail(storage):
            raise ValueError
        arguments = (fail, [None], IChannel)
        registry.registerAdapter(*arguments)
        self.addCleanup(registry.unregisterAdapter, *arguments)
        self.assertIsNone(wire.wire_of(self.open()))

    def test_child(self):
        """A process that was forked has wires of its own."""
        self.register(Channel())
        db = self.open()
        before = wire.wire_of(db)
        inherited = list(wire._inherited)
        with unittest.mock.patch.multiple(
                wire, _wires=wire._wires, _lock=wire._lock,
                _inherited=inherited):
            wire._begin()
            self.assertIsNot(before, wire.wire_of(db))
            # The connections of the parent are not closed.
            self.assertIn(before, inherited)
        self.assertIs(before, wire.wire_of(db))

    def test_words(self):
        """A word tells a service from others, and nothing else."""
        words = {word_for(os.urandom(8)) for _ in range(100)}
        self.assertEqual(100, len(words))
        for word in words:
            self.assertRegex(word, r'\A[0-9a-f]{16}\Z')


class BellTest(unittest.TestCase):

    def setUp(self):
        self.bell = Bell()
        self.addCleanup(self.bell.close)
        self.outside, self.inside = socket.socketpair()
        self.addCleanup(self.outside.close)
        self.addCleanup(self.inside.close)

    def test_ring(self):
        """Rung before, it does not wait; once, however often it was."""
        for _ in range(10 ** 5):
            self.bell.ring()
        began = time.monotonic()
        self.assertFalse(self.bell.wait(PATIENCE))
        self.assertLess(time.monotonic() - began, PATIENCE / 2)
        self.assertFalse(self.bell.wait(0.0))

    def test_ring_while_it_is_heard(self):
        """Later ones are heard all the same, whenever the thread goes on.

        A ring between the wait and the read cannot be had from outside.
        """
        inside = self.bell._inside

        def recv(size):
            self.bell.ring()
            return inside.recv(size)
        self.bell._inside = unittest.mock.Mock(
            fileno=inside.fileno, recv=recv, close=inside.close)
        self.bell.ring()
        self.bell.wait(PATIENCE)
        self.bell._inside = inside
        self.bell.wait(0.0)
        self.bell.ring()
        began = time.monotonic()
        self.bell.wait(PATIENCE)
        self.assertLess(time.monotonic() - began, PATIENCE / 2)

    def test_descriptor(self):
        """It tells whether there is something to read."""
        number = self.inside.fileno()
        self.assertFalse(self.bell.wait(0.0, number))
        self.outside.send(b'.')
        self.assertTrue(self.bell.wait(PATIENCE, number))
        self.bell.ring()
        self.assertTrue(self.bell.wait(PATIENCE, number))
        # It is waited for no more.
        self.assertFalse(self.bell.wait(0.0))

    def test_another_of_the_same_number(self):
        """The system gives numbers away again."""
        number = self.inside.fileno()
        self.bell.wait(0.0, number)
        self.inside.close()
        other, self.inside = socket.socketpair()
        self.addCleanup(other.close)
        if self.inside.fileno() != number:
            other, self.inside = self.inside, other
            self.addCleanup(other.close)
        self.assertEqual(number, self.inside.fileno())
        other.send(b'.')
        self.assertTrue(self.bell.wait(PATIENCE, number))

    def test_nobody_is_there(self):
        """Whoever rings does not hear of it."""
        self.bell.close()
        self.bell.ring()
