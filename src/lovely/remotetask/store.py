"""The job store: the persistent objects of one service, put together.

Storage only: no threads, no tasks, no policy of when to try again.
docs/engine.rst tells who writes what.
"""

import collections.abc
import heapq

import BTrees
import persistent
import zope.interface
import zope.interface.common.mapping

from lovely.remotetask import lane
from lovely.remotetask import pool
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.ledger import LISTED
from lovely.remotetask.ledger import Ledger
from lovely.remotetask.source import LAST
from lovely.remotetask.source import PASS_AT_ONCE
from lovely.remotetask.source import ScheduleSource
from lovely.remotetask.source import StrandSource
from lovely.remotetask.source import due_time
from lovely.remotetask.source import has_no_time_yet
from lovely.remotetask.worker import Worker


class JobStore(persistent.Persistent):
    """Jobs from their addition to their removal."""

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
        for _ in range(pool.SPARE_LANES):
            self._add_lane()

    def __getnewargs__(self):
        # ZODB refers to objects that have this by their oid alone: each job
        # refers to its store, and the name of the class would make half of
        # a small job.
        return ()

    # What adders do

    def add(self, make, status, priority):
        """Add the job that ``make(id)`` returns.  Return it."""
        place = pool.lane_of_transaction(self)
        job = make(place.next_id(priority))
        job.store = self
        job.change_status(status)
        self._append(place, job, None)
        return job

    def note(self, job, old):
        """Tell processors that a job of status `old` waits again."""
        self._append(pool.lane_of_transaction(self), job, old)

    def _append(self, place, job, old):
        key = lane.make_id(0, place.number, job.priority)
        place.append(job, lane.encode_change(old, job.stored_status),
                     job.priority, lambda: self.sequence_at_cursor(key))

    def lease(self, owner, now, is_visible):
        """Lease lanes to a process.  Return them, visible ones first.

        is_visible -- called with a Lane: whether the one who needs it sees
            its last state.
        """
        free = [found for found in self.lanes.values()
                if self._is_free(found, now)]
        free.sort(key=lambda found: not is_visible(found))
        taken = free[:pool.LANES_AT_ONCE]
        for found in taken:
            self.leases[found.number].owner = owner
            self.leases[found.number].time = now
        for _ in range(pool.SPARE_LANES + len(taken) - len(free)):
            self._add_lane()
        return taken

    def _is_free(self, found, now):
        lease = self.leases[found.number]
        used = max(lease.time, found.last_change())
        return lease.owner is None or used < now - pool.LEASE

    def _add_lane(self):
        number = self.lanes.maxKey() + 1 if self.lanes else 0
        if number < lane.MAX_LANES:
            self.lanes[number] = lane.Lane(number, self.start)
            self.leases[number] = lane.Lease()

    # Finding jobs

    def find(self, jobid):
        """Return the job of that id, or None."""
        job = None
        if jobid >= 0:
            job = self._find_entry(jobid)
        if job is None and self.legacy is not None:
            job = self.legacy.get(jobid)
        if job is None or job.id != jobid or job.removed:
            return None
        return job

    def _find_entry(self, jobid):
        segment, sequence = self._segment(jobid)
        return None if segment is None else segment.job(sequence)

    def _segment(self, jobid):
        """Return the segment of an id, or None, and the sequence."""
        sequence, number, priority = lane.split_id(jobid)
        found = self.lanes.get(number)
        strand = None if found is None else found.strands.get(priority)
        if strand is None or sequence < self.start:
            return None, sequence
        return strand.segment(sequence), sequence

    def __iter__(self):
        """Iterate over the ids of all jobs."""
        for job in self.all_jobs():
            yield job.id

    def all_jobs(self):
        """Iterate over all jobs, lane by lane."""
        if self.legacy is not None:
            yield from self.legacy.values()
        for strand, _ in self.strands():
            for segment in strand.segments.values():
                for _, job, change in segment.entries():
                    # Notes refer to jobs that stand elsewhere.
                    if (change[0] == '-' and job is not None
                            and not job.removed):
                        yield job

    def strands(self):
        """Iterate over all strands, each with its key among the cursors."""
        for found in self.lanes.values():
            for priority, strand in found.strands.items():
                yield strand, lane.make_id(0, found.number, priority)

    # Claims

    def claim_of(self, job):
        """Return the Claim on a job, or None."""
        for worker in self.workers.values():
            claim = worker.get(job.id)
            # One with another fence was taken away, or its run has ended.
            if claim is not None and claim.fence == job.fence:
                return claim
        return None

    def claims(self):
        """Iterate over all Claims."""
        for worker in self.workers.values():
            for jobid in worker.claims:
                yield worker.get(jobid)

    def claim(self, worker_id, now, limit, at_once=None, scheduled=True):
        """Claim up to `limit` jobs for a worker.  Return the Claims.

        at_once -- see Worker.
        scheduled -- see IJobExecution.claim.
        """
        claims = self._claim(worker_id, now, self.take(
            now, limit, PASS_AT_ONCE, self._has_lost(worker_id), scheduled))
        if claims and at_once is not None:
            self.workers[worker_id].at_once = at_once
        return claims

    def _has_lost(self, worker_id):
        """Return a function: whether a worker has claimed a lost job."""
        def has_lost():
            worker = self.workers.get(worker_id)
            jobs = () if worker is None else map(self.find, worker.claims)
            return any(job is not None and job.was_lost for job in jobs)
        return has_lost

    def claim_job(self, worker_id, jobid, now):
        """Claim one job for a worker, whatever waits before it.

        Return a list with the Claim; empty if the job cannot be taken now.
        """
        job = self.find(jobid)
        if (job is None or job.status not in WAITING
                or due_time(job) > now or has_no_time_yet(job)):
            return []
        # It is passed, or stale, where it lies in the queue; somebody may be
        # claiming it there.
        job.outdate_claims()
        return self._claim(worker_id, now, [job])

    def _claim(self, worker_id, now, jobs):
        if jobs:
            self.enter(worker_id, now)
        return [self.workers[worker_id].claim(job, now) for job in jobs]

    def take(self, now, limit, pass_at_once=float('inf'), has_lost=None,
             scheduled=True):
        """Take up to `limit` jobs out of the queue.  Return them.

        Highest priority first, then those that were committed, or became
        due, first.

        pass_at_once -- of the entries that are nothing to take, look at so
            many in each strand.
        has_lost -- called without arguments: whether no job is to be taken
            that was run when its process died.  Otherwise one is: it may be
            to blame, and others must not die with it again and again.
        """
        sources = self._sources(now, limit, pass_at_once, has_lost)
        if not scheduled:
            del sources[0]
            for source in sources:
                source.scheduled = False
        heap = [source for source in sources if source.find_next()]
        heapq.heapify(heap)
        # By id: a job may lie where it was added and where it was noted.
        taken = {}
        while heap and len(taken) < limit:
            job = heap[0].take()
            taken.setdefault(job.id, job)
            if heap[0].find_next():
                heapq.heapreplace(heap, heap[0])
            else:
                heapq.heappop(heap)
        for source in sources:
            source.save()
        return list(taken.values())

    def has_jobs(self, now):
        """Return whether `take` would find a job.

        Passes what is nothing to take, like `take`.
        """
        sources = self._sources(now, 1, float('inf'))
        found = [source.find_next() for source in sources]
        for source in sources:
            source.save()
        return any(found)

    def correct_schedule(self, now):
        """Give cron jobs another time that were scheduled by a wrong clock.
        """
        for (due, jobid), job in list(self.schedule.items(min=(now, LAST))):
            if job.recurring and not job.attempts and job.due == due:
                right = job.timeOfNextCall(now)
                if right < due:
                    del self.schedule[due, jobid]
                    job.due = right
                    self.schedule[right, jobid] = job

    def next_due(self):
        """Return when the first job of the schedule is due, or None."""
        return self.schedule.minKey()[0] if self.schedule else None

    def oldest_waiting(self, now):
        """Return since when the job waits that waits longest, or None.

        Of those that could be claimed now.  Looks at the heads only, changes
        nothing.
        """
        heads = [source.peek() for source in self._sources(
            now, 1, PASS_AT_ONCE)]
        return min((since for since in heads if since is not None),
                   default=None)

    def is_scheduled(self, job, key=None):
        """Return whether a job waits in the schedule (under this key)."""
        place = due_time(job), job.id
        return key == place or key is None and place in self.schedule

    def is_behind(self):
        """Return whether there are entries that were not looked at."""
        return any(strand.end > self.sequence_at_cursor(key)
                   for strand, key in self.strands())

    def _sources(self, now, limit, pass_at_once, has_lost=None):
        return [ScheduleSource(self, now, limit, pass_at_once, has_lost),
                *(StrandSource(self, strand, key, now, pass_at_once)
                  for strand, key in self.strands())]

    def sequence_at_cursor(self, key):
        """Return the sequence up to which a strand was looked at."""
        cursor = self.cursors.get(key)
        return self.start if cursor is None else cursor.sequence

    def drop_claim(self, worker_id, jobid):
        """Take a claim off a worker's record.

        Return it; None if somebody took the worker for dead.
        """
        worker = self.workers.get(worker_id)
        return None if worker is None else worker.remove(jobid)

    def put_back_claimed(self, claim):
        """Put a job back whose Claim is dropped.

        Return the job, None if it was removed.
        """
        job = self.find(claim.job)
        if job is None:
            return None
        # Who else has changed it has also counted it.
        return self.put_back(job, claim.counted if job.was_run_by(claim)
                             else job.stored_status)

    def settle_job(self, job):
        """Drop claims that are left on a job that is at rest."""
        for worker in list(self.workers.values()):
            if job.id in worker.claims:
                self.put_back_claimed(worker.remove(job.id))

    def put_back(self, job, counted):
        """Put a job that was taken where it belongs now.  Return it.

        counted -- the status under which it is counted.
        """
        self.ledger.count(counted, job.stored_status)
        if job.stored_status in LISTED:
            self.ledger.add(job)
        elif job.stored_status in WAITING and not self.claim_of(job):
            if has_no_time_yet(job):
                # Rescheduled while it was being claimed.
                job.due = job.timeOfNextCall()
            self.schedule[due_time(job), job.id] = job
        return job

    def enter(self, worker_id, now):
        """Note a worker, if it is not noted yet."""
        if worker_id not in self.workers:
            self.workers[worker_id] = Worker(worker_id, now)

    def beat(self, worker_id, now):
        """Note that a worker lives; unknown ones are not noted."""
        worker = self.workers.get(worker_id)
        if worker is not None:
            worker.heartbeat.time = now

    def drop_worker(self, worker_id):
        """Forget a worker.  Return its Claims."""
        worker = self.workers.pop(worker_id, None)
        if worker is None:
            return []
        claims = [worker.get(jobid) for jobid in worker.claims]
        # Written, so that it cannot claim more in this moment.
        worker.claims = {}
        return claims

    # The end of a job

    def end(self, job, old):
        """List a job that somebody else than its processor has ended."""
        self.ledger.count(old, job.stored_status)
        self.ledger.add(job)

    def listed(self, status):
        """Return all jobs at rest with a status."""
        return list(self.ledger.jobs[status].values())

    def unlist(self, job):
        """List a job at rest no longer: it is about to wait again.

        It is counted as before, until the note of that is passed.
        """
        if job.stored_status in LISTED:
            self.ledger.remove(job, job.stored_status)

    def remove(self, job):
        """Remove a job that is at rest."""
        self.ledger.count(job.stored_status, None)
        if job.stored_status in LISTED:
            self.ledger.remove(job, job.stored_status)
        if self.legacy is not None and job.id in self.legacy:
            del self.legacy[job.id]
            return
        segment, sequence = self._segment(job.id)
        if segment.full:
            segment.remove(sequence)
        else:
            # Its adder writes this segment; remove it when that is over.
            job.clear()
            self._cursor(job.id).removed += (sequence,)

    def _cursor(self, jobid):
        _, number, priority = lane.split_id(jobid)
        key = lane.make_id(0, number, priority)
        if key not in self.cursors:
            self.cursors[key] = lane.Cursor(self.start)
        return self.cursors[key]

    def counts(self):
        """Return the number of jobs by status (those claimed as waiting)."""
        counts = {status: length() for status, length
                  in self.ledger.counts.items()}
        for strand, key in self.strands():
            sequence = self.sequence_at_cursor(key)
            if sequence < strand.end:
                _add(counts, strand.tail.totals(strand.end), 1)
                _add(counts, strand.segment(sequence).totals(sequence), -1)
        return counts


def _add(counts, totals, factor):
    for status, number in totals.items():
        counts[status] = counts.get(status, 0) + factor * number


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
