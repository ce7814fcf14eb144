"""The job store: the persistent objects of one service, put together.

Storage only: no threads, no tasks, no policy of when to try again.
docs/reference/writers.rst tells who writes what.
"""

import collections.abc
import secrets
from typing import NamedTuple

import BTrees
import persistent
import zope.interface
import zope.interface.common.mapping

from lovely.remotetask import moment
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.unreadable import read
from lovely.remotetask.storage import adder
from lovely.remotetask.storage import books
from lovely.remotetask.storage import counting
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import crons
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lease
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage.ledger import Ledger
from lovely.remotetask.storage.meter import Meter


class Place(NamedTuple):
    """Where the next entry of a transaction goes.

    lane -- the Lane.
    id -- int, that of the entry; a job that is added there has it, too.
    """

    lane: lane.Lane
    id: int


def _last_of_strands(places):
    """Return of each strand the first of ids of entries, newest first."""
    found = {}
    for place in places:
        found.setdefault(numbering.strand_key(place), place)
    return tuple(found.values())


class Mark(persistent.Persistent):
    """Never changed: its serial is that of the transaction that stored it.

    So a copy of a store tells when it was made, whoever has written the store
    since.
    """


class JobStore(persistent.Persistent):
    """Jobs from their addition to their removal.

    crons -- of the jobs that are due by the schedule alone, by id: the job,
        the time, and the fence and the status for which that holds.
    recurring -- the jobs among them that run again and again, by id; None in
        a store of before, until processors have passed one.
    pauses -- the ids of those that somebody has paused, if any.
    resumed -- of those that were resumed while they ran, by id: when, in
        POSIX seconds, if any.
    named -- by the name of a cron job: what is told of it, see `named`; None
        where there was none.
    actions -- ActionLog: what was done in lanes that were dropped.
    aside -- jobs that cannot be read, by id: since when, why, and what notes
        of theirs were known then.
    legacy -- jobs that were stored before there was this store, by id; None:
        there were none.
    displaced -- jobs that had left their segments before processors heard
        that somebody has changed them meanwhile, by id.
    retired -- by the number of a lane that was dropped, the sequence with
        which it begins when there is one again.
    oid -- that under which the store was stored first: it tells a copy.
    copied_at -- the serial with which the copy of a store was stored.
    mark -- Mark; None in a store of before.
    secret -- bytes, what the tokens of forms are made with.
    searched -- how far jobs were looked for that nobody has, see `audit`;
        None: there is no need to.
    losses -- see `unclaimed`; None: there were none.
    archive -- Meter: what workers have counted that are gone; None: nothing.
    parted -- Meters of such workers that are no part of it yet, by their ids.
    since -- when the jobs of earlier code were brought up to date (POSIX
        seconds): nothing that ended before is kept any shorter than what
        ends then.
    """

    oid = copied_at = searched = losses = secret = None
    since = 0.0
    recurring = pauses = resumed = named = None
    actions = archive = parted = None
    displaced = mark = None

    def __init__(self, service=None, start=0):
        """Make an empty store.

        service -- the ITaskService it belongs to, the parent of its jobs.
        start -- the first sequence of each strand; ids below are left to
            jobs that were stored before there was this store.
        """
        self.service = service
        self.start = start
        self.secret = secrets.token_bytes(32)
        self.mark = Mark()
        self.lanes = BTrees.family64.IO.BTree()
        self.leases = BTrees.family64.IO.BTree()
        self.cursors = BTrees.family64.IO.BTree()
        self.schedule = BTrees.family64.OO.BTree()
        self.workers = BTrees.family64.OO.BTree()
        self.ledger = Ledger()
        self.legacy = None
        self.displaced = BTrees.family64.IO.BTree()
        self.crons = BTrees.family64.IO.BTree()
        self.recurring = BTrees.family64.IO.BTree()
        self.pauses = BTrees.family64.II.TreeSet()
        self.resumed = BTrees.family64.IO.BTree()
        self.aside = BTrees.family64.IO.BTree()
        self.retired = BTrees.family64.II.BTree()
        self.archive = Meter()
        self.parted = BTrees.family64.OO.BTree()
        for _ in range(lease.SPARE_LANES):
            lease.add_lane(self)

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

    def prefetch(self, records):
        """Ask for records together that are about to be loaded.

        A server is waited for once then, and not for each.

        records -- what was found in other records: what is no persistent
            object of this database, or is loaded, is none to ask for.
        """
        if self._p_jar is not None:
            self.read(self._p_jar.prefetch, [
                each for each in records
                if issubclass(type(each), persistent.Persistent)
                and each._p_jar is self._p_jar
                and each._p_changed is None])

    @staticmethod
    def now(now=None):
        """Return a time, by default the current one, in POSIX seconds."""
        return moment.now() if now is None else now

    # What callers do

    def reserve(self, priority):
        """Return the Place of what the current transaction adds next.

        Raise NoTransaction if there is none.
        """
        found = adder.lane_of_transaction(self)
        return Place(found, found.next_id(priority))

    def add(self, job, place, status):
        """Add a job that was made for a place."""
        job.store = self
        job.change_status(status)
        self._append(job, place, None)

    def change(self, job, change, *args):
        """Let a job be changed by ``change(*args)``; processors are told."""
        place = self.reserve(job.priority)
        old = job.stored_status
        note = self._note(job)
        change(*args)
        job.note = place.id
        self._append(job, place, old, note)

    def remove(self, job):
        """Remove a job."""
        self.change(job, job.clear)

    def _note(self, job):
        status, when = books.place_of(job)
        places = ((lane.letter_of(status), when),)
        if job.note is None or not lookup.is_unseen(self, job.note):
            return lane.Note(job.id, places)
        # Whoever passes the last note sees to all that it may find.
        last = lookup.entry_of(self, job.note).note
        return lane.Note(
            job.id, tuple(dict.fromkeys((*places, *last.places))),
            _last_of_strands((job.note, *last.previous)))

    def _append(self, job, place, old, note=None):
        new = None if job.removed else job.stored_status
        strand = place.lane.append(
            job, lane.encode_change(old, new), job.priority, note)
        if strand.has_new_segment:
            # The entry is there by now, and can do without this: so a failure
            # is let go.
            outcome_of(self._trim, strand, numbering.strand_key(place.id))

    def _trim(self, strand, key):
        passed = self.read(lookup.sequence_at_cursor, self, key)
        if not passed.failed:
            strand.trim_some(passed.value)

    # What a job asks, which cannot know the rooms of the storage

    def claim_of(self, job):
        """See crew.claim_of."""
        return crew.claim_of(self, job)

    def time_of(self, job, own):
        """See books.time_of."""
        return books.time_of(self, job, own)

    def is_paused(self, job):
        """See crons.is_paused."""
        return crons.is_paused(self, job)

    def is_copied(self, job):
        """Return whether a job is a copy of one of another service.

        Not any more, once it was changed here, in this transaction say.
        """
        return (self.copied_at is not None
                and job._p_serial == self.copied_at and not job._p_changed)


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
        job = (lookup.find(self._store, jobid) if isinstance(jobid, int)
               else None)
        if job is None:
            raise KeyError(jobid)
        return job

    def __iter__(self):
        return (job.id for job in self.values())

    # Iterators, not the views of `Mapping`: untrusted code may use them.

    def keys(self):
        return iter(self)

    def values(self):
        return lookup.all_jobs(self._store)

    def items(self):
        return ((job.id, job) for job in self.values())

    def __len__(self):
        return sum(counting.counts(self._store).values())
