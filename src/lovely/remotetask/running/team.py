"""The threads of a processor that run jobs."""

import threading
import time

from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running.claims import Claims
from lovely.remotetask.running.claims import listed
from lovely.remotetask.running.execution import ENDED
from lovely.remotetask.running.execution import INTERRUPTED
from lovely.remotetask.running.execution import NOT_BEGUN
from lovely.remotetask.running.execution import UNSTORED
from lovely.remotetask.running.runner import Runner
from lovely.remotetask.running.tempo import LONG
from lovely.remotetask.running.tempo import Tempo


# Whatever a processor says is said by one logger.
log = journal('lovely.remotetask.processor')


class Team:
    """Runs the claims of a processor.

    processor -- a SimpleProcessor.
    duties -- its Duties.
    run_one -- called with a claim to run that alone.
    runners -- list of Runner.
    commit_every -- how many short jobs to run in one transaction.
    """

    def __init__(self, processor, duties, run_one):
        self._processor = processor
        self._membership = processor.membership
        self._duties = duties
        self._run_one = run_one
        self.runners = []
        self.claims = Claims()
        self.tempo = Tempo()
        self.commit_every = 1
        # Ids of the jobs that threads had when they died.
        self._buried = set()
        # All runners learn.
        self._learning = threading.Lock()
        # When it was looked whether claims were lost on the way.
        self._searched = float('-inf')

    @property
    def thread_name(self):
        return self._processor.thread_name

    # What its processor calls

    def look_after(self, now):
        """Start those that are missing; replace those that have died."""
        for runner in list(self.runners):
            if not runner.thread.is_alive():
                self._bury(runner)
        if not any(runner.claims for runner in self.runners):
            # Nobody waits for something to get well.
            self._duties.mark_well('run', now)
        if now - self._searched >= self._processor.heartbeat:
            self._searched = now
            self._look_for_missed()
        # What the dead had begun is counted before others begin anything.
        self._buried &= self.claims.ids.difference(self.claims.unsettled)
        while (len(self.runners) + len(self._buried)
               < self._processor.maxThreads
               and self._duties['threads'].is_due(now)):
            outcome = outcome_of(self._add_runner)
            if outcome.failed:
                self._duties.report(outcome, 'threads', now)
            else:
                self._duties.mark_well('threads', now)

    def _add_runner(self):
        taken = {runner.number for runner in self.runners}
        number = min(set(range(1, self._processor.maxThreads + 1)) - taken)
        self.runners.append(Runner(self, number))

    def _bury(self, runner):
        self.runners.remove(runner)
        self.claims.mark_run(runner.claims)
        self._buried.update(claim.job for claim in runner.claims)
        log.error('%s: a thread that runs jobs has died, and is replaced; '
                  'these count as failed: %s', self.thread_name,
                  listed(claim.job for claim in runner.claims))

    def _look_for_missed(self):
        missed = self.claims.missed(
            [claim.job for runner in self.runners
             for claim in list(runner.claims)])
        if missed:
            self.claims.mark_missed(missed)
            log.error('%s: no thread has these jobs any more; they count as '
                      'failed: %s', self.thread_name, listed(missed))

    @property
    def waits_for_settling(self):
        """Whether a thread is replaced as soon as its claims are settled."""
        return bool(self._buried)

    def free_and_busy(self):
        """Return how many threads have, and have not, time to begin."""
        late = time.monotonic() - LONG
        # A runner asks, too, while the claimer replaces another one.
        runners = list(self.runners)
        busy = sum(runner.is_busy_since(late) for runner in runners)
        return len(runners) - busy, busy

    def batch(self):
        """Return how many claims to hold; none while nobody runs them."""
        return self.tempo.batch(*self.free_and_busy()) if self.runners else 0

    def is_full(self):
        """Return whether those who run claims have as many as they can."""
        return 0 < self.batch() <= self.claims.outstanding

    def low_water(self):
        """Return how many claims are so few that others are fetched."""
        return self.tempo.low_water(*self.free_and_busy())

    def give_up_waiting(self):
        """Take claims back if nobody has time for them soon."""
        if not self.free_and_busy()[0]:
            self.claims.give_up_waiting()

    def end(self):
        """Let the threads end, each after its job."""
        self.claims.end(len(self.runners))

    def join(self, beat):
        """Wait until all have ended.

        beat -- called now and then meanwhile.
        """
        for runner in self.runners:
            while runner.thread.is_alive():
                runner.thread.join(self._processor.heartbeat / 4)
                beat()
            self.claims.mark_run(runner.claims)

    def lose_running(self):
        """Count what is being run as lost, and wait no longer for that."""
        claims = [claim for runner in list(self.runners)
                  for claim in list(runner.claims)]
        if claims:
            log.warning('%s: cut off, and counted as failed: %s',
                        self.thread_name,
                        listed(claim.job for claim in claims))
        for claim in claims:
            self.settle_run(claim, interrupted=False)
        self.claims.mark_run(claims)

    # What runners call

    def take_claims(self, taken):
        """Wait for claims to be run in one transaction.

        taken -- list; they are added to it.

        Return whether there were any: there are none at the end.
        """
        claim = self.claims.take()
        # Claims that are not begun when the processor is stopped are handed
        # back.
        if claim is None or self._processor.idling.is_stopping:
            return False
        taken.append(claim)
        # A job that was run before is run alone: it may be to blame that a
        # group failed.
        while (claim.attempt == 1 and len(taken) < self.commit_every
               and self.tempo.fits(len(taken)) and self.claims.waiting):
            claim = self.claims.take_another()
            if claim is None:
                break
            taken.append(claim)
        return True

    def run(self, claims):
        """Run claimed jobs; never raise.

        Return a mapping: what became of each claim, see
        execution.run_claimed.
        """
        if len(claims) == 1:
            outcome = outcome_of(self._run_one, claims[0])
            ends = {claims[0]: outcome.value or ENDED}
        else:
            outcome = outcome_of(self._membership.run_group, claims)
            ends = outcome.value
        if outcome.failed:
            # All of these claims count as begun, for all that is known.
            self._duties.report(outcome, 'run')
            return dict.fromkeys(claims, UNSTORED)
        self._mark_ends(ends)
        return {claim: ends.get(claim, UNSTORED) for claim in claims}

    def _mark_ends(self, ends):
        if not {NOT_BEGUN, INTERRUPTED}.intersection(ends.values()):
            self._duties.mark_well('run', time.monotonic())
            return
        # What is in the way is in the way of this, too.
        outcome = outcome_of(self._membership.check)
        if outcome.failed:
            self._duties.report(outcome, 'run')
        else:
            self._duties.mark_ill(
                'run', 'a job could not be begun, or how it ended could not '
                'be stored; the log tells more at the level DEBUG',
                time.monotonic())

    def settle_run(self, claim, interrupted):
        """Settle the claim of a job whose end could not be stored.

        interrupted -- whether because of what it stands on.

        Return an Outcome.
        """
        outcome = outcome_of(self._membership.settle_lost, claim, interrupted)
        if outcome.failed:
            self._duties.report(outcome, 'run')
        return outcome

    def pause(self, seconds):
        """Wait before something is tried again.  Return whether to go on."""
        return not self._processor.idling.wait_for_stop(seconds)

    def has_run(self, claims, ends=None):
        """Remember that jobs have been run; see Claims.mark_run."""
        self.claims.mark_run(claims, ends)

    def replenish(self):
        """Claim others if there is little left to run, or have it done."""
        if self.is_short() and not self._has_claimed_in_passing():
            self._processor.idling.run_short()

    def _has_claimed_in_passing(self):
        """Return whether a runner has claimed, and the claimer need not.

        Of short jobs, many wait: two threads of one interpreter would spend
        more time on each other than on claims.
        """
        return self.tempo.is_brisk and (
            self._processor.claimer.take_in_passing())

    def is_short(self):
        """Return whether others have to be claimed, or there are none."""
        # Besides whoever asks: they will take what is there.
        idle = sum(runner.began is None for runner in list(self.runners))
        return self.claims.waiting <= self.low_water() + idle

    def wake(self):
        """There may be something to do for who claims."""
        self._processor.wake()

    def learn(self, duration):
        """Take the seconds that a job took into account."""
        with self._learning:
            self.tempo.learn(duration)
