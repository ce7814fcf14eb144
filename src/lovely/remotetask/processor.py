"""Processors: the threads that take jobs and run them."""

import os
import threading
import time

import transaction
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running import quirks
from lovely.remotetask.running import settings
from lovely.remotetask.running import suspects
from lovely.remotetask.running import wire
from lovely.remotetask.running.claimer import Claimer
from lovely.remotetask.running.claims import listed
from lovely.remotetask.running.clock import FAR
from lovely.remotetask.running.duty import Pauses
from lovely.remotetask.running.execution import INTERRUPTED
from lovely.remotetask.running.execution import NOT_BEGUN
from lovely.remotetask.running.execution import ProcessorRequest
from lovely.remotetask.running.gate import CommitGate
from lovely.remotetask.running.gate import ProcessorStopped
from lovely.remotetask.running.idling import Idling
from lovely.remotetask.running.member import Member
from lovely.remotetask.running.registry import GRACE
from lovely.remotetask.running.registry import service_path
from lovely.remotetask.running.registry import start_processor
from lovely.remotetask.running.registry import stop_all
from lovely.remotetask.running.team import Team


# Published here, wherever it lives.
__all__ = ['CommitGate', 'MultiProcessor', 'ProcessorRequest',
           'ProcessorStopped', 'SimpleProcessor', 'service_path',
           'start_processor', 'stop_all']

log = journal(__name__)

# Seconds between two heartbeats, and how many may be missed.
HEARTBEAT = 15.0
MISSED_HEARTBEATS = 4

# Seconds that a step may take before others are to know.
STEP_PATIENCE = 10.0


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

    def __init__(self, db, servicePath, waitTime=1.0):
        settings.check_wait_time(waitTime)
        super().__init__(db, servicePath, HEARTBEAT, MISSED_HEARTBEATS)
        self.waitTime = waitTime
        self.thread = None
        self.idling = Idling(self)
        # By the name of the method: it may be replaced.
        self.team = Team(
            self, self.duties, lambda claim: self._execute(claim))
        self.claims = self.team.claims
        self.claimer = Claimer(self, self.duties, self.team)
        self._stepwise = {}
        # The greatest time for which a job was claimed step by step.
        self._latest = float('-inf')
        # Whether its thread could not hand back what was claimed, since the
        # gate was closed already.
        self._was_late = False
        # When the step began that is being done, or None.
        self._stepping_since = None
        self._pid = os.getpid()

    # Step by step, in the caller's thread

    def hasJobsWaiting(self):
        """Return whether a job could be claimed now."""
        return self.membership.bookkeep(_has_jobs)

    def claimNextJob(self, now=None):
        """Claim a job and commit that.  Return its id, or None."""
        now = time.time() if now is None else now
        # A clock that was wrong for a moment has scheduled the next times of
        # cron jobs.
        went_back = now < self._latest - FAR
        claims = self.membership.bookkeep(
            _claim, self.worker_id, 1, now, went_back)
        self._latest = now
        if claims:
            # Before a transaction begins that runs the job.
            self.membership.catch_up()
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
        end = self._execute(claim)
        self.membership.settle(
            [jobid], [jobid] if end != NOT_BEGUN else [],
            [jobid] if end == INTERRUPTED else [])
        return True

    def _execute(self, claim):
        return self.membership.run(claim)

    def known_ids(self):
        """Return the ids of all jobs that were claimed here."""
        return self.claims.ids.union(self._stepwise)

    # The claimer

    @property
    def trouble(self):
        """See IProcessor."""
        begun = [since for since in (
            self._stepping_since, self.claimer.turning_since)
            if since is not None]
        waited = time.monotonic() - min(begun) if begun else 0.0
        if waited > STEP_PATIENCE:
            # A session that never answers; others may do.
            return f'waits for the database, for {waited:.0f} s by now'
        return super().trouble

    @property
    def running(self):
        """See IProcessor."""
        if self.idling.is_stopping:
            return False
        thread = self.thread
        # Without a thread it is used step by step.
        return thread is None or thread.ident is None or thread.is_alive()

    def __call__(self):
        """See IProcessor."""
        self.idling.wait_to_begin()
        log.info('%s: started', self.thread_name)
        while not self.idling.is_stopping:
            self.idling.look()
            self._stepping_since = time.monotonic()
            outcome = outcome_of(self.step)
            self._stepping_since = None
            if outcome.failed:
                self.duties.report(outcome, 'take')
            if not outcome.value:
                self.idling.wait()
        self._finish()
        log.info('%s: stopped', self.thread_name)

    def step(self, now=None):
        """Do what there is to do.  Return whether there may be more.

        now -- seconds of the monotonic clock.

        What fails is told, and keeps nothing else from being done.
        """
        now = time.monotonic() if now is None else now
        self.team.look_after(now)
        if not self._can_write(now):
            return False
        self.look_after_others(now)
        if self.membership.clock.is_unsure:
            # What is run now would be dated wrongly.
            return False
        self.team.give_up_waiting()
        for jobid, begun in list(self.claims.unsettled.items()):
            self.duties.do('settle', now, self.claimer.settle_unsettled, jobid,
                     begun)
        _, late = self.claims.to_settle()
        more = self.duties.do('take', now, self.claimer.take)
        self._tell_others(set(late) - self.claims.ids)
        return bool(more or (self.team.waits_for_settling
                             and not self.duties['take'].is_failing))

    def _can_write(self, now):
        """Return whether jobs can be claimed at all; say if not."""
        if not self.duties['write'].is_due(now):
            return False
        if self.is_closed():
            self.stop_as_closed()
            return False
        databases = self.db, self.service_db
        # First: a client that has no server says that it is read-only.
        if any(map(quirks.is_away, databases)):
            self.duties.mark_ill(
                'write', 'the server of the database is away', now)
            return False
        if any(map(quirks.is_read_only, databases)):
            self.duties.mark_ill('write', 'the database is read-only', now)
            return False
        self.duties.mark_well('write', now)
        return True

    def is_idle(self):
        return not self.claims.ids

    def facts(self):
        return {'kind': type(self).__name__, 'threads': self.maxThreads}

    def find_again(self):
        return self.claimer.find_again(super().find_again)

    def forget_claims(self):
        self.claimer.forget_claims()

    # The end

    def _finish(self):
        """Let the runners end, then hand back what they did not run."""
        self.idling.end()
        self.team.end()
        self.team.join(self._beat)
        suspects.end_turn(self.membership.worker_id)
        self._hand_back(self.gate.commit)

    def _beat(self):
        now = time.monotonic()
        if self.is_silent(now):
            # Without a sign of life others would take this worker for dead.
            self.duties.do('sign', now, self._sign, now)

    def _hand_back(self, commit):
        if quirks.is_away(self.service_db):
            # Whoever sees that this process is gone takes them over.
            return
        left = self.known_ids().difference(self.claims.run)
        outcome = outcome_of(self.membership.leave, self.claims.run, commit)
        self._was_late = outcome.is_a(ProcessorStopped)
        if outcome.failed:
            self.duties.report(outcome, 'take')
        else:
            self._tell_others(left)

    def _tell_others(self, ids):
        """Tell other processes of jobs that are not claimed here any more."""
        if ids and self.place is not None:
            wire.tell(*self.place)

    @property
    def threads(self):
        """The threads that run jobs."""
        return [runner.thread for runner in list(self.team.runners)
                if runner.thread.is_alive()]

    def begin_after(self, txn):
        """See IProcessor."""
        self.idling.begin_after(txn)

    def start(self):
        """Run the claimer in a daemon thread; see IProcessor.

        Raise RuntimeError if the system gives no thread.
        """
        if os.getpid() != self._pid:
            # Made before this process was forked.
            self._pid = os.getpid()
            self.membership.become_another()
            self.idling.become_another()
            self.claimer.become_another()
        self.thread = threading.Thread(
            target=self._run_thread, name=self.thread_name, daemon=True)
        self.thread.running = True
        self.thread.start()

    def _run_thread(self):
        pauses = Pauses()
        try:
            while (outcome := outcome_of(self)).failed:
                # A step tells of its failures: another thread may have raised
                # this one wherever the claimer was.
                self.duties.report(outcome, 'take')
                if self.idling.is_stopping:
                    break
                self.idling.wait_for_stop(pauses.next())
        finally:
            # Whatever has ended it: it takes no more jobs.
            self.stop()
            self.idling.end()
            self.team.end()

    def wake(self):
        """Remember that there may be something to do."""
        self.idling.wake()

    def added(self, jobs):
        """See IProcessor."""
        self.wake()

    def stop(self):
        """See IProcessor."""
        if self.thread is not None:
            self.thread.running = False
        self.idling.stop()

    def join(self, deadline):
        """See IProcessor."""
        if self.thread not in (None, threading.current_thread()):
            self.thread.join(max(0, deadline - time.monotonic()))

    def close(self, timeout=GRACE):
        """See IProcessor."""
        if self.counts_cut_off and not quirks.is_away(self.service_db):
            # As long as something can be committed.
            self.team.lose_running()
        self.gate.close(timeout)
        is_alive = self.thread is not None and self.thread.is_alive()
        if is_alive or self._was_late:
            # Jobs that take too long; they cannot be completed any more.
            left = self.claims.ids.difference(self.claims.run)
            if left:
                log.warning('%s: cut off, and handed back: %s',
                            self.thread_name, listed(left))
            self._hand_back(transaction.commit)


class MultiProcessor(SimpleProcessor):
    """Runs up to maxThreads jobs at a time, each in a thread of its own."""

    def __init__(self, db, servicePath, waitTime=1.0, maxThreads=5):
        settings.check_max_threads(maxThreads)
        super().__init__(db, servicePath, waitTime)
        self.maxThreads = maxThreads


# Bookkeeping: what is called with the IJobExecution of the service

def _has_jobs(engine):
    return engine.service.hasJobsWaiting()


def _claim(engine, worker_id, limit, now, went_back):
    if went_back:
        engine.upkeep.correct_schedule(now)
    return engine.claim(worker_id, limit, now)


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
