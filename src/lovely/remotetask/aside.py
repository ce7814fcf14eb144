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


# The reason of a job that is removed, but is there still: processors have
# not come to it, or it is in a segment that its adder has not closed.
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
    if jobid not in store.aside and _is_unseen(store, jobid):
        # Who comes to it removes it.
        store.aside[jobid] = store.now(), REMOVED
        return
    _drop(store, jobid,
          HELD if jobid in store.aside else _take_out(store, jobid))


def pass_removed(store, jobid, counted):
    """Remove a job that was to be removed, now that it is counted."""
    _, reason = store.aside[jobid]
    if reason is REMOVED:
        _drop(store, jobid, counted)


def _drop(store, jobid, counted):
    removal.drop(store, jobid, counted)
    if lookup.is_leaving(store, jobid):
        # It might be readable some day, and would seem to wait.
        store.aside[jobid] = store.now(), REMOVED


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
    """Change counts by the jobs that are to be removed."""
    for jobid, (_, reason) in store.aside.items():
        if reason is REMOVED and _is_unseen(store, jobid):
            entry = store.read(lookup.entry_of, store, jobid).value
            if entry is not None:
                counts[entry.new] = counts.get(entry.new, 0) - 1


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
    for claim in crew.claims_on(store, jobid):
        crew.worker(store, claim.worker).remove(jobid)
        return claim.counted
    status, key = _search(store, jobid)
    if key is None:
        return None
    if status not in LISTED:
        status = books.counted_in_schedule(store, jobid)
    books.take_out(store, jobid, status, key[0])
    return status


def _search(store, jobid):
    """Return the status of a tree, None for the schedule, and a job's key.

    Takes long: it looks through all trees.
    """
    for status, tree in ((None, store.schedule), *store.ledger.jobs.items()):
        for key in store.read(list, tree).value or ():
            if key[1] == jobid:
                return status, key
    return None, None
