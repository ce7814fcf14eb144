"""Runs jobs unclaimed: those whose messages come for the first time.

See `seats`, and docs/explanation/unclaimed.rst.
"""

import time

from gocept.async_.celery import runs
from gocept.async_.celery.seats import Seats
from lovely.remotetask import machine
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running import execution
from lovely.remotetask.running.session import opened_engine


# So many claims of a seat are settled by the thread that has it.
SETTLE_AT = 50


class FirstRuns:
    """Runs jobs of one service unclaimed.

    membership -- the Membership of who does.
    """

    def __init__(self, membership):
        self._membership = membership
        self._seats = Seats()

    def ids(self):
        """Return the ids of the worker records."""
        return self._seats.ids()

    # In threads that run jobs

    def run(self, jobid):
        """Run a job, if that can be.

        Return what became of it, see execution.run_claimed; None if it has to
        be claimed.
        """
        seat = self._seats.take()
        try:
            self._enter(seat)
            # See Attendant: the connection catches up once.
            self._membership.catch_up()
            end = self._run(seat, jobid)
        finally:
            self._seats.give_back(seat, time.monotonic())
        if seat.is_refused:
            return None
        if seat.open is not None:
            # At once, if that works; else in the next round.
            outcome_of(self._leave, seat)
        return end

    def _enter(self, seat):
        membership = self._membership
        if not seat.is_entered:
            seat.become(machine.new_worker_id(f'seat-{membership.name()}'))
            # The seat may be entered though an error comes back.
            seat.is_entered = True
            membership.bookkeep(runs.enter_seat, seat.id)

    def _run(self, seat, jobid):
        membership = self._membership
        claim = seat.begin(jobid, membership.clock.now(), time.monotonic())
        end = membership.run(claim)
        if end == execution.NOT_BEGUN:
            seat.cancel()
        elif end == execution.ENDED:
            seat.end()
            if len(seat.claims) >= SETTLE_AT and outcome_of(
                    self._settle, seat).failed:
                # Each commit would write so many old ones again.
                seat.is_full = True
        seat.interrupted = end == execution.INTERRUPTED
        return end

    def count_before(self, jobid):
        """Count the run of a job before, if it is not known to be counted.

        Raise what keeps that from being done.
        """
        if self._seats.knows(jobid) and self._is_fresh(jobid):
            for seat in self._seats.leave_where(jobid):
                self._leave(seat)

    def _is_fresh(self, jobid):
        membership = self._membership
        with opened_engine(membership.db, membership.path) as engine:
            return engine.is_fresh(jobid)

    def _settle(self, seat):
        self._bookkeep(runs.settle_seat, seat)
        seat.claims.clear()

    def _leave(self, seat):
        outcome = outcome_of(self._bookkeep, runs.leave_seat, seat)
        if outcome.failed:
            if not outcome.retryable:
                self._settle_apart(seat)
            raise outcome.exception
        self._seats.left(seat)

    def _settle_apart(self, seat):
        """Settle claims one by one: one of them may be to blame."""
        for claim in list(seat.claims.values()):
            outcome_of(self._bookkeep, runs.settle_one, seat, claim)

    def _bookkeep(self, call, seat, *args):
        self._membership.bookkeep(
            call, seat.id, *args, *seat.to_settle(),
            self._membership.clock.now())

    # In the thread that makes the rounds

    def tend(self, now):
        """Claim what runs for long; leave what is not used.

        now -- seconds of the monotonic clock.

        Raise the last failure.
        """
        outcomes = [outcome_of(seat.claim_if_late, now, self._keep)
                    for seat in self._seats.taken()]
        outcomes += [outcome_of(self._leave, seat)
                     for seat in self._seats.leave_idle(now)]
        for outcome in outcomes:
            if outcome.failed:
                raise outcome.exception

    def _keep(self, claim):
        self._membership.bookkeep(runs.keep, claim)

    def beat(self):
        """Tell others that those live who run jobs."""
        ids = [seat.id for seat in self._seats.taken() if seat.open]
        if ids:
            self._membership.bookkeep(runs.beat, ids)

    def leave_all(self, engine, now):
        """Leave all seats; bookkeeping, at the end.

        What is run, and will be cut off, is claimed: whoever sees that this
        process is gone counts it.
        """
        for seat in self._seats.leave_idle(float('inf')):
            runs.leave_seat(engine, seat.id, *seat.to_settle(), now)
        for seat in self._seats.taken():
            claim = seat.open
            if claim is not None:
                runs.keep(engine, claim)
