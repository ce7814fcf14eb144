"""Which lane the current transaction adds to.

A process keeps the lanes that it leases.  A transaction has a lane to
itself until it ends.  See docs/engine.rst.
"""

import collections
import random
import time
import weakref

from ZODB.POSException import ReadConflictError
from ZODB.utils import z64

from lovely.remotetask import machine
from lovely.remotetask.forking import of_process
from lovely.remotetask.retry import in_private_transaction
from lovely.remotetask.storage import lease
from lovely.remotetask.storage.current import current
from lovely.remotetask.storage.lease import FIRST_LEASE
from lovely.remotetask.storage.lease import LEASE


# The part of a lease, without an addition, in which a process uses its lane.
# The rest is what a transaction may take.
USED = 0.5

# How often a lease is tried, which meets those of other processes.
ATTEMPTS = 30


@of_process
def _begin():
    # Two processes must not add to one lane.
    global _spare, _process, _began
    _spare = weakref.WeakKeyDictionary()
    _process = machine.new_worker_id('adder')
    _began = time.monotonic()


class Entry:
    """A leased lane: where it is, and as it was last committed.

    length -- of the lease, in seconds.
    """

    def __init__(self, oid, serials, length):
        self.oid = oid
        self.serials = serials
        self.length = length
        self.used = time.monotonic()

    @property
    def expired(self):
        return time.monotonic() - self.used > USED * self.length

    def open(self, store):
        """Return the lane, None if this snapshot shows it in another state.
        """
        try:
            found = store.read(self._open, store._p_jar)
        except ReadConflictError:
            return None
        return found.value

    def _open(self, connection):
        lane = connection.get(self.oid)
        return lane if lane.serials() == self.serials else None


def lane_of_transaction(store):
    """Return the lane that the store's current transaction may add to.

    Raise NoTransaction if there is none.
    """
    txn = current(store)
    if txn is None or store._p_serial == z64:
        # Not committed yet, so nobody else can see it.
        return store.lanes[0]
    taken = _taken(txn)
    key = id(store._p_jar), store._p_oid
    if key not in taken:
        taken[key] = _take(store)
    return taken[key].lane


class _Taken:
    """A lane that a transaction has."""

    def __init__(self, spare, entry, lane):
        self.spare = spare
        self.entry = entry
        self.lane = lane

    def give_back(self, committed):
        if self.entry is None:
            return
        if committed:
            # Loads what was invalidated, from after this commit.
            self.entry.serials = self.lane.serials()
            self.entry.used = time.monotonic()
        self.spare.append(self.entry)


def _taken(txn):
    try:
        return txn.data(_spare)
    except KeyError:
        taken = {}
        txn.set_data(_spare, taken)
        txn.addAfterCommitHook(_after_commit, (taken,))
        txn.addAfterAbortHook(_give_back, (taken, False))
        # One that is never ended.
        weakref.finalize(txn, _give_back, taken, False)
        return taken


def _after_commit(committed, taken):
    _give_back(taken, committed)


def _give_back(taken, committed):
    # A deque and a dict: their single operations need no lock.
    while taken:
        _, lane = taken.popitem()
        lane.give_back(committed)


def _spare_lanes(store):
    spare = _spare.setdefault(store._p_jar.db(), {})
    return spare.setdefault(store._p_oid, collections.deque())


def _take(store):
    spare = _spare_lanes(store)
    for _ in range(len(spare)):
        try:
            entry = spare.popleft()
        except IndexError:
            break
        if entry.expired:
            continue
        lane = entry.open(store)
        if lane is not None:
            return _Taken(spare, entry, lane)
        spare.append(entry)
    return _lease(store, spare)


def _lease(store, spare):
    found = None
    for entry in lease_lanes(store):
        lane = None if found else entry.open(store)
        if lane is None:
            spare.append(entry)
        else:
            found = _Taken(spare, entry, lane)
    if found is None:
        # This snapshot shows no lane that is free.  One of somebody else's:
        # at worst a conflict.
        number = random.choice(list(store.lanes))
        found = _Taken(spare, None, store.lanes[number])
    return found


def lease_lanes(store):
    """Lease lanes for this process, in a transaction of its own.

    Return Entries: those lanes first that `store` sees in their last state.
    """
    young = time.monotonic() - _began < FIRST_LEASE
    length = FIRST_LEASE if young else LEASE

    def take(connection):
        connection.transaction_manager.get().note(
            'lanes leased to a process that adds jobs')
        return lease.take(connection.get(store._p_oid), _process, time.time(),
                          _visible(store), length)

    def entries(lanes):
        return [Entry(lane._p_oid, lane.serials(), length) for lane in lanes]
    # Not in the thread's transaction, which belongs to the caller.
    return in_private_transaction(
        store._p_jar.db(), take, ATTEMPTS, entries)


def _visible(store):
    """Return a function: whether the store sees the last state of a lane."""
    def visible(lane):
        ours = store.lanes.get(lane.number)
        return ours is not None and ours.serials() == lane.serials()
    return visible
