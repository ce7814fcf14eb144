"""What processors ask of a service: claims, how runs end, who works for it.

The one door between running and storage: ``IJobExecution(service)``.  Here
the policy of a service decides what becomes of a job; the rooms of
``storage`` know none.
"""

import functools

import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask.foreign.outcome import lost_run
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.job import Run
from lovely.remotetask.measure import Slice
from lovely.remotetask.policy import policy_of
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import audit
from lovely.remotetask.storage import books
from lovely.remotetask.storage import cleaning
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import meter
from lovely.remotetask.storage import removal
from lovely.remotetask.storage import settlement
from lovely.remotetask.storage import share
from lovely.remotetask.storage import taking
from lovely.remotetask.storage import tidy
from lovely.remotetask.storage import unclaimed


# Why nobody has stored how a run ended.
LOST_PROCESS = 'The process that ran the job ({}) is gone.'
MAY_BE_LOST = 'A process that may have run the job ({}) is gone.'
INTERRUPTED = 'The databases or the process of {} failed while it ran the job.'
UNSTORED_END = 'The job was run by {}, and how that ended could not be stored.'


@zope.interface.implementer(interfaces.IJobExecution)
class JobExecution:
    """See IJobExecution.

    service -- a TaskService.  One of these is made for each transaction.
    """

    def __init__(self, service):
        self.service = service
        self.store = service.store

    # Claims

    def claim(self, worker_id, limit, now=None, at_once=None, scheduled=True,
              may_die=None, own=False):
        """See IJobExecution."""
        if self.service.paused:
            return []
        return taking.claim(self.store, worker_id, moment.given(now), limit,
                            at_once, scheduled, may_die, own)

    def is_own(self, worker_id, jobid):
        """See IJobExecution."""
        return share.is_own(self.store, worker_id, jobid)

    def put_last(self, worker_id, jobids):
        """See IJobExecution."""
        worker = crew.worker(self.store, worker_id)
        if worker is not None:
            worker.put_last(jobids)

    def has_lost(self, worker_id):
        """See IJobExecution."""
        return taking.has_lost(self.store, worker_id)

    def claim_job(self, worker_id, jobid, now=None):
        """See IJobExecution."""
        if self.service.paused:
            return []
        return taking.claim_job(
            self.store, worker_id, jobid, moment.given(now))

    def take(self, now=None):
        """See IJobExecution."""
        taken = taking.take(self.store, moment.given(now), 1)
        return taken[0] if taken else None

    def claimed(self, claim):
        """See IJobExecution."""
        job = lookup.find(self.store, claim.job)
        # Jobs of another service have the same ids and fences.
        if claim.worker not in self.store.workers or not _is_good(job, claim):
            raise interfaces.ClaimLost(
                f'Job {claim.job} of {self.service.__name__!r} is no longer '
                f'claimed by {claim.processor}.')
        return job

    def claimed_ids(self, worker_id):
        """See IJobExecution."""
        worker = crew.worker(self.store, worker_id)
        return [] if worker is None else list(worker.claims)

    # Without a claim

    def admit(self, claim):
        """See IJobExecution."""
        if claim.seat is None:
            return
        is_known = claim.worker in self.store.workers
        if not (is_known and self._may_run_unclaimed(claim)):
            claim.seat.refuse(is_known)
            raise interfaces.ClaimLost(
                f'Job {claim.job} of {self.service.__name__!r} has to be '
                f'claimed before it is run.')

    def _may_run_unclaimed(self, claim):
        # A run that is lost is counted, though it may never have begun.
        return (not self.service.paused
                and policy_of(self.service).attempts > 1
                and unclaimed.may_be_run(self.store, claim.job))

    def is_fresh(self, jobid):
        """See IJobExecution."""
        return unclaimed.fresh(self.store, jobid) is not None

    def keep(self, claim):
        """See IJobExecution."""
        if _is_good(lookup.find(self.store, claim.job), claim):
            # Others may have taken the worker for dead.
            self.enter(claim.worker, unclaimed=True)
            unclaimed.keep(self.store, claim)

    def turns(self):
        """See IJobExecution."""
        return unclaimed.turns(self.store)

    def outdate(self, jobid, now=None):
        """See IJobExecution."""
        job = unclaimed.fresh(self.store, jobid)
        if job is None:
            return False
        if (not unclaimed.may_be_lost(self.store, job)
                or policy_of(self.service).attempts == 1):
            job.outdate_claims()
            return False
        claim = unclaimed.lost_claim(self.store, job)
        self._lose(job, claim, moment.given(now), MAY_BE_LOST)
        self._settle(claim, now)
        return True

    # How runs end

    def complete(self, job, run, output, now=None):
        """See IJobExecution."""
        job.succeed(run, output, moment.given(now))
        self._keep_with_end(run.claim)
        return settlement.rest_of(job, run.claim)

    def _keep_with_end(self, claim):
        if claim.seat is not None and claim.seat.is_kept_by_run():
            unclaimed.keep(self.store, claim)

    def fail(self, job, run, failure, now=None):
        """See IJobExecution."""
        self._store_failure(job, run, failure, now)
        self._keep_with_end(run.claim)

    def _store_failure(self, job, run, failure, now):
        now = moment.given(now)
        if failure.holds:
            job.fail(run, failure, now, HELD)
            return
        policy = policy_of(self.service)
        if failure.interrupted and (
                policy.excuses(job) or not failure.exhausts):
            job.interrupt(run, failure, now,
                          policy.due_after_interruption(job, now))
            return
        due = policy.due_after_failure(job, failure, now)
        if due is None:
            job.fail(run, failure, now)
        else:
            job.retry(run, failure, now, due, failure.retryable)

    def settle(self, worker_id, jobids, begun=(), now=None, interrupted=(),
               rests=()):
        """See IJobExecution."""
        for jobid in jobids:
            if (jobid in rests and self._keep_result
                    and settlement.settle_at_rest(
                        self.store, worker_id, jobid, rests[jobid])):
                continue
            claim = crew.drop_claim(self.store, worker_id, jobid)
            if claim is None:
                continue
            job = lookup.find(self.store, jobid) if jobid in begun else None
            if _is_good(job, claim):
                self._count_run(job, claim, moment.given(now),
                                jobid in interrupted)
            self._settle(claim, now)

    @functools.cached_property
    def _keep_result(self):
        # Looked up once for all jobs of a transaction.
        return policy_of(self.service).keep_result

    def _count_run(self, job, claim, now, interrupted):
        """Count a run whose end could not be stored."""
        policy = policy_of(self.service)
        if not interrupted:
            self._lose(job, claim, now, UNSTORED_END)
        elif not policy.excuses(job):
            self._lose(job, claim, now, INTERRUPTED)
        else:
            due = policy.due_after_interruption(job, now)
            job.lose(claim, INTERRUPTED.format(claim.processor), due)
            job.interruptions += 1

    def put_back(self, job, counted, now=None):
        """See IJobExecution."""
        settlement.put_back(self.store, job, counted, now)
        self._forget_result(job)

    def _settle(self, claim, now=None):
        self._forget_result(settlement.settle(self.store, claim, now))

    def _forget_result(self, job):
        if (job is not None and job.stored_status == COMPLETED
                and not self._keep_result):
            settlement.drop(self.store, job)

    def _lose(self, job, claim, now, reason):
        """Count a run of which nobody has stored how it ended."""
        policy = policy_of(self.service)
        if job.failures + 1 < policy.attempts:
            due = (None if reason in (LOST_PROCESS, MAY_BE_LOST)
                   else policy.due_after_loss(job, now))
            job.lose(claim, reason.format(claim.processor), due)
        else:
            job.fail(Run(claim, claim.time),
                     lost_run(reason.format(claim.processor)), now)

    # What a processor has to know

    def is_behind(self, worker_id=None):
        """See IJobExecution."""
        return not self.service.paused and (
            lookup.is_behind(self.store) if worker_id is None
            else share.is_behind(self.store, worker_id))

    def has_due(self, now):
        """See IJobExecution."""
        return not self.service.paused and taking.has_due(self.store, now)

    def next_due(self):
        """See IJobExecution."""
        return None if self.service.paused else books.next_due(self.store)

    def commit_every(self):
        """See IJobExecution."""
        return policy_of(self.service).commit_every

    def max_size(self):
        """See IJobExecution."""
        return policy_of(self.service).max_size

    def logs_messages(self):
        """See IJobExecution."""
        return policy_of(self.service).log_messages

    # Workers

    def enter(self, worker_id, now=None, unclaimed=False):
        """See IJobExecution."""
        crew.enter(self.store, worker_id, moment.given(now), unclaimed)

    def beat(self, worker_id, now=None):
        """See IJobExecution."""
        crew.beat(self.store, worker_id, moment.given(now))

    def sign(self, worker_id, now=None, facts=None, memory=None):
        """See IJobExecution."""
        now = moment.given(now)
        crew.enter(self.store, worker_id, now)
        crew.beat(self.store, worker_id, now, facts, memory)
        return self.store.workers[worker_id].heartbeat

    def measure(self, worker_id, number, slices, now=None):
        """See IJobExecution."""
        worker = crew.worker(self.store, worker_id)
        if worker is None:
            return
        now = moment.given(now)
        seen = Slice(int(now) // 60 * 60)
        oldest = taking.oldest_waiting(self.store, now)
        seen.see(self.service.counts()[QUEUED],
                 0.0 if oldest is None else max(0.0, now - oldest))
        meter.measure(self.store, worker, number, [*slices, seen])

    def signs_of_life(self):
        """See IJobExecution."""
        # One whose record cannot be read cannot give any, and is gone.
        return {**dict.fromkeys(self.store.workers),
                **{worker.id: outcome_of(_sign_of_life, worker).value
                   for worker in crew.workers(self.store)}}

    def release(self, is_alive, now=None):
        """See IJobExecution."""
        now = moment.given(now)
        gone = crew.gone(self.store, is_alive, now)
        return [jobid for worker_id in gone
                for jobid in self.release_worker(worker_id, now)]

    def release_worker(self, worker_id, now=None):
        """See IJobExecution."""
        if worker_id not in self.store.workers:
            return []
        worker = crew.worker(self.store, worker_id)
        # Nobody knows what one has claimed that cannot be read; that is
        # searched for.
        at_once = 0 if worker is None else worker.at_once
        now = moment.given(now)
        released = []
        for claim in crew.drop_worker(self.store, worker_id, now):
            job = lookup.find(self.store, claim.job)
            if _is_good(job, claim):
                if len(released) < at_once:
                    self._lose(job, claim, now, LOST_PROCESS)
                else:
                    # It waited for its turn.
                    job.outdate_claims()
                released.append(job.id)
            self._settle(claim, now)
        if not released and (worker is None or worker.unclaimed):
            unclaimed.note_loss(
                self.store, worker_id.rpartition(':')[0], now)
        return released

    def stop_worker(self, worker_id, now=None):
        """See IJobExecution."""
        now = moment.given(now)
        for claim in crew.drop_worker(self.store, worker_id, now):
            self._settle(claim)

    # Now and then

    def prune(self, limit, now=None, worker_id=None):
        """See IJobExecution."""
        now = moment.given(now)
        shelves = (None if worker_id is None
                   else share.shelves(self.store, worker_id))
        policy = policy_of(self.service)
        pruned = cleaning.drop_some(self.store, limit)
        for status in (COMPLETED, CANCELLED, ERROR, HELD):
            before = now - policy.retention_of(status)
            if before > self.store.since:
                pruned += removal.prune(
                    self.store, status, before, limit - pruned, shelves)
        pruned += aside.prune(
            self.store, now - policy.retention_of(HELD), limit - pruned)
        if pruned < limit:
            # There is time to look around.
            self.look_after(now)
        return pruned

    def look_after(self, now=None):
        """See IJobExecution."""
        tidy.look_after(self.store, moment.given(now))

    def correct_schedule(self, now=None):
        """See IJobExecution."""
        audit.correct_schedule(self.store, moment.given(now))


def _is_good(job, claim):
    return job is not None and crew.is_live(job, claim)


def _sign_of_life(worker):
    """Return what changes when a worker writes; its clock does not count."""
    for each in (worker, worker.heartbeat):
        each._p_activate()
    return worker._p_serial, worker.heartbeat._p_serial
