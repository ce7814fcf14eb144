"""What a broker may bring that is no message of ours, for the tests.

Celery's own clients send none of it; who can write to the broker can.
"""

import base64
import copy
import json
import struct
import zlib

import amqp

from gocept.async_.celery.settings import TASK


# Not an address: there is no such service.
ELSEWHERE = {'database': '', 'service': 'no/where', 'job': 1, 'attempt': 1,
             'tid': '0' * 16}

DEEP = b'[' * 100_000

# Some kilobytes, which are fifty megabytes.
BOMB = zlib.compress(bytes(50_000_000))


def body(address=ELSEWHERE, arguments=(), embedded=None):
    """Return the body of a message for a worker of Celery."""
    return json.dumps([list(arguments), address, embedded or {}]).encode()


# Bodies that are none.
BODIES = {
    'nothing': b'', 'a word': b'x', 'null': b'null', 'a number': b'5',
    'a list': b'[]', 'an object': b'{}', 'deep': DEEP,
    'deep objects': b'{"a":' * 50_000, 'two parts': b'[[], {}]',
    'four parts': b'[[], {}, {}, {}]', 'numbers': b'[5, 5, 5]',
    'Latin 1': '[["ä"], {}, {}]'.encode('latin-1'),
    'binary': bytes(range(256)),
    'a pickle': b'\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00]\x94.',
    'nan': b'[[], NaN, {}]',
    'a long number': b'[[], ' + b'9' * 9999 + b', {}]',
    'large': b'[[], {"database": "' + b'x' * 2_000_000 + b'"}, {}]',
    'arguments': body(arguments=[1]),
    'protocol 1': json.dumps({
        'task': TASK, 'id': 'x', 'args': [], 'kwargs': ELSEWHERE}).encode(),
    **{f'without {name}': body({
        key: value for key, value in ELSEWHERE.items() if key != name})
        for name in ELSEWHERE},
    'another key': body({**ELSEWHERE, 'function': 'os.abort'}),
    **{f'{name}: {value!r}': body({**ELSEWHERE, name: value})
       for name in ELSEWHERE for value in (None, True, 1.5, -1, [], {}, '\0')},
    'a huge id': body({**ELSEWHERE, 'job': 10 ** 30}),
    'a long transaction': body({**ELSEWHERE, 'tid': '0' * 10_000}),
    'a late transaction': body({**ELSEWHERE, 'tid': 'f' * 16}),
    'a service above': body({**ELSEWHERE, 'service': '../../x'}),
    'another database': body({**ELSEWHERE, 'database': 'jobs'}),
}

# Headers that Celery's own protocol knows, and would act on, or trip over.
HEADERS = {
    'no task': {'task': None}, 'a list as task': {'task': [TASK]},
    'a built-in task': {'task': 'celery.backend_cleanup'},
    'a chain': {'task': 'celery.chain'}, 'a map': {'task': 'celery.map'},
    'a list as id': {'id': []}, 'no id': {'id': None},
    'time limits': {'timelimit': [0.001, 0.001]},
    'words as time limits': {'timelimit': 'x'},
    'eta': {'eta': '2999-01-01T00:00:00'}, 'a number as eta': {'eta': 5},
    'expired': {'expires': '2000-01-01T00:00:00+00:00'},
    'an object as expires': {'expires': {}},
    'retries': {'retries': 10 ** 9}, 'shadow': {'shadow': ['x']},
    'a group': {'group': 'x', 'group_index': 'x'},
    'stamps': {'stamped_headers': 5, 'stamps': 5},
    'representations': {'argsrepr': 'x' * 100_000, 'kwargsrepr': 5},
    'ignore_result': {'ignore_result': False},
    'nesting': {'replaced_task_nesting': 'x'},
    'compression': {'compression': 'x'},
    'a number as compression': {'compression': 5},
}

# What may stand beside an address, for Celery to do.
EMBEDDED = {
    'callbacks': [{'task': TASK, 'args': [], 'kwargs': ELSEWHERE}],
    'errbacks': [{'task': 'celery.accumulate', 'args': [], 'kwargs': {}}],
    'chain': [{'task': TASK, 'args': [], 'kwargs': ELSEWHERE}],
    'chord': {'task': 'celery.accumulate', 'args': [], 'kwargs': {}},
}

# Broadcasts of Celery's remote control.
COMMANDS = (
    {'method': 'shutdown', 'arguments': {}},
    {'method': 'pool_restart', 'arguments': {'reload': True}},
    {'method': 'time_limit', 'arguments': {
        'task_name': TASK, 'soft': 0.01, 'hard': 0.01}},
    {'method': 'rate_limit', 'arguments': {
        'task_name': TASK, 'rate_limit': '1/h'}},
    {'method': 'cancel_consumer', 'arguments': {'queue': 'events'}},
    {'method': 'add_consumer', 'arguments': {'queue': 'others'}},
    {'method': 'pool_shrink', 'arguments': {'n': 1}},
    {'method': 'autoscale', 'arguments': {'max': 0, 'min': 0}},
    {'method': 'ping', 'pattern': '(.*)*(.*)*(.*)*(.*)*x', 'matcher': 'regex'},
    {'method': 'ping', 'reply_to': 5}, {'method': ['ping']}, {'method': None},
    {'method': 'ping', 'destination': 5}, {}, [], None, 5, 'x',
    {'method': 'stats', 'arguments': {'x': 1}, 'ticket': {}, 'reply_to': {
        'exchange': 'events', 'routing_key': 'events'}},
)


def genuine_headers():
    return {'lang': 'py', 'task': TASK, 'id': 'x', 'root_id': 'x',
            'parent_id': None, 'retries': 0, 'timelimit': [None, None],
            'argsrepr': '()', 'kwargsrepr': '{}', 'origin': 'somebody'}


# Redis

def envelope(content, headers=None, encoding='base64'):
    """Return a message as kombu writes it to Redis: a dict."""
    return {
        'body': base64.b64encode(content).decode(),
        'content-type': 'application/json', 'content-encoding': 'utf-8',
        'headers': genuine_headers() if headers is None else headers,
        'properties': {
            'correlation_id': 'x', 'reply_to': 'x', 'delivery_mode': 2,
            'priority': 0, 'body_encoding': encoding, 'delivery_tag': 'x',
            'delivery_info': {'exchange': '', 'routing_key': 'events'}}}


def items():
    """Return what may lie in a list of Redis, by names; bytes."""
    found = {f'raw: {name}': content for name, content in BODIES.items()
             if content}
    whole = envelope(body())
    for name in whole:
        for value in (None, 5, [], {}, 'x', '%'):
            found[f'{name}: {value!r}'] = {**whole, name: value}
        found[f'without {name}'] = {
            key: value for key, value in whole.items() if key != name}
    for name in whole['properties']:
        for value in (None, 5, [], {}, 'x'):
            odd = copy.deepcopy(whole)
            odd['properties'][name] = value
            found[f'{name} is {value!r}'] = odd
    return {name: content if isinstance(content, bytes)
            else json.dumps(content).encode()
            for name, content in {**found, **_enveloped()}.items()}


def _enveloped():
    found = {f'body: {name}': envelope(content)
             for name, content in BODIES.items()}
    for name, headers in HEADERS.items():
        found[f'headers: {name}'] = envelope(
            body(), {**genuine_headers(), **headers})
    found['a bomb'] = envelope(BOMB, {
        **genuine_headers(), 'compression': 'zlib'})
    found['a pickle'] = {**envelope(b'cos\nabort\n(tR.'),
                         'content-type': 'application/x-python-serialize'}
    return found


def evil(message):
    """Return messages of Redis with the address of one, and more besides.

    message -- bytes, as a sender has written it.
    """
    whole = json.loads(message)
    arguments, address, _ = json.loads(base64.b64decode(whole['body']))
    return [json.dumps(envelope(
        body(address, arguments, {name: value}),
        {**genuine_headers(), **headers})).encode()
        for name, value in EMBEDDED.items() for headers in HEADERS.values()
        if 'task' not in headers]


# AMQP

class RawMessage(amqp.Message):
    """A message whose properties are written as they are given."""

    raw = None

    def _serialize_properties(self):
        return super()._serialize_properties() if self.raw is None \
            else self.raw


def _raw(properties, content=b'x'):
    message = RawMessage(content)
    message.raw = properties
    return message


def _table(*entries):
    """Return properties with a table of headers: pairs of name and value."""
    table = b''.join(
        bytes([len(name)]) + name + value for name, value in entries)
    return struct.pack('>HI', 0x2000, len(table)) + table


def publications():
    """Return messages of AMQP that are none of ours, by names."""
    found = {
        'no headers': amqp.Message(b'x'),
        'a content type that is no UTF-8': _raw(b'\x80\x00\x02\xff\xfe'),
        'an encoding that is no UTF-8': _raw(b'\x40\x00\x02\xff\xfe'),
        'a name that is no UTF-8': _raw(_table((b'\xff', b'S\0\0\0\1x'))),
        'a date in the far future': _raw(
            _table((b'task', b'T' + b'\x7f' * 8))),
        'bytes as task': _raw(_table((b'task', b'x\0\0\0\1x'))),
        'deep headers': _raw(_table((b'task', _nested(3000)))),
        'a body that is too large': amqp.Message(
            bytes(3_000_000), application_headers=genuine_headers()),
    }
    for name, content in BODIES.items():
        # The others make no difference to who reads AMQP.
        if ':' not in name:
            found[f'body: {name}'] = _message(content)
    for name, headers in HEADERS.items():
        found[f'headers: {name}'] = _message(
            body(), {**genuine_headers(), **headers})
    found['a bomb'] = _message(BOMB, {
        **genuine_headers(), 'compression': 'zlib'})
    found['a pickle'] = _message(
        b'cos\nabort\n(tR.', content_type='application/x-python-serialize')
    return found


def _nested(depth):
    found = b'V'
    for _ in range(depth):
        entry = b'\1x' + found
        found = b'F' + struct.pack('>I', len(entry)) + entry
    return found


def _message(content, headers=None, content_type='application/json'):
    return amqp.Message(
        content, content_type=content_type, content_encoding='utf-8',
        application_headers=genuine_headers() if headers is None else headers,
        delivery_mode=2, correlation_id='x', reply_to='x', priority=0)


def throw(port, messages, queue='events'):
    """Publish messages of AMQP to a queue of a RabbitMQ on this machine."""
    connection = amqp.Connection(f'127.0.0.1:{port}')
    connection.connect()
    with connection, connection.channel() as channel:
        for message in messages:
            channel.basic_publish(message, '', queue)
        # Answered when all of them have arrived.
        channel.queue_declare(queue, passive=True)
