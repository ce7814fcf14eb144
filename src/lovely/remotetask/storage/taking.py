"""Taking jobs out of the queue, and claiming them.  Storage only."""

import heapq

from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.storage import audit
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import crons
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import removal
from lovely.remotetask.storage import share
from lovely.remotetask.storage.books import due_time
from lovely.remotetask.storage.books import has_no_time_yet
from lovely.remotetask.storage.books import next_due
from lovely.remotetask.storage.source import PASS_AT_ONCE
from lovely.remotetask.storage.source import ScheduleSource
from lovely.remotetask.storage.source import StrandSource


def claim(store, worker_id, now, limit, at_once=None, scheduled=True,
          may_die=None, own=False):
    """Claim up to `limit` jobs for a worker.  Return the Claims.

    at_once -- see Worker.
    scheduled -- see `take`.
    may_die, own -- see IJobExecution.claim.
    """
    def no_lost():
        return has_lost(store, worker_id) or (
            may_die is not None and not may_die())
    strands = share.strands(store, worker_id) if own else None
    jobs = take(
        store, now, limit, PASS_AT_ONCE, no_lost, scheduled, strands)
    # Whoever runs the jobs loads these, in another connection.
    store.prefetch([vars(job).get('input') for job in jobs])
    found = _claim(store, worker_id, jobs, now)
    if found and at_once is not None:
        crew.worker(store, worker_id).at_once = at_once
    return found


def has_lost(store, worker_id):
    """Return whether a worker has claimed a job that may have ended another.
    """
    worker = crew.worker(store, worker_id)
    jobs = () if worker is None else [
        lookup.find(store, jobid) for jobid in worker.claims]
    return any(job is not None and job.was_lost for job in jobs)


def claim_job(store, worker_id, jobid, now, early=False):
    """Claim one job for a worker, whatever waits before it.

    early -- see IJobExecution.

    Return a list with the Claim; empty if the job cannot be taken now.
    """
    audit.adopt(store)
    job = lookup.find(store, jobid)
    if (job is None or job.status not in WAITING or store.is_copied(job)
            or not (early or _is_time(store, job, now))):
        return []
    if early:
        # Nobody would come to its place before the time of that.
        store.schedule.pop((due_time(job), job.id), None)
    # The entry of the job in the queue is passed over from now on; whoever is
    # claiming it there at this moment must find its claim worthless.
    job.outdate_claims()
    return _claim(store, worker_id, [job], now)


def _is_time(store, job, now):
    return not (due_time(job) > now or has_no_time_yet(job)
                or crons.is_paused(store, job))


def _claim(store, worker_id, jobs, now):
    mine = crew.worker(store, worker_id)
    for job in jobs:
        old = None if mine is None else mine.remove(job.id)
        if old is not None:
            # This worker's old claim on the job has ended; it is counted
            # first, or the new claim would overwrite it.
            removal.count_end(store, job, old)
    return crew.claim(store, worker_id, jobs, now)


def take(store, now, limit, pass_at_once=float('inf'), has_lost=None,
         scheduled=True, strands=None):
    """Take up to `limit` jobs out of the queue.  Return them.

    Highest priority first, then those that were committed, or became due,
    first.

    pass_at_once -- of the entries that are nothing to take, look at so many
        in each strand.
    has_lost -- called without arguments: whether no job is to be taken that
        was run when its process died.  Otherwise one is: it may be to blame,
        and others must not die with it again and again.
    scheduled -- False for one whose clock is not to be trusted: it takes
        nothing that waits for a time, and makes nothing due.
    strands -- where to look, with their keys; by default everywhere.
    """
    audit.adopt(store)
    strands = _strands(store, now, pass_at_once, scheduled, strands)
    taken = {}

    def no_lost():
        return has_lost() or any(job.was_lost for job in taken.values())
    more = True
    while more:
        schedule = ScheduleSource(
            store, now, limit - len(taken), pass_at_once,
            has_lost and no_lost)
        sources = [*strands, schedule] if scheduled else strands
        more = _take(store, sources, limit, taken)
    for source in strands:
        source.save()
    return list(taken.values())


def _take(store, sources, limit, taken):
    """Take jobs from sources, until one has put something into the schedule.

    taken -- a mapping of id to job, to be filled.

    Return whether to look once more.
    """
    heap = [source for source in sources
            if store.read(source.find_next).value]
    heapq.heapify(heap)
    skipped = _skipped(sources)
    while heap and len(taken) < limit:
        job = heap[0].take()
        taken.setdefault(job.id, job)
        if store.read(heap[0].find_next).value:
            heapq.heapreplace(heap, heap[0])
        else:
            heapq.heappop(heap)
        if _skipped(sources) != skipped:
            # Among the entries that were passed may be a job that is due, and
            # more urgent.
            return len(taken) < limit
    return False


def _skipped(sources):
    return sum(source.skipped for source in sources)


def _strands(store, now, pass_at_once, scheduled=True, strands=None):
    """Return the sources of all strands, or of some, that can be read."""
    if strands is None:
        strands = lookup.strands(store)
    found = [store.read(StrandSource, store, strand, key, now, pass_at_once,
                        scheduled) for strand, key in strands]
    return [each.value for each in found if not each.failed]


def has_jobs(store, now):
    """Return whether `take` would find a job.

    Passes what is nothing to take, like `take`.
    """
    audit.adopt(store)
    strands = _strands(store, now, float('inf'))
    found = [store.read(source.find_next).value for source in strands]
    schedule = ScheduleSource(store, now, 1, float('inf'), None)
    found.append(store.read(schedule.find_next).value)
    for source in strands:
        source.save()
    return any(found)


def has_due(store, now):
    """Return whether a job can be taken that has waited for a time.

    Looks at the heads only, changes nothing.
    """
    due = next_due(store)
    return due is not None and due <= now or any(
        store.read(source.peek).value is not None
        and source.job.due is not None
        for source in _strands(store, now, PASS_AT_ONCE))


def oldest_waiting(store, now):
    """Return since when the job waits that waits longest, or None.

    Of those that could be claimed now.  Looks at the heads only, changes
    nothing.
    """
    sources = [*_strands(store, now, PASS_AT_ONCE),
               ScheduleSource(store, now, 1, PASS_AT_ONCE, None)]
    heads = [store.read(source.peek).value for source in sources]
    return min((since for since in heads if since is not None), default=None)
