"""What a Celery worker does for a service, without Celery."""

import concurrent.futures
import contextlib
import threading
import time
import unittest.mock

import transaction
import ZODB.utils
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import ConflictError

from gocept.async_.celery import attendant as celeryattendant
from gocept.async_.celery import patience
from gocept.async_.celery.attendant import Attendant
from gocept.async_.celery.attendant import Interrupted
from gocept.async_.tests.celerycase import CeleryCase
from gocept.async_.tests.test_celerypatience import tid_at
from lovely.remotetask import policy
from lovely.remotetask import processor
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.management import Management
from lovely.remotetask.running import execution
from lovely.remotetask.running import lag
from lovely.remotetask.running import quirks
from lovely.remotetask.running import registry
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_clock import DAY


class AttendantTest(CeleryCase):

    def setUp(self):
        super().setUp()
        self.attendant = self.start(Attendant)
        self.enter(self.attendant)

    def enter(self, attendant):
        """Let an attendant be known, as the first sweep does."""
        with self.elsewhere() as service:
            workers(service).enter(attendant.worker_id)

    def run_job(self, jobid, tid=None):
        return self.attendant.run_job(
            jobid, tid or self.jobs_db.lastTransaction())

    def tid_to_come(self):
        """Return the id of a transaction that can be, but was not yet."""
        self.enterContext(unittest.mock.patch.object(patience, 'SKEW', 3600))
        return tid_at(time.time() + 600)

    def later(self, seconds):
        return time.time() + seconds

    def test_runs_once(self):
        """The second message of a job finds nothing to do."""
        jobid = self.add('test.task', 'a')
        self.assertTrue(self.run_job(jobid))
        self.assertFalse(self.run_job(jobid))
        self.attendant.settle()
        self.assertFalse(self.run_job(jobid))
        self.assertEqual(['a'], self.effects)
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertEqual(1, self.service.counts()[COMPLETED])

    def test_round_with_whatever_is_raised(self):
        """What a record raises keeps nothing else from being done."""
        for class_ in KeyboardInterrupt, SystemExit, GeneratorExit:
            with self.subTest(class_.__name__), \
                    unittest.mock.patch.object(
                        self.attendant.membership, 'look_at_clock',
                        side_effect=class_('from a record')), \
                    unittest.mock.patch.object(
                        self.attendant, 'sweep') as sweep:
                self.attendant.duties['find'].due = 0
                self.attendant.duties['clock'].due = 0
                thread = threading.Thread(target=self.attendant.tend)
                thread.start()
                thread.join()
                sweep.assert_called_once_with()
                self.assertIn('from a record', self.attendant.trouble)

    def test_waits_for_the_transaction(self):
        """A message that comes before the commit is not lost."""
        jobid = self.service.add('test.task', 'a')
        tid = self.tid_to_come()
        looks = []

        def sleep(seconds):
            looks.append(seconds)
            if len(looks) == 3:
                with self.elsewhere():
                    pass
                self.jobs_db.lastTransaction = lambda: tid
        transaction.commit()
        with unittest.mock.patch('time.sleep', sleep):
            self.assertTrue(self.run_job(jobid, tid))
        self.assertEqual(3, len(looks))
        self.assertEqual(['a'], self.effects)

    def test_does_not_wait_for_ever(self):
        """What is not seen in time is left to another message."""
        with unittest.mock.patch.object(patience, 'LONGEST', 0):
            self.assertFalse(self.run_job(2 ** 40, tid_at(time.time())))

    def test_does_not_wait_for_what_nobody_has_committed(self):
        """A message may be forged; it is not to hold a thread up."""
        jobid = self.add('test.task', 'a')
        for seconds in 60, 3600, 10 ** 7:
            with unittest.mock.patch('time.sleep', self.fail):
                self.run_job(jobid, tid_at(time.time() + seconds))
        self.assertEqual(['a'], self.effects)

    def test_asks_the_server(self):
        """Who answers has told of all that was committed before."""
        tid = self.tid_to_come()
        jobid = self.add('test.task', 'a')

        def ping():
            self.jobs_db.lastTransaction = lambda: tid
        self.jobs_db.storage.ping = ping
        with unittest.mock.patch('time.sleep', self.fail):
            self.assertTrue(self.run_job(jobid, tid))

    def test_sweep_of_what_was_sent(self):
        """A job is taken for lost only after a while."""
        jobid = self.add('test.task', 'a')
        self.assertEqual(0, self.attendant.sweep())
        self.assertEqual(1, self.attendant.sweep(self.later(11)))
        self.assertEqual([('tasks', jobid)] * 2, self.sender.sent)
        # And not again at once.
        self.assertEqual(0, self.attendant.sweep(self.later(11)))

    def test_sweep_of_another_attempt(self):
        """It is sent when it is due, though the one before was just sent."""
        jobid = self.add('test.task', 'a')
        self.attendant.sweep(self.later(11))
        job = self.job(jobid)
        job.attempts, job.due = 1, time.time()
        transaction.commit()
        self.assertEqual(1, self.attendant.sweep())

    def test_sweep_while_there_are_messages(self):
        """Much later: most likely its own is among them."""
        self.sender.messages = 1000
        self.add('test.task', 'a')
        self.assertEqual(0, self.attendant.sweep(self.later(11)))
        self.assertEqual(1, self.attendant.sweep(self.later(301)))

    def test_sweep_without_a_broker(self):
        """Nothing is noted as sent."""
        self.sender.messages = None
        self.add('test.task', 'a')
        self.assertEqual(0, self.attendant.sweep(self.later(11)))
        self.sender.messages = 0
        # Before it sends, the others are to know that it can.
        self.assertEqual(0, self.attendant.sweep(self.later(11)))
        self.assertEqual(1, self.attendant.sweep(self.later(11)))

    def test_sweep_of_what_is_due(self):
        """Sent when due, for nobody has sent it before."""
        jobid = self.add('test.task', 'a', delay=60)
        self.assertEqual(0, self.attendant.sweep())
        self.assertEqual(1, self.attendant.sweep(self.later(61)))
        self.assertEqual([('tasks', jobid)], self.sender.sent)

    def test_one_of_several_sweeps(self):
        """While it lives; two would send each job twice."""
        second = Attendant(
            self.attendant.db, self.attendant.servicePath)
        self.addCleanup(second.close)
        first, second = sorted(
            [self.attendant, second], key=lambda each: each.worker_id)
        for attendant in first, second:
            self.assertTrue(attendant.run_job(
                self.add('test.task', 'a'), self.db.lastTransaction()))
        self.add('test.task', 'b')
        self.assertEqual(0, second.sweep(self.later(11)))
        self.assertEqual(1, first.sweep(self.later(11)))
        first.close()
        self.assertEqual(1, second.sweep(self.later(11)))

    def test_who_sweeps_is_chosen(self):
        """Of many that have nothing to run, and so are not known yet."""
        with self.elsewhere() as service:
            workers(service).stop_worker(self.attendant.worker_id)
        crowd = [self.attendant, *(
            Attendant(self.db, self.attendant.servicePath)
            for _ in range(7))]
        for attendant in crowd:
            self.addCleanup(attendant.close)
            self.assertEqual(0, attendant.sweep())
        self.assertEqual([], list(self.service.store.workers))
        self.add('test.task', 'a', delay=60)
        first = sum(each.sweep(self.later(61)) for each in crowd)
        second = sum(each.sweep(self.later(61)) for each in crowd)
        self.assertEqual((0, 1), (first, second))
        leader, = [each for each in crowd if each._sweep.is_leading]
        self.assertTrue(leader.is_silent(processor.HEARTBEAT * 9e9))

    def test_one_passes_entries(self):
        """Of several, those that do not sweep write nothing."""
        second = Attendant(self.attendant.db, self.attendant.servicePath)
        self.addCleanup(second.close)
        self.enter(second)
        _, other = sorted([self.attendant, second],
                          key=lambda each: each.worker_id)
        for number in range(3):
            self.run_job(self.add('test.task', number))
        before = self.jobs_db.lastTransaction()
        other.sweep()
        self.assertEqual(before, self.jobs_db.lastTransaction())

    def test_sweep_of_what_is_new(self):
        """Nobody looks at many jobs that were sent a moment ago."""
        for number in range(3):
            self.add('test.task', number)
        with unittest.mock.patch.object(
                JobExecution, 'claim', side_effect=self.fail):
            self.assertEqual(0, self.attendant.sweep())
            self.sender.messages = 1000
            self.assertEqual(0, self.attendant.sweep(self.later(11)))

    def test_sweep_leaves_no_trace(self):
        """It claims nothing."""
        jobid = self.add('test.task', 'a')
        self.attendant.sweep(self.later(11))
        self.assertEqual('queued', self.job(jobid).status)
        self.assertEqual(
            [], workers(self.service).claimed_ids(self.attendant.worker_id))
        self.assertTrue(self.run_job(jobid))

    def test_paused(self):
        """A service that is paused is left alone."""
        self.service.paused = True
        jobid = self.add('test.task', 'a')
        self.assertEqual(0, self.attendant.sweep(self.later(11)))
        self.assertFalse(self.run_job(jobid))

    def test_orphan(self):
        """A message for a job whose process is gone: it is run at once."""
        jobid = self.add('test.task', 'a')
        machine = self.attendant.worker_id.rpartition(':')[2].split('-')[0]
        engine(self.service).claim_job(
            f'host:{2 ** 22 + 1}:x:{machine}--x', jobid)
        transaction.commit()
        with self.assertLogs('lovely.remotetask', 'WARNING'):
            self.assertTrue(self.run_job(jobid))
        self.assertEqual(['a'], self.effects)
        self.assertEqual(2, self.job(jobid).attempts)

    def test_stopped(self):
        """It settles what was run, and leaves no record."""
        self.run_job(self.add('test.task', 'a'))
        registry.stop_all(0)
        transaction.begin()
        self.assertEqual([], list(self.service.store.workers))
        self.assertEqual(1, self.service.counts()[COMPLETED])

    def test_answer_of_a_commit_is_lost(self):
        """The claim is there, and nobody knows: it is made once more."""
        jobid = self.add('test.task', 'a')
        with self.elsewhere() as service:
            engine(service).claim_job(self.attendant.worker_id, jobid)
        self.assertTrue(self.run_job(jobid))
        self.assertEqual(1, self.job(jobid).attempts)

    def test_claim_that_nobody_runs(self):
        """It is dropped."""
        jobid = self.add('test.task', 'a')
        with self.elsewhere() as service:
            engine(service).claim_job(self.attendant.worker_id, jobid)
        self.run_job(self.add('test.task', 'b'))
        self.attendant.tend()
        self.assertEqual('queued', self.job(jobid).status)

    def test_content_cannot_be_seen(self):
        """The job waits again, and this is no attempt."""
        jobid = self.add('test.task', 'a')
        with unittest.mock.patch.object(
                lag, 'catch_up', side_effect=ClientDisconnected), \
                self.assertRaises(ClientDisconnected):
            self.run_job(jobid)
        self.attendant.tend()
        self.assertEqual('queued', self.job(jobid).status)
        self.assertTrue(self.run_job(jobid))
        self.assertEqual(1, self.job(jobid).attempts)

    def test_message_of_a_job_that_runs_here(self):
        """It does not touch the claim of the thread that has the job."""
        again = []

        def task(service, input):
            again.append(self.in_thread(self.run_job, *service.jobs))
            self.in_thread(self.attendant.settle)
            self.in_thread(self.attendant.tend)
            again.append(self.in_thread(claimed_ids))

        def claimed_ids():
            with self.elsewhere() as service:
                return workers(service).claimed_ids(self.attendant.worker_id)
        self.service_task(task, 'test.other')
        jobid = self.add('test.other', 'a')
        self.assertTrue(self.run_job(jobid))
        self.assertEqual([False, [jobid]], again)

    def in_thread(self, call, *args):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(call, *args).result()

    def test_next_attempt_before_the_claim_is_settled(self):
        """No count is lost with the claim of the attempt before."""
        runs = []

        def task(service, input):
            runs.append(input)
            if len(runs) == 1:
                raise ConflictError
        self.service_task(task, 'test.other')
        jobid = self.add('test.other', 'a')
        with self.assertLogs('lovely.remotetask', 'WARNING'):
            self.assertTrue(self.run_job(jobid))
        with unittest.mock.patch('time.time', return_value=self.later(60)):
            self.assertTrue(self.run_job(jobid))
        self.attendant.tend()
        transaction.begin()
        counts = {status: number for status, number
                  in self.service.counts().items() if number}
        self.assertEqual({COMPLETED: 1}, counts)

    def test_settles_before_there_are_many(self):
        """Each claim would write those once more that were run before."""
        with unittest.mock.patch.object(celeryattendant, 'SETTLE_AT', 3):
            for number in range(5):
                self.run_job(self.add('test.task', number))
        transaction.begin()
        self.assertEqual(
            2, len(workers(self.service).claimed_ids(
                self.attendant.worker_id)))

    def test_beats(self):
        """A worker whose job takes long is heard of."""
        jobid = self.add('test.task', 'a')
        # As a thread does that runs it.
        self.attendant._runs.begin(jobid)
        self.attendant._claim_job(jobid)
        worker_id = self.attendant.worker_id
        transaction.begin()
        workers(self.service).beat(worker_id, 0)
        transaction.commit()
        self.attendant.tend()
        transaction.begin()
        worker = self.service.store.workers[worker_id]
        self.assertGreater(worker.heartbeat.time, time.time() - 5)

    def test_counts(self):
        """What was run is counted, and stored now and then, not each time."""
        attendant = self.start(Attendant)
        attendant._sweep.is_leading = False
        attendant._beaten = attendant._measured = 0.0
        self.run_by(attendant, 'a')
        self.assertFalse(attendant.is_silent(44.0))
        self.assertTrue(attendant.is_silent(46.0))
        attendant._sign(46.0)
        self.run_by(attendant, 'b')
        self.assertFalse(attendant.is_silent(61.0))
        self.assertTrue(attendant.is_silent(92.0))
        transaction.begin()
        found = Management(self.service).total()
        self.assertEqual(1, found['test.task'].completed)

    def test_counts_without_a_claim(self):
        """Also what is run under the record of a seat."""
        attendant = self.start(Attendant)
        self.run_by(attendant, 'a', first=True)
        found = attendant.membership.tally.total()
        self.assertEqual(1, found['test.task'].completed)

    def run_by(self, attendant, input, **options):
        jobid = self.add('test.task', input)
        attendant.run_job(jobid, self.jobs_db.lastTransaction(), **options)
        attendant.settle()

    def test_one_odd_record(self):
        """What cannot be described does not keep others from being sent."""
        for number in range(3):
            self.add('test.task', number)
        describe = self.attendant._sweep._describe

        def odd(service, jobid):
            if jobid == min(service.jobs):
                raise TypeError('odd')
            return describe(service, jobid)
        self.sender.sent.clear()
        with unittest.mock.patch.object(
                self.attendant._sweep, '_describe', odd):
            self.assertEqual(2, self.attendant.sweep(self.later(11)))

    def test_each_duty_by_itself(self):
        """One that fails does not keep the others from being done."""
        jobid = self.add('test.task', 'a', delay=1)
        self.run_job(self.add('test.task', 'b'))
        with unittest.mock.patch.object(
                self.attendant, 'release', side_effect=OSError), \
                self.assertLogs('lovely.remotetask', 'WARNING') as logs:
            self.attendant.tend()
            with unittest.mock.patch(
                    'time.time', return_value=self.later(2)):
                self.attendant.tend()
        self.assertEqual(1, len(logs.output))
        self.assertIn(('tasks', jobid), self.sender.sent)
        transaction.begin()
        self.assertEqual(1, self.service.counts()[COMPLETED])

    def test_odd_worker(self):
        """The id of a worker that nobody has made like this ends nothing."""
        jobid = self.add('test.task', 'a')
        engine(self.service).claim_job('odd', jobid)
        transaction.commit()
        self.assertFalse(self.run_job(jobid))


class LeaderTest(CeleryCase):
    """One of two sends what waits; another one if that one cannot."""

    def setUp(self):
        super().setUp()
        one = self.start(Attendant)
        both = one, Attendant(one.db, one.servicePath)
        self.addCleanup(both[1].close)
        with self.elsewhere() as service:
            for each in both:
                workers(service).enter(each.worker_id)
        self.first, self.second = sorted(
            both, key=lambda each: each.worker_id)
        self.add('test.task', 'a', delay=60)
        self.now = time.time() + 61

    def rounds(self, number=3):
        """Let both sweep in turn.  Return how many jobs each has sent."""
        sent = [0, 0]
        for _ in range(number):
            for index, each in enumerate((self.first, self.second)):
                sent[index] += each.sweep(self.now)
        return sent

    def leaders(self):
        return [each for each in (self.first, self.second)
                if each._sweep.is_leading]

    def knows_no_time(self, attendant):
        return unittest.mock.patch.object(
            attendant, 'knows_time', return_value=False)

    def cannot_send(self, attendant):
        return unittest.mock.patch.object(
            attendant, '_send', side_effect=OSError('no route'))

    def test_good(self):
        """The first one sends, and writes nothing for that."""
        self.assertEqual(1, self.first.sweep(self.now))
        self.add('test.task', 'b')
        before = self.jobs_db.lastTransaction()
        self.now += 11
        self.assertEqual([1, 0], self.rounds())
        self.assertEqual(before, self.jobs_db.lastTransaction())
        self.assertEqual([self.first], self.leaders())

    def test_knows_no_time(self):
        """It says so, and one whose clock is right sends what is due."""
        with self.knows_no_time(self.first):
            self.assertEqual([0, 1], self.rounds())
            self.assertEqual([self.second], self.leaders())

    def test_odd_fact(self):
        """What another one has stored stops nobody."""
        for odd in None, 'x', [1], True, 99:
            with self.subTest(odd):
                with self.elsewhere() as service:
                    workers(service).sign(
                        self.second.worker_id, facts={'sends': odd})
                self.add('test.task', odd, delay=60)
                self.now += 61
                self.assertLess(0, self.rounds()[0])

    def test_sign_fails(self):
        """That it can send less is told as soon as that can be told."""
        self.assertEqual(1, self.first.sweep(self.now))
        self.add('test.task', 'c', delay=60)
        self.now += 61
        with self.knows_no_time(self.first):
            with unittest.mock.patch.object(
                    self.first.membership, 'sign', side_effect=OSError
                    ), self.assertRaises(OSError):
                self.first.sweep(self.now)
            self.assertLess(0, self.rounds()[1])

    def test_unknown_one_knows_time(self):
        """It takes the lead, though it is idle, and was not known yet."""
        with self.elsewhere() as service:
            workers(service).stop_worker(self.second.worker_id)
        with self.knows_no_time(self.first):
            self.assertEqual([0, 1], self.rounds())

    def test_nobody_knows_time(self):
        """What waits for no time is sent all the same."""
        self.add('test.task', 'b')
        with self.knows_no_time(self.first), self.knows_no_time(self.second):
            self.assertEqual(1, self.rounds()[0])
            self.assertEqual([self.first], self.leaders())

    def test_cannot_send(self):
        """It leaves that to one that can."""
        with self.cannot_send(self.first), \
                self.assertLogs(level='ERROR') as logs:
            self.assertEqual([0, 1], self.rounds())
        self.assertEqual(1, len(logs.output))

    def test_fails(self):
        """Whatever it is that keeps it from sending."""
        with unittest.mock.patch.object(
                self.first._sweep, '_find_waiting',
                side_effect=TypeError('odd')):
            with self.assertRaisesRegex(TypeError, 'odd'):
                self.first.sweep(self.now)
            self.assertEqual([0, 1], self.rounds())

    def test_can_send_again(self):
        """It takes the lead when there is nobody else any more."""
        with self.cannot_send(self.first), self.assertLogs(level='ERROR'):
            self.rounds()
        self.second.close()
        self.now += 301
        self.assertEqual(0, self.first.sweep(self.now))
        self.assertEqual(1, self.first.sweep(self.now))

    def test_nobody_can_send(self):
        """Nobody leads, and nothing is written, until the broker answers."""
        self.sender.messages = None
        self.rounds()
        before = self.jobs_db.lastTransaction()
        self.assertEqual([0, 0], self.rounds())
        self.assertEqual(before, self.jobs_db.lastTransaction())
        self.assertEqual([], self.leaders())
        self.sender.messages = 0
        self.assertEqual(1, sum(self.rounds()))


class ClockTest(CeleryCase):
    """The clock of this machine is far from that of the storage."""

    def setUp(self):
        self.true, self.off = 1.76e9, 0
        self.enterContext(unittest.mock.patch.object(
            quirks, 'keeps_time_itself', return_value=False))
        # The storage dates transactions by a clock that is right.
        self.enterContext(unittest.mock.patch.object(
            ZODB.utils, 'time', unittest.mock.Mock(
                time=lambda: self.true, gmtime=time.gmtime)))
        self.enterContext(unittest.mock.patch(
            'time.monotonic', lambda: self.true))
        self.enterContext(unittest.mock.patch('time.sleep', self.sleep))
        super().setUp()
        self.service.policy = policy.Policy(
            attempts=3, retry_wait=60, retry_on=(ValueError,))
        transaction.commit()

    def sleep(self, seconds):
        self.true += seconds

    def fail_in(self, attendant, **more):
        """Return a job that has failed once."""
        def fail(service, input):
            raise ValueError('no')
        self.service_task(fail, 'test.fail')
        jobid = self.add('test.fail')
        with unittest.mock.patch(
                'time.time', lambda: self.true + self.off):
            attendant.run_job(jobid, self.jobs_db.lastTransaction(), **more)
        return self.job(jobid)

    def check_times(self, job):
        for moment in (job.history[0].started, job.completed.timestamp(),
                       job.due):
            self.assertLess(abs(moment - self.true), 600)

    def test_first_jobs(self):
        """Also the first one is dated right, and when it is tried again."""
        for off in 8 * DAY, 1000 * DAY, -8 * DAY:
            with self.subTest(off=off):
                self.off = off
                self.check_times(self.fail_in(
                    self.start(Attendant), first=True))

    def test_claimed(self):
        """One whose message has come again is claimed; that is dated, too."""
        self.off = 8 * DAY
        self.check_times(self.fail_in(self.start(Attendant)))

    def test_compared_a_moment_ago(self):
        """A round has begun to find out how wrong the clock is."""
        self.off = -8 * DAY
        attendant = self.start(Attendant)
        with unittest.mock.patch(
                'time.time', lambda: self.true + self.off):
            attendant.tend()
        self.assertTrue(attendant.membership.clock.is_unsure)
        self.true += 0.3
        self.check_times(self.fail_in(attendant))

    def test_set_since(self):
        """A clock that was set while there was nothing to do is compared."""
        attendant = self.start(Attendant)
        self.check_times(self.fail_in(attendant))
        self.off = 8 * DAY
        self.check_times(self.fail_in(attendant))

    def test_compared_once(self):
        """A clock that is known costs nothing more."""
        attendant = self.start(Attendant)
        self.fail_in(attendant)
        with unittest.mock.patch.object(
                attendant.membership, 'sign') as sign:
            self.check_times(self.fail_in(attendant))
        sign.assert_not_called()

    def test_cannot_be_compared(self):
        """What keeps that from being done keeps no job from being run."""
        attendant = self.start(Attendant)
        with unittest.mock.patch.object(
                attendant.membership, 'sign', side_effect=TypeError('odd')):
            self.assertEqual(1, self.fail_in(attendant).attempts)

    def test_storage_fails(self):
        """The job waits until it can be dated."""
        attendant = self.start(Attendant)
        with unittest.mock.patch.object(
                attendant.membership, 'sign',
                side_effect=ClientDisconnected), \
                self.assertRaises(ClientDisconnected):
            self.fail_in(attendant)
        self.assertEqual([0], [
            job.attempts for job in self.service.jobs.values()])


class CountedTest(CeleryCase):
    """No function is called without a counted attempt.

    However the end of a run gets lost, and whatever else fails besides.
    """

    def setUp(self):
        super().setUp()
        self.attendant = self.start(Attendant)
        self.calls = []
        self.service_task(
            lambda service, input: self.calls.append(input), 'test.call')
        self.jobid = self.add('test.call', 1)
        self.now = time.time()

    def deliver(self, times=1):
        """Let messages of the job arrive, and rounds be made, as time passes.
        """
        for _ in range(times):
            self.now += 1
            with unittest.mock.patch('time.time', lambda: self.now), \
                    contextlib.suppress(Interrupted, OSError, ValueError):
                self.attendant.run_job(
                    self.jobid, self.jobs_db.lastTransaction())
            with unittest.mock.patch('time.time', lambda: self.now):
                self.attendant.tend()

    def check(self):
        job = self.job(self.jobid)
        self.assertLessEqual(len(self.calls), job.attempts)
        return job

    def lose_ends(self, end=execution.ENDED, error=None):
        """Let nothing be stored of how runs end."""
        def run_claimed(db, path, claim, commit):
            self.calls.append(claim.attempt)
            if error is not None:
                raise error
            return end
        patch = unittest.mock.patch.object(
            execution, 'run_claimed', run_claimed)
        patch.start()
        self.addCleanup(patch.stop)

    def test_end_is_not_stored(self):
        """Each run counts; after the last attempt it is an error."""
        for end in execution.ENDED, execution.UNSTORED:
            with self.subTest(end):
                self.calls.clear()
                self.jobid = self.add('test.call', 1)
                self.check_end_is_not_stored(end)

    def check_end_is_not_stored(self, end):
        self.lose_ends(end)
        self.deliver(100)
        job = self.check()
        self.assertEqual(ERROR, job.status)
        self.assertEqual(3, len(self.calls))
        self.assertIn('could not be stored', job.error)

    def test_waits_before_the_next_attempt(self):
        """Messages that come at once find nothing to do."""
        self.lose_ends()
        self.deliver()
        for _ in range(20):
            self.attendant.run_job(self.jobid, self.jobs_db.lastTransaction())
            self.attendant.tend()
        self.assertEqual(1, len(self.calls))

    def test_what_runs_it_fails(self):
        """Nothing is known of the run then."""
        self.lose_ends(error=ValueError('odd'))
        self.deliver(100)
        self.assertEqual(3, len(self.calls))
        self.assertEqual(ERROR, self.check().status)

    def test_claim_cannot_be_settled(self):
        """It is not claimed again before that."""
        self.lose_ends()
        settle = JobExecution.settle
        with unittest.mock.patch.object(
                JobExecution, 'settle', side_effect=OSError), \
                self.assertLogs('lovely.remotetask', 'WARNING'):
            self.deliver(100)
            self.assertEqual(1, len(self.calls))
        self.assertIs(settle, JobExecution.settle)
        self.attendant.duties['end'].due = 0
        self.deliver(100)
        self.assertEqual(3, len(self.calls))
        self.check()

    def test_interrupted(self):
        """By what it stands on: no failed attempt, unless that never ends."""
        self.enterContext(
            unittest.mock.patch.object(policy, 'INTERRUPTION_WAIT', 0))
        self.lose_ends(execution.INTERRUPTED)
        self.deliver(policy.INTERRUPTIONS)
        self.assertEqual('queued', self.check().status)
        self.assertEqual(0, self.check().failures)
        self.assertEqual(policy.INTERRUPTIONS, len(self.calls))
        self.deliver(100)
        self.assertEqual(ERROR, self.check().status)
        self.assertEqual(policy.INTERRUPTIONS + 3, len(self.calls))

    def test_not_begun(self):
        """Nothing was called, and nothing counts."""
        self.lose_ends(execution.NOT_BEGUN)
        self.deliver(30)
        self.assertEqual(0, self.job(self.jobid).attempts)
        self.assertEqual('queued', self.job(self.jobid).status)

    def test_cut_off(self):
        """A process that ends in the middle leaves its record: it counts."""
        self.lose_ends()
        began = []

        def run_claimed(db, path, claim, commit):
            self.calls.append(claim.attempt)
            self.attendant.close(0)
            began.append(True)
            return execution.INTERRUPTED
        with unittest.mock.patch.object(
                execution, 'run_claimed', run_claimed):
            self.deliver()
        self.assertEqual([True], began)
        self.take_away()
        self.assertEqual(1, self.check().attempts)

    def test_good_job(self):
        """It is called once, however often it is delivered."""
        self.deliver(10)
        self.assertEqual([1], self.calls)
        self.assertEqual(COMPLETED, self.check().status)

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
        with unittest.mock.patch.object(
                JobExecution, 'settle', odd), \
                self.assertLogs('lovely.remotetask', 'ERROR') as logs:
            for number in range(5):
                self.attendant.tend(number * 100.0)
        self.assertEqual(1, sum('odd' in line and 'could not work' in line
                                for line in logs.output))
        transaction.begin()
        self.assertEqual(
            [self.jobid],
            workers(self.service).claimed_ids(self.attendant.worker_id))
