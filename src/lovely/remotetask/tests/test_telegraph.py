"""Using a channel step by step, with an explicit clock."""

import contextlib
import logging
import socket
import unittest
import unittest.mock

import zope.interface
from zope.interface.verify import verifyObject

from lovely.remotetask.interfaces import IChannel
from lovely.remotetask.interfaces import IChannelConnection
from lovely.remotetask.running.outbox import SPACING
from lovely.remotetask.running.outbox import Outbox
from lovely.remotetask.running.telegraph import LONGEST_LOOK
from lovely.remotetask.running.telegraph import PATIENCE
from lovely.remotetask.running.telegraph import REST
from lovely.remotetask.running.telegraph import STEADY
from lovely.remotetask.running.telegraph import Telegraph
from lovely.remotetask.tests.fixture import logged


@zope.interface.implementer(IChannel)
class Channel:
    """Takes words from connection to connection in one process.

    opened -- how many connections were opened.
    connections -- those that are not closed.
    newest -- what is returned by the connections.
    down -- an exception to be raised by all calls, or None.
    """

    def __init__(self):
        self.opened = self.looked = 0
        self.connections = []
        self.newest = 1
        self.down = None

    def open(self):
        self.opened += 1
        self.check()
        found = Connection(self)
        self.connections.append(found)
        return found

    def check(self):
        if self.down is not None:
            raise self.down


@zope.interface.implementer(IChannelConnection)
class Connection:

    def __init__(self, channel):
        self._channel = channel
        self._outside, self._inside = socket.socketpair()
        self._inside.setblocking(False)
        self.listens = False
        self.come = []
        self.sent = []

    def listen(self):
        self._channel.check()
        self.listens = True

    def fileno(self):
        return self._inside.fileno()

    def receive(self):
        self._channel.check()
        with contextlib.suppress(BlockingIOError):
            self._inside.recv(1000)
        come, self.come = self.come, []
        return come

    def send(self, words):
        self._channel.check()
        self.sent.append(words)
        for other in self._channel.connections:
            if other is not self and other.listens:
                other.come += words
                other._outside.send(b'.')

    def newest(self):
        self._channel.looked += 1
        self._channel.check()
        return self._channel.newest

    def close(self):
        with contextlib.suppress(ValueError):
            self._channel.connections.remove(self)
        self._inside.close()
        self._outside.close()


class Case(unittest.TestCase):

    def setUp(self):
        self.channel = Channel()
        self.addCleanup(self.close)
        self.calls = {}
        self.outbox = Outbox()
        self.telegraph = Telegraph(
            self.channel, self.calls, self.outbox, 'wire')
        self.called = []
        self.now = 1000.0

    def close(self):
        for each in list(self.channel.connections):
            each.close()

    def step(self, seconds=0.0, readable=False):
        """Let some time pass; return how long to wait then."""
        self.now += seconds
        return self.telegraph.step(self.now, readable)

    def listen(self, word='word', interval=1.0):
        self.calls[word] = lambda: self.called.append(word), interval

    def take_called(self):
        called, self.called = self.called, []
        return called


class SendTest(Case):

    def test_interfaces(self):
        """The stand-ins of these tests are as the contract says."""
        self.assertTrue(verifyObject(IChannel, self.channel))
        self.assertTrue(
            verifyObject(IChannelConnection, self.channel.open()))

    def test_nothing_to_do(self):
        """Without words, nothing is opened."""
        self.assertEqual(float('inf'), self.step())
        self.assertTrue(self.telegraph.is_done(self.now))
        self.assertEqual(0, self.channel.opened)

    def test_send(self):
        """A word is sent at once, others together after a moment."""
        self.outbox.put('one')
        self.step()
        connection, = self.channel.connections
        self.assertEqual([['one']], connection.sent)
        self.outbox.put('two')
        self.outbox.put('one')
        self.assertAlmostEqual(SPACING, self.step())
        self.assertEqual([['one']], connection.sent)
        self.step(SPACING)
        self.assertEqual([['one'], ['one', 'two']], connection.sent)
        self.assertEqual(1, self.channel.opened)

    def test_who_sends_does_not_listen(self):
        """Nor does it look for anything."""
        self.outbox.put('one')
        self.step()
        connection, = self.channel.connections
        self.assertFalse(connection.listens)
        self.assertFalse(self.telegraph.is_listening)
        self.assertEqual(0, self.channel.looked)

    def test_rest(self):
        """A connection that nobody needs is kept for a while."""
        self.outbox.put('one')
        self.assertAlmostEqual(REST, self.step())
        self.step(REST / 2)
        self.assertFalse(self.telegraph.is_done(self.now))
        self.outbox.put('one')
        self.step()
        self.step(REST / 2)
        self.assertFalse(self.telegraph.is_done(self.now))
        self.step(REST / 2)
        self.assertTrue(self.telegraph.is_done(self.now))

    def test_what_was_not_sent(self):
        """It is sent on the next connection."""
        self.outbox.put('one')
        self.step()
        self.channel.down = OSError('gone')
        self.outbox.put('two')
        pause = self.step(SPACING)
        self.assertEqual([], self.channel.connections)
        self.assertIsNone(self.telegraph.descriptor)
        self.assertFalse(self.telegraph.is_done(self.now))
        self.channel.down = None
        self.step(pause)
        connection, = self.channel.connections
        self.assertEqual([['two']], connection.sent)


class ListenTest(Case):

    def test_listen(self):
        """It hears what others send."""
        self.listen()
        self.step()
        self.assertTrue(self.telegraph.is_listening)
        self.take_called()
        self.channel.open().send(['word'])
        self.step(0.1, readable=True)
        self.assertEqual(['word'], self.take_called())

    def test_what_nobody_knows(self):
        """Words may be anything, and come from anybody."""
        self.listen()
        self.step()
        self.take_called()
        self.channel.open().send(['other', '', 'x' * 8000, "'; DROP", '\0'])
        self.step(0.1, readable=True)
        self.assertEqual([], self.take_called())
        self.assertTrue(self.telegraph.is_listening)

    def test_many_at_once(self):
        """A word that has come often calls once."""
        self.listen()
        self.step()
        self.take_called()
        self.channel.open().send(1000 * ['word'])
        self.step(0.1, readable=True)
        self.assertEqual(['word'], self.take_called())

    def test_word_that_comes_with_an_answer(self):
        """A driver reads it then, and the descriptor tells nothing of it."""
        self.listen()
        self.step()
        self.take_called()
        connection, = self.channel.connections
        for name, seconds in ('send', SPACING), ('newest', LONGEST_LOOK):
            answer = getattr(connection, name)

            def read_more(*args, answer=answer):
                connection.come.append('word')
                return answer(*args)
            with self.subTest(name), unittest.mock.patch.object(
                    connection, name, read_more):
                self.outbox.put('other')
                self.step(seconds)
                self.assertEqual(['word'], self.take_called())
                self.assertEqual([], connection.come)

    def test_before_it_listened(self):
        """What was said meanwhile nobody has heard; so all look."""
        self.listen('one')
        self.listen('two')
        self.step()
        self.assertEqual(['one', 'two'], self.take_called())

    def test_looks(self):
        """Who dies before the word is sent has committed all the same."""
        self.listen('one', 600)
        self.listen('two', 2.0)
        self.assertAlmostEqual(2.0, self.step())
        self.take_called()
        self.assertEqual(1, self.channel.looked)
        self.step(1.0)
        self.assertEqual(1, self.channel.looked)
        self.step(1.0)
        self.assertEqual(2, self.channel.looked)
        self.assertEqual([], self.take_called())
        self.channel.newest += 1
        self.step(2.0)
        self.assertEqual(['one', 'two'], self.take_called())

    def test_who_wants_it_sooner(self):
        """Whoever begins to listen has its own interval at once."""
        self.listen('one', 600)
        self.step()
        self.listen('two', 2.0)
        self.assertAlmostEqual(2.0, self.step())
        self.take_called()
        self.channel.newest += 1
        self.step(2.0)
        self.assertEqual(['one', 'two'], self.take_called())
        # And it is not relied upon where nobody has looked for so long.
        self.listen('three', 1.0)
        self.assertFalse(self.telegraph.hears(self.now + 1.0 + PATIENCE))

    def test_looks_seldom(self):
        """At least so often that a dead connection is noticed."""
        self.listen('one', 10 ** 6)
        self.assertAlmostEqual(LONGEST_LOOK, self.step())

    def test_server_that_stands_still(self):
        """Who waits for an answer in vain hears nothing."""
        self.listen('one', 2.0)
        self.step()
        for seconds, expected in (
                (0, True), (2.0, True), (2.0 + PATIENCE, False)):
            self.assertEqual(
                expected, self.telegraph.hears(self.now + seconds))
        self.step(2.0 + PATIENCE)
        self.assertTrue(self.telegraph.hears(self.now))

    def test_nobody_listens_any_more(self):
        """While there is something to send, it goes on; nothing fails."""
        self.listen()
        self.step()
        self.calls.clear()
        self.outbox.put('one')
        with logged('lovely.remotetask') as lines:
            self.step(LONGEST_LOOK)
        self.assertEqual([], lines)
        connection, = self.channel.connections
        self.assertEqual([['one']], connection.sent)

    def test_stop(self):
        """Once nobody listens any more, that is the end."""
        self.listen()
        self.step()
        self.assertFalse(self.telegraph.is_done(self.now))
        self.calls.clear()
        self.step()
        self.assertTrue(self.telegraph.is_done(self.now))
        self.telegraph.close()
        self.assertEqual([], self.channel.connections)
        self.assertFalse(self.telegraph.is_listening)


class LostTest(Case):
    """A connection that is lost costs time, and comes back."""

    def fail_often(self, number):
        """Fail that often.  Return the pauses in between."""
        pauses = [self.step(1.0, readable=True)]
        for _ in range(number - 1):
            pauses.append(self.step(pauses[-1]))
        return pauses

    def lose(self):
        self.listen()
        self.step()
        self.take_called()
        self.channel.down = OSError('host=db password=secret')

    def test_comes_back(self):
        """And all look, since nobody knows what was said meanwhile."""
        self.lose()
        pause = self.step(1.0, readable=True)
        self.assertFalse(self.telegraph.is_listening)
        self.assertEqual([], self.take_called())
        self.channel.down = None
        self.step(pause)
        self.assertTrue(self.telegraph.is_listening)
        self.assertEqual(['word'], self.take_called())

    def test_lost_while_it_looks(self):
        """The server may be gone without a sign."""
        self.lose()
        self.step(1.0)
        self.assertFalse(self.telegraph.is_listening)
        self.assertEqual([], self.channel.connections)

    def test_pauses_grow(self):
        """Nothing is asked of a server again and again that is away."""
        self.lose()
        with logged('lovely.remotetask'):
            pauses = self.fail_often(20)
        self.assertLess(pauses[0], 0.2)
        self.assertGreater(pauses[-1], 10)
        self.assertLessEqual(max(pauses), 30)
        # In between nothing is tried.
        opened = self.channel.opened
        self.assertGreater(self.step(pauses[-1] / 4), 0)
        self.assertEqual(opened, self.channel.opened)

    def test_what_the_log_is_told(self):
        """Once that it is lost, once that it is back; no secrets."""
        self.lose()
        with logged('lovely.remotetask', logging.INFO) as lines:
            self.fail_often(4)
            self.channel.down = None
            for _ in range(30):
                self.step(1.0)
        self.assertEqual(
            ['WARNING wire: cannot hear of new jobs at once '
             '(builtins.OSError); until then processors look for jobs again '
             'and again',
             'INFO wire: can hear of new jobs at once again'], lines)

    def test_lost_again_and_again(self):
        """One that is cut off soon after it was opened is no good one."""
        self.lose()
        self.channel.down = None
        pauses = []
        for _ in range(6):
            self.channel.connections[0].receive = self.cut
            with logged('lovely.remotetask'):
                pauses.append(self.step(STEADY / 2, readable=True))
            self.step(pauses[-1])
        self.assertGreater(pauses[-1], 4 * pauses[0])

    def cut(self):
        raise OSError('cut')

    def test_cannot_be_opened(self):
        """It is so if there never was a connection, too."""
        self.channel.down = RuntimeError('no server')
        self.listen()
        with logged('lovely.remotetask'):
            self.assertGreater(self.step(), 0)
        self.assertFalse(self.telegraph.is_listening)
        self.assertFalse(self.telegraph.is_done(self.now))

    def test_anything_is_raised(self):
        """Also what no driver should raise."""
        for error in (SystemExit(3), MemoryError(), BaseException('?')):
            with self.subTest(repr(error)):
                self.channel.down = error
                self.listen()
                with logged('lovely.remotetask'):
                    self.step(60.0)
                self.assertFalse(self.telegraph.is_listening)
