"""Jobs whose messages come for the first time are run unclaimed.

One commit each; and each run is counted, whatever becomes of it.
"""

import concurrent.futures
import contextlib
import time
import unittest.mock

import transaction
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import ConflictError

from gocept.async_.celery import firstruns
from gocept.async_.celery import seats
from gocept.async_.celery.attendant import Attendant
from gocept.async_.celery.attendant import Interrupted
from gocept.async_.tests import test_celeryattendant
from gocept.async_.tests.celerycase import CeleryCase
from lovely.remotetask import policy
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.machine import MACHINE
from lovely.remotetask.running import execution
from lovely.remotetask.running import lag
from lovely.remotetask.running import registry
from lovely.remotetask.running.session import opened_engine
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers


def dead(number=0, machine=MACHINE):
    """Return the id of a seat whose process has ended."""
    return f'host:{2 ** 22 + 1 + number}:seat-celery-x:{machine}--{number}'


class FirstCase(CeleryCase):

    def setUp(self):
        super().setUp()
        self.attendant = self.start(Attendant)
        self.calls = []
        self.service_task(self.called, 'test.call')

    def called(self, service, input):
        self.calls.append(input)
        service.__parent__.effects.append(input)

    def run_first(self, jobid, attendant=None):
        """As with the first message of a job."""
        return (attendant or self.attendant).run_job(
            jobid, self.jobs_db.lastTransaction(), first=True)

    def run_again(self, jobid, attendant=None):
        """As with any other message."""
        return (attendant or self.attendant).run_job(
            jobid, self.jobs_db.lastTransaction())

    def another(self):
        """Return the attendant of another process, nearly."""
        found = Attendant(self.db, self.attendant.servicePath)
        found.place = self.attendant.place
        self.addCleanup(found.close)
        return found

    def seats(self, service=None):
        return workers(service or self.service).turns()

    def enter(self, *ids):
        with self.elsewhere() as service:
            for each in ids:
                workers(service).enter(each, unclaimed=True)

    def counts(self):
        transaction.begin()
        return {status: number for status, number
                in self.service.counts().items() if number}

    def found(self, status):
        transaction.begin()
        return [job.id for job in self.service.find(status=status).jobs]

    def in_thread(self, call, *args):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(call, *args).result()

    @contextlib.contextmanager
    def commits(self):
        """Count the transactions that are committed meanwhile."""
        found = []
        finish = self.jobs_db.storage.tpc_finish

        def tpc_finish(*args):
            found.append(None)
            return finish(*args)
        with unittest.mock.patch.object(
                self.jobs_db.storage, 'tpc_finish', tpc_finish):
            yield found

    def after(self, seconds):
        """Make a round after some seconds."""
        later = time.monotonic() + seconds
        self.attendant.tend(later)


class CommitTest(FirstCase):

    def test_one_commit(self):
        """A job that is delivered once is committed once."""
        jobs = [self.add('test.call', number) for number in range(21)]
        # The first one makes this process known.
        self.assertTrue(self.run_first(jobs.pop()))
        with self.commits() as commits:
            for jobid in jobs:
                self.assertTrue(self.run_first(jobid))
        self.assertEqual(20, len(commits))
        self.assertEqual(21, len(self.effects))

    def test_it_knows_that_it_runs(self):
        """So it is not to be removed, or cancelled, by itself."""
        def look(service, input):
            found.append((service.getStatus(jobid), service.remove(jobid),
                          service.cancel(jobid)))
        found = []
        self.service_task(look, 'test.look')
        jobid = self.add('test.look')
        self.assertTrue(self.run_first(jobid))
        self.assertEqual([('processing', False, False)], found)
        self.assertEqual('completed', self.job(jobid).status)

    def test_failure(self):
        """So is one that fails."""
        def fail(service, input):
            raise ValueError('odd')
        self.service_task(fail, 'test.fail')
        self.run_first(self.add('test.call', 0))
        jobid = self.add('test.fail')
        with self.commits() as commits, \
                self.assertLogs('lovely.remotetask', 'ERROR'):
            self.assertTrue(self.run_first(jobid))
        self.assertEqual(1, len(commits))
        job = self.job(jobid)
        self.assertEqual((ERROR, 'odd', 1),
                         (job.status, job.error, job.attempts))
        self.assertEqual([jobid], self.found(ERROR))

    def test_books(self):
        """Counts and pages are right at once, and stay so."""
        jobs = [self.add('test.call', number) for number in range(5)]
        for jobid in jobs[:3]:
            self.run_first(jobid)
        for _ in range(3):
            self.assertEqual({COMPLETED: 3, QUEUED: 2}, self.counts())
            self.assertCountEqual(jobs[:3], self.found(COMPLETED))
            self.assertCountEqual(jobs[3:], self.found(QUEUED))
            self.after(seats.IDLE + 1)
            self.attendant.sweep()

    def test_claims_are_settled(self):
        """Some at a time, by the thread that runs the jobs."""
        with unittest.mock.patch.object(firstruns, 'SETTLE_AT', 3):
            for number in range(7):
                self.run_first(self.add('test.call', number))
        transaction.begin()
        seat, = self.seats()
        self.assertEqual(1, len(workers(self.service).claimed_ids(seat)))
        self.assertEqual({COMPLETED: 7}, self.counts())

    def test_retry(self):
        """Another attempt is claimed, when it is due."""
        def fail(service, input):
            self.calls.append(input)
            if len(self.calls) == 1:
                raise ConflictError
        self.service_task(fail, 'test.fail')
        jobid = self.add('test.fail')
        with self.assertLogs('lovely.remotetask', 'WARNING'):
            self.assertTrue(self.run_first(jobid))
        with unittest.mock.patch('time.time',
                                 return_value=time.time() + 60):
            self.assertTrue(self.run_first(jobid))
        self.assertEqual(2, self.job(jobid).attempts)
        self.after(9)
        self.assertEqual({COMPLETED: 1}, self.counts())


class ClaimedTest(FirstCase):
    """Jobs that are claimed all the same."""

    def claims(self, *jobids):
        """Return which jobs are claimed before they are run."""
        claim_job = JobExecution.claim_job
        found = []

        def claimed(execution, worker_id, jobid, *args):
            found.append(jobid)
            return claim_job(execution, worker_id, jobid, *args)
        with unittest.mock.patch.object(JobExecution, 'claim_job', claimed):
            for jobid in jobids:
                self.run_first(jobid)
        return found

    def test_new(self):
        """None that was just added."""
        self.assertEqual([], self.claims(self.add('test.call')))

    def test_changed(self):
        """One that somebody has requeued, or claimed before."""
        first, second = self.add('test.call', 1), self.add('test.call', 2)
        self.service.cancel(first)
        self.service.requeue(first)
        engine(self.service).claim_job('a:1:x:y', second)
        workers(self.service).stop_worker('a:1:x:y')
        transaction.commit()
        self.assertEqual([first, second], self.claims(first, second))
        self.assertCountEqual([1, 2], self.calls)

    def test_one_attempt(self):
        """One that must not be counted without being run."""
        self.service.policy = policy.Policy(attempts=1)
        transaction.commit()
        jobid = self.add('test.call')
        self.assertEqual([jobid], self.claims(jobid))

    def test_not_to_be_run(self):
        """What is paused, delayed or gone is not run."""
        delayed = self.add('test.call', delay=60)
        self.assertFalse(self.run_first(delayed))
        self.assertFalse(self.run_first(2 ** 40))
        jobid = self.add('test.call')
        self.service.paused = True
        transaction.commit()
        self.assertFalse(self.run_first(jobid))
        self.assertEqual([], self.calls)

    def test_taken_by_others(self):
        """Another kind of processor has it, perhaps."""
        jobid = self.add('test.call')
        with self.elsewhere() as service:
            engine(service).claim('a:1:x:y', 1)
        self.assertFalse(self.run_first(jobid))
        self.assertEqual([], self.calls)

    def test_seat_was_dropped(self):
        """Others took this process for dead: it uses another record."""
        self.run_first(self.add('test.call', 1))
        transaction.begin()
        before, = self.seats()
        self.take_away()
        for number in 2, 3:
            self.assertTrue(self.run_first(self.add('test.call', number)))
        transaction.begin()
        after, = self.seats()
        self.assertNotEqual(before, after)
        self.assertEqual([1, 2, 3], self.calls)
        self.assertEqual({COMPLETED: 3}, self.counts())


class TwiceTest(FirstCase):
    """Messages that come again."""

    def test_after_the_end(self):
        """Nothing is run."""
        jobid = self.add('test.call', 1)
        self.assertTrue(self.run_first(jobid))
        other = self.another()
        for attendant in self.attendant, other:
            self.assertFalse(self.run_first(jobid, attendant))
            self.assertFalse(self.run_again(jobid, attendant))
        self.assertEqual([1], self.calls)
        self.assertEqual(1, self.job(jobid).attempts)

    def test_while_it_runs(self):
        """Here, or in another process: it is called once, and counted once.
        """
        other = self.another()
        ran = []

        def task(service, input):
            self.calls.append(input)
            for attendant in self.attendant, other:
                ran.append(self.in_thread(self.run_again, jobid, attendant))
            ran.append(self.in_thread(self.run_first, jobid))
            self.in_thread(other.tend)
        self.service_task(task, 'test.other')
        jobid = self.add('test.other', 1)
        self.assertTrue(self.run_first(jobid))
        self.assertEqual([False] * 3, ran)
        self.sender.sent.clear()
        other.tend()
        self.assertEqual([], self.sender.sent)
        self.assertEqual([1], self.calls)
        self.assertEqual(1, self.job(jobid).attempts)
        self.assertEqual({COMPLETED: 1}, self.counts())

    def test_two_first_messages(self):
        """A broker that does not say so: there is one effect, one attempt."""
        other = self.another()

        def task(service, input):
            service.__parent__.effects.append(input)
            if not self.calls:
                self.calls.append(input)
                self.in_thread(self.run_first, jobid, other)
        self.service_task(task, 'test.other')
        jobid = self.add('test.other', 1)
        with self.assertLogs('lovely.remotetask', 'WARNING'):
            self.run_first(jobid)
        transaction.begin()
        self.assertEqual([1], list(self.effects))
        self.assertEqual(1, self.job(jobid).attempts)
        self.after(9)
        self.assertEqual({COMPLETED: 1}, self.counts())

    def test_nobody_runs_jobs(self):
        """A message that was given back, unrun: the job is run at once."""
        jobid = self.add('test.call', 1)
        self.assertTrue(self.run_again(jobid))
        self.assertEqual(1, self.job(jobid).attempts)

    def test_others_go_on(self):
        """Once each of the others has gone on, the job is sent and run."""
        other = self.another()
        self.run_first(self.add('test.call', 0), other)
        jobid = self.add('test.call', 1)
        self.assertFalse(self.run_again(jobid))
        self.sender.sent.clear()
        self.attendant.tend()
        self.assertEqual([], self.sender.sent)
        self.run_first(self.add('test.call', 2), other)
        self.sender.sent.clear()
        self.attendant.tend()
        self.assertEqual([('tasks', jobid)], self.sender.sent)
        self.assertTrue(self.run_again(jobid))
        self.assertEqual(1, self.job(jobid).attempts)

    def test_others_are_idle(self):
        """Or has left its seat."""
        other = self.another()
        self.run_first(self.add('test.call', 0), other)
        jobid = self.add('test.call', 1)
        self.assertFalse(self.run_again(jobid))
        other.tend(time.monotonic() + seats.IDLE + 1)
        self.sender.sent.clear()
        self.attendant.tend()
        self.assertEqual([('tasks', jobid)], self.sender.sent)

    def test_others_run_long(self):
        """Or has claimed what it runs."""
        other = self.another()

        def task(service, input):
            ran.append(self.in_thread(self.run_again, jobid))
            other.tend(time.monotonic() + seats.LATE + 1)
            self.in_thread(self.attendant.tend)
            ran.append(self.in_thread(self.run_again, jobid))
        ran = []
        self.service_task(task, 'test.other')
        jobid = self.add('test.call', 1)
        self.assertTrue(self.run_first(self.add('test.other', 2), other))
        self.assertEqual([False, True], ran)
        self.assertEqual({COMPLETED: 2}, self.counts())


class LongTest(FirstCase):
    """Runs that take long are claimed meanwhile."""

    def long(self, *calls):
        def task(service, input):
            for call in calls:
                call()
        self.service_task(task, 'test.long')
        return self.add('test.long')

    def test_claimed(self):
        """Everybody sees that it runs; its end is stored without a conflict.
        """
        seen = []
        jobid = self.long(
            lambda: self.after(seats.LATE + 1),
            lambda: seen.append(self.in_thread(self.status, jobid)),
            lambda: self.after(seats.LATE + 2))
        self.assertTrue(self.run_first(jobid))
        self.assertEqual([PROCESSING], seen)
        self.assertEqual((COMPLETED, 1), (
            self.job(jobid).status, self.job(jobid).attempts))
        self.assertEqual({COMPLETED: 1}, self.counts())
        self.after(9)
        self.assertEqual({COMPLETED: 1}, self.counts())

    def status(self, jobid):
        with self.elsewhere() as service:
            return service.jobs[jobid].status

    def test_short(self):
        """What has just begun is left alone."""
        jobid = self.long(
            lambda: self.after(seats.LATE / 2),
            lambda: seen.append(self.in_thread(self.status, jobid)))
        seen = []
        self.run_first(jobid)
        self.assertEqual([QUEUED], seen)

    def test_at_the_end(self):
        """A round in the moment of the end does not get in its way."""
        fail = JobExecution.fail
        complete = JobExecution.complete

        def completed(*args):
            complete(*args)
            self.in_thread(self.after, seats.LATE + 1)
        jobid = self.add('test.call', 1)
        with unittest.mock.patch.object(
                JobExecution, 'complete', completed):
            self.assertTrue(self.run_first(jobid))
        self.assertIs(fail, JobExecution.fail)
        self.assertEqual([1], self.calls)
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_claim_cannot_be_stored(self):
        """Nobody knows whether it is: the end is stored nevertheless."""
        def keep():
            with unittest.mock.patch.object(
                    JobExecution, 'keep', side_effect=OSError), \
                    self.assertLogs('lovely.remotetask', 'WARNING'):
                self.after(seats.LATE + 1)
        jobid = self.long(keep)
        self.assertTrue(self.run_first(jobid))
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.after(9)
        self.attendant.sweep()
        self.assertEqual({COMPLETED: 1}, self.counts())

    def test_beats(self):
        """One that takes very long is heard of."""
        times = []

        def look(seconds):
            self.after(seconds)
            with self.elsewhere() as service:
                seat, = self.seats(service)
                worker = service.store.workers[seat]
                times.append(worker.heartbeat.time)
        jobid = self.long(lambda: self.in_thread(look, 100),
                          lambda: self.in_thread(look, 200))
        self.run_first(jobid)
        self.assertLess(times[0], times[1])


class LostTest(FirstCase):
    """Processes that are gone, and may have run a job."""

    def test_killed(self):
        """The run is counted before the next one."""
        jobid = self.add('test.call', 1)
        self.enter(dead())
        with self.assertLogs('lovely.remotetask', 'WARNING'):
            self.assertTrue(self.run_again(jobid))
        job = self.job(jobid)
        self.assertEqual((COMPLETED, 2), (job.status, job.attempts))
        self.assertIn('may have run', job.history[0].error)
        self.assertEqual([1], self.calls)
        self.after(9)
        self.assertEqual({COMPLETED: 1}, self.counts())

    def test_killed_elsewhere(self):
        """On another machine: once it was silent for long."""
        jobid = self.add('test.call', 1)
        seat = dead(machine='another')
        self.enter(seat)
        self.assertFalse(self.run_again(jobid))
        self.attendant.tend()
        self.assertEqual([], self.calls)
        with unittest.mock.patch.object(
                self.attendant.membership.watch, 'is_silent',
                lambda who: who == seat):
            self.attendant.release()
        self.sender.sent.clear()
        with self.assertLogs('lovely.remotetask', 'WARNING'):
            self.attendant.tend()
        self.assertIn(('tasks', jobid), self.sender.sent)
        self.assertEqual(1, self.job(jobid).attempts)
        self.assertTrue(self.run_again(jobid))
        self.assertEqual((COMPLETED, 2), (
            self.job(jobid).status, self.job(jobid).attempts))

    def test_kills_each_time(self):
        """A job that ends its process ends in error, after its last attempt.
        """
        jobid = self.add('test.call', 1)
        self.enter(dead())
        calls = 1
        for number in range(1, 9):
            with contextlib.suppress(AssertionError), \
                    self.assertLogs('lovely.remotetask', 'WARNING'):
                self.attendant.release()
            # As a message that came again would have it claimed.
            with self.elsewhere() as service:
                engine(service).outdate(jobid)
                calls += len(engine(service).claim_job(dead(number), jobid))
            self.assertLessEqual(calls, self.job(jobid).attempts + 1)
        job = self.job(jobid)
        self.assertEqual((ERROR, 3, 3), (job.status, job.attempts, calls))
        self.assertEqual({ERROR: 1}, self.counts())

    def test_others_are_not_counted(self):
        """What is delivered for the first time, or added later, was not run.
        """
        before = [self.add('test.call', number) for number in range(3)]
        self.enter(dead())
        with contextlib.suppress(AssertionError):
            self.attendant.release()
        jobs = [*before, self.add('test.call', 3)]
        for jobid in jobs:
            self.assertTrue(self.run_first(jobid))
        self.assertTrue(self.run_again(self.add('test.call', 4)) or True)
        self.assertEqual([1] * 4, [self.job(jobid).attempts
                                   for jobid in jobs])

    def test_run_that_was_claimed(self):
        """It is known what such a process has run: nothing else is counted.
        """
        first, second = self.add('test.call', 1), self.add('test.call', 2)
        with self.elsewhere() as service:
            workers(service).enter(dead(), unclaimed=True)
            engine(service).claim_job(dead(), first)
        with self.assertLogs('lovely.remotetask', 'WARNING'):
            self.attendant.release()
        self.assertTrue(self.run_again(second))
        self.assertEqual([1, 1], [
            self.job(jobid).attempts for jobid in (first, second)])

    def test_left(self):
        """One that was left, or has ended as it should, has lost nothing."""
        other = self.another()
        self.run_first(self.add('test.call', 1), other)
        transaction.begin()
        self.assertEqual(1, len(self.seats()))
        other.close()
        transaction.begin()
        self.assertEqual({}, self.seats())
        jobid = self.add('test.call', 2)
        self.assertTrue(self.run_again(jobid))
        self.assertEqual(1, self.job(jobid).attempts)

    def test_cut_off(self):
        """A process that ends in the middle of a run leaves its seat there.
        """
        other = self.another()

        def task(service, input):
            other.close(0)
        self.service_task(task, 'test.cut')
        jobid = self.add('test.cut')
        with self.assertRaises(Interrupted):
            self.run_first(jobid, other)
        transaction.begin()
        self.assertEqual(1, len(self.seats()))
        self.take_away()
        self.assertEqual(1, self.job(jobid).attempts)
        self.service_task(lambda service, input: None, 'test.cut')
        self.assertTrue(self.run_again(jobid))
        self.assertEqual(2, self.job(jobid).attempts)

    def test_all_are_stopped(self):
        """No record is left."""
        self.run_first(self.add('test.call', 1))
        registry.stop_all(0)
        transaction.begin()
        self.assertEqual([], list(self.service.store.workers))
        self.assertEqual({COMPLETED: 1}, self.counts())


class CountedTest(test_celeryattendant.CountedTest):
    """The same, each time as with a first message."""

    def setUp(self):
        super().setUp()
        run_job = self.attendant.run_job
        self.attendant.run_job = lambda jobid, tid: run_job(
            jobid, tid, first=True)

    def lose_ends(self, *args, **kw):
        """A run that is refused is none."""
        super().lose_ends(*args, **kw)
        lost = execution.run_claimed

        def run_claimed(db, path, claim, commit):
            with opened_engine(db, path) as found:
                if outcome_of(found.admit, claim).failed:
                    return execution.NOT_BEGUN
            return lost(db, path, claim, commit)
        self.enterContext(unittest.mock.patch.object(
            execution, 'run_claimed', run_claimed))

    def test_waits_before_the_next_attempt(self):
        """Messages that come at once find nothing to do."""
        with unittest.mock.patch('time.time', lambda: self.now):
            super().test_waits_before_the_next_attempt()

    def test_run_cannot_be_counted(self):
        """For now: the job is not run again before that."""
        self.lose_ends(execution.INTERRUPTED)
        with unittest.mock.patch.object(
                JobExecution, 'settle', side_effect=OSError), \
                self.assertLogs('lovely.remotetask', 'WARNING'):
            self.deliver(5)
        self.assertEqual(1, len(self.calls))
        self.assertEqual('queued', self.job(self.jobid).status)
        self.deliver()
        self.assertEqual(1, self.check().attempts)

    def test_taken_for_dead(self):
        """Others have dropped the record of its seat: it counts all the same.
        """
        self.lose_ends(execution.INTERRUPTED)
        lost = execution.run_claimed

        def run_claimed(*args):
            end = lost(*args)
            if len(self.calls) == 1:
                self.take_away()
            return end
        with unittest.mock.patch.object(
                execution, 'run_claimed', run_claimed):
            self.deliver()
        self.assertEqual(1, len(self.calls))
        self.assertEqual(1, self.check().attempts)

    def test_one_claim_cannot_be_settled(self):
        """The others are, and nobody waits for that."""
        others = [self.add('test.call', number) for number in range(3)]
        settle = JobExecution.settle

        def odd(service, worker_id, jobids, *args):
            if self.jobid in jobids:
                raise TypeError('odd')
            return settle(service, worker_id, jobids, *args)
        for jobid in self.jobid, *others:
            self.attendant.run_job(jobid, self.jobs_db.lastTransaction())
        transaction.begin()
        seat, = workers(self.service).turns()
        with unittest.mock.patch.object(JobExecution, 'settle', odd), \
                self.assertLogs('lovely.remotetask', 'ERROR') as logs:
            for number in range(1, 6):
                self.attendant.tend(time.monotonic() + number * 100.0)
        self.assertEqual(1, sum('odd' in line for line in logs.output))
        transaction.begin()
        self.assertEqual(
            [self.jobid], workers(self.service).claimed_ids(seat))

    def test_content_cannot_be_seen(self):
        """Nothing was called, and nothing counts."""
        with unittest.mock.patch.object(
                lag, 'catch_up', side_effect=ClientDisconnected), \
                self.assertRaises(ClientDisconnected):
            self.attendant.run_job(
                self.jobid, self.jobs_db.lastTransaction())
        self.deliver()
        self.assertEqual(1, self.check().attempts)
        self.assertEqual(1, len(self.calls))
