"""What a process of a Celery worker does for one service.

Celery brings the addresses of jobs; the database says what there is to do.
"""

import threading
import time

import transaction

from gocept.async_ import celerybroker
from gocept.async_.celeryduty import Duty
from gocept.async_.celerypatience import Patience
from gocept.async_.celeryprocessor import CeleryProcessor
from gocept.async_.celeryprocessor import address
from gocept.async_.celerysent import Sent
from gocept.async_.celerysent import Waiting
from lovely.remotetask import execution
from lovely.remotetask import lag
from lovely.remotetask import machine
from lovely.remotetask import processor
from lovely.remotetask import registry
from lovely.remotetask.interfaces import NoSuchService
from lovely.remotetask.outcome import attempt


# How many jobs are looked at in one sweep.
SWEEP_AT_ONCE = 500

# So many claims of jobs that were run are settled before the next round.
SETTLE_AT = 50

# How often a job is interrupted by what it stands on before that counts as a
# failed attempt: it may be what the job does.
MAX_INTERRUPTIONS = 10

# What the ids of workers of this kind begin with, after host and pid.
KIND = 'celery-'


class Interrupted(Exception):
    """What a job stands on has failed; the job is to be run once more."""


class Runs:
    """Which jobs the threads of this process have, and what they did so far.

    running -- ids of jobs that a thread has.
    begun -- ids of those whose function was called under a claim that is not
        settled yet.
    ended -- how many threads have let go of a job since claims were settled.
    """

    def __init__(self):
        self.running = set()
        self.begun = set()
        self.ended = 0
        self._interruptions = {}

    def begin(self, jobid):
        """Let a thread have a job.  Return whether it is the only one."""
        if jobid in self.running:
            return False
        self.running.add(jobid)
        return True

    def end(self, jobid):
        # If a claim was committed, it is dropped by what settles next.
        self.running.discard(jobid)
        self.ended += 1

    def call(self, jobid):
        """Note that the function of a job is about to be called."""
        self.begun.add(jobid)

    def interrupt(self, jobid, was_called):
        """Note that a run was interrupted by what it stands on.

        It does not count as an attempt, unless that happens too often.
        """
        number = self._interruptions.get(jobid, 0) + was_called
        self._interruptions[jobid] = number
        if number <= MAX_INTERRUPTIONS:
            self.begun.discard(jobid)

    def succeed(self, jobid):
        """Note that a run has come to its end."""
        self._interruptions.pop(jobid, None)

    def settle(self):
        """Note that all claims are settled but those of jobs that run."""
        self.begun &= self.running
        self.ended = 0


class Attendant(CeleryProcessor):
    """Runs jobs of one service as messages tell, and looks after the rest."""

    def __init__(self, db, servicePath):
        super().__init__(db, servicePath)
        # For the record of this worker: claims are made by threads that run
        # jobs, and settled by others, too.
        self._record = threading.Lock()
        self._runs = Runs()
        self._patience = Patience()
        self._leading = False
        self._heartbeat = float('-inf')
        self._sent = Sent()
        self._duties = [
            Duty(f'{self.thread_name}: {name}', call) for name, call in (
                ('settling what was run', self._settle_when_due),
                ('looking after others', self._look_after_others_now),
                ('sending what waits', self.sweep))]

    @property
    def thread_name(self):
        return KIND + super().thread_name

    # In threads that run jobs

    def run_job(self, jobid, tid):
        """Run a job.  Return whether it was there to be run.

        tid -- bytes, the transaction that has to be seen before.

        Raise Interrupted, or what it is, if the database or the process
        cannot be worked with.
        """
        if not self._patience.wait(lambda: self._has_seen(tid, jobid), tid,
                                   self._ask):
            processor.log.info(
                '%s/%s: what the message tells of is not seen; another one '
                'will come', '/'.join(self.servicePath), jobid)
        with self._record:
            if not self._runs.begin(jobid):
                return False
        try:
            claim = self._claim_job(jobid)
            if claim is not None:
                self._execute_claimed(claim)
        finally:
            with self._record:
                self._runs.end(jobid)
        if self._runs.ended >= SETTLE_AT:
            # The next claims would write so many old ones again.
            attempt(self.settle)
        return claim is not None

    def _ask(self):
        lag.ask_server(self.service_db.storage)

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
        with self._record:
            claims = self._in_transaction(
                _claim_job, self.service_oid, self.worker_id, jobid,
                self._runs.begun)
            # What there was of an earlier run is settled.
            self._runs.begun.discard(jobid)
            return claims

    def _is_orphan(self, jobid):
        """Return whether the process that has a job is known to be gone."""
        with execution.opened_service(self.db, self.servicePath) as service:
            job = service.jobs.get(jobid)
            claim = None if job is None else job.claim
            # The id may be an odd one.
            return claim is not None and attempt(
                machine.is_gone, claim.worker).value

    def _execute_claimed(self, claim):
        # Once before a transaction begins that runs a job.
        lag.catch_up(self.service_db)
        self._runs.call(claim.job)
        end = execution.run_claimed(
            self.db, self.servicePath, claim, self.gate.commit)
        if end in (execution.ENDED, execution.UNSTORED):
            # Of the second kind the claim counts as begun when it is settled.
            self._runs.succeed(claim.job)
            return
        self._runs.interrupt(claim.job, end == execution.INTERRUPTED)
        raise Interrupted(
            f'what job {claim.job} stands on has failed: {end}')

    # In the thread that makes the rounds

    def tend(self):
        """Do the bookkeeping that is due, and send what was not sent.

        Each part by itself; the log tells of what goes wrong.
        """
        for duty in self._duties:
            duty.do()

    def _settle_when_due(self):
        now = time.monotonic()
        beats = self._beats(now)
        self.settle(beats)
        if beats:
            self._heartbeat = now

    def _beats(self, now):
        """Return whether others have to hear of this worker."""
        return (bool(self._runs.running or self._leading)
                and now - self._heartbeat >= processor.HEARTBEAT)

    def _look_after_others_now(self):
        self._look_after_others(time.monotonic())

    def settle(self, beat=False):
        """Settle claims of jobs that do not run any more."""
        with self._record:
            if self._runs.ended or beat:
                self._in_transaction(_settle, self.worker_id, self._runs, beat)
                self._runs.settle()

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
        now = self.membership.clock.now() if now is None else now
        if self._knows_time():
            # Passes what others have run, and finds what waits for a time.
            self._in_transaction(_look, now)
        leader, waiting = self._find_waiting(now)
        self._leading = leader == self.worker_id
        if waiting and leader is None:
            self._in_transaction(_enter, self.worker_id)
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
            claims = service.claim(
                self.worker_id, SWEEP_AT_ONCE, now,
                scheduled=self._knows_time())
            described = [attempt(self._describe, service, claim.job)
                         for claim in claims]
            # One that cannot be read does not keep the others.
            return leader, [outcome.value for outcome in described
                            if not outcome.failed]

    def _known(self, service):
        # After host and pid.
        return [worker_id for worker_id
                in service.worker_ids(self._is_alive)
                if f':{KIND}' in worker_id]

    def _describe(self, service, jobid):
        job = service.jobs[jobid]
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
        Duty(f'{self.thread_name}: leaving', self._leave).do()

    def _leave(self):
        with self._record:
            # The gate is closed; this is the last commit.
            execution.in_transaction(
                self.db, self.servicePath, transaction.commit,
                _leave, self.worker_id, self._runs)

    def _in_transaction(self, call, *args):
        return execution.in_transaction(
            self.db, self.servicePath, self.gate.commit, call, *args)


def _claim_job(service, oid, worker_id, jobid, begun):
    if oid not in (None, service._p_oid):
        raise NoSuchService(
            'Another service than the declared one is at its place now.')
    # That of a run before, which is over: it would be forgotten uncounted.
    if jobid in service.held(worker_id):
        _drop_claims(service, worker_id, [jobid], begun)
    return service.claim_job(worker_id, jobid)


def _settle(service, worker_id, runs, beat):
    # Also claims that were committed though an error came back.
    _drop_claims(service, worker_id, [
        jobid for jobid in service.held(worker_id)
        if jobid not in runs.running], runs.begun)
    if beat:
        service.beat(worker_id)


def _drop_claims(service, worker_id, jobids, begun):
    """Settle claims on jobs that do not run; no run is left uncounted."""
    if jobids:
        service.settle(worker_id, jobids, [
            jobid for jobid in jobids if jobid in begun])


def _look(service, now):
    if not service.paused:
        service.hasJobsWaiting(now)


def _enter(service, worker_id):
    service.enter(worker_id)


def _leave(service, worker_id, runs):
    _settle(service, worker_id, runs, beat=False)
    # What is cut off in the middle counts: whoever sees that this process is
    # gone does that, by the record.
    if not runs.running & runs.begun:
        service.stop_worker(worker_id)
