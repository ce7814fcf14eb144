"""From which lanes a worker claims first, so that workers do not meet.

Storage only.  The shelves, with all lanes whose books they have, are dealt
out among the workers there are.  That is a preference: nobody is kept from
the lanes of others, and where two workers disagree for a moment on how many
they are, one of them begins anew.
"""

from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage.numbering import SHELVES
from lovely.remotetask.storage.numbering import shelf_number


def shelves(store, worker_id):
    """Return the numbers of the shelves that are a worker's own.

    All if it is the only one.
    """
    ids = sorted({*store.workers, worker_id})
    index = ids.index(worker_id) % SHELVES
    return {number for number in range(SHELVES)
            if number % len(ids) == index}


def is_own(store, worker_id, jobid):
    """Return whether a job was added to a lane that is a worker's own."""
    return shelf_number(jobid) in shelves(store, worker_id)


def strands(store, worker_id):
    """Return the strands to claim from, with their keys.

    Those of the worker's own lanes; if nothing waits there, those of another
    shelf.  What is more urgent comes first, wherever it is.
    """
    own = shelves(store, worker_id)
    if len(own) == SHELVES:
        return lookup.strands(store)
    for numbers in (own, *_others(own)):
        found = _behind(store, lambda key: shelf_number(key) in numbers)  # noqa: B023
        if found:
            return _most_urgent(store, found, numbers)
    return []


def _others(own):
    """Return sets of one number: the shelves of others, in turn.

    Each worker begins with another one.
    """
    begin = min(own)
    others = [(begin + step) % SHELVES for step in range(1, SHELVES)]
    return [{number} for number in others if number not in own]


def _behind(store, is_wanted):
    return [(strand, key) for strand, key in lookup.strands(store, is_wanted)
            if lookup.is_strand_behind(store, strand, key)]


def _most_urgent(store, found, numbers):
    """Return some of the strands, or others of higher priority.

    found -- strands in which jobs wait, and their keys.
    numbers -- those of their shelves.
    """
    lowest = min(_priority(key) for _, key in found)
    urgent = _behind(store, lambda key: (
        _priority(key) > lowest and shelf_number(key) not in numbers))
    if not urgent:
        return found
    top = max(_priority(key) for _, key in urgent)
    return [pair for pair in found if _priority(pair[1]) >= top] or [
        pair for pair in urgent if _priority(pair[1]) == top]


def _priority(key):
    _, _, priority = numbering.split_id(key)
    return priority


def is_behind(store, worker_id):
    """Return whether there are entries that processors have not seen.

    Looks into the worker's own lanes first.
    """
    own = shelves(store, worker_id)
    return bool(_behind(store, lambda key: shelf_number(key) in own)
                or lookup.is_behind(store))
