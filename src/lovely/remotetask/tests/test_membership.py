"""What a processor is to others: who lives, whose clock is right."""

import logging
import os
import time
import unittest.mock

import transaction
import ZEO
import ZODB
import ZODB.utils
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB.MappingStorage import MappingStorage
from zope.site.folder import Folder

from lovely.remotetask import TaskService
from lovely.remotetask import machine
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import NoSuchService
from lovely.remotetask.policy import Policy
from lovely.remotetask.running import lag
from lovely.remotetask.running import quirks
from lovely.remotetask.running import registry
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import QuietProcessor
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_clock import DAY
from lovely.remotetask.workerrecords import WorkerRecords


OTHER = 'host:999999999:thread:othermachine-1-token'
ANOTHER = 'host:999999999:thread:othermachine-1-token2'


class StepCase(DatabaseCase):
    """Drives the steps of processors by a clock; no thread is started."""

    def setUp(self):
        super().setUp()
        self.calls = Calls()
        self.task(self.calls)
        # Far from that of the machine: nobody may look there.
        self.now = 5e8

    def stepping(self, db=None):
        made = QuietProcessor(db or self.db, ['tasks'])
        # There seems to be somebody to take claims.
        made.team.look_after = lambda now: None
        made.team.runners = 3 * [unittest.mock.Mock(
            began=None, claims=[], is_busy_since=lambda moment: False)]
        made.membership.clock.monotonic = lambda: self.now
        return made

    def step(self, made, seconds=15.0, level=logging.WARNING):
        self.now += seconds
        with logged('lovely.remotetask', level) as lines:
            made.step(self.now)
        return lines

    def claim(self, worker=OTHER, now=None):
        """Let another worker claim a job; its clock may be wrong."""
        with self.elsewhere() as service:
            claim, = engine(service).claim(worker, 1, now)
        return claim

    def beat(self, worker=OTHER, now=None):
        with self.elsewhere() as service:
            workers(service).beat(worker, now)


class AliveTest(StepCase):
    """Whose jobs are left alone."""

    def setUp(self):
        super().setUp()
        self.jobid = self.add('test.task')
        self.observer = self.stepping()
        # It takes none.
        self.observer.team.runners = []

    def is_left_alone(self):
        return self.job(self.jobid).status == PROCESSING

    def test_not_heard_of(self):
        """After four intervals without a sign its jobs are queued again."""
        self.claim()
        for _ in range(4):
            self.assertEqual([], self.step(self.observer))
            self.assertTrue(self.is_left_alone())
        lines = self.step(self.observer)
        self.assertFalse(self.is_left_alone())
        self.assertIn('whoever ran it is gone', lines[0])

    def test_wrong_clocks(self):
        """A worker that gives signs lives, whatever its clock shows."""
        self.claim(now=time.time() - 70)
        for off in (-70, -71, -DAY, -DAY, 8 * DAY, 0, -3650 * DAY, 0) * 3:
            self.step(self.observer)
            self.assertTrue(self.is_left_alone())
            self.beat(now=time.time() + off)

    def test_clock_that_stands_still(self):
        """Even one whose clock stands still."""
        self.claim(now=1.0)
        for _ in range(9):
            self.step(self.observer)
            self.assertTrue(self.is_left_alone())
            self.beat(now=1.0)

    def test_clock_of_the_future(self):
        """A worker that has written the year 2036, and is gone, is gone."""
        self.claim(now=time.time() + 3650 * DAY)
        for _ in range(5):
            self.step(self.observer)
        self.assertFalse(self.is_left_alone())

    def test_to_claim_is_a_sign_of_life(self):
        """One that claims, or settles, is heard of."""
        self.claim(now=1.0)
        for _ in range(9):
            self.step(self.observer)
            self.assertTrue(self.is_left_alone())
            jobid = self.add('test.task')
            self.claim(now=1.0)
            with self.elsewhere() as service:
                engine(service).settle(OTHER, [jobid])

    def test_own_clock(self):
        """That of the one who looks does not matter either."""
        self.claim()
        for off in (DAY, -DAY, 3650 * DAY, 0) * 3:
            with unittest.mock.patch(
                    'time.time', return_value=1.76e9 + off):
                self.step(self.observer)
            self.assertTrue(self.is_left_alone())
            self.beat()

    def test_stall(self):
        """A stall of the one who looks counts for nobody."""
        self.claim()
        self.step(self.observer)
        for _ in range(3):
            self.step(self.observer, 3600)
            self.assertTrue(self.is_left_alone())

    def test_outage(self):
        """Nor does an outage, in which it has seen nothing new."""
        self.claim()
        self.step(self.observer)
        with unittest.mock.patch.object(
                lag, 'ask', side_effect=ClientDisconnected):
            for _ in range(100):
                self.step(self.observer)
        self.step(self.observer)
        self.assertTrue(self.is_left_alone())

    def test_new_process(self):
        """One that has just started takes nobody over."""
        self.claim(now=1.0)
        for _ in range(9):
            self.step(self.stepping(), 3600)
            self.assertTrue(self.is_left_alone())

    def test_known_to_be_gone(self):
        """A process of this machine that has ended is seen at once."""
        self.claim(f'host:{2 ** 30}:thread:{machine.MACHINE}-1-token')
        self.step(self.observer)
        self.assertFalse(self.is_left_alone())

    def test_its_number_is_used_again(self):
        """Also if another process has got its number."""
        self.claim(f'host:{os.getpid()}:thread:{machine.MACHINE}-1-token')
        self.step(self.observer)
        self.assertFalse(self.is_left_alone())

    def test_a_process_that_hangs(self):
        """One of this machine that gives no sign is gone as well."""
        self.claim(machine.new_worker_id('thread'))
        for _ in range(5):
            self.assertTrue(self.is_left_alone())
            self.step(self.observer)
        self.assertFalse(self.is_left_alone())

    def test_own_claims(self):
        """Its own claims are alive, and those made without a processor."""
        self.claim(registry.direct_worker_id())
        jobid = self.add('test.task')
        self.assertEqual(jobid, self.observer.claimNextJob())
        for _ in range(9):
            self.step(self.observer)
            self.assertTrue(self.is_left_alone())
            self.assertEqual(PROCESSING, self.job(jobid).status)

    def test_what_is_no_worker(self):
        """Records that others have written stop nothing."""
        for worker in ('', ':', 'me', 'host:x:y:z'):
            self.add('test.task')
            self.claim(worker)
        for _ in range(5):
            self.step(self.observer)
        self.assertIsNone(self.observer.trouble)
        transaction.begin()
        self.assertEqual([], self.others())

    def test_comes_back_in_this_moment(self):
        """A sign that is seen before its jobs are taken away counts."""
        self.claim()
        for _ in range(4):
            self.step(self.observer)
        bookkeep = self.observer.membership.bookkeep

        def beat_before(call, *args):
            if call.__name__ == '_release':
                self.beat()
            return bookkeep(call, *args)
        with unittest.mock.patch.object(
                self.observer.membership, 'bookkeep', beat_before):
            self.step(self.observer)
        self.assertTrue(self.is_left_alone())

    def test_unreadable_records(self):
        """One that cannot be read gives no sign; others are by themselves."""
        jobid = self.add('test.task')
        self.claim()
        self.claim(ANOTHER)
        transaction.begin()
        with self.unreadable(self.service.store.workers[OTHER]._p_oid):
            for _ in range(9):
                self.step(self.observer)
                self.beat(ANOTHER)
            transaction.begin()
            self.assertEqual([ANOTHER], self.others())
        self.assertIsNone(self.observer.trouble)
        self.assertEqual(PROCESSING, self.job(jobid).status)

    def others(self):
        """Return the ids of the workers, the observer excepted."""
        return [worker_id for worker_id in self.service.store.workers
                if worker_id != self.observer.worker_id]

    def test_one_that_cannot_be_released(self):
        """What cannot be taken over from one worker is its own."""
        self.add('test.task')
        self.claim()
        self.claim(ANOTHER)
        original = WorkerRecords.release_worker

        def fail(service, worker_id, now=None):
            if worker_id == OTHER:
                raise OSError('broken')
            return original(service, worker_id, now)
        with unittest.mock.patch.object(WorkerRecords, 'release_worker', fail):
            for _ in range(7):
                lines = self.step(self.observer)
            transaction.begin()
            self.assertEqual([OTHER], self.others())
        self.assertIn('OSError: broken', self.observer.trouble)
        self.assertIn('OSError: broken', '\n'.join(lines))
        self.step(self.observer)
        self.assertIsNone(self.observer.trouble)


class BeatTest(StepCase):
    """How it shows that it lives."""

    def sign(self):
        transaction.begin()
        return workers(self.service).signs_of_life()

    def test_with_claims(self):
        """While it has claims, it is heard of every 15 seconds."""
        made = self.stepping()
        self.add('test.task')
        self.step(made)
        self.step(made)
        before = self.sign()
        self.step(made, 14)
        self.assertEqual(before, self.sign())
        self.step(made, 1)
        self.assertNotEqual(before, self.sign())

    def failed(self):
        """Return one whose sign could not be written; and the sign before."""
        made = self.stepping()
        self.add('test.task')
        self.step(made)
        before = self.sign()
        with unittest.mock.patch.object(
                made.membership, 'sign', side_effect=OSError('full')):
            self.step(made)
        return made, before

    def test_after_a_failure(self):
        """If a sign could not be written, it is tried again soon."""
        made, before = self.failed()
        self.assertEqual(before, self.sign())
        self.step(made, 0.2)
        self.assertNotEqual(before, self.sign())

    def test_step_before_it_is_tried_again(self):
        """One that comes too early to try puts nothing off."""
        made, before = self.failed()
        # The shortest pause after a failure is 0.05 s.
        self.step(made, 0.01)
        self.assertEqual(before, self.sign())
        self.step(made, 0.2)
        self.assertNotEqual(before, self.sign())

    def test_record_that_is_gone(self):
        """If its record is gone, it makes another, and keeps the others'."""
        made = self.stepping()
        self.add('test.task')
        self.step(made)
        self.take_away()
        self.add('test.task')
        claim = self.claim()
        self.step(made)
        self.assertIn(made.worker_id, self.sign())
        self.assertEqual(claim, self.job(claim.job).claim)


class ClockTest(StepCase):
    """A worker whose clock is far from that of the storage."""

    def setUp(self):
        self.true = 1.76e9
        self.enterContext(unittest.mock.patch.object(
            quirks, 'keeps_time_itself', return_value=False))
        # The storage dates transactions by a clock that is right.
        self.enterContext(unittest.mock.patch.object(
            ZODB.utils, 'time', unittest.mock.Mock(
                time=lambda: self.true, gmtime=time.gmtime)))
        super().setUp()
        self.cron = self.service.addCronJob('test.task', minute=(0,))
        self.service.policy = Policy(retention=DAY)
        transaction.commit()
        self.ended = self.add('test.task')
        self.service.processNext(self.true, self.ended)
        transaction.commit()

    def worker(self, off):
        """Return a worker whose clock is so many seconds off."""
        made = self.stepping()
        made.off = off
        made.membership.clock.wall = lambda: self.true + made.off
        return made

    def step(self, made, seconds=15.0):
        self.true += seconds
        return super().step(made, seconds)

    def due(self):
        return self.job(self.cron).due

    def test_right(self):
        """One whose clock is right schedules and prunes."""
        made = self.worker(30)
        self.assertEqual([], self.step(made))
        self.assertLess(self.due() - self.true, 3600)
        self.step(made, 2 * DAY)
        self.step(made)
        transaction.begin()
        self.assertNotIn(self.ended, self.service.jobs)
        self.assertIsNone(made.trouble)

    def test_set_while_a_job_runs(self):
        """Its end is dated right, and when it is tried again."""
        self.service.policy = Policy(
            attempts=3, retry_wait=60, retry_on=(ValueError,))
        transaction.commit()
        for off in (8 * DAY, 1000 * DAY, -8 * DAY):
            for input in ('fine', 'fail'):
                with self.subTest(off=off, input=input):
                    job = self.run_while_clock_is_set(off, input)
                    self.assertLess(
                        abs(job.history[0].started - self.true), 60)
                    ended = job.due if input == 'fail' else (
                        job.completed.timestamp())
                    self.assertLess(abs(ended - self.true), 600)

    def run_while_clock_is_set(self, off, input):
        made = self.worker(0)

        def work(service, input):
            made.off = off
            if input == 'fail':
                raise ValueError('no')
        with unittest.mock.patch(
                'time.time', lambda: self.true + made.off):
            self.step(made)
            self.service_task(work, 'test.setting')
            jobid = self.add('test.setting', input)
            made.claimNextJob(self.true)
            made.processNext(jobid)
        return self.job(jobid)

    def test_behind_at_the_start(self):
        """Nothing is run before another comparison tells how wrong it is."""
        made = self.worker(-8 * DAY)
        jobid = self.add('test.task')
        self.step(made)
        self.assertEqual(set(), made.known_ids())
        self.assertLessEqual(made.idling.longest(), 1.0)
        self.step(made, 1.0)
        self.assertIn(jobid, made.known_ids())

    def test_ahead(self):
        """One that is ahead leaves times alone, and prunes nothing."""
        for off in (70, 8 * DAY, 3650 * DAY):
            with self.subTest(off):
                made = self.worker(off)
                self.stand_aside(made)
                self.assertRegex(made.trouble, f'{off:.0f} s ahead of that of')

    def test_behind(self):
        """So does one that is behind."""
        for off in (-70, -8 * DAY):
            with self.subTest(off):
                made = self.worker(off)
                self.stand_aside(made)
                self.assertRegex(made.trouble, f'{-off:.0f} s behind that of')

    def stand_aside(self, made):
        lines = []
        for _ in range(10):
            lines += self.step(made)
            self.assertIsNone(self.due())
        # Jobs that wait for no time are run.
        jobid = self.add('test.task')
        lines += self.step(made)
        self.assertIn(jobid, made.claims.ids)
        self.assertEqual(PROCESSING, self.job(jobid).status)
        self.assertAlmostEqual(
            self.true, self.job(jobid).claim.time, delta=1)
        # After a while it is said again.
        self.assertTrue(1 <= len(lines) <= 5, lines)
        self.assertIn('cannot run jobs at their times', lines[0])
        self.assertIn(self.ended, self.service.jobs)
        with self.elsewhere() as service:
            service.cancel(jobid)
            workers(service).stop_worker(made.worker_id)

    def test_another_attempt(self):
        """When a job that failed is run again goes by the right clock."""
        made = self.worker(8 * DAY)
        self.step(made)
        self.service.policy = Policy(
            attempts=3, retry_wait=10, retry_on=('builtins.ValueError',))
        transaction.commit()
        self.task(int, 'test.fail')
        jobid = self.add('test.fail', 'no number')
        self.step(made)
        claim = made.claims.take()
        self.assertEqual(jobid, claim.job)
        with logged('lovely.remotetask'), unittest.mock.patch(
                'time.time', lambda: self.true + 8 * DAY):
            self.assertEqual({claim: 'ended'}, made.team.run([claim]))
        job = self.job(jobid)
        self.assertTrue(0 <= job.due - self.true <= 10, job.due - self.true)
        self.assertAlmostEqual(
            self.true, job.completed.timestamp(), delta=1)

    def test_tick(self):
        """A cron job that is due is left to those whose clock is right."""
        right, wrong = self.worker(0), self.worker(8 * DAY)
        self.step(right)
        due = self.due()
        for _ in range(5):
            self.step(wrong)
        self.assertEqual((due, CRONJOB),
                         (self.due(), self.job(self.cron).status))
        self.true = due + 1
        self.step(wrong)
        self.assertEqual((due, CRONJOB),
                         (self.due(), self.job(self.cron).status))
        self.step(right)
        self.assertEqual(PROCESSING, self.job(self.cron).status)

    def test_before_the_first_comparison(self):
        """The clock is compared before anything is scheduled."""
        wrong = self.worker(8 * DAY)
        with unittest.mock.patch.object(
                wrong.membership, 'sign', side_effect=OSError('full')):
            self.step(wrong)
        self.assertIsNone(self.due())
        self.assertIn(self.ended, self.service.jobs)

    def test_set_wrong_and_right(self):
        """A clock that is set while it works is noticed, both ways."""
        made = self.worker(0)
        self.step(made)
        due = self.due()
        made.off = 8 * DAY
        self.step(made)
        self.assertEqual(due, self.due())
        self.assertIn(self.ended, self.service.jobs)
        self.assertIn('ahead of', made.trouble)
        made.off = 0
        self.step(made)
        self.assertIsNone(made.trouble)

    def test_idle(self):
        """One that is idle gives a sign of life now and then; that is all."""
        made = self.worker(0)
        self.step(made)
        seen = []
        # Until it looks around once more, whether there is to tidy up.
        for _ in range(3):
            self.step(made)
            seen.append(self.jobs_db.lastTransaction())
        first, second, third = seen
        self.assertEqual(first, second)
        self.assertNotEqual(second, third)

    def test_ids_of_the_future(self):
        """After somebody's clock was ahead, one's own is good enough."""
        self.true += 3650 * DAY
        self.add('test.task')
        self.true -= 3650 * DAY
        made = self.worker(0)
        self.step(made)
        self.step(made)
        self.assertIsNone(made.trouble)
        self.assertLess(self.due() - self.true, 3600)


class ServerTest(StepCase):
    """A real ZEO server dates transactions by its own clock."""

    def open_database(self):
        address, stop = ZEO.server(
            storage_conf='<mappingstorage 1>\n</mappingstorage>')
        self.addCleanup(stop)
        return ZODB.DB(ClientStorage(address))

    def test_far_and_near(self):
        """A worker compares its clock with that of the server."""
        for off in (8 * DAY, 0, -8 * DAY):
            with self.subTest(off):
                made = self.stepping()
                clock = made.membership.clock
                clock.wall = lambda off=off: time.time() + off
                clock.monotonic = time.monotonic
                self.step(made)
                if off < 0:
                    # The server's could be ahead, or have been once.
                    time.sleep(1.1)
                self.step(made)
                self.assertEqual(bool(off), made.trouble is not None)
                self.assertAlmostEqual(time.time(), clock.now(), delta=30)


class SetBackTest(StepCase):
    """A clock that was wrong for a moment, where the storage goes by it."""

    def setUp(self):
        super().setUp()
        self.jobid = self.service.addCronJob('test.task', minute=(0,))
        transaction.commit()

    def next_due(self):
        return self.job(self.jobid).due

    def test_step_by_step(self):
        """A job that was scheduled for 2036 is scheduled anew."""
        made = self.processor()
        made.claimNextJob()
        future = time.time() + 3650 * DAY
        made.processNext(made.claimNextJob(future))
        self.assertGreater(self.next_due(), future)
        now = time.time() + 2 * 3600
        # The time that has passed meanwhile is made up for.
        self.assertEqual(self.jobid, made.claimNextJob(now))
        made.processNext(self.jobid)
        self.assertLess(now, self.next_due())
        self.assertLess(self.next_due(), now + 3601)

    def test_steps(self):
        """So do the steps of a processor when the clock goes back."""
        made = self.stepping()
        clock, off = made.membership.clock, 3650 * DAY
        clock.wall = lambda: time.time() + off
        self.step(made)
        self.assertGreater(self.next_due(), time.time() + DAY)
        off = 0
        self.step(made, 1)
        self.assertLess(self.next_due(), time.time() + 3601)

    def test_at_the_start(self):
        """So does one that comes later."""
        made = self.stepping()
        made.membership.clock.wall = lambda: time.time() + 3650 * DAY
        self.step(made)
        self.step(self.stepping())
        self.assertLess(self.next_due(), time.time() + 3601)


class KeepsTimeTest(DatabaseCase):

    def test_storages(self):
        """Those of this process go by its clock, also through others."""
        class Server:
            """A storage that is elsewhere."""

        self.assertFalse(quirks.keeps_time_itself(
            unittest.mock.Mock(spec=ClientStorage)))

        class Zipped:
            def __init__(self, base):
                self.base = base
        local = self.db.storage
        self.assertTrue(quirks.keeps_time_itself(local))
        self.assertTrue(quirks.keeps_time_itself(MappingStorage()))
        self.assertTrue(quirks.keeps_time_itself(Zipped(local)))
        self.assertFalse(quirks.keeps_time_itself(Server()))
        self.assertFalse(quirks.keeps_time_itself(Zipped(Server())))


class FindAgainTest(StepCase):
    """A service that is not where it was."""

    def setUp(self):
        super().setUp()
        self.root['intranet'] = site = Folder()
        site['tasks'] = self.service = TaskService()
        transaction.commit()
        self.made = self.stepping()
        self.made.servicePath = ['intranet', 'tasks']
        self.step(self.made)
        self.addCleanup(registry.stop_all, PATIENCE)

    def rename(self, name='portal'):
        site = self.root['intranet']
        del self.root['intranet']
        self.root[name] = site
        transaction.commit()

    def claimed(self, level=logging.WARNING):
        jobid = self.add('test.task')
        lines = self.step(self.made, level=level)
        self.assertIn(jobid, self.made.claims.ids)
        self.assertEqual(PROCESSING, self.job(jobid).status)
        return lines

    def test_renamed(self):
        """A site is renamed: the processor goes on, and says so."""
        self.rename()
        lines = self.claimed(logging.INFO)
        self.assertIn('INFO', lines[0])
        self.assertIn('the service is at /portal/tasks now', lines[0])
        self.assertEqual(['portal', 'tasks'], self.made.servicePath)
        self.assertIsNone(self.made.trouble)

    def test_moved(self):
        """The service is put into another site."""
        self.root['other'] = Folder()
        service = self.root['intranet']['tasks']
        del self.root['intranet']['tasks']
        self.root['other']['jobs'] = service
        transaction.commit()
        self.claimed()
        self.assertEqual(['other', 'jobs'], self.made.servicePath)

    def test_moved_and_another_in_its_place(self):
        """Another service at the old path is not the same one."""
        self.rename()
        self.root['intranet'] = Folder()
        self.root['intranet']['tasks'] = other = TaskService()
        other.add('test.task')
        transaction.commit()
        self.claimed()
        self.assertEqual(['portal', 'tasks'], self.made.servicePath)
        transaction.begin()
        self.assertEqual(1, other.counts()[QUEUED])

    def test_replaced(self):
        """Where it is gone, another one in its place is served."""
        self.add('test.task')
        self.step(self.made)
        old, worker_id = self.service, self.made.worker_id
        del self.root['intranet']['tasks']
        self.root['intranet']['tasks'] = self.service = TaskService()
        transaction.commit()
        lines = self.claimed()
        self.assertIn('another service', lines[0])
        self.assertNotEqual(worker_id, self.made.worker_id)
        self.assertEqual(1, len(self.made.claims.ids))
        self.assertEqual((self.jobs_of(self.service), self.service._p_oid),
                         (self.made.service_db, self.made.service_oid))
        self.assertIsNot(old, self.service)

    def jobs_of(self, service):
        return service._p_jar.db()

    def test_claim_on_another_service(self):
        """A claim is good for nothing in a service that came instead."""
        self.add('test.task')
        self.step(self.made)
        claim = self.made.claims.take()
        del self.root['intranet']['tasks']
        self.root['intranet']['tasks'] = self.service = TaskService()
        jobid = self.add('test.task')
        self.assertEqual(claim.job, jobid)
        self.made.team.run([claim])
        self.assertEqual([], self.calls)
        self.assertEqual(QUEUED, self.job(jobid).status)

    def test_removed(self):
        """A service that is gone is said to be, at once, and seldom."""
        del self.root['intranet']
        transaction.commit()
        lines = [line for _ in range(20) for line in self.step(self.made)]
        self.assertIn('WARNING', lines[0])
        self.assertIn('cannot find its service', lines[0])
        self.assertLess(len(lines), 7)
        self.assertIn('cannot find its service', self.made.trouble)

    def test_comes_back(self):
        """One that comes back is found."""
        site = self.root['intranet']
        del self.root['intranet']
        transaction.commit()
        self.step(self.made)
        self.root['intranet'] = site
        transaction.commit()
        self.step(self.made, 60)
        self.claimed()
        self.assertIsNone(self.made.trouble)

    def test_put_into_itself(self):
        """A site whose parents never end is found by no walk upwards."""
        site = self.root['intranet']
        site['again'] = site
        transaction.commit()
        self.claimed()
        with self.assertRaisesRegex(ValueError, 'parents without end'):
            self.service.startProcessing()
        del self.root['intranet']
        transaction.commit()
        self.step(self.made)
        self.assertIn('cannot find its service', self.made.trouble)

    def test_renamed_by_a_job(self):
        """A job may rename its own site; it is completed, and so are others.
        """
        def rename(service, input):
            site = service.__parent__
            root = site.__parent__
            del root['intranet']
            root['portal'] = site
        self.service_task(rename, 'test.rename')
        jobs = [self.add('test.rename'), self.add('test.task', 'a')]
        self.step(self.made)
        claims = [self.made.claims.take() for _ in range(2)]
        for claim in claims:
            self.made.team.run([claim])
        for step in range(3):
            self.step(self.made, step)
        self.made.team.run([claims[1]])
        self.made.claims.mark_run(claims)
        self.step(self.made, 3)
        transaction.begin()
        self.assertEqual(
            [(COMPLETED, 1)] * 2,
            [(job.status, job.attempts) for job in map(self.job, jobs)])
        self.assertEqual(2, self.service.counts()[COMPLETED])

    def test_removed_by_a_job(self):
        """A job may remove its own service: then there is nothing to do."""
        def remove(service, input):
            del service.__parent__[service.__name__]
        self.service_task(remove, 'test.remove')
        self.add('test.remove')
        self.step(self.made)
        claim = self.made.claims.take()
        with logged('lovely.remotetask', logging.WARNING) as lines:
            self.made.team.run([claim])
            self.made.claims.mark_run([claim])
            for step in range(20):
                self.step(self.made, step)
        self.assertLess(len(lines), 7)
        self.assertIn('cannot find its service', self.made.trouble)

    def test_never_there(self):
        """Where there was none, nothing is said for some seconds."""
        made = self.stepping()
        made.servicePath = ['nowhere']
        self.assertEqual([], self.step(made))
        self.assertEqual([], self.step(made, 5))
        self.assertIn('cannot find its service', self.step(made, 5)[0])
        with self.assertRaises(NoSuchService):
            made.claimNextJob()

    def test_registered(self):
        """A renamed service is processing, and gets no second processor."""
        self.service.processorFactory = QuietProcessor
        transaction.commit()
        self.service.startProcessing()
        self.rename()
        self.assertTrue(self.service.isProcessing())
        self.service.startProcessing()
        self.assertEqual(1, len(registry._processors))
        self.service.stopProcessing()
        self.assertFalse(self.service.isProcessing())

    def test_registered_by_its_path(self):
        """So is one that was started by its path, once it has looked."""
        registry.start_processor(self.made)
        self.assertTrue(self.service.isProcessing())
        self.rename()
        self.assertTrue(self.service.isProcessing())
        self.service.processorFactory = QuietProcessor
        self.service.startProcessing()
        self.assertEqual([self.made], list(registry._processors.values()))

    def test_another_at_the_old_path(self):
        """A service at the path of a renamed one has its own processor."""
        self.service.processorFactory = QuietProcessor
        self.service.startProcessing()
        self.rename()
        self.root['intranet'] = Folder()
        self.root['intranet']['tasks'] = other = TaskService()
        other.processorFactory = QuietProcessor
        transaction.commit()
        self.assertFalse(other.isProcessing())
        other.startProcessing()
        other.stopProcessing()
        self.assertTrue(self.service.isProcessing())

    def test_run_after_the_renaming(self):
        """What was claimed before is run."""
        jobid = self.add('test.task')
        self.step(self.made)
        claim = self.made.claims.take()
        self.rename()
        self.assertEqual({claim: 'not begun'}, self.made.team.run([claim]))
        self.step(self.made)
        self.assertEqual({claim: 'ended'}, self.made.team.run([claim]))
        self.assertEqual(COMPLETED, self.job(jobid).status)
