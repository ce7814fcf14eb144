"""Old jobs that can be read only after the others were brought up to date."""

import datetime
import time

import transaction

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.storage import fate
from lovely.remotetask.tests.test_upgrade import CANCELLED_0
from lovely.remotetask.tests.test_upgrade import COMPLETED_0
from lovely.remotetask.tests.test_upgrade import DELAYED_10S
from lovely.remotetask.tests.test_upgrade import FAR
from lovely.remotetask.tests.test_upgrade import LATER
from lovely.remotetask.tests.test_upgrade import NO_PATTERN
from lovely.remotetask.tests.test_upgrade import QUEUED_0
from lovely.remotetask.tests.test_upgrade import TASK_ERROR
from lovely.remotetask.tests.test_upgrade import MissingCase


LONG_AGO = datetime.datetime(2011, 5, 1)


class LaterTest(MissingCase):

    def bring_back(self, jobid, **state):
        """Let a job be unreadable during the upgrade.  Return its job.

        state -- what the old code has stored of it.
        """
        job = self.stored_jobs()[jobid]
        job._p_activate()
        vars(job).update(state)
        job._p_changed = True
        transaction.commit()
        self.lose(job)
        self.assertEqual(HELD, self.service.getStatus(jobid))
        self.assertEqual([jobid], self.service.unreadable())
        transaction.commit()
        self.missing.clear()
        self.was_requeued = self.service.requeue(jobid)
        transaction.commit()
        self.assertEqual([], self.service.unreadable())
        return self.service.jobs[jobid]

    def check_runs(self, jobid):
        """Check that the job runs at some time, and the counts are right."""
        before = sum(self.counts(self.service).values())
        self.drain(self.service, now=FAR)
        self.assertEqual(1, self.service.jobs[jobid].attempts)
        self.assertEqual(before, sum(self.counts(self.service).values()))

    def test_queued(self):
        job = self.bring_back(QUEUED_0)
        self.assertTrue(self.was_requeued)
        self.assertEqual(QUEUED, job.status)
        self.check_runs(QUEUED_0)

    def test_status_of_then(self):
        job = self.bring_back(QUEUED_0, status=PROCESSING)
        self.assertEqual(QUEUED, job.status)
        self.check_runs(QUEUED_0)

    def test_run_already(self):
        """Nobody runs it again before the reason was told."""
        job = self.bring_back(QUEUED_0, started=LONG_AGO)
        # Nobody knows any more whether the job was in a queue.
        self.assertFalse(self.was_requeued)
        self.assertEqual(HELD, job.status)
        self.assertEqual(fate.RUN_ALREADY, job.error)
        self.assertTrue(self.service.requeue(QUEUED_0))
        transaction.commit()
        self.check_runs(QUEUED_0)

    def test_delayed(self):
        """It has its time, and is run."""
        job = self.bring_back(DELAYED_10S)
        self.assertTrue(self.was_requeued)
        self.assertEqual(DELAYED, job.status)
        self.assertIsNotNone(job.due)
        self.check_runs(DELAYED_10S)

    def test_pattern(self):
        """What no time matches is left out of it."""
        job = self.bring_back(NO_PATTERN)
        self.assertTrue(self.was_requeued)
        self.assertEqual(CRONJOB, job.status)
        self.assertNotIn(60, job.minute)
        self.assertGreater(job.due, time.time())

    def test_no_value_is_left(self):
        """It can be read, so somebody can give it another pattern."""
        job = self.bring_back(NO_PATTERN, minute=(60,))
        self.assertFalse(self.was_requeued)
        self.assertEqual(HELD, job.status)
        self.assertIn('minute=60', job.error)

    def test_error(self):
        """Its error is told first; whoever then wants it has it run."""
        job = self.bring_back(TASK_ERROR, error=ValueError('no paper'))
        self.assertFalse(self.was_requeued)
        self.assertEqual(ERROR, job.status)
        self.assertEqual('no paper', job.error)
        self.assertTrue(self.service.requeue(TASK_ERROR))
        transaction.commit()
        self.check_runs(TASK_ERROR)

    def test_cancelled(self):
        """Nobody could tell that somebody had cancelled it."""
        job = self.bring_back(CANCELLED_0)
        self.assertFalse(self.was_requeued)
        self.assertEqual(CANCELLED, job.status)
        self.drain(self.service, now=FAR)
        self.assertNotIn('wird abgebrochen 0', self.calls)
        self.assertTrue(self.service.requeue(CANCELLED_0))
        transaction.commit()
        self.check_runs(CANCELLED_0)

    def test_at_rest(self):
        job = self.bring_back(LATER)
        self.assertFalse(self.was_requeued)
        self.assertEqual(STARTLATER, job.status)
        self.assertTrue(self.service.startJob(LATER))
        transaction.commit()
        self.check_runs(LATER)

    def test_completed(self):
        """Its times are no longer naive."""
        self.bring_back(COMPLETED_0)
        self.assertIsInstance(
            vars(self.service.jobs[COMPLETED_0])['completed'], float)

    def test_still_not(self):
        """Nothing is changed, and it is put aside as before."""
        self.lose(self.stored_jobs()[QUEUED_0])
        self.service.counts()
        transaction.commit()
        before = self.counts(self.service)
        self.assertFalse(self.service.requeue(QUEUED_0))
        self.assertEqual(before, self.counts(self.service))
        self.assertEqual([QUEUED_0], self.service.unreadable())

    def test_status_that_is_none(self):
        """It stays unreadable, is counted once, and can be removed."""
        bad = {QUEUED_0: None, TASK_ERROR: '', LATER: 'QUEUED',
               COMPLETED_0: 5}
        for jobid, status in bad.items():
            job = self.stored_jobs()[jobid]
            job._p_activate()
            vars(job)['status'] = status
            job._p_changed = True
        before = self.counts(self.service)
        self.assertEqual(4, before[HELD])
        for jobid in bad:
            self.assertFalse(self.service.requeue(jobid))
        self.assertCountEqual(bad, self.service.unreadable())
        self.assertEqual(before, self.counts(self.service))
        for jobid in bad:
            self.service.remove(jobid)
        transaction.commit()
        self.drain(self.service, now=1)
        self.assertEqual(35, len(list(self.service.jobs)))
        self.assertEqual(35, sum(self.counts(self.service).values()))
