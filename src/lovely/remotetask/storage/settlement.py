"""What becomes of a job whose claim is dropped.  Storage only."""

from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.job import Job
from lovely.remotetask.job import Rest
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import books
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import removal
from lovely.remotetask.storage.ledger import key_of


def settle(store, claim, now=None):
    """Put a job into the books whose Claim is dropped, and count its end.

    Return the job; None if there is nothing to do with it any more.
    """
    found = store.read(lookup.raw, store, claim.job)
    if found.failed:
        aside.put(store, claim.job, claim.counted, found, now)
        return None
    job = found.value
    if job is None:
        # There is no such job: the transaction that had added it was undone.
        store.ledger.count(claim.job, claim.counted, None)
        return None
    if crew.is_live(job, claim) and job._p_jar is not None:
        # It goes back into the queue, unwritten.  Whoever runs it at this
        # moment under the claim is met at the commit.
        job._p_jar.readCurrent(job)
    removal.count_end(store, job, claim)
    if job.removed:
        # The job has a note that processors have not passed; whoever passes it
        # does the rest.
        return None
    if (job.stored_status not in WAITING
            or crew.claim_of(store, job) is None):
        books.book(store, job, now)
    return job


def rest_of(job, claim):
    """Return the Rest of a job that was completed under a Claim, or None.

    None: more has to be done than to list it.
    """
    if type(job) is not Job or job.stored_status != COMPLETED:
        return None
    return Rest(claim.fence, key_of(job)[0])


def settle_at_rest(store, worker_id, jobid, rest):
    """Drop a claim, and list its job, which need not be loaded.

    rest -- its Rest, as the end of the run under this claim was committed.

    Return whether that could be done; otherwise nothing is changed.

    Nothing changes a completed job, but that it may be removed.  Whoever
    passes the note of that drops the claim; where the claim is there, the
    note is not passed, and whoever passes it takes the job out of the list.
    """
    worker = crew.worker(store, worker_id)
    claim = None if worker is None else worker.get(jobid)
    if (claim is None or claim.fence != rest.fence
            or lookup.is_apart(store, jobid) or jobid in store.aside):
        return False
    job = store.read(lookup.stored_at, store, jobid).value
    if job is None:
        return False
    worker.remove(jobid)
    store.ledger.count(jobid, claim.counted, COMPLETED)
    store.ledger.add_under((rest.time, jobid), COMPLETED, job)
    return True


def put_back(store, job, counted, now=None):
    """Put a job into the books that was taken out of the queue.

    counted -- the status under which it is counted.
    """
    store.ledger.count(job.id, counted, job.stored_status)
    books.book(store, job, now)


def drop(store, job):
    """Remove a job at rest that was settled."""
    books.take_out(store, job.id, *books.place_of(job))
    removal.drop(store, job.id, job.stored_status)
