"""What is stored of the runs of a job, and how much of it is written."""

import types
import unittest
import unittest.mock

import transaction
from ZODB.POSException import POSKeyError

from lovely.remotetask import history
from lovely.remotetask.foreign.description import MESSAGE_SIZE
from lovely.remotetask.foreign.description import TRACEBACK_SIZE
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Job
from lovely.remotetask.job import Run
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.test_job import CLAIM
from lovely.remotetask.tests.test_job import running


def failure(error='message', traceback='Traceback ...'):
    return types.SimpleNamespace(
        error=error, errorClass='module.Class', traceback=traceback)


def claim(job, number):
    return CLAIM._replace(fence=job.fence, processor=f'host:{number}:thread')


def fail_often(job, runs, make=failure):
    """Let a job fail so many times; return the claims of these runs."""
    claims = []
    for number in range(runs):
        claims.append(claim(job, number))
        job.fail(Run(claims[-1], number), make(), number + 1)
    return claims


class Word(str):
    """A text of the application, whose methods say what they like."""

    def __getitem__(self, index):
        return self

    def __len__(self):
        return 1


class CutTest(unittest.TestCase):
    """No text of a failure is stored as long as it may be."""

    def test_whoever_describes_it(self):
        """The message is cut wherever it is stored, and the traceback."""
        for text in ('x' * 10 ** 6, Word('x' * 10 ** 6)):
            retried, failed, held, lost = (running() for _ in range(4))
            retried.retry(Run(CLAIM, 61), failure(text, text), 70, 80)
            failed.fail(Run(CLAIM, 61), failure(text, text), 70)
            held.hold(text, 70)
            lost.lose(CLAIM, text)
            for job in (retried, failed, held, lost.history[0]):
                self.assertLessEqual(len(job.error), MESSAGE_SIZE)
                self.assertIs(str, type(job.error))
                self.assertLessEqual(
                    len(job.traceback or ''), TRACEBACK_SIZE)

    def test_short_texts(self):
        """They are stored as they are; also that there is none."""
        details = history.Details('error', None)
        self.assertEqual(('error', None), (
            history.error_of(details), history.traceback_of(details)))

    def test_the_end_of_a_traceback(self):
        """It is what tells most."""
        details = history.Details('error', 'x' * TRACEBACK_SIZE + ' the end')
        self.assertTrue(history.traceback_of(details).endswith('xx the end'))


class PastTest(unittest.TestCase):

    def test_number(self):
        """The last 20 attempts are kept, however many there were."""
        for runs in range(1, 60):
            job = running(CronJob, minute=(0,))
            fail_often(job, runs)
            self.assertEqual(
                [*range(max(0, runs - 20), runs)],
                [attempt.started for attempt in job.history])
            self.assertLessEqual(len(job._history), history.RECENT)

    def test_ends(self):
        """Whoever settles a claim late finds how its run has ended."""
        job = running(CronJob, minute=(0,))
        claims = fail_often(job, 30)
        for number, each in enumerate(claims):
            found = job.end_under(each)
            self.assertEqual(None if number < 10 else 'cronjob', found)
        self.assertIsNone(job.end_under(claim(job, 1)))
        self.assertIsNone(job.end_under(
            claims[20]._replace(processor='other:1:thread')))

    def test_removed(self):
        """A removed job keeps how its runs ended, but none of their texts."""
        job = running(CronJob, minute=(0,))
        fail_often(job, 30)
        before = job.history
        job.clear()
        self.assertEqual([
            attempt._replace(errorClass=None, details=None)
            for attempt in before], list(job.history))
        self.assertEqual(history.MAX_HISTORY + 1, len(job.history))
        self.assertNotIn('_past', vars(job))

    def test_a_usual_job(self):
        """It stores nothing for attempts that there were not."""
        job = running()
        fail_often(job, 1)
        self.assertNotIn('_past', vars(job))


class StoredTest(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.numbers = iter(range(10 ** 6))
        self.job = self.connection.root()['job'] = running(
            CronJob, minute=(0,))
        transaction.commit()

    def failure(self):
        """Return a failure that is described like no other."""
        number = next(self.numbers)
        return failure(f'message {number}', f'{number} ' + 'x' * 5000)

    def written(self, runs=1):
        """Return how many bytes a run writes, on average."""
        storage, sizes = self.db.storage, []
        store = storage.store

        def count(oid, serial, data, *args):
            sizes.append(len(data))
            return store(oid, serial, data, *args)
        with unittest.mock.patch.object(storage, 'store', count):
            for _ in range(runs):
                fail_often(self.job, 1, self.failure)
                transaction.commit()
        return sum(sizes) / runs

    def test_what_a_run_writes(self):
        """It is hardly more when there were many before."""
        first = self.written()
        self.written(30)
        self.assertLess(self.written(20), first + 400)

    def test_same_failure(self):
        """One that is described as the one before is written once."""
        self.failure = failure
        first = self.written()
        self.assertLess(self.written(3), first)
        one, two = self.job.history[-2:]
        self.assertIs(one.details, two.details)

    def test_messages_without_tracebacks(self):
        """Who reads the messages of jobs does not load tracebacks."""
        fail_often(self.job, 3, self.failure)
        transaction.commit()
        self.connection.cacheMinimize()
        job = self.connection.root()['job']
        for each in (job, *job.history):
            self.assertTrue(each.error.startswith('message'))
            self.assertIsNone(each.details.traceback._p_changed)
        for each in (job, *job.history):
            self.assertGreater(len(each.traceback), 5000)

    def test_unreadable(self):
        """Attempts that cannot be read are left out; the job is whole."""
        fail_often(self.job, 9, failure)
        transaction.commit()
        lost = self.job._past[0]._p_oid
        load = self.db.storage.loadBefore

        def load_or_raise(oid, tid):
            if oid == lost:
                raise POSKeyError(oid)
            return load(oid, tid)
        self.connection.cacheMinimize()
        with unittest.mock.patch.object(
                self.db.storage, 'loadBefore', load_or_raise):
            job = self.connection.root()['job']
            self.assertEqual([4, 5, 6, 7, 8],
                             [attempt.started for attempt in job.history])


class JobsTest(DatabaseCase):

    def test_pages(self):
        """A page of failed jobs loads no text of a failure."""
        def fail(input):
            raise ValueError('no way ' * 100)
        self.task(fail)
        for _ in range(3):
            self.service.add('test.task')
        transaction.commit()
        processor = self.processor()
        while processor.processNext():
            pass
        self.connection.cacheMinimize()
        transaction.begin()
        for job in self.service.find(ERROR).jobs:
            self.assertEqual('builtins.ValueError', job.errorClass)
            self.assertEqual(1, len(job.history))
            self.assertIsNone(job.details._p_changed)
            self.assertIn('no way', job.error)
            self.assertIsNone(job.details.traceback._p_changed)


class StateTest(unittest.TestCase):
    """What is stored is short, and is read as it was."""

    def assertReadBack(self, job):
        state = dict(vars(job))
        stored = job.__getstate__()
        self.assertEqual(state, vars(job))
        copy = type(job).__new__(type(job))
        copy.__setstate__(stored)
        # What is None need not be stored.
        self.assertEqual(*(
            {name: value for name, value in each.items()
             if value is not None} for each in (state, vars(copy))))
        return stored

    def test_states(self):
        """Whatever has happened to the job."""
        for class_ in (Job, CronJob):
            job = class_(1, 'gocept.async.function', 'input')
            self.assertReadBack(job)
            job.change_status(job.waiting_status)
            self.assertReadBack(job)
            job.lose(CLAIM, 'gone')
            self.assertReadBack(job)
            job.retry(Run(claim(job, 1), 61.25), failure(), 70.5, 80.0)
            self.assertReadBack(job)
            job.cancel(75.0)
            self.assertReadBack(job)
            job.clear()
            self.assertReadBack(job)

    def test_ended(self):
        """Names and times are not there twice."""
        job = running()
        job.task = 'gocept.async.function'
        job.succeed(Run(CLAIM, 1764151200.123), None, 1764151200.456)
        stored = self.assertReadBack(job)
        self.assertEqual(1, repr(stored).count('1764151200.'))
        self.assertNotIn('completed', repr(stored))
        self.assertNotIn('gocept', repr(stored))

    def test_other_names(self):
        """Those of the application are stored as they are."""
        for name in ('', 'queued', 'mail', 'gocept.async.functions'):
            job = Job(1, name, None)
            self.assertReadBack(job)
            self.assertEqual(name, job.task)

    def test_numbers(self):
        """Databases have them: none may ever change."""
        self.assertEqual(
            ('queued', 'completed', 'cronjob', 'delayed', 'start later',
             'cancelled', 'error', 'held', 'gocept.async.function'),
            history.TEXTS)
        for status in STATUSES:
            if status != PROCESSING:
                self.assertIs(int, type(history.abbreviated(status)))


class JobClassTest(unittest.TestCase):

    def test_old_jobs(self):
        """Those of lovely.remotetask 0.5 have no attempts."""
        job = Job.__new__(Job)
        job.__setstate__({'id': 1, 'status': 'completed'})
        self.assertEqual(((), None, None),
                         (job.history, job.error, job.traceback))
