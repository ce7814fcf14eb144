"""What Celery is told of how jobs have ended."""

import unittest
import unittest.mock

import transaction
from ZODB.POSException import ConflictError

from gocept.async_.celery import ends
from gocept.async_.celery.attendant import Attendant
from gocept.async_.tests.celerycase import CeleryCase
from lovely.remotetask import policy
from lovely.remotetask.running import events
from lovely.remotetask.running import execution
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged


SECRET = 'the s3cret of an argument'


def texts(place='file.py:5', error=SECRET):
    return events.FailureTexts(
        error, 'builtins.ValueError', SECRET, SECRET, place, False)


def ended(failure=None, committed=True, status='error', kind=events.JobEnded):
    return kind(('tasks',), 7, 'a.function', 2, 'host:1:x', 0.5, status,
                failure, committed)


class ProblemTest(unittest.TestCase):

    def test_good(self):
        """One that was completed, though a hook has failed afterwards, too.
        """
        self.assertIsNone(ends.problem(ended(status='completed')))
        self.assertIsNone(ends.problem(ended(texts(), True, 'completed')))

    def test_failed(self):
        """Which job, what it is now, and the class of the error: no more."""
        self.assertEqual(
            'job 7, attempt 2, is now error: builtins.ValueError at '
            'file.py:5', ends.problem(ended(texts(), False)))
        self.assertEqual(
            'job 7, attempt 2, is now queued: builtins.ValueError',
            ends.problem(ended(texts(''), False, 'queued',
                               events.JobRetried)))

    def test_conflict(self):
        """It is a matter of milliseconds, not of people."""
        conflict = texts()._replace(is_transient=True)
        self.assertIsNone(ends.problem(ended(
            conflict, False, 'queued', events.JobRetried)))
        self.assertIsNotNone(ends.problem(ended(conflict, False)))

    def test_no_secrets(self):
        """Messages of exceptions do not leave the worker."""
        self.assertNotIn('s3cret', ends.problem(ended(texts(), False)))

    def test_not_stored(self):
        """That is no success, either."""
        self.assertIn('could not be stored', ends.problem(None))


class CollectedTest(CeleryCase):

    def setUp(self):
        super().setUp()
        self.attendant = self.start(Attendant)

    def end(self, first, **kw):
        """Return the ends of the runs of a job."""
        jobid = self.add('test.other')
        with ends.collected() as found:
            self.attendant.run_job(
                jobid, self.jobs_db.lastTransaction(), **first)
        return found

    def fail(self, service, input):
        raise ValueError(SECRET)

    def each(self):
        """Yield how to run a job: claimed, and unclaimed."""
        for first in {}, {'first': True}:
            with self.subTest(**first):
                yield first

    def test_completed(self):
        self.service_task(lambda service, input: None, 'test.other')
        for first in self.each():
            self.assertEqual([None], list(map(ends.problem, self.end(first))))

    def test_failed(self):
        self.service_task(self.fail, 'test.other')
        for first in self.each():
            with self.assertLogs('lovely.remotetask', 'ERROR'):
                found, = self.end(first)
            self.assertIs(events.JobEnded, type(found))
            self.assertIn('is now error', ends.problem(found))

    def test_tried_again(self):
        self.service.policy = policy.Policy(retry_on=('builtins.ValueError',))
        self.service_task(self.fail, 'test.other')
        for first in self.each():
            with self.assertLogs('lovely.remotetask', 'WARNING'):
                found, = self.end(first)
            self.assertIs(events.JobRetried, type(found))
            self.assertIn('is now queued', ends.problem(found))

    def test_conflict(self):
        def conflict(service, input):
            raise ConflictError
        self.service_task(conflict, 'test.other')
        for first in self.each():
            with self.assertLogs('lovely.remotetask', 'WARNING'):
                self.assertEqual([None], list(map(
                    ends.problem, self.end(first))))

    def test_not_stored(self):
        self.service_task(self.fail, 'test.other')
        for first in self.each():
            with unittest.mock.patch.object(
                    execution, 'run_claimed',
                    lambda *args: execution.UNSTORED):
                self.assertEqual([None], self.end(first))

    def test_nothing_to_be_run(self):
        """Nothing has ended, and nothing is wrong."""
        with ends.collected() as found:
            self.assertFalse(self.attendant.run_job(5, bytes(8)))
        self.assertEqual([], found)

    def again(self, jobid):
        """Return what is wrong when a message for a job runs nothing."""
        with ends.collected() as found:
            self.assertFalse(self.attendant.run_job(
                jobid, self.jobs_db.lastTransaction()))
        end, = found
        return ends.problem(end), ends.is_retried(end)

    def run_one(self):
        """Run a job.  Return its id."""
        jobid = self.add('test.other')
        with logged('lovely.remotetask'):
            self.attendant.run_job(jobid, self.jobs_db.lastTransaction())
        return jobid

    def test_completed_before(self):
        """Another message of it finds nothing that is wrong."""
        self.service_task(lambda service, input: None, 'test.other')
        self.assertEqual((None, False), self.again(self.run_one()))

    def test_failed_before(self):
        """What has failed looks like that, whatever is delivered once more.
        """
        self.service_task(self.fail, 'test.other')
        jobid = self.run_one()
        self.assertEqual(
            (f'job {jobid} was not run, and is error', False),
            self.again(jobid))

    def test_waits(self):
        """It was run before, and is going to be run once more."""
        self.service.policy = policy.Policy(
            retry_on=('builtins.ValueError',), retry_wait=3600.0)
        self.service_task(self.fail, 'test.other')
        with unittest.mock.patch(
                'random.uniform', lambda least, most: most):
            jobid = self.run_one()
        problem, retried = self.again(jobid)
        self.assertIn('was not run', problem)
        self.assertTrue(retried)

    def test_lost_for_the_last_time(self):
        """Nobody has told how that has ended: its process was gone."""
        self.service.policy = policy.Policy(attempts=1)
        self.service_task(self.fail, 'test.other')
        jobid = self.add('test.other')
        machine = self.attendant.worker_id.rpartition(':')[2].split('-')[0]
        engine(self.service).claim_job(
            f'host:{2 ** 22 + 1}:x:{machine}--x', jobid)
        transaction.commit()
        with logged('lovely.remotetask'):
            problem, retried = self.again(jobid)
        self.assertEqual(f'job {jobid} was not run, and is error', problem)
        self.assertFalse(retried)
