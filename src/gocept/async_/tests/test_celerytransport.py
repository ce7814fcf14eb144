"""What is no message becomes an empty one, and ends nothing."""

import base64
import json
import struct
import types
import unittest
import unittest.mock
import zlib

import kombu
from amqp import spec
from amqp.basic_message import Message
from kombu.transport import memory
from kombu.transport import pyamqp
from kombu.transport import redis

from gocept.async_.celery import transport as celerytransport
from gocept.async_.celery.transport import Connection
from gocept.async_.celery.transport import RedisChannel
from gocept.async_.celery.transport import envelope
from gocept.async_.celery.transport import guarded
from gocept.async_.tests import celerygarbage


# Large enough for a test of what is not kept.
LARGE = celerytransport.MAX_SIZE + 1


class EnvelopeTest(unittest.TestCase):
    """What is read from Redis."""

    def test_anything(self):
        """Kombu can make a message of it, whatever it was."""
        channel = unittest.mock.Mock()
        channel.decode_body = lambda body, encoding: base64.b64decode(body)
        for name, item in celerygarbage.items().items():
            with self.subTest(name):
                found = json.loads(envelope(item, 'events'))
                message = guarded(redis.Transport).Channel.Message(
                    found, channel=channel)
                self.assertIsInstance(message.headers, dict)
                self.assertLess(len(message.body), celerytransport.MAX_SIZE)
                self.assertEqual(
                    {'exchange': '', 'routing_key': 'events'},
                    message.delivery_info)

    def test_message(self):
        """Body and headers are taken over; the tag is not."""
        item = json.dumps(celerygarbage.envelope(b'body')).encode()
        one, two = (json.loads(envelope(item)) for _ in range(2))
        self.assertEqual(b'body', base64.b64decode(one['body']))
        self.assertEqual(celerygarbage.genuine_headers(), one['headers'])
        tags = {found['properties']['delivery_tag'] for found in (one, two)}
        self.assertEqual(2, len(tags - {'x'}))

    def test_plain_body(self):
        """A sender may be told to write none of base 64."""
        item = celerygarbage.envelope(b'', encoding=None)
        found = json.loads(envelope(json.dumps(
            {**item, 'body': 'ä'}).encode()))
        self.assertEqual('ä'.encode(), base64.b64decode(found['body']))

    def test_large(self):
        """It is not even parsed."""
        item = json.dumps(celerygarbage.envelope(bytes(LARGE))).encode()
        self.assertEqual('', json.loads(envelope(item))['body'])

    def test_what_was_made_is_read_again(self):
        """One that was given back."""
        item = json.dumps(celerygarbage.envelope(b'body')).encode()
        again = json.loads(envelope(envelope(item).encode(), 'events'))
        self.assertEqual(b'body', base64.b64decode(again['body']))


class UncompressedTest(unittest.TestCase):

    def test_bomb(self):
        """A body stays as it is, whatever its headers say."""
        bomb = zlib.compress(bytes(10 ** 7))
        for transport in pyamqp.Transport, memory.Transport:
            channel = getattr(guarded(transport), 'Connection',
                              guarded(transport)).Channel
            sent = Message(bomb, application_headers={'compression': 'zlib'})
            sent.delivery_info = {'delivery_tag': 'x'}
            if transport is memory.Transport:
                sent = {'body': bomb, 'headers': {'compression': 'zlib'},
                        'properties': {'delivery_tag': 'x'}}
            found = channel.Message(sent, channel=unittest.mock.Mock(
                decode_body=lambda body, encoding: body))
            self.assertEqual(bomb, found.body)
            self.assertEqual({}, found.headers)


class FrameTest(unittest.TestCase):
    """What is read by AMQP."""

    def setUp(self):
        self.messages = []
        self.connection = unittest.mock.Mock(bytes_recv=0)
        self.handle = celerytransport.frame_handler(
            self.connection,
            lambda channel, method, arguments, content:
            self.messages.append(content))

    def deliver(self, message, size=None):
        """Let a message arrive, as the frames that it is sent in."""
        content = message.body
        header = struct.pack(
            '>HHQ', 60, 0, len(content) if size is None else size)
        frames = [(1, struct.pack('>HH', *spec.Basic.Deliver)),
                  (2, header + message._serialize_properties())]
        step = 100_000
        frames += [(3, content[start:start + step])
                   for start in range(0, len(content), step)]
        for kind, buffer in frames:
            self.handle((kind, 1, bytes(buffer)))
        return self.messages.pop()

    def test_anything(self):
        """Each is one message, and the next one is read after it."""
        for name, message in celerygarbage.publications().items():
            with self.subTest(name):
                if isinstance(message.body, str):
                    message.body = message.body.encode()
                found = self.deliver(message)
                self.assertLessEqual(
                    len(found.body), celerytransport.MAX_SIZE)
                good = celerygarbage._message(b'good')
                self.assertEqual(b'good', bytes(self.deliver(good).body))
        self.assertEqual([], self.messages)

    def test_headers_that_cannot_be_read(self):
        """Neither they nor the body are kept."""
        message = celerygarbage._raw(b'\x80\x00\x02\xff\xfe', b'body')
        found = self.deliver(message)
        self.assertEqual(({}, b''), (found.properties, found.body or b''))

    def test_large(self):
        """Nothing of it is kept, however many pieces it comes in."""
        message = celerygarbage._message(bytes(LARGE))
        self.assertFalse(self.deliver(message).body)


class ClientTest(unittest.TestCase):

    class Channel(RedisChannel):
        """Has a pool, and makes clients as kombu does."""

        pool = 'first'

        def _create_client(self):
            return types.SimpleNamespace(connection_pool=self.pool)

    def client(self, channel, *args):
        with channel.conn_or_acquire(*args) as client:
            return client

    def test_kept(self):
        """One client answers as long as the connections are the same."""
        channel = self.Channel()
        first = self.client(channel)
        self.assertIs(first, self.client(channel))
        self.assertEqual('given', self.client(channel, 'given'))
        channel.pool = 'second'
        self.assertEqual('second', self.client(channel).connection_pool)


class GuardedTest(unittest.TestCase):

    def test_transports(self):
        """Those of kombu stay what they are, but for what they read."""
        for transport in pyamqp.Transport, redis.Transport, memory.Transport:
            found = guarded(transport)
            self.assertTrue(issubclass(found, transport))
            self.assertIs(found, guarded(transport))

    def test_connection(self):
        """Copies of a connection read in the same way."""
        connection = Connection('memory://').clone()
        self.assertIsInstance(connection, Connection)
        self.assertTrue(issubclass(
            connection.transport.Channel.Message,
            celerytransport.UncompressedMessage))

    def test_uri(self):
        """It shows neither user nor password, unless it is asked for."""
        connection = Connection('redis://user:s3cret@host:1/0')
        self.assertEqual('redis://**@host:1/0', connection.as_uri())
        self.assertIn('s3cret', connection.as_uri(include_password=True))

    def test_garbage_among_unacknowledged(self):
        """What is kept in Redis until it is acknowledged may be odd, too."""
        qos = guarded(redis.Transport).Channel.QoS
        for error in TypeError, ValueError, RecursionError:
            found = unittest.mock.Mock(spec=qos)
            with unittest.mock.patch.object(
                    redis.QoS, 'restore_by_tag', side_effect=error):
                qos.restore_by_tag(found, b'tag')
            found._remove_from_indices.assert_called_once_with(b'tag')
        with unittest.mock.patch.object(
                redis.QoS, 'restore_by_tag', side_effect=ConnectionError), \
                self.assertRaises(ConnectionError):
            qos.restore_by_tag(unittest.mock.Mock(spec=qos), b'tag')

    def test_others(self):
        """A transport of another kind is left alone."""
        self.assertIs(kombu.transport.base.Transport, guarded(
            kombu.transport.base.Transport))
