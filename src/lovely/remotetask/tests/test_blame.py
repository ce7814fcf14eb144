"""Whose failure an exception is."""

import contextlib
import errno
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unittest.mock
import warnings
import weakref

import transaction
import ZODB
from transaction.interfaces import TransientError
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.POSException import POSKeyError
from ZODB.POSException import ReadOnlyError

from lovely.remotetask import policy
from lovely.remotetask.foreign import blame
from lovely.remotetask.foreign.outcome import in_runner
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.policy import Policy
from lovely.remotetask.running import quirks
from lovely.remotetask.running.execution import INTERRUPTED
from lovely.remotetask.running.execution import NOT_BEGUN
from lovely.remotetask.running.execution import run_claimed
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged


A = 'host:1:thread:no-machine-1'

# Prints how is judged what a job may meet while the interpreter ends.
ENDING = '''
import atexit
import threading
from concurrent.futures import ThreadPoolExecutor

from lovely.remotetask.foreign import blame
from lovely.remotetask.foreign.outcome import outcome_of


def submit():
    ThreadPoolExecutor().submit(int)

def start():
    threading.Thread(target=int).start()

def judge():
    for call in submit, start:
        outcome = outcome_of(call)
        # Some versions of Python do not refuse the one or the other.
        print(f'{call.__name__}:', not outcome.failed
              or blame.is_exhausted(outcome.exception))
    print(blame.is_exhausted(ValueError()))

atexit.register(judge)
print(blame.is_exhausted(RuntimeError(
    'cannot schedule new futures after interpreter shutdown')))
'''


class Failing(DemoStorage):
    """A storage of which parts can be made to fail."""

    fails = {}

    def _fail(self, what):
        if what in self.fails:
            raise self.fails[what]

    def load(self, oid, version=''):
        self._fail('load')
        return super().load(oid, version)

    def loadBefore(self, oid, tid):
        self._fail('load')
        return super().loadBefore(oid, tid)

    def tpc_vote(self, txn):
        self._fail('vote')
        return super().tpc_vote(txn)

    def lastTransaction(self):
        self._fail('last')
        return super().lastTransaction()


class BlameCase(DatabaseCase):

    def open_database(self):
        self.storage = Failing()
        self.storage.fails = {}
        return ZODB.DB(self.storage)

    def setUp(self):
        super().setUp()
        token = in_runner.set(True)
        self.addCleanup(in_runner.reset, token)
        self.service_task(lambda service, input: self.work(service), 'test.w')
        self.service.policy = Policy(attempts=1)
        transaction.commit()
        self.calls = 0

    def claim(self):
        jobid = self.add('test.w')
        claim, = engine(self.service).claim(A, 1)
        transaction.commit()
        return jobid, claim

    def run_job(self, work):
        """Run a job; return what became of its claim, and the job."""
        def counted(service):
            self.calls += 1
            return work(service)
        self.work = counted
        jobid, claim = self.claim()
        end = run_claimed(self.db, ['tasks'], claim, transaction.commit)
        self.storage.fails = {}
        return end, self.job(jobid)


class RunTest(BlameCase):

    def fail_at(self, what, exception):
        def work(service):
            effect(service, 'effect')
            self.storage.fails = {what: exception}
            service._p_jar.cacheMinimize()
            return list(service.__parent__.effects) and None
        return work

    def test_a_storage_that_is_away(self):
        """The job waits, its attempts are left, and there is no effect."""
        for exception in (OSError('connection refused'),
                          OSError(errno.ENOSPC, 'disk full'),
                          ConnectionResetError(), ReadOnlyError()):
            for what in ('load', 'vote'):
                with self.subTest(what=what, exception=exception):
                    end, job = self.run_job(self.fail_at(what, exception))
                    self.assertEqual(INTERRUPTED, end)
                    self.assertEqual((QUEUED, 0, 0), (
                        job.stored_status, job.attempts, job.failures))
                    self.assertEqual([], self.effects)

    def test_a_storage_that_is_away_for_a_moment(self):
        """That it was is stored; it does not count as a failure."""
        def work(service):
            self.storage.fails = {'load': OSError('gone')}
            service._p_jar.cacheMinimize()
            try:
                service.__parent__.effects.append(1)
            finally:
                self.storage.fails = {}
        _, job = self.run_job(work)
        self.assertEqual((QUEUED, 1, 0), (
            job.status, job.attempts, job.failures))
        self.assertIsNotNone(job.due)
        self.assertEqual('builtins.OSError', job.history[0].errorClass)

    def test_waits_grow(self):
        """There is no last time, and no wait of more than minutes."""
        _, job = self.run_job(lambda service: None)
        policy, waits = Policy(), []
        for number in (0, 1, 2, 5, 100, 10 ** 6):
            job.interruptions = number
            waits.append(policy.due_after_interruption(job, 0))
        transaction.abort()
        self.assertLess(waits[0], 2)
        self.assertLess(waits[0], waits[3])
        self.assertLess(waits[-1], 301)
        self.assertGreater(waits[-1], 149)

    def test_a_storage_that_is_away_before(self):
        """A job that could not be begun was not run."""
        def work(service):
            raise AssertionError
        self.work = work
        jobid, claim = self.claim()
        self.db.cacheMinimize()
        self.storage.fails = {'load': OSError('gone')}
        self.assertEqual(NOT_BEGUN, run_claimed(
            self.db, ['tasks'], claim, transaction.commit))
        self.storage.fails = {}
        self.assertEqual((QUEUED, 0), (
            self.job(jobid).stored_status, self.job(jobid).attempts))

    def test_what_jobs_do_themselves(self):
        """An error of the same class that a job has raised is its own."""
        def sql(service):
            sqlite3.connect(':memory:').execute('no sql')

        def disk(service):
            raise OSError(errno.ENOSPC, 'my own disk is full')

        def refused(service):
            raise ConnectionRefusedError('of a web service')

        def read_only(service):
            raise ReadOnlyError('mine')
        for work in (sql, disk, refused, read_only):
            with self.subTest(work.__name__):
                _, job = self.run_job(work)
                self.assertEqual((ERROR, 1), (job.status, job.attempts))

    def test_what_cannot_be_compared(self):
        """An error of the job's that is made of odd values is its own."""
        def work(service):
            raise OSError(Column(), 'no such thing')
        _, job = self.run_job(work)
        self.assertEqual((ERROR, 1, 1), (
            job.status, job.attempts, self.calls))

    def test_what_a_storage_has_not(self):
        """A missing object is no outage."""
        def work(service):
            service._p_jar.get(b'\0' * 7 + b'\xee')
        _, job = self.run_job(work)
        self.assertEqual(ERROR, job.status)
        self.assertEqual('ZODB.POSException.POSKeyError', job.errorClass)

    def test_what_is_stored(self):
        """What cannot be pickled is the job's, though the storage runs."""
        class Odd:
            def __reduce__(self):
                raise OSError('of a pickle')

        _, job = self.run_job(lambda service: effect(service, Odd()))
        self.assertEqual(ERROR, job.status)


class Column:
    """Compares as an array of numpy does, or a column of SQL."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise ValueError('The truth value is ambiguous')


class DriverError(Exception):
    """What a driver of a database raises."""


class JudgeTest(BlameCase):

    def interrupts(self, exception, db=None):
        def fail():
            raise exception
        return blame.is_interrupted(
            outcome_of(fail).exception, db or self.db)

    def test_classes(self):
        """The class alone tells nothing."""
        for exception in (OSError(), ConflictError(), POSKeyError(b'oid'),
                          TransientError(), RuntimeError('no thread'),
                          OSError(errno.EMFILE, 'too many')):
            with self.subTest(exception):
                self.assertFalse(self.interrupts(exception))

    def test_a_driver(self):
        """An exception of the driver counts if RelStorage has raised it."""
        adapter = unittest.mock.Mock()
        adapter.driver.disconnected_exceptions = (DriverError,)
        adapter.driver.close_exceptions = ()
        self.storage._adapter = adapter
        self.assertFalse(self.interrupts(DriverError()))
        self.storage.fails = {'last': DriverError()}
        self.assertTrue(blame.is_interrupted(
            outcome_of(self.storage.lastTransaction).exception, self.db))
        self.storage.fails = {}

    def test_another_database(self):
        """A storage of somebody else is not ours."""
        other = Failing()
        other.fails = {'last': OSError()}
        self.assertFalse(blame.is_interrupted(
            outcome_of(other.lastTransaction).exception, self.db))

    def test_a_closed_database(self):
        """Nothing can be done with one."""
        db = ZODB.DB(None)
        db.close()
        self.assertTrue(self.interrupts(ValueError(), db))

    def test_a_storage_that_has_given_up(self):
        """Nor if it has closed itself, as it does when the disk fails late;
        whatever it is wrapped in.
        """
        folder = self.enterContext(tempfile.TemporaryDirectory())
        storage = FileStorage(f'{folder}/Data.fs')
        databases = [ZODB.DB(storage), ZODB.DB(DemoStorage(base=storage))]
        for db in databases:
            self.assertFalse(self.interrupts(ValueError('closed'), db))
        with unittest.mock.patch.object(
                storage, '_finish_finish', side_effect=OSError), \
                self.assertRaises(OSError), logged(), \
                databases[0].transaction() as connection:
            connection.root()['a'] = 'change'
        for db in databases:
            self.assertTrue(self.interrupts(ValueError('closed'), db))
            self.assertTrue(quirks.is_closed(db))

    def test_no_descriptors(self):
        """A process that cannot open anything is to blame."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        try:
            # Where there is no folder for temporary files, nobody says why.
            outcomes = [outcome_of(open, os.devnull),
                        outcome_of(tempfile._get_default_tempdir)]
            found = [blame.is_interrupted(outcome.exception, self.db)
                     for outcome in outcomes]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        self.assertEqual([True, True], found)
        for outcome in outcomes:
            self.assertFalse(blame.is_interrupted(outcome.exception, self.db))

    def test_no_threads(self):
        """So is one that cannot start a thread."""
        def start(thread):
            raise RuntimeError("can't start new thread")
        with unittest.mock.patch.object(threading.Thread, 'start', start):
            self.assertTrue(self.interrupts(RuntimeError('any')))

    def test_the_end_of_the_interpreter(self):
        """So is one that ends: jobs have their grace then."""
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', ENDING],
            capture_output=True, text=True, timeout=60,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
        self.assertEqual('False\nsubmit: True\nstart: True\nFalse\n',
                         done.stdout, done.stderr)

    def test_what_cannot_be_judged(self):
        """It is the job's own, whatever an exception is made of."""
        for exception in (OSError(Column(), 'no such thing'),
                          OSError(Column(), Column(), Column())):
            self.assertIs(False, self.interrupts(exception))
            self.assertIs(False, blame.is_exhausted(exception))
        with unittest.mock.patch.object(
                blame, 'storages', side_effect=ValueError):
            self.assertIs(False, self.interrupts(OSError()))

    def test_while_others_open_connections(self):
        """A set of connections that changes while it is looked through."""
        class Changing(weakref.WeakSet):

            looks = 0

            def __iter__(self):
                self.looks += 1
                if self.looks < 4:
                    raise RuntimeError('Set changed size during iteration')
                return super().__iter__()
        changing = Changing(self.db.pool.all)
        self.enterContext(
            unittest.mock.patch.object(self.db.pool, 'all', changing))
        self.assertIn(self.storage, blame.storages(self.db))
        self.assertEqual(4, changing.looks)


class ExhaustionTest(DatabaseCase):
    """A process that has no descriptors, or threads, any more."""

    def setUp(self):
        super().setUp()
        self.enterContext(unittest.mock.patch.object(
            policy, 'INTERRUPTION_WAIT', 0))
        self.service_task(lambda service, input: self.work(), 'test.w')
        self.service.policy = Policy(attempts=1)
        transaction.commit()
        self.calls = 0

    def call_lacking(self, number):
        """Do what needs what there is not."""
        self.calls += 1
        if number == errno.EMFILE:
            raise OSError(number, os.strerror(number))
        raise RuntimeError("can't start new thread")

    def run_often(self, work, times=20):
        """Run a job whenever it waits.  Return it."""
        self.work = work
        jobid = self.add('test.w')
        for _ in range(times):
            claims = engine(self.service).claim(A, 1)
            transaction.commit()
            for claim in claims:
                run_claimed(self.db, ['tasks'], claim, transaction.commit)
            transaction.begin()
            engine(self.service).settle(A, [claim.job for claim in claims])
            transaction.commit()
        return self.job(jobid)

    def lacking(self, number):
        """Return a context manager: there is none of something."""
        fail = unittest.mock.Mock(side_effect=OSError(number, 'none'))
        return unittest.mock.patch.object(
            blame, '_open_something' if number == errno.EMFILE
            else '_start_something', fail)

    def test_the_job_does_it(self):
        """Again and again there were some when it began: that counts."""
        for number in (errno.EMFILE, errno.EAGAIN):
            with self.subTest(number), contextlib.ExitStack() as stack:
                self.calls = 0

                def work(number=number, stack=stack):
                    stack.enter_context(self.lacking(number))
                    self.call_lacking(number)
                original = blame.is_able

                def is_able(stack=stack, original=original):
                    # What it has taken is given back by then.
                    stack.close()
                    return original()
                with unittest.mock.patch.object(blame, 'is_able', is_able):
                    job = self.run_often(work)
                self.assertEqual(ERROR, job.status, job.error)
                # Of the first run nobody knows what there was before.
                self.assertEqual((policy.INTERRUPTIONS + 1,) * 2,
                                 (self.calls, job.attempts))

    def test_others_do_it(self):
        """There were none when it began: it waits as long as that takes."""
        for number in (errno.EMFILE, errno.EAGAIN):
            with self.subTest(number), self.lacking(number):
                job = self.run_often(lambda number=number:
                                     self.call_lacking(number))
                self.assertEqual((QUEUED, 20, 0), (
                    job.status, job.attempts, job.failures))
                self.service.cancel(job.id)
                transaction.commit()

    def test_opens_too_many(self):
        """A job that never closes what it opens."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Others in this process may have opened some.
        few = len(os.listdir('/proc/self/fd')) + 50
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)

        def work():
            self.calls += 1
            opened = []
            while True:
                opened.append(open(os.devnull))  # noqa: SIM115
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', ResourceWarning)
            job = self.run_often(work)
        # At once if they were closed when its exception was looked at.
        self.assertEqual(ERROR, job.status)
        self.assertLessEqual(self.calls, policy.INTERRUPTIONS + 1)
        self.assertIn('Too many open files', job.error)


class DiskTest(DatabaseCase):
    """A file that takes nothing any more."""

    def open_database(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        return ZODB.DB(FileStorage(f'{folder}/Data.fs'))

    def test_full(self):
        """The job waits, and is run once there is room again."""
        self.service_task(effect, 'test.effect')
        jobid = self.add('test.effect', 'x' * 100_000)
        claim, = engine(self.service).claim(A, 1)
        transaction.commit()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = os.path.getsize(self.db.storage.getName())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        try:
            end = run_claimed(self.db, ['tasks'], claim, transaction.commit)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertEqual(INTERRUPTED, end)
        self.assertEqual(0, self.job(jobid).attempts)
        run_claimed(self.db, ['tasks'], claim, transaction.commit)
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertEqual(1, len(self.effects))
