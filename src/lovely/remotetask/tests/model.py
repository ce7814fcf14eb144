"""What a service should be: all jobs and workers in plain Python."""

from transaction.interfaces import TransientError

from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.interfaces import CannotRun
from lovely.remotetask.policy import TRANSIENTS
from lovely.remotetask.policy import Policy


WORKERS = [f'host:{number}:thread:no-machine-{number}' for number in range(3)]
POLICY = Policy(attempts=3, retry_on=('builtins.KeyError',),
                retention=500.0, error_retention=1000.0)

# How a run may end.
OUTCOMES = {
    'completed': None,
    'error': ZeroDivisionError('as told'),
    'retry': KeyError('as told'),
    'transient': TransientError('as told'),
    'held': CannotRun('as told'),
}


class ModelJob:
    """What is known of a job."""

    def __init__(self, jobid, number, status, due, priority):
        self.id = jobid
        self.number = number
        self.status = status
        self.due = due
        self.priority = priority
        self.attempts = self.transients = 0
        # The worker that has it, and what tells its claims apart.
        self.worker = None
        self.fence = 0
        # Cron jobs: run again and again; one that waits has no time before
        # somebody looked at it.
        self.recurring = False
        self.completed = None

    @property
    def visible(self):
        if self.unreadable:
            return HELD
        return self.status if self.worker is None else PROCESSING

    def is_ready(self, now):
        return (self.visible in WAITING
                and (self.due is not None and self.due <= now
                     if self.status in (CRONJOB, DELAYED)
                     else self.due is None or self.due <= now))

    @property
    def waiting_status(self):
        if self.recurring:
            return CRONJOB
        return DELAYED if self.delayed else QUEUED

    delayed = False
    # Whether its record cannot be read.
    unreadable = False
    # Whether its last run ended with the process.
    lost = False

    def end(self, status, now):
        self.status = CRONJOB if self.recurring else status
        self.completed = now
        self.worker = None
        if self.recurring:
            self.attempts = self.transients = 0
            # Read from the job: cron has tests of its own.
            self.due = None

    def again(self, transient, now):
        self.worker = None
        self.completed = now
        self.status = self.waiting_status
        self.attempts += 1
        self.transients += transient

    def run(self, outcome, now):
        """Let a run end."""
        self.lost = False
        if outcome == 'transient' and self.transients < TRANSIENTS:
            self.again(True, now)
        elif outcome == 'retry' and self.may_fail():
            self.again(False, now)
        else:
            self.attempts += 1
            self.end({'completed': COMPLETED, 'held': HELD}.get(
                outcome, ERROR), now)

    def lose(self, now):
        """Let the process that has it be gone."""
        if self.may_fail():
            self.attempts += 1
            self.worker = None
            self.lost = True
        else:
            self.attempts += 1
            self.end(ERROR, now)

    def may_fail(self):
        return self.attempts - self.transients + 1 < POLICY.attempts


class Model:
    """All jobs and workers."""

    def __init__(self):
        self.now = 1_000_000.0
        self.jobs = {}
        self.removed = set()
        # Claims by worker and job.
        self.workers = {}
        self.at_once = {}
        self.paused = False
        self.effects = {}
        # How many runs of a job have been completed.
        self.completed = {}

    def counts(self):
        counts = dict.fromkeys(STATUSES, 0)
        for job in self.jobs.values():
            counts[job.visible] += 1
        return counts

    def unreadable(self):
        """Return the ids of the jobs whose records cannot be read."""
        return {job.id for job in self.jobs.values() if job.unreadable}

    def unsettled(self):
        """Return the ids of jobs that ended under a claim still there."""
        return {jobid for claims in self.workers.values() for jobid in claims
                if not self.is_live(claims[jobid])}

    def ready(self, now, paused):
        """Return the jobs that can be claimed, by id: surely, and at all."""
        if paused:
            return {}, {}
        ready = {job.id: job for job in self.jobs.values()
                 if job.is_ready(now)}
        # These are not in the queue before their last claim is settled;
        # unless they were put there for another reason.
        unsettled = self.unsettled()
        return {jobid: job for jobid, job in ready.items()
                if jobid not in unsettled}, ready

    def is_live(self, claim):
        job = self.jobs.get(claim.job)
        return (job is not None and job.worker == claim.worker
                and job.fence == claim.fence and not job.unreadable)
