"""What people have done to a service: the last 500 actions.

Storage only.  Whoever acts has a lane to himself until his transaction ends,
as those have who add jobs; what he does is remembered beside that lane.  So
two who act do not meet, and who adds jobs writes nothing of this.
"""

import heapq
import itertools
from typing import NamedTuple

import persistent
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.part import part
from lovely.remotetask.storage import adder


# How many actions are kept, and how many of them are one record.
KEPT = 500
SIZE = 20


@part
@zope.interface.implementer(interfaces.IAction)
class Action(NamedTuple):
    """See IAction."""

    time: float
    who: str | None
    what: str
    job: int | None
    selection: tuple
    number: int

    def continues(self, other):
        """Return whether this is the next slice of the same selection."""
        # Each page of jobs that somebody has seen is as of another time.
        return self[1:5] == other[1:5] and 'as_of' in dict(self.selection)

    def with_slice(self, other):
        """Return both slices as one action."""
        return self._replace(time=max(self.time, other.time),
                             number=self.number + other.number)


class Chunk(persistent.Persistent):
    """Some actions, as plain tuples, the oldest first."""

    actions = ()


class ActionLog(persistent.Persistent):
    """The actions of one writer, in chunks, the oldest first."""

    chunks = ()

    def add(self, action):
        """Remember an Action; forget one that is too old.  Return the Chunk.
        """
        chunk = self._last()
        last = Action(*chunk.actions[-1]) if chunk.actions else None
        if last is not None and action.continues(last):
            kept = *chunk.actions[:-1], tuple(last.with_slice(action))
        else:
            kept = *chunk.actions, tuple(action)
        chunk.actions = kept
        return chunk

    def _last(self):
        if not self.chunks or len(self.chunks[-1].actions) >= SIZE:
            # All but the last one are full.
            self.chunks = (*self.chunks[-KEPT // SIZE:], Chunk())
        return self.chunks[-1]

    def newest(self):
        """Iterate over the Actions, the last one first."""
        for chunk in reversed(self.chunks):
            for action in reversed(chunk.actions):
                yield Action(*action)


def add(store, action):
    """Remember an Action.  Return the Chunk that has it."""
    lane = adder.lane_of_transaction(store)
    if lane.actions is None:
        lane.actions = ActionLog()
    return lane.actions.add(action)


def newest(store):
    """Return the Actions that are kept, the last one first."""
    logs = [store.read(getattr, each, 'actions').value for each in (
        store, *store.lanes.values())]
    merged = heapq.merge(
        *(_readable(store, log.newest()) for log in logs if log is not None),
        key=lambda action: action.time, reverse=True)
    return list(itertools.islice(_joined(merged), KEPT))


def _readable(store, actions):
    while (found := store.read(next, actions, None).value) is not None:
        yield found


def _joined(actions):
    """Join the slices of one selection; several lanes may have some."""
    last = None
    for action in actions:
        if last is not None and last.continues(action):
            last = last.with_slice(action)
            continue
        if last is not None:
            yield last
        last = action
    if last is not None:
        yield last


def keep(store, lane):
    """Keep the actions of a lane that is about to be dropped.

    Processors alone do this.
    """
    log = store.read(getattr, lane, 'actions').value
    if log is None:
        return
    if store.actions is None:
        store.actions = ActionLog()
    ours = list(_readable(store, store.actions.newest()))
    theirs = list(_readable(store, log.newest()))
    store.actions = ActionLog()
    for action in sorted([*ours, *theirs], key=lambda each: each.time):
        store.actions.add(action)
