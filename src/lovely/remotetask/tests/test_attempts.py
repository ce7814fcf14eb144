"""No run without a counted attempt, whatever fails at whatever step.

What is called stands in a file of its own: a list in memory, which nothing
rolls back.
"""

import contextlib
import itertools
import threading
import time
import unittest.mock

import transaction
from ZODB.POSException import ConflictError
from ZODB.POSException import POSKeyError

from lovely.remotetask import policy
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.policy import Policy
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import duty
from lovely.remotetask.running import execution
from lovely.remotetask.running import group
from lovely.remotetask.running.claimer import Claimer
from lovely.remotetask.running.duties import Duties
from lovely.remotetask.running.gate import CommitGate
from lovely.remotetask.running.runner import Runner
from lovely.remotetask.running.team import Team
from lovely.remotetask.storage import crew
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.upkeep import Upkeep
from lovely.remotetask.workerrecords import WorkerRecords


def down():
    return OSError('storage is down')


def broken():
    return POSKeyError(b'\0' * 8)


class Gate(CommitGate):
    """Fails at some commits, before or after them.

    fails -- called with the number of the commit, from 1.
    error -- returns an exception.
    """

    def __init__(self, fails, error, committed=False):
        super().__init__()
        self.fails = fails
        self.error = error
        self.committed = committed
        self.numbers = itertools.count(1)

    def commit(self):
        if not self.fails(next(self.numbers)):
            super().commit()
            return
        if self.committed:
            super().commit()
        raise self.error()


class InvariantCase(DatabaseCase):

    JOBS = 3

    def setUp(self):
        super().setUp()
        for module, name in ((duty, 'FIRST_PAUSE'), (duty, 'LONGEST_PAUSE'),
                             (policy, 'LOSS_WAIT'),
                             (policy, 'INTERRUPTION_WAIT')):
            self.enterContext(
                unittest.mock.patch.object(module, name, 0.01))
        self.calls = []
        self.lock = threading.Lock()

    def work(self, service, input):
        with self.lock:
            self.calls.append(input)
        service.__parent__.effects.append(input)
        if input in self.failing:
            raise TaskError('told to fail')

    def prepare(self, failing=(), commit_every=1):
        """Add jobs anew."""
        self.failing = failing
        transaction.begin()
        del self.root.effects[:]
        self.service.policy = Policy(
            attempts=3, retry_wait=0.0, commit_every=commit_every,
            retry_on=('lovely.remotetask.task.TaskError',))
        del self.calls[:]
        self.ids = [self.service.add('test.task', number)
                    for number in range(self.JOBS)]
        transaction.commit()

    @contextlib.contextmanager
    def processing(self, gate=None):
        made = SimpleProcessor(self.db, ['tasks'], 0.01)
        if gate is not None:
            made.gate = gate
        thread = threading.Thread(
            target=made, name='remotetasks.test', daemon=True)
        with logged('lovely'):
            thread.start()
            yield made
            made.stop()
            thread.join(PATIENCE)
        self.assertFalse(thread.is_alive())

    def ended(self):
        return all(self.job(jobid).status in (COMPLETED, ERROR)
                   for jobid in self.ids)

    def until_ended(self, patience=PATIENCE):
        end = time.monotonic() + patience
        while not self.ended() and time.monotonic() < end:
            time.sleep(0.002)

    def check(self):
        """Let another process do what is left; then compare."""
        self.take_away()
        with self.processing():
            self.until_ended()
        for number, jobid in enumerate(self.ids):
            job = self.job(jobid)
            self.assertIn(job.status, (COMPLETED, ERROR))
            self.assertLessEqual(self.calls.count(number), job.attempts)
            self.assertEqual(int(job.status == COMPLETED),
                             self.effects.count(number))
        self.assertFalse(list(crew.all_claims(self.service.store)))
        counts = self.service.counts()
        self.assertEqual(len(self.service.jobs), sum(counts.values()))


class CommitTest(InvariantCase):
    """A commit fails, whichever it is.

    errors -- tuple of what it raises: called, returns an exception.
    failing_jobs -- tuple; which jobs fail, each a tuple of their numbers.
    """

    errors = (down,)
    failing_jobs = ((0, 1),)

    def setUp(self):
        super().setUp()
        self.service_task(self.work)

    def test_once(self):
        """One commit fails, before it or after."""
        for error, committed, number, failing in itertools.product(
                self.errors, (False, True), range(1, 13), self.failing_jobs):
            with self.subTest(error=error, committed=committed,
                              number=number, failing=failing):
                self.prepare(failing)
                with self.processing(Gate(
                        lambda count, number=number: count == number,
                        error, committed)):
                    self.until_ended()
                self.check()

    def test_from_then_on(self):
        """From one commit on all fail, then the process is stopped."""
        for committed, number, failing in itertools.product(
                (False, True), range(1, 13), self.failing_jobs):
            with self.subTest(committed=committed, number=number,
                              failing=failing):
                self.prepare(failing)
                with self.processing(Gate(
                        lambda count, number=number: count >= number,
                        down, committed)):
                    self.until_ended(0.1)
                self.check()

    def test_every_other(self):
        """Every second or third commit fails all the time."""
        for error, committed, step in itertools.product(
                (down, ConflictError), (False, True), (2, 3)):
            with self.subTest(error=error, committed=committed, step=step):
                self.prepare((1,))
                with self.processing(Gate(
                        lambda count, step=step: not count % step,
                        error, committed)):
                    self.until_ended(1)
                self.check()

    def test_storage(self):
        """It is the storage that fails: that is no failure of the job."""
        for number in range(1, 9):
            with self.subTest(number):
                self.prepare()
                # Below the one that the connections know: they keep what they
                # have found there once, and it has a part in what is raised.
                storage = self.jobs_db.storage.changes
                finish, counter = storage.tpc_vote, itertools.count(1)

                def fail(*args, finish=finish, counter=counter,
                         number=number):
                    if number <= next(counter) < number + 3:
                        raise OSError('No space left on device')
                    return finish(*args)
                with unittest.mock.patch.object(storage, 'tpc_vote', fail), \
                        self.processing():
                    self.until_ended()
                self.assertGreater(next(counter), number)
                self.check()
                self.assertEqual(
                    [COMPLETED] * self.JOBS,
                    [self.job(jobid).status for jobid in self.ids],
                    [self.job(jobid).history for jobid in self.ids])


class EveryCommitTest(CommitTest):
    """The same with any error, and with jobs of which none fails."""

    # Takes long: see CONTRIBUTING.rst.
    level = 2

    errors = down, ConflictError, broken
    failing_jobs = (), (0, 1)


class HookTest(InvariantCase):
    """Something that a processor calls fails, now and then or for ever."""

    def setUp(self):
        super().setUp()
        self.service_task(self.work)

    def failing_at(self, owner, name, fails, error):
        original = getattr(owner, name)
        numbers = itertools.count(1)

        def fail(*args, **kw):
            if fails(next(numbers)):
                raise error()
            return original(*args, **kw)
        return unittest.mock.patch.object(owner, name, fail)

    PLACES = (
        (JobExecution, 'claim'), (JobExecution, 'claimed'),
        (JobExecution, 'complete'), (JobExecution, 'fail'),
        (JobExecution, 'settle'),
        (WorkerRecords, 'sign'), (WorkerRecords, 'signs_of_life'),
        (Upkeep, 'prune'), (Upkeep, 'correct_schedule'),
        (JobExecution, 'next_due'), (WorkerRecords, 'claimed_ids'),
        (WorkerRecords, 'stop_worker'), (JobExecution, 'commit_every'),
        (execution, 'run_claimed'), (execution, 'in_transaction'),
        (group, 'run_group'), (Team, 'run'), (Team, 'has_run'),
        (Team, 'take_claims'), (Team, 'look_after'), (Claimer, 'take'),
        (SimpleProcessor, 'step'), (Duties, 'report'), (Runner, '_run'))

    def test_once(self):
        """It fails a few times."""
        for (owner, name), error, first in itertools.product(
                self.PLACES, (down, SystemExit), (1, 2)):
            with self.subTest(name=name, error=error, first=first):
                self.prepare((1,))
                with self.failing_at(
                        owner, name, lambda count, first=first:
                        first <= count < first + 2, error), \
                        self.processing():
                    self.until_ended(1)
                self.check()

    def test_for_ever(self):
        """It fails until the process is stopped."""
        for owner, name in self.PLACES:
            with self.subTest(name=name):
                self.prepare((1,))
                with self.failing_at(owner, name, lambda count: True,
                                     down), self.processing():
                    self.until_ended(0.1)
                self.check()

    def test_failures_cannot_be_stored(self):
        """Where no failure can be stored, each run counts nevertheless."""
        self.prepare(range(self.JOBS))
        with self.failing_at(JobExecution, 'fail', lambda count: True,
                             TypeError), \
                self.processing():
            self.until_ended()
        for number, jobid in enumerate(self.ids):
            job = self.job(jobid)
            self.assertEqual((ERROR, 3, 3), (
                job.status, job.attempts, self.calls.count(number)))
