"""The persistent queue: who waits, who is claimed, what is due when.

Storage only: no threads, no transactions, no tasks.
"""

import time

import BTrees
import persistent

from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.job import as_datetime


class JobQueue(persistent.Persistent):
    """Keeps jobs in the order in which they are to be run.

    A job is in at most one of four places: `waiting` (first in, first out),
    `claimed` (by id), `scheduled` (by time), or `fresh` (to be scheduled
    from the next time on that the queue is told).
    """

    def __init__(self):
        self.waiting = BTrees.family64.IO.BTree()
        self.claimed = BTrees.family32.IO.BTree()
        self.scheduled = BTrees.family64.OO.BTree()
        self.fresh = BTrees.family32.IO.BTree()

    def put(self, job):
        """Append a job."""
        position = time.time_ns()
        # Two calls within one tick of the clock.
        while position in self.waiting:
            position += 1
        self.waiting[position] = job
        job.position = position

    def schedule(self, job):
        """Take a job whose time counts from the next `now` on."""
        self.fresh[job.id] = job

    def remove(self, job):
        """Take a job out, wherever it is."""
        if job.position is not None:
            place = (self.scheduled if isinstance(job.position, tuple)
                     else self.waiting)
            place.pop(job.position, None)
            job.position = None
        self.fresh.pop(job.id, None)
        self.claimed.pop(job.id, None)

    def has_jobs(self, now):
        """Return whether `claim` would find a job."""
        self._schedule_fresh(now)
        return bool(self.waiting) or self._first_due(now) is not None

    def claim(self, claim):
        """Claim the next job, due ones first.  Return it, or None."""
        self._schedule_fresh(claim.time)
        job = self._first_due(claim.time)
        if job is None and self.waiting:
            job = self.waiting[self.waiting.minKey()]
        if job is not None:
            self.claim_job(job, claim)
        return job

    def claim_job(self, job, claim):
        """Claim the given job."""
        self.remove(job)
        job.begin(claim)
        self.claimed[job.id] = job

    def settle(self, job):
        """A claimed job is no longer being run; schedule it if it recurs."""
        self.claimed.pop(job.id, None)
        if job.recurring:
            # From the time it was begun: a tick that came while it ran is
            # caught up.
            self._schedule(job, job.claim.time)

    def release(self, is_alive):
        """Give the jobs with dead claims back.  Return them."""
        dead = [job for job in self.claimed.values()
                if job.status == PROCESSING and not is_alive(job.claim)]
        for job in dead:
            del self.claimed[job.id]
            job.change_status(QUEUED)
            self.put(job)
        return dead

    def _schedule_fresh(self, now):
        # Peek first: asking whether there are jobs should write nothing.
        if not self.fresh:
            return
        for job in list(self.fresh.values()):
            self.remove(job)
            self._schedule(job, now)

    def _schedule(self, job, now):
        due = job.timeOfNextCall(now)
        job.scheduledFor = as_datetime(due)
        job.position = (due, job.id)
        self.scheduled[job.position] = job

    def _first_due(self, now):
        if self.scheduled:
            position = self.scheduled.minKey()
            if position[0] <= now:
                return self.scheduled[position]
        return None
