"""Tests of what the settings of a declared service do to its jobs."""

import unittest.mock

import transaction
import zope.component.hooks
from ZODB.POSException import ConflictError
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.configuration import declare
from gocept.async_.tests.functional import FunctionalTestCase
from lovely.remotetask.interfaces import IProcessorSettings
from lovely.remotetask.policy import DAY
from lovely.remotetask.policy import policy_of
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.processor import service_path
from lovely.remotetask.running import execution
from lovely.remotetask.running import group
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import upkeep


NOT_NOW = f'{sample.__name__}.NotNow'


class RestartTest(FunctionalTestCase):
    """ZCML is edited, the application restarted."""

    def test_settings_hold_for_queued_jobs(self):
        """Each of them; nothing is stored in the database."""
        declare(self, 'events')
        sample.record()
        transaction.commit()
        stored = self.root._p_jar.db().lastTransaction()
        for name, text, value in (
                ('attempts', '7', 7),
                ('retry_wait', '2.5', 2.5),
                ('retry_on', NOT_NOW, (NOT_NOW,)),
                ('retention', '60', 60.0),
                ('error_retention', '120', 120.0),
                ('keep_result', 'false', False),
                ('max_size', '1000', 1000),
                ('log_messages', 'false', False),
                ('commit_every', '20', 20)):
            with self.subTest(name):
                declare(self, 'events', **{name: text})
                policy = IProcessorSettings(self.service).policy
                self.assertEqual(value, getattr(policy, name))
                self.assertEqual(policy, policy_of(self.service))
        self.assertEqual(20, engine(self.service).commit_every())
        transaction.commit()
        self.assertEqual(stored, self.root._p_jar.db().lastTransaction())

    def test_attempts_of_a_job_that_waits_for_one(self):
        """The new number counts, also for those it has had."""
        declare(self, 'events', attempts=2, retry_on=NOT_NOW)
        sample.succeed_at(4)
        transaction.commit()
        processor = SimpleProcessor(
            self.root._p_jar.db(), service_path(self.service))
        processor.processNext()
        transaction.begin()
        self.assertEqual(('queued', 1), (self.job().status,
                                         self.job().attempts))
        declare(self, 'events', attempts=4, retry_on=NOT_NOW)
        process()
        self.assertEqual('completed', self.job().status)
        self.assertEqual(4, self.job().output)


class RetryTest(FunctionalTestCase):
    """A function is run again if its exception says so."""

    def test_no_exception_is_retried_by_default(self):
        """A function may have effects outside of the database."""
        declare(self, 'events')
        sample.succeed_at(2)
        process(raise_errors=False)
        self.assertEqual(('error', 1),
                         (self.job().status, self.job().attempts))

    def test_retried_until_it_succeeds(self):
        """The result is that of the last attempt, the effect that of one."""
        declare(self, 'events', retry_on=NOT_NOW)
        self.root['content'] = content = sample.Content()
        sample.succeed_at(3, content)
        process()
        self.assertEqual(3, len(sample.calls))
        self.assertEqual(1, content.value)
        job = self.job()
        self.assertEqual(('completed', 3, 3),
                         (job.status, job.attempts, job.output))
        self.assertIsNone(job.error)
        self.assertEqual(
            ['attempt 1', 'attempt 2', None],
            [attempt.error for attempt in job.history])
        self.assertIn('raise exception', job.history[0].traceback)

    def test_error_after_the_last_attempt(self):
        """With what the last attempt has raised."""
        declare(self, 'events', retry_on=NOT_NOW, attempts=3)
        sample.succeed_at(4)
        with self.assertRaisesRegex(AssertionError, 'attempt 3'):
            process()
        job = self.job()
        self.assertEqual(('error', 3, NOT_NOW),
                         (job.status, job.attempts, job.errorClass))
        process()
        self.assertEqual(3, len(sample.calls))

    def test_one_attempt_is_no_retry(self):
        """attempts="1" switches it off."""
        declare(self, 'events', retry_on=NOT_NOW, attempts=1)
        sample.succeed_at(2)
        process(raise_errors=False)
        self.assertEqual('error', self.job().status)

    def test_base_classes_count(self):
        """An exception is retried if its base class is named."""
        declare(self, 'events', retry_on='builtins.OSError')
        sample.succeed_at(2, exception=ConnectionResetError)
        process()
        self.assertEqual('completed', self.job().status)

    def test_other_exceptions_do_not(self):
        """Base classes of the one that is named, for example."""
        declare(self, 'events', retry_on=f'{sample.__name__}.MuchLater')
        sample.succeed_at(2)
        process(raise_errors=False)
        self.assertEqual('error', self.job().status)

    def test_exception_named_by_another_module(self):
        """By whatever name it is imported, it is the same exception."""
        with unittest.mock.patch(
                'gocept.async_.tests.functional.NotNow', sample.NotNow,
                create=True):
            declare(self, 'events',
                    retry_on='gocept.async.tests.functional.NotNow')
        sample.succeed_at(2)
        process()
        self.assertEqual('completed', self.job().status)

    def test_waits_in_between(self):
        """The job goes back to the queue until it is due."""
        declare(self, 'events', retry_on=NOT_NOW, retry_wait=1000)
        sample.succeed_at(2)
        transaction.commit()
        processor = SimpleProcessor(
            self.root._p_jar.db(), service_path(self.service))
        with unittest.mock.patch('random.uniform', lambda low, high: high):
            self.assertTrue(processor.processNext())
        self.assertFalse(processor.processNext())
        transaction.begin()
        job = self.job()
        self.assertEqual('queued', job.status)
        self.assertAlmostEqual(
            job.completed.timestamp() + 1000, job.due, delta=1)
        self.assertIsNone(processor.claimNextJob(job.due - 1))
        self.assertEqual(job.id, processor.claimNextJob(job.due + 1))

    def test_conflict_is_always_retried(self):
        """It is transient, and no failure of the function."""
        declare(self, 'events', attempts=1)
        sample.succeed_at(4, exception=ConflictError)
        process()
        self.assertEqual(('completed', 4, 3), (
            self.job().status, self.job().attempts, self.job().transients))


class RetentionTest(FunctionalTestCase):
    """Jobs that have ended are kept for a while."""

    def prune(self, seconds):
        """Remove what is kept long enough, so much later."""
        transaction.begin()
        number = upkeep(self.service).prune(
            100, self.job().completed.timestamp() + seconds)
        transaction.commit()
        return number

    def test_completed(self):
        """A week, if nothing is said."""
        for settings, retention in (({}, 7 * DAY), ({'retention': 60}, 60)):
            with self.subTest(settings):
                declare(self, 'events', **settings)
                sample.record()
                process()
                self.assertEqual(0, self.prune(retention - 1))
                self.assertEqual(1, self.prune(retention + 1))
                self.assertEqual([], self.jobs())

    def test_error(self):
        """A month, if nothing is said."""
        for settings, retention in (
                ({}, 30 * DAY), ({'error_retention': 60}, 60)):
            with self.subTest(settings):
                declare(self, 'events', **settings)
                sample.fail('oops')
                process(raise_errors=False)
                self.assertEqual(0, self.prune(retention - 1))
                self.assertEqual(1, self.prune(retention + 1))
                self.assertEqual([], self.jobs())

    def test_for_ever(self):
        """Nothing is removed then."""
        declare(self, 'events', retention='inf')
        sample.record()
        process()
        self.assertEqual(0, self.prune(1e9))

    def test_completed_jobs_are_not_kept(self):
        """keep_result="false": nothing is left; errors are kept."""
        declare(self, 'events', keep_result='false')
        sample.record()
        sample.fail('oops')
        process(raise_errors=False)
        self.assertEqual(1, len(sample.calls))
        self.assertEqual('error', self.job().status)
        self.assertEqual(0, self.service.counts()['completed'])


class GroupTest(FunctionalTestCase):
    """Several calls in one transaction: commit_every."""

    def setUp(self):
        super().setUp()
        self.root['site'] = self.site = Folder()
        self.site.setSiteManager(LocalSiteManager(self.site))
        self.root['content'] = sample.Content()
        transaction.commit()

    def run_group(self):
        """Claim all jobs and run them as a processor's runner does."""
        transaction.commit()
        db = self.root._p_jar.db()
        path = service_path(self.service)
        worker = 'host:1:test:0'
        claims = execution.in_transaction(
            db, path, transaction.commit,
            lambda engine: engine.claim(worker, 100))
        before = self.storage().lastTransaction()
        group.run_group(db, path, claims, transaction.commit)
        self.written = self.transactions_since(before)
        execution.in_transaction(
            db, path, transaction.commit,
            lambda engine: engine.settle(
                worker, [claim.job for claim in claims]))
        transaction.begin()
        return [self.service.jobs[claim.job] for claim in claims]

    def storage(self):
        return self.jobs_db.storage

    def transactions_since(self, before):
        """Return how many transactions wrote the jobs."""
        manager = transaction.TransactionManager()
        connection = self.layer.db.open(manager)
        try:
            service = connection.get_connection(
                self.jobs_db.database_name).get(self.service._p_oid)
            serials = set()
            for job in service.jobs.values():
                job._p_activate()
                serials.add(job._p_serial)
            return len({serial for serial in serials if serial > before})
        finally:
            manager.abort()
            connection.close()

    def test_each_as_its_principal_and_in_its_site(self):
        """Two users' calls, and one of nobody, in one transaction."""
        login('zope.user')
        sample.context()
        login('zope.manager')
        with zope.component.hooks.site(self.site):
            sample.context()
        logout()
        sample.context()
        jobs = self.run_group()
        self.assertEqual(
            [('zope.user', self.root._p_oid),
             ('zope.manager', self.site._p_oid),
             (None, self.root._p_oid)],
            [(principal.id, site._p_oid) for principal, site in sample.calls])
        self.assertEqual(['completed'] * 3, [job.status for job in jobs])
        self.assertEqual(1, self.written)

    def test_one_fails_alone(self):
        """Its effect is rolled back, those of the others stay."""
        others = self.root['one'], self.root['two'] = (
            sample.Content(), sample.Content())
        sample.change(others[0], 'first')
        sample.change_and_fail(self.root['content'], 'failed')
        sample.change(others[1], 'second')
        jobs = self.run_group()
        self.assertEqual(['completed', 'error', 'completed'],
                         [job.status for job in jobs])
        self.assertEqual(['first', 'second'],
                         [content.value for content in others])
        self.assertFalse(hasattr(self.root['content'], 'value'))
        self.assertEqual('too late', jobs[1].error)

    def test_after_one_that_fails_the_principal_is_right(self):
        """A failure leaves no principal or site behind."""
        login('zope.user')
        sample.fail('oops')
        logout()
        sample.context()
        self.run_group()
        (principal, site), = sample.calls
        self.assertIsNone(principal.id)
        self.assertEqual(self.root._p_oid, site._p_oid)

    def test_who_is_gone_fails_alone(self):
        """Nobody else's call suffers from that."""
        login('zope.gone')
        sample.context()
        login('zope.user')
        sample.context()
        jobs = self.run_group()
        self.assertEqual(['error', 'completed'],
                         [job.status for job in jobs])
        self.assertEqual(['zope.user'],
                         [principal.id for principal, _ in sample.calls])

    def test_function_that_is_gone_is_held_alone(self):
        """The others are completed."""
        sample.record()
        sample.context()
        first, = [job for job in self.jobs()
                  if job.input._f.endswith('.record')]
        first.input._f = f'{sample.__name__}.gone'
        jobs = self.run_group()
        self.assertEqual(['held', 'completed'], [job.status for job in jobs])

    def test_one_that_commits(self):
        """It is refused; all are run again one by one."""
        sample.change(self.root['content'], 'changed')
        sample.commit()
        jobs = self.run_group()
        self.assertEqual(['completed', 'error'], [job.status for job in jobs])
        self.assertIn('must not commit', jobs[1].error)
        self.assertEqual('changed', self.root['content'].value)

    def test_retried_alone(self):
        """One that may be tried again waits; the others are completed."""
        declare(self, 'events', retry_on=NOT_NOW, commit_every=10)
        sample.succeed_at(2)
        sample.record()
        jobs = self.run_group()
        self.assertEqual(['queued', 'completed'],
                         [job.status for job in jobs])
        process()
        self.assertEqual('completed', self.service.getStatus(jobs[0].id))
