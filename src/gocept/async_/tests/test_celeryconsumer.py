"""The main process of a worker obeys to nothing, and goes on."""

import errno
import unittest
import unittest.mock

from billiard.exceptions import WorkerLostError
from celery.exceptions import WorkerShutdown
from celery.worker.control import Panel
from kombu.exceptions import OperationalError

from gocept.async_ import celeryconsumer
from gocept.async_.celeryconsumer import Disturbed
from gocept.async_.celeryconsumer import Mailbox
from gocept.async_.tests import celerygarbage


class NodeTest(unittest.TestCase):

    def setUp(self):
        self.called = []
        handlers = {name: self.handler(name) for name in Panel.data}
        self.node = Mailbox('celery', type='fanout').Node(
            'here', state='state', handlers=handlers)
        self.node.reply = lambda data, **kw: self.replies.append((data, kw))
        self.replies = []
        patch = unittest.mock.patch.object(
            celeryconsumer, 'refusals', unittest.mock.Mock())
        self.refusals = patch.start()
        self.addCleanup(patch.stop)

    def handler(self, name):
        def handle(state, **arguments):
            self.called.append((name, arguments))
            return {'broker': {'hostname': 'h', 'transport_options': 's3cret'}}
        return handle

    def ask(self, **body):
        self.node.handle_message({
            'arguments': {'x': 1}, 'ticket': 'ticket',
            'reply_to': {'exchange': 'events', 'routing_key': 'me'}, **body})

    def test_questions(self):
        """Answered, whatever arguments there are, to who asks for replies."""
        for name in celeryconsumer.QUESTIONS:
            self.ask(method=name)
        self.assertEqual(
            [(name, {}) for name in celeryconsumer.QUESTIONS], self.called)
        for _, where in self.replies:
            self.assertEqual({
                'exchange': 'reply.celery.pidbox', 'routing_key': 'me',
                'ticket': 'ticket'}, where)

    def test_no_secrets(self):
        """What tells of the broker leaves its options out."""
        self.ask(method='stats')
        self.assertNotIn('s3cret', str(self.replies))
        self.assertIn('h', str(self.replies))

    def test_commands(self):
        """None that Celery has is obeyed to."""
        for name, meta in Panel.meta.items():
            if meta.type == 'control':
                self.ask(method=name)
        for name in 'conf', 'report', 'hello', 'objgraph', 'memdump':
            self.ask(method=name)
        self.assertEqual([], self.called)
        self.refusals.note.assert_called()

    def test_anything(self):
        """Nothing is raised, nothing is called."""
        for body in celerygarbage.COMMANDS:
            if isinstance(body, dict) and body.get('method') == 'stats':
                continue
            self.node.handle_message(body)
        self.assertEqual([], self.called)

    def test_destinations(self):
        """Who is not meant says nothing."""
        self.ask(method='ping', destination=['there'])
        self.assertEqual([], self.replies)
        self.refusals.note.assert_not_called()
        self.ask(method='ping', destination=['there', 'here'])
        self.assertEqual(1, len(self.replies))


class DisturbanceTest(unittest.TestCase):

    def raised(self, exception):
        return celeryconsumer._as_disturbance(
            exception, (ConnectionError, OSError))

    def test_anything(self):
        """Celery takes it for a lost connection, and connects again."""
        for error in (ValueError('x'), KeyError(), RecursionError(),
                      MemoryError(), OperationalError(), Exception()):
            found = self.raised(error)
            self.assertIsInstance(found, Disturbed)
            self.assertIs(error, found.__cause__)

    def test_no_descriptors(self):
        """Celery would end the worker."""
        found = self.raised(OSError(errno.EMFILE, 'too many open files'))
        self.assertIsNone(found.errno)

    def test_ends(self):
        """What is to end the worker does."""
        for error in WorkerShutdown(0), KeyboardInterrupt(), WorkerLostError():
            self.assertIs(error, self.raised(error))

    def test_lost_connection(self):
        """It stays what it is."""
        error = ConnectionResetError('x')
        self.assertIs(error, self.raised(error))
