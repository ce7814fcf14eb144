"""What takes messages from the broker, in the main process of a worker."""

import errno
import time

import celery.app.control
import kombu.pidbox
from billiard.exceptions import WorkerLostError
from celery.worker import consumer
from celery.worker import loops
from celery.worker import state

from gocept.async_.celery import message as celerymessage
from gocept.async_.celery.entrance import entrance
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import Pauses


# Seconds between two connections to a broker that do not last, at first and
# at most; one that has lasted for longer has.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0

# Questions of Celery's remote control that a worker answers; it obeys to
# nothing that comes from there.
QUESTIONS = ('active', 'active_queues', 'clock', 'ping', 'registered',
             'reserved', 'revoked', 'scheduled', 'stats')


refusals = celerymessage.Refusals()


class Disturbed(OSError):
    """Something is wrong with the broker, or what comes from it.

    To Celery, any OSError is a lost connection.
    """


class Consumer(consumer.Consumer):
    """Takes addresses of jobs from the broker, and nothing else.

    Whatever comes from there, it goes on, and so it does when the broker
    comes back.
    """

    def __init__(self, *args, **kw):
        # Workers need not know of each other, and what they tell each other
        # could be told by anybody.
        super().__init__(
            *args, **{**kw, 'without_mingle': True, 'without_gossip': True})
        self._firsts = celerymessage.Firsts()
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._connected = float('-inf')

    def create_task_handler(self, *args, **kw):
        handle = super().create_task_handler(*args, **kw)

        def on_message(message):
            outcome = outcome_of(celerymessage.read, message)
            if outcome.failed:
                _refuse(message, outcome.error)
            else:
                handle(self._made_anew(message, outcome.value))
        return on_message

    def _made_anew(self, message, address):
        first = (celerymessage.is_first(message)
                 and self._firsts.add(address))
        return celerymessage.made_anew(message, address, first)

    def loop(self, *args):
        """Wait for messages; see celery.worker.loops."""
        self._connected = time.monotonic()
        if not self.restart_count:
            self._wait_for_pool()
        outcome = outcome_of(
            loops.asynloop if self.hub else loops.synloop, *args)
        if outcome.failed:
            raise _as_disturbance(outcome.exception, self.connection_errors)

    def _wait_for_pool(self):
        """Wait until jobs can be run; end the worker if that fails.

        Else Celery would start another process of the pool, again and again.
        """
        if (self.pool.__module__ == 'celery.concurrency.prefork'
                and not entrance.wait(self._look_while_waiting)):
            raise WorkerLostError('No process of the pool can run jobs.')

    def _look_while_waiting(self):
        state.maybe_shutdown()
        # Nobody replaces processes yet; one that has died tells nothing.
        if not self.pool.did_start_ok():
            raise WorkerLostError(
                'A process of the pool has died before it could run jobs.')

    def connect(self):
        outcome = outcome_of(super().connect)
        if outcome.failed and self.restart_count:
            raise _as_disturbance(outcome.exception, self.connection_errors)
        if outcome.failed:
            raise outcome.exception
        return outcome.value

    def on_decode_error(self, message, exc):
        _refuse(message, 'it cannot be read')

    def on_connection_error_after_connected(self, exc):
        transport = self.connection.transport
        for channel in getattr(transport, 'channels', None) or ():
            # Kombu 5.7 gives messages that are being worked on back to Redis
            # when it closes a connection; if that is lost, it ends the worker
            # with an AttributeError.  Nothing has to be given back: the sweep
            # sends what is not run.
            channel.do_restore = False
        super().on_connection_error_after_connected(exc)
        self._pause()

    def _pause(self):
        if time.monotonic() - self._connected > LONGEST_PAUSE:
            self._pauses.reset()
            return
        end = time.monotonic() + self._pauses.next()
        while (left := end - time.monotonic()) > 0:
            state.maybe_shutdown()
            time.sleep(min(left, 0.5))


def _refuse(message, reason):
    refusals.add(reason)
    # An acknowledgement fails only if the connection is lost, and the loop
    # finds that out.
    outcome_of(message.ack)


def _as_disturbance(exception, connection_errors):
    """Return what to raise, so that Celery connects again."""
    ending = (SystemExit, KeyboardInterrupt, WorkerLostError)
    # Celery ends the worker if there are no descriptors.
    known = (isinstance(exception, connection_errors)
             and getattr(exception, 'errno', None) != errno.EMFILE)
    if known or isinstance(exception, ending):
        return exception
    disturbed = Disturbed(f'{type(exception).__name__}: {exception}')
    disturbed.__cause__ = exception
    return disturbed


class Node(kombu.pidbox.Node):
    """Answers questions of Celery's remote control."""

    def handle_message(self, body, message=None):
        outcome = outcome_of(self._question, body)
        if outcome.failed:
            refusals.add('it is no question that is answered')
        elif outcome.value is not None:
            self.dispatch(**outcome.value)

    def _question(self, body):
        """Return what was asked of this worker, None if others are meant.

        Raise anything if it was no question.
        """
        method, destination = body['method'], body.get('destination')
        if method not in QUESTIONS or body.get('pattern'):
            raise celerymessage.Refused(method)
        if destination and self.hostname not in list(destination):
            return None
        return {'method': method, 'ticket': str(body['ticket']), 'reply_to': {
            'exchange': self.mailbox.reply_exchange.name,
            'routing_key': str(body['reply_to']['routing_key'])}}

    def handle(self, method, arguments=None):
        answer = super().handle(method)
        if method == 'stats':
            # Celery would tell the broker with all its options here.
            known = answer['broker']
            answer['broker'] = {name: known.get(name) for name in (
                'hostname', 'port', 'transport')}
        return answer


class Mailbox(kombu.pidbox.Mailbox):

    node_cls = Node


class Control(celery.app.control.Control):
    """Celery's remote control; workers obey to nothing, see QUESTIONS."""

    Mailbox = Mailbox
