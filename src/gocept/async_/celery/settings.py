"""What is said of the broker, in ZCML and in zope.conf."""

import contextlib
import importlib.util
import json
import re
from typing import NamedTuple

import zope.component
import zope.interface

from gocept.async_.celery.secret import Screen
from gocept.async_.celery.secret import check_url
from gocept.async_.celery.secret import masked_url
from gocept.async_.celery.secret import secrets_of_options
from gocept.async_.celery.secret import secrets_of_url
from gocept.async_.interfaces import IBroker
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running.server import server


# The task that runs the job of an address; see gocept.async_.celery.
TASK = 'gocept.async.run'

# The header of a message that says: no other one of its job was sent before.
FIRST = 'first'

# So many answers of a broker have to fit into the time that a request is
# delayed at most: those of the client for Redis to connect and to send (14)
# and of that for AMQP (7), with kombu 5.7, and a little more.
STEPS_OF_REDIS = 16
STEPS = 8

PRODUCT = 'gocept.async'

# Defaults, in seconds; see IBroker.
PUBLISH_TIMEOUT = 1.0
RESEND_AFTER = 10.0

# Seconds that may be told at most: a year.  Sockets and locks take more, but
# not any number.
LONGEST = 365 * 86400.0

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
    # They could change when messages are acknowledged.
    'task_annotations': None,
    # Workers do not take what is compressed: see celerymessage.
    'task_compression': None,
    'task_ignore_result': True,
    'task_protocol': 2,
    'task_reject_on_worker_lost': True,
    'task_retry_on_worker_lost': False,
    'task_serializer': 'json',
    # Celery 5.7 restores a reduced count in the thread that has run a task:
    # with AMQP it then reads from the connection of the main thread, and the
    # worker stands still.
    'worker_enable_prefetch_count_reduction': False,
    # A process that is not forked begins without what the worker has read from
    # zope.conf, and the worker waits for it for ever.
    'worker_pool_start_method': 'fork',
}

# Settings that others than the options decide on.
ELSEWHERE = ('broker_url', 'broker_read_url', 'broker_write_url',
             'task_queues', 'worker_consumer')

LOGIN_METHODS = ('AMQPLAIN', 'EXTERNAL', 'GSSAPI', 'PLAIN')

NAME = re.compile(r'[a-z][a-z0-9_]*\Z')

EXAMPLE = '{"worker_prefetch_multiplier": 2}'

# Defaults of other settings; what the options say goes before.
DEFAULTS = {
    # A worker is to say so if it is told a queue that no service has.
    'task_create_missing_queues': False,
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

    def screen(self):
        """Return a Screen that hides what is secret of the broker."""
        return Screen([*secrets_of_url(self.url or ''),
                       *secrets_of_options(self.options)])


def broker():
    """Return the Broker that is declared; zope.conf precedes ZCML.

    Raise LookupError if there is none, ValueError for a bad value, without
    what may be secret.
    """
    declared = zope.component.queryUtility(IBroker)
    if declared is None:
        declared = Broker(None, {}, PUBLISH_TIMEOUT, RESEND_AFTER)
    said = server().settings(PRODUCT)
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
    outcome = outcome_of(broker)
    return text if outcome.failed else outcome.value.screen().hide(text)


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
    """Return the seconds; ValueError if they are not positive, or too many.
    """
    seconds = -1.0
    with contextlib.suppress(ValueError):
        seconds = float(text)
    if not 0 < seconds <= LONGEST:
        # What stands there is not shown: a URL, by mistake, has a password.
        raise ValueError(
            f'This is no positive number of seconds up to {LONGEST:.0f}; '
            f'choose one like 1.5.')
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
        # The client would send a message twice, and say that of neither.
        'retry_on_timeout': False,
        **dict.fromkeys(('interval_start', 'interval_step', 'interval_max'),
                        0)}
    found['broker_connection_timeout'] = step
    # Who sends knows no queues; those of the workers are made when a message
    # is sent to one.
    found['task_create_missing_queues'] = True
    return found
