"""Sending addresses of jobs to the broker."""

import json
import threading
import time

from gocept.async_.celery.settings import FIRST
from gocept.async_.celery.settings import TASK
from gocept.async_.celery.settings import Broker
from gocept.async_.celery.settings import broker
from gocept.async_.celery.settings import hide
from gocept.async_.celery.settings import is_installed
from gocept.async_.celery.settings import sender_settings
from gocept.async_.celery.settings import settings
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.forking import of_process
from lovely.remotetask.retry import Pauses


# Whoever sends finds here, too, what the directive says of the broker.
__all__ = ['TASK', 'Breaker', 'Broker', 'Sender', 'broker', 'hide',
           'is_installed', 'sender', 'sender_settings', 'settings']

log = journal(__name__)

# Seconds after a failure before the broker is tried again: at first, and at
# most.
FIRST_PROBE = 1.0
LAST_PROBE = 30.0

# Of the time that a request is delayed at most, what may be over before
# another connection is tried.
EARLY = 0.1


class Breaker:
    """Tells whether to try the broker: after a failure, only now and then.

    clock -- returns monotonic seconds.
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._pauses = Pauses(FIRST_PROBE, LAST_PROBE)
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
        """Remember a failure.  Return whether it is the first one."""
        with self._lock:
            first = self._wait is None
            self._wait = self._pauses.next()
            self._again = self._clock() + self._wait
            return first

    def succeeded(self):
        """Remember a success.  Return whether it is the first one again."""
        with self._lock:
            first = self._wait is not None
            self._wait = None
            self._pauses.reset()
            return first


class _Connection(threading.local):
    """Each thread has its own: none waits for what another one does."""

    producer = None


class Sender:
    """Sends addresses of jobs to the broker, and never waits for long.

    broker -- Broker.
    """

    def __init__(self, broker, clock=time.monotonic):
        # Celery is an extra of the distribution; only processes that send need
        # it.
        from gocept.async_.celery.declared import Celery

        self.broker = broker
        self.breaker = Breaker(clock)
        self._clock = clock
        self._screen = broker.screen()
        self._app = Celery(
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
            # The breaker may also forbid it because other threads have just
            # found out that the broker is down.
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
            # The connection may be one that the broker has closed since; or
            # the broker has the message, and this is another one.
            outcome = self._attempt(self._publish, queue, dict(address))
        self._mark(outcome)
        return not outcome.failed

    def _attempt(self, call, *args):
        """Call something with this thread's connection; return an Outcome."""
        outcome = outcome_of(call, *args)
        if outcome.failed:
            self.close()
        return outcome

    def _publish(self, queue, address):
        self._app.send_task(
            TASK, kwargs=address, queue=queue, producer=self._producer(),
            retry=False, ignore_result=True, add_to_parent=False,
            shadow=getattr(address, 'function', None),
            headers=({FIRST: True} if getattr(address, 'first', False)
                     else None),
            # Celery's own takes longer than all the rest here.
            kwargsrepr=repr(address))

    def _mark(self, outcome):
        if not outcome.failed:
            if self.breaker.succeeded():
                log.info('The Celery broker answers again.')
        elif self.breaker.failed():
            log.warning(
                'The Celery broker cannot be reached (%s); jobs wait, and '
                'are sent by a worker later.',
                self._screen.hide(outcome.error))

    def _producer(self):
        mine = self._mine
        if mine.producer is None:
            mine.producer = self._app.amqp.Producer(
                self._app.connection_for_write(), auto_declare=False)
        return mine.producer

    def waiting(self, queue):
        """Return how many messages wait in a queue; None if unknown."""
        if not self.breaker.allows():
            return None
        outcome = self._attempt(self._count, queue)
        self._mark(outcome)
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
        if producer is not None:
            outcome_of(producer.connection.release)


@of_process
def _begin():
    # A connection that two processes write to is good for neither.
    global _senders
    _senders = {}


def sender():
    """Return the Sender of this process; errors like `broker`."""
    found = broker()
    key = json.dumps(found, sort_keys=True)
    if key not in _senders:
        # If two threads make a sender at the same moment, one of them stays.
        _senders.setdefault(key, Sender(found))
    return _senders[key]
