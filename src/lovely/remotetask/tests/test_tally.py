"""Processors count what they run, and store that now and then."""

import datetime
import unittest.mock

import transaction
from ZODB.POSException import ConflictError

from lovely.remotetask import moment
from lovely.remotetask.job import Run
from lovely.remotetask.management import Management
from lovely.remotetask.number import FIRST
from lovely.remotetask.policy import Policy
from lovely.remotetask.running import execution
from lovely.remotetask.running.tally import MOST
from lovely.remotetask.running.tally import Tally
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine


class TallyTest(DatabaseCase):

    def test_once(self):
        """What could not be stored comes again, under the same number."""
        tally = Tally()
        tally.count('f', 'completed', 1.0)
        first = tally.to_store()
        tally.count('f', 'completed', 1.0)
        self.assertEqual(first, tally.to_store())
        tally.mark_stored()
        number, slices = tally.to_store()
        self.assertNotEqual(first[0], number)
        self.assertEqual(1, slices[0].functions['f'].completed)
        tally.mark_stored()
        self.assertTrue(tally.is_empty)
        self.assertEqual(2, tally.total()['f'].completed)

    def test_bounded(self):
        """A database that is away for days does not fill the memory."""
        tally = Tally()
        for number in range(10_000):
            with moment.at(1e9 + 60 * number):
                tally.count(f'f{number}', 'completed', 1.0)
        self.assertLessEqual(len(tally.to_store()[1]), MOST)
        self.assertEqual(10_000, tally.total().total().completed)


class CountingTest(DatabaseCase):
    """By the ends of real runs."""

    def setUp(self):
        super().setUp()
        self.made = self.processor()

    def total(self):
        return self.made.membership.tally.total()

    def history(self):
        transaction.begin()
        return Management(self.service).history(0, 0)

    def run_all(self):
        while self.made.processNext():
            pass

    def test_outcomes(self):
        """Each run is one of them."""
        def work(input):
            if input is not None:
                raise input
        self.service.policy = Policy(
            attempts=2, retry_wait=0.0, retry_on=('builtins.OSError',))
        self.task(work)
        for error in None, ValueError('wrong'), OSError('again'):
            self.add('test.task', error)
        self.run_all()
        found = self.total()['test.task']
        self.assertEqual(
            (1, 2, 1), (found.completed, found.failed, found.retried))
        self.assertEqual(4, sum(found.runs.values()))

    def test_waits(self):
        """From when the job was due, or added."""
        self.task(lambda input: None)
        self.add('test.task')
        self.run_all()
        self.assertEqual(1, sum(self.total()['test.task'].waits.values()))

    def test_stored_times(self):
        """A job waits since it was added, however that is stored."""
        self.task(lambda input: None)
        job = self.service.jobs[self.add('test.task')]
        added, farthest = 1e9, 1e9 - FIRST
        for stored, waited in (
                (added, 0), (int(added), 0), (added + 60, 0),
                (datetime.datetime.fromtimestamp(added), 0),
                (1e30, 0), (-1e30, farthest), (float('-inf'), farthest),
                (float('nan'), farthest)):
            with self.subTest(stored):
                vars(job)['created'] = stored
                self.assertEqual(
                    waited, execution.waited_of(job, Run(None, added)))

    def test_unknown_waits(self):
        """Of what somebody has requeued nobody knows for how long it waits.
        """
        self.task(lambda input: None)
        jobid = self.add('test.task')
        self.service.cancel(jobid)
        transaction.commit()
        self.service.requeue(jobid)
        transaction.commit()
        self.run_all()
        self.assertEqual({}, self.total()['test.task'].waits)

    def test_others(self):
        """What other processors of the process run is theirs."""
        other = self.processor()
        self.task(lambda input: None)
        self.add('test.task')
        self.assertTrue(other.processNext())
        self.assertEqual({}, self.total())

    def test_stored(self):
        """It is stored with a sign of life, in the same transaction."""
        self.task(lambda input: None)
        self.add('test.task')
        self.run_all()
        commit = self.made.gate.commit
        with unittest.mock.patch.object(
                self.made.gate, 'commit', side_effect=commit) as committed:
            self.made.membership.sign(measures=True)
        self.assertEqual(1, committed.call_count)
        self.assertTrue(self.made.membership.tally.is_empty)
        found, = self.history()
        self.assertEqual(1, found.functions['test.task'].completed)

    def test_error_after_commit(self):
        """It counts once, though nobody knows whether it was stored."""
        self.task(lambda input: None)
        self.add('test.task')
        self.run_all()
        membership = self.made.membership
        with unittest.mock.patch.object(
                membership.tally, 'mark_stored', side_effect=OSError):
            # Something fails after the commit.
            for _ in range(2):
                with self.assertRaises(OSError):
                    membership.sign(measures=True)
        membership.sign(measures=True)
        found, = self.history()
        self.assertEqual(1, found.functions['test.task'].completed)

    def test_end(self):
        """At the end all of it is stored, and outlives the worker."""
        self.task(lambda input: None)
        self.made.membership.sign()
        self.add('test.task')
        self.run_all()
        self.made._finish()
        transaction.begin()
        self.assertEqual(0, len(self.service.store.workers))
        found, = self.history()
        self.assertEqual(1, found.functions['test.task'].completed)

    def test_lost(self):
        """Whoever notices that a run is lost counts it."""
        self.task(lambda input: None)
        self.add('test.task')
        claimed, = self.made.membership.bookkeep(
            lambda engine: engine.claim('gone:1:t:x', 1))
        with self.elsewhere() as service:
            ids = engine(service).workers.release_worker('gone:1:t:x')
        self.assertEqual([claimed.job], ids)
        self.made.membership.tell_of_lost([(ids[0], 'queued', 'test.task')])
        self.assertEqual(1, self.total()['test.task'].lost)

    def test_conflicts(self):
        """A run that met another transaction is none that failed."""
        self.task(unittest.mock.Mock(side_effect=[ConflictError, None]))
        self.add('test.task')
        with moment.at(2e9):
            self.run_all()
        with moment.at(3e9):
            self.run_all()
        found = self.total()['test.task']
        self.assertEqual(1, found.conflicts)
        self.assertEqual((0, 0), (found.failed, found.retried))
