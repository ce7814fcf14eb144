"""The job store: the persistent objects of one service, put together.

Storage only: no threads, no tasks, no policy of when to try again.
docs/engine.rst tells who writes what.
"""

import collections.abc

import BTrees
import persistent
import zope.interface
import zope.interface.common.mapping

from lovely.remotetask import aside
from lovely.remotetask import audit
from lovely.remotetask import books
from lovely.remotetask import counting
from lovely.remotetask import crew
from lovely.remotetask import lane
from lovely.remotetask import lease
from lovely.remotetask import lookup
from lovely.remotetask import moment
from lovely.remotetask import pool
from lovely.remotetask import removal
from lovely.remotetask import settlement
from lovely.remotetask import taking
from lovely.remotetask import tidy
from lovely.remotetask.ledger import Ledger
from lovely.remotetask.source import PASS_AT_ONCE
from lovely.remotetask.unreadable import read


__all__ = ['PASS_AT_ONCE', 'JobStore', 'Jobs']


class JobStore(persistent.Persistent):
    """Jobs from their addition to their removal.

    crons -- of the jobs that are due by the schedule alone, by id: the job,
        the time, and the fence and the status for which that holds.
    aside -- jobs that cannot be read, by id: since when, and why.
    retired -- by the number of a lane that was dropped, the sequence with
        which it begins when there is one again.
    oid -- that under which the store was stored first: it tells a copy.
    copied_at -- the serial with which the copy of a store was stored.
    searched -- how far jobs were looked for that nobody has, see `audit`;
        None: there is no need to.
    """

    oid = copied_at = searched = None

    def __init__(self, service=None, start=0):
        """Make an empty store.

        service -- the ITaskService it belongs to, the parent of its jobs.
        start -- the first sequence of each strand; ids below are left to
            jobs that were stored before there was this store.
        """
        self.service = service
        self.start = start
        self.lanes = BTrees.family64.IO.BTree()
        self.leases = BTrees.family64.IO.BTree()
        self.cursors = BTrees.family64.IO.BTree()
        self.schedule = BTrees.family64.OO.BTree()
        self.workers = BTrees.family64.OO.BTree()
        self.ledger = Ledger()
        self.legacy = None
        self.extend()
        for _ in range(lease.SPARE_LANES):
            lease.add_lane(self)

    def extend(self):
        """Make the trees that earlier versions did not have."""
        self.crons = BTrees.family64.IO.BTree()
        self.aside = BTrees.family64.IO.BTree()
        self.retired = BTrees.family64.II.BTree()

    def __getnewargs__(self):
        # ZODB refers to objects that have this by their oid alone: each job
        # refers to its store, and the name of the class would make half of
        # a small job.
        return ()

    def __getstate__(self):
        # A copy carries the oid of the store it was made of.
        state = super().__getstate__()
        if state.get('oid') is None and self._p_oid is not None:
            state['oid'] = self._p_oid
        return state

    def read(self, call, *args):
        """See unreadable.read."""
        return read(None if self._p_jar is None else self._p_jar.db(),
                    call, *args)

    @staticmethod
    def now(now=None):
        """Return a time, by default the current one, in POSIX seconds."""
        return moment.now() if now is None else now

    # What callers do

    def add(self, make, status, priority):
        """Add the job that ``make(id)`` returns.  Return it."""
        place = pool.lane_of_transaction(self)
        job = make(place.next_id(priority))
        job.store = self
        job.change_status(status)
        self._append(place, job, None)
        return job

    def change(self, job, change, *args):
        """Let a job be changed by ``change(*args)``; processors are told."""
        place = pool.lane_of_transaction(self)
        old = job.stored_status
        note = self._note(job)
        change(*args)
        job.note = place.next_id(job.priority)
        self._append(place, job, old, note)

    def _note(self, job):
        status, when = books.place_of(job)
        places = ((lane.letter_of(status), when),)
        if job.note is None or not lookup.is_unseen(self, job.note):
            return lane.Note(job.id, places)
        # Whoever passes the last note sees to all that it may find.
        last = lookup.entry_of(self, job.note).note
        return lane.Note(
            job.id, tuple(dict.fromkeys((*places, *last.places))),
            (job.note, *last.previous))

    def _append(self, place, job, old, note=None):
        new = None if job.removed else job.stored_status
        key = place.key(job.priority)
        place.append(job, lane.encode_change(old, new), job.priority,
                     lambda: lookup.sequence_at_cursor(self, key), note)

    def remove(self, job):
        """Remove a job."""
        self.change(job, job.clear)

    def remove_unreadable(self, jobid):
        """Remove a job whose record cannot be read."""
        aside.remove(self, jobid)

    def restore(self, jobid):
        """See aside.restore."""
        return aside.restore(self, jobid)

    def lease(self, owner, now, is_visible, length=lease.LEASE):
        """See lease.take."""
        return lease.take(self, owner, now, is_visible, length)

    # Looking up

    def find(self, jobid):
        """See lookup.find."""
        return lookup.find(self, jobid)

    def all_jobs(self):
        """See lookup.all_jobs."""
        return lookup.all_jobs(self)

    def __iter__(self):
        """Iterate over the ids of all jobs."""
        for job in self.all_jobs():
            yield job.id

    def strands(self):
        """See lookup.strands."""
        return lookup.strands(self)

    def sequence_at_cursor(self, key):
        """See lookup.sequence_at_cursor."""
        return lookup.sequence_at_cursor(self, key)

    def is_behind(self):
        """See lookup.is_behind."""
        return lookup.is_behind(self)

    def counts(self):
        """See counting.counts."""
        return counting.counts(self)

    def unreadable(self):
        """See aside.unreadable."""
        return aside.unreadable(self)

    def next_due(self):
        """Return when the first job of the schedule is due, or None."""
        found = self.read(self._first_in_schedule)
        return None if found.failed else found.value

    def _first_in_schedule(self):
        return self.schedule.minKey()[0] if self.schedule else None

    def time_of(self, job, own):
        """See books.time_of."""
        return books.time_of(self, job, own)

    def is_copied(self, job):
        """Return whether a job is a copy of one of another service."""
        return self.copied_at is not None and job._p_serial == self.copied_at

    # Claims

    def claims(self):
        """See crew.all_claims."""
        return crew.all_claims(self)

    def claim_of(self, job):
        """See crew.claim_of."""
        return crew.claim_of(self, job)

    def worker(self, worker_id):
        """See crew.worker."""
        return crew.worker(self, worker_id)

    def readable_workers(self):
        """See crew.workers."""
        return crew.workers(self)

    def gone_workers(self, is_alive, now):
        """See crew.gone."""
        return crew.gone(self, is_alive, now)

    def enter(self, worker_id, now):
        """See crew.enter."""
        crew.enter(self, worker_id, now)

    def beat(self, worker_id, now):
        """See crew.beat."""
        crew.beat(self, worker_id, now)

    def drop_worker(self, worker_id):
        """See crew.drop_worker."""
        return crew.drop_worker(self, worker_id)

    def claim(self, worker_id, now, limit, at_once=None, scheduled=True,
              may_die=None):
        """See taking.claim."""
        return taking.claim(self, worker_id, now, limit, at_once, scheduled,
                            may_die)

    def has_lost(self, worker_id):
        """See taking.has_lost."""
        return taking.has_lost(self, worker_id)

    def claim_job(self, worker_id, jobid, now):
        """See taking.claim_job."""
        return taking.claim_job(self, worker_id, jobid, now)

    def take(self, now, limit):
        """See taking.take."""
        return taking.take(self, now, limit)

    def has_jobs(self, now):
        """See taking.has_jobs."""
        return taking.has_jobs(self, now)

    def oldest_waiting(self, now):
        """See taking.oldest_waiting."""
        return taking.oldest_waiting(self, now)

    def drop_claim(self, worker_id, jobid):
        """Take a claim off a worker's record.

        Return it; None if somebody took the worker for dead.
        """
        worker = crew.worker(self, worker_id)
        return None if worker is None else worker.remove(jobid)

    def put_back_claimed(self, claim, now=None):
        """See settlement.settle."""
        return settlement.settle(self, claim, now)

    # Books

    def put_back(self, job, counted, now=None):
        """Put a job into the books that was taken out of the queue.

        counted -- the status under which it is counted.
        """
        self.ledger.count(counted, job.stored_status)
        books.book(self, job, now)
        return job

    def drop(self, job):
        """See settlement.drop."""
        settlement.drop(self, job)

    def prune(self, status, before, limit):
        """See removal.prune."""
        return removal.prune(self, status, before, limit)

    def prune_unreadable(self, before, limit):
        """See aside.prune."""
        return aside.prune(self, before, limit)

    def look_after(self, now):
        """Do what is to be done now and then."""
        audit.look(self, now)
        audit.look_for_lost(self, now)
        aside.forget_removed(self)
        tidy.tidy(self)

    def correct_schedule(self, now):
        """See audit.correct_schedule."""
        audit.correct_schedule(self, now)


@zope.interface.implementer(zope.interface.common.mapping.IEnumerableMapping)
class Jobs(collections.abc.Mapping):
    """All jobs of a store by id."""

    def __init__(self, store):
        self._store = store

    @property
    def __parent__(self):
        """The service, so that local grants on it hold for the mapping."""
        return self._store.service

    def __getitem__(self, jobid):
        job = self._store.find(jobid) if isinstance(jobid, int) else None
        if job is None:
            raise KeyError(jobid)
        return job

    def __iter__(self):
        return iter(self._store)

    # Iterators, not the views of `Mapping`: untrusted code may use them.

    def keys(self):
        return iter(self)

    def values(self):
        return self._store.all_jobs()

    def items(self):
        return ((job.id, job) for job in self._store.all_jobs())

    def __len__(self):
        return sum(self._store.counts().values())
