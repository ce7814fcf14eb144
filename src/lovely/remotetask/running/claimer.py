"""How a processor settles claims and makes others."""

import functools
import random
import threading
import time
from typing import NamedTuple

from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running import suspects


# Seconds after which, at the latest, a worker claims what is first wherever it
# is, and not from its own share of the lanes: there may be a lane whose worker
# is busy.
LOOK_AROUND = 5.0

# So many claims that cannot be settled are set aside in one step.
UNSETTLED_AT_ONCE = 10


class _Turn(NamedTuple):
    """What a claimer learns from its service.

    claims -- new ones.
    more -- whether there may be more to claim at once; None if there was no
        room for claims.
    next_due -- when the next job of the schedule is due, or None.
    commit_every -- how many short jobs to run in one transaction.
    has_looked_around -- whether it claimed from all lanes, and need not go on
        with that: some of it was its own share, or there was nothing.
    watched -- where there was nothing to claim, and nothing is kept back: see
        IJobExecution.watched.
    """

    claims: list
    more: bool
    next_due: float | None
    commit_every: int
    has_looked_around: bool
    watched: frozenset | None


def _turn(engine, worker_id, known, run, late, rests, unsettled, room,
          threads, clock, own):
    """Do the bookkeeping of one step.  Return a _Turn.

    own -- see IJobExecution.claim.
    """
    now, scheduled = clock.now(), clock.is_good
    # Of those not known here the commit went through, though an error came
    # back.
    unknown = set(engine.workers.claimed_ids(worker_id)) - known
    if run or late or unknown:
        engine.settle(worker_id, [*run, *late, *unknown], run, now,
                      rests=rests)
    # If this process dies, those count as begun that come first.
    begun = sum(unsettled.values())
    if suspects.has_turn(worker_id) and not engine.workers.has_lost(worker_id):
        suspects.end_turn(worker_id)
    commit_every = engine.commit_every()
    claims = engine.claim(
        worker_id, room, now, threads * commit_every + begun, scheduled,
        functools.partial(suspects.take_turn, worker_id),
        own) if room else []
    engine.workers.put_last(
        worker_id, [jobid for jobid in unsettled if not unsettled[jobid]])
    next_due = engine.next_due()
    is_kept_back = next_due is not None and (
        next_due <= now or not scheduled)
    if is_kept_back:
        # Nothing to wait for: it cannot be claimed for another reason.
        next_due = None
    # Where all is of others, they have more to do than they can.
    has_looked_around = not own and (not claims or any(
        engine.workers.is_own(worker_id, claim.job) for claim in claims))
    more = engine.is_behind(worker_id) if room else None
    watched = None if claims or more or is_kept_back or not room else (
        engine.watched())
    return _Turn(claims, more, next_due, commit_every, has_looked_around,
                 watched)


def _time_to_look_around():
    # Workers that begin together must not go on meeting.
    return time.monotonic() + random.uniform(0.5, 1.0) * LOOK_AROUND


class Claimer:
    """Does the bookkeeping of claims; one thread at a time.

    That is the thread of the claimer.  While many short jobs wait, it is a
    runner, between two jobs.

    processor -- a SimpleProcessor.
    duties -- its Duties.
    team -- its Team, who runs what is claimed.
    next_due -- when the next job of the schedule is due, or None.
    watched -- see IJobExecution; None unless there was nothing to claim.
    turning_since -- when the bookkeeping began that is being done, in seconds
        of the monotonic clock, or None.
    """

    def __init__(self, processor, duties, team):
        self._processor = processor
        self._membership = processor.membership
        self._duties = duties
        self._team = team
        self._claims = team.claims
        self.next_due = self.watched = None
        self.become_another()
        # When it claims from all lanes again, by the monotonic clock.
        self._around = _time_to_look_around()

    def become_another(self):
        """Forget who did what in the process this one was forked from."""
        # Whoever does the bookkeeping.  To be taken by `with` only: that lets
        # it go whatever is raised in a thread, and wherever.
        self._turns = threading.Lock()
        # Whether there was more to claim than was claimed; whether it is a
        # runner who does the bookkeeping.
        self._more = self._in_passing = False
        self.turning_since = None

    def take(self):
        """Settle claims and make others.  Return whether there may be more."""
        with self._turns:
            return self._timed(self._take)

    def _take(self):
        self.watched = None
        run, late = self._claims.to_settle()
        outcome = outcome_of(self._turn, run, late)
        if outcome.failed and (run or late) and not outcome.retryable:
            # One of them may be to blame for that.
            self._settle_apart(run, late)
            run, late = [], []
            outcome = outcome_of(self._turn, run, late)
        if outcome.failed:
            self._more = False
            raise outcome.exception
        self._follow(outcome.value, run, late)
        return bool(outcome.value.more) and (
            self._claims.waiting <= self._team.low_water())

    @property
    def goes_on_well(self):
        """Whether there is more to claim, and nothing in the way."""
        return self._more and not (
            self._processor.idling.is_stopping
            or any(self._duties[name].is_failing
                   for name in ('find', 'write', 'take', 'run')))

    def take_in_passing(self):
        """Do in the thread of a runner what `take` does.

        Return whether the claimer is not needed.  It is, where that fails.
        """
        if not self.goes_on_well:
            return False
        if self._in_passing and self._turns.locked():
            # The runner that does it will know.
            return True
        with self._turns:
            # All of that may be otherwise by now.
            if self.goes_on_well and self._team.is_short():
                self._in_passing = True
                outcome = outcome_of(self._timed, self._take_more)
                self._in_passing = False
                self._more = self._more and not outcome.failed
                let_go(outcome.exception)
        # What others have run meanwhile is settled with the next claims, or by
        # the claimer.
        return not self._team.is_short()

    def _take_more(self):
        self.watched = None
        run, late = self._claims.to_settle()
        self._follow(self._turn(run, late), run, late)

    def find_again(self, call):
        """Call what looks for the service; nobody claims meanwhile.

        Who claims in another service must not do so as the worker of this.
        """
        with self._turns:
            return call()

    def forget_claims(self):
        """Forget what was claimed: the service is another one."""
        self._more = False
        self._claims.forget()

    def _timed(self, call):
        self.turning_since = time.monotonic()
        try:
            return call()
        finally:
            self.turning_since = None

    def _follow(self, turn, run, late):
        """Do here what a turn has committed."""
        self._claims.mark_settled(run, late)
        if turn.has_looked_around:
            self._around = _time_to_look_around()
        self.next_due, self.watched = turn.next_due, turn.watched
        self._team.commit_every = turn.commit_every
        if turn.claims:
            # Once for all of them, and before a transaction begins that runs
            # one.  If this fails, they are not known here, and handed back.
            self._membership.catch_up()
        self._claims.add(turn.claims)
        if turn.more is not None:
            self._more = turn.more

    def _turn(self, run, late):
        return self._membership.bookkeep(
            _turn, self._membership.worker_id, self._processor.known_ids(),
            run, late, self._claims.rests_of(run),
            dict(self._claims.unsettled), self._room(run, late),
            self._processor.maxThreads, self._membership.clock,
            time.monotonic() < self._around)

    def _room(self, run, late):
        """Return how many claims to make, once those are settled."""
        outstanding = (len(self._claims.ids) - len(self._claims.unsettled)
                       - len(run) - len(late))
        return max(0, self._team.batch() - outstanding)

    def _settle_apart(self, run, late):
        """Settle claims one by one; set those aside that cannot be."""
        failures = 0
        for jobid, begun in [*((jobid, True) for jobid in run),
                             *((jobid, False) for jobid in late)]:
            outcome = outcome_of(self._settle, jobid, begun)
            if outcome.failed and failures == UNSETTLED_AT_ONCE:
                # They are not to blame.
                return
            if outcome.failed:
                failures += 1
                self._claims.set_aside(jobid, begun)
                self._duties.report(outcome, 'settle')
            elif begun:
                self._claims.mark_settled([jobid], [])
            else:
                self._claims.mark_settled([], [jobid])

    def _settle(self, jobid, begun):
        self._membership.settle([jobid], [jobid] if begun else [])

    def settle_unsettled(self, jobid, begun):
        """Settle a claim for which that had failed."""
        self._settle(jobid, begun)
        self._claims.mark_unsettled(jobid)
