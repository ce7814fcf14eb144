"""How a processor is known to the others that run jobs of its service.

It has the name under which jobs are claimed, keeps the books in transactions
of its own, tells that it lives, and takes over from those that do not.
"""

import logging
import time
from itertools import filterfalse

import transaction
from persistent.timestamp import TimeStamp

from lovely.remotetask import execution
from lovely.remotetask import group
from lovely.remotetask import interfaces
from lovely.remotetask import lag
from lovely.remotetask import machine
from lovely.remotetask import moment
from lovely.remotetask import quirks
from lovely.remotetask import registry
from lovely.remotetask.clock import Clock
from lovely.remotetask.gate import CommitGate
from lovely.remotetask.outcome import attempt
from lovely.remotetask.watch import Watch


log = logging.getLogger(__name__)

# Seconds for which workers that are gone are taken over from, until something
# else is done in between.
RELEASE_FOR = 1.0

# What has become of a service that is not where it was.
MOVED = 'moved'
REPLACED = 'replaced'


class Membership:
    """What one processor is to the others of its service.

    db -- the ZODB.DB that holds the root folder.
    path -- list of str, from the root folder to the service.
    name -- called without arguments; str, of the processor.
    interval -- seconds between two heartbeats.
    missed -- how many of them may be missed.
    """

    def __init__(self, db, path, name, interval, missed):
        self.db = db
        self.path = list(path)
        self.name = name
        self.gate = CommitGate()
        self.clock = Clock()
        self.watch = Watch(interval, missed)
        # Where the service itself is stored: another database, perhaps.  Not
        # known for sure before there is an oid.
        self.service_db = db
        self.service_oid = None
        self.worker_id = None

    def become_another(self):
        """Be another worker from now on, one that has claimed nothing."""
        self.worker_id = machine.new_worker_id(self.name())

    # Bookkeeping

    def bookkeep(self, call, *args):
        """Call ``call(service, *args)`` in a transaction, and commit that."""
        return self._in_transaction(self.gate.commit, call, *args)

    def _in_transaction(self, commit, call, *args):
        place, value = execution.in_transaction(
            self.db, self.path, commit, _with_place, self._place(), call,
            *args)
        self.service_db, self.service_oid = place
        return value

    def _place(self):
        """Return where the service is stored; None if it was not met yet."""
        if self.service_oid is None:
            return None
        return self.service_db, self.service_oid

    def run(self, claim):
        """Run a claimed job.  Return what became of the claim."""
        with moment.corrected(self.clock.correction):
            return execution.run_claimed(
                self.db, self.path, claim, self.gate.commit)

    def run_group(self, claims):
        """Run claimed jobs in one transaction; as `run`."""
        with moment.corrected(self.clock.correction):
            return group.run_group(
                self.db, self.path, claims, self.gate.commit)

    def catch_up(self):
        """See what was committed before that which the service shows."""
        lag.catch_up(self.service_db)

    def settle(self, jobids, begun, interrupted=()):
        """Settle claims.

        jobids, begun, interrupted -- see IJobExecution.settle.
        """
        self.bookkeep(_settle, self.worker_id, jobids, begun,
                      self.clock.now(), interrupted)

    def check(self):
        """Raise what bookkeeping would raise at the moment."""
        self.bookkeep(_nothing)

    def leave(self, begun, commit):
        """Hand all claims back.

        begun -- ids of jobs that were begun, and run by nobody any more.
        commit -- called to commit the current transaction.
        """
        self._in_transaction(
            commit, _stop_worker, self.worker_id, begun, self.clock.now())

    # The service may be elsewhere by now

    def find_again(self):
        """Look for the service that was known before.

        Return MOVED or REPLACED, None if there is none: an editor may have
        renamed the site, or there may be another service in its place.
        """
        if self.service_oid is None:
            return None
        path = attempt(self._path_of_service).value
        if path is not None and self._is_at(path):
            if path != self.path:
                log.info('%s: the service is at /%s now',
                         self.name(), '/'.join(path))
            self.path = path
            return MOVED
        found = attempt(_look_up, self.db, self.path).value
        if found in (None, self._place()):
            return None
        log.warning('%s: there is another service now in the place of the '
                    'one before, which is gone', self.name())
        self.service_db, self.service_oid = found
        # Claims on jobs of the other one must be good for nothing here.
        self.become_another()
        return REPLACED

    def _is_at(self, path):
        return attempt(_look_up, self.db, path).value == self._place()

    def _path_of_service(self):
        manager = transaction.TransactionManager(explicit=True)
        connection = self.db.open(manager)
        manager.begin()
        try:
            # From the content to the jobs, see docs/engine.rst.
            jobs = connection.get_connection(self.service_db.database_name)
            return registry.service_path(jobs.get(self.service_oid))
        finally:
            manager.abort()
            connection.close()

    # Others

    def is_alive(self, worker_id):
        """Return whether a worker is to be left alone."""
        if worker_id in (self.worker_id, registry.direct_worker_id()):
            return True
        return not (machine.is_gone(worker_id)
                    or self.watch.is_silent(worker_id))

    def release(self):
        """Queue the jobs of workers again that are gone.

        Return the ids of those that were being run.
        """
        # What a client has in its cache tells nothing of who lives.
        lag.ask(self.service_db)
        now = self.clock.monotonic()
        self.watch.look(self.bookkeep(_signs_of_life), now)
        released, failures = [], []
        end = time.monotonic() + RELEASE_FOR
        for worker_id in filterfalse(self.is_alive, list(self.watch)):
            # One by one: what keeps one from being released is its own.
            outcome = attempt(
                self.bookkeep, _release, worker_id,
                self.watch.sign_of(worker_id), self.clock.now())
            released += outcome.value or ()
            failures += [outcome.exception] if outcome.failed else ()
            if time.monotonic() >= end:
                break
        if failures and not released:
            # Otherwise there is something to tell; these come again.
            raise failures[0]
        return released

    def prune(self, limit, now=None):
        """Remove jobs that were kept long enough; see IJobExecution."""
        if now is None:
            now = self.clock.now()
            if self.clock.is_bad:
                # It was set in this moment: what it shows is not to be used.
                return 0
        return self.bookkeep(_prune, limit, now)

    def correct_schedule(self):
        """Correct what a wrong clock has scheduled; see IJobExecution."""
        self.bookkeep(_correct_schedule, self.clock.now())

    # The clock

    def look_at_clock(self):
        """Find out whether it is the one by which the service's storage goes.
        """
        if self.service_oid is None:
            # It may be stored elsewhere than the root folder.
            self.check()
        self.clock.trusted = quirks.keeps_time_itself(self.service_db.storage)

    def sign(self):
        """Tell that this worker lives, and compare the clock with others'."""
        signed = _Signed(self)
        self._in_transaction(signed.commit, signed.sign)
        self.clock.compare(
            TimeStamp(signed.serial).timeTime(), signed.before)


class _Signed:
    """A sign of life: when it was written, by both clocks."""

    def __init__(self, membership):
        self._membership = membership
        self._written = None
        self.before = None
        self.serial = None

    def sign(self, service):
        clock = self._membership.clock
        self.before = clock.wall()
        self._written = service.sign(self._membership.worker_id, clock.now())

    def commit(self):
        self._membership.gate.commit()
        # Of the object as this one has written it: while the connection is
        # ours.
        self.serial = self._written._p_serial


def _with_place(service, place, call, *args):
    """Return where a service is, and what a call with it returns.

    place -- where it was before, or None.
    """
    found = service._p_jar.db(), service._p_oid
    if place not in (None, found):
        raise interfaces.NoSuchService(
            'The service is not where it was; another one is.')
    return found, call(service, *args)


def _look_up(db, path):
    """Return where the service at a path is: a database and an oid."""
    with execution.opened_service(db, path) as service:
        return service._p_jar.db(), service._p_oid


def _settle(service, worker_id, jobids, begun, now, interrupted):
    service.settle(worker_id, jobids, begun, now, interrupted)


def _prune(service, limit, now):
    return service.prune(limit, now)


def _correct_schedule(service, now):
    service.correct_schedule(now)


def _stop_worker(service, worker_id, begun, now):
    service.settle(worker_id, begun, begun, now)
    service.stop_worker(worker_id)


def _signs_of_life(service):
    return service.signs_of_life()


def _release(service, worker_id, sign, now):
    if service.signs_of_life().get(worker_id) != sign:
        # It has come back in this moment, or another one was quicker.
        return []
    return service.release_worker(worker_id, now)


def _nothing(service):
    """Only find the service."""
