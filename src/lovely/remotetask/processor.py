"""Processors: the threads that take jobs and run them."""

import collections
import contextlib
import logging
import queue
import threading
import time
from typing import NamedTuple

import transaction
import ZODB
import zope.interface

from lovely.remotetask import execution
from lovely.remotetask import group
from lovely.remotetask import interfaces
from lovely.remotetask import lag
from lovely.remotetask import machine
from lovely.remotetask import registry
from lovely.remotetask.execution import ProcessorRequest
from lovely.remotetask.gate import CommitGate
from lovely.remotetask.gate import ProcessorStopped
from lovely.remotetask.outcome import attempt
from lovely.remotetask.outcome import in_runner
from lovely.remotetask.registry import GRACE
from lovely.remotetask.registry import service_path
from lovely.remotetask.registry import start_processor
from lovely.remotetask.registry import stop_all


# Published here, wherever it lives.
__all__ = ['MultiProcessor', 'ProcessorRequest', 'SimpleProcessor',
           'service_path', 'start_processor', 'stop_all']

log = logging.getLogger(__name__)

# Seconds between two heartbeats, and how many may be missed.
HEARTBEAT = 15.0
MISSED_HEARTBEATS = 4

# A batch of claims is what can be begun within so many seconds.
HORIZON = 0.5
MAX_BATCH = 50

# Seconds between two looks at what other processes have committed.
LOOK = 0.02

# Seconds between two looks at what is kept long enough, and how many jobs
# are removed in one transaction.
PRUNE_INTERVAL = 60.0
PRUNE_AT_ONCE = 100
# Seconds until it does something else in between.
PRUNE_FOR = 1.0


class Runner:
    """A thread that runs claimed jobs, one after the other."""

    def __init__(self, processor, number):
        self._processor = processor
        self.began = None
        self.thread = threading.Thread(
            target=self._loop, daemon=True,
            name=f'runner-{number}.{processor.thread_name}')
        self.thread.start()

    def _loop(self):
        in_runner.set(True)
        processor = self._processor
        while (claims := processor.next_claims()) is not None:
            self.began = time.monotonic()
            processor.run(claims)
            duration = time.monotonic() - self.began
            self.began = None
            processor.has_run(claims, duration)

    def is_busy_since(self, moment):
        """Return whether it runs a job that was begun before a moment."""
        began = self.began
        return began is not None and began < moment


@zope.interface.implementer(interfaces.IProcessor)
class SimpleProcessor:
    """Runs one job at a time.  See IProcessor.

    db -- the ZODB.DB that holds the root folder.
    servicePath -- list of str, from the root folder to the service.
    waitTime -- seconds to wait at most before looking for jobs again.

    A claimer thread takes jobs and does the bookkeeping, so that it goes on
    while a job is run by another one.
    """

    maxThreads = 1

    # Called with the number of jobs whenever some were run; by a worker that
    # counts them.
    notify = None

    def __init__(self, db, servicePath, waitTime=1.0):
        self.db = db
        self.servicePath = list(servicePath)
        self.waitTime = waitTime
        self.gate = CommitGate()
        self.worker_id = machine.new_worker_id(self.thread_name)
        self.thread = None
        self.runners = []
        # Claims that wait for a runner; None ends a runner.
        self.claims = queue.SimpleQueue()
        self._stepwise = {}
        self._claimed = set()
        # Ids of jobs that were run, and of those that will not be, by order
        # of their ends.
        self._run = collections.deque()
        self._late = collections.deque()
        # Seconds that a job takes; None until one was run.
        self._average = None
        self._commit_every = 1
        self._beaten = self._looked = self._pruned = float('-inf')
        self._wake = threading.Event()
        self._seen = None
        self._next_due = None
        # Where the service itself is stored: another database, perhaps.  Not
        # known for sure before there is an oid.
        self.service_db = db
        self.service_oid = None
        self._trouble = None
        self._stopping = False

    # Step by step, in the caller's thread

    def hasJobsWaiting(self):
        """Return whether a job could be claimed now."""
        return self._bookkeep(_has_jobs)

    def claimNextJob(self, now=None):
        """Claim a job and commit that.  Return its id, or None."""
        claims, self.service_db = self._bookkeep(
            _claim, self.worker_id, 1, now)
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
        self._execute(claim)
        self._bookkeep(_settle, self.worker_id, [jobid], [jobid])
        return True

    def release(self):
        """Queue the jobs of workers again that are gone."""
        released = self._bookkeep(_release, self._is_alive)
        for jobid in released:
            log.warning('%s/%s: whoever ran it is gone',
                        '/'.join(self.servicePath), jobid)
        return released

    def prune(self, now=None):
        """Remove some jobs that were kept long enough.  Return how many."""
        return self._bookkeep(_prune, PRUNE_AT_ONCE, now)

    def _execute(self, claim):
        execution.run_claimed(
            self.db, self.servicePath, claim, self.gate.commit)

    def _bookkeep(self, call, *args):
        return execution.in_transaction(
            self.db, self.servicePath, self.gate.commit, call, *args)

    def _catch_up(self, claims):
        """See what was committed before the jobs that were claimed.

        Once for all of them, and before a transaction begins that runs one.
        """
        if claims:
            lag.catch_up(self.service_db)

    def _is_alive(self, worker):
        if worker.id == self.worker_id:
            return True
        if worker.id == registry.direct_worker_id():
            return True
        if machine.is_gone(worker.id):
            return False
        last = max(worker.heartbeat.time, worker._p_mtime or 0)
        return last > time.time() - HEARTBEAT * MISSED_HEARTBEATS

    # What runners call

    def next_claims(self):
        """Wait for claims to be run in one transaction; None at the end."""
        claim = self.claims.get()
        # Those not begun when the processor is stopped are handed back.
        if claim is None or not self.running:
            return None
        claims = [claim]
        # Long jobs are not put together: the first would wait for the last.
        # Nor are those that were run before, and may be to blame for that.
        while (claim.attempt == 1 and len(claims) < self._commit_every
               and len(claims) * (self._average or HORIZON) < HORIZON
               and not self.claims.empty()):
            claim = self._get_nowait()
            if claim is None:
                break
            claims.append(claim)
        return claims

    def _get_nowait(self):
        try:
            claim = self.claims.get_nowait()
        except queue.Empty:
            # Another runner was quicker.
            return None
        if claim is None:
            # The end; once more for the next turn.
            self.claims.put(None)
        return claim

    def run(self, claims):
        """Run claimed jobs; never raise."""
        if len(claims) == 1:
            outcome = attempt(self._execute, claims[0])
        else:
            outcome = attempt(
                group.run_group, self.db, self.servicePath, claims,
                self.gate.commit)
        if outcome.failed:
            # The jobs wait as before; they go back with the next batch.
            self._report(outcome)

    def has_run(self, claims, duration):
        """Note that jobs have been run."""
        self._run.extend(claim.job for claim in claims)
        if self.notify is not None:
            self.notify(len(claims))
        self._learn(duration / len(claims))
        # Besides this one, who will take what is there.
        idle = sum(runner.began is None for runner in self.runners) - 1
        if self.claims.qsize() <= self._low_water() + idle:
            self.wake()

    def _learn(self, duration):
        """Take a job's duration into the average that batches go by."""
        if self._average is None:
            # One job tells more than no guess; if it misleads, late claims
            # are handed back.
            self._average = duration
        self._average += (duration - self._average) / 8

    # The claimer

    @property
    def running(self):
        return not self._stopping

    def __call__(self):
        """See IProcessor."""
        log.info('%s: started', self.thread_name)
        while self.running:
            # Before the step: what is committed during it is not missed.
            self._seen = self._last_transaction()
            outcome = attempt(self.step)
            if outcome.failed:
                self._report(outcome)
            else:
                self._trouble = None
            if not outcome.value:
                self._wait()
        self._finish()
        log.info('%s: stopped', self.thread_name)

    def step(self):
        """Do what there is to do.  Return whether there may be more."""
        now = time.monotonic()
        while len(self.runners) < self.maxThreads:
            self.runners.append(Runner(self, len(self.runners) + 1))
        self._look_after_others(now)
        self._hand_over_late(now)
        # Not removed from there before it is committed.
        ended, late = list(self._run), list(self._late)
        known = self._claimed.union(self._stepwise)
        turn = self._bookkeep(
            _turn, self.worker_id, known, ended, late,
            self._room(len(ended) + len(late)), self.maxThreads,
            self._beats(now))
        self.service_db, self.service_oid = turn.db, turn.oid
        self._next_due = turn.next_due
        self._commit_every = turn.commit_every
        for waiting, settled in ((self._run, ended), (self._late, late)):
            for jobid in settled:
                waiting.popleft()
                self._claimed.discard(jobid)
        # If this fails, they are not known here, and handed back.
        self._catch_up(turn.claims)
        for claim in turn.claims:
            # With an older claim on it, one that was taken away, the job is
            # in line already; both are settled when that has its turn.
            if claim.job not in self._claimed:
                self._claimed.add(claim.job)
                self.claims.put(claim)
        return turn.more and self.claims.qsize() <= self._low_water()

    def _room(self, settled):
        outstanding = len(self._claimed) - settled
        return max(0, self._batch() - outstanding)

    def _batch(self):
        """Return how many claims to hold."""
        late = time.monotonic() - 2 * HORIZON
        free = sum(not runner.is_busy_since(late) for runner in self.runners)
        busy = len(self.runners) - free
        average = HORIZON if self._average is None else self._average
        likely = int(free * HORIZON / max(average, 1e-4))
        return busy + min(MAX_BATCH, max(free, likely))

    def _low_water(self):
        return self._batch() // 5

    def _hand_over_late(self, now):
        """Take claims back that no runner takes, as all have long jobs."""
        late = now - 2 * HORIZON
        if all(runner.is_busy_since(late) for runner in self.runners):
            with contextlib.suppress(queue.Empty):
                while True:
                    self._late.append(self.claims.get_nowait().job)

    def _beats(self, now):
        if not self._claimed or now - self._beaten < HEARTBEAT:
            return False
        self._beaten = now
        return True

    def _look_after_others(self, now):
        if now - self._looked >= HEARTBEAT:
            self.release()
            self._looked = now
        if now - self._pruned >= PRUNE_INTERVAL:
            end = time.monotonic() + PRUNE_FOR
            while self.prune() == PRUNE_AT_ONCE:
                if not self.running or time.monotonic() >= end:
                    # The rest has time; what this thread does besides has
                    # not.
                    return
            self._pruned = now

    def _report(self, outcome):
        if isinstance(outcome.exception, ProcessorStopped):
            return
        # What one meets then depends on where the thread was.
        if _is_closed(self.db) or _is_closed(self.service_db):
            if self.running:
                log.info('%s: the database was closed', self.thread_name)
            self.stop()
        elif isinstance(outcome.exception, interfaces.NoSuchService):
            # Not committed yet, or removed.
            log.debug('%s: %s', self.thread_name, outcome.error)
        elif outcome.retryable:
            log.warning('%s: conflicts, or a server that was away; trying '
                        'again: %s', self.thread_name, outcome.error)
        elif outcome.errorClass == self._trouble:
            # A database that is away for an hour need not fill the log.
            log.warning('%s: still cannot work: %s',
                        self.thread_name, outcome.error)
        else:
            self._trouble = outcome.errorClass
            log.error('%s: could not work, trying again\n%s',
                      self.thread_name, outcome.traceback)

    def _wait(self):
        """Wait until there may be something to do."""
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
                and self.claims.qsize() <= self._low_water()
                and self._last_transaction() != self._seen)

    def _longest_wait(self):
        waits = [self.waitTime]
        if self._next_due is not None:
            waits.append(max(0, self._next_due - time.time()))
        if self._claimed:
            # Somebody else would take this one for dead.
            waits.append(HEARTBEAT)
        return min(waits)

    def _last_transaction(self):
        """Return the last transaction, if that can be told at no cost."""
        storage = getattr(self.service_db, 'storage', None)
        # A ZEO client is told of each; to ask others may take a request.
        if not type(storage).__module__.startswith('ZEO.'):
            return None
        return storage.lastTransaction()

    def _finish(self):
        """Let the runners end, then hand back what they did not run."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.claims.get_nowait()
        for _ in self.runners:
            self.claims.put(None)
        for runner in self.runners:
            runner.thread.join()
        self._hand_back(self.gate.commit)

    def _hand_back(self, commit):
        outcome = attempt(
            execution.in_transaction, self.db, self.servicePath, commit,
            _stop_worker, self.worker_id)
        if outcome.failed:
            self._report(outcome)

    @property
    def trouble(self):
        """Why it cannot do its work at the moment, or None."""
        if not self.running:
            return None
        dead = sum(not runner.thread.is_alive() for runner in self.runners)
        if dead:
            return f'{dead} of {len(self.runners)} threads have ended'
        return self._trouble and f'cannot work: {self._trouble}'

    @property
    def thread_name(self):
        return '.'.join(['remotetasks', *self.servicePath])

    @property
    def threads(self):
        """The threads that run jobs."""
        return [runner.thread for runner in self.runners
                if runner.thread.is_alive()]

    def start(self):
        """Run the claimer in a daemon thread."""
        self.thread = threading.Thread(
            target=self, name=self.thread_name, daemon=True)
        self.thread.running = True
        self.thread.start()

    def wake(self):
        """There may be something to do."""
        self._wake.set()

    def added(self, jobs):
        """See IProcessor."""
        self.wake()

    def stop(self):
        """Take no more jobs."""
        self._stopping = True
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
            left = sorted(self._claimed.difference(self._run))
            log.warning('%s: cut off, and handed back: %s', self.thread_name,
                        ', '.join(map(str, left)))
            self._hand_back(transaction.commit)


class MultiProcessor(SimpleProcessor):
    """Runs up to maxThreads jobs at a time, each in a thread of its own."""

    def __init__(self, db, servicePath, waitTime=1.0, maxThreads=5):
        super().__init__(db, servicePath, waitTime)
        self.maxThreads = maxThreads


def _is_closed(db):
    # There is no flag.  First thing, `close` replaces itself on the DB.
    return 'close' in vars(db)


def _has_jobs(service):
    return service.hasJobsWaiting()


def _claim(service, worker_id, limit, now):
    return service.claim(worker_id, limit, now), service._p_jar.db()


def _settle(service, worker_id, jobids, begun):
    service.settle(worker_id, jobids, begun)


class _Turn(NamedTuple):
    """What a claimer learns from its service.

    claims -- new ones.
    more -- whether there may be more to claim at once.
    next_due -- when the next job of the schedule is due, or None.
    commit_every -- how many short jobs to run in one transaction.
    db, oid -- of the service.
    """

    claims: list
    more: bool
    next_due: float | None
    commit_every: int
    db: ZODB.DB
    oid: bytes


def _turn(service, worker_id, known, ended, late, room, threads, beats):
    """Do the bookkeeping of one step.  Return a _Turn."""
    # Of those not known here the commit went through, though an error came
    # back.
    unknown = set(service.held(worker_id)) - known
    if ended or late or unknown:
        service.settle(worker_id, [*ended, *late, *unknown], ended)
    if beats:
        service.beat(worker_id)
    now = time.time()
    commit_every = service.commit_every()
    claims = service.claim(
        worker_id, room, now, threads * commit_every) if room else []
    next_due = service.next_due()
    if next_due is not None and next_due <= now:
        # Nothing to wait for: it cannot be claimed for another reason.
        next_due = None
    return _Turn(
        claims, bool(room) and service.is_behind(), next_due, commit_every,
        service._p_jar.db(), service._p_oid)


def _release(service, is_alive):
    return service.release(is_alive)


def _prune(service, limit, now):
    return service.prune(limit, now)


def _stop_worker(service, worker_id):
    service.stop_worker(worker_id)


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
            return self._class(db, servicePath, waitTime)
        return self._class(db, servicePath, waitTime, maxThreads)

    def check(self, maxThreads):
        """See IProcessorFactory."""
        if self._single_threaded and maxThreads != 1:
            raise ValueError(
                f'this processor runs one job at a time, not {maxThreads}; '
                f'use the processor "multi" or leave out "threads".')


simple_factory = ProcessorFactory(SimpleProcessor, single_threaded=True)
multi_factory = ProcessorFactory(MultiProcessor, single_threaded=False)
