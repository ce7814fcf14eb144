"""What a process of a Celery worker does for all services."""

import os
import random
import threading
import time
from typing import NamedTuple

import zope.component

from gocept.async_.celery import processor
from gocept.async_.celery.attendant import Attendant
from gocept.async_.celery.attendant import Interrupted
from gocept.async_.celery.settings import FIRST
from gocept.async_.declaration import declarations
from gocept.async_.recurring import Complaint
from gocept.async_.recurring import Trial
from lovely.remotetask.foreign import blame
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.interfaces import NoSuchService
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.retry import Pauses
from lovely.remotetask.running import quirks
from lovely.remotetask.running import registry
from lovely.remotetask.running.alive import sign_of_life
from lovely.remotetask.running.gate import ProcessorStopped
from lovely.remotetask.startup import root_folder


log = journal(__name__)

# Seconds between two rounds, on average.
ROUND = 1.0

# Seconds between two tries to run a job while the database is away, at first
# and at most; and after which the message is given back: a worker that is to
# end waits for that.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
HOLD = 30.0


# Seconds without a sign of life of the database after which a process that is
# to end waits for nothing any more.
PATIENCE_AT_THE_END = 10


class GivenBack(Exception):
    """The database is away: the message is to come again later."""


class NotDeclared(LookupError):
    """There is no service for Celery at the place that a message tells."""


class Place(NamedTuple):
    """Where a declared service is.

    path -- tuple of names, from the root folder.
    """

    path: tuple
    db: object
    oid: bytes


class Attendance:
    """The attendants of this process, for all services.

    is_stopping -- returns whether this process is to end.
    """

    def __init__(self, db, is_stopping=lambda: False):
        self.db = db
        self._is_stopping = is_stopping
        self._attendants = {}
        self._lock = threading.Lock()
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._away = Complaint(log.warning)
        self._odd = Complaint(log.error)
        self._refused = Complaint(log.warning)
        self._entering = Trial(
            self.enter_declared, 'look after all declared services', log,
            Pauses(ROUND, LONGEST_PAUSE))

    def start(self):
        """Make the rounds in a daemon thread."""
        self._entering.run(time.monotonic())
        for target in self._loop, self._watch_the_end:
            threading.Thread(
                target=target, name='celery-attendance', daemon=True).start()

    @property
    def is_closed(self):
        """Whether somebody has closed the database."""
        return quirks.is_closed(self.db)

    # In threads that run jobs

    def run(self, address):
        """Run the job of an address.

        Return whether there was something to be run.  Raise GivenBack if the
        database is away for long.
        """
        end = None
        while True:
            outcome = outcome_of(self._run, address)
            if not outcome.failed:
                self._has_entered()
                return outcome.value
            if not self._is_outage(outcome):
                self._was_refused(address, outcome)
                return False
            end = end or time.monotonic() + HOLD
            self._pause(outcome, end)

    def _run(self, address):
        found = self.of(address['database'], address['service'].split('/'))
        more = {FIRST: True} if address.get(FIRST) is True else {}
        return found.run_job(
            address['job'], bytes.fromhex(address['tid']), **more)

    def _is_outage(self, outcome):
        """Return whether others would fail in the same way now."""
        known = (Interrupted, ProcessorStopped)
        return (outcome.retryable or outcome.is_a(known)
                or blame.is_interrupted(outcome.exception, self.db))

    def _pause(self, outcome, end):
        """Wait a while; raise GivenBack if it was long enough."""
        if not outcome.is_a(ProcessorStopped):
            self._away.say(
                'jobs cannot be run now, and wait: %s: %s',
                outcome.errorClass, outcome.error)
        again = time.monotonic() + self._pauses.next()
        while time.monotonic() < min(again, end):
            if self._is_stopping():
                break
            time.sleep(0.1)
        if (self._is_stopping() or self.is_closed or time.monotonic() >= end
                or outcome.is_a(ProcessorStopped)):
            raise GivenBack(outcome.error)

    def _has_entered(self):
        self._pauses.reset()
        if self._away.end():
            log.info('jobs can be run again')

    def _was_refused(self, address, outcome):
        if outcome.is_a((NotDeclared, NoSuchService)):
            self._refused.say(
                'a message was refused: %s', outcome.error)
        else:
            self._odd.say(
                'job %s of %s cannot be run, and is left alone; another '
                'message will come: %s: %s (%s)', address['job'],
                address['service'], outcome.errorClass, outcome.error,
                outcome.place)

    def of(self, database, path):
        """Return the Attendant of a declared service.

        database -- str, the name of that with the root folder.
        path -- names from the root folder to the service.

        Raise NotDeclared if no service for Celery is declared there.
        """
        if database != self.db.database_name:
            raise NotDeclared(
                f'there is no database {database!r:.99} with a root folder; '
                f'give the worker the zope.conf of the application that '
                f'sends.')
        key = tuple(path)
        if key not in self._attendants:
            # A site may have been added a moment ago.
            self.enter_declared()
        found = self._attendants.get(key)
        if found is None:
            raise NotDeclared(
                f'no service with the processor "celery" is declared at '
                f'{"/".join(path)!r:.99}.')
        return found

    # In the thread that makes the rounds

    def enter_declared(self):
        """Look after the declared services, also without a message.

        And after no others any more.  What is wrong with one is raised when
        the others are looked after.
        """
        with root_folder(self.db) as root:
            outcomes = [outcome_of(_place, declaration, root)
                        for declaration in declarations()]
        places = [outcome.value for outcome in outcomes
                  if outcome.value is not None]
        with self._lock:
            if not any(outcome.failed for outcome in outcomes):
                self._leave_others({place.path for place in places})
            outcomes += [outcome_of(self._enter, place) for place in places]
        for outcome in outcomes:
            if outcome.failed:
                raise outcome.exception

    def _leave_others(self, paths):
        for path in self._attendants.keys() - paths:
            # The site of the service was removed, or renamed.
            _leave(self._attendants.pop(path))

    def _enter(self, place):
        known = self._attendants.get(place.path)
        if known is not None and known.place == place[1:]:
            return
        if known is not None:
            _leave(self._attendants.pop(place.path))
        made = Attendant(self.db, place.path)
        made.place = place.db, place.oid
        registry.start_processor(made)
        self._attendants[place.path] = made

    def _loop(self):
        while not self.is_closed:
            time.sleep(random.uniform(0.5, 1.5) * ROUND)
            self.make_round()

    def _watch_the_end(self):
        pauses = 0
        while not self.is_closed and pauses < PATIENCE_AT_THE_END:
            time.sleep(1.0)
            # Without a database no job will ever end, so a worker that is to
            # end does not wait for ever.
            pauses = pauses + 1 if self._is_stopping() and outcome_of(
                sign_of_life, self.db).failed else 0
        if not self.is_closed:
            log.error('this process is to end, and the database is away: '
                      'what it runs is cut off')
            os._exit(1)

    def make_round(self):
        """Look after all services once."""
        if self.is_closed:
            return
        # A site may have been added since.
        self._entering.run(time.monotonic())
        with self._lock:
            attendants = list(self._attendants.values())
        for attendant in attendants:
            attendant.tend()


def _place(declaration, root):
    """Return the Place of a declared service for Celery, or None."""
    if not is_for_celery(declaration):
        return None
    service = declaration.find(root)
    if service is None or is_nowhere(service):
        return None
    path = tuple(registry.service_path(service))
    return Place(path, service._p_jar.db(), service._p_oid)


def _leave(attendant):
    attendant.stop()
    attendant.close(0)


def is_for_celery(declaration):
    """Return whether the jobs of a declared service go to Celery."""
    factory = zope.component.queryUtility(IProcessorFactory, 'celery')
    return factory is not None and declaration.processorFactory is factory


def declared():
    """Return the declarations whose jobs go to Celery."""
    return [declaration for declaration in declarations()
            if is_for_celery(declaration)]


def queues():
    """Return the names of the queues of the declared services."""
    return [processor.queue_name(declaration.name)
            for declaration in declared()]
