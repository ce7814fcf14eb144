"""What lovely.remotetask 0.2 to 0.5 have stored of a service.  Read only.

They keep all jobs in the BTree `jobs`.  Those that wait are in `_queue`, a
zc.queue, too; recurring and delayed ones in `_scheduledJobs`, a BTree of
tuples by the time when they are due, or still in `_scheduledQueue`.
"""

import persistent

from lovely.remotetask.foreign.unreadable import UnreadableRecord
from lovely.remotetask.foreign.unreadable import reason_of
from lovely.remotetask.number import whole


# What the services have stored, and those of today have not.
ATTRIBUTES = ('jobs', '_queue', '_scheduledJobs', '_scheduledQueue')

# Queues of zc.queue are made of queues.
DEPTH = 10


class Earlier:
    """The queue and the schedule of a service, as they were stored.

    Good for any connection, for it knows jobs by their object ids.

    trouble -- texts: what of that cannot be read, and why.
    """

    def __init__(self, service, read):
        """Look at a service.

        read -- see `unreadable.read`, without the database.
        """
        self.trouble = []
        state = vars(service)

        def look(name, see):
            stored = state.get(name)
            found = read(see, () if stored is None else stored)
            if found.failed:
                self.trouble.append(
                    f'{name} cannot be read: {reason_of(found)}')
            return found.value
        # None where nobody knows.
        self._queued = look('_queue', _identities)
        self._new = look('_scheduledQueue', _identities)
        self._times = look('_scheduledJobs', _times)

    def is_queued(self, job):
        """Return whether a job is in the queue; None if nobody knows."""
        return None if self._queued is None else (
            identity(job) in self._queued)

    def is_scheduled(self, job):
        """Return whether a job waits for its time; None if nobody knows."""
        if self._times is None or self._new is None:
            return None
        return identity(job) in self._times or identity(job) in self._new

    def oids(self):
        """Return the object ids of all that is in them: a set of bytes."""
        return {each for some in (self._queued, self._new, self._times)
                for each in some or () if isinstance(each, bytes)}

    def is_new(self, job):
        """Return whether no processor has counted the time of a job yet.

        It was added, or somebody has rescheduled it: a time from before that
        counts no longer.
        """
        return self._new is not None and identity(job) in self._new

    def time_of(self, job):
        """Return when a job is due, in POSIX seconds (int), or None."""
        return None if self.is_new(job) else (
            self._times or {}).get(identity(job))


class Forgotten(Earlier):
    """Those of a service that is up to date: nobody has them any more."""

    def __init__(self):
        self.trouble = []
        self._queued = self._new = self._times = None


def identity(job):
    """Return what tells a job from others; it need not be loaded."""
    return getattr(job, '_p_oid', None) or id(job)


def _identities(queue):
    return {identity(job) for job in _members(queue, DEPTH)}


def _members(queue, depth):
    """Yield the jobs in a queue; zc.queue need not be installed."""
    if not depth:
        raise UnreadableRecord('it holds itself')
    for each in _data(queue):
        if type(each).__module__.startswith('zc.queue'):
            yield from _members(each, depth - 1)
        elif isinstance(each, persistent.Persistent):
            yield each


def _data(queue):
    if not isinstance(queue, persistent.Persistent):
        return queue
    queue._p_activate()
    state = vars(queue)
    # A queue whose class is not installed has its state elsewhere.
    state = state.get('__Broken_state__') or state
    return state['_data']


def _times(schedule):
    """Return when each job is due, by what tells it from others."""
    if not schedule:
        return {}
    found = {}
    for time, jobs in schedule.items():
        for job in jobs:
            if whole(time) is not None:
                # The first one that is met is the earliest.
                found.setdefault(identity(job), whole(time))
    return found


# The tree of jobs

def salvage(tree, read):
    """Return a tree with what can be read of a BTree of jobs.

    read -- see Earlier.

    And a list of texts: why the rest cannot be read.
    """
    found, trouble = type(tree)(), []
    todo = [tree]
    while todo:
        part = todo.pop()
        looked = read(_look_into, part, tree)
        if looked.failed:
            trouble.append(reason_of(looked))
            continue
        parts, items = looked.value
        todo += parts
        found.update(items)
    return found, trouble


def _look_into(part, tree):
    """Return the parts of a part of a tree, and the items of the last ones.
    """
    part._p_activate()
    if type(part) is type(tree):
        state = part.__getstate__()
        # A small tree has its only bucket in its own record.
        if state is not None and len(state) > 1:
            return state[0][::2], ()
    return (), list(part.items())
