"""What callers do to jobs of a service and of its model."""


from hypothesis import strategies as st
from hypothesis.stateful import precondition
from hypothesis.stateful import rule

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ENDED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.storage import removal
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.model import POLICY
from lovely.remotetask.tests.model import ModelJob


class Callers:
    """Add, cancel, requeue, start, remove; clean and pause."""

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
            # One that was pruned meanwhile is there again.
            job = self.model.jobs.setdefault(jobid, step.model.jobs[jobid])
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
        stale = self.listed_elsewhere(step.service.store)
        number = upkeep(step.service).prune(limit, now)
        gone = before - set(step.service.jobs)
        old = {job.id for job in step.model.jobs.values()
               if job.visible in (*ENDED, HELD) and not job.unreadable
               and not (job.recurring and job.visible == HELD)
               and job.completed < now - POLICY.retention_of(job.visible)}
        assert len(gone) <= number <= limit
        assert number == len(gone) or self.sweeps
        assert gone <= old | step.model.unreadable()
        # Those of which processors have not heard are not listed yet.
        beyond = self.ids_beyond_cursors(step.service.store)
        # And what is listed where it was before is looked at in vain.
        assert self.sweeps or len(gone) >= min(limit, len(
            old - step.model.unsettled() - beyond)) - stale, (
            gone, old, step.model.unsettled(), beyond, stale)
        step.apply = lambda: self.removed(gone)

    def listed_elsewhere(self, store):
        """Return how many jobs are listed where they do not belong now."""
        found = [store.read(removal.belongs, job, status, key)
                 for status in LISTED for tree in store.ledger.trees(status)
                 for key, job in tree.items()]
        return sum(not each.failed and not each.value for each in found)

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
