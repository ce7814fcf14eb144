"""Processors: the threads that take jobs and run them."""

import logging
import os
import threading
import time
import weakref
from typing import NamedTuple

import transaction
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask import quirks
from lovely.remotetask import settings
from lovely.remotetask.claims import Claims
from lovely.remotetask.clock import FAR
from lovely.remotetask.clock import SOON
from lovely.remotetask.execution import ENDED
from lovely.remotetask.execution import INTERRUPTED
from lovely.remotetask.execution import NOT_BEGUN
from lovely.remotetask.execution import UNSTORED
from lovely.remotetask.execution import ProcessorRequest
from lovely.remotetask.gate import CommitGate
from lovely.remotetask.gate import ProcessorStopped
from lovely.remotetask.member import Member
from lovely.remotetask.outcome import attempt
from lovely.remotetask.outcome import in_runner
from lovely.remotetask.registry import GRACE
from lovely.remotetask.registry import service_path
from lovely.remotetask.registry import start_processor
from lovely.remotetask.registry import stop_all
from lovely.remotetask.runner import Runner
from lovely.remotetask.tempo import LONG
from lovely.remotetask.tempo import Tempo


# Published here, wherever it lives.
__all__ = ['CommitGate', 'MultiProcessor', 'ProcessorRequest',
           'ProcessorStopped', 'SimpleProcessor', 'service_path',
           'start_processor', 'stop_all']

log = logging.getLogger(__name__)

# Seconds between two heartbeats, and how many may be missed.
HEARTBEAT = 15.0
MISSED_HEARTBEATS = 4

# Seconds between two looks at what other processes have committed.
LOOK = 0.02

# Seconds that an idle processor waits at least, whatever its waitTime.
LEAST_WAIT = 0.05

# Seconds that a step may take before others are to know.
STEP_PATIENCE = 10.0

# So many claims that cannot be settled are set aside in one step.
UNSETTLED_AT_ONCE = 10


@zope.interface.implementer(interfaces.IProcessor)
class SimpleProcessor(Member):
    """Runs one job at a time.  See IProcessor.

    db -- the ZODB.DB that holds the root folder.
    servicePath -- list of str, from the root folder to the service.
    waitTime -- seconds to wait at most before looking for jobs again.

    Raise ValueError if the time is none.

    A claimer thread takes jobs and does the bookkeeping, so that it goes on
    while a job is run by another one.
    """

    maxThreads = 1

    # Called with the number of jobs whenever some were run; by a worker that
    # counts them.
    notify = None

    def __init__(self, db, servicePath, waitTime=1.0):
        settings.check_wait_time(waitTime)
        super().__init__(db, servicePath, HEARTBEAT, MISSED_HEARTBEATS)
        self.waitTime = waitTime
        self.thread = None
        self.runners = []
        self.claims = Claims()
        self.tempo = Tempo()
        self._commit_every = 1
        self._stepwise = {}
        # The greatest time for which a job was claimed step by step.
        self._latest = float('-inf')
        # Ids of the jobs that threads had when they died.
        self._buried = set()
        # When it was looked whether claims were lost on the way.
        self._searched = float('-inf')
        # When the step began that is being done, or None.
        self._stepping_since = None
        self._seen = None
        self._next_due = None
        self._wake = threading.Event()
        self._stopped = threading.Event()
        # Set when the claimer may begin.
        self._may_begin = threading.Event()
        self._may_begin.set()
        self._pid = os.getpid()

    # Step by step, in the caller's thread

    def hasJobsWaiting(self):
        """Return whether a job could be claimed now."""
        return self._bookkeep(_has_jobs)

    def claimNextJob(self, now=None):
        """Claim a job and commit that.  Return its id, or None."""
        now = time.time() if now is None else now
        # A clock that was wrong for a moment has scheduled the next times of
        # cron jobs.
        went_back = now < self._latest - FAR
        claims = self._bookkeep(_claim, self.worker_id, 1, now, went_back)
        self._latest = now
        self._catch_up(claims)
        for claim in claims:
            self._stepwise[claim.job] = claim
            return claim.job
        return None

    def processNext(self, jobid=None):
        """See IProcessor."""
        if jobid is None:
            jobid = self.claimNextJob()
        if jobid is None:
            return False
        claim = self._stepwise.pop(jobid, None)
        if claim is None:
            # Run already.
            return False
        begun = self._execute(claim) != NOT_BEGUN
        self.membership.settle([jobid], [jobid] if begun else [])
        return True

    def _execute(self, claim):
        return self.membership.run(claim)

    def _catch_up(self, claims):
        """See what was committed before the jobs that were claimed.

        Once for all of them, and before a transaction begins that runs one.
        """
        if claims:
            self.membership.catch_up()

    @property
    def _claimed(self):
        """The ids of the jobs that are claimed."""
        return self.claims.ids

    # What runners call

    def take_claims(self, taken):
        """Wait for claims to be run in one transaction.

        taken -- list; they are added to it.

        Return whether there were any: there are none at the end.
        """
        claim = self.claims.take()
        # Those not begun when the processor is stopped are handed back.
        if claim is None or self._is_stopping:
            return False
        taken.append(claim)
        # Those that were run before may be to blame for that.
        while (claim.attempt == 1 and len(taken) < self._commit_every
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
            outcome = attempt(self._execute, claims[0])
            ends = {claims[0]: outcome.value or ENDED}
        else:
            outcome = attempt(self.membership.run_group, claims)
            ends = outcome.value
        if outcome.failed:
            # They count as begun, for all that is known.
            self._report(outcome, 'run')
            return dict.fromkeys(claims, UNSTORED)
        self._note_ends(ends)
        return {claim: ends.get(claim, UNSTORED) for claim in claims}

    def _note_ends(self, ends):
        if not {NOT_BEGUN, INTERRUPTED}.intersection(ends.values()):
            self._note_well('run', time.monotonic())
            return
        # What is in the way is in the way of this, too.
        outcome = attempt(self.membership.check)
        if outcome.failed:
            self._report(outcome, 'run')
        else:
            self._note_ill('run', 'a job could not be begun, or how it ended '
                           'could not be stored; the log tells more at the '
                           'level DEBUG', time.monotonic())

    def renew(self, claim):
        """Have a run counted that was cut off, and claim the job again.

        Return an Outcome: another claim, or None.
        """
        outcome = attempt(self.membership.renew, claim)
        if outcome.failed:
            self._report(outcome, 'run')
        return outcome

    def settle_run(self, claim):
        """Settle the claim of a job whose end could not be stored.

        Return an Outcome.
        """
        outcome = attempt(self._settle, claim.job, True)
        if outcome.failed:
            self._report(outcome, 'run')
        return outcome

    def pause(self, seconds):
        """Wait before something is tried again.  Return whether to go on."""
        return not self._stopped.wait(seconds)

    def has_run(self, claims):
        """Note that jobs have been run."""
        self.claims.note_run(claims)
        if self.notify is not None:
            attempt(self.notify, len(claims))
        # Besides this one, who will take what is there.
        idle = sum(runner.began is None for runner in list(self.runners))
        if self.claims.waiting <= self._low_water() + idle:
            self.wake()

    def learn(self, duration):
        """Take the seconds that a job took into account."""
        self.tempo.learn(duration)

    # The claimer

    @property
    def trouble(self):
        """See IProcessor."""
        since = self._stepping_since
        waited = 0.0 if since is None else time.monotonic() - since
        if waited > STEP_PATIENCE:
            # A session that never answers; others may do.
            return f'waits for the database, for {waited:.0f} s by now'
        return super().trouble

    @property
    def _is_stopping(self):
        return self._stopped.is_set()

    @property
    def running(self):
        """See IProcessor."""
        if self._is_stopping:
            return False
        thread = self.thread
        # Without a thread it is used step by step.
        return thread is None or thread.ident is None or thread.is_alive()

    def __call__(self):
        """See IProcessor."""
        self._may_begin.wait()
        log.info('%s: started', self.thread_name)
        while not self._is_stopping:
            # Before the step: what is committed during it is not missed.
            self._seen = quirks.last_transaction_heard_of(self.service_db)
            self._stepping_since = time.monotonic()
            outcome = attempt(self.step)
            self._stepping_since = None
            if outcome.failed:
                self._report(outcome, 'take')
            if not outcome.value:
                self._wait()
        self._finish()
        log.info('%s: stopped', self.thread_name)

    def step(self, now=None):
        """Do what there is to do.  Return whether there may be more.

        now -- seconds of the monotonic clock.

        What fails is told, and keeps nothing else from being done.
        """
        now = time.monotonic() if now is None else now
        self._look_after_runners(now)
        if not self._can_write(now):
            return False
        self._look_after_others(now)
        if all(runner.is_busy_since(now - LONG) for runner in self.runners):
            # All have long jobs: others may have time.
            self.claims.give_up_waiting()
        for jobid, begun in list(self.claims.unsettled.items()):
            self._do('settle', now, self._settle_one, jobid, begun)
        more = self._do('take', now, self._take)
        return bool(more or (
            self._buried and not self._duties['take'].is_failing))

    def _look_after_runners(self, now):
        """Start those that are missing; replace those that have died."""
        for runner in list(self.runners):
            if not runner.thread.is_alive():
                self._bury(runner)
        if not any(runner.claims for runner in self.runners):
            # Nobody waits for something to get well.
            self._note_well('run', now)
        if now - self._searched >= self.heartbeat:
            self._searched = now
            self._look_for_missed()
        # What the dead had begun is counted before others begin anything.
        self._buried &= self.claims.ids.difference(self.claims.unsettled)
        while (len(self.runners) + len(self._buried) < self.maxThreads
               and self._duties['threads'].is_due(now)):
            outcome = attempt(self._add_runner)
            if outcome.failed:
                self._report(outcome, 'threads', now)
            else:
                self._note_well('threads', now)

    def _add_runner(self):
        taken = {runner.number for runner in self.runners}
        number = min(set(range(1, self.maxThreads + 1)) - taken)
        self.runners.append(Runner(self, number))

    def _bury(self, runner):
        self.runners.remove(runner)
        self.claims.note_run(runner.claims)
        self._buried.update(claim.job for claim in runner.claims)
        log.error('%s: a thread that runs jobs has died, and is replaced; '
                  'these count as failed: %s', self.thread_name,
                  _listed(claim.job for claim in runner.claims))

    def _can_write(self, now):
        """Return whether jobs can be claimed at all; say if not."""
        if not self._duties['write'].is_due(now):
            return False
        if self._is_closed():
            self._stop_as_closed()
            return False
        if any(quirks.is_read_only(db) for db in (self.db, self.service_db)):
            self._note_ill('write', 'the database is read-only', now)
            return False
        self._note_well('write', now)
        return True

    def _beats(self, now):
        return bool(self.claims.ids) and super()._beats(now)

    def _forget_claims(self):
        self.claims.forget()

    def _look_for_missed(self):
        missed = self.claims.missed(
            [claim.job for runner in self.runners for claim in runner.claims])
        if missed:
            self.claims.note_missed(missed)
            log.error('%s: no thread has these jobs any more; they count as '
                      'failed: %s', self.thread_name, _listed(missed))

    # Claiming

    def _take(self):
        """Settle claims and make others.  Return whether there may be more."""
        run, late = self.claims.to_settle()
        outcome = attempt(self._turn, run, late)
        if outcome.failed and (run or late) and not outcome.retryable:
            # One of them may be to blame for that.
            self._settle_apart(run, late)
            run, late = [], []
            outcome = attempt(self._turn, run, late)
        if outcome.failed:
            raise outcome.exception
        turn = outcome.value
        self.claims.note_settled(run, late)
        self._next_due = turn.next_due
        self._commit_every = turn.commit_every
        # If this fails, they are not known here, and handed back.
        self._catch_up(turn.claims)
        self.claims.add(turn.claims)
        return turn.more and self.claims.waiting <= self._low_water()

    def _turn(self, run, late):
        return self._bookkeep(
            _turn, self.worker_id, self.claims.ids.union(self._stepwise),
            run, late, self._room(run, late), self.maxThreads,
            self.membership.clock)

    def _room(self, run, late):
        if not self.runners:
            return 0
        free = self.tempo.batch(*self._free_and_busy())
        return max(0, free - (
            len(self.claims.ids) - len(self.claims.unsettled)
            - len(run) - len(late)))

    def _free_and_busy(self):
        """Return how many threads have, and have not, time to begin."""
        late = time.monotonic() - LONG
        busy = sum(runner.is_busy_since(late) for runner in self.runners)
        return len(self.runners) - busy, busy

    def _low_water(self):
        return self.tempo.low_water(*self._free_and_busy())

    def _settle_apart(self, run, late):
        """Settle claims one by one; set those aside that cannot be."""
        failures = 0
        for jobid, begun in [*((jobid, True) for jobid in run),
                             *((jobid, False) for jobid in late)]:
            outcome = attempt(self._settle, jobid, begun)
            if outcome.failed and failures == UNSETTLED_AT_ONCE:
                # They are not to blame.
                return
            if outcome.failed:
                failures += 1
                self.claims.set_aside(jobid, begun)
                self._report(outcome, 'settle')
            elif begun:
                self.claims.note_settled([jobid], [])
            else:
                self.claims.note_settled([], [jobid])

    def _settle(self, jobid, begun):
        self.membership.settle([jobid], [jobid] if begun else [])

    def _settle_one(self, jobid, begun):
        self._settle(jobid, begun)
        self.claims.note_unsettled(jobid)

    # Waiting, and the end

    def _wait(self):
        """Wait until there may be something to do."""
        pause = max(self._duties[name].due for name in (
            'find', 'write', 'take')) - time.monotonic()
        if pause > 0:
            # Something is wrong; that jobs are added helps nothing.
            self._stopped.wait(pause)
            return
        end = time.monotonic() + self._longest_wait()
        seen = self._seen
        while (left := end - time.monotonic()) > 0:
            if self._wake.wait(left if seen is None else min(left, LOOK)):
                break
            if self._has_news():
                break
        self._wake.clear()

    def _has_news(self):
        """Return whether to see what was committed since the last step."""
        # While there is enough to run, it was mostly this process itself;
        # and each step may meet those of other processors.
        return (self._seen is not None
                and self.claims.waiting <= self._low_water()
                and quirks.last_transaction_heard_of(self.service_db)
                != self._seen)

    def _longest_wait(self):
        waits = [max(self.waitTime, LEAST_WAIT)]
        clock = self.membership.clock
        if self._next_due is not None:
            waits.append(max(0.0, self._next_due - clock.now()))
        if self.claims.ids or len(list(self.membership.watch)) > 1:
            # Others look for signs of life, or this one for theirs.
            waits.append(self.heartbeat)
        if not clock.trusted and clock.ahead is None:
            waits.append(SOON)
        if self._duties['threads'].is_failing:
            waits.append(max(
                0.0, self._duties['threads'].due - time.monotonic()))
        return min(waits)

    def _finish(self):
        """Let the runners end, then hand back what they did not run."""
        self.claims.end(len(self.runners))
        for runner in self.runners:
            while runner.thread.is_alive():
                runner.thread.join(self.heartbeat / 4)
                now = time.monotonic()
                if self._beats(now):
                    # Others would take this one for dead.
                    self._do('sign', now, self.membership.sign)
            self.claims.note_run(runner.claims)
        self._hand_back(self.gate.commit)

    def _hand_back(self, commit):
        outcome = attempt(self.membership.leave, self.claims.run, commit)
        if outcome.failed:
            self._report(outcome)

    @property
    def threads(self):
        """The threads that run jobs."""
        return [runner.thread for runner in list(self.runners)
                if runner.thread.is_alive()]

    def begin_after(self, txn):
        """Do nothing before a transaction has ended; before `start`.

        It has changed what this one would change, too.
        """
        self._may_begin.clear()
        txn.addAfterCommitHook(_let, (self._may_begin,))
        txn.addAfterAbortHook(_let, (True, self._may_begin))
        # One that is never ended.
        weakref.finalize(txn, self._may_begin.set)

    def start(self):
        """Run the claimer in a daemon thread.

        Raise RuntimeError if the system gives no thread.
        """
        if os.getpid() != self._pid:
            # Made before this process was forked.
            self._pid = os.getpid()
            self.membership.become_another()
        self.thread = threading.Thread(
            target=self._run_thread, name=self.thread_name, daemon=True)
        self.thread.running = True
        self.thread.start()

    def _run_thread(self):
        # Nobody interrupts this thread from a keyboard, either.
        in_runner.set(True)
        try:
            self()
        finally:
            # Whatever has ended it: it takes no more jobs.
            self.stop()
            self.claims.end(len(self.runners))

    def wake(self):
        """There may be something to do."""
        self._wake.set()

    def added(self, jobs):
        """See IProcessor."""
        self.wake()

    def stop(self):
        """Take no more jobs."""
        self._stopped.set()
        self._may_begin.set()
        if self.thread is not None:
            self.thread.running = False
        self.wake()

    def join(self, deadline):
        """Wait until nothing runs; at most until then (monotonic time)."""
        if self.thread not in (None, threading.current_thread()):
            self.thread.join(max(0, deadline - time.monotonic()))

    def close(self, timeout=GRACE):
        """Commit nothing any more; wait for what is being committed."""
        self.gate.close(timeout)
        if self.thread is not None and self.thread.is_alive():
            # Jobs that take too long; they cannot be completed any more.
            left = self.claims.ids.difference(self.claims.run)
            log.warning('%s: cut off, and handed back: %s', self.thread_name,
                        _listed(left))
            self._hand_back(transaction.commit)


class MultiProcessor(SimpleProcessor):
    """Runs up to maxThreads jobs at a time, each in a thread of its own."""

    def __init__(self, db, servicePath, waitTime=1.0, maxThreads=5):
        settings.check_max_threads(maxThreads)
        super().__init__(db, servicePath, waitTime)
        self.maxThreads = maxThreads


def _let(committed, event):
    event.set()


def _listed(ids):
    return ', '.join(map(str, sorted(ids)))


# Bookkeeping: what is called with the service

def _has_jobs(service):
    return service.hasJobsWaiting()


def _claim(service, worker_id, limit, now, went_back):
    if went_back:
        service.correct_schedule(now)
    return service.claim(worker_id, limit, now)


class _Turn(NamedTuple):
    """What a claimer learns from its service.

    claims -- new ones.
    more -- whether there may be more to claim at once.
    next_due -- when the next job of the schedule is due, or None.
    commit_every -- how many short jobs to run in one transaction.
    """

    claims: list
    more: bool
    next_due: float | None
    commit_every: int


def _turn(service, worker_id, known, run, late, room, threads, clock):
    """Do the bookkeeping of one step.  Return a _Turn."""
    now, scheduled = clock.now(), clock.is_good
    # Of those not known here the commit went through, though an error came
    # back.
    unknown = set(service.held(worker_id)) - known
    if run or late or unknown:
        service.settle(worker_id, [*run, *late, *unknown], run, now)
    commit_every = service.commit_every()
    claims = service.claim(
        worker_id, room, now, threads * commit_every, scheduled
    ) if room else []
    next_due = service.next_due()
    if next_due is not None and (next_due <= now or not scheduled):
        # Nothing to wait for: it cannot be claimed for another reason.
        next_due = None
    return _Turn(claims, bool(room) and service.is_behind(), next_due,
                 commit_every)


@zope.interface.implementer(interfaces.IProcessorFactory)
class ProcessorFactory:
    """See IProcessorFactory."""

    runsJobs = True

    def __init__(self, class_, single_threaded):
        self._class = class_
        self._single_threaded = single_threaded

    def __call__(self, db, servicePath, waitTime=1.0, maxThreads=1):
        """See IProcessorFactory."""
        if self._single_threaded:
            self.check(maxThreads)
            return self._class(db, servicePath, waitTime)
        return self._class(db, servicePath, waitTime, maxThreads)

    def check(self, maxThreads):
        """See IProcessorFactory."""
        settings.check_max_threads(maxThreads)
        if self._single_threaded and maxThreads != 1:
            raise ValueError(
                f'this processor runs one job at a time, not {maxThreads}; '
                f'use the processor "multi" or leave out "threads".')


simple_factory = ProcessorFactory(SimpleProcessor, single_threaded=True)
multi_factory = ProcessorFactory(MultiProcessor, single_threaded=False)
