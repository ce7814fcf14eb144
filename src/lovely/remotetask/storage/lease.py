"""Which process may add to which lane, and for how long.

Storage only; `adder` asks for leases in transactions of its own.
"""

from lovely.remotetask import machine
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage.lane import Lane
from lovely.remotetask.storage.lane import Lease
from lovely.remotetask.storage.numbering import LANES_AT_ONCE


# Seconds without an addition after which a lane may be leased by others.
LEASE = 3600.0

# The same for the first lease of a process: many processes add a job or two,
# and end.  Those that stay take leases of the other length afterwards.
FIRST_LEASE = 300.0

# Lanes kept free for transactions that begin before more can be made.
SPARE_LANES = 32

# As long as there are fewer lanes, new ones are made before one is used whose
# first lease has ended: its transaction may just take long.
MANY_LANES = 128


def take(store, owner, now, is_visible, length, avoided=()):
    """Lease lanes to a process.  Return them, visible ones first.

    owner -- str, a worker id of `machine`.
    is_visible -- called with a Lane: whether the one who needs it sees its
        last state.
    length -- of the lease, in seconds.
    avoided -- numbers of shelves; who names some wants lanes of all others,
        and can do without.
    """
    free = _free(store, now)
    if not avoided:
        taken = _choose(store, free, is_visible) or _unused(store)
    else:
        taken = _of_others(store, free, is_visible, avoided)
    for found in taken:
        _skip_what_was_passed(store, found)
        lease = store.leases[found.number]
        lease.owner, lease.time, lease.length = owner, now, length
    for _ in range(SPARE_LANES + len(taken) - len(free)):
        add_lane(store)
    return taken


def add_lane(store):
    """Make another lane, if there is a number for one."""
    number = store.lanes.maxKey() + 1 if store.lanes else 0
    if store.retired:
        number = min(number, store.retired.minKey())
    if number < numbering.MAX_LANES:
        start = store.retired.pop(number, store.start)
        store.lanes[number] = Lane(number, start)
        store.leases[number] = Lease()


def _free(store, now):
    """Return the lanes that may be leased, the safest first."""
    leases = list(store.leases.items())
    store.prefetch([lease for _, lease in leases])
    many = len(leases) >= MANY_LANES
    ranks = [store.read(_rank, store, number, lease, now, many).value
             for number, lease in leases]
    return [store.lanes[number]
            for _, number in sorted(rank for rank in ranks if rank)]


def _rank(store, number, lease, now, many):
    """Return what to sort a free lane by; None for one that is not free."""
    if is_left(lease):
        return 0.0, number
    # Of an adder that is not known to be gone, nothing is known here but when
    # it added last.
    length = lease.length if many and not _is_here(lease.owner) else LEASE
    if _lasts(lease.time, length, now):
        return None
    used = max(lease.time, store.lanes[number].last_change())
    return None if _lasts(used, length, now) else (used, number)


def is_free(store, number, now):
    """Return whether nobody adds to a lane."""
    return _rank(store, number, store.leases[number], now, False) is not None


def is_left(lease):
    """Return whether nobody has a lease, or a process that is gone."""
    owner = lease.owner
    return owner is None or ':' in owner and machine.is_gone(owner)


def _is_here(owner):
    return owner.rpartition(':')[2].startswith(f'{machine.MACHINE}-')


def _lasts(used, length, now):
    # A lease that was taken tomorrow was taken by a wrong clock.
    return -LEASE < now - used <= length


def _choose(store, free, is_visible):
    """Return some of the lanes, visible ones first."""
    seen, others = [], []
    for found in free:
        visible = store.read(_is_good, store, found, is_visible)
        if not visible.failed:
            (seen if visible.value else others).append(found)
        if len(seen) == LANES_AT_ONCE:
            break
    return [*seen, *others][:LANES_AT_ONCE]


def _of_others(store, free, is_visible, avoided):
    """Return lanes of all shelves but some, as far as there are enough."""
    if len(store.leases) >= MANY_LANES:
        return []
    shelves = {}
    for found in free:
        if found.shelf not in avoided:
            shelves.setdefault(found.shelf, []).append(found)
    return [found for each in shelves.values()
            for found in _choose(store, each, is_visible)]


def _is_good(store, found, is_visible):
    """Return whether a lane is visible; raise what cannot be read of it."""
    for priority in found.strands:
        cursor = store.cursors.get(found.key(priority))
        # Without its cursor, what is added there would not be claimed.
        if cursor is not None:
            cursor._p_activate()
    return is_visible(found)


def _unused(store):
    """Return the lane whose lease is to end first, where no lane is free."""
    if len(store.lanes) < numbering.MAX_LANES:
        return []
    number, lease = min(store.leases.items(), key=_end)
    return [store.lanes[number]]


def _end(item):
    _, lease = item
    return lease.time + lease.length


def _skip_what_was_passed(store, found):
    """Give no place out again that processors have passed.

    The transaction that had filled it was undone.
    """
    for priority, strand in found.strands.items():
        cursor = store.cursors.get(found.key(priority))
        if cursor is not None and cursor.sequence > strand.end:
            strand.skip(cursor.sequence, dict(cursor.totals))
