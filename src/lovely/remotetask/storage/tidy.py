"""What is done now and then; and lanes that nobody adds to.

Storage only.  Empty segments go, and so do empty lanes.  Who does this leases
the lane at the same moment: an adder who takes it meets that, in the private
transaction in which it does so.
"""

import random
import time

from lovely.remotetask.snapshot import time_shown
from lovely.remotetask.storage import actions
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import audit
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lease
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import meter
from lovely.remotetask.storage import removal
from lovely.remotetask.storage.ledger import first


# How many lanes are looked at in one transaction, and how many segments of
# each of their strands are dropped.
LANES = 8
SEGMENTS = 200


def look_after(store, now):
    """Do what is to be done now and then."""
    audit.look(store, now)
    audit.look_for_lost(store, now)
    aside.forget_removed(store)
    meter.archive(store, now)
    tidy(store)


def tidy(store):
    """Tidy some lanes up."""
    # Leases carry times by the clocks of those who lease, so this takes the
    # clock, too; as they do, that of the storage where it is ahead.
    now = max(time.time(), time_shown(store._p_jar))
    numbers = list(store.lanes)
    spare = len(numbers) - lease.SPARE_LANES
    for number in random.sample(numbers, min(LANES, len(numbers))):
        found = store.read(_tidy, store, number, now, spare > 0)
        spare -= found.value is True


def _tidy(store, number, now, may_go):
    """Tidy a lane up.  Return whether it is gone."""
    found = store.lanes[number]
    if not lease.is_free(store, number, now):
        return False
    changed = [_tidy_strand(store, found.key(priority), strand)
               for priority, strand in found.strands.items()]
    goes = may_go and all(
        _is_empty(store, found.key(priority), strand)
        for priority, strand in found.strands.items())
    if goes or any(changed):
        # Whoever leases the lane at this moment conflicts with this.
        store.leases[number]._p_changed = True
    if goes:
        _retire(store, found)
    return goes


def _tidy_strand(store, key, strand):
    """Drop what is empty of a strand.  Return whether anything was."""
    end = lookup.sequence_at_cursor(store, key)
    changed = strand.trim(end, SEGMENTS)
    cursor = store.cursors.get(key)
    leaving = cursor is not None and bool(cursor.removed)
    if leaving:
        removal.leave_segments(store, strand, key, closed=True)
    return changed or leaving


def _is_empty(store, key, strand):
    """Return whether nothing is left in a strand, and all was passed."""
    return (len(first(strand.segments, 2)) == 1
            and strand.end <= lookup.sequence_at_cursor(store, key)
            and not any(strand.tail.jobs))


def _retire(store, found):
    """Drop a lane.  Its number may be used again, its places may not."""
    end = store.start
    for priority, strand in found.strands.items():
        key = found.key(priority)
        end = max(end, strand.end, lookup.sequence_at_cursor(store, key))
        # An adder that still has the lane conflicts with this when it adds.
        strand.tail._p_changed = True
        store.cursors.pop(key, None)
    found._p_changed = True
    actions.keep(store, found)
    del store.lanes[found.number]
    del store.leases[found.number]
    store.retired[found.number] = lane.aligned(end)
