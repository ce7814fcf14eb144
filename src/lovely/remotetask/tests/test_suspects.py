"""Whose turn it is to run jobs that a process may die of."""

import contextlib
import os
import time
import types
import unittest.mock

import transaction

from lovely.remotetask import TaskService
from lovely.remotetask.running import claimer
from lovely.remotetask.running import suspects
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers


A, B, OLD = (f'host:1:{name}:no-machine-1' for name in ('a', 'b', 'old'))


class TurnTest(unittest.TestCase):

    def setUp(self):
        self.enterContext(unittest.mock.patch.object(suspects, '_turn', None))

    def test_one_at_a_time(self):
        self.assertTrue(suspects.take_turn(A, 0.0))
        self.assertTrue(suspects.take_turn(A, 1.0))
        self.assertFalse(suspects.take_turn(B, 1.0))
        suspects.end_turn(B)
        self.assertFalse(suspects.take_turn(B, 1.0))
        suspects.end_turn(A)
        self.assertTrue(suspects.take_turn(B, 1.0))
        self.assertFalse(suspects.has_turn(A))

    def test_not_for_ever(self):
        """Whoever has it may hang, or be gone without a word."""
        suspects.take_turn(A, 0.0)
        suspects.take_turn(A, suspects.PATIENCE - 1)
        self.assertFalse(suspects.take_turn(B, suspects.PATIENCE - 1))
        self.assertTrue(suspects.take_turn(B, suspects.PATIENCE))
        self.assertFalse(suspects.take_turn(A, suspects.PATIENCE))

    def test_fork(self):
        """A child is another process, and has none of these jobs."""
        suspects.take_turn(A)
        pid = os.fork()
        if pid == 0:
            code = 1
            with contextlib.suppress(BaseException):
                code = not suspects.take_turn(B)
            os._exit(code)
        self.assertEqual(0, os.waitpid(pid, 0)[1])


class CountTest(DatabaseCase):
    """Which jobs count as run when a process has died."""

    def setUp(self):
        super().setUp()
        self.enterContext(unittest.mock.patch.object(suspects, '_turn', None))
        self.task(lambda input: None)
        self.clock = types.SimpleNamespace(now=time.time, is_good=True)

    def turn(self, room, unsettled):
        asked = engine(self.service)
        found = claimer._turn(
            asked, A, set(asked.workers.claimed_ids(A)), [], [], {}, unsettled,
            room, 2, self.clock, False)
        transaction.commit()
        return [claim.job for claim in found.claims]

    def counted(self):
        """Return the ids of jobs that count as run when the worker is gone."""
        workers(self.service).release_worker(A)
        transaction.commit()
        return [jobid for jobid in self.service.jobs
                if self.service.jobs[jobid].attempts]

    def prepare(self, number):
        jobids = [self.service.add('test.task') for _ in range(number)]
        transaction.commit()
        return jobids

    def test_claims_that_cannot_be_given_back(self):
        """They were not begun; those that were claimed later may have been.
        """
        self.prepare(12)
        late = self.turn(8, {})
        begun = self.turn(4, dict.fromkeys(late, False))
        for _ in range(2):
            # Nor does anything else change that.
            self.turn(0, dict.fromkeys(late, False))
        self.assertEqual(sorted(begun[:2]), sorted(self.counted()))

    def test_runs_that_cannot_be_settled(self):
        """They have begun, and so have those that are run now."""
        self.prepare(9)
        run = self.turn(3, {})
        begun = self.turn(6, dict.fromkeys(run, True))
        self.assertEqual(sorted([*run, *begun[:2]]), sorted(self.counted()))

    def test_both(self):
        self.prepare(9)
        first, second, third = self.turn(3, {})
        begun = self.turn(6, {first: False, second: True, third: False})
        self.assertEqual(
            sorted([second, *begun[:2]]), sorted(self.counted()))


class ServicesTest(DatabaseCase):
    """Two services, the jobs of which are run by one process."""

    def setUp(self):
        super().setUp()
        self.enterContext(unittest.mock.patch.object(suspects, '_turn', None))
        self.task(lambda input: None)
        self.other = self.service.__parent__['other'] = TaskService()
        transaction.commit()
        self.clock = types.SimpleNamespace(now=time.time, is_good=True)

    def lose(self, service, number):
        """Add jobs, and let a process die with them.  Return their ids."""
        jobids = [service.add('test.task', number) for number in range(number)]
        engine(service).claim(OLD, number)
        workers(service).release_worker(OLD)
        transaction.commit()
        return jobids

    def turn(self, service, worker, run=()):
        """Let a processor do its bookkeeping.  Return what it claims."""
        asked = engine(service)
        found = claimer._turn(
            asked, worker, set(asked.workers.claimed_ids(worker)), list(run),
            [], {}, {}, 10, 2, self.clock, False)
        transaction.commit()
        return [claim.job for claim in found.claims]

    def test_one_of_all_services(self):
        """Each has its turn at last."""
        mine = self.lose(self.service, 2)
        others = self.lose(self.other, 1)
        first, = self.turn(self.service, A)
        self.assertIn(first, mine)
        for _ in range(3):
            self.assertEqual([], self.turn(self.other, B))
            self.assertEqual([], self.turn(self.service, A))
        second, = self.turn(self.service, A, [first])
        self.assertEqual([], self.turn(self.other, B))
        self.assertEqual([], self.turn(self.service, A, [second]))
        self.assertEqual(others, self.turn(self.other, B))

    def test_other_jobs(self):
        """They are run meanwhile, in any of them."""
        self.lose(self.service, 1)
        self.lose(self.other, 1)
        self.turn(self.service, A)
        jobid = self.other.add('test.task')
        transaction.commit()
        self.assertEqual([jobid], self.turn(self.other, B))

    def test_another_process(self):
        """Nothing is known of it, and it has one, too."""
        self.lose(self.service, 1)
        others = self.lose(self.other, 1)
        self.turn(self.service, A)
        self.assertEqual(others, [
            claim.job for claim in engine(self.other).claim(B, 10)])
