"""What processors ask of a service: claims, and how their runs end.

The one door between running and storage: ``IJobExecution(service)``.
"""

import functools

import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask.policy import policy_of
from lovely.remotetask.runends import MAY_BE_LOST
from lovely.remotetask.runends import RunEnds
from lovely.remotetask.storage import books
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import settlement
from lovely.remotetask.storage import share
from lovely.remotetask.storage import taking
from lovely.remotetask.storage import unclaimed
from lovely.remotetask.upkeep import Upkeep
from lovely.remotetask.workerrecords import WorkerRecords


@zope.interface.implementer(interfaces.IJobExecution)
class JobExecution:
    """See IJobExecution.

    service -- a TaskService.  One of these is made for each transaction.
    """

    def __init__(self, service):
        self.service = service
        self.store = service.store
        self._ends = RunEnds(service)

    @functools.cached_property
    def workers(self):
        """See IJobExecution."""
        return WorkerRecords(self._ends)

    @functools.cached_property
    def upkeep(self):
        """See IJobExecution."""
        return Upkeep(self.service)

    # Claims

    def claim(self, worker_id, limit, now=None, at_once=None, scheduled=True,
              may_die=None, own=False):
        """See IJobExecution."""
        if self.service.paused:
            return []
        return taking.claim(self.store, worker_id, moment.given(now), limit,
                            at_once, scheduled, may_die, own)

    def claim_job(self, worker_id, jobid, now=None, early=False):
        """See IJobExecution."""
        if self.service.paused and not early:
            return []
        return taking.claim_job(
            self.store, worker_id, jobid, moment.given(now), early)

    def take(self, now=None):
        """See IJobExecution."""
        taken = taking.take(self.store, moment.given(now), 1)
        return taken[0] if taken else None

    def claimed(self, claim):
        """See IJobExecution."""
        job = lookup.find(self.store, claim.job)
        # Jobs of another service have the same ids and fences.
        if (claim.worker not in self.store.workers
                or not crew.is_good(job, claim)):
            raise interfaces.ClaimLost(
                f'Job {claim.job} of {self.service.__name__!r} is no longer '
                f'claimed by {claim.processor}.')
        return job

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
        if crew.is_good(lookup.find(self.store, claim.job), claim):
            # Others may have taken the worker for dead.
            self.workers.enter(claim.worker, unclaimed=True)
            unclaimed.keep(self.store, claim)

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
        self._ends.lose(job, claim, moment.given(now), MAY_BE_LOST)
        self._ends.settle(claim, now)
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
        self._ends.fail(job, run, failure, moment.given(now))
        self._keep_with_end(run.claim)

    def settle(self, worker_id, jobids, begun=(), now=None, interrupted=(),
               rests=()):
        """See IJobExecution."""
        for jobid in jobids:
            if jobid in rests and self._ends.settle_at_rest(
                    worker_id, jobid, rests[jobid], now):
                continue
            claim = crew.drop_claim(self.store, worker_id, jobid)
            if claim is None:
                continue
            job = lookup.find(self.store, jobid) if jobid in begun else None
            if crew.is_good(job, claim):
                self._ends.count_unstored(
                    job, claim, moment.given(now), jobid in interrupted)
            self._ends.settle(claim, now)

    def put_back(self, job, counted, now=None):
        """See IJobExecution."""
        settlement.put_back(self.store, job, counted, now)
        self._ends.forget_result(job)

    # What a processor has to know

    def is_behind(self, worker_id=None):
        """See IJobExecution."""
        return not self.service.paused and (
            lookup.is_behind(self.store) if worker_id is None
            else share.is_behind(self.store, worker_id))

    def watched(self):
        """See IJobExecution."""
        return self.store.read(lookup.watched, self.store).value

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
