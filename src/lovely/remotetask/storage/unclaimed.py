"""Jobs that are run without a claim: which may be, and which may be lost.

A message names a job, so whoever is given it first runs it, and commits once:
the fence of the job decides.  Nothing in the database tells meanwhile who
runs it; docs/explanation/unclaimed.rst tells how each run is counted
nevertheless.

Storage only.
"""

from ZODB.utils import z64

from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.job import Claim
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage.worker import Losses


def may_be_run(store, jobid):
    """Return whether a job may be run that nobody has claimed."""
    job = lookup.find(store, jobid)
    return _is_as_added(store, job) and not may_be_lost(store, job)


def fresh(store, jobid):
    """Return a job that somebody may run, or may have run, unclaimed.

    None if it cannot be: it is claimed, or changed since it was added.
    """
    job = lookup.find(store, jobid)
    if _is_as_added(store, job) and crew.claim_of(store, job) is None:
        return job
    return None


def _is_as_added(store, job):
    # A claim of Celery, a run and a caller's change make another fence, and
    # other processors move the cursor.
    return (job is not None and job.fence == 0
            and job.stored_status == QUEUED and job.due is None
            and job.note is None and not store.is_copied(job)
            and lookup.is_pending(store, job))


def keep(store, claim):
    """Put the Claim of a run that began without one on the worker's record.

    Nothing happens if it is there, or the worker is unknown.
    """
    found = crew.worker(store, claim.worker)
    if found is not None and claim.job not in found.claims:
        found.keep(claim)


def turns(store):
    """Return whether workers that run jobs unclaimed have gone on since.

    A mapping: the id of each, and a value that is another one once it does
    not run any more what it ran, or has claimed it.
    """
    return {**dict.fromkeys(crew.unreadable_workers(store)),
            **{found.id: found.turn for found in crew.workers(store)
               if found.unclaimed}}


# Losses

def note_loss(store, processor, now):
    """Remember that a worker is gone, and nobody knows what it has run."""
    if store.losses is None:
        store.losses = Losses()
    store.losses.note(processor, now)


def may_be_lost(store, job):
    """Return whether a worker was lost since a job was written."""
    losses = store.losses
    if losses is None:
        return False
    losses._p_activate()
    job._p_activate()
    # By the ids of the transactions: no clock is asked.
    return bool(losses._p_changed) or losses._p_serial in (None, z64) or (
        losses._p_serial > job._p_serial)


def lost_claim(store, job):
    """Return the Claim under which a job may have been run."""
    losses = store.losses
    return Claim(job.id, '', losses.processor, losses.time, job.attempts + 1,
                 job.fence, job.stored_status)
