"""Workers and claims: who has which job.  Storage only."""

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.unreadable import UnreadableRecord
from lovely.remotetask.foreign.unreadable import opened
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.storage import meter
from lovely.remotetask.storage.worker import Heartbeat
from lovely.remotetask.storage.worker import Worker


def workers(store):
    """Return the Workers whose records can be read."""
    found = store.read(_workers, store, store.workers)
    if not found.failed:
        return found.value
    each = [store.read(_workers, store, [worker_id])
            for worker_id in store.workers]
    return [found.value[0] for found in each if not found.failed]


def _workers(store, ids):
    found = [store.workers[worker_id] for worker_id in ids]
    for worker_id, each in zip(ids, found, strict=True):
        if type(each) is not Worker or each.id != worker_id or (
                type(each.claims) is not dict):
            raise UnreadableRecord('it is no Worker, or that of another one')
    return found


def worker(store, worker_id):
    """Return the Worker of an id; None if there is none that can be read."""
    if worker_id not in store.workers:
        return None
    found = store.read(_workers, store, [worker_id])
    return None if found.failed else found.value[0]


def unreadable_workers(store):
    """Return the ids of workers whose records cannot be read."""
    readable = {found.id for found in workers(store)}
    return [worker_id for worker_id in store.workers
            if worker_id not in readable]


def all_claims(store):
    """Iterate over all Claims."""
    for found in workers(store):
        for jobid in found.claims:
            yield found.get(jobid)


def claims_on(store, jobid):
    """Return the Claims on a job; also those that are worth nothing."""
    return [found.get(jobid) for found in workers(store)
            if jobid in found.claims]


def is_live(job, claim):
    """Return whether a job is being run under a claim."""
    # A claim with another fence was taken away, or its run has ended.
    return claim.fence == job.fence and job.stored_status in WAITING


def is_good(job, claim):
    """Return whether there is a job, and it is being run under a claim."""
    return job is not None and is_live(job, claim)


def claim_of(store, job):
    """Return the Claim under which a job is being run, or None."""
    for claim in claims_on(store, job.id):
        if is_live(job, claim):
            return claim
    return None


def has_claim(store, job):
    """Return whether whoever settles a claim puts a job into the books."""
    return any(
        is_live(job, claim) or claim.fence + 1 == job.fence
        and job.end_under(claim) is not None
        for claim in claims_on(store, job.id))


def claim(store, worker_id, jobs, now):
    """Claim jobs for a worker.  Return the Claims."""
    if not jobs:
        return []
    mine = enter(store, worker_id, now)
    return [mine.claim(job, now) for job in jobs]


def enter(store, worker_id, now, unclaimed=False):
    """Enter a worker, if it is not there yet.  Return it.

    unclaimed -- see Worker.
    """
    found = worker(store, worker_id)
    if found is None:
        drop_worker(store, worker_id)
        found = store.workers[worker_id] = Worker(worker_id, now)
        if unclaimed:
            found.unclaimed = True
    return found


def beat(store, worker_id, now, facts=None, memory=None):
    """Let a worker show that it lives; unknown ones are not entered.

    facts, memory -- see IWorkerRecords.sign.
    """
    found = worker(store, worker_id)
    if found is None:
        return
    if not repair_heartbeat(store, found, now):
        found.heartbeat.time = now
    if memory is not None:
        found.heartbeat.memory = memory
    if facts is not None and found.facts != facts:
        found.facts = facts


def facts(found):
    """Return what a Worker tells of itself, a dict."""
    return found.facts if type(found.facts) is dict else {}


def repair_heartbeat(store, found, now):
    """Give a worker a heartbeat whose own cannot be read.

    Return whether that was necessary.  It counts as just heard of: if it is
    gone, that will show.
    """
    broken = store.read(
        lambda: float(opened(found.heartbeat).time)).failed
    if broken:
        found.heartbeat = Heartbeat(now)
    return broken


def drop_worker(store, worker_id):
    """Forget a worker, but what it has counted.  Return its Claims."""
    if worker_id not in store.workers:
        return []
    found = worker(store, worker_id)
    del store.workers[worker_id]
    if found is None:
        # The record cannot be read, so nobody knows what the worker had
        # claimed: a search has to find these jobs.
        store.searched = 0, store.start
        return []
    meter.keep(store, found)
    claims = [found.get(jobid) for jobid in found.claims]
    # This writes the record, so that a worker that lives after all conflicts
    # if it claims more at this moment.
    found.claims = {}
    return claims


def drop_claim(store, worker_id, jobid):
    """Take a claim off a worker's record.

    Return it; None if somebody took the worker for dead.
    """
    found = worker(store, worker_id)
    return None if found is None else found.remove(jobid)


def gone(store, is_alive, now):
    """Return the ids of workers that are gone.

    is_alive -- called with a Worker; where that fails, nobody knows.

    Those whose record cannot be read are among them.
    """
    found = unreadable_workers(store)
    for each in workers(store):
        # A worker whose heartbeat could not be read has got a new one, and
        # counts as just heard of.
        if not repair_heartbeat(store, each, now):
            outcome = outcome_of(is_alive, each)
            if not (outcome.failed or outcome.value):
                found.append(each.id)
    return found


def guard(store, jobid):
    """Meet whoever settles a claim on a job at this moment, at the commit.

    Such a processor may see the job as it was before the note that is being
    passed.
    """
    for found in workers(store):
        if jobid in found.claims:
            found._p_changed = True
