"""What becomes of a job whose claim is dropped.  Storage only."""

from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import books
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import removal


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
    removal.count_end(store, job, claim)
    if job.removed:
        # The job has a note that processors have not passed; whoever passes it
        # does the rest.
        return None
    if (job.stored_status not in WAITING
            or crew.claim_of(store, job) is None):
        books.book(store, job, now)
    return job


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
