"""Tests of stored calls whose function is gone, has changed or was moved."""

import unittest.mock

import transaction
import zope.component

from gocept.async_ import function
from gocept.async_.interfaces import IRenamedFunction
from gocept.async_.task import TASK_NAME
from gocept.async_.task import RenamedFunction
from gocept.async_.task import TaskDescription
from gocept.async_.testing import login
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.configuration import execute
from gocept.async_.tests.functional import FunctionalTestCase
from lovely.remotetask import bulk


SAMPLE = sample.__name__


class StoredCallTestCase(FunctionalTestCase):

    def store(self, name, *args, **kwargs):
        """Store a call of a function that was there under a name."""
        description = TaskDescription(sample.record, args, kwargs)
        description._f = name
        return self.service.add(TASK_NAME, description)

    def deploy(self, name, new):
        """Put a function into the module, until the test ends."""
        patch = unittest.mock.patch.object(sample, name, new, create=True)
        patch.start()
        self.addCleanup(patch.stop)

    def status(self, jobid):
        return self.service.getStatus(jobid)


class HeldTest(StoredCallTestCase):
    """What the installed code cannot run waits for a better one."""

    def assertHeld(self, reason):
        with self.assertRaisesRegex(AssertionError, reason):
            process()
        job = self.job()
        self.assertEqual('held', job.status)
        self.assertRegex(job.error, reason)
        self.assertEqual('lovely.remotetask.interfaces.CannotRun',
                         job.errorClass)
        self.assertEqual(1, job.attempts)
        self.assertEqual([], sample.calls)
        # Until somebody asks for it, it is not run again.
        process()
        self.assertEqual(1, self.job().attempts)

    def test_function_that_is_gone(self):
        """The reason says which one."""
        self.store(f'{SAMPLE}.gone')
        self.assertHeld(f"'{SAMPLE}.gone'")

    def test_module_that_is_gone(self):
        """The same."""
        self.store('no_such_module.function')
        self.assertHeld("No module named 'no_such_module'")

    def test_function_that_is_not_decorated_any_more(self):
        """It must not be called; perhaps that was a mistake."""
        self.store(f'{SAMPLE}.undecorated')
        self.assertHeld('not an asynchronous function')

    def test_function_that_takes_other_arguments(self):
        """Too many, too few, or others."""
        for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {'c': 2})):
            with self.subTest(args=args, kwargs=kwargs):
                jobid = self.store(f'{SAMPLE}.add', *args, **kwargs)
                self.assertHeld(
                    f"'{SAMPLE}.add' does not take the stored arguments")
                self.service.remove(jobid)

    def test_type_error_in_the_function_is_an_error(self):
        """The function was called; the call was fine."""
        self.store(f'{SAMPLE}.add', None, 1)
        process(raise_errors=False)
        self.assertEqual(('error', 'builtins.TypeError'),
                         (self.job().status, self.job().errorClass))

    def test_requeue_runs_it_when_the_function_is_back(self):
        """As the one who called."""
        login('zope.user')
        jobid = self.store(f'{SAMPLE}.deployed')
        process(raise_errors=False)
        self.assertEqual('held', self.status(jobid))
        self.deploy('deployed', sample.context)
        self.assertTrue(self.service.requeue(jobid))
        process()
        self.assertEqual('completed', self.status(jobid))
        (principal, _), = sample.calls
        self.assertEqual('zope.user', principal.id)

    def test_requeue_too_early(self):
        """It is held again, and can be requeued again."""
        jobid = self.store(f'{SAMPLE}.deployed')
        for _ in range(3):
            process(raise_errors=False)
            self.assertEqual('held', self.status(jobid))
            self.assertTrue(self.service.requeue(jobid))

    def test_requeue_when_the_signature_fits_again(self):
        """A deploy may bring the old parameters back."""
        @function('events')
        def changed(one):
            sample.calls.append(one)

        jobid = self.store(f'{SAMPLE}.changed', 1, 2)
        self.deploy('changed', changed)
        process(raise_errors=False)
        self.assertEqual('held', self.status(jobid))
        self.deploy('changed', sample.record)
        self.service.requeue(jobid)
        process()
        self.assertEqual([((1, 2), {})], sample.calls)

    def test_requeue_all_that_are_held(self):
        """And no others: those in error stay as they are."""
        held = [self.store(f'{SAMPLE}.deployed', number)
                for number in range(3)]
        sample.fail('oops')
        sample.record('done')
        process(raise_errors=False)
        self.assertEqual(3, self.service.counts()['held'])
        self.deploy('deployed', sample.record)
        progress = []
        self.assertEqual(3, bulk.apply(
            self.service, 'requeue', progress.append, status='held'))
        self.assertEqual(3, progress[-1])
        sample.calls.clear()
        process()
        self.assertEqual(
            [0, 1, 2], sorted(args[0] for args, _ in sample.calls))
        self.assertEqual({'completed'}, set(map(self.status, held)))
        counts = self.service.counts()
        self.assertEqual((0, 1, 4), (
            counts['held'], counts['error'], counts['completed']))

    def test_requeue_all_of_one_function(self):
        """The name is that which was stored."""
        one = self.store(f'{SAMPLE}.one')
        two = self.store(f'{SAMPLE}.two')
        process(raise_errors=False)
        self.assertEqual(1, bulk.apply(
            self.service, 'requeue', status='held',
            function=f'{SAMPLE}.two'))
        transaction.begin()
        self.assertEqual(('held', 'queued'),
                         (self.status(one), self.status(two)))


class FindTest(StoredCallTestCase):
    """Jobs are found by the function they call."""

    def test_by_the_stored_name(self):
        """Waiting or ended."""
        sample.record()
        process()
        sample.record()
        sample.context()
        self.service.add(TASK_NAME, TaskDescription(sample.add, (1,), {}))
        transaction.commit()
        for name, number in (('record', 2), ('context', 1), ('nested', 0)):
            page = self.service.find(function=f'{SAMPLE}.{name}')
            self.assertEqual(number, len(page.jobs), name)
        page = self.service.find(
            status='queued', function=f'{SAMPLE}.record')
        self.assertEqual(1, len(page.jobs))

    def test_name_of_the_description(self):
        """function_name is that of the function itself."""
        self.assertEqual(
            f'{SAMPLE}.record',
            TaskDescription(sample.record, (), {}).function_name)


class AliasTest(StoredCallTestCase):
    """Calls that were stored under a name of the old package."""

    def test_is_run(self):
        """gocept.async is the same as gocept.async_."""
        jobid = self.store('gocept.async.tests.sample.record', 1)
        process()
        self.assertEqual('completed', self.status(jobid))
        self.assertEqual([((1,), {})], sample.calls)

    def test_function_that_is_gone_is_held(self):
        """The reason has the stored name."""
        jobid = self.store('gocept.async.tests.sample.gone')
        process(raise_errors=False)
        self.assertEqual('held', self.status(jobid))
        self.assertIn("'gocept.async.tests.sample.gone'", self.job().error)

    def test_can_be_renamed(self):
        """In the words that were stored."""
        execute(self, f'<async:renamed old="gocept.async.tests.sample.gone" '
                      f'new="{SAMPLE}.record" />')
        self.store('gocept.async.tests.sample.gone', 1)
        process()
        self.assertEqual([((1,), {})], sample.calls)


class RenamedTest(StoredCallTestCase):
    """async:renamed tells where functions are now."""

    def rename(self, *pairs):
        execute(self, ''.join(
            f'<async:renamed old="{old}" new="{new}" />'
            for old, new in pairs))

    def test_runs_the_function_under_its_new_name(self):
        """With its arguments, as its principal."""
        login('zope.user')
        self.store('app.old', 1, b=2)
        self.rename(('app.old', f'{SAMPLE}.record'))
        process()
        self.assertEqual([((1,), {'b': 2})], sample.calls)
        self.assertEqual('zope.user', self.job().input.principal)

    def test_what_is_stored_is_found_under_both(self):
        """The stored name stays; f is the function of today."""
        self.store('app.old')
        self.rename(('app.old', f'{SAMPLE}.record'))
        description = self.job().input
        self.assertEqual('app.old', description.function_name)
        self.assertIs(sample.record, description.f)

    def test_chain(self):
        """A function may move more than once, in any order of ZCML."""
        self.rename(('app.older', 'app.old'), ('app.oldest', 'app.older'),
                    ('app.old', f'{SAMPLE}.record'))
        for name in ('oldest', 'older', 'old'):
            self.store(f'app.{name}', name)
        process()
        self.assertEqual(['oldest', 'older', 'old'],
                         [args[0] for args, _ in sample.calls])

    def test_held_job(self):
        """The directive came later than the deploy."""
        jobid = self.store('app.old', 1)
        process(raise_errors=False)
        self.assertEqual('held', self.status(jobid))
        self.rename(('app.old', f'{SAMPLE}.record'))
        self.service.requeue(jobid)
        process()
        self.assertEqual('completed', self.status(jobid))

    def test_new_function_takes_other_arguments(self):
        """The reason has its new name."""
        self.store('app.old')
        self.rename(('app.old', f'{SAMPLE}.add'))
        process(raise_errors=False)
        self.assertEqual('held', self.job().status)
        self.assertIn(f"'{SAMPLE}.add' does not take", self.job().error)

    def test_old_name_of_the_same_function(self):
        """Its old module imports it; calls are stored under the new one."""
        self.deploy('old_record', sample.record)
        self.rename((f'{SAMPLE}.old_record', f'{SAMPLE}.record'))
        self.store(f'{SAMPLE}.old_record', 1)
        sample.old_record(2)
        process()
        self.assertEqual([1, 2], [args[0] for args, _ in sample.calls])
        self.assertEqual(
            2, len({job.input.function_name for job in self.jobs()}))

    def test_loop_that_was_not_registered_by_zcml(self):
        """The jobs are held; nothing turns in circles."""
        manager = zope.component.getGlobalSiteManager()
        for old, new in (('app.a', 'app.b'), ('app.b', 'app.a')):
            renamed = RenamedFunction(new)
            manager.registerUtility(renamed, IRenamedFunction, old)
            self.addCleanup(
                manager.unregisterUtility, renamed, IRenamedFunction, old)
        self.store('app.a')
        process(raise_errors=False)
        self.assertEqual('held', self.job().status)
        self.assertIn('app.a, app.b', self.job().error)
