"""Where a process runs jobs that it has not claimed, one in each place.

Whoever is given a message first runs its job, and commits once.  So that no
such run is lost uncounted, a seat is known to others as long as it is used:
if its process is gone, what it had is not known, and whatever it may have had
is counted.  docs/explanation/unclaimed.rst tells of it.
"""

import threading

import zope.interface

from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import ISeat
from lovely.remotetask.job import Claim


# Seconds after which a run is claimed that has not ended yet, and after which
# others are told that a seat is not used.
LATE = 1.0
IDLE = 3.0


@zope.interface.implementer(ISeat)
class Seat:
    """The worker record under which one thread runs jobs, one after another.

    See ISeat.

    id -- of the worker record.
    is_entered -- whether there is such a record, or may be.
    claims -- Claims of runs since claims were settled, by job id.
    open -- the Claim of a run that goes on, or is not known to be counted.
    is_refused -- whether the last job has to be claimed; it was not run.
    interrupted -- whether that was interrupted by what it stands on.
    is_full -- whether no other job is to be run here.
    used -- when it was used last, in seconds of the monotonic clock.
    """

    def __init__(self):
        self.id = None
        self.is_entered = False
        self.claims = {}
        self.open = None
        self.interrupted = self.is_refused = self.is_full = False
        self.used = 0.0
        # The thread that runs the job and the one that makes the rounds must
        # not both write the record: one would meet the other, at the end of a
        # run that has gone well.
        self._lock = threading.Lock()
        self._is_claimed = self._is_ending = False

    def become(self, worker_id):
        """Use another worker record, of which nobody knows yet."""
        self.id = worker_id
        self.is_entered = False
        self.claims.clear()

    def begin(self, jobid, now, monotonic):
        """Return the Claim of a run that begins."""
        claim = Claim(jobid, self.id, self.id.rpartition(':')[0], now, 1, 0,
                      QUEUED, self)
        self._is_claimed = self._is_ending = False
        self.interrupted = self.is_refused = False
        self.used = monotonic
        self.claims[jobid] = self.open = claim
        return claim

    def refuse(self, is_known):
        """See ISeat."""
        self.is_refused = True
        # A record that is not known any more was dropped by others, who have
        # taken this process for dead: no other job may be run under it.
        self.is_full = not is_known

    def is_kept_by_run(self):
        """See ISeat."""
        with self._lock:
            self._is_ending = not self._is_claimed
            return self._is_ending

    def claim_if_late(self, monotonic, keep):
        """Have a run claimed that has not ended for a while.

        keep -- called with the Claim; commits that.
        """
        with self._lock:
            claim = self.open
            if (claim is None or self._is_ending or self._is_claimed == claim
                    or monotonic - self.used < LATE):
                return
            # Whatever becomes of this commit: it may have written the record.
            self._is_claimed = True
            keep(claim)
            self._is_claimed = claim

    def to_settle(self):
        """Return two lists: Claims to be settled; interrupted jobs' ids."""
        open = self.open
        return list(self.claims.values()), (
            [open.job] if open is not None and self.interrupted else [])

    def end(self):
        """Remember that the end of the run is stored."""
        self.open = None

    def cancel(self):
        """Remember that nothing was called."""
        claim, self.open = self.open, None
        del self.claims[claim.job]


class Seats:
    """All seats of a process for one service.  Any thread may call."""

    def __init__(self):
        self._lock = threading.Lock()
        # The one that was used last is used next: so few are.
        self._free = []
        self._taken = []
        self._leaving = []

    def take(self):
        """Return a Seat that nobody else has."""
        with self._lock:
            found = self._free.pop() if self._free else Seat()
            self._taken.append(found)
            return found

    def give_back(self, seat, monotonic):
        """Let others have a seat, unless it has something to be counted."""
        with self._lock:
            self._taken.remove(seat)
            seat.used = monotonic
            if seat.open is not None or seat.is_full:
                self._leaving.append(seat)
            elif seat.is_entered:
                self._free.append(seat)

    def leave_idle(self, monotonic):
        """Return the seats that are to be left; nobody gets them any more."""
        with self._lock:
            self._leave([seat for seat in self._free
                         if monotonic - seat.used >= IDLE])
            return list(self._leaving)

    def _leave(self, seats):
        self._free = [seat for seat in self._free if seat not in seats]
        self._leaving += seats

    def leave_where(self, jobid):
        """Return the seats to be left: those where a job was run."""
        with self._lock:
            self._leave([seat for seat in self._free if jobid in seat.claims])
            return [seat for seat in self._leaving if jobid in seat.claims]

    def knows(self, jobid):
        """Return whether a job was run lately."""
        with self._lock:
            return any(jobid in seat.claims
                       for seat in (*self._free, *self._leaving))

    def left(self, seat):
        """Forget a seat: its record is gone."""
        with self._lock:
            if seat in self._leaving:
                self._leaving.remove(seat)

    def taken(self):
        """Return the seats on which jobs run."""
        return list(self._taken)

    def ids(self):
        """Return the ids of all worker records."""
        with self._lock:
            return {seat.id for seat in
                    (*self._free, *self._taken, *self._leaving)}
