"""What is at rest, by time, and how many jobs there are of each status.

Storage only.
"""

import BTrees
import BTrees.Length
import persistent

from lovely.remotetask.foreign.unreadable import read
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES


# Nothing happens to these jobs unless somebody asks for it.
LISTED = (COMPLETED, CANCELLED, ERROR, HELD, STARTLATER)


class Swept(persistent.Persistent):
    """Jobs at rest that were put aside, all of one status, to be removed.

    status -- under which they are counted still.
    jobs -- the tree in which they were listed.
    number -- BTrees.Length: how many there are left.
    """

    def __init__(self, status, jobs, number):
        self.status = status
        self.jobs = jobs
        self.number = BTrees.Length.Length(number)


class Ledger(persistent.Persistent):
    """The jobs at rest, and the counts of all.

    swept -- tuple of Swept.
    """

    swept = ()

    def __init__(self):
        self.jobs = {
            status: BTrees.family64.OO.BTree() for status in LISTED}
        # Lengths resolve their conflicts by adding up.
        self.counts = {
            status: BTrees.Length.Length() for status in STATUSES}

    def count(self, old, new, number=1):
        """Count a change of status of some jobs; None is no job."""
        for status, change in ((old, -number), (new, number)):
            if status is not None and old != new:
                self._length(status).change(change)

    def _length(self, status):
        """Return the Length of a status; another for one that is no good."""
        length = self.counts[status]
        # Most are loaded already.
        if length._p_changed is None and read(
                self._p_jar.db(), length._p_activate).failed:
            # What is listed nowhere begins at nothing.
            number = read(self._p_jar.db(), len, self.jobs.get(status, ()))
            length = BTrees.Length.Length(
                (number.value or 0) + self.number_of_swept(status))
            self.counts = {**self.counts, status: length}
        return length

    def add(self, job):
        """List a job by the time at which it came to rest."""
        jobs = self.jobs[job.stored_status]
        if self._p_jar is not None:
            # Somebody may put the tree aside at this moment; the job would go
            # with it, though it came to rest later.
            self._p_jar.readCurrent(self)
        jobs[key_of(job)] = job

    def has(self, job):
        """Return whether a job is listed where it belongs."""
        return key_of(job) in self.jobs[job.stored_status]

    def take_out(self, status, key):
        """List what is under a key no longer.  Return whether it was there.
        """
        return self.jobs[status].pop(key, None) is not None

    def oldest(self, status, before, limit):
        """Return up to `limit` keys and jobs that came to rest before a time.
        """
        return first(self.jobs[status].items(max=(before, -1)), limit)

    def newest(self, status, after=None):
        """Iterate over keys and jobs, newest first, beyond the key `after`."""
        jobs = self.jobs[status]
        key = before(jobs, after)
        while key is not None:
            yield key, jobs[key]
            key = before(jobs, key)

    def sweep(self, status, number):
        """Put all jobs of a status aside.

        number -- how many there are; some are elsewhere, but listed still.
        """
        swept = Swept(status, self.jobs[status], number)
        self.jobs = {**self.jobs, status: BTrees.family64.OO.BTree()}
        self.swept = (*self.swept, swept)

    def number_of_swept(self, status):
        """Return how many jobs of a status wait to be removed."""
        return sum(swept.number() for swept in self.swept
                   if swept.status == status)

    def is_swept(self, job):
        """Return whether a job was put aside, to be removed."""
        return bool(self.swept) and any(
            job.stored_status == swept.status and key_of(job) in swept.jobs
            for swept in self.swept)

    def drop_swept(self, swept):
        """Forget a Swept from which all jobs were removed."""
        self.swept = tuple(
            other for other in self.swept if other is not swept)


def key_of(job):
    """Return the key under which a job is listed while it is at rest."""
    return (job.completed or job.created).timestamp(), job.id


def first(iterable, count):
    """Return the first `count` items as a list."""
    return [item for item, _ in zip(iterable, range(count), strict=False)]


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
