"""What becomes of a job whose run failed, and how long ended ones stay."""

import random
from typing import NamedTuple

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD


DAY = 24 * 3600.0

MAX_WAIT = 3600.0

# Transient errors: how many, and the wait after the first, in seconds.
TRANSIENTS = 10
TRANSIENT_WAIT = 0.05

# Databases or a process that have failed: the wait after the first time that
# a job met that, and the longest one, in seconds.
INTERRUPTION_WAIT = 1.0
INTERRUPTION_LIMIT = 300.0

# The least wait, in seconds, after a run whose end could not be stored.
LOSS_WAIT = 1.0


class Policy(NamedTuple):
    """The rules of one service.

    attempts -- how often a job is run before its error is final.
    retry_wait -- seconds before the second attempt at most; doubled for each
        further one, up to an hour.
    retry_on -- dotted names of exceptions after which a job is tried again;
        besides, a lost process always counts as a failed attempt, and
        transient errors are tried again apart from this.
    retention, error_retention -- seconds a completed or cancelled job, and
        one in error or held, is kept.
    keep_result -- False: a completed job is removed at once.
    commit_every -- how many short jobs are run in one transaction at most.
    """

    attempts: int = 3
    retry_wait: float = 1.0
    retry_on: tuple = ()
    retention: float = 7 * DAY
    error_retention: float = 30 * DAY
    keep_result: bool = True
    commit_every: int = 1

    def due_after_failure(self, job, failure, now):
        """Return when to run a failed job again, None for never."""
        if failure.retryable:
            return _due(now, TRANSIENT_WAIT, job.transients, TRANSIENTS)
        if not self.retry_on or failure.errorClasses.isdisjoint(
                self.retry_on):
            return None
        return _due(now, self.retry_wait, job.failures, self.attempts - 1)

    def due_after_interruption(self, job, now):
        """Return when to run a job again that could not be run to its end.

        Because what it stands on has failed: there is no last time.
        """
        wait = min(INTERRUPTION_LIMIT,
                   INTERRUPTION_WAIT * 2 ** min(job.interruptions, 20))
        return now + random.uniform(wait / 2, wait)

    def due_after_loss(self, job, now):
        """Return when to run a job again whose end could not be stored."""
        return _due(now, max(self.retry_wait, LOSS_WAIT), job.failures,
                    self.attempts)

    def retention_of(self, status):
        """Return how many seconds a job is kept with a status."""
        return {COMPLETED: self.retention, CANCELLED: self.retention,
                ERROR: self.error_retention, HELD: self.error_retention,
                }[status]


def _due(now, wait, number, maximum):
    """Return the time of the next attempt, None after the last one.

    Exponential backoff with full jitter: anything up to a limit that doubles
    (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
    2015).
    """
    if number >= maximum:
        return None
    return now + random.uniform(0, min(MAX_WAIT, wait * 2 ** number))
