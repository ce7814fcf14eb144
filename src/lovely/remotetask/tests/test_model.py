"""A service, a clock, and a model of both in plain Python.

Hypothesis drives them through any sequence of what can happen, in
transactions that overlap; after each commit the service must be what the
model is, and every job must be where somebody will find it.
"""

import copy
import types
import unittest.mock

import hypothesis
import persistent.list
import transaction
import ZODB
import ZODB.MappingStorage
import zope.component
import zope.interface
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.stateful import initialize
from hypothesis.stateful import precondition
from hypothesis.stateful import rule
from transaction.interfaces import TransientError
from zope.app.publication.zopepublication import ZopePublication

from lovely.remotetask import job as job_module
from lovely.remotetask import moment
from lovely.remotetask.foreign.outcome import attempt
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ENDED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.interfaces import ClaimLost
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.job import Run
from lovely.remotetask.running import execution
from lovely.remotetask.running import group
from lovely.remotetask.running import runlog
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.source import ScheduleSource
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import fill
from lovely.remotetask.tests.model import OUTCOMES
from lovely.remotetask.tests.model import POLICY
from lovely.remotetask.tests.model import WORKERS
from lovely.remotetask.tests.model import Model
from lovely.remotetask.tests.model import ModelJob


@zope.interface.implementer(ITask)
class Task:
    """Calls a function with all that a task is called with."""

    def __init__(self, function):
        self.function = function

    def __call__(self, service, jobid, input):
        return self.function(service, jobid, input)


class Count(persistent.Persistent):

    value = 0


class Step:
    """A transaction of its own, begun and not yet ended."""

    def __init__(self, machine):
        self.manager = transaction.TransactionManager()
        self.connection = machine.db.open(self.manager)
        self.manager.begin()
        root = self.connection.root()[ZopePublication.root_name]
        self.service = root['tasks']
        # What the transaction sees.
        self.model = copy.deepcopy(machine.model)
        self.apply = None
        self.adds = False

    def close(self):
        self.manager.abort()
        self.connection.close()


class ServiceMachine(RuleBasedStateMachine):

    @initialize(every=st.sampled_from([1, 1, 3]))
    def begin(self, every):
        self.model = Model()
        self.steps = []
        clock = types.SimpleNamespace(time=lambda: self.model.now)
        self.patches = [
            unittest.mock.patch.object(module, 'time', clock)
            for module in (job_module, moment)]
        for patch in self.patches:
            patch.start()
        self.task = Task(self.run_task)
        zope.component.provideUtility(self.task, ITask, 'test.model')
        transaction.abort()
        self.db = self.open_database()
        fill(self.db)
        self.outcomes = {}
        self.reader = Step(self)
        self.reader.manager.begin()
        root = self.reader.service.__parent__
        self.reader.service.policy = POLICY
        root.counts = persistent.list.PersistentList(
            Count() for _ in range(100))
        self.reader.manager.commit()

    # Whether jobs that are cleaned are put aside, and dropped by `prune`.
    sweeps = False

    def open_database(self):
        return ZODB.DB(ZODB.MappingStorage.MappingStorage())

    def teardown(self):
        if not hasattr(self, 'reader'):
            return
        try:
            self.drain()
        finally:
            for step in self.steps:
                step.close()
            self.reader.close()
            transaction.abort()
            self.db.close()
            zope.component.getGlobalSiteManager().unregisterUtility(
                self.task, ITask, 'test.model')
            for patch in self.patches:
                patch.stop()

    def drain(self):
        """Every job that waits is run in the end."""
        while self.steps:
            self.end(0, commit=False)
        self.do('set_paused', False)
        self.do('release', list(WORKERS))
        for _ in range(20):
            # As late as it takes for all that waits, once.
            self.model.now = 7200 + max(
                [self.model.now, *(job.due or 0 for job
                                   in self.model.jobs.values()
                                   if not job.recurring)])
            while claims := self.do('claim', WORKERS[0], 7):
                for claim in claims:
                    self.do('run', claim, 'completed')
                assert claims
                self.do('settle', WORKERS[0], [c.job for c in claims])
            waiting = [job for job in self.model.jobs.values()
                       if job.visible in WAITING and not job.recurring]
            if not waiting:
                break
        assert not waiting, waiting
        assert not self.model.unsettled()
        self.check_all()

    # The transactions

    def do(self, name, *args):
        """Do something in a transaction that nothing comes between."""
        step = Step(self)
        try:
            result = getattr(self, 'do_' + name)(step, *args)
            if result is ClaimLost:
                return result
            step.manager.commit()
        finally:
            step.close()
        if step.apply is not None:
            step.apply()
        self.check_all()
        return result

    def act(self, later, name, *args):
        """Do something, now or in a transaction that was begun before."""
        fresh = [step for step in self.steps if step.apply is None]
        if not later or not fresh:
            return self.do(name, *args)
        step = fresh[0]
        if getattr(self, 'do_' + name)(step, *args) is ClaimLost:
            step.manager.abort()
            step.close()
            self.steps.remove(step)
        elif step.apply is None:
            step.apply = lambda: None
        return None

    @precondition(lambda self: self.model.jobs and len(self.steps) < 3)
    @rule()
    def begin_step(self):
        self.steps.append(Step(self))

    @precondition(lambda self: self.steps)
    @rule(index=st.integers(0, 2), commit=st.sampled_from([True, True, False]))
    def end_step(self, index, commit):
        self.end(index % len(self.steps), commit)
        self.check_all()

    def end(self, index, commit):
        step = self.steps.pop(index)
        try:
            if commit:
                step.manager.commit()
        except TransientError:
            # The one who adds must never hear of a conflict.
            assert not step.adds
        else:
            if commit and step.apply is not None:
                step.apply()
        finally:
            step.close()

    def pick(self, number, *statuses):
        """Return the id of some job, or one that there is not.

        statuses -- more often than others, one that has one of these.
        """
        ids = list(self.model.jobs)
        good = [job.id for job in self.model.jobs.values()
                if job.visible in statuses]
        if good and number % 5:
            ids = good
        return ids[number % len(ids)] if ids else 42

    def claims(self):
        return [claim for claims in self.model.workers.values()
                for claim in claims.values()]

    # What happens

    @rule(seconds=st.sampled_from([0.01, 1, 30, 70, 3700]))
    def wait(self, seconds):
        self.model.now += seconds

    @rule(later=st.booleans(), count=st.sampled_from([1, 1, 2, 17]),
          priority=st.sampled_from([5, 5, 5, 9, 0]),
          delay=st.sampled_from([None, None, None, 0, 20]),
          start_later=st.sampled_from([False, False, True]))
    def add(self, later, count, priority, delay, start_later):
        self.act(later, 'add', count, priority, delay, start_later)

    def do_add(self, step, count, priority, delay, start_later):
        step.adds = True
        added = []
        due = None if delay is None else self.model.now + delay
        for _ in range(count):
            number = len(self.model.effects) % 100
            jobid = step.service.add('test.model', number, start_later,
                                     priority, delay)
            assert jobid not in step.model.jobs
            added.append(ModelJob(
                jobid, number, STARTLATER if start_later else QUEUED, due,
                priority))
        step.apply = lambda: self.added(added)

    def added(self, jobs):
        for job in jobs:
            assert job.id not in self.model.jobs, 'one id twice'
            assert job.id not in self.model.removed, 'one id again'
            self.model.jobs[job.id] = job
            self.model.completed[job.id] = 0

    @rule(later=st.booleans(), delay=st.sampled_from([None, 10, 100]))
    def add_cron(self, later, delay):
        self.act(later, 'add_cron', delay)

    def do_add_cron(self, step, delay):
        step.adds = True
        minute = () if delay else (0, 20, 40)
        jobid = step.service.addCronJob(
            'test.model', 7, minute=minute, delay=delay)
        job = ModelJob(jobid, 7, DELAYED if delay else CRONJOB, None, 5)
        job.recurring = not delay
        job.delayed = bool(delay)
        step.apply = lambda: self.added([job])

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), worker=st.sampled_from(WORKERS),
          limit=st.sampled_from([1, 1, 3, 50]),
          at_once=st.sampled_from([None, None, 1, 3]))
    def claim(self, later, worker, limit, at_once):
        self.act(later, 'claim', worker, limit, at_once)

    def do_claim(self, step, worker, limit, at_once=None, scheduled=True):
        now = self.model.now
        claims = engine(step.service).claim(
            worker, limit, now, at_once, scheduled)
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
        assert not left or len(ids) == limit, (ids, left)
        # Of many that are due, not all compete.
        assert len(ready) > ScheduleSource.COMPETING * limit or (
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
            engine(step.service).complete(job, Run(claim, now), 'done', now)
        else:
            failure = attempt(self.fail, OUTCOMES[outcome])
            engine(step.service).fail(job, Run(claim, now), failure, now)
        step.apply = lambda: self.has_run(claim, outcome, now)
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
                execution.run_claimed(
                    self.db, ['tasks'], claims[0], transaction.commit)
            else:
                group.run_group(
                    self.db, ['tasks'], claims, transaction.commit)
        assert set(self.ran) == live
        assert transient or len(self.ran) == len(live)
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
               if which != 'ended' or not self.model.is_live(claim)]
        self.act(later, 'settle', worker, ids[:1 if which == 'one' else 99])

    def do_settle(self, step, worker, ids):
        engine(step.service).settle(worker, ids)
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
        self.act(later, 'stop_worker', worker)

    def do_stop_worker(self, step, worker):
        engine(step.service).stop_worker(worker)
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
        engine(step.service).beat(worker, self.model.now)

    @precondition(lambda self: self.model.workers)
    @rule(later=st.booleans(), gone=st.sets(
        st.sampled_from(WORKERS), min_size=1))
    def release(self, later, gone):
        """Take the claims away; who had them may be only stalled."""
        self.act(later, 'release', sorted(gone))

    def do_release(self, step, gone):
        now = self.model.now
        engine(step.service).release(lambda worker: worker.id not in gone, now)
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

    # What callers do to jobs

    def change(self, step, jobid, name, expected, then):
        """Call a method of the service; it returns whether it did it."""
        job = step.model.jobs.get(jobid)
        if job is None and name != 'cancel':
            try:
                getattr(step.service, name)(jobid)
            except KeyError:
                return
            raise AssertionError(f'{name} of no job')
        done = getattr(step.service, name)(jobid)
        if job is not None and job.unreadable:
            assert done is (name == 'remove'), (name, done)
        else:
            assert done is bool(job is not None and expected(job)), (
                name, done, job and vars(job))
        if done:
            step.apply = then

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), number=st.integers(0, 50))
    def cancel(self, later, number):
        self.act(later, 'cancel', self.pick(number, *WAITING, HELD))

    def do_cancel(self, step, jobid):
        def then():
            job = self.model.jobs[jobid]
            # Also one that was claimed meanwhile; not one that ran.
            assert job.status in (*WAITING, HELD, STARTLATER)
            job.status, job.completed = CANCELLED, now
            job.worker = None
        now = self.model.now
        self.change(step, jobid, 'cancel', lambda job: job.visible in (
            *WAITING, HELD, STARTLATER), then)

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), number=st.integers(0, 50))
    def requeue(self, later, number):
        self.act(later, 'requeue', self.pick(
            number, HELD, ERROR, CANCELLED))

    def do_requeue(self, step, jobid):
        def then():
            job = self.model.jobs[jobid]
            assert job.status in (HELD, ERROR, CANCELLED)
            job.status, job.due = QUEUED, None
            job.attempts = job.transients = 0
            job.lost = False
        self.change(step, jobid, 'requeue', lambda job: job.visible in (
            HELD, ERROR, CANCELLED), then)

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), number=st.integers(0, 50))
    def start_job(self, later, number):
        self.act(later, 'start_job', self.pick(number, STARTLATER))

    def do_start_job(self, step, jobid):
        def then():
            self.model.jobs[jobid].status = QUEUED
        self.change(step, jobid, 'startJob',
                    lambda job: job.visible == STARTLATER, then)

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), number=st.integers(0, 50))
    def reschedule(self, later, number):
        crons = [job.id for job in self.model.jobs.values()
                 if (job.recurring or job.delayed) and not job.unreadable]
        if crons:
            self.act(later, 'reschedule', crons[number % len(crons)])

    def do_reschedule(self, step, jobid):
        step.service.reschedule(jobid) if jobid in step.model.jobs else None
        if jobid in step.model.jobs and step.model.jobs[jobid].visible in (
                CRONJOB, DELAYED):
            def then():
                job = self.model.jobs.get(jobid)
                if job is not None and job.status in (CRONJOB, DELAYED):
                    job.due = None
                    # Also one that was claimed meanwhile.
                    job.worker = None
            step.apply = then

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), number=st.integers(0, 50))
    def remove(self, later, number):
        self.act(later, 'remove', self.pick(number, *ENDED, HELD))

    def do_remove(self, step, jobid):
        self.change(step, jobid, 'remove',
                    lambda job: job.visible != PROCESSING,
                    lambda: self.removed({jobid}))

    def removed(self, ids):
        for jobid in ids:
            del self.model.jobs[jobid]
        self.model.removed |= ids

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), status=st.sampled_from(
        [*((name,) for name in ENDED), ENDED]))
    def clean(self, later, status):
        self.act(later, 'clean', status)

    def do_clean(self, step, status):
        before = set(step.service.jobs)
        step.service.clean(status)
        gone = before - set(step.service.jobs)
        jobs = step.model.jobs
        assert all(jobs[jobid].visible in status for jobid in gone
                   if not jobs[jobid].unreadable)
        assert gone >= {
            job.id for job in jobs.values() if job.visible in status
            } - step.model.unsettled()
        step.apply = lambda: self.removed(gone)

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), limit=st.sampled_from([1, 100]))
    def prune(self, later, limit):
        self.act(later, 'prune', limit)

    def do_prune(self, step, limit):
        now = self.model.now
        before = set(step.service.jobs)
        number = engine(step.service).prune(limit, now)
        gone = before - set(step.service.jobs)
        old = {job.id for job in step.model.jobs.values()
               if job.visible in (*ENDED, HELD) and not job.unreadable
               and job.completed < now - POLICY.retention_of(job.visible)}
        assert len(gone) <= number <= limit
        assert number == len(gone) or self.sweeps
        assert gone <= old | step.model.unreadable()
        # Those of which processors have not heard are not listed yet.
        beyond = self.ids_beyond_cursors(step.service.store)
        assert self.sweeps or len(gone) >= min(limit, len(
            old - step.model.unsettled() - beyond)), (
            gone, old, step.model.unsettled(), beyond)
        step.apply = lambda: self.removed(gone)

    @rule(paused=st.sampled_from([False, False, True]))
    def pause(self, paused):
        self.do('set_paused', paused)

    def do_set_paused(self, step, paused):
        step.service.paused = paused

        def then():
            self.model.paused = paused
        step.apply = then

    @rule()
    def has_jobs_waiting(self):
        self.do('has_jobs_waiting')

    def do_has_jobs_waiting(self, step):
        sure, ready = step.model.ready(self.model.now, paused=False)
        found = step.service.hasJobsWaiting(self.model.now)
        assert bool(sure) <= found <= bool(ready)

    # What holds at any time

    def look(self):
        """Return the service as it was committed last."""
        self.reader.manager.begin()
        return self.reader.service

    def check_all(self):
        service = self.look()
        found = dict(service.jobs.items())
        self.read(found)
        self.check_jobs(found)
        self.check_effects(service)
        self.check_places(service.store, found)
        self.check_counts(service)
        self.check_listing(service)

    def read(self, found):
        """Let the model know what it does not compute."""
        for job in self.model.jobs.values():
            real = found[job.id]
            if job.unreadable:
                continue
            assert real.fence >= job.fence
            job.fence = real.fence
            # Jitter, and cron, which have tests of their own.
            job.due = real.due

    def check_jobs(self, found):
        assert set(found) == set(self.model.jobs)
        for job in self.model.jobs.values():
            real = found[job.id]
            assert real.status == job.visible, (
                job.id, real.status, job.visible)
            assert job.unreadable or (real.attempts, real.transients) == (
                job.attempts, job.transients), job.id

    def check_effects(self, service):
        counts = service.__parent__.counts
        for number, expected in self.model.effects.items():
            assert counts[number].value == expected, number

    def check_counts(self, service):
        counts = service.counts()
        # Some of these are counted as before, until processors meet them.
        unreadable = len(self.model.unreadable())
        for status, number in self.model.counts().items():
            spare = number - counts.get(status, 0)
            assert -unreadable <= spare <= unreadable * (status == HELD), (
                status, counts, self.model.counts())
        assert sum(counts.values()) == len(self.model.jobs)

    def check_listing(self, service):
        # In turns: all of them take longer than anything else.
        self.turn = (getattr(self, 'turn', 0) + 1) % (len(STATUSES) + 1)
        for status in ((None, *STATUSES)[self.turn],):
            found, after = [], None
            while True:
                page = service.find(status, after=after, limit=50)
                found += [job.id for job in page.jobs]
                after = page.after
                if after is None:
                    break
            expected = {job.id for job in self.model.jobs.values()
                        if status in (None, job.visible)}
            assert len(found) == len(set(found)), (status, found)
            doubtful = set() if status is None else self.model.unreadable()
            assert set(found) - doubtful == expected - doubtful, (
                status, found, expected)

    def check_places(self, store, jobs):
        """Each job is where somebody will find it."""
        # Those whose place is still to be looked at.
        unseen = self.ids_beyond_cursors(store)
        open = self.model.unsettled() | unseen
        for job in self.model.jobs.values():
            real = jobs[job.id]
            if job.unreadable:
                continue
            if job.worker is not None:
                found = any(claim.job == job.id and claim.fence == job.fence
                            for claim in crew.all_claims(store))
            elif job.status in WAITING:
                found = (real.due or 0.0, job.id) in store.schedule
            else:
                key = (real.completed or real.created).timestamp(), job.id
                found = key in store.ledger.jobs[job.status]
            assert found or job.id in open, f'{job.id} is lost'
        for status in LISTED:
            for _, jobid in store.ledger.jobs[status]:
                job = self.model.jobs.get(jobid)
                assert (jobid in unseen or job.status == status
                        or job.unreadable), 'listed'

    def ids_beyond_cursors(self, store):
        found = set()
        for strand, key in lookup.strands(store):
            for sequence in range(
                    lookup.sequence_at_cursor(store, key), strand.end):
                entry = strand.segment(sequence).entry(sequence)
                found.add(lane.place(sequence, key) if entry.note is None
                          else entry.note.job)
        return found


def settings(examples, steps, **others):
    return hypothesis.settings(
        max_examples=examples, stateful_step_count=steps, deadline=None,
        database=None, suppress_health_check=list(hypothesis.HealthCheck),
        # To make an example smaller would take minutes.
        phases=[hypothesis.Phase.generate], **others)


# The other one is for `faulty`.
ServiceMachine.TestCase.settings = settings(60, 40, derandomize=True)
LONG = settings(1000, 50)


class ModelTest(ServiceMachine.TestCase):
    """The service does what the model does."""
