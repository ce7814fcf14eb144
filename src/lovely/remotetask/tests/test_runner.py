"""What runners do with claims that cannot be run to an end, or kill them."""

import ctypes
import logging
import sys
import threading
import time
import unittest.mock

import transaction
import zope.event

from lovely.remotetask import policy
from lovely.remotetask import processor
from lovely.remotetask.foreign import outcome
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.policy import Policy
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import duty
from lovely.remotetask.running import execution
from lovely.remotetask.running import idling
from lovely.remotetask.running import registry
from lovely.remotetask.running.execution import INTERRUPTED
from lovely.remotetask.running.execution import NOT_BEGUN
from lovely.remotetask.running.team import Team
from lovely.remotetask.storage import crew
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.test_threads import ThreadCase


class RunnerCase(ThreadCase):
    """Has a processor with threads whose pauses are short."""

    def setUp(self):
        super().setUp()
        for name in ('FIRST_PAUSE', 'LONGEST_PAUSE'):
            self.enterContext(unittest.mock.patch.object(duty, name, 0.01))
        for name in ('INTERRUPTION_WAIT', 'LOSS_WAIT'):
            self.enterContext(unittest.mock.patch.object(policy, name, 0.01))
        self.began = []
        self.task(self.began.append)

    def start(self, factory=SimpleProcessor, **arguments):
        made = factory(self.db, ['tasks'], **arguments)
        registry.start_processor(made)
        return made

    def until(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition() and time.monotonic() < end:
            time.sleep(0.005)
        self.assertTrue(condition(), 'It did not happen.')

    def has_status(self, jobid, status):
        return self.job(jobid).status == status


class InTheWayTest(RunnerCase):
    """What jobs stand on is away for a while."""

    def without(self, times, end, original=execution.run_claimed):
        """Let runs have an end that is none, so many times."""
        self.left = times

        def run(db, path, claim, commit):
            self.tried.append(claim)
            if self.left:
                self.left -= 1
                if end == INTERRUPTED:
                    self.began.append(claim.attempt)
                return end
            return original(db, path, claim, commit)
        self.tried = []
        return unittest.mock.patch.object(execution, 'run_claimed', run)

    def test_not_begun(self):
        """A job that could not be begun is begun again under its claim."""
        jobid = self.add('test.task', 'once')
        with self.without(5, NOT_BEGUN), logged('lovely.remotetask') as lines:
            self.start()
            self.until(lambda: self.has_status(jobid, COMPLETED))
            self.stop()
        self.assertEqual(['once'], self.began)
        self.assertEqual(1, self.job(jobid).attempts)
        self.assertEqual(6, len(self.tried))
        self.assertEqual(1, len(set(self.tried)))
        warnings = [line for line in lines if line.startswith('WARNING')]
        self.assertEqual(1, len(warnings), warnings)
        self.assertIn('cannot run jobs', warnings[0])

    def test_interrupted(self):
        """One that was begun is counted, and waits; its thread does not."""
        jobid = self.add('test.task', 'last')
        with self.without(3, INTERRUPTED):
            self.start()
            self.until(lambda: self.has_status(jobid, COMPLETED))
        # Each run has another claim, with the next number.
        self.assertEqual([1, 2, 3, 'last'], self.began)
        job = self.job(jobid)
        self.assertEqual((4, 0), (job.attempts, job.failures - 1))
        self.assertIn('failed while it ran the job', job.history[0].error)
        self.assertEqual(4, len(set(self.tried)))

    def test_interrupted_holds_up_nobody(self):
        """The thread is free for others, whatever the job does meanwhile."""
        with unittest.mock.patch.object(policy, 'INTERRUPTION_WAIT', 1000), \
                self.without(1, INTERRUPTED):
            jobid = self.add('test.task', 'first')
            self.start()
            self.until(lambda: self.job(jobid).attempts == 1)
            others = [self.add('test.task', number) for number in range(5)]
            self.until(lambda: all(
                self.has_status(other, COMPLETED) for other in others))
        job = self.job(jobid)
        self.assertEqual((QUEUED, 0), (job.status, job.failures))
        self.assertGreater(job.due, time.time() + 100)

    def test_interrupted_for_ever(self):
        """It may be what the job does: then that counts at last."""
        for attempts in (1, 3):
            with self.subTest(attempts), self.without(10 ** 6, INTERRUPTED):
                self.service.policy = Policy(
                    attempts=attempts, retry_wait=0.001)
                transaction.commit()
                del self.began[:]
                jobid = self.add('test.task')
                self.start()
                self.until(lambda jobid=jobid: self.has_status(jobid, ERROR))
                self.stop()
                job = self.job(jobid)
                self.assertEqual(
                    (policy.INTERRUPTIONS + attempts,) * 2,
                    (len(self.began), job.attempts))
                self.assertIn('failed while it ran the job', job.error)

    def test_interrupted_and_cannot_be_counted(self):
        """Until it is counted, it is not begun again."""
        jobid = self.add('test.task', 'last')
        settle = JobExecution.settle
        failing = threading.Event()
        failing.set()

        def fail(service, *args):
            if failing.is_set():
                tried.append(args)
                raise OSError('full')
            return settle(service, *args)
        tried = []
        with self.without(1, INTERRUPTED), unittest.mock.patch.object(
                JobExecution, 'settle', fail), \
                logged('lovely.remotetask') as lines:
            made = self.start()
            self.until(lambda: len(tried) > 5)
            self.assertEqual([1], self.began)
            self.assertIn('OSError: full', made.trouble)
            failing.clear()
            self.until(lambda: self.has_status(jobid, COMPLETED))
            self.until(lambda: made.trouble is None)
        self.assertEqual([1, 'last'], self.began)
        self.assertLess(len([line for line in lines
                             if 'full' in line]), 5)

    def test_stopped_meanwhile(self):
        """What was begun counts; what was not goes back."""
        for end, attempts in ((NOT_BEGUN, 0), (INTERRUPTED, 1)):
            with self.subTest(end), self.without(10 ** 6, end), \
                    unittest.mock.patch.object(duty, 'FIRST_PAUSE', 60), \
                    unittest.mock.patch.object(duty, 'LONGEST_PAUSE', 60):
                jobid = self.add('test.task')
                self.start()
                self.until(lambda: self.tried)
                self.stop()
                job = self.job(jobid)
                self.assertEqual((QUEUED, attempts),
                                 (job.status, job.attempts))
                self.assertFalse(list(crew.all_claims(self.service.store)))
                self.service.cancel(jobid)
                transaction.commit()

    def test_taken_away_meanwhile(self):
        """A claim that is lost is not begun again."""
        for end in (NOT_BEGUN, INTERRUPTED):
            with self.subTest(end), self.without(10 ** 6, end):
                jobid = self.add('test.task', end)
                made = self.start()
                self.until(lambda: self.tried)
                made.stop()
                with self.elsewhere() as service:
                    service.cancel(jobid)
                self.stop()
                self.assertNotIn(end, self.began)

    def test_no_connections(self):
        """Where runners get no connection, nothing goes round in circles."""
        for number in range(20):
            self.add('test.task', number)
        opened = []
        open_ = self.db.open

        def refuse(*args, **kw):
            if threading.current_thread().name.startswith('runner'):
                opened.append(args)
                raise OSError('too many connections')
            return open_(*args, **kw)
        claim = JobExecution.claim
        claims = []

        def count(service, *args, **kw):
            found = claim(service, *args, **kw)
            claims.extend(found)
            return found
        with unittest.mock.patch.object(self.db, 'open', refuse), \
                unittest.mock.patch.object(
                    JobExecution, 'claim', count), \
                logged('lovely.remotetask', logging.INFO) as lines:
            made = self.start(MultiProcessor, maxThreads=3)
            self.until(lambda: len(opened) > 100)
            self.assertIn('too many connections', made.trouble)
        self.until(lambda: len(self.began) == 20)
        self.assertLess(len(claims), 10)
        self.assertLess(len(lines), 10, lines)
        self.assertEqual(set(range(20)), set(self.began))

    def test_pauses(self):
        """They are real ones: few attempts in a second, none at the stop."""
        self.add('test.task')
        for name, length in (('FIRST_PAUSE', 0.1), ('LONGEST_PAUSE', 120.0)):
            self.enterContext(unittest.mock.patch.object(duty, name, length))
        with self.without(10 ** 6, NOT_BEGUN):
            self.start()
            self.until(lambda: len(self.tried) == 3)
            time.sleep(0.5)
            begin = time.monotonic()
            self.stop()
            self.assertLess(time.monotonic() - begin, 60)
            self.assertLess(len(self.tried), 8)


class DeadTest(RunnerCase):
    """Threads that die, whatever was done against that."""

    def die(self, *args):
        """Raise in the middle of what runners do besides jobs."""
        raise SystemExit

    def test_replaced(self):
        """Two jobs that kill their threads do not stop a worker with two."""
        self.service.policy = Policy(attempts=2, retry_wait=0.0)
        transaction.commit()
        self.deadly = [self.add('test.task', 'kill') for _ in range(2)]
        good = [self.add('test.task', number) for number in range(10)]
        run = Team.run

        def run_or_die(team, claims):
            if any(claim.job in self.deadly for claim in claims):
                self.died.extend(claim.job for claim in claims)
                # Not by `outcome_of`: this is what nothing catches.
                raise SystemExit
            return run(team, claims)
        self.died = []
        with unittest.mock.patch.object(
                Team, 'run', run_or_die), \
                logged('lovely.remotetask', logging.ERROR) as lines:
            made = self.start(MultiProcessor, maxThreads=2)
            self.until(lambda: all(
                self.has_status(jobid, COMPLETED) for jobid in good))
            self.until(lambda: all(
                self.has_status(jobid, ERROR) for jobid in self.deadly))
            self.until(lambda: len(made.threads) == 2)
            self.stop()
        for jobid in self.deadly:
            job = self.job(jobid)
            self.assertEqual((2, 2), (job.attempts, self.died.count(jobid)))
        self.assertEqual(4, len([line for line in lines
                                 if 'has died, and is replaced' in line]))

    def test_attempt_fails(self):
        """So it is where even the description of an exception fails."""
        self.service.policy = Policy(attempts=1)
        transaction.commit()

        def fail(input):
            self.began.append(input)
            raise ValueError(input)
        self.task(fail, 'test.fail')
        jobs = [self.add('test.fail', number) for number in range(3)]
        describe = outcome._outcome

        def die(*args):
            if threading.current_thread().name.startswith('runner'):
                raise SystemExit
            return describe(*args)
        with unittest.mock.patch.object(outcome, '_outcome', die), \
                logged('lovely.remotetask', logging.ERROR):
            self.start()
            self.until(lambda: all(
                self.has_status(jobid, ERROR) for jobid in jobs))
        self.assertEqual(
            [1] * 3, [self.job(jobid).attempts for jobid in jobs])

    @unittest.skipIf(
        sys.gettrace() is not None and sys.version_info < (3, 12),
        'While it is traced, CPython 3.11 does not go on in any thread before '
        'the exception is raised in its own.')
    def test_raised_from_outside(self):
        """A library may raise in a thread of its choice at any time."""
        self.enterContext(
            unittest.mock.patch.object(processor, 'HEARTBEAT', 0.1))
        jobid = self.add('test.task', 'before')
        made = self.start()
        self.until(lambda: self.has_status(jobid, COMPLETED))
        # And does not look after that job any more: that catches all.
        self.until(lambda: not made.claims.ids)
        thread, = made.threads
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        jobs = [self.add('test.task', number) for number in range(3)]
        with logged('lovely.remotetask'):
            self.until(lambda: not thread.is_alive())
            # One may have been taken by the thread that died.
            self.until(lambda: all(
                self.job(jobid).status != PROCESSING for jobid in jobs))
        for jobid in jobs[1:]:
            self.until(lambda jobid=jobid: self.has_status(jobid, COMPLETED))

    def test_dead_at_the_end(self):
        """What a dead thread had counts also when the processor ends."""
        jobid = self.add('test.task')
        with unittest.mock.patch.object(
                Team, 'run', side_effect=SystemExit), \
                unittest.mock.patch.object(
                    Team, 'look_after', lambda *args: add_one(*args)), \
                logged('lovely.remotetask'):
            def add_one(team, now):
                if not team.runners:
                    team._add_runner()
            made = self.start()
            self.until(lambda: made.team.runners and not made.threads)
            self.stop()
        self.assertEqual(1, self.job(jobid).attempts)
        self.assertEqual(QUEUED, self.job(jobid).status)

    def test_lost_on_the_way(self):
        """A claim that no thread has any more counts, after a while."""
        made = SimpleProcessor(self.db, ['tasks'])
        jobid = self.add('test.task')
        with unittest.mock.patch.object(
                Team, '_add_runner', lambda team:
                team.runners.append(unittest.mock.Mock(
                    began=None, claims=[],
                    is_busy_since=lambda moment: False))), \
                logged('lovely.remotetask', logging.ERROR) as lines:
            now = time.monotonic()
            made.step(now)
            self.assertEqual(jobid, made.claims.take().job)
            for _ in range(3):
                now += 15
                made.step(now)
        self.assertEqual(1, self.job(jobid).attempts)
        self.assertEqual(QUEUED, self.job(jobid).stored_status)
        self.assertIn('no thread has these jobs any more', lines[0])

    def test_observer_that_fails(self):
        """Who counts jobs may fail; that is no matter of the jobs."""
        jobs = [self.add('test.task', number) for number in range(5)]
        made = SimpleProcessor(self.db, ['tasks'])
        zope.event.subscribers.append(self.die)
        self.addCleanup(zope.event.subscribers.remove, self.die)
        registry.start_processor(made)
        for jobid in jobs:
            self.until(lambda jobid=jobid: self.has_status(jobid, COMPLETED))


class ClaimerTest(RunnerCase):
    """The thread that claims."""

    def test_no_thread(self):
        """Where the system gives none, the service is not processing."""
        with unittest.mock.patch.object(
                threading.Thread, 'start',
                side_effect=RuntimeError("can't start new thread")), \
                self.assertRaisesRegex(RuntimeError, "can't start"):
            self.service.startProcessing()
        self.assertFalse(self.service.isProcessing())
        self.assertFalse(registry._processors)
        self.assertFalse(list(registry._started))
        self.service.startProcessing()
        self.assertTrue(self.service.isProcessing())

    def test_dies(self):
        """A processor whose claimer has died does not run; another does."""
        # It goes on after a failure, unless it cannot even wait.
        with logged('lovely'), unittest.mock.patch.multiple(
                idling.Idling,
                wait=unittest.mock.Mock(side_effect=SystemExit),
                wait_for_stop=unittest.mock.Mock(side_effect=SystemExit)):
            self.service.startProcessing()
            made, = registry._processors.values()
            self.until(lambda: not made.thread.is_alive())
        self.assertFalse(self.service.isProcessing())
        self.until(lambda: not made.threads)
        self.service.startProcessing()
        jobid = self.add('test.task')
        self.until(lambda: self.has_status(jobid, COMPLETED))

    def test_hook_raises_anything(self):
        """What a hook of the application raises does not end the claimer."""
        for class_ in (SystemExit, KeyboardInterrupt, GeneratorExit):
            with self.subTest(class_.__name__):
                jobid = self.add('test.task')
                failing = iter([class_] * 3)
                claim = JobExecution.claim

                def fail(service, *args, claim=claim, failing=failing):
                    for exception in failing:
                        raise exception
                    return claim(service, *args)
                with unittest.mock.patch.object(
                        JobExecution, 'claim', fail), \
                        logged('lovely.remotetask'):
                    self.start()
                    self.until(lambda jobid=jobid:
                               self.has_status(jobid, COMPLETED))
                    self.stop()

    def test_some_threads(self):
        """Where there are few threads, those that there are work."""
        start = threading.Thread.start

        def refuse(thread):
            if thread.name.startswith('runner-2'):
                raise RuntimeError("can't start new thread")
            start(thread)
        jobs = [self.add('test.task') for _ in range(5)]
        with unittest.mock.patch.object(threading.Thread, 'start', refuse), \
                logged('lovely.remotetask', logging.WARNING) as lines:
            made = self.start(MultiProcessor, maxThreads=2)
            for jobid in jobs:
                self.until(lambda jobid=jobid:
                           self.has_status(jobid, COMPLETED))
            self.assertIn("can't start new thread", made.trouble)
            self.assertEqual(1, len(made.threads))
        self.until(lambda: len(made.threads) == 2)
        self.until(lambda: made.trouble is None)
        self.assertLess(len(lines), 4)


class StepByStepTest(DatabaseCase):
    """Jobs that are run in the caller's thread."""

    def run_once(self, end):
        self.task(lambda input: None)
        jobid = self.add('test.task')
        made = self.processor()
        with unittest.mock.patch.object(
                execution, 'run_claimed', return_value=end):
            self.assertTrue(made.processNext())
        return self.job(jobid)

    def test_not_begun(self):
        """What could not be begun goes back."""
        job = self.run_once(NOT_BEGUN)
        self.assertEqual((QUEUED, 0), (job.status, job.attempts))

    def test_interrupted(self):
        """What was begun, and has no end, counts."""
        job = self.run_once(INTERRUPTED)
        self.assertEqual((QUEUED, 1), (job.status, job.attempts))
        self.assertFalse(list(crew.all_claims(self.service.store)))
