"""What has ended, by time, and how many jobs there are of each status.

Storage only.
"""

import BTrees
import BTrees.Length
import persistent

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES


# Nothing happens to these jobs unless somebody asks for it.
LISTED = (COMPLETED, CANCELLED, ERROR, HELD, STARTLATER)


class Ledger(persistent.Persistent):
    """The jobs at rest, and the counts of all."""

    def __init__(self):
        self.jobs = {
            status: BTrees.family64.OO.BTree() for status in LISTED}
        # Lengths resolve their conflicts by adding up.
        self.counts = {
            status: BTrees.Length.Length() for status in STATUSES}

    def count(self, old, new):
        """Count a change of status; None is no job."""
        for status, number in ((old, -1), (new, 1)):
            if status is not None and old != new:
                self.counts[status].change(number)

    def add(self, job):
        """List a job by the time at which it ended."""
        self.jobs[job.stored_status][_key(job)] = job

    def remove(self, job, status):
        """List a job no longer under a status."""
        self.jobs[status].pop(_key(job), None)

    def oldest(self, status, before, limit):
        """Return up to `limit` jobs that ended before a time."""
        found = []
        for job in self.jobs[status].values(max=(before, -1)):
            if len(found) == limit:
                break
            found.append(job)
        return found

    def newest(self, status, after=None):
        """Iterate over keys and jobs, newest first, beyond the key `after`."""
        jobs = self.jobs[status]
        key = before(jobs, after)
        while key is not None:
            yield key, jobs[key]
            key = before(jobs, key)


def _key(job):
    return (job.completed or job.created).timestamp(), job.id


def before(tree, key):
    """Return the last key before one, or the last of all; None if none.

    The keys are pairs of a time and a job id.
    """
    try:
        if key is None:
            return tree.maxKey()
        return tree.maxKey((key[0], key[1] - 1))
    except ValueError:
        return None
