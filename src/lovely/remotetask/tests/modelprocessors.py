"""What processors do to jobs of a service and of its model."""

import unittest.mock

import transaction
from hypothesis import strategies as st
from hypothesis.stateful import precondition
from hypothesis.stateful import rule

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.interfaces import ClaimLost
from lovely.remotetask.job import Run
from lovely.remotetask.running import execution
from lovely.remotetask.running import group
from lovely.remotetask.running import runlog
from lovely.remotetask.storage.source import ScheduleSource
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.model import OUTCOMES
from lovely.remotetask.tests.model import WORKERS


class Processors:
    """Claim, run, settle; be gone."""

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), worker=st.sampled_from(WORKERS),
          limit=st.sampled_from([1, 1, 3, 50]),
          at_once=st.sampled_from([None, None, 1, 3]))
    def claim(self, later, worker, limit, at_once):
        # Some claim from their own share.
        own = at_once is not None
        self.act(later, 'claim', worker, limit, at_once, True, own)

    def claims_of(self, step, worker, limit, now, at_once, scheduled, own):
        """Claim as a processor does: while there may be more it goes on.

        There may be nothing but notes where the most urgent ones are.
        """
        asked = engine(step.service)
        for _ in range(20):
            claims = asked.claim(
                worker, limit, now, at_once, scheduled, own=own)
            if claims or not (own and asked.is_behind(worker)):
                return claims
        raise AssertionError('it is behind, and does not catch up')

    def do_claim(self, step, worker, limit, at_once=None, scheduled=True,
                 own=False):
        now = self.model.now
        claims = self.claims_of(step, worker, limit, now, at_once, scheduled,
                                own)
        sure, ready = step.model.ready(now, step.model.paused)
        if not scheduled:
            # Who has no good clock takes only what waits for nothing.
            sure = {}
            ready = {jobid: job for jobid, job in ready.items()
                     if job.due is None}
        ids = [claim.job for claim in claims]
        assert len(set(ids)) == len(ids), 'one job twice'
        assert set(ids) <= set(ready), (ids, ready)
        mine = step.model.workers.get(worker, {})
        lost = {job.id for job in step.model.jobs.values() if job.lost}
        assert len(lost & set(ids)) <= (0 if lost & set(mine) else 1), (
            lost & set(ids), lost & set(mine))
        # Others of these are left where they are.
        left = set(sure) - lost - set(ids)
        assert not left or len(ids) == limit or own and ids, (ids, left)
        # Of many that are due, not all compete.
        assert own or len(ready) > ScheduleSource.COMPETING * limit or (
            max((ready[i].priority for i in left), default=0)
            <= min((ready[i].priority for i in ids), default=9))
        step.apply = lambda: self.claimed(worker, claims, at_once)
        return claims

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), worker=st.sampled_from(WORKERS),
          number=st.integers(0, 50))
    def claim_job(self, later, worker, number):
        self.act(later, 'claim_job', worker, self.pick(number, *WAITING))

    def do_claim_job(self, step, worker, jobid):
        now = self.model.now
        claims = engine(step.service).claim_job(worker, jobid, now)
        job = step.model.jobs.get(jobid)
        assert bool(claims) is bool(
            job is not None and job.is_ready(now) and not step.model.paused)
        step.apply = lambda: self.claimed(worker, claims)
        return claims

    def claimed(self, worker, claims, at_once=None):
        if not claims:
            return
        mine = self.model.workers.setdefault(worker, {})
        if at_once is not None:
            self.model.at_once[worker] = at_once
        for claim in claims:
            # It is begun after the others.
            mine.pop(claim.job, None)
            mine[claim.job] = claim
            job = self.model.jobs.get(claim.job)
            if job is None or job.status not in WAITING:
                # Cancelled meanwhile.
                continue
            real = self.look().jobs[claim.job]
            if real.fence == claim.fence:
                assert job.worker is None, f'{job.id} is claimed twice'
                job.worker = worker

    @precondition(lambda self: self.model.workers)
    @rule(later=st.booleans(), number=st.integers(0, 50),
          outcome=st.sampled_from(
              ['completed', 'completed', 'completed', *OUTCOMES]))
    def run(self, later, number, outcome):
        claims = self.claims()
        if claims:
            self.act(later, 'run', claims[number % len(claims)], outcome)

    def do_run(self, step, claim, outcome):
        """Run by hand, so that it may lie between others."""
        if step.model.workers.get(claim.worker, {}).get(claim.job) != claim:
            # Made after this transaction began; no processor does that.
            return None
        live = step.model.is_live(claim)
        try:
            job = engine(step.service).claimed(claim)
        except ClaimLost:
            assert not live, 'lost for no reason'
            return ClaimLost
        assert live, 'is not lost'
        now = self.model.now
        self.in_the_middle(step.manager, step.connection)
        if outcome == 'completed':
            self.take_effect(step.service, job.input)
            self.in_the_middle(step.manager, step.connection)
            rest = engine(step.service).complete(
                job, Run(claim, now), 'done', now)
        else:
            failure = outcome_of(self.fail, OUTCOMES[outcome])
            engine(step.service).fail(job, Run(claim, now), failure, now)
            rest = None

        def apply():
            self.has_run(claim, outcome, now)
            self.remember_rest(claim, rest)
        step.apply = apply
        step.running = claim
        return None

    def in_the_middle(self, manager, connection):
        """Something happens while a job is run."""

    def fail(self, error):
        raise error

    def take_effect(self, service, number):
        service.__parent__.counts[number].value += 1

    def has_run(self, claim, outcome, now):
        assert self.model.is_live(claim), 'ran without a claim'
        job = self.model.jobs[claim.job]
        job.run(outcome, now)
        if outcome == 'completed':
            self.model.completed[job.id] += 1
            assert job.recurring or self.model.completed[job.id] == 1
            self.model.effects[job.number] = self.model.effects.get(
                job.number, 0) + 1

    @precondition(lambda self: self.model.workers)
    @rule(worker=st.sampled_from(WORKERS), outcomes=st.lists(
        st.sampled_from(list(OUTCOMES)), min_size=1, max_size=5))
    def run_as_processors_do(self, worker, outcomes):
        """Run claims, one alone or several in one transaction."""
        claims = list(self.model.workers.get(worker, {}).values())
        claims = claims[:len(outcomes)]
        if not claims:
            return
        self.outcomes = {
            claim.job: outcome
            for claim, outcome in zip(claims, outcomes, strict=False)}
        live = {c.job for c in claims if self.model.is_live(c)}
        transient = any(self.outcomes[i] == 'transient' for i in live)
        self.ran = []
        with unittest.mock.patch.object(runlog, 'log'):
            if len(claims) == 1:
                ends = {claims[0]: execution.run_claimed(
                    self.db, ['tasks'], claims[0], transaction.commit)}
            else:
                ends = group.run_group(
                    self.db, ['tasks'], claims, transaction.commit)
        self.remember_rests(ends)
        assert set(self.ran) == live
        for jobid in () if transient else live:
            # Beside one that fails, the others are called once more.
            most = 2 if self.outcomes[jobid] == 'completed' else 1
            assert self.ran.count(jobid) <= most, (jobid, self.ran)
        for claim in claims:
            if claim.job in live:
                self.has_run(
                    claim, self.outcomes[claim.job], self.model.now)
        self.check_all()

    def run_task(self, service, jobid, number):
        self.ran.append(jobid)
        self.in_the_middle(transaction, service._p_jar)
        outcome = self.outcomes[jobid]
        if outcome != 'completed':
            self.fail(OUTCOMES[outcome])
        self.take_effect(service, number)

    @precondition(lambda self: self.model.workers)
    @rule(later=st.booleans(), worker=st.sampled_from(WORKERS),
          which=st.sampled_from(['ended', 'all', 'one']))
    def settle(self, later, worker, which):
        """Early, late, in parts, or with claims that were never begun."""
        claims = self.model.workers.get(worker, {})
        ids = [jobid for jobid, claim in claims.items()
               if (which != 'ended' or not self.model.is_live(claim))
               and claim not in self.running()]
        self.act(later, 'settle', worker, ids[:1 if which == 'one' else 99])

    def remember_rests(self, ends):
        for claim, end in ends.items():
            self.remember_rest(claim, getattr(end, 'rest', None))

    def remember_rest(self, claim, rest):
        if rest is not None:
            self.rests[claim.worker, claim.job] = rest

    def running(self):
        """Return the claims under which jobs are run at the moment.

        No processor settles those, nor stops before these runs are over.
        """
        return [step.running for step in self.steps if step.running]

    def do_settle(self, step, worker, ids):
        engine(step.service).settle(worker, ids, rests={
            jobid: self.rests[worker, jobid] for jobid in ids
            if (worker, jobid) in self.rests})
        seen = {jobid: step.model.workers.get(worker, {}).get(jobid)
                for jobid in ids}
        step.apply = lambda: self.settled(worker, seen)

    def settled(self, worker, seen):
        for jobid, claim in seen.items():
            mine = self.model.workers.get(worker, {})
            if claim is not None and mine.get(jobid) == claim:
                self.give_back(claim)
                del mine[jobid]

    def give_back(self, claim):
        if self.model.is_live(claim):
            self.model.jobs[claim.job].worker = None

    @precondition(lambda self: self.model.workers)
    @rule(later=st.booleans(), worker=st.sampled_from(WORKERS))
    def stop_worker(self, later, worker):
        if worker not in [claim.worker for claim in self.running()]:
            self.act(later, 'stop_worker', worker)

    def do_stop_worker(self, step, worker):
        workers(step.service).stop_worker(worker)
        if worker in step.model.workers:
            # What one has claimed since that nobody knew is not seen here.
            step.apply = lambda: self.stopped(worker)

    def stopped(self, worker):
        self.model.at_once.pop(worker, None)
        for claim in self.model.workers.pop(worker, {}).values():
            self.give_back(claim)

    @precondition(lambda self: self.model.workers)
    @rule(worker=st.sampled_from(WORKERS))
    def beat(self, worker):
        self.do('beat', worker)

    def do_beat(self, step, worker):
        workers(step.service).beat(worker, self.model.now)

    @precondition(lambda self: self.model.workers)
    @rule(later=st.booleans(), gone=st.sets(
        st.sampled_from(WORKERS), min_size=1))
    def release(self, later, gone):
        """Take the claims away; who had them may be only stalled."""
        self.act(later, 'release', sorted(gone))

    def do_release(self, step, gone):
        now = self.model.now
        workers(step.service).release(
            lambda worker: worker.id not in gone, now)
        dropped = {worker: step.model.workers[worker]
                   for worker in gone if worker in step.model.workers}
        step.apply = lambda: self.released(dropped, now)

    def released(self, dropped, now):
        for worker, claims in dropped.items():
            assert self.model.workers.get(worker) == claims, 'unseen claims'
            begun = self.model.at_once.pop(worker, 99)
            for claim in self.model.workers.pop(worker).values():
                if not self.model.is_live(claim):
                    continue
                if begun:
                    self.model.jobs[claim.job].lose(now)
                    begun -= 1
                else:
                    self.model.jobs[claim.job].worker = None
