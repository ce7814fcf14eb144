"""How many jobs there are of each status.  Storage only.

Nothing that adders or callers write is counted by them: what processors have
not seen is the difference between the end of a strand and its cursor.
"""

from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import removal


def counts(store):
    """Return the number of jobs by status.

    Where the number of a status could not be read any more, and had to be
    begun anew, it is not exact; but never less than none.
    """
    found = {status: -store.ledger.number_of_swept(status)
             for status in STATUSES}
    for lengths in store.ledger.counts.values():
        for status, length in lengths.items():
            found[status] += store.read(length).value or 0
    for strand, key in lookup.strands(store):
        add(found, store.read(_unseen, store, strand, key).value or {})
    _correct_by_claims(store, found)
    return {status: max(0, number) for status, number in found.items()}


def _unseen(store, strand, key):
    """Return what the entries of a strand add up to beyond its cursor."""
    totals = {}
    if lookup.sequence_at_cursor(store, key) < strand.end:
        add(totals, strand.tail.totals(strand.end))
        add(totals, lookup.totals_at_cursor(store, key), -1)
    return totals


def add(counts, totals, factor=1):
    """Add numbers by status to others."""
    for status, number in totals.items():
        counts[status] = counts.get(status, 0) + factor * number


def _correct_by_claims(store, counts):
    """Count jobs as what they are that are counted as waiting still."""
    for claim in crew.all_claims(store):
        found = store.read(lookup.raw, store, claim.job)
        if not found.failed:
            add(counts, {claim.counted: -1})
            add(counts, {_now(found.value, claim): 1})
    counts.pop(None, None)


def _now(job, claim):
    """Return under what a claimed job is to be counted, None for nothing."""
    if job is None:
        return None
    if crew.is_live(job, claim):
        return PROCESSING
    return removal.status_under(job, claim)
