"""The model of a service that meets one misfortune after the other.

Records cannot be read, caches are lost in the middle of a run, ends of runs
are not stored, clocks jump.
"""

import unittest.mock

from hypothesis import strategies as st
from hypothesis.stateful import precondition
from hypothesis.stateful import rule
from ZODB.POSException import POSKeyError

from lovely.remotetask.storage import cleaning
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.model import WORKERS
from lovely.remotetask.tests.test_model import ServiceMachine
from lovely.remotetask.tests.test_model import settings


class MisfortuneMachine(ServiceMachine):

    sweeps = True

    def open_database(self):
        db = super().open_database()
        self.missing = set()
        load = db.storage.loadBefore

        def load_or_raise(oid, tid):
            if oid in self.missing:
                raise POSKeyError(oid)
            return load(oid, tid)
        db.storage.loadBefore = load_or_raise
        # All trees of jobs that are cleaned are put aside.
        patch = unittest.mock.patch.object(cleaning, 'FEW', 0)
        patch.start()
        self.patches.append(patch)
        return db

    def in_the_middle(self, manager, connection):
        """The cache is lost, as with each savepoint of a long job."""
        manager.savepoint(optimistic=True)
        connection.cacheMinimize()

    @precondition(lambda self: self.model.jobs and not self.steps)
    @rule(number=st.integers(0, 50))
    def break_record(self, number):
        """The record of a job cannot be read any more."""
        jobid = self.pick(number)
        self.missing.add(self.look().jobs[jobid]._p_oid
                         if not self.model.jobs[jobid].unreadable else None)
        self.model.jobs[jobid].unreadable = True
        self.reader.manager.abort()
        self.db.cacheMinimize()
        self.check_all()

    @rule(seconds=st.sampled_from([1e8, -1e8, -5000]))
    def jump(self, seconds):
        """The clock jumps."""
        self.model.now = max(1.0, self.model.now + seconds)

    @rule(later=st.booleans())
    def correct_schedule(self, later):
        self.act(later, 'correct_schedule')

    def do_correct_schedule(self, step):
        upkeep(step.service).correct_schedule(self.model.now)

    @precondition(lambda self: self.model.jobs)
    @rule(later=st.booleans(), worker=st.sampled_from(WORKERS))
    def claim_without_a_clock(self, later, worker):
        self.act(later, 'claim', worker, 3, None, False)

    @precondition(lambda self: self.model.workers)
    @rule(later=st.booleans(), worker=st.sampled_from(WORKERS))
    def lose_ends(self, later, worker):
        """Jobs were run, and nobody could store how that ended."""
        self.act(later, 'lose_ends', worker)

    def do_lose_ends(self, step, worker):
        claims = dict(step.model.workers.get(worker, {}))
        engine(step.service).settle(worker, list(claims), list(claims),
                            self.model.now)
        live = {jobid for jobid, claim in claims.items()
                if step.model.is_live(claim)}
        step.apply = lambda: self.lost_ends(worker, claims, live)

    def lost_ends(self, worker, claims, live):
        mine = self.model.workers.get(worker, {})
        for jobid, claim in claims.items():
            if mine.get(jobid) == claim:
                if jobid in live and self.model.is_live(claim):
                    self.model.jobs[jobid].lose(self.model.now)
                del mine[jobid]


class MisfortunesTest(MisfortuneMachine.TestCase):
    """The service does what the model does, in adversity."""


MisfortunesTest.settings = settings(40, 40, derandomize=True)
