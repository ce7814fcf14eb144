"""The main process of a worker obeys to nothing, and goes on."""

import errno
import unittest
import unittest.mock

from billiard.exceptions import WorkerLostError
from celery.exceptions import WorkerShutdown
from celery.worker import consumer
from celery.worker.control import Panel
from kombu.exceptions import OperationalError

from gocept.async_.celery import consumer as celeryconsumer
from gocept.async_.celery import message as celerymessage
from gocept.async_.celery.consumer import Consumer
from gocept.async_.celery.consumer import Disturbed
from gocept.async_.celery.consumer import Mailbox
from gocept.async_.celery.entrance import Entrance
from gocept.async_.tests import celerygarbage
from lovely.remotetask.retry import Pauses


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
        self.refusals.add.assert_called()

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
        self.refusals.add.assert_not_called()
        self.ask(method='ping', destination=['there', 'here'])
        self.assertEqual(1, len(self.replies))


class ConsumerTest(unittest.TestCase):

    def setUp(self):
        self.consumer = Consumer.__new__(Consumer)
        self.consumer.connection_errors = (OSError,)
        self.handled = []
        patch = unittest.mock.patch.object(
            consumer.Consumer, 'create_task_handler',
            lambda *args: self.handle)
        patch.start()
        self.addCleanup(patch.stop)
        patch = unittest.mock.patch.object(
            celeryconsumer, 'refusals', unittest.mock.Mock())
        self.refusals = patch.start()
        self.addCleanup(patch.stop)
        self.error = None

    def handle(self, message):
        self.handled.append(message)
        if self.error is not None:
            raise self.error

    def deliver(self, **said):
        message = unittest.mock.Mock(**{
            'headers': celerygarbage.genuine_headers(),
            'body': celerygarbage.body(), 'content_type': 'application/json',
            **said})
        self.consumer.create_task_handler()(message)
        return message

    def test_address(self):
        """It is told to Celery as another message, not acknowledged here."""
        message = self.deliver()
        message.ack.assert_not_called()
        handled, = self.handled
        self.assertIsInstance(handled, celerymessage.Message)
        self.assertEqual(message.delivery_tag, handled.delivery_tag)
        self.refusals.add.assert_not_called()

    def test_garbage(self):
        """It is acknowledged, and that is all."""
        for said in ({'body': b'{'}, {'headers': None}, {'body': None},
                     {'headers': {'task': 'celery.chain'}}):
            message = self.deliver(**said)
            message.ack.assert_called_once_with()
        self.assertEqual([], self.handled)
        self.assertEqual(4, self.refusals.add.call_count)

    def test_garbage_of_a_lost_connection(self):
        """It cannot be acknowledged; whoever waits for messages finds out."""
        self.deliver(body=b'{', **{'ack.side_effect': AttributeError})
        self.refusals.add.assert_called_once_with('it cannot be read')

    def test_no_threads(self):
        """What a pool cannot take is not acknowledged; Celery connects again.
        """
        self.error = RuntimeError("can't start new thread")
        with self.assertRaises(RuntimeError):
            self.deliver().ack.assert_not_called()

    def test_pauses(self):
        """Connections that do not last are made less and less often."""
        now = [0.0]

        def sleep(seconds):
            now[0] += seconds
        self.consumer._pauses = Pauses(0.1, 30.0)
        with unittest.mock.patch('time.monotonic', lambda: now[0]), \
                unittest.mock.patch('time.sleep', sleep):
            for _ in range(20):
                self.consumer._connected = now[0]
                self.consumer._pause()
            self.assertGreater(now[0], 300)
            # One that has lasted is made again at once.
            now[0] += 60
            before = now[0]
            self.consumer._pause()
            self.assertEqual(before, now[0])

    def test_pool_that_cannot_work(self):
        """The worker ends, instead of forking for ever."""
        self.consumer.pool = unittest.mock.Mock(
            __module__='celery.concurrency.prefork')
        with unittest.mock.patch.object(
                celeryconsumer, 'entrance', Entrance()) as entrance:
            entrance.report(False)
            with self.assertRaises(WorkerLostError):
                self.consumer._wait_for_pool()
            entrance.report(True)
            self.consumer._wait_for_pool()

    def test_pool_that_has_died(self):
        """Processes that were killed at their start report nothing."""
        self.consumer.pool = unittest.mock.Mock(
            __module__='celery.concurrency.prefork',
            **{'did_start_ok.side_effect': [True, True, False]})
        with unittest.mock.patch.object(
                celeryconsumer, 'entrance', Entrance()), \
                self.assertRaisesRegex(WorkerLostError, 'has died'):
            self.consumer._wait_for_pool()


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
