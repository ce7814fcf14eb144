"""What is at rest, by time, and how many jobs there are of each status.

Storage only.  All that is written of a job here is on one shelf, which its id
tells: those who keep the books of other lanes do not meet there.
"""

import heapq
import itertools

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
from lovely.remotetask.storage.numbering import SHELVES
from lovely.remotetask.storage.numbering import shelf_number


# Nothing happens to these jobs unless somebody asks for it.
LISTED = (COMPLETED, CANCELLED, ERROR, HELD, STARTLATER)


class Swept(persistent.Persistent):
    """Jobs at rest that were put aside, all of one status, to be removed.

    status -- under which they are counted still.
    jobs -- by number of a shelf: the tree in which they were listed.
    number -- BTrees.Length: how many there are left.
    """

    # By number of a shelf: the ids of all jobs that were put aside there.
    _v_ids = None

    def __init__(self, status, jobs, number):
        self.status = status
        self.jobs = jobs
        self.number = BTrees.Length.Length(number)

    def has(self, job):
        """Return whether a job is among them."""
        return (job.stored_status == self.status and key_of(job)
                in self.jobs.get(shelf_number(job.id), ()))

    def has_id(self, jobid):
        """Return whether a job is among them that cannot be read.

        Nothing tells its time, which is part of its key.
        """
        number = shelf_number(jobid)
        if self._v_ids is None:
            self._v_ids = {}
        if number not in self._v_ids:
            # This is read once: jobs that are dropped meanwhile are gone
            # altogether.
            self._v_ids[number] = frozenset(
                key[1] for key in self.jobs.get(number, ()))
        return jobid in self._v_ids[number]

    def first(self, limit):
        """Return up to `limit` trees, keys and jobs."""
        return first(((tree, key, job) for tree in self.jobs.values()
                      for key, job in tree.items()), limit)


class Ledger(persistent.Persistent):
    """The jobs at rest, and the counts of all, on several shelves.

    jobs -- by number of a shelf, and by status: a tree of jobs by time and
        id.  A service with few jobs has one shelf only.
    counts -- by the same: a BTrees.Length.  What those of all shelves add up
        to counts; one of them alone may be below 0.
    swept -- tuple of Swept.
    """

    swept = ()

    def __init__(self):
        self.jobs, self.counts = {}, {}
        self._make([0])

    def _make(self, numbers):
        self.jobs = {**self.jobs, **{number: {
            status: BTrees.family64.OO.BTree() for status in LISTED}
            for number in numbers}}
        # Lengths resolve their conflicts by adding up.
        self.counts = {**self.counts, **{number: {
            status: BTrees.Length.Length() for status in STATUSES}
            for number in numbers}}

    def _look_for(self, number):
        """Make a shelf if it is not there: and all others, too.

        So workers meet here once, and not for each.
        """
        if number not in self.jobs:
            self._make(set(range(SHELVES)).difference(self.jobs))

    def trees(self, status, numbers=None):
        """Return the trees of a status.

        numbers -- of the shelves, by default all.
        """
        return [trees[status] for number, trees in self.jobs.items()
                if numbers is None or number in numbers]

    def _tree(self, status, jobid):
        """Return the tree in which a job is listed, if it is."""
        found = self.jobs.get(shelf_number(jobid))
        return {} if found is None else found[status]

    def count(self, jobid, old, new):
        """Count a change of status of a job; None is no job."""
        if old == new:
            return
        number = shelf_number(jobid)
        self._look_for(number)
        for status, change in ((old, -1), (new, 1)):
            if status is not None:
                self._length(number, status).change(change)

    def _length(self, number, status):
        """Return the Length of a status; another for one that is no good."""
        length = self.counts[number][status]
        # Most are loaded already.
        if length._p_changed is None and read(
                self._p_jar.db(), length._p_activate).failed:
            # What is listed nowhere begins at nothing.
            length = BTrees.Length.Length(self._number(number, status))
            self.counts = {**self.counts, number: {
                **self.counts[number], status: length}}
        return length

    def _number(self, number, status):
        """Return how many jobs are listed on a shelf, or were put aside."""
        trees = [self.jobs[number].get(status, ())] + [
            swept.jobs.get(number, ()) for swept in self.swept
            if swept.status == status]
        found = [read(self._p_jar.db(), len, tree) for tree in trees]
        return sum(each.value or 0 for each in found)

    def add(self, job):
        """List a job by the time at which it came to rest."""
        self.add_under(key_of(job), job.stored_status, job)

    def add_under(self, key, status, job):
        """List a job, which need not be loaded, under its key."""
        number = shelf_number(key[1])
        self._look_for(number)
        if self._p_jar is not None:
            # Somebody may put the tree aside at this moment; the job would go
            # with it, though it came to rest later.
            self._p_jar.readCurrent(self)
        self.jobs[number][status][key] = job

    def has(self, job):
        """Return whether a job is listed where it belongs."""
        return key_of(job) in self._tree(job.stored_status, job.id)

    def take_out(self, status, key):
        """List what is under a key no longer.  Return whether it was there.
        """
        return self._tree(status, key[1]).pop(key, None) is not None

    def oldest(self, status, before, numbers=None):
        """Iterate over keys and jobs that came to rest before a time.

        numbers -- of the shelves to look at, by default all.
        """
        return heapq.merge(
            *(tree.items(max=(before, -1))
              for tree in self.trees(status, numbers)),
            key=lambda item: item[0])

    def newest(self, status, after=None):
        """Iterate over keys and jobs, newest first, beyond the key `after`."""
        return heapq.merge(
            *(_backwards(tree, after) for tree in self.trees(status)),
            key=lambda item: item[0], reverse=True)

    def sweep(self, status, number):
        """Put all jobs of a status aside.

        number -- how many there are; some are elsewhere, but listed still.
        """
        swept = Swept(status, {
            shelf: trees[status]
            for shelf, trees in self.jobs.items()}, number)
        self.jobs = {
            shelf: {**trees, status: BTrees.family64.OO.BTree()}
            for shelf, trees in self.jobs.items()}
        self.swept = (*self.swept, swept)

    def number_of_swept(self, status):
        """Return how many jobs of a status wait to be removed."""
        return sum(swept.number() for swept in self.swept
                   if swept.status == status)

    def is_swept(self, job):
        """Return whether a job was put aside, to be removed."""
        return any(swept.has(job) for swept in self.swept)

    def has_swept(self, jobid):
        """Return whether a job was put aside, to be removed; by its id."""
        return any(swept.has_id(jobid) for swept in self.swept)

    def drop_swept(self, swept):
        """Forget a Swept from which all jobs were removed."""
        self.swept = tuple(
            other for other in self.swept if other is not swept)


def key_of(job):
    """Return the key under which a job is listed while it is at rest."""
    return (job.completed or job.created).timestamp(), job.id


def first(iterable, count):
    """Return the first `count` items as a list."""
    return list(itertools.islice(iterable, count))


def _backwards(tree, key):
    """Iterate over keys and values before a key, the last ones first."""
    key = before(tree, key)
    while key is not None:
        yield key, tree[key]
        key = before(tree, key)


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
