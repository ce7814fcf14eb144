"""A service, its model, and transactions that overlap."""

import copy
import types
import unittest.mock

import persistent.list
import transaction
import ZODB
import ZODB.MappingStorage
import zope.component
import zope.interface
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from hypothesis.stateful import precondition
from hypothesis.stateful import rule
from transaction.interfaces import TransientError
from zope.app.publication.zopepublication import ZopePublication

from lovely.remotetask import job as job_module
from lovely.remotetask import moment
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.interfaces import ClaimLost
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.storage import adder
from lovely.remotetask.tests.fixture import fill
from lovely.remotetask.tests.model import POLICY
from lovely.remotetask.tests.model import WORKERS
from lovely.remotetask.tests.model import Model


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
        # The claim under which a job is run here.
        self.running = None

    def close(self):
        self.manager.abort()
        self.connection.close()


class Steps:
    """The life of both, from an empty service to one in which all was run.
    """

    @initialize(every=st.sampled_from([1, 1, 3]))
    def begin(self, every):
        self.model = Model()
        self.steps = []
        clock = types.SimpleNamespace(time=lambda: self.model.now)
        self.patches = [
            unittest.mock.patch.object(job_module, 'time', clock),
            # Whatever the clock of the storage shows.
            unittest.mock.patch.object(
                moment, 'now', lambda at_least=0.0: self.model.now)]
        # Soon there are jobs on all shelves.
        self.patches.append(unittest.mock.patch.object(adder, 'BUSY', 2))
        for patch in self.patches:
            patch.start()
        self.task = Task(self.run_task)
        zope.component.provideUtility(self.task, ITask, 'test.model')
        transaction.abort()
        self.db = self.open_database()
        fill(self.db)
        self.outcomes = {}
        self.rests = {}
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
