"""What a process of a Celery worker does for the services.

Celery brings the addresses of jobs; the database says what there is to do.
"""

import logging
import random
import threading
import time
from typing import NamedTuple

import transaction
import zope.component
from ZODB.utils import oid_repr

from gocept.async_ import celerybroker
from gocept.async_ import celeryprocessor
from gocept.async_.celeryprocessor import CeleryProcessor
from gocept.async_.celeryprocessor import address
from gocept.async_.declaration import declarations
from lovely.remotetask import execution
from lovely.remotetask import machine
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

# While there are messages in the broker, that of a job is most likely among
# them: it is taken for lost so many times later.
PATIENCE_IN_QUEUE = 30

# Seconds until a job is sent once more at the latest.
RESEND_AT_LAST = 300.0

# Seconds until it is forgotten that a job was sent.
FORGET = 2 * RESEND_AT_LAST

# How many jobs are looked at in one sweep.
SWEEP_AT_ONCE = 500

# So many claims of jobs that were run are settled before the next round.
SETTLE_AT = 50

# What the ids of workers of this kind begin with, after host and pid.
KIND = 'celery-'


class _Waiting(NamedTuple):
    """A job that could be claimed now.

    key -- its id and the number of attempts: each one is sent anew.
    since -- POSIX seconds.
    scheduled -- whether it waited for that time, and so nobody sent it.
    """

    key: tuple
    address: dict
    since: float
    scheduled: bool


class Attendant(CeleryProcessor):
    """Runs jobs of one service as messages tell, and looks after the rest."""

    def __init__(self, db, servicePath):
        super().__init__(db, servicePath)
        # For the records of this worker: claims are made by threads that run
        # jobs, and settled by another one.
        self._lock = threading.Lock()
        # When jobs were sent, in monotonic seconds, and the wait after that.
        self._sent = {}
        self._patience = celerybroker.RESEND_AFTER

    @property
    def thread_name(self):
        return KIND + super().thread_name

    # In threads that run jobs

    def run_job(self, jobid, tid):
        """Run a job.  Return whether it was there to be run.

        tid -- bytes, the transaction that has to be seen before.
        """
        self._wait_for(tid, jobid)
        claim = self._claim_job(jobid)
        if claim is None:
            return False
        try:
            self._execute(claim)
        finally:
            self._run.append(jobid)
        if len(self._run) >= SETTLE_AT:
            # The next claims would write so many old ones again.
            self._attempt(self.settle)
        return True

    def _wait_for(self, tid, jobid):
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
        self._catch_up(claims)
        return claims[0] if claims else None

    def _try_to_claim(self, jobid):
        with self._lock:
            claims = self._bookkeep(_claim_job, self.worker_id, jobid)
            self._claimed.update(claim.job for claim in claims)
        return claims

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

    def settle(self, beat=False):
        """Settle claims of jobs that do not run any more."""
        with self._lock:
            settled = list(self._run)
            if not settled and not beat:
                return
            self._bookkeep(_settle, self.worker_id, self._claimed, settled,
                           beat)
            for jobid in settled:
                self._run.popleft()
                self._claimed.discard(jobid)

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

        now -- POSIX seconds; default: the current time.

        Return how many were sent.
        """
        now = time.time() if now is None else now
        # Passes what others have run, and finds what waits for a time.
        self._bookkeep(_look, now)
        waiting = self._waiting(now)
        found = self._to_send(waiting, now) if waiting else []
        sent = self.send([each.address for each in found])
        self._remember(found[:sent])
        return sent

    def _waiting(self, now):
        """Return what could be claimed now, first of all."""
        with execution.opened_service(self.db, self.servicePath) as service:
            if not self._is_first(service):
                return []
            # Never committed: this is how to see what is next.
            claims = service.claim(self.worker_id, SWEEP_AT_ONCE, now)
            return [self._describe(service.jobs[claim.job])
                    for claim in claims]

    def _is_first(self, service):
        """Whether no other worker is to do this; at worst, two do it."""
        known = [worker_id for worker_id
                 in service.worker_ids(self._is_alive)
                 if worker_id.split(':')[2].startswith(KIND)]
        return self.worker_id == min(known, default=self.worker_id)

    def _describe(self, job):
        written = job._p_mtime or 0.0
        return _Waiting(
            (job.id, job.attempts),
            address(self.db, self.servicePath, job),
            max(written, job.due or 0.0), job.due is not None)

    def _to_send(self, waiting, now):
        sender = celerybroker.sender()
        messages = sender.waiting(self.queue)
        if messages is None:
            # The broker does not answer.
            return []
        self._patience = sender.broker.resend_after * (
            PATIENCE_IN_QUEUE if messages else 1)
        return [each for each in waiting if self._is_lost(each, now)]

    def _is_lost(self, waiting, now):
        if waiting.key in self._sent:
            sent, wait = self._sent[waiting.key]
            return time.monotonic() - sent >= max(wait, self._patience)
        return waiting.scheduled or now - waiting.since >= self._patience

    def _remember(self, sent):
        """Note what was sent; each time, it is given twice as long."""
        now = time.monotonic()
        # What has not come again for long was run.
        self._sent = {key: (sent_at, wait) for key, (sent_at, wait)
                      in self._sent.items() if now - sent_at < FORGET}
        for each in sent:
            _, wait = self._sent.get(each.key, (None, self._patience / 2))
            self._sent[each.key] = now, min(2 * wait, RESEND_AT_LAST)

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
                _leave, self.worker_id, list(self._run))


def _claim_job(service, worker_id, jobid):
    return service.claim_job(worker_id, jobid)


def _settle(service, worker_id, known, settled, beat):
    # Of those not known here the commit went through, though an error came
    # back.
    unknown = set(service.held(worker_id)) - known
    if settled or unknown:
        service.settle(worker_id, [*settled, *unknown])
    if beat:
        service.beat(worker_id)


def _look(service, now):
    if not service.paused:
        service.hasJobsWaiting(now)


def _leave(service, worker_id, settled):
    service.settle(worker_id, settled)
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
        """Look after the declared services, also without a message."""
        with root_folder(self.db) as root:
            found = [declaration.find(root) for declaration in declared()]
            paths = [registry.service_path(service)
                     for service in found if service is not None]
        for path in paths:
            self.of(self.db.database_name, path)

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
