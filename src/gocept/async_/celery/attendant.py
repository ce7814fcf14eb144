"""What a process of a Celery worker does for one service.

Celery brings the addresses of jobs; the database says what there is to do.
"""

import threading
import time

import transaction

from gocept.async_.celery import ends
from gocept.async_.celery import runs
from gocept.async_.celery.doubts import Doubts
from gocept.async_.celery.firstruns import FirstRuns
from gocept.async_.celery.patience import Patience
from gocept.async_.celery.processor import CeleryProcessor
from gocept.async_.celery.processor import address
from gocept.async_.celery.sweep import KIND
from gocept.async_.celery.sweep import Sweep
from lovely.remotetask import interfaces
from lovely.remotetask import machine
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running import execution
from lovely.remotetask.running import lag
from lovely.remotetask.running import registry
from lovely.remotetask.running.clock import SOON
from lovely.remotetask.running.duty import Duty
from lovely.remotetask.running.gate import ProcessorStopped
from lovely.remotetask.running.session import opened_engine


# How many jobs are looked at in one round, of those that others may run.
DOUBTS_AT_ONCE = 500

# So many claims of jobs that were run are settled before the next round.
SETTLE_AT = 50


class Interrupted(Exception):
    """What a job stands on has failed; the job is to be run once more."""


class Attendant(CeleryProcessor):
    """Runs jobs of one service as messages tell, and looks after the rest."""

    def __init__(self, db, servicePath):
        super().__init__(db, servicePath)
        # This guards the record of this worker: threads that run jobs make
        # claims, and the rounds settle them.
        self._record = threading.Lock()
        # One thread compares clocks; others wait for what it finds out.
        self._comparing = threading.Lock()
        self._runs = runs.Runs()
        self._patience = Patience()
        self._sweep = Sweep(self)
        self._first_runs = FirstRuns(self.membership)
        self._doubts = Doubts()
        self.duties |= {'end': Duty('settle jobs that were run'),
                         'seats': Duty('claim jobs that run'),
                         'doubts': Duty('find out who runs a job'),
                         'sweep': Duty('send jobs that wait')}

    @property
    def thread_name(self):
        return KIND + super().thread_name

    def facts(self):
        return {**super().facts(), **self._sweep.facts}

    # In threads that run jobs

    def run_job(self, jobid, tid, first=False):
        """Run a job.  Return whether it was there to be run.

        tid -- bytes, the transaction that has to be seen before.
        first -- whether no message of the job can have come before: then it
            need not be claimed.

        Raise Interrupted, or what it is, if the database or the process
        cannot be worked with.
        """
        self._patience.wait(
            lambda: self._has_seen(tid, jobid), tid,
            lambda: lag.ask(self.service_db))
        self._know_time()
        with self._record:
            if not self._runs.begin(jobid):
                return False
        end_run = self._runs.end_unclaimed
        try:
            self._first_runs.count_before(jobid)
            end = self._first_runs.run(jobid) if first else None
            if end is None:
                end_run = self._runs.end
                end = self._run_claimed(jobid, first)
        finally:
            with self._record:
                end_run(jobid)
        if self._runs.ended >= SETTLE_AT:
            # The next claims would write so many old ones again.
            outcome_of(self.settle)
        return self._judge(jobid, end)

    def _know_time(self):
        """Compare the clock, if that is to be done before a job is dated.

        Raise what another try may end, of what keeps that from being done.
        """
        clock = self.membership.clock
        if not (clock.wants_comparison() or clock.is_unsure):
            return
        with self._comparing:
            self.membership.look_at_clock()
            if clock.wants_comparison():
                self._compare_clock()
            while clock.is_unsure:
                time.sleep(SOON)
                self._compare_clock()

    def _compare_clock(self):
        outcome = outcome_of(self.membership.sign)
        if outcome.retryable:
            raise outcome.exception
        if outcome.failed:
            self.duties.report(outcome, 'sign')

    def _judge(self, jobid, end):
        """Return whether a run has ended; raise Interrupted if it has not."""
        if end in (execution.NOT_BEGUN, execution.INTERRUPTED):
            raise Interrupted(
                f'what job {jobid} stands on has failed: {end}')
        if end == execution.UNSTORED:
            ends.note(None)
        if end is None:
            found = outcome_of(self._found, jobid).value
            if found is not None:
                ends.note(found)
        return end is not None

    def _found(self, jobid):
        """Return the ends.Found of a job that is not run for a message.

        None if there is no such job.
        """
        with execution.opened_service(self.db, self.servicePath) as service:
            job = service.jobs.get(jobid)
            return None if job is None else ends.Found(jobid, job.status, bool(
                job.status in interfaces.WAITING and job.attempts
                and not job.recurring))

    def _run_claimed(self, jobid, first):
        """Claim and run a job; return what became of it, None if nothing."""
        claim = self._claim_job(jobid, first)
        return None if claim is None else self._execute(claim)

    def _has_seen(self, tid, jobid):
        if self.service_db.lastTransaction() >= tid:
            return True
        # Some storages only learn of transactions when one is begun.
        with execution.opened_service(self.db, self.servicePath) as service:
            job = service.jobs.get(jobid)
            if job is None:
                return False
            job._p_activate()
            return job._p_serial >= tid

    def _claim_job(self, jobid, first=False):
        claim, others = self._try_to_claim(jobid, first)
        if any(map(machine.is_gone, others)) or not (
                claim or others) and self._is_orphan(jobid):
            self.release()
            claim, others = self._try_to_claim(jobid, first)
        if others:
            # One of the others may be running the job at the moment.
            self._doubts.add(jobid, others)
        return claim

    def _try_to_claim(self, jobid, first):
        with self._record:
            claim, others, lost = self.membership.bookkeep(
                runs.claim_job, self.worker_id, jobid, self._runs,
                self.membership.clock.now(), self._first_runs.ids(), first)
            if not others:
                # The claim of an earlier run was settled with this
                # transaction.
                self._runs.forget([jobid])
        self._tell_of_lost(self.membership.tell_of_lost(lost))
        return claim, others

    def _is_orphan(self, jobid):
        """Return whether the process that has a job is known to be gone."""
        with execution.opened_service(self.db, self.servicePath) as service:
            job = service.jobs.get(jobid)
            claim = None if job is None else job.claim
            return claim is not None and machine.is_gone(claim.worker)

    def _execute(self, claim):
        # The connection catches up once, before a transaction begins that runs
        # a job.
        self.membership.catch_up()
        self._runs.call(claim)
        end = self.membership.run(claim)
        self._runs.mark_end(claim, end)
        return end

    # In the thread that makes the rounds

    def tend(self, now=None):
        """Do the bookkeeping that is due, and send what was not sent.

        now -- seconds of the monotonic clock.

        What fails is told, and keeps nothing else from being done.
        """
        now = time.monotonic() if now is None else now
        if self.is_closed():
            return
        self.duties.do('end', now, self.settle)
        self.duties.do('seats', now, self._first_runs.tend, now)
        self.look_after_others(now)
        self.duties.do('doubts', now, self._resolve_doubts)
        self.duties.do('sweep', now, self.sweep)

    def is_silent(self, now):
        # Nobody waits for the others, but for what they have counted.
        has_counted = (self.may_measure(now)
                       and not self.membership.tally.is_empty)
        return (bool(self._runs.running or self._sweep.is_leading
                     or has_counted)
                and super().is_silent(now))

    def settle(self):
        """Settle claims of jobs that do not run any more."""
        with self._record:
            if not self._runs.ended:
                return
            outcome = outcome_of(
                self.membership.bookkeep, runs.settle, self.worker_id,
                self._runs, self.membership.clock.now())
            if not outcome.failed:
                self._runs.settled()
            elif outcome.retryable or outcome.is_a(ProcessorStopped):
                raise outcome.exception
            else:
                # One of the claims may be to blame for that, so they are
                # settled one by one.
                self._settle_apart()

    def _sign(self, now):
        super()._sign(now)
        self._first_runs.beat()

    def _resolve_doubts(self):
        """Send jobs again that nobody can be running any more."""
        if not self._doubts:
            return
        if any(map(machine.is_gone, self._doubts.others())):
            self.release()
        with opened_engine(self.db, self.servicePath) as engine:
            turns = engine.workers.turns()
            cleared = self._doubts.cleared(turns)[:DOUBTS_AT_ONCE]
        if cleared:
            waiting, lost = self.membership.bookkeep(
                runs.outdate, cleared, self.membership.clock.now())
            self._doubts.forget(cleared)
            self._tell_of_lost(self.membership.tell_of_lost(lost))
            self.send(self._addresses(
                waiting, self.service_db.lastTransaction()))

    def _settle_apart(self):
        """Settle claims one by one; raise what is wrong with the last one."""
        failure = None
        for jobid in self.membership.bookkeep(
                runs.claimed_ids, self.worker_id, self._runs):
            outcome = outcome_of(
                self.membership.bookkeep, runs.drop, self.worker_id, [jobid],
                self._runs, self.membership.clock.now())
            if outcome.failed:
                failure = outcome.exception
            else:
                self._runs.forget([jobid])
        if failure is not None:
            raise failure

    def release(self):
        """Take over from workers that are gone; see Member."""
        released = super().release()
        if released:
            # The messages of these jobs may be gone with the processes that
            # had them.
            tid = self.service_db.lastTransaction()
            self.send(self._addresses(released, tid))
        return released

    def _addresses(self, jobids, tid):
        with execution.opened_service(self.db, self.servicePath) as service:
            return [address(self.db, self.servicePath, service.jobs[jobid],
                            tid)
                    for jobid in jobids if jobid in service.jobs]

    def sweep(self, now=None):
        """Send jobs that nobody has sent, see Sweep.

        now -- POSIX seconds; default: the current time.

        Return how many were sent.
        """
        return self._sweep.step(
            self.membership.clock.now() if now is None else now)

    # See CeleryProcessor

    def close(self, timeout=registry.GRACE):
        super().close(timeout)
        outcome = outcome_of(self._leave)
        if outcome.failed:
            self.duties.report(outcome, 'end')

    def _leave(self):
        with self._record:
            # The gate is closed; this is the last commit.
            execution.in_transaction(
                self.db, self.servicePath, transaction.commit,
                self._hand_back, self.membership.clock.now())

    def _hand_back(self, engine, now):
        runs.leave(engine, self.worker_id, self._runs, now)
        self._first_runs.leave_all(engine, now)
