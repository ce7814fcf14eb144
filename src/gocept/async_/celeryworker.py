"""What a process of a Celery worker does for the services.

Celery brings the addresses of jobs; the database says what there is to do.
"""

import logging
import random
import threading
import time

import transaction
import zope.component
from persistent.timestamp import TimeStamp
from ZODB.utils import oid_repr

from gocept.async_ import celerybroker
from gocept.async_ import celeryprocessor
from gocept.async_.celeryprocessor import CeleryProcessor
from gocept.async_.celeryprocessor import address
from gocept.async_.celerysent import Sent
from gocept.async_.celerysent import Waiting
from gocept.async_.declaration import declarations
from lovely.remotetask import execution
from lovely.remotetask import machine
from lovely.remotetask import processor
from lovely.remotetask import registry
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.outcome import attempt
from lovely.remotetask.startup import root_folder


log = logging.getLogger(__name__)

# Seconds between two rounds, on average.
ROUND = 1.0

# Seconds to wait for the transaction that a message tells of.
PATIENCE = 5.0
LOOK = 0.01

# Seconds by which the clocks of machines may differ.
SKEW = 60.0

# How many jobs are looked at in one sweep.
SWEEP_AT_ONCE = 500

# So many claims of jobs that were run are settled before the next round.
SETTLE_AT = 50

# What the ids of workers of this kind begin with, after host and pid.
KIND = 'celery-'


class Attendant(CeleryProcessor):
    """Runs jobs of one service as messages tell, and looks after the rest."""

    def __init__(self, db, servicePath):
        super().__init__(db, servicePath)
        # For the record of this worker: claims are made by threads that run
        # jobs, and settled by others, too.
        self._lock = threading.Lock()
        # How many threads have let go of a job since claims were settled.
        self._ended = 0
        self._leading = False
        self._sent = Sent()

    @property
    def thread_name(self):
        return KIND + super().thread_name

    # In threads that run jobs

    def run_job(self, jobid, tid):
        """Run a job.  Return whether it was there to be run.

        tid -- bytes, the transaction that has to be seen before.
        """
        self._wait_for(tid, jobid)
        if not self._begin(jobid):
            return False
        try:
            claim = self._claim_job(jobid)
            if claim is not None:
                self._catch_up([claim])
                self._execute(claim)
        finally:
            self._end(jobid)
        if self._ended >= SETTLE_AT:
            # The next claims would write so many old ones again.
            self._attempt(self.settle)
        return claim is not None

    def _begin(self, jobid):
        """Note that a thread has a job.  Return whether it is the only one.
        """
        with self._lock:
            if jobid in self._claimed:
                return False
            self._claimed.add(jobid)
            return True

    def _end(self, jobid):
        # If a claim was committed, it is dropped by what settles next.
        with self._lock:
            self._claimed.discard(jobid)
            self._ended += 1

    def _wait_for(self, tid, jobid):
        if TimeStamp(tid).timeTime() > time.time() + SKEW:
            # Nobody has committed that.
            return
        end = time.monotonic() + PATIENCE
        while not self._has_seen(tid, jobid):
            if time.monotonic() >= end:
                log.warning('%s/%s: transaction %s is not seen; another '
                            'message will come', '/'.join(self.servicePath),
                            jobid, oid_repr(tid))
                return
            time.sleep(LOOK)

    def _has_seen(self, tid, jobid):
        if self.service_db.lastTransaction() >= tid:
            return True
        # Some storages only learn of transactions when one is begun.
        with execution.opened_service(self.db, self.servicePath) as service:
            job = service.jobs.get(jobid)
            if job is None:
                return False
            job._p_activate()
            return job._p_serial >= tid

    def _claim_job(self, jobid):
        claims = self._try_to_claim(jobid)
        if not claims and self._is_orphan(jobid):
            self.release()
            claims = self._try_to_claim(jobid)
        return claims[0] if claims else None

    def _try_to_claim(self, jobid):
        with self._lock:
            return self._bookkeep(_claim_job, self.worker_id, jobid)

    def _is_orphan(self, jobid):
        """Return whether the process that has a job is known to be gone."""
        with execution.opened_service(self.db, self.servicePath) as service:
            job = service.jobs.get(jobid)
            claim = None if job is None else job.claim
            return claim is not None and machine.is_gone(claim.worker)

    # In the thread that makes the rounds

    def tend_safely(self):
        """Do what `tend` does; log what goes wrong."""
        self._attempt(self.tend)

    def _attempt(self, call):
        outcome = attempt(call)
        if outcome.failed:
            self._report(outcome)
        else:
            self._trouble = None

    def tend(self):
        """Do the bookkeeping that is due, and send what was not sent."""
        now = time.monotonic()
        self.settle(self._beats(now))
        self._look_after_others(now)
        self.sweep()

    def _beats(self, now):
        if not self._leading:
            return super()._beats(now)
        due = now - self._beaten >= processor.HEARTBEAT
        if due:
            self._beaten = now
        return due

    def settle(self, beat=False):
        """Settle claims of jobs that do not run any more."""
        with self._lock:
            if self._ended or beat:
                self._bookkeep(_settle, self.worker_id, self._claimed, beat)
                self._ended = 0

    def release(self):
        """Take over from workers that are gone; see SimpleProcessor."""
        released = super().release()
        if released:
            # Their messages may be gone with them.
            tid = self.service_db.lastTransaction()
            self.send(self._addresses(released, tid))
        return released

    def _addresses(self, jobids, tid):
        with execution.opened_service(self.db, self.servicePath) as service:
            return [address(self.db, self.servicePath, service.jobs[jobid],
                            tid)
                    for jobid in jobids if jobid in service.jobs]

    def sweep(self, now=None):
        """Send jobs that nobody has sent, and those whose message got lost.

        One worker does that; it is chosen when there is something to send,
        and is to be known to the others before it begins.

        now -- POSIX seconds; default: the current time.

        Return how many were sent.
        """
        now = time.time() if now is None else now
        # Passes what others have run, and finds what waits for a time.
        self._bookkeep(_look, now)
        leader, waiting = self._find_waiting(now)
        self._leading = leader == self.worker_id
        if waiting and leader is None:
            self._bookkeep(_enter, self.worker_id)
        if not waiting or not self._leading:
            return 0
        found = self._to_send(waiting, now)
        sent = self.send([each.address for each in found])
        self._sent.remember(found[:sent])
        return sent

    def _find_waiting(self, now):
        """Return who sweeps, or None, and what could be claimed now."""
        with execution.opened_service(self.db, self.servicePath) as service:
            leader = min(self._known(service), default=None)
            if leader not in (None, self.worker_id):
                return leader, []
            # Never committed: this is how to see what is next.
            claims = service.claim(self.worker_id, SWEEP_AT_ONCE, now)
            return leader, [self._describe(service.jobs[claim.job])
                            for claim in claims]

    def _known(self, service):
        return [worker_id for worker_id
                in service.worker_ids(self._is_alive)
                if worker_id.split(':')[2].startswith(KIND)]

    def _describe(self, job):
        written = job._p_mtime or 0.0
        return Waiting(
            (job.id, job.attempts),
            address(self.db, self.servicePath, job),
            max(written, job.due or 0.0), job.due is not None)

    def _to_send(self, waiting, now):
        sender = celerybroker.sender()
        messages = sender.waiting(self.queue)
        if messages is None:
            # The broker does not answer.
            return []
        self._sent.be_patient(sender.broker.resend_after, messages)
        return [each for each in waiting if self._sent.is_lost(each, now)]

    # See SimpleProcessor

    def close(self, timeout=registry.GRACE):
        self.gate.close(timeout)
        outcome = attempt(self._leave)
        if outcome.failed:
            self._report(outcome)

    def _leave(self):
        with self._lock:
            execution.in_transaction(
                self.db, self.servicePath, transaction.commit,
                _leave, self.worker_id, self._claimed)


def _claim_job(service, worker_id, jobid):
    # That of a run before, which is over: it would be forgotten uncounted.
    if jobid in service.held(worker_id):
        service.settle(worker_id, [jobid])
    return service.claim_job(worker_id, jobid)


def _settle(service, worker_id, running, beat):
    # Also claims that were committed though an error came back.
    ended = [jobid for jobid in service.held(worker_id)
             if jobid not in running]
    if ended:
        service.settle(worker_id, ended)
    if beat:
        service.beat(worker_id)


def _look(service, now):
    if not service.paused:
        service.hasJobsWaiting(now)


def _enter(service, worker_id):
    service.enter(worker_id)


def _leave(service, worker_id, running):
    _settle(service, worker_id, running, beat=False)
    service.stop_worker(worker_id)


class Attendance:
    """The attendants of this process, for all services."""

    def __init__(self, db):
        self.db = db
        self._attendants = {}
        self._lock = threading.Lock()
        self._trouble = None

    def start(self):
        """Make the rounds in a daemon thread."""
        attempt(self.enter_declared)
        threading.Thread(
            target=self._loop, name='celery-attendance', daemon=True).start()

    def of(self, database, path):
        """Return the Attendant of a service.

        database -- str, the name of that with the root folder.
        path -- names from the root folder to the service.

        Raise LookupError if there is no such database.
        """
        db = self.db.databases.get(database)
        if db is None:
            raise LookupError(
                f'There is no database {database!r}, only '
                f'{", ".join(map(repr, self.db.databases))}; give the worker '
                f'the zope.conf of the application that sends.')
        key = database, tuple(path)
        with self._lock:
            if key not in self._attendants:
                self._attendants[key] = self._made(db, path)
            return self._attendants[key]

    def _made(self, db, path):
        with execution.opened_service(db, path) as service:
            key = service._p_jar.db(), service._p_oid
        made = Attendant(db, path)
        made.service_db, made.service_oid = key
        registry.start_processor(made)
        return made

    def enter_declared(self):
        """Look after the declared services, also without a message.

        What is wrong with one is raised when the others are looked after.
        """
        with root_folder(self.db) as root:
            found = [declaration.find(root) for declaration in declared()]
            paths = [registry.service_path(service)
                     for service in found if service is not None]
        outcomes = [attempt(self.of, self.db.database_name, path)
                    for path in paths]
        for outcome in outcomes:
            if outcome.failed:
                raise outcome.exception

    def _loop(self):
        while True:
            time.sleep(random.uniform(0.5, 1.5) * ROUND)
            # A site may have been added since.
            self._report(attempt(self.enter_declared))
            with self._lock:
                attendants = list(self._attendants.values())
            for attendant in attendants:
                attendant.tend_safely()

    def _report(self, outcome):
        if outcome.failed and outcome.errorClass != self._trouble:
            # Once: a database may be away for an hour.
            log.warning('cannot look for services: %s', outcome.error)
        self._trouble = outcome.errorClass


def declared():
    """Return the declarations whose jobs go to Celery."""
    factory = zope.component.queryUtility(IProcessorFactory, 'celery')
    return [declaration for declaration in declarations()
            if declaration.processorFactory is factory]


def queues():
    """Return the names of the queues of the declared services."""
    return [celeryprocessor.queue_name(declaration.name)
            for declaration in declared()]
