"""Processors with real threads.

Every wait here is for an event, bounded, and ends as soon as it happens.
"""

import collections
import functools
import logging
import threading
import time
import unittest.mock

import transaction

from lovely.remotetask import processor
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.policy import Policy
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import events
from lovely.remotetask.running import registry
from lovely.remotetask.running.idling import Idling
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import logged


def threads(prefix=''):
    """Return the threads of processors, those that run jobs included."""
    return [thread for thread in threading.enumerate()
            if 'remotetasks.' in thread.name
            and thread.name.startswith(prefix)]


def claimers():
    return threads('remotetasks.')


class ThreadCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.assertEqual([], threads())
        # An idle processor does nothing of itself within a test.
        self.configure(SimpleProcessor, waitTime=600)
        # First of the clean-ups; what is started must not outlive the test.
        self.addCleanup(self.stop)

    def configure(self, factory, **arguments):
        self.service.processorFactory = factory
        self.service.processorArguments = arguments
        transaction.commit()

    def stop(self):
        processor.stop_all(PATIENCE)
        for thread in threads():
            thread.join(PATIENCE)
        self.assertEqual([], threads())

    def add(self, *args, **kw):
        """Add a job while a processor is at work.  Return its id."""
        for attempt in transaction.manager.attempts(10):
            with attempt:
                jobid = self.service.add(*args, **kw)
        return jobid

    def wait(self, event):
        self.assertTrue(event.wait(PATIENCE), 'It did not happen.')

    def join(self, thread):
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive())

    def blocking_task(self, name='test.blocking'):
        """Offer a task that tells that it began and waits to be let go."""
        self.began, self.go = threading.Event(), threading.Event()
        self.addCleanup(self.go.set)

        def block(service, input):
            effect(service, input)
            self.began.set()
            self.go.wait(PATIENCE)
        return self.service_task(block, name)


class SimpleTest(ThreadCase):

    def test_the_thread(self):
        """It is named after the service's path, a daemon, and running."""
        self.service.startProcessing()
        thread, = claimers()
        self.assertEqual('remotetasks.tasks', thread.name)
        self.assertTrue(thread.daemon)
        self.assertIs(True, thread.running)
        self.service.stopProcessing()
        self.assertIs(False, thread.running)
        self.join(thread)

    def test_session_that_never_answers(self):
        """Its processor says so; nobody else would know."""
        waiting = SimpleProcessor(self.db, ['tasks'], waitTime=600)
        asked, answered = threading.Event(), threading.Event()
        self.addCleanup(answered.set)

        def step():
            asked.set()
            answered.wait(PATIENCE)
        waiting.step = step
        registry.start_processor(waiting)
        self.wait(asked)
        self.assertIsNone(waiting.trouble)
        with unittest.mock.patch.object(processor, 'STEP_PATIENCE', 0.0):
            self.assertRegex(
                waiting.trouble, 'waits for the database, for 0 s')
        waiting.stop()
        answered.set()
        self.join(waiting.thread)
        with unittest.mock.patch.object(processor, 'STEP_PATIENCE', 0.0):
            self.assertIsNone(waiting.trouble)

    def test_start_twice(self):
        """Started twice, there is one thread."""
        self.service.startProcessing()
        self.service.startProcessing()
        self.assertEqual(1, len(claimers()))

    def test_start_at_once(self):
        """Started by two threads at once, there is one thread."""
        self.configure(MeetingProcessor, waitTime=600)
        MeetingProcessor.barrier = threading.Barrier(2)

        def start():
            with self.elsewhere() as service:
                service.startProcessing()
        starting = [threading.Thread(target=start) for _ in range(2)]
        for thread in starting:
            thread.start()
        for thread in starting:
            self.join(thread)
        self.assertEqual(1, len(claimers()))

    def test_a_commit_wakes_it(self):
        """A job added in this process is begun at once, not at next look."""
        done = collections.deque([threading.Event() for _ in range(3)])
        waiting = list(done)
        self.task(lambda input: done.popleft().set(), 'test.done')
        self.service.startProcessing()
        for event in waiting:
            self.add('test.done')
            self.wait(event)

    def test_stop_and_start(self):
        """Stopped, it takes no more jobs; started again, it does."""
        self.blocking_task()
        done = threading.Event()
        self.task(lambda input: done.set(), 'test.done')
        self.service.startProcessing()
        self.add('test.blocking')
        self.add('test.done')
        self.wait(self.began)
        first, = claimers()
        self.service.stopProcessing()
        self.assertFalse(self.service.isProcessing())
        self.go.set()
        self.join(first)
        self.assertFalse(done.is_set())
        self.service.startProcessing()
        self.wait(done)

    def test_one_at_a_time(self):
        """A simple processor runs a job after the other, in order."""
        done = threading.Event()
        self.service_task(effect)
        self.task(lambda input: done.set(), 'test.done')
        for number in range(5):
            self.service.add('test.task', number)
        self.service.add('test.done')
        transaction.commit()
        self.service.startProcessing()
        self.wait(done)
        self.assertEqual([0, 1, 2, 3, 4], self.effects)

    def test_exit_does_not_end_the_thread(self):
        """sys.exit in a function ends the function alone."""
        def leave(input):
            raise SystemExit
        self.task(leave, 'test.exit')
        done = threading.Event()
        self.task(lambda input: done.set(), 'test.done')
        self.service.startProcessing()
        self.add('test.exit')
        self.add('test.done')
        self.wait(done)
        self.assertEqual(1, len(claimers()))
        self.assertEqual(1, len(threads('runner-1.')))

    def test_what_is_raised_between_two_steps(self):
        """By another thread, say: the claimer tells of it, and goes on."""
        wait = Idling.wait
        raised, ran = threading.Event(), threading.Event()
        self.task(lambda input: ran.set(), 'test.ran')
        for error in SystemExit('from elsewhere'), KeyboardInterrupt():
            raised.clear()
            ran.clear()

            def fail(idling, error=error):
                if not raised.is_set():
                    raised.set()
                    raise error
                wait(idling)
            with self.subTest(repr(error)), \
                    unittest.mock.patch.object(Idling, 'wait', fail), \
                    logged('lovely.remotetask.processor') as lines:
                self.service.startProcessing()
                self.wait(raised)
                self.add('test.ran')
                self.wait(ran)
                self.assertTrue(self.service.isProcessing())
                self.assertIn(type(error).__name__, '\n'.join(lines))
                self.stop()

    def test_the_database_is_closed(self):
        """A database closed under it ends the thread without an error."""
        idle = threading.Event()
        self.task(lambda input: idle.set(), 'test.idle')
        self.configure(SimpleProcessor, waitTime=0.001)
        self.add('test.idle')
        self.service.startProcessing()
        thread, = claimers()
        self.wait(idle)
        with logged('lovely.remotetask', logging.WARNING) as lines:
            transaction.abort()
            self.connection.close()
            self.db.close()
            self.join(thread)
        self.assertEqual([], lines)


class MeetingProcessor(SimpleProcessor):
    """Is made at the same time as another one."""

    barrier = None

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.barrier.wait(PATIENCE)


class StopAllTest(ThreadCase):

    def start(self, factory=SimpleProcessor):
        self.configure(factory, waitTime=600)
        self.blocking_task()
        LettingGo.event = self.go
        jobid = self.add('test.blocking', 'once')
        self.service.startProcessing()
        self.wait(self.began)
        return jobid

    def test_waits_for_a_running_job(self):
        """A job that runs is finished, and the thread is joined."""
        self.check_that_it_waits(LettingGoSimple)

    def test_waits_for_the_jobs_of_a_multi_processor(self):
        """So are all threads of a processor that has many."""
        self.check_that_it_waits(LettingGoMulti)

    def check_that_it_waits(self, factory):
        jobid = self.start(factory)
        processor.stop_all(PATIENCE)
        self.assertEqual([], threads())
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertEqual(['once'], self.effects)

    def test_waits_for_one_that_was_replaced(self):
        """A job of a processor that was stopped before is waited for, too."""
        jobid = self.start(LettingGoSimple)
        self.service.stopProcessing()
        self.configure(SimpleProcessor, waitTime=600)
        self.service.startProcessing()
        self.assertEqual(2, len(claimers()))
        processor.stop_all(PATIENCE)
        self.assertEqual([], threads())
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_a_late_job(self):
        """After its grace a job commits nothing; it is run again later."""
        self.check_a_late_job(SimpleProcessor)

    def test_a_late_job_of_a_multi_processor(self):
        """Nor does one that runs in a thread of many."""
        self.check_a_late_job(MultiProcessor)

    def test_a_late_job_that_counts(self):
        """It may be why the process ends, and counts as a lost one."""
        jobid = self.start(MultiProcessor)
        made, = registry._processors.values()
        made.counts_cut_off = True
        lost = self.lost_jobs()
        with logged('lovely.remotetask', logging.WARNING) as lines:
            processor.stop_all(grace=0)
        self.assertEqual(
            [f'WARNING remotetasks.tasks: cut off, and counted as failed: '
             f'{jobid}'], lines)
        self.assertEqual([jobid], lost)
        self.go.set()
        for thread in threads():
            self.join(thread)
        job = self.job(jobid)
        self.assertEqual((QUEUED, 1, 1),
                         (job.status, job.attempts, job.failures))
        self.assertTrue(job.was_lost)
        self.assertEqual([], self.effects)

    def lost_jobs(self):
        """Return a list; the ids of jobs are added that are lost."""
        found = []
        observer = events.Observer(
            lambda event: found.append(event.job), events.JobLost)
        observer.subscribe()
        self.addCleanup(observer.unsubscribe)
        return found

    def check_a_late_job(self, factory):
        jobid = self.start(factory)
        with logged('lovely.remotetask', logging.ERROR) as lines:
            processor.stop_all(grace=0)
            self.assertFalse(self.go.is_set())
            late = threads()
            self.assertTrue(late)
            self.go.set()
            for thread in late:
                self.join(thread)
        self.assertEqual([], lines)
        self.assertEqual((QUEUED, 0), (self.job(jobid).status,
                                       self.job(jobid).attempts))
        self.assertEqual([], self.effects)
        self.service_task(effect, 'test.blocking')
        self.assertTrue(self.processor().processNext())
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertEqual(['once'], self.effects)

    def test_in_the_middle_of_a_commit(self):
        """A commit that has begun is waited for whatever the grace."""
        committing, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)

        def slow_commit(service, input):
            effect(service, input)

            def hook():
                committing.set()
                go.wait(PATIENCE)
            transaction.get().addBeforeCommitHook(hook)
        self.service_task(slow_commit)
        jobid = self.add('test.task')
        self.service.startProcessing()
        self.wait(committing)
        made, = registry._processors.values()
        stopping = threading.Thread(target=processor.stop_all, args=(0,))
        stopping.start()
        thread, = claimers()
        while made.running:
            thread.join(0.001)
        self.assertTrue(stopping.is_alive())
        go.set()
        self.join(stopping)
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_cut_off_during_the_commit_of_another(self):
        """A job that ends while that is waited for is not counted."""
        self.service.policy = Policy(attempts=1)
        blocking = self.start(MultiProcessor)
        committing, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)

        def slow_commit(service, input):
            def hook():
                committing.set()
                go.wait(PATIENCE)
            transaction.get().addBeforeCommitHook(hook)
        self.service_task(slow_commit)
        self.add('test.task')
        self.wait(committing)
        made, = registry._processors.values()
        closing = threading.Event()
        closed = made.gate._condition.wait_for

        def wait_for(*args):
            # The gate is closed by now; its lock is let go in here.
            closing.set()
            return closed(*args)
        made.gate._condition.wait_for = wait_for
        stopping = threading.Thread(target=processor.stop_all, args=(0,))
        stopping.start()
        self.wait(closing)
        runner, = [each for each in made.team.runners
                   if [blocking] == [claim.job for claim in each.claims]]
        self.go.set()
        self.join(runner.thread)
        go.set()
        self.join(stopping)
        job = self.job(blocking)
        self.assertEqual((QUEUED, 0), (job.status, job.attempts), job.error)
        self.assertEqual([], self.effects)


class LettingGo:
    """Lets a blocking job go when it is waited for."""

    event = None

    def join(self, deadline):
        self.event.set()
        super().join(deadline)


class LettingGoSimple(LettingGo, SimpleProcessor):
    pass


class LettingGoMulti(LettingGo, MultiProcessor):
    pass


class TellingProcessor(MultiProcessor):
    """Tells when it waits."""

    idle = None

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.idling.wait = functools.partial(self.tell, self.idling.wait)

    def tell(self, wait):
        self.idle.set()
        wait()


class MultiTest(ThreadCase):

    def setUp(self):
        super().setUp()
        self.lock = threading.Lock()
        self.now = self.most = 0
        TellingProcessor.idle = threading.Event()

    def start(self, max_threads, factory=MultiProcessor):
        self.configure(factory, waitTime=600, maxThreads=max_threads)
        self.service.startProcessing()

    def counted(self, meet, left):
        """Return a function that counts how many run it at a time."""
        def count(input):
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            meet(input)
            with self.lock:
                self.now -= 1
            left.release()
        return count

    def wait_for(self, left, count):
        for _ in range(count):
            self.assertTrue(left.acquire(timeout=PATIENCE))

    def test_at_the_same_time(self):
        """Jobs really run at the same time: three wait for each other."""
        barrier = threading.Barrier(3)
        left = threading.Semaphore(0)

        def meet(input):
            # Not when it is run again, after a conflict.
            if input not in met:
                met.add(input)
                barrier.wait(PATIENCE)
        met = set()
        self.task(self.counted(meet, left))
        ids = [self.service.add('test.task', number) for number in range(3)]
        self.start(max_threads=3)
        self.wait_for(left, 3)
        self.stop()
        self.assertEqual({0, 1, 2}, met)
        self.assertEqual(3, self.most)
        self.assertEqual({COMPLETED}, {self.job(id).status for id in ids})

    def test_at_most_max_threads(self):
        """Never more than maxThreads jobs run."""
        barrier = threading.Barrier(2)
        left = threading.Semaphore(0)
        self.task(self.counted(lambda input: barrier.wait(PATIENCE), left))
        for _ in range(6):
            self.service.add('test.task')
        self.start(2)
        self.wait_for(left, 6)
        self.stop()
        self.assertEqual(2, self.most)

    def test_each_end_is_a_beginning(self):
        """When a thread is free the next job begins, not at the next look."""
        def wait_until_idle(input):
            TellingProcessor.idle.wait(PATIENCE)
            TellingProcessor.idle.clear()
        left = threading.Semaphore(0)
        self.task(self.counted(wait_until_idle, left))
        for _ in range(4):
            self.service.add('test.task')
        # The wait time is 600 seconds.
        self.start(1, TellingProcessor)
        self.wait_for(left, 4)

    def test_many_short_jobs(self):
        """However short the jobs are, none has to wait for a look."""
        left = threading.Semaphore(0)
        self.task(self.counted(lambda input: None, left))
        for _ in range(30):
            self.service.add('test.task')
        self.start(1)
        self.wait_for(left, 30)
        self.assertEqual(1, self.most)

    def test_threads(self):
        """Those that run jobs are in its list, named; dead ones leave."""
        self.blocking_task()
        self.start(max_threads=2)
        self.add('test.blocking')
        self.wait(self.began)
        made, = registry._processors.values()
        self.assertEqual(
            ['runner-1.remotetasks.tasks', 'runner-2.remotetasks.tasks'],
            sorted(thread.name for thread in made.threads))
        self.assertTrue(all(thread.daemon for thread in made.threads))
        self.assertEqual(
            ['remotetasks.tasks', *sorted(t.name for t in made.threads)],
            sorted(thread.name for thread in threads()))
        running = made.threads
        self.go.set()
        self.service.stopProcessing()
        for thread in running:
            self.join(thread)
        self.assertEqual([], made.threads)

    def test_an_error_in_a_thread(self):
        """A job whose bookkeeping failed in its thread is run again."""
        left = threading.Semaphore(0)
        self.task(self.counted(lambda input: None, left))
        self.start(max_threads=2)
        made, = registry._processors.values()
        original, failed = made._execute, []

        def fail_once(claim):
            if failed:
                return original(claim)
            failed.append(claim.job)
            raise OSError('storage is down')
        made._execute = fail_once
        with logged('lovely.remotetask'):
            jobid = self.add('test.task')
            self.wait_for(left, 1)
        self.stop()
        self.assertEqual([jobid], failed)
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_a_thread_that_cannot_be_started(self):
        """Where the system gives no more threads, the job is not lost."""
        left = threading.Semaphore(0)
        self.task(self.counted(lambda input: None, left))
        jobid = self.add('test.task')
        made = MultiProcessor(self.db, ['tasks'], waitTime=0.001)
        waits = []

        def start(thread):
            if not waits:
                waits.append(thread)
                raise RuntimeError("can't start new thread")
            original(thread)
        original = threading.Thread.start
        with unittest.mock.patch.object(threading.Thread, 'start', start), \
                logged('lovely.remotetask') as lines:
            loop = threading.Thread(target=made, name='remotetasks.loop')
            original(loop)
            self.wait_for(left, 1)
        made.stop()
        self.join(loop)
        made.join(time.monotonic() + PATIENCE)
        self.assertIn("can't start new thread", '\n'.join(lines))
        self.assertEqual(COMPLETED, self.job(jobid).status)
