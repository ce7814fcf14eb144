"""What each processor of this process has counted, until that is stored.

Runs are counted as their ends are told: no job is written for that, and no
transaction is made.  A processor stores what it has counted when it tells
that it lives.
"""

import threading
import weakref

from lovely.remotetask import moment
from lovely.remotetask.measure import Functions
from lovely.remotetask.measure import Slice
from lovely.remotetask.running import events


# Seconds of a slice, and how many are kept while nothing can be stored.
SECONDS = 60
MOST = 120


class Tally:
    """What one processor has counted."""

    def __init__(self):
        self._lock = threading.Lock()
        self._slices = {}
        # What is about to be stored, and the number of that.
        self._pending = []
        self._number = 0
        # What is no part of the slices any more.
        self._before = Functions()

    def count(self, function, outcome, seconds=None, waited=None):
        """Count a run; see Counts.count."""
        start = int(moment.now()) // SECONDS * SECONDS
        with self._lock:
            if start not in self._slices:
                self._begin(start)
            self._slices[start].functions.of(function).count(
                outcome, seconds, waited)

    def _begin(self, start):
        self._slices[start] = Slice(start)
        for old in sorted(self._slices)[:-MOST]:
            self._before.add(self._slices.pop(old).functions)

    def total(self):
        """Return Functions: all that was counted."""
        found = Functions()
        with self._lock:
            for each in (self._before, *(
                    part.functions for part in self._slices.values())):
                found.add(each)
        return found

    def to_store(self):
        """Return a number and Slices, to be stored under that number.

        The same again, until `mark_stored` says that they are.
        """
        with self._lock:
            if not self._pending:
                self._pending = list(self._slices.values())
                self._slices = {}
                for each in self._pending:
                    self._before.add(each.functions)
                self._number += 1
            return self._number, list(self._pending)

    def mark_stored(self):
        """Forget what `to_store` has returned."""
        self._pending = []

    @property
    def is_empty(self):
        """Whether there is nothing to be stored."""
        return not (self._slices or self._pending)


# By the ids of workers, and by the paths of services: who runs jobs for
# another one, like a seat, has no tally of its own.
_by_worker = weakref.WeakValueDictionary()
_by_path = weakref.WeakValueDictionary()


def enter(tally, worker_id, path):
    """Let a Tally count what a worker runs."""
    _by_worker[worker_id] = tally
    _by_path[tuple(path)] = tally


def outcome_of_run(event):
    """Return how a run has ended: one of measure.OUTCOMES.

    event -- JobEnded or JobRetried.
    """
    if event.failure is None or event.committed:
        return 'completed'
    if type(event) is events.JobRetried:
        return 'conflicts' if event.failure.is_transient else 'retried'
    return 'failed'


def _count(event):
    tally = _by_worker.get(event.worker)
    if tally is None:
        tally = _by_path.get(event.path)
    if tally is not None:
        tally.count(event.function, outcome_of_run(event), event.duration,
                    event.waited)


events.Observer(_count, events.JobEnded, events.JobRetried).subscribe()
