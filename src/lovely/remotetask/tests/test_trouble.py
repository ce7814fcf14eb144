"""What keeps a processor from its work: what else it does, what it says."""

import contextlib
import logging
import tempfile
import time
import unittest.mock

import transaction
import ZODB
from ZEO.Exceptions import ClientDisconnected
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError
from ZODB.POSException import ReadOnlyError

from lovely.remotetask import processor
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import IProcessor
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.policy import Policy
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.runends import LOST_PROCESS
from lovely.remotetask.running import duty
from lovely.remotetask.running import quirks
from lovely.remotetask.running.membership import Membership
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_clock import DAY
from lovely.remotetask.tests.test_membership import StepCase
from lovely.remotetask.tests.test_threads import ThreadCase
from lovely.remotetask.upkeep import Upkeep
from lovely.remotetask.workerrecords import WorkerRecords


class DutyTest(StepCase):
    """What fails keeps nothing else from being done."""

    def setUp(self):
        super().setUp()
        self.made = self.stepping()
        self.service.policy = Policy(retention=DAY, keep_result=True)
        self.ended = self.add('test.task')
        self.service.processNext(time.time() - 2 * DAY, self.ended)
        self.lost = self.add('test.task')
        self.claim(f'host:{2 ** 30}:t:{self.here()}-1-token')
        self.cron = self.service.addCronJob('test.task', minute=(0,))
        transaction.commit()
        self.add('test.task')

    def here(self):
        return self.made.worker_id.rpartition(':')[2].split('-')[0]

    def failing(self, name):
        owner, = [each for each in (JobExecution, WorkerRecords, Upkeep)
                  if name in vars(each)]
        return unittest.mock.patch.object(
            owner, name, side_effect=OSError('it broke'))

    def check(self, but=None):
        """See that all was done but for one thing."""
        transaction.begin()
        done = {
            'prune': self.ended not in self.service.jobs,
            'release_worker': self.job(self.lost).history[0:1] and (
                LOST_PROCESS.split(' (')[0]
                in self.job(self.lost).history[0].error),
            'claim': bool(self.made.claims.ids),
            'next_due': bool(self.made.claims.ids)}
        self.assertEqual(
            dict.fromkeys(done, True),
            {name: bool(value) or name == but
             or {name, but} == {'claim', 'next_due'}
             for name, value in done.items()})

    def test_all(self):
        """Where nothing fails all is done, and there is no trouble."""
        self.step(self.made)
        self.check()
        self.assertIsNone(self.made.trouble)

    def test_each(self):
        """Where one thing fails the others are done, and it says which."""
        for name, what in (
                ('prune', 'remove jobs that were kept long enough'),
                ('release_worker', 'take over from workers that are gone'),
                ('signs_of_life', 'take over from workers that are gone'),
                ('correct_schedule', 'correct the times of jobs'),
                ('claim', 'take jobs'), ('next_due', 'take jobs')):
            with self.subTest(name):
                # Anew for each.
                self.setUp()
                with self.failing(name):
                    lines = [line for line in self.step(self.made)
                             if 'whoever ran it' not in line]
                but = name.replace('signs_of_life', 'release_worker')
                self.check(but)
                self.assertIn(what, self.made.trouble)
                self.assertIn('builtins.OSError: it broke',
                              self.made.trouble)
                self.assertEqual(1, len(lines))
                self.assertIn('could not work, trying again', lines[0])
                self.assertIn('it broke', lines[0])
                self.step(self.made, 100)
                self.check()
                self.assertIsNone(self.made.trouble)
                self.service = self.root['tasks']

    def test_declared(self):
        """Trouble is part of what a processor promises."""
        self.assertIn('trouble', IProcessor)
        self.assertIn('running', IProcessor)


class SettleTest(StepCase):
    """One claim that cannot be settled."""

    def test_others_are_settled(self):
        """Claims are settled one by one where all together cannot be."""
        made = self.stepping()
        made.team.tempo.learn(0.001)
        ids = [self.add('test.task', number) for number in range(5)]
        self.step(made)
        claims = [made.claims.take() for _ in ids]
        for claim in claims:
            made.team.run([claim])
        made.team.has_run(claims)
        settle, broken = JobExecution.settle, ids[2]

        def fail(service, worker_id, jobids, *args):
            if broken in jobids:
                raise KeyError('unreadable')
            settle(service, worker_id, jobids, *args)
        with unittest.mock.patch.object(JobExecution, 'settle', fail):
            jobid = self.add('test.task', 9)
            self.step(made)
            self.assertIn(jobid, made.claims.ids)
            self.assertEqual({broken, jobid}, made.claims.ids)
            self.assertIn('cannot settle', made.trouble)
            for _ in range(5):
                lines = self.step(made, 1)
            self.assertLess(len(lines), 3)
        self.step(made, 60)
        self.assertEqual({jobid}, made.claims.ids)
        self.assertIsNone(made.trouble)


class SayTest(StepCase):
    """What the log is told."""

    def setUp(self):
        super().setUp()
        self.made = self.stepping()

    def steps(self, seconds, error):
        """Make steps as the loop would.  Return lines and their number."""
        def fail(service):
            # Anew: the traceback of an exception grows when it is raised.
            raise type(error)(*error.args)
        lines, number = [], 0
        with unittest.mock.patch.object(JobExecution, 'next_due', fail), \
                unittest.mock.patch('time.sleep'):
            end = self.now + seconds
            while self.now < end:
                self.add('test.task')
                lines += self.step(self.made, 0.0)
                number += 1
                self.now = max(self.made.duties['take'].due, self.now)
        return lines, number

    def test_an_hour(self):
        """What fails for an hour fills no log, and is tried seldom."""
        lines, number = self.steps(3600, OSError('gone'))
        self.assertLess(len(lines), 12)
        self.assertLess(number, 300)
        self.assertTrue(all('OSError: gone' in line for line in lines))
        self.assertTrue(lines[0].startswith('ERROR'))
        self.assertTrue(all(
            line.startswith('WARNING') and 'still cannot work' in line
            for line in lines[1:]))

    def test_never_empty(self):
        """An exception without a message has a reason, too."""
        self.steps(30, ReadOnlyError())
        self.assertIn('ReadOnlyError', self.made.trouble)

    def test_server_that_is_away(self):
        """It is said at once, and seldom after that, on one line."""
        lines, _ = self.steps(600, ClientDisconnected('timed out'))
        self.assertLess(len(lines), 9)
        self.assertTrue(all(line.startswith('WARNING') and '\n' not in line
                            for line in lines))
        self.assertIn('ClientDisconnected', lines[0])
        self.assertIn('ClientDisconnected', self.made.trouble)

    def test_conflicts(self):
        """Those that pass are no trouble; those that do not are."""
        with unittest.mock.patch('time.monotonic', lambda: self.now):
            lines, _ = self.steps(3, ConflictError())
            self.assertEqual([], lines)
            self.assertIsNone(self.made.trouble)
            lines, _ = self.steps(60, ConflictError())
            self.assertIn('conflicts', self.made.trouble)
            self.assertIn('conflicts', lines[0])

    def test_control_characters(self):
        """What an exception says is no line of its own."""
        lines, _ = self.steps(1, OSError('a\nERROR b\x1b[31m'))
        self.assertNotIn('\nERROR b', lines[0])
        self.assertNotIn('\x1b', lines[0])
        self.assertNotIn('\n', self.made.trouble)

    def test_well_again(self):
        """When it can work again, that is said."""
        self.steps(1, OSError('gone'))
        self.now += 60
        with logged('lovely.remotetask', logging.INFO) as lines:
            self.made.step(self.now)
        self.assertTrue(any('can take jobs again' in line for line in lines))


class ReadOnlyTest(StepCase):

    def test_read_only(self):
        """A database that cannot be written to is said to be, once."""
        jobid = self.add('test.task')
        made = self.stepping()
        with unittest.mock.patch.object(
                quirks, 'is_read_only', return_value=True):
            lines = [line for _ in range(20) for line in self.step(made, 1)]
            self.assertTrue(1 <= len(lines) < 4)
            self.assertIn('WARNING', lines[0])
            self.assertIn('the database is read-only', lines[0])
            self.assertNotIn('Traceback', lines[0])
            self.assertIn('read-only', made.trouble)
            self.assertFalse(made.claims.ids)
        self.step(made, 60)
        self.assertIn(jobid, made.claims.ids)
        self.assertIsNone(made.trouble)

    def test_away(self):
        """A server that is known to be away is not waited for."""
        made = self.stepping()
        self.add('test.task')
        with unittest.mock.patch.object(
                quirks, 'is_away', return_value=True), \
                unittest.mock.patch.object(
                    quirks, 'is_read_only', return_value=True), \
                unittest.mock.patch.object(
                    self.db, 'open', side_effect=AssertionError):
            lines = [line for _ in range(20) for line in self.step(made, 1)]
            self.assertIn('the server of the database is away', lines[0])
            self.assertIn('is away', made.trouble)
            self.assertLess(len(lines), 4)
            made.stop()
            made.team.runners = []
            made._finish()
        self.assertFalse(quirks.is_away(self.db))

    def test_storages(self):
        """The storage is asked; those that are not asked can be written."""
        class Silent(MappingStorage):
            isReadOnly = None

        class Refusing(MappingStorage):
            def isReadOnly(self):
                return True
        self.assertFalse(quirks.is_read_only(self.db))
        for class_, expected in ((Silent, False), (Refusing, True)):
            db = unittest.mock.Mock(storage=class_())
            self.assertEqual(expected, quirks.is_read_only(db))


class AwayTest(ThreadCase):
    """A storage that is away while a job is due; with threads."""

    def test_due(self):
        """A few attempts, and a few lines; then the job is run."""
        self.task(lambda input: None)
        jobid = self.add('test.task', delay=0.3)
        original, opened = self.db.open, []

        def refuse(*args, **kw):
            opened.append(args)
            raise OSError('connection refused')
        made = SimpleProcessor(self.db, ['tasks'])
        processor.start_processor(made)
        while made.claimer.next_due is None:
            time.sleep(0.001)
        with logged('lovely.remotetask', logging.INFO) as lines:
            self.db.open = refuse
            end = time.monotonic() + 3
            while time.monotonic() < end:
                made.wake()
                time.sleep(0.01)
            self.db.open = original
        self.assertLess(len(lines), 4, lines)
        self.assertLess(len(opened), 15)
        self.assertIn('connection refused', made.trouble)
        end = time.monotonic() + PATIENCE
        while (self.job(jobid).status != COMPLETED
                and time.monotonic() < end):
            time.sleep(0.01)
        self.assertEqual(COMPLETED, self.job(jobid).status)
        while made.trouble and time.monotonic() < end:
            time.sleep(0.01)
        self.assertIsNone(made.trouble)

    def test_stop_meanwhile(self):
        """It stops at once, however long the pause is."""
        pause = 120.0
        self.enterContext(
            unittest.mock.patch.object(duty, 'FIRST_PAUSE', pause))
        self.enterContext(
            unittest.mock.patch.object(duty, 'LONGEST_PAUSE', pause))
        made = SimpleProcessor(self.db, ['tasks'])
        with unittest.mock.patch.object(
                Membership, 'bookkeep', side_effect=OSError('away')), \
                logged('lovely.remotetask'):
            processor.start_processor(made)
            while made.duties['take'].due < time.monotonic():
                time.sleep(0.01)
            begin = time.monotonic()
            self.stop()
        self.assertLess(time.monotonic() - begin, pause / 4)


class FinishTest(ThreadCase):
    """A processor that has been stopped, and still has a job."""

    def test_beats(self):
        """It gives signs of life until the job has ended."""
        self.enterContext(
            unittest.mock.patch.object(processor, 'HEARTBEAT', 0.05))
        self.blocking_task()
        jobid = self.add('test.blocking')
        self.service.startProcessing()
        self.wait(self.began)
        self.service.stopProcessing()
        seen = set()
        end = time.monotonic() + PATIENCE
        while len(seen) < 4 and time.monotonic() < end:
            transaction.begin()
            seen.update(workers(self.service).signs_of_life().values())
            time.sleep(0.02)
        self.assertGreaterEqual(len(seen), 4)
        self.assertEqual(PROCESSING, self.job(jobid).status)


class TransactionTest(ThreadCase):
    """A processor that is started in a transaction with changes."""

    def setUp(self):
        super().setUp()
        self.ran = []
        self.task(self.ran.append)

    def process(self, number):
        self.add('test.task', number)
        self.service.process()

    def test_commit(self):
        """The caller commits, without a conflict, as the README does."""
        for number in range(50):
            with self.subTest(number):
                self.process(number)
                self.service.startProcessing()
                self.assertTrue(self.service.isProcessing())
                time.sleep(0.001)
                transaction.commit()
                self.stop()
        self.assertEqual(list(range(50)), self.ran)

    def test_begins_then(self):
        """It begins when the transaction has ended, one way or another."""
        for end in (transaction.commit, transaction.abort,
                    transaction.begin, self.forget):
            with self.subTest(end.__name__):
                later = self.add('test.task', 'later')
                self.service.cancel(later)
                self.service.startProcessing()
                self.assertTrue(self.service.isProcessing())
                time.sleep(0.05)
                self.assertEqual([], self.ran)
                end()
                jobid = self.add('test.task', 'ran')
                deadline = time.monotonic() + PATIENCE
                while ('ran' not in self.ran
                        and time.monotonic() < deadline):
                    time.sleep(0.005)
                self.stop()
                self.assertEqual(COMPLETED, self.job(jobid).status)
                del self.ran[:]

    def forget(self):
        """Forget the transaction, without ending it."""
        transaction.manager.get()
        transaction.manager.manager.free(transaction.get())
        for connection in self.connection.connections.values():
            connection._needs_to_join = True
            connection._registered_objects = []
            connection.cacheMinimize()

    def test_stopped_before(self):
        """One that is stopped before that does nothing at all."""
        self.process(1)
        self.service.startProcessing()
        self.service.stopProcessing()
        self.assertFalse(self.service.isProcessing())
        self.stop()
        transaction.commit()

    def test_without_changes(self):
        """Where nothing was changed, it begins at once."""
        self.add('test.task', 1)
        transaction.begin()
        self.service.counts()
        self.service.startProcessing()
        end = time.monotonic() + PATIENCE
        while not self.ran and time.monotonic() < end:
            time.sleep(0.005)
        self.assertEqual([1], self.ran)


class NoDatabaseTest(StepCase):

    def test_closed(self):
        """A database that is closed stops it, without a word of error."""
        made = self.stepping()
        self.step(made)
        with contextlib.closing(ZODB.DB(None)) as other:
            made.membership.place = other, made.service_oid
        self.assertEqual([], self.step(made))
        self.assertFalse(made.running)

    def test_given_up(self):
        """So does a storage that has closed itself: it works never again."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        storage = FileStorage(f'{folder}/Data.fs')
        made = self.stepping()
        self.step(made)
        made.membership.place = ZODB.DB(storage), made.service_oid
        storage.close()
        self.assertEqual([], self.step(made))
        self.assertFalse(made.running)
