"""Which lane the current transaction adds to.

A process keeps the lanes that it leases.  A transaction has a lane to
itself until it ends.  See docs/explanation/engine.rst.
"""

import collections
import random
import time
import weakref

from ZODB.POSException import ReadConflictError
from ZODB.utils import z64

from lovely.remotetask import machine
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.forking import of_process
from lovely.remotetask.retry import in_private_transaction
from lovely.remotetask.snapshot import time_shown
from lovely.remotetask.storage import lease
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage.current import current
from lovely.remotetask.storage.lane import SEGMENT_SIZE
from lovely.remotetask.storage.lease import FIRST_LEASE
from lovely.remotetask.storage.lease import LEASE
from lovely.remotetask.storage.numbering import SHELVES


# The part of a lease, without an addition, in which a process uses its lane.
# The rest is what a transaction may take.
USED = 0.5

# A process that has added in so many transactions, in less seconds than that,
# takes lanes of all shelves where there are several workers, or may be: twice
# as many entries wait in its lanes.  So workers can run what it adds without
# meeting.
BUSY = 32

# So many entries follow each other in one lane before another one is used.
IN_ONE_LANE = SEGMENT_SIZE

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
    shelf -- the number of the lane's shelf.
    """

    def __init__(self, lane, length):
        self.oid = lane._p_oid
        self.serials = lane.serials()
        self.length = length
        self.shelf = lane.shelf
        self.used = time.monotonic()

    @property
    def expired(self):
        """Whether the process uses the lane no more: its lease may end."""
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
        # The store is not committed yet, so nobody else can see its lanes.
        return store.lanes[0]
    taken = _taken(txn)
    key = id(store._p_jar), store._p_oid
    if key not in taken:
        taken[key] = _take(store)
    return taken[key].lane


class Spare(collections.deque):
    """The Entries of lanes of one store that no transaction has.

    shelves -- the numbers of those of all lanes that were leased.
    """

    def __init__(self):
        super().__init__()
        self.shelves = set()
        self._begin_to_count()

    def _begin_to_count(self):
        self._since, self._count = time.monotonic(), 0

    def lease(self, entry):
        """Add the Entry of a lane that was leased."""
        self.shelves.add(entry.shelf)
        self.append(entry)

    def give_back(self, entry, lane):
        """Add the Entry of a lane that a transaction had.

        The next transaction takes the same one, until many follow each other
        there: so whoever runs them finds them in one place.
        """
        if any(strand.end % IN_ONE_LANE == 0
               for strand in lane.strands.values()):
            self.append(entry)
        else:
            self.appendleft(entry)

    def count(self):
        """Count a transaction that has added."""
        self._count += 1

    def is_busy(self):
        """Return whether lanes of other shelves are of use now."""
        if self._count < BUSY:
            return False
        is_busy = time.monotonic() - self._since < BUSY
        self._begin_to_count()
        return is_busy and len(self.shelves) < SHELVES


class _Taken:
    """A lane that a transaction has."""

    def __init__(self, spare, entry, lane):
        self.spare = spare
        self.entry = entry
        self.lane = lane

    def give_back(self, committed):
        if self.entry is None:
            return
        if not committed:
            self.spare.append(self.entry)
            return
        # Loads what was invalidated, from after this commit.
        self.entry.serials = self.lane.serials()
        self.entry.used = time.monotonic()
        self.spare.count()
        self.spare.give_back(self.entry, self.lane)


def _taken(txn):
    try:
        return txn.data(_spare)
    except KeyError:
        taken = {}
        txn.set_data(_spare, taken)
        txn.addAfterCommitHook(_after_commit, (taken,))
        txn.addAfterAbortHook(_give_back, (taken, False))
        # A transaction that is never ended calls no hook.
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
    return spare.setdefault(store._p_oid, Spare())


def _take(store):
    spare = _spare_lanes(store)
    if spare.is_busy() and _workers_meet(store, spare):
        # The transaction can do without more lanes, so a failure is let go.
        more = outcome_of(lease_lanes, store, frozenset(spare.shelves))
        for entry in more.value or ():
            spare.lease(entry)
    for _ in range(len(spare)):
        try:
            entry = spare.popleft()
        except IndexError:
            break
        if entry.expired:
            spare.shelves.discard(entry.shelf)
            continue
        lane = entry.open(store)
        if lane is not None:
            return _Taken(spare, entry, lane)
        spare.append(entry)
    return _lease(store, spare)


def _workers_meet(store, spare):
    if len(store.workers) > 1:
        return True
    found = [store.read(_waiting, store, entry).value or 0
             for entry in list(spare)]
    return sum(found) >= 2 * BUSY


def _waiting(store, entry):
    """Return how many entries of a lane processors have not seen."""
    found = store._p_jar.get(entry.oid)
    return sum(
        strand.end - lookup.sequence_at_cursor(store, found.key(priority))
        for priority, strand in found.strands.items())


def _lease(store, spare):
    found = None
    for entry in lease_lanes(store):
        lane = None if found else entry.open(store)
        if lane is None:
            spare.lease(entry)
        else:
            spare.shelves.add(entry.shelf)
            found = _Taken(spare, entry, lane)
    if found is None:
        # This snapshot shows no lane that is free.  One of somebody else's:
        # at worst a conflict.
        number = random.choice(list(store.lanes))
        found = _Taken(spare, None, store.lanes[number])
    return found


def lease_lanes(store, avoided=()):
    """Lease lanes for this process, in a transaction of its own.

    avoided -- numbers of shelves whose lanes are not to be taken.

    Return Entries: those lanes first that `store` sees in their last state.
    """
    young = time.monotonic() - _began < FIRST_LEASE
    length = FIRST_LEASE if young else LEASE

    def take(connection):
        connection.transaction_manager.get().note(
            'lanes leased to a process that adds jobs')
        # By the storage's clock where that is ahead, as it dates what others
        # have added: lanes would look as if nobody used them.
        now = max(time.time(), time_shown(connection))
        return lease.take(connection.get(store._p_oid), _process, now,
                          _visible(store), length, avoided)

    def entries(lanes):
        return [Entry(lane, length) for lane in lanes]
    # The lease has a transaction of its own: that of the thread belongs to the
    # caller.
    return in_private_transaction(
        store._p_jar.db(), take, ATTEMPTS, entries)


def _visible(store):
    """Return a function: whether the store sees the last state of a lane."""
    def visible(lane):
        ours = store.lanes.get(lane.number)
        return ours is not None and ours.serials() == lane.serials()
    return visible
