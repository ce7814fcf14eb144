"""The broker: what is said of it, and the messages that go there."""

import contextlib
import importlib.util
import json
import logging
import os
import re
import threading
import time
from typing import NamedTuple

import zope.component
import zope.interface
from zope.app.appsetup.product import getProductConfiguration

from gocept.async_.celerysecret import Screen
from gocept.async_.celerysecret import check_url
from gocept.async_.celerysecret import masked_url
from gocept.async_.celerysecret import secrets_of_options
from gocept.async_.celerysecret import secrets_of_url
from gocept.async_.interfaces import IBroker
from lovely.remotetask.outcome import attempt


log = logging.getLogger(__name__)

# The task that runs the job of an address; see gocept.async_.celery.
TASK = 'gocept.async.run'

# Seconds after a failure before the broker is tried again: at first, and at
# most.
FIRST_PROBE = 1.0
LAST_PROBE = 30.0

# So many answers of a broker have to fit into the time that a request is
# delayed at most: those of the client for Redis to connect and to send (14)
# and of that for AMQP (7), with kombu 5.7, and a little more.
STEPS_OF_REDIS = 16
STEPS = 8

# Of that time, what may be over before another connection is tried.
EARLY = 0.1

PRODUCT = 'gocept.async'

# Defaults, in seconds; see IBroker.
PUBLISH_TIMEOUT = 1.0
RESEND_AFTER = 10.0

# What messages and workers stand on.
OURS = {
    'accept_content': ['json'],
    # Also when RabbitMQ closes a channel, because a message was not
    # acknowledged for half an hour.
    'broker_channel_error_retry': True,
    'broker_connection_max_retries': None,
    'broker_connection_retry_on_startup': True,
    'result_backend': None,
    'task_acks_late': True,
    # Workers do not take what is compressed: see celerymessage.
    'task_compression': None,
    'task_ignore_result': True,
    'task_protocol': 2,
    'task_reject_on_worker_lost': True,
    'task_serializer': 'json',
    # Celery 5.7 restores a reduced count in the thread that has run a task:
    # with AMQP it then reads from the connection of the main thread, and the
    # worker stands still.
    'worker_enable_prefetch_count_reduction': False,
}

# Settings that others than the options decide on.
ELSEWHERE = ('broker_url', 'broker_read_url', 'broker_write_url',
             'task_queues', 'worker_consumer')

LOGIN_METHODS = ('AMQPLAIN', 'EXTERNAL', 'GSSAPI', 'PLAIN')

NAME = re.compile(r'[a-z][a-z0-9_]*\Z')

EXAMPLE = '{"worker_prefetch_multiplier": 2}'

# Others: the options say better.
DEFAULTS = {
    # Seconds that a process of a pool may take to open the database.
    'worker_proc_alive_timeout': 600.0,
    'worker_prefetch_multiplier': 1,
}


def is_installed():
    """Return whether Celery is there."""
    return importlib.util.find_spec('celery') is not None


@zope.interface.implementer(IBroker)
class Broker(NamedTuple):
    """See IBroker."""

    url: str | None
    options: dict
    publish_timeout: float
    resend_after: float

    def __repr__(self):
        url = self.url and masked_url(self.url)
        return f'<Broker {url!r} with options {sorted(self.options)}>'

    def hide(self, text):
        """Return a text without what is secret of the broker."""
        return Screen([*secrets_of_url(self.url or ''),
                       *secrets_of_options(self.options)]).hide(text)


def broker():
    """Return the Broker that is declared; zope.conf precedes ZCML.

    Raise LookupError if there is none, ValueError for a bad value, without
    what may be secret.
    """
    declared = zope.component.queryUtility(IBroker)
    if declared is None:
        declared = Broker(None, {}, PUBLISH_TIMEOUT, RESEND_AFTER)
    said = getProductConfiguration(PRODUCT) or {}
    found = declared._replace(**{
        name: _converted(convert, key, said[key]) for key, name, convert in (
            ('celery-broker', 'url', str),
            ('celery-options', 'options', parse_options),
            ('celery-publish-timeout', 'publish_timeout', parse_seconds),
            ('celery-resend-after', 'resend_after', parse_seconds))
        if key in said})
    if not found.url:
        raise LookupError(
            f'There is no Celery broker; declare it in ZCML, <async:celery '
            f'broker="redis://..." />, or in zope.conf, celery-broker in '
            f'<product-config {PRODUCT}>.')
    check_url(found.url)
    return found


def _converted(convert, key, text):
    try:
        return convert(text)
    except ValueError as error:
        raise ValueError(f'{key} in zope.conf: {error}') from None


def hide(text):
    """Return a text without what is secret of the broker that is declared.
    """
    # If it cannot be used, nobody was told what is secret.
    outcome = attempt(broker)
    return text if outcome.failed else outcome.value.hide(text)


def parse_options(text):
    """Return the settings of a JSON object; ValueError if it is none.

    No message shows the text: there may be a password in it.
    """
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'The options are no JSON ({error}); write Celery\'s settings '
            f'like {EXAMPLE}.') from None
    if not isinstance(options, dict):
        raise ValueError(
            f'The options are no JSON object; write Celery\'s settings like '
            f'{EXAMPLE}.')
    _check_names(options)
    if options.get('broker_login_method', 'PLAIN') not in LOGIN_METHODS:
        raise ValueError(
            f'broker_login_method: choose one of {", ".join(LOGIN_METHODS)}.')
    if not isinstance(options.get('broker_transport_options', {}), dict):
        raise ValueError(
            'broker_transport_options: write a JSON object there, too.')
    return options


def _check_names(options):
    refused = sorted({*ELSEWHERE, *OURS} & options.keys())
    if refused:
        raise ValueError(
            f'{", ".join(refused)}: this is set by gocept.async itself; '
            f'leave it out.')
    for name in options:
        if not NAME.match(name):
            raise ValueError(
                'The options have a name that no setting of Celery has; all '
                'of them are made of small letters and _.')


def parse_seconds(text):
    """Return the seconds; ValueError unless they are positive."""
    seconds = -1.0
    with contextlib.suppress(ValueError):
        seconds = float(text)
    if not 0 < seconds < float('inf'):
        # What stands there is not shown: a URL, by mistake, has a password.
        raise ValueError('This is no positive number of seconds; choose one '
                         'like 1.5.')
    return seconds


def settings(broker):
    """Return Celery's settings for a broker."""
    return {**DEFAULTS, **broker.options, **OURS, 'broker_url': broker.url}


def sender_settings(broker):
    """Return the settings of who sends: no wait is longer than said."""
    found = settings(broker)
    redis = broker.url.startswith(('redis', 'valkey', 'sentinel'))
    names = (('socket_connect_timeout', 'socket_timeout') if redis
             else ('read_timeout', 'write_timeout'))
    step = broker.publish_timeout / (STEPS_OF_REDIS if redis else STEPS)
    found['broker_transport_options'] = {
        **found.get('broker_transport_options', {}),
        **dict.fromkeys(names, step),
        # Kombu sleeps before it connects again, unless told so.  Once: there
        # may be another broker in the URL.
        'max_retries': 1,
        **dict.fromkeys(('interval_start', 'interval_step', 'interval_max'),
                        0)}
    found['broker_connection_timeout'] = step
    return found


class Breaker:
    """Tells whether to try the broker: after a failure, only now and then.

    clock -- returns monotonic seconds.
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._wait = None
        self._again = None

    def allows(self):
        """Return whether to try.  While it is broken, one caller may."""
        with self._lock:
            if self._wait is None:
                return True
            now = self._clock()
            if now < self._again:
                return False
            self._again = now + self._wait
            return True

    def failed(self):
        """Note a failure.  Return whether it is the first one."""
        with self._lock:
            first = self._wait is None
            self._wait = (FIRST_PROBE if first
                          else min(LAST_PROBE, 2 * self._wait))
            self._again = self._clock() + self._wait
            return first

    def succeeded(self):
        """Note a success.  Return whether it is the first one again."""
        with self._lock:
            first = self._wait is not None
            self._wait = None
            return first


class _Connection(threading.local):
    """Each thread has its own: none waits for what another one does."""

    producer = None
    pid = None


class Sender:
    """Sends addresses of jobs to the broker, and never waits for long.

    broker -- Broker.
    """

    def __init__(self, broker, clock=time.monotonic):
        # It is an extra, and only who sends needs it.
        import celery

        self.broker = broker
        self.breaker = Breaker(clock)
        self._clock = clock
        self._app = celery.Celery(
            'gocept.async', set_as_current=False, changes=sender_settings(
                broker))
        # What is not installed is no broker that might answer later.
        self._app.connection_for_write().get_transport_cls()
        self._mine = _Connection()

    def send(self, queue, addresses):
        """Send addresses to a queue.  Return how many were sent.

        addresses -- an iterable.

        The rest is left to the sweep: if the broker does not answer, or
        publish_timeout is over.
        """
        sent = 0
        end = self._clock() + self.broker.publish_timeout
        for address in addresses:
            # Also while others find out that it is down.
            if not self.breaker.allows() or not self._send_one(
                    queue, address, end):
                break
            sent += 1
            if self._clock() >= end:
                break
        return sent

    def _send_one(self, queue, address, end):
        late = self._clock() + EARLY * self.broker.publish_timeout
        outcome = self._attempt(self._publish, queue, address)
        if outcome.failed and self._clock() < min(late, end):
            # The connection may be one that the broker has closed since.
            outcome = self._attempt(self._publish, queue, address)
        self._note(outcome)
        return not outcome.failed

    def _attempt(self, call, *args):
        """Call something with this thread's connection; return an Outcome."""
        outcome = attempt(call, *args)
        if outcome.failed:
            self.close()
        return outcome

    def _publish(self, queue, address):
        self._app.send_task(
            TASK, kwargs=address, queue=queue, producer=self._producer(),
            retry=False, ignore_result=True, add_to_parent=False,
            # Celery's own takes longer than all the rest here.
            kwargsrepr=repr(address))

    def _note(self, outcome):
        if not outcome.failed:
            if self.breaker.succeeded():
                log.info('The Celery broker answers again.')
        elif self.breaker.failed():
            log.warning(
                'The Celery broker cannot be reached (%s); jobs wait, and '
                'are sent by a worker later.',
                self.broker.hide(outcome.error))

    def _producer(self):
        mine = self._mine
        if mine.producer is None or mine.pid != os.getpid():
            mine.pid = os.getpid()
            mine.producer = self._app.amqp.Producer(
                self._app.connection_for_write(), auto_declare=False)
        return mine.producer

    def waiting(self, queue):
        """Return how many messages wait in a queue; None if unknown."""
        if not self.breaker.allows():
            return None
        outcome = self._attempt(self._count, queue)
        self._note(outcome)
        return outcome.value

    def _count(self, queue):
        connection = self._producer().connection
        channel = connection.default_channel
        try:
            found = channel.queue_declare(queue, passive=True).message_count
        except connection.channel_errors:
            # There is no such queue, or nothing was ever sent to it.
            self.close()
            return 0
        # If the broker does not tell, there may be some.
        return found if type(found) is int and found >= 0 else 1

    def close(self):
        """Close the connection of this thread."""
        producer, self._mine.producer = self._mine.producer, None
        if producer is not None and self._mine.pid == os.getpid():
            attempt(producer.connection.release)


_senders = {}


def sender():
    """Return the Sender of this process; errors like `broker`."""
    found = broker()
    key = json.dumps(found, sort_keys=True)
    if key not in _senders:
        # Two threads make two; one of them stays.
        _senders.setdefault(key, Sender(found))
    return _senders[key]
