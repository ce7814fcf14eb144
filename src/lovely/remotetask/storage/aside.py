"""Jobs that were put aside, because their records cannot be read.

Storage only.  They are counted as held, and removed or requeued by their ids
alone.
"""

from lovely.remotetask.foreign.unreadable import reason_of
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.storage import books
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import removal
from lovely.remotetask.storage.ledger import LISTED


# The reason of a job that is removed, but of which something is there still.
REMOVED = None


def put(store, jobid, counted, failure, now):
    """Put a job aside that is on the books no longer.

    counted -- the status under which it is counted, None for a job that is
        not counted yet.
    failure -- the Outcome of `read`.
    """
    if jobid not in store.aside:
        notes = _last_unseen_notes(store, jobid)
        store.ledger.count(jobid, _last_status(notes, counted), HELD)
        store.aside[jobid] = (store.now(now), reason_of(failure),
                              tuple(place for place, _ in notes))


def pass_note(store, place, entry):
    """See to a note of a job that is aside, whose Entry is counted.

    A caller may have made it while the job was put aside: it could be read
    there.  The job is held until somebody requeues it.
    """
    jobid = entry.note.job
    _, reason, *known = store.aside[jobid]
    if reason is REMOVED or _is_among(place, *known):
        return
    store.ledger.count(jobid, entry.new, entry.old)
    if entry.new is None:
        remove(store, jobid)


def _is_among(place, known=()):
    """Return whether a note was taken into account when its job was put aside.

    known -- the ids of those that were, of each strand the last one.
    """
    sequence, *_ = numbering.split_id(place)
    return any(
        numbering.strand_key(each) == numbering.strand_key(place)
        and numbering.split_id(each)[0] >= sequence for each in known)


def _last_status(notes, counted):
    """Return the status that a job has by what callers have noted last.

    notes -- see `_last_unseen_notes`.
    counted -- that without notes.  These are counted when they are passed.
    """
    # Notes tell of the last one before them in each strand.
    earlier = {place for _, entry in notes for place in entry.note.previous}
    for place, entry in notes:
        if place not in earlier:
            return entry.new
    return counted


def ids(store):
    """Return the ids of the jobs that are aside, not those to be removed."""
    return [jobid for jobid, (_, reason, *_) in store.aside.items()
            if reason is not REMOVED]


def remove(store, jobid):
    """Remove a job whose record cannot be read."""
    if jobid in store.aside:
        counted = HELD
    else:
        counted = _last_status(_last_unseen_notes(store, jobid),
                               _take_out(store, jobid))
    removal.drop(store, jobid, counted)
    if _is_left(store, jobid):
        mark_removed(store, jobid)


def mark_removed(store, jobid):
    """Remember that a job is removed, as long as something is left of it."""
    store.aside[jobid] = store.now(), REMOVED


def _is_left(store, jobid):
    """Return whether there is something by which a job might be found.

    It might be readable some day.
    """
    return lookup.is_leaving(store, jobid) or bool(
        _last_unseen_notes(store, jobid))


def forget_removed(store):
    """Forget that jobs were removed, where nothing of them is left."""
    for jobid, (_, reason, *_) in list(store.aside.items()):
        if reason is REMOVED and not _is_left(store, jobid):
            del store.aside[jobid]


def _last_unseen_notes(store, jobid):
    """Return ids and Entries of notes that processors have not passed.

    Of each strand the last one.
    """
    found = [store.read(_last_note_of, store, strand, key, jobid).value
             for strand, key in lookup.strands(store)]
    return [pair for pair in found if pair is not None]


def _last_note_of(store, strand, key, jobid):
    begin = lookup.sequence_at_cursor(store, key)
    for entry in strand.notes(strand.end, begin):
        if entry.note.job == jobid:
            return numbering.place(entry.sequence, key), entry
    return None


def restore(store, jobid):
    """Put a job back that can be read again; return whether it can."""
    found = store.read(lookup.raw, store, jobid)
    if found.failed or found.value is None or found.value.removed:
        return False
    if store.aside.pop(jobid, None) is not None:
        store.ledger.count(jobid, HELD, found.value.stored_status)
        books.book(store, found.value)
    return True


def prune(store, before, limit):
    """Remove up to `limit` jobs that were put aside before a time.

    Return how many there were.
    """
    old = [jobid for jobid in ids(store)
           if store.aside[jobid][0] < before][:limit]
    for jobid in old:
        remove(store, jobid)
    return len(old)


def unreadable(store):
    """Return what cannot be read; see ITaskService."""
    found = ids(store)
    for name, tree in (('lane', store.lanes), ('cursor', store.cursors)):
        found += [f'{name} {key}' for key in store.read(list, tree).value or ()
                  if store.read(_look_at, tree[key]).failed]
    found += [f'worker {worker_id}'
              for worker_id in crew.unreadable_workers(store)]
    for name, trees in (('schedule', [store.schedule]), *(
            (status, store.ledger.trees(status)) for status in LISTED)):
        if any(store.read(_ends, tree).failed for tree in trees):
            found.append(f'tree {name}')
    return found


def _look_at(record):
    record._p_activate()
    for strand in getattr(record, 'strands', {}).values():
        strand.tail._p_activate()


def _ends(tree):
    return tree and (tree.minKey(), tree.maxKey())


def _take_out(store, jobid):
    """Take a job off the books, wherever they have it.

    Return the status under which it is counted, None if nobody has it.
    """
    entry = store.read(lookup.entry_of, store, jobid).value
    unseen = not lookup.is_apart(store, jobid) and (
        lookup.is_unseen(store, jobid))
    # A processor will count an unseen entry when it passes it, so it is taken
    # for counted already.
    counted = entry.new if unseen and entry is not None else None
    counted = books.take_out_anywhere(store, jobid) or counted
    for claim in crew.claims_on(store, jobid):
        crew.worker(store, claim.worker).remove(jobid)
        # The job may have left its place in the schedule behind when it was
        # claimed; what the claim tells is right.
        counted = claim.counted
    return counted
