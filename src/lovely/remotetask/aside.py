"""Jobs that were put aside, because their records cannot be read.

Storage only.  They are counted as held, and removed or requeued by their ids
alone.
"""

from lovely.remotetask import books
from lovely.remotetask import crew
from lovely.remotetask import lookup
from lovely.remotetask import removal
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.ledger import LISTED
from lovely.remotetask.unreadable import reason_of


# The reason of a job that is removed, but of which something is there still.
REMOVED = None


def put(store, jobid, counted, failure, now):
    """Put a job aside that is on the books no longer.

    counted -- the status under which it is counted, None for a job that is
        not counted yet.
    failure -- the Outcome of `read`.
    """
    if jobid not in store.aside:
        store.ledger.count(counted, HELD)
        store.aside[jobid] = store.now(now), reason_of(failure)


def held(store):
    """Return the ids of the jobs that are aside, not those to be removed."""
    return [jobid for jobid, (_, reason) in store.aside.items()
            if reason is not REMOVED]


def remove(store, jobid):
    """Remove a job whose record cannot be read."""
    if jobid in store.aside:
        counted = HELD
    else:
        counted = _take_out(store, jobid)
        if _is_unseen(store, jobid):
            # It is not counted yet.
            counted = None
    if counted is not None:
        removal.drop(store, jobid, counted)
    _note_removed(store, jobid)


def _note_removed(store, jobid):
    """Let a job be invisible that cannot leave its segment yet.

    It might be readable some day.  Or there are entries of it that are
    counted when processors come to them.
    """
    if lookup.is_leaving(store, jobid) or _unseen_entries(store, jobid):
        store.aside[jobid] = store.now(), REMOVED


def pass_removed(store, jobid, counted):
    """Remove a job that was to be removed, now that it is counted."""
    _, reason = store.aside[jobid]
    if reason is REMOVED:
        removal.drop(store, jobid, counted)
        _note_removed(store, jobid)


def restore(store, jobid):
    """Put a job back that can be read again; return whether it can."""
    found = store.read(lookup.raw, store, jobid)
    if found.failed or found.value is None:
        return False
    if store.aside.pop(jobid, None) is not None:
        store.ledger.count(HELD, found.value.stored_status)
        books.book(store, found.value)
    return True


def prune(store, before, limit):
    """Remove up to `limit` jobs that were put aside before a time.

    Return how many there were.
    """
    old = [jobid for jobid in held(store)
           if store.aside[jobid][0] < before][:limit]
    for jobid in old:
        remove(store, jobid)
    return len(old)


def correct(store, counts):
    """Change counts by the jobs that are removed, and not yet seen."""
    for jobid, (_, reason) in store.aside.items():
        if reason is REMOVED:
            for entry in _unseen_entries(store, jobid):
                for status, change in ((entry.old, 1), (entry.new, -1)):
                    counts[status] = counts.get(status, 0) + change
    counts.pop(None, None)


def forget_removed(store):
    """Forget that jobs were removed, where nothing of them is left."""
    for jobid, (_, reason) in list(store.aside.items()):
        if reason is REMOVED and not (
                lookup.is_leaving(store, jobid)
                or _unseen_entries(store, jobid)):
            del store.aside[jobid]


def _unseen_entries(store, jobid):
    """Return the Entries of a job to which processors have not come."""
    found = []
    if _is_unseen(store, jobid):
        entry = store.read(lookup.entry_of, store, jobid).value
        found += [entry] if entry is not None else []
    for strand, key in lookup.strands(store):
        notes = store.read(_notes_of, store, strand, key, jobid)
        found += notes.value or []
    return found


def _notes_of(store, strand, key, jobid):
    begin = lookup.sequence_at_cursor(store, key)
    return [entry for entry in strand.notes(strand.end, begin)
            if entry.note.job == jobid]


def unreadable(store):
    """Return what cannot be read; see ITaskService."""
    found = held(store)
    for name, tree in (('lane', store.lanes), ('cursor', store.cursors)):
        found += [f'{name} {key}' for key in store.read(list, tree).value or ()
                  if store.read(_look_at, tree[key]).failed]
    found += [f'worker {worker_id}'
              for worker_id in crew.unreadable_workers(store)]
    for name, tree in (('schedule', store.schedule),
                       *store.ledger.jobs.items()):
        if store.read(_ends, tree).failed:
            found.append(f'tree {name}')
    return found


def _look_at(record):
    record._p_activate()
    for strand in getattr(record, 'strands', {}).values():
        strand.tail._p_activate()


def _ends(tree):
    return tree and (tree.minKey(), tree.maxKey())


def _is_unseen(store, jobid):
    return not lookup.is_legacy(store, jobid) and (
        lookup.is_unseen(store, jobid))


def _take_out(store, jobid):
    """Take a job off the books, wherever they have it.

    Return the status under which it is counted, None if nobody has it.
    """
    counted = None
    status, key = _search(store, jobid)
    if key is not None:
        if status not in LISTED:
            status = books.counted_in_schedule(store, jobid)
        books.take_out(store, jobid, status, key[0])
        counted = status
    for claim in crew.claims_on(store, jobid):
        crew.worker(store, claim.worker).remove(jobid)
        # It may have left its place in the schedule behind.
        counted = claim.counted
    return counted


def _search(store, jobid):
    """Return the status of a tree, None for the schedule, and a job's key.

    Takes long: it looks through all trees.
    """
    for status, tree in ((None, store.schedule), *store.ledger.jobs.items()):
        for key in store.read(list, tree).value or ():
            if key[1] == jobid:
                return status, key
    return None, None
