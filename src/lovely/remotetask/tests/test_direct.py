"""Jobs that run jobs: what a job does is rolled back, a run is not."""

import time
import unittest.mock

import transaction
import zope.security.management

from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import CannotRollBack
from lovely.remotetask.running import group
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.test_misbehaviour import RunCase


DAY = 24 * 60 * 60
LATER = time.time() + 2 * DAY


class InJobTest(RunCase):
    """`process` and `processNext` are refused in a running job."""

    def setUp(self):
        super().setUp()
        self.inner_calls = 0
        self.service_task(self.inner, 'test.inner')

    def inner(self, service, input):
        self.inner_calls += 1

    def add_inner(self):
        """Add the job that is to be run by another one, and comes later."""
        return self.add('test.inner', None, delay=DAY)

    def check(self, job, inner):
        self.assertEqual(ERROR, job.status)
        self.assertEqual('TaskError', job.errorClass.split('.')[-1])
        self.assertIn('must not run other jobs', job.error)
        self.assertEqual(0, self.inner_calls)
        self.assertEqual(0, self.job(inner).attempts)

    def test_one_job(self):
        jobid = self.add_inner()
        self.check(self.run_job(
            lambda service, input: service.processNext(jobid=jobid)), jobid)

    def test_all_jobs(self):
        jobid = self.add_inner()
        self.check(self.run_job(
            lambda service, input: service.process(LATER)), jobid)

    def test_without_an_interaction(self):
        """That a job has left its interaction makes it nobody else."""
        def work(service, input):
            zope.security.management.endInteraction()
            service.processNext(jobid=jobid)
        jobid = self.add_inner()
        self.check(self.run_job(work), jobid)

    def test_in_a_hook_before_the_commit(self):
        def work(service, input):
            transaction.get().addBeforeCommitHook(
                service.processNext, (None, jobid))
        jobid = self.add_inner()
        self.check(self.run_job(work), jobid)

    def test_in_a_group(self):
        def work(service, input):
            if input == 'process':
                service.processNext(jobid=jobid)
            effect(service, input)
        self.service_task(work, 'test.work')
        jobid = self.add_inner()
        ids = [self.add('test.work', input) for input in ('process', 'other')]
        claims = engine(self.service).claim('a:1:t:x', 2)
        transaction.commit()
        group.run_group(self.db, ['tasks'], claims, transaction.commit)
        self.check(self.job(ids[0]), jobid)
        self.assertEqual(['other'], self.effects)

    def test_in_a_job_that_was_called_directly(self):
        """What it had run would be rolled back with it, uncounted."""
        def work(service, input):
            service.processNext(jobid=jobid)
        self.service_task(work, 'test.work')
        jobid = self.add_inner()
        outer = self.add('test.work', None)
        self.service.processNext(jobid=outer)
        transaction.commit()
        self.check(self.job(outer), jobid)

    def test_it_swallows_the_refusal(self):
        """It goes on, without having run anything."""
        def work(service, input):
            with self.assertRaises(TaskError):
                service.processNext(jobid=jobid)
        jobid = self.add_inner()
        self.assertEqual(COMPLETED, self.run_job(work).status)
        self.assertEqual(0, self.inner_calls)

    def test_by_a_processor(self):
        """That runs jobs in transactions of its own, and counts them."""
        def work(service, input):
            processor = self.processor()
            processor.processNext(processor.claimNextJob(LATER))
            raise ValueError
        jobid = self.add_inner()
        self.assertEqual(ERROR, self.run_job(work).status)
        self.assertEqual(1, self.inner_calls)
        self.assertEqual(COMPLETED, self.job(jobid).status)


class CallersTransactionTest(RunCase):
    """A job that is run directly leaves its caller's transaction alone."""

    def test_it_ends_it(self):
        """Who calls is told that his changes are lost."""
        for end in (transaction.abort, transaction.begin):
            def task(service, input, end=end):
                end()
            self.service_task(task, 'test.end')
            for committed in (True, False):
                self.service.add('test.end')
                if committed:
                    transaction.commit()
                with self.subTest(end=end, committed=committed), \
                        self.assertRaisesRegex(TaskError, 'transaction of'):
                    self.service.process()
                transaction.abort()
                self.service.clean()

    def test_it_commits_it(self):
        """That loses nothing, and is as it always was."""
        def task(service, input):
            transaction.commit()
        self.service_task(task, 'test.end')
        jobid = self.service.add('test.end')
        self.service.process()
        self.assertEqual('completed', self.service.getStatus(jobid))

    def test_it_ends_it_and_fails(self):
        """There is nothing to roll back to."""
        def task(service, input):
            transaction.abort()
            raise ValueError('afterwards')
        self.service_task(task, 'test.end')
        self.service.add('test.end')
        with self.assertRaisesRegex(TaskError, 'transaction of') as raised:
            self.service.process()
        self.assertIn('afterwards', str(raised.exception.__cause__))
        transaction.abort()

    def refused(self, work, why):
        """Check that a job is refused, and waits after the abort."""
        self.service_task(work, 'test.left')
        jobid = self.add('test.left')
        with self.assertRaisesRegex(
                CannotRollBack, f'Job {jobid} has {why}.*; abort it'):
            self.service.process()
        transaction.abort()
        transaction.commit()
        self.assertEqual(QUEUED, self.job(jobid).status)
        self.service.remove(jobid)

    def test_a_failed_one_leaves_a_hook(self):
        """It would go on at the commit of the caller, before it or after."""
        for name in 'addBeforeCommitHook', 'addAfterCommitHook':
            hook = unittest.mock.Mock()

            def task(service, input, name=name, hook=hook):
                getattr(transaction.get(), name)(hook)
                raise ValueError
            with self.subTest(name):
                self.refused(task, 'failed, and has left hooks')
                hook.assert_not_called()

    def test_a_failed_one_leaves_a_synchronizer(self):
        """So would that, and at each commit that follows."""
        synchronizer = unittest.mock.Mock()
        self.addCleanup(transaction.manager.unregisterSynch, synchronizer)

        def task(service, input):
            transaction.manager.registerSynch(synchronizer)
            raise ValueError
        self.refused(task, 'failed, and has left hooks or synchronizers')

    def test_it_dooms_it(self):
        """Who calls is told by whom, whether the job has failed or not."""
        def task(service, input):
            transaction.doom()
            if input:
                raise ValueError
        self.refused(task, 'doomed its transaction')
        self.service.add('test.left', 'fail')
        with self.assertRaisesRegex(CannotRollBack, 'has doomed'):
            self.service.process()

    def test_it_lets_it_fail(self):
        """A savepoint that cannot be made ends a transaction, too."""
        def task(service, input):
            transaction.get().join(unittest.mock.Mock(spec=['abort']))
            with self.assertRaises(TypeError):
                transaction.savepoint()
        self.refused(task, 'doomed its transaction')

    def test_what_the_caller_has_there(self):
        """That stays, and is no matter of the job."""
        hook, synchronizer = unittest.mock.Mock(), unittest.mock.Mock()
        transaction.manager.registerSynch(synchronizer)
        self.addCleanup(transaction.manager.unregisterSynch, synchronizer)
        transaction.get().addBeforeCommitHook(hook)

        def task(service, input):
            service.add('test.inner', 'of the failed one')
            raise ValueError
        self.service_task(task, 'test.inner')
        jobid = self.service.add('test.inner')
        self.service.process()
        transaction.commit()
        hook.assert_called_once_with()
        self.assertEqual(ERROR, self.job(jobid).status)

    def test_a_caller_who_commits_nothing(self):
        """He may have doomed the transaction himself."""
        self.service_task(effect)
        self.service.add('test.task', 'done')
        transaction.doom()
        self.service.process()
        self.assertEqual(['done'], list(self.root.effects))
