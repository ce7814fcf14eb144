"""Removing jobs for good, as processors do.  Storage only.

Nothing of what is removed need be readable.
"""

from lovely.remotetask.storage import crew
from lovely.remotetask.storage import crons
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage.ledger import first
from lovely.remotetask.storage.ledger import key_of
from lovely.remotetask.storage.lookup import checked


def prune(store, status, before, limit, shelves=None):
    """Remove jobs that came to rest before a time, up to a limit.

    shelves -- numbers of those to look at, by default all.

    Return how many there were.
    """
    pruned = 0
    oldest = store.read(_oldest, store, status, before, limit, shelves)
    for key, job in oldest.value or ():
        found = store.read(checked, job, key[1])
        if found.failed or belongs(job, status, key) and not is_noted(
                store, job):
            if not found.failed:
                meet(job)
            store.ledger.take_out(status, key)
            drop(store, key[1], status)
            pruned += 1
    return pruned


def _oldest(store, status, before, limit, shelves):
    """Return up to `limit` keys and jobs that may be removed."""
    return first(
        (item for item in store.ledger.oldest(status, before, shelves)
         if not store.read(_is_kept, *item).value), limit)


def _is_kept(key, job):
    return checked(job, key[1]).waits_for_person


def meet(job):
    """Let the commit fail if a caller has changed a job by then.

    Whoever begins anew finds his note, and leaves the job alone.  A caller who
    commits later is not met; who passes his note takes back what it counts,
    as the job was removed before.  Of a note that is committed in between,
    nobody could tell that.
    """
    if job._p_jar is not None:
        job._p_jar.readCurrent(job)


def belongs(job, status, key):
    """Return whether a job belongs under a key of the ledger."""
    return (not job.removed and job.stored_status == status
            and key_of(job) == key)


def is_noted(store, job):
    """Return whether a note of a job was not passed yet.

    Whoever settles a claim may list the job before that.  Who passes the note
    of a job that is gone takes it for one that was changed while it was
    removed, and puts it back.
    """
    return job.note is not None and lookup.is_unseen(store, job.note)


def drop(store, jobid, counted):
    """Remove a job that is on the books no longer.

    counted -- the status under which it is counted.
    """
    store.ledger.count(jobid, counted, None)
    _drop_claims(store, jobid)
    crons.forget(store, jobid)
    store.aside.pop(jobid, None)
    for tree in lookup.trees_apart(store):
        if jobid in tree:
            del tree[jobid]
            return
    if has_place(store, jobid):
        _leave_segment(store, jobid)


def _drop_claims(store, jobid):
    for found in crew.workers(store):
        claim = found.remove(jobid)
        if claim is not None:
            count_end(store, store.read(lookup.raw, store, jobid).value, claim)


def count_end(store, job, claim):
    """Count what has become of a job that was claimed.

    job -- None if nobody knows.
    """
    store.ledger.count(
        claim.job, claim.counted, status_under(job, claim))


def status_under(job, claim):
    """Return the status in which a claim has left a job.

    Whoever has changed it since has left a note.
    """
    if job is None:
        return claim.counted
    if job.fence == claim.fence:
        # Nothing has happened to the job since it was claimed, unless somebody
        # has undone something.
        return job.stored_status
    return job.end_under(claim) or claim.counted


def has_place(store, jobid):
    """Return whether a job is where it was added, and is to stay there."""
    if lookup.is_apart(store, jobid):
        return True
    found = store.read(lookup.entry_of, store, jobid)
    if found.failed:
        return True
    return (found.value is not None and found.value.job is not None
            and not lookup.is_leaving(store, jobid))


def _leave_segment(store, jobid):
    found = store.read(_remove_if_full, store, jobid)
    if not found.value:
        # The adder still writes this segment, or it cannot be read; the job is
        # removed when that is over.
        sequence, _, _ = numbering.split_id(jobid)
        _cursor(store, jobid).removed += (sequence,)


def _remove_if_full(store, jobid):
    segment, sequence = lookup.segment_of(store, jobid)
    if segment.full:
        segment.remove(sequence)
    return segment.full


def put_back(store, jobid, job):
    """Put a job back that was removed; return whether that is possible."""
    sequence, _, _ = numbering.split_id(jobid)
    if lookup.is_leaving(store, jobid):
        cursor = _cursor(store, jobid)
        cursor.removed = tuple(
            other for other in cursor.removed if other != sequence)
        return True
    # Its segment may be gone; or an adder, whom nobody meets, drops it at this
    # moment, as it was seen empty.
    tree = store.legacy if sequence < store.start else store.displaced
    if tree is None:
        return False
    tree[jobid] = job
    return True


def _cursor(store, jobid):
    return lookup.cursor_of(store, numbering.strand_key(jobid))


def leave_segments(store, strand, key, notes=(), closed=False):
    """Remove from full segments what was to wait for that.

    notes -- sequences of notes that were passed.
    closed -- whether nobody adds to the strand: from all segments.
    """
    cursor = lookup.cursor_of(store, key)
    leaving = (*cursor.removed, *notes)
    if leaving:
        left = [sequence for sequence in leaving
                if store.read(_remove, strand, sequence, closed).value]
        cursor.removed = tuple(
            sequence for sequence in leaving if sequence not in left)
        for sequence in left:
            store.aside.pop(numbering.place(sequence, key), None)


def _remove(strand, sequence, closed):
    segment = strand.segment(sequence)
    goes = segment is None or segment.full or closed
    if goes and segment is not None:
        segment.remove(sequence)
    return goes
