"""Running one job: interaction, site, transaction, failure."""

import contextlib
import itertools
import logging
import os
import sys
import threading
import types
import unittest
import unittest.mock

import transaction
import zope.component
import zope.component.hooks
import zope.security.management
from transaction.interfaces import TransientError
from ZODB.Connection import Connection
from ZODB.POSException import ConflictError
from zope.interface.verify import verifyObject
from zope.publisher.interfaces import IRequest
from zope.security.interfaces import IPrincipal
from zope.security.testing import Participation
from zope.security.testing import Principal
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import child
from lovely.remotetask.running import execution
from lovely.remotetask.running.execution import ProcessorRequest
from lovely.remotetask.running.surroundings import JobPlace
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import TaskCase
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import logged


SECRET = 's3cr3t'


class AttemptTest(TaskCase):

    def fail(self, exception):
        def raise_it():
            raise exception
        return execution.outcome_of(raise_it)

    def test_success(self):
        """A call that returns is not failed and has its value."""
        outcome = execution.outcome_of(divmod, 7, 2)
        self.assertEqual((3, 1), outcome.value)
        self.assertFalse(outcome.failed)
        self.assertFalse(outcome.retryable)

    def test_failure(self):
        """A call that raises has message, class and traceback."""
        outcome = self.fail(TaskError('message'))
        self.assertTrue(outcome.failed)
        self.assertEqual('message', outcome.error)
        self.assertEqual('lovely.remotetask.task.TaskError',
                         outcome.errorClass)
        self.assertIn('in raise_it', outcome.traceback)
        self.assertFalse(outcome.retryable)

    def test_transient_errors_are_retryable(self):
        """Conflicts, and what a data manager says, can be tried again."""
        class Manager:
            def should_retry(self, error):
                return isinstance(error, KeyError)
        self.assertTrue(self.fail(ConflictError()).retryable)
        self.assertTrue(self.fail(TransientError()).retryable)
        self.assertFalse(self.fail(KeyError()).retryable)
        transaction.get().join(Manager())
        self.assertTrue(self.fail(KeyError()).retryable)
        transaction.get()._resources.clear()

    def test_exit_is_caught(self):
        """sys.exit is a failure of the call."""
        self.assertEqual('3', self.fail(SystemExit(3)).error)

    def test_interruption_is_not(self):
        """Whoever interrupts the process means the process."""
        with self.assertRaises(KeyboardInterrupt):
            self.fail(KeyboardInterrupt())

    def test_nobody_interrupts_other_threads(self):
        """There a job, a record or a hook has raised it, and fails."""
        found = []
        thread = threading.Thread(target=lambda: found.append(
            self.fail(KeyboardInterrupt('no keyboard')).error))
        thread.start()
        thread.join()
        self.assertEqual(['no keyboard'], found)


class ForkTest(unittest.TestCase):

    def leave(self, outcome):
        """Return the exit code of a child that comes back like that."""
        with unittest.mock.patch.object(os, '_exit') as leave:
            child.end_child(os.getpid() + 1, outcome)
        leave.assert_called_once()
        return leave.call_args.args[0]

    def test_without_output(self):
        """A child ends, also where a job has taken its output away.

        It would go on as a second runner, on its parent's files.
        """
        for stream in None, object():
            with unittest.mock.patch.multiple(
                    sys, stdout=stream, stderr=stream):
                self.assertEqual(0, self.leave(execution.outcome_of(int)))
                self.leave(execution.outcome_of(int, 'x'))
                self.leave(execution.outcome_of(sys.exit, 'x'))


class InteractionTest(TaskCase):

    def test_replaces_and_restores(self):
        """Within, there is another interaction; after it, the old one."""
        zope.security.management.newInteraction(
            Participation(Principal('zope.user')))
        outer = zope.security.management.getInteraction()
        request = ProcessorRequest()
        with execution.interaction(request):
            inner = zope.security.management.getInteraction()
            self.assertEqual([request], list(inner.participations))
        self.assertIs(outer, zope.security.management.getInteraction())

    def test_restores_after_an_error(self):
        """An error leaves the old interaction in its place."""
        with self.assertRaises(KeyError), \
                execution.interaction(ProcessorRequest()):
            raise KeyError
        self.assertIsNone(zope.security.management.queryInteraction())

    def test_nests(self):
        """An interaction within another is ended alone."""
        with execution.interaction(ProcessorRequest()):
            outer = zope.security.management.getInteraction()
            with execution.interaction(ProcessorRequest()):
                pass
            self.assertIs(outer, zope.security.management.getInteraction())

    def test_an_interaction_ended_within(self):
        """A function that ends its interaction does no harm."""
        zope.security.management.newInteraction()
        outer = zope.security.management.getInteraction()
        with execution.interaction(ProcessorRequest()):
            zope.security.management.endInteraction()
        self.assertIs(outer, zope.security.management.getInteraction())

    def test_place_in_the_current_site(self):
        """What is set within is set back, whether the site was or not."""
        sites = Folder(), Folder()
        for each in sites:
            each.setSiteManager(LocalSiteManager(each))
        self.addCleanup(zope.component.hooks.setSite)
        for site, within in itertools.product((None, *sites), repeat=2):
            zope.component.hooks.setSite(site)
            outer = vars(zope.component.hooks.siteinfo).copy()
            with JobPlace(within, list):
                self.assertIs(within, zope.component.hooks.getSite())
                if within is not None:
                    self.assertIs(within.getSiteManager(),
                                  zope.component.hooks.siteinfo.sm)
                zope.component.hooks.setSite(sites[1])
            self.assertEqual(outer, vars(zope.component.hooks.siteinfo))

    def test_is_running(self):
        """A job is recognised by the request of its interaction."""
        self.assertFalse(execution.is_running())
        with execution.interaction(ProcessorRequest()):
            self.assertTrue(execution.is_running())
        self.assertFalse(execution.is_running())
        zope.security.management.newInteraction(
            Participation(Principal('zope.user')))
        self.assertFalse(execution.is_running())

    def test_request(self):
        """The participation is a request, of a given principal or nobody."""
        request = ProcessorRequest()
        self.assertTrue(verifyObject(IRequest, request))
        self.assertTrue(verifyObject(IPrincipal, request.principal))
        self.assertIsNone(request.principal.id)
        principal = Principal('zope.user')
        self.assertIs(principal, ProcessorRequest(principal).principal)


class RunCase(DatabaseCase):
    """Runs jobs as processors do, in this thread."""

    def run_job(self, func, input=None, processor=None):
        """Run a function of service and input as a job.  Return the job."""
        self.service_task(func)
        jobid = self.add('test.task', input)
        processor = processor or self.processor()
        self.assertTrue(processor.processNext())
        return self.job(jobid)


class RunTest(RunCase):

    def test_completed(self):
        """Effects, result and status are committed."""
        def work(service, input):
            effect(service, input)
            return 42
        job = self.run_job(work, 'done')
        self.assertEqual(['done'], self.effects)
        self.assertEqual(
            (COMPLETED, 42, None, 1),
            (job.status, job.output, job.error, job.attempts))
        self.assertLessEqual(job.started, job.completed)

    def test_traceback(self):
        """It begins where the code of the job does."""
        def work(input):
            raise ValueError
        self.task(work)
        jobid = self.add('test.task')
        self.processor().processNext()
        self.assertRegex(self.job(jobid).traceback,
                         r'\ATraceback [^\n]*\n  File [^\n]* in work\n')

    def test_one_transaction(self):
        """Effects and status are in one transaction, another than the claim.
        """
        def work(service, input):
            effect(service, input)
        self.service_task(work)
        jobid = self.add('test.task')
        processor = self.processor()
        processor.claimNextJob()
        claimed = self.db.lastTransaction()
        processor.processNext(jobid)
        job = self.job(jobid)
        self.assertEqual(COMPLETED, job.status)
        self.assertEqual([None], list(self.root.effects))
        self.assertEqual(job._p_serial, self.root.effects._p_serial)
        self.assertLess(claimed, job._p_serial)

    @contextlib.contextmanager
    def asked(self):
        """Provide the connections that ask the storage for news, each time.
        """
        found, new = [], Connection.newTransaction

        def new_transaction(connection, *args):
            found.append(connection)
            new(connection, *args)
        with unittest.mock.patch.object(
                Connection, 'newTransaction', new_transaction):
            yield found

    def test_news(self):
        """The storage is asked for news once, when bookkeeping begins.

        Not after the commit, too, as ZODB does by itself; with RelStorage,
        each is a request.
        """
        def touch(engine):
            used.append(engine.service._p_jar)
            engine.service.paused = False
        used = []
        with self.asked() as asked:
            execution.in_transaction(
                self.db, ['tasks'], transaction.commit, touch)
        self.assertEqual(1, asked.count(*used))

    def run_claimed(self, work):
        """Let a job run.  Return its connection, and those that asked."""
        def noting(service, input):
            used.append(service._p_jar)
            work(service)
        used = []
        self.service_task(noting)
        self.add('test.task')
        processor = self.processor()
        jobid = processor.claimNextJob()
        with self.asked() as asked:
            processor.processNext(jobid)
        return used[0], asked

    def test_news_for_a_job(self):
        """Nor after that of a job, when nobody looks at it any more."""
        def work(service):
            effect(service, 'done')
        used, asked = self.run_claimed(work)
        self.assertEqual(['done'], self.effects)
        # For the run, and to settle its claim.
        once = asked.count(used)

        def hooking(service):
            transaction.get().addAfterCommitHook(seen.append)
        seen = []
        used, asked = self.run_claimed(hooking)
        self.assertEqual([True], seen)
        self.assertEqual(once + 1, asked.count(used))

    def test_what_a_hook_sees(self):
        """What is called after the commit sees it, and later ones, too."""
        def work(service):
            effect(service, 'mine')
            jar = service._p_jar

            def look(success):
                with self.elsewhere() as other:
                    other.__parent__.effects.append('other')
                jar.cacheMinimize()
                seen.extend(service.__parent__.effects)
            transaction.get().addAfterCommitHook(look)
        seen = []
        self.run_claimed(work)
        self.assertEqual(['mine'], seen[:1])

    def test_each_job_has_its_own_transaction(self):
        """A failing job takes nothing away from the ones around it."""
        def work(service, input):
            effect(service, input)
            if input == 2:
                raise TaskError('no')
        self.service_task(work)
        ids = [self.add('test.task', number) for number in (1, 2, 3)]
        processor = self.processor()
        while processor.processNext():
            pass
        self.assertEqual([1, 3], self.effects)
        self.assertEqual([COMPLETED, ERROR, COMPLETED],
                         [self.job(jobid).status for jobid in ids])

    def test_what_the_function_sees(self):
        """It is processing, in a new interaction that tells it is a job."""
        def look(service, input):
            job, = service.jobs.values()
            return (job.status, execution.is_running(),
                    zope.component.hooks.getSite())
        zope.security.management.newInteraction()
        outer = zope.security.management.getInteraction()
        self.assertEqual(
            (PROCESSING, True, None), self.run_job(look).output)
        self.assertIs(outer, zope.security.management.getInteraction())

    def test_the_site(self):
        """A job runs in the site that holds its service; then it is over."""
        site = self.root['site'] = Folder()
        site.setSiteManager(LocalSiteManager(site))
        folder = site.getSiteManager()['default']
        folder['tasks'] = service = TaskService()
        self.service_task(
            lambda service, input: zope.component.hooks.getSite().__name__)
        jobid = service.add('test.task')
        transaction.commit()
        path = ['site', '++etc++site', 'default', 'tasks']
        SimpleProcessor(self.db, path).processNext()
        transaction.begin()
        self.assertEqual('site', service.getResult(jobid))
        self.assertIsNone(zope.component.hooks.getSite())

    def test_error(self):
        """Of a failing function nothing stays but the reason."""
        def fail(service, input):
            effect(service, input)
            raise TaskError('An error occurred.')
        job = self.run_job(fail)
        self.assertEqual([], self.effects)
        self.assertEqual(
            (ERROR, 'An error occurred.', 'lovely.remotetask.task.TaskError'),
            (job.status, job.error, job.errorClass))
        self.assertRegex(
            job.traceback, r'(?s)^Traceback .* in fail\n.*TaskError: An ')
        self.assertIsNone(job.output)
        self.assertIsNotNone(job.completed)
        self.assertEqual(1, job.attempts)

    def test_exit(self):
        """sys.exit in a function is an error of its job."""
        def leave(service, input):
            effect(service, input)
            raise SystemExit('bye')
        job = self.run_job(leave)
        self.assertEqual((ERROR, 'bye', 'builtins.SystemExit'),
                         (job.status, job.error, job.errorClass))
        self.assertEqual([], self.effects)

    def test_task_is_gone(self):
        """A job whose task is no longer registered is held, and says so."""
        self.task(len, 'test.gone')
        jobid = self.add('test.gone')
        zope.component.getGlobalSiteManager().unregisterUtility(
            provided=ITask, name='test.gone')
        self.processor().processNext()
        job = self.job(jobid)
        self.assertEqual(HELD, job.status)
        self.assertIn("'test.gone' is not registered", job.error)

    def test_unreadable_error(self):
        """An exception whose message fails is kept nevertheless."""
        class Broken(Exception):
            def __str__(self):
                raise self

        def fail(service, input):
            raise Broken
        job = self.run_job(fail)
        self.assertEqual(
            (ERROR, '<unprintable Broken object>'), (job.status, job.error))
        self.assertFalse(self.processor().processNext())


class CommitTest(RunCase):
    """What may go wrong when the transaction of a job is committed."""

    def test_unpicklable_result(self):
        """A result that cannot be stored is an error, and never lost."""
        def lock(service, input):
            effect(service, input)
            return threading.Lock()
        job = self.run_job(lock)
        self.assertEqual(
            (ERROR, 'builtins.TypeError'), (job.status, job.errorClass))
        self.assertIn('pickle', job.error)
        self.assertEqual([], self.effects)

    def test_unpicklable_effect(self):
        """So is an effect that cannot be stored."""
        job = self.run_job(
            lambda service, input: effect(service, threading.Lock()))
        self.assertEqual(ERROR, job.status)
        self.assertEqual([], self.effects)

    def test_a_vote_against(self):
        """Where a data manager refuses to commit, none of it stays."""
        def join(service, input):
            effect(service, input)
            transaction.get().join(Refusing())
        job = self.run_job(join)
        self.assertEqual(
            (ERROR, 'voted against', 'builtins.ValueError'),
            (job.status, job.error, job.errorClass))
        self.assertEqual([], self.effects)

    def test_a_doomed_transaction(self):
        """A function may doom its transaction; that is an error."""
        def doom(service, input):
            effect(service, input)
            transaction.doom()
        job = self.run_job(doom)
        self.assertEqual(ERROR, job.status)
        self.assertEqual([], self.effects)

    def test_commit_by_the_function(self):
        """A function that commits is stopped there, and nothing stored."""
        def commit(service, input):
            effect(service, 'before')
            transaction.commit()
            effect(service, 'after')
        job = self.run_job(commit)
        self.assertEqual(ERROR, job.status)
        self.assertIn('must not commit', job.error)
        self.assertEqual([], self.effects)

    def test_commit_that_is_insisted_on(self):
        """To swallow the error and to commit again does not help."""
        seen = []

        def insist(service, input):
            for _ in range(3):
                effect(service, 'effect')
                with contextlib.suppress(Exception):
                    transaction.commit()
                with self.elsewhere() as other:
                    seen.extend(other.__parent__.effects)
        job = self.run_job(insist)
        self.assertEqual([], seen)
        self.assertEqual(ERROR, job.status)
        self.assertEqual([], self.effects)

    def test_commit_after_abort(self):
        """Nor does it to commit a transaction begun in the function."""
        for begin in (transaction.abort, transaction.begin):
            def commit(service, input, begin=begin):
                begin()
                effect(service, 'effect')
                transaction.commit()
            with self.subTest(begin):
                job = self.run_job(commit)
                self.assertIn('must not commit', job.error)
                self.assertEqual([], self.effects)

    def test_the_refusal_is_over(self):
        """After the job, this thread may commit as before."""
        self.run_job(effect)
        self.root.effects.append('mine')
        transaction.commit()
        self.assertEqual([None, 'mine'], self.effects)

    def test_own_transactions(self):
        """A function may commit with a transaction manager of its own."""
        def commit(service, input):
            with self.elsewhere() as other:
                effect(other, 'own')
        self.assertEqual(COMPLETED, self.run_job(commit).status)
        self.assertEqual(['own'], self.effects)

    def test_abort_by_the_function(self):
        """A function that aborts loses what it did before, no more."""
        calls = []

        def abort(service, input):
            calls.append(input)
            effect(service, 'before')
            transaction.abort()
            effect(service, 'after')
            return 42
        job = self.run_job(abort)
        self.assertEqual((COMPLETED, 42), (job.status, job.output))
        self.assertEqual(['after'], self.effects)
        self.assertFalse(self.processor().processNext())
        self.assertEqual(1, len(calls))

    def test_savepoints(self):
        """A function may use savepoints."""
        def work(service, input):
            effect(service, 'kept')
            savepoint = transaction.savepoint()
            effect(service, 'rolled back')
            savepoint.rollback()
        self.assertEqual(COMPLETED, self.run_job(work).status)
        self.assertEqual(['kept'], self.effects)

    def test_hooks_that_the_function_adds(self):
        """Hooks of the job's transaction are called, once it is committed."""
        seen = []

        def work(service, input):
            txn = transaction.get()
            txn.addBeforeCommitHook(seen.append, ('before',))
            txn.addAfterCommitHook(lambda done: seen.append(done))
        self.run_job(work)
        self.assertEqual(['before', True], seen)


class ConflictTest(RunCase):

    def count_runs(self, func):
        """Return the job at its end, and how often its function was run."""
        runs = []

        def counting(service, input):
            runs.append(transaction.get())
            func(service, len(runs))
        job = self.run_job(counting)
        while job.status == QUEUED:
            self.assertEqual(job.id, self.claimed_when_due(job))
            self.a_processor.processNext(job.id)
            job = self.job(job.id)
        return job, runs

    def claimed_when_due(self, job):
        """Claim a job that is tried again; before its time there is none."""
        self.a_processor = self.processor()
        self.assertIsNone(
            self.a_processor.claimNextJob(now=job.due - 0.0001))
        return self.a_processor.claimNextJob(now=job.due)

    def interfere(self, value):
        with self.elsewhere() as other:
            effect(other, value)

    def test_a_conflict_is_run_again(self):
        """After a conflict the function runs again, on a fresh snapshot."""
        seen = []

        def work(service, run):
            seen.append(list(service.__parent__.effects))
            if run == 1:
                self.interfere('other')
            effect(service, f'run {run}')
        job, runs = self.count_runs(work)
        self.assertEqual([[], ['other']], seen)
        self.assertEqual(['other', 'run 2'], self.effects)
        self.assertEqual(
            (COMPLETED, 2, None), (job.status, job.attempts, job.error))
        self.assertIsNot(*runs)

    def test_conflicts_every_time(self):
        """After ten, the next is the job's error; none of it stays."""
        def work(service, run):
            self.interfere('other')
            effect(service, f'run {run}')
        job, runs = self.count_runs(work)
        self.assertEqual(11, len(runs))
        self.assertEqual((ERROR, 11), (job.status, job.attempts))
        self.assertEqual('ZODB.POSException.ConflictError', job.errorClass)
        self.assertIn('Traceback', job.traceback)
        self.assertEqual(['other'] * 11, self.effects)

    def test_a_function_that_raises_a_conflict(self):
        """It is run 11 times in all, then it is an error."""
        def work(service, run):
            effect(service, run)
            raise ConflictError('mine')
        job, runs = self.count_runs(work)
        self.assertEqual(11, len(runs))
        self.assertEqual(ERROR, job.status)
        self.assertIn('mine', job.error)
        self.assertEqual([], self.effects)

    def test_the_last_attempt_succeeds(self):
        """Ten conflicts before it do not count against the last run."""
        def work(service, run):
            if run < 11:
                raise TransientError
        job, runs = self.count_runs(work)
        self.assertEqual((COMPLETED, 11), (job.status, job.attempts))

    def test_other_errors_are_not_run_again(self):
        """An error that is not transient ends the job at once."""
        def work(service, run):
            raise ZeroDivisionError
        job, runs = self.count_runs(work)
        self.assertEqual((ERROR, 1), (job.status, len(runs)))

    def test_a_data_manager_that_asks_for_it(self):
        """A data manager may say that its error is transient."""
        def work(service, run):
            if run == 1:
                transaction.get().join(Retrying())
        job, runs = self.count_runs(work)
        self.assertEqual((COMPLETED, 2), (job.status, len(runs)))


class ClaimLostTest(RunCase):

    def test_of_two_who_run_a_job_one_has_effects(self):
        """A claim that was taken away while the job ran commits nothing."""
        processors = [self.processor(), self.processor()]

        def work(service, input):
            effect(service, f'run {len(runs)}')
            runs.append(None)
            if len(runs) == 1:
                self.take_away()
                thread = threading.Thread(target=processors[1].processNext)
                thread.start()
                thread.join(PATIENCE)
        runs = []
        job = self.run_job(work, processor=processors[0])
        self.assertEqual(2, len(runs))
        self.assertEqual(['run 1'], self.effects)
        self.assertEqual((COMPLETED, None), (job.status, job.error))

    def test_a_claim_lost_before_an_abort(self):
        """A function that aborts does not forget whose job it is."""
        def work(service, input):
            runs.append(None)
            if len(runs) == 1:
                self.take_away()
                thread = threading.Thread(target=other.claimNextJob)
                thread.start()
                thread.join(PATIENCE)
                transaction.abort()
            effect(service, f'run {len(runs)}')
        runs = []
        other = self.processor()
        jobid = self.run_job(work).id
        self.assertEqual(PROCESSING, self.job(jobid).status)
        self.assertEqual([], self.effects)
        other.processNext(jobid)
        self.assertEqual(['run 2'], self.effects)

    def test_a_failure_of_the_one_who_lost(self):
        """Nor does it store its error over the result of the other."""
        def work(service, input):
            runs.append(None)
            if len(runs) == 1:
                self.take_away()
                thread = threading.Thread(
                    target=self.processor().processNext)
                thread.start()
                thread.join(PATIENCE)
                raise TaskError('late')
            return 42
        runs = []
        self.service_task(work)
        jobid = self.add('test.task')
        with contextlib.suppress(Exception):
            self.processor().processNext()
        job = self.job(jobid)
        self.assertEqual(
            (COMPLETED, 42, None), (job.status, job.output, job.error))

    def test_a_claim_that_is_gone_before_it_runs(self):
        """A job that is no longer claimed is not run at all."""
        self.service_task(effect)
        jobid = self.add('test.task')
        processor = self.processor()
        self.assertEqual(jobid, processor.claimNextJob())
        self.take_away()
        with logged('lovely.remotetask') as lines:
            processor.processNext(jobid)
        self.assertEqual([], self.effects)
        self.assertEqual(QUEUED, self.job(jobid).status)
        self.assertIn('left alone', '\n'.join(lines))

    def test_a_job_that_is_gone(self):
        """A job that was removed meanwhile is left alone, too."""
        self.service_task(effect)
        jobid = self.add('test.task')
        processor = self.processor()
        processor.claimNextJob()
        self.take_away()
        self.service._p_jar.sync()
        self.service.cancel(jobid)
        self.service.clean()
        transaction.commit()
        processor.processNext(jobid)
        self.assertEqual([], self.effects)

    def test_run_twice(self):
        """To run a job that has ended again has no effect."""
        self.service_task(effect)
        jobid = self.add('test.task')
        processor = self.processor()
        processor.claimNextJob()
        processor.processNext(jobid)
        processor.processNext(jobid)
        self.assertEqual([None], self.effects)
        self.assertEqual(COMPLETED, self.job(jobid).status)


class LogTest(RunCase):

    def lines(self, func, level=1, name='lovely.remotetask'):
        with logged(name, level) as lines:
            self.job_run = self.run_job(func, {'password': SECRET})
        return lines

    def test_completed(self):
        """A job that completed is told once, with its duration."""
        line, = self.lines(effect, logging.INFO)
        self.assertRegex(
            line, rf'^INFO tasks/{self.job_run.id}: completed in '
                  r'\d\.\d+ s \(test.task, attempt 1\)$')

    def test_error(self):
        """A job that failed is told once, with its traceback."""
        def fail(service, input):
            raise TaskError('An error occurred.')
        line, = self.lines(fail, logging.INFO)
        self.assertRegex(
            line, rf'(?s)^ERROR tasks/{self.job_run.id}: failed .*'
                  r'Traceback .* in fail.*TaskError: An error occurred.')

    def test_conflict(self):
        """An attempt that met a conflict is a warning."""
        def fail(service, input):
            raise ConflictError
        line, = self.lines(fail, logging.INFO)
        self.assertRegex(
            line, rf'^WARNING tasks/{self.job_run.id}: .*ConflictError after '
                  r'\d\.\d+ s \(test.task, attempt 1\), now queued: ')

    def test_forged(self):
        """Names of classes and functions, and messages, are on one line."""
        name = 'x\n2024-01-01 CRITICAL forged'
        call = types.SimpleNamespace(function_name=name)
        # The conflict comes last: it is tried again.
        for base in TaskError, SystemExit, ConflictError:
            error = type(name, (base,), {'__module__': name})(name)

            def fail(service, input, error=error):
                raise error
            with self.subTest(base.__name__), \
                    logged('lovely.remotetask') as lines:
                job = self.run_job(fail, call)
                told = '\n'.join(lines)
                self.assertIn(f'tasks/{job.id}: ', told)
                self.assertIn(r'x\n2024-01-01 CRITICAL forged', told)
                self.assertNotIn('\n2024', told)

    def test_nothing_logs_the_input(self):
        """No logger at any level, no error tells what the input was."""
        def fail(service, input):
            effect(service, input)
            raise TaskError('An error occurred.')

        def conflict(service, input):
            raise ConflictError

        def result(service, input):
            return threading.Lock(), input

        def unstorable(service, input):
            effect(service, [input, threading.Lock()])
        for func in (effect, fail, conflict, result, unstorable):
            with self.subTest(func.__name__):
                lines = self.lines(func, name=None)
                self.assertNotIn(SECRET, '\n'.join(lines))
                self.assertNotIn(SECRET, str(self.job_run.error))
                self.assertNotIn(SECRET, str(self.job_run.traceback))

    def test_the_transaction_tells_the_job(self):
        """The undo log says which job it was, not its input."""
        job = self.run_job(effect, SECRET)
        description, = [record.description
                        for record in self.jobs_db.storage.iterator()
                        if record.tid == job._p_serial]
        self.assertEqual(
            f'tasks: job {job.id} test.task'.encode(), description)


class Refusing:
    """A data manager that does not let a transaction commit."""

    transaction_manager = None
    error = ValueError('voted against')

    def tpc_begin(self, txn):
        pass

    commit = tpc_finish = tpc_abort = abort = tpc_begin

    def tpc_vote(self, txn):
        raise self.error

    def sortKey(self):
        return '~'


class Retrying(Refusing):
    """Says that its error is transient."""

    error = KeyError('again')

    def should_retry(self, error):
        return error is self.error
