"""Removing all jobs of a status at once.  Storage only.

Few are removed one by one.  The tree in which many are listed is put aside as
a whole: its jobs are gone at once, and processors drop them some at a time.
"""

from lovely.remotetask.interfaces import ENDED
from lovely.remotetask.number import shown
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import counting
from lovely.remotetask.storage import removal
from lovely.remotetask.storage import whereabouts
from lovely.remotetask.storage.ledger import first
from lovely.remotetask.storage.lookup import checked


# How many listed jobs are removed one by one.
FEW = 100


def chosen(status):
    """Return the statuses that ITaskService.clean is told, a tuple.

    Raise ValueError if there is another one than those of ENDED.
    """
    given = (status,) if isinstance(status, str) else tuple(status)
    for name in given:
        if name not in ENDED:
            raise ValueError(
                f'Jobs with the status {shown(name)} are not cleaned; choose '
                f'from {", ".join(ENDED)}.')
    return tuple(name for name in ENDED if name in given)


def clean(store, status):
    """Remove all jobs at rest with a status."""
    for job in whereabouts.unlisted(store, status):
        store.remove(job)
    listed = first((item for tree in store.ledger.trees(status)
                    for item in tree.items()), FEW + 1)
    if len(listed) > FEW:
        store.ledger.sweep(status, counting.counts(store)[status])
        return
    for key, job in listed:
        found = store.read(checked, job, key[1])
        if found.failed:
            aside.remove(store, key[1])
        elif removal.belongs(job, status, key):
            store.remove(job)


def drop_some(store, limit):
    """Drop up to `limit` jobs that were put aside.  Return how many."""
    for swept in store.ledger.swept:
        found = store.read(swept.first, limit)
        for tree, key, job in found.value or ():
            del tree[key]
            _drop(store, swept, key, job)
        if not found.value:
            # Nothing is left; or the rest cannot be read, and nobody will ever
            # drop it.
            store.ledger.drop_swept(swept)
        else:
            return len(found.value)
    return 0


def _drop(store, swept, key, job):
    found = store.read(checked, job, key[1])
    if found.failed or removal.belongs(job, swept.status, key):
        swept.number.change(-1)
        is_noted = not found.failed and removal.is_noted(store, job)
        if not found.failed:
            removal.meet(job)
        removal.drop(store, key[1], swept.status)
        if is_noted:
            aside.mark_removed(store, key[1])
