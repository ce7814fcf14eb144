"""Runners that claim in passing, while many short jobs wait."""

import collections
import threading
import unittest.mock

import transaction
from ZODB.POSException import ConflictError

from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.policy import Policy
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import claimer
from lovely.remotetask.running.membership import REPLACED
from lovely.remotetask.running.team import Team
from lovely.remotetask.running.tempo import MAX_BATCH
from lovely.remotetask.running.tempo import Tempo
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_membership import StepCase
from lovely.remotetask.tests.test_runner import RunnerCase
from lovely.remotetask.tests.test_shared import SHORT
from lovely.remotetask.tests.test_threads import ThreadCase


class PassingTest(StepCase):
    """One runner, this thread; the claimer makes no step but the first."""

    def setUp(self):
        super().setUp()
        self.made = self.stepping()
        self.made.team.tempo.learn(0.001)

    def begin(self, number):
        """Let so many jobs wait; let the claimer claim some of them."""
        self.ids = [self.add('test.task', each) for each in range(number)]
        self.step(self.made)

    def run_some(self, number):
        """Run so many claims, one after the other, as a runner does."""
        team = self.made.team
        for _ in range(number):
            team.take_claims(taken := [])
            team.has_run(taken, team.run(taken))
            team.replenish()

    def is_called(self):
        """Return whether the claimer was, since this was asked."""
        called, self.made.idling._short = self.made.idling._short, False
        return called

    def claimed(self):
        """Return how many claims the worker has, by what is stored."""
        with self.elsewhere() as service:
            return len(workers(service).claimed_ids(self.made.worker_id))

    def test_goes_on(self):
        """It settles what was run, and claims more; nobody else is called."""
        self.begin(3 * MAX_BATCH)
        self.assertEqual(MAX_BATCH, self.claimed())
        self.run_some(MAX_BATCH + 20)
        self.assertFalse(self.is_called())
        self.assertEqual(list(range(MAX_BATCH + 20)), self.calls)
        transaction.begin()
        self.assertEqual([], [jobid for jobid in self.ids[:30]
                              if self.job(jobid).status != COMPLETED])
        # Settled, most of them.
        self.assertLessEqual(self.claimed(), MAX_BATCH)
        self.assertGreater(len(self.made.claims.ids), 20)

    def test_end(self):
        """The claimer is called when nothing else waits."""
        self.begin(MAX_BATCH + 5)
        self.run_some(MAX_BATCH + 5)
        self.assertTrue(self.is_called())
        self.step(self.made)
        self.assertEqual((set(), 0), (self.made.claims.ids, self.claimed()))

    def test_nothing_else(self):
        """Where nothing else had waited, the claimer is called."""
        self.begin(MAX_BATCH)
        with unittest.mock.patch.object(claimer, '_turn') as turn:
            self.run_some(MAX_BATCH)
        self.assertTrue(self.is_called())
        turn.assert_not_called()

    def test_no_room(self):
        """A step in between that can claim nothing changes nothing."""
        self.begin(3 * MAX_BATCH)
        self.step(self.made)
        self.assertTrue(self.made.claimer.goes_on_well)
        self.assertEqual(MAX_BATCH, len(self.made.claims.ids))

    def test_long(self):
        """A thread that runs long jobs does nothing else."""
        self.begin(3 * MAX_BATCH)
        for _ in range(50):
            self.made.team.tempo.learn(0.02)
        with unittest.mock.patch.object(claimer, '_turn') as turn:
            self.run_some(MAX_BATCH)
        self.assertTrue(self.is_called())
        turn.assert_not_called()

    def test_fails(self):
        """What fails is left to the claimer, until it has succeeded."""
        for error in ConflictError, OSError, SystemExit:
            with self.subTest(error=error), unittest.mock.patch(
                    'lovely.remotetask.running.execution.'
                    'BOOKKEEPING_ATTEMPTS', 2):
                self.calls.clear()
                self.begin(2 * MAX_BATCH)
                with unittest.mock.patch.object(
                        JobExecution, 'settle', side_effect=error) as settle:
                    self.run_some(MAX_BATCH)
                    self.assertTrue(self.is_called())
                    self.assertLessEqual(settle.call_count, 2)
                self.assertEqual(list(range(MAX_BATCH)), self.calls)
                self.step(self.made)
                self.run_some(MAX_BATCH)
                self.step(self.made)
                self.assertEqual(list(range(2 * MAX_BATCH)), self.calls)
                self.assertEqual(
                    (set(), 0), (self.made.claims.ids, self.claimed()))

    def test_in_trouble(self):
        """While something is wrong, it is for the claimer to find out."""
        self.begin(3 * MAX_BATCH)
        for name in 'find', 'write', 'take', 'run':
            with self.subTest(name):
                with logged('lovely.remotetask'):
                    self.made.duties.mark_ill(name, 'it broke', self.now)
                self.assertFalse(self.made.claimer.goes_on_well)
                with logged('lovely.remotetask'):
                    self.made.duties.mark_well(name, self.now)
        self.assertTrue(self.made.claimer.goes_on_well)

    def test_stopped(self):
        """What it claims would only be handed back."""
        self.begin(3 * MAX_BATCH)
        self.run_some(MAX_BATCH - 5)
        self.made.stop()
        with unittest.mock.patch.object(claimer, '_turn') as turn:
            self.made.team.replenish()
        turn.assert_not_called()

    def test_another_service(self):
        """What was claimed is forgotten, and nothing is claimed in passing."""
        self.begin(3 * MAX_BATCH)
        self.made.forget_claims()
        self.assertFalse(self.made.claimer.goes_on_well)
        self.assertEqual(set(), self.made.claims.ids)


class AtOnceTest(StepCase):
    """One thread does the bookkeeping; what do others do meanwhile?"""

    def setUp(self):
        super().setUp()
        self.made = self.stepping()
        self.made.team.tempo.learn(0.001)
        for number in range(3 * MAX_BATCH):
            self.service.add('test.task', number)
        transaction.commit()
        self.step(self.made)
        for _ in range(MAX_BATCH):
            claim = self.made.claims.take()
            self.made.claims.mark_run([claim])
        self.began, self.go = threading.Event(), threading.Event()
        self.addCleanup(self.go.set)
        original = claimer._turn
        self.turns = []

        def turn(*args):
            self.turns.append(threading.current_thread())
            if len(self.turns) == 1:
                self.began.set()
                self.go.wait(PATIENCE)
            return original(*args)
        self.enterContext(
            unittest.mock.patch.object(claimer, '_turn', turn))

    def begin(self, call):
        """Call something in a thread, which comes as far as its turn."""
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        self.assertTrue(self.began.wait(PATIENCE))
        return thread

    def end(self, *threads):
        self.go.set()
        for thread in threads:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive())

    def test_other_runner(self):
        """Another runner goes on at once, and calls nobody."""
        first = self.begin(self.made.claimer.take_in_passing)
        self.assertTrue(self.made.claimer.take_in_passing())
        self.assertTrue(first.is_alive())
        self.end(first)
        self.assertEqual([first], self.turns)

    def test_claimer(self):
        """The claimer waits, and then does what is left."""
        first = self.begin(self.made.claimer.take_in_passing)
        second = threading.Thread(target=self.made.claimer.take, daemon=True)
        second.start()
        second.join(SHORT)
        self.assertTrue(second.is_alive())
        self.end(first, second)
        self.assertEqual([first, second], self.turns)
        self.assertEqual(MAX_BATCH, self.made.claims.waiting)

    def test_claimer_first(self):
        """A runner waits for the claimer, and has nothing to do then."""
        first = self.begin(self.made.claimer.take)
        second = threading.Thread(
            target=self.made.claimer.take_in_passing, daemon=True)
        second.start()
        second.join(SHORT)
        self.assertTrue(second.is_alive())
        self.end(first, second)
        self.assertEqual([first], self.turns)

    def test_stopped_meanwhile(self):
        """Who has waited for the claimer claims nothing after a stop."""
        first = self.begin(self.made.claimer.take)
        with unittest.mock.patch.object(
                self.made.team, 'is_short', return_value=True):
            second = threading.Thread(
                target=self.made.claimer.take_in_passing, daemon=True)
            second.start()
            second.join(SHORT)
            self.made.stop()
            self.end(first, second)
        self.assertEqual([first], self.turns)

    def test_another_service(self):
        """Nobody claims while it is looked for; what is claimed at this
        moment of the one before goes, too.
        """
        first = self.begin(self.made.claimer.take_in_passing)
        find = self.enterContext(unittest.mock.patch.object(
            self.made.membership, 'find_again', return_value=REPLACED))
        second = threading.Thread(
            target=self.made.find_again, daemon=True)
        second.start()
        second.join(SHORT)
        find.assert_not_called()
        self.end(first, second)
        find.assert_called_once_with()
        self.assertEqual((set(), 0), (
            self.made.claims.ids, self.made.claims.waiting))

    def test_fork(self):
        """A child need not wait for what a thread of the parent does."""
        first = self.begin(self.made.claimer.take_in_passing)
        with unittest.mock.patch.object(
                threading.Thread, 'start'), unittest.mock.patch.object(
                    self.made, '_pid', 0):
            SimpleProcessor.start(self.made)
        self.assertIsNone(self.made.trouble)
        self.made.claimer.take()
        self.assertTrue(first.is_alive())
        self.end(first)

    def test_never_answers(self):
        """The processor says so, whoever waits for the database."""
        first = self.begin(self.made.claimer.take_in_passing)
        self.assertIsNone(self.made.trouble)
        self.made.claimer.turning_since -= 100
        self.assertIn('waits for the database, for 100 s', self.made.trouble)
        self.end(first)
        self.assertIsNone(self.made.trouble)


class ThreadsTest(ThreadCase):
    """Real threads."""

    JOBS = 400

    def setUp(self):
        super().setUp()
        self.calls, self.ended = [], threading.Event()

        def call(input):
            self.calls.append(input)
            if len(self.calls) == self.JOBS:
                self.ended.set()
        self.task(call)
        for number in range(self.JOBS):
            self.service.add('test.task', number)
        transaction.commit()

    def run_with(self, factory, **arguments):
        """Run all jobs, each of them once."""
        self.configure(factory, waitTime=600, **arguments)
        self.service.startProcessing()
        self.wait(self.ended)
        self.stop()
        self.assertEqual(list(range(self.JOBS)), sorted(self.calls))

    def run_all(self, factory, **arguments):
        """Run all jobs; return a Counter of the threads that claimed."""
        found = collections.Counter()
        original = JobExecution.claim

        def claim(*args):
            found[threading.current_thread().name.partition('.')[0]] += 1
            return original(*args)
        # However busy the machine is.
        with unittest.mock.patch.object(JobExecution, 'claim', claim), \
                unittest.mock.patch.object(Tempo, 'is_brisk', True):
            self.run_with(factory, **arguments)
        transaction.begin()
        self.assertEqual(
            {COMPLETED: self.JOBS},
            collections.Counter(job.status
                                for job in self.service.jobs.values()))
        return found

    def test_one(self):
        found = self.run_all(SimpleProcessor)
        self.assertGreater(found['runner-1'], 0)

    def test_several(self):
        found = self.run_all(MultiProcessor, maxThreads=4)
        runners = sum(number for name, number in found.items()
                      if name.startswith('runner-'))
        self.assertGreater(runners, 0)

    def test_longer_meanwhile(self):
        """Jobs that are not that short any more: the claimer is called.

        A runner learns it when it has run all that was claimed.
        """
        is_brisk = [False]
        original, learn = Team.run, Tempo.learn

        def run(*args):
            is_brisk[0] = True
            return original(*args)

        def learned(*args):
            learn(*args)
            is_brisk[0] = False
        self.service.policy = Policy(commit_every=MAX_BATCH)
        transaction.commit()
        with unittest.mock.patch.object(Team, 'run', run), \
                unittest.mock.patch.object(Tempo, 'learn', learned), \
                unittest.mock.patch.object(Tempo, 'is_brisk', property(
                    lambda tempo: is_brisk[0])):
            self.run_with(SimpleProcessor)


class DeadTest(RunnerCase):
    """A runner may die while it claims."""

    def test_dies(self):
        """It is replaced, and nothing is lost."""
        dying = []
        original = claimer.Claimer.take_in_passing

        def die(made):
            if not dying:
                dying.append(threading.current_thread())
                with made._turns:
                    raise SystemExit
            return original(made)
        for number in range(200):
            self.service.add('test.task', number)
        transaction.commit()
        with unittest.mock.patch.object(
                claimer.Claimer, 'take_in_passing', die), \
                unittest.mock.patch.object(Tempo, 'is_brisk', True), \
                logged('lovely.remotetask'):
            self.start()
            self.until(lambda: len(self.began) == 200)
            self.stop()
        self.assertEqual(list(range(200)), sorted(self.began))
        self.assertEqual(1, len(dying))
        transaction.begin()
        self.assertEqual([], [job.id for job in self.service.jobs.values()
                              if job.status == PROCESSING])
