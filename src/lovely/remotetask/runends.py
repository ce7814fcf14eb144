"""What becomes of a job when a run of it ends, as the policy says.

The rooms of ``storage`` know no policy; here it decides whether a job is
tried again, held or in error, and whether it is kept.
"""

import functools

from lovely.remotetask.foreign.outcome import lost_run
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.job import Run
from lovely.remotetask.policy import policy_of
from lovely.remotetask.ruling import ruled
from lovely.remotetask.storage import settlement


# Why nobody has stored how a run ended.
LOST_PROCESS = 'The process that ran the job ({}) is gone.'
MAY_BE_LOST = 'A process that may have run the job ({}) is gone.'
INTERRUPTED = 'The databases or the process of {} failed while it ran the job.'
UNSTORED_END = 'The job was run by {}, and how that ended could not be stored.'


# Seconds after which a job is loaded to be settled, though it was completed:
# somebody may have undone that.
FRESH = 5.0


class RunEnds:
    """The ends of runs in one transaction.

    service -- a TaskService.
    """

    def __init__(self, service):
        self.service = service
        self.store = service.store

    @functools.cached_property
    def policy(self):
        """The Policy of the service, looked up once for a transaction."""
        return policy_of(self.service)

    def _ask(self, rule, *args):
        return ruled(self.policy, rule, *args)

    def fail(self, job, run, failure, now):
        """Store a failure (see IFailure), and what becomes of the job."""
        if failure.holds:
            job.fail(run, failure, now, HELD)
            return
        if failure.interrupted and (
                self._ask('excuses', job) or not failure.exhausts):
            job.interrupt(run, failure, now,
                          self._ask('due_after_interruption', job, now))
            return
        due = self._ask('due_after_failure', job, failure, now)
        if due is None:
            job.fail(run, failure, now)
        else:
            job.retry(run, failure, now, due, failure.retryable)

    def count_unstored(self, job, claim, now, interrupted):
        """Count a run whose end could not be stored.

        interrupted -- whether databases or the process failed meanwhile.
        """
        if not interrupted:
            self.lose(job, claim, now, UNSTORED_END)
        elif not self._ask('excuses', job):
            self.lose(job, claim, now, INTERRUPTED)
        else:
            due = self._ask('due_after_interruption', job, now)
            job.lose(claim, INTERRUPTED.format(claim.processor), due)
            job.interruptions += 1

    def lose(self, job, claim, now, reason):
        """Count a run of which nobody has stored how it ended.

        reason -- one of the sentences above.
        """
        if job.failures + 1 < self.policy.attempts:
            due = (None if reason in (LOST_PROCESS, MAY_BE_LOST)
                   else self._ask('due_after_loss', job, now))
            job.lose(claim, reason.format(claim.processor), due)
        else:
            job.fail(Run(claim, claim.time),
                     lost_run(reason.format(claim.processor)), now)

    def settle(self, claim, now=None):
        """Put the job of a claim that is dropped where it belongs now."""
        self.forget_result(settlement.settle(self.store, claim, now))

    def settle_at_rest(self, worker_id, jobid, rest, now=None):
        """See settlement; return whether the job need not be loaded.

        now -- POSIX seconds; None: the run has ended just now.
        """
        if now is not None and abs(now - rest.time) > FRESH:
            return False
        return self.policy.keep_result and settlement.settle_at_rest(
            self.store, worker_id, jobid, rest)

    def forget_result(self, job):
        """Remove a completed job whose result nobody wants to keep.

        job -- may be None.
        """
        if (job is not None and job.stored_status == COMPLETED
                and not self.policy.keep_result):
            settlement.drop(self.store, job)
