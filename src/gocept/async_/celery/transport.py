"""The connection of a worker to the broker: reads what is no message, too.

Clients for brokers raise whatever it is when they cannot take a message
apart, and have it no more, or get it once more with each new connection.
Here what is none becomes an empty message: `celerymessage` refuses it, and it
is acknowledged like others.
"""

import base64
import contextlib
import functools
import json
import struct
import uuid

import celery.app.amqp
import kombu
import kombu.message
from amqp import method_framing
from amqp import serialization
from kombu.transport import pyamqp
from kombu.transport import virtual

from gocept.async_.celery.secret import masked_url
from lovely.remotetask.foreign.outcome import outcome_of


# Bytes of what is read as one message at most, with all its headers.
MAX_SIZE = 2 ** 20

# Kinds of frames of AMQP, and the content header of an empty message.
HEADER, BODY = 2, 3
EMPTY_HEADER = struct.pack('>HHQH', 60, 0, 0, 0)


class Connection(kombu.Connection):
    """A connection whose messages can be read, and that tells no secret."""

    def get_transport_cls(self):
        return guarded(super().get_transport_cls())

    def as_uri(self, include_password=False, *args, **kw):
        found = super().as_uri(include_password, *args, **kw)
        return found if include_password else masked_url(found)


class AMQP(celery.app.amqp.AMQP):
    """What an application of Celery knows of messages."""

    Connection = Connection


@functools.cache
def guarded(transport):
    """Return a class of a transport that reads anything.

    transport -- class of kombu.
    """
    if issubclass(transport, pyamqp.Transport):
        channel = _guarded_channel(transport.Connection.Channel)
        connection = type('Connection', (
            AmqpConnection, transport.Connection), {'Channel': channel})
        return type('Transport', (transport,), {'Connection': connection})
    if issubclass(transport, virtual.Transport):
        channel = _guarded_channel(transport.Channel)
        if transport.driver_type == 'redis':
            channel = type('Channel', (RedisChannel, channel), {
                'QoS': type('QoS', (RedisQoS, channel.QoS), {})})
        return type('Transport', (transport,), {'Channel': channel})
    return transport


def _guarded_channel(channel):
    message = type('Message', (channel.Message, UncompressedMessage), {})
    return type('Channel', (channel,), {'Message': message})


class UncompressedMessage(kombu.message.Message):
    """A message that is not decompressed: some kilobytes may be gigabytes."""

    def __init__(self, *args, headers=None, **kw):
        headers = dict(headers) if isinstance(headers, dict) else {}
        headers.pop('compression', None)
        super().__init__(*args, headers=headers, **kw)


# Redis

class RedisChannel:
    """Mixed into a channel of Redis: reads an item of a list, or a broadcast.
    """

    _kept = None

    @contextlib.contextmanager
    def conn_or_acquire(self, client=None):
        # Kombu makes a client for each acknowledgement, which takes longer
        # than that itself.
        if client is None and (self._kept is None
                               or self._kept.connection_pool is not self.pool):
            self._kept = self._create_client()
        yield client or self._kept

    def _create_client(self, asynchronous=False):
        client = super()._create_client(asynchronous)
        parse = client.parse_response

        def parse_response(connection, command, **options):
            answer = parse(connection, command, **options)
            if command == 'BRPOP' and answer:
                key, item = answer
                return key, envelope(item, self._queue_of(key))
            return answer
        client.parse_response = parse_response
        return client

    def _queue_of(self, key):
        # Each priority has a list of its own.
        return key.decode('utf-8', 'replace').rsplit(self.sep, 1)[0]

    @functools.cached_property
    def subclient(self):
        found = super().subclient
        parse = found.parse_response

        def parse_response(*args, **kw):
            answer = parse(*args, **kw)
            if isinstance(answer, list) and answer[0].endswith(b'message'):
                answer = [*answer[:-1], envelope(answer[-1])]
            return answer
        found.parse_response = parse_response
        return found


class RedisQoS:
    """Mixed into what keeps messages of Redis until they are acknowledged."""

    def restore_by_tag(self, tag, client=None, leftmost=False):
        outcome = outcome_of(super().restore_by_tag, tag, client, leftmost)
        if outcome.is_a((TypeError, ValueError, RecursionError)):
            # What was kept under that tag is no message; it is forgotten.
            self._remove_from_indices(tag).execute()
        elif outcome.failed:
            raise outcome.exception


def envelope(item, queue=''):
    """Return what was read from Redis as a message that kombu can read.

    item -- bytes.
    queue -- str, where it goes if it is given back.

    JSON; that of an empty message if the item is none.
    """
    outcome = outcome_of(_contents, item)
    found = {} if outcome.failed else outcome.value
    body = found.get('body', '')
    return json.dumps({
        'body': body, 'headers': found.get('headers', {}),
        'content-type': found.get('content-type'),
        'content-encoding': 'utf-8',
        'properties': {
            'body_encoding': 'base64',
            # The item has a tag of its own, which is not used: another item
            # may have the same.
            'delivery_tag': str(uuid.uuid4()),
            'delivery_info': {'exchange': '', 'routing_key': queue}}})


def _contents(item):
    """Return what is taken over from an item; anything may be raised."""
    if len(item) > MAX_SIZE:
        raise ValueError('too large')
    found = json.loads(item)
    body = found['body']
    if found['properties']['body_encoding'] == 'base64':
        base64.b64decode(body, validate=True)
    else:
        body = base64.b64encode(body.encode()).decode()
    return {'body': body, 'headers': dict(found['headers']),
            'content-type': found['content-type']}


# AMQP

class AmqpConnection:
    """Mixed into a connection by AMQP."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **{**kw, 'frame_handler': frame_handler})


def frame_handler(connection, callback):
    """Return what amqp calls with each frame; see amqp.method_framing."""
    on_frame = method_framing.frame_handler(connection, callback)
    to_skip = {}

    def on_any_frame(frame):
        kind, channel, buffer = frame
        if kind == HEADER and not is_readable(buffer):
            # The body of a message that is too large is read, and nothing of
            # it kept.
            to_skip[channel] = _size(buffer)
            return on_frame((kind, channel, EMPTY_HEADER))
        if kind == BODY and to_skip.get(channel, 0) > 0:
            to_skip[channel] -= len(buffer)
            connection.bytes_recv += 1
            return False
        return on_frame(frame)
    return on_any_frame


def is_readable(buffer):
    """Return whether a content header of AMQP can be read."""
    return _size(buffer) <= MAX_SIZE and not outcome_of(
        serialization.decode_properties_basic, buffer, 12).failed


def _size(buffer):
    """Return how many bytes of a body follow a content header."""
    return struct.unpack_from('>Q', buffer, 4)[0]
