"""Tests of gocept.async_.decorator."""

import collections
import dataclasses
import enum
import functools
import inspect
import time
import types
import unittest
import unittest.mock

import transaction
import zope.component.hooks
import zope.interface
from zope.app.publication.zopepublication import ZopePublication

import gocept.async_.decorator
from gocept.async_ import decorator
from gocept.async_ import function
from gocept.async_ import is_async
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.functional import add_service
from lovely.remotetask.interfaces import IJobSource
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.policy import Policy
from lovely.remotetask.running.execution import ProcessorRequest
from lovely.remotetask.running.execution import interaction


LOG = gocept.async_.decorator.__name__


class DecorateTest(unittest.TestCase):
    """What the decorator makes of a function."""

    def test_keeps_name_and_docstring(self):
        """Documentation tools see the function itself."""
        self.assertEqual('add', sample.add.__name__)
        self.assertEqual('add', sample.add.__qualname__)
        self.assertEqual(sample.__name__, sample.add.__module__)
        self.assertEqual('Add two numbers, times over.', sample.add.__doc__)

    def test_keeps_signature(self):
        """inspect.signature shows the function's own parameters."""
        self.assertEqual(
            '(a, b=1, *, times=1) -> int',
            str(inspect.signature(sample.add)))

    def test_offers_the_function_as_it_was(self):
        """undecorated and __wrapped__ are the original function."""
        def original():
            return 42
        decorated = function('events')(original)
        self.assertIs(original, decorated.undecorated)
        self.assertIs(original, decorated.__wrapped__)

    def test_service_name_is_the_only_argument(self):
        """A second argument is refused as Python refuses it."""
        with self.assertRaises(TypeError):
            function('events', 'other')
        with self.assertRaises(TypeError):
            function(service='events', threads=2)
        parameter, = inspect.signature(function).parameters.values()
        self.assertEqual(('service', ''), (parameter.name, parameter.default))

    def test_missing_parentheses_are_reported(self):
        """@function without parentheses says how to write it."""
        with self.assertRaisesRegex(TypeError, r'write @function\(\)'):
            @function
            def compute():
                pass

    def test_service_name_is_a_string(self):
        """None, or a service itself, is no name."""
        with self.assertRaisesRegex(TypeError, 'name of a task service'):
            function(None)

    def test_refuses_functions_whose_call_does_not_run_them(self):
        """Coroutines and generators would do nothing, without an error."""
        async def coroutine():
            pass

        def generator():
            yield

        async def async_generator():
            yield

        for bad in (coroutine, generator, async_generator):
            with self.subTest(bad.__name__), \
                    self.assertRaisesRegex(TypeError, bad.__name__):
                function('events')(bad)

    def test_refuses_what_is_not_a_function(self):
        """Neither a value, nor something callable without a name."""
        class Callable:
            def __call__(self):
                pass
        for bad in (42, functools.partial(print), Callable()):
            with self.subTest(repr(bad)), \
                    self.assertRaisesRegex(TypeError, 'is not a function'):
                function('events')(bad)

    def test_refuses_classes(self):
        """A call of one makes an object, which nobody would get."""
        class Plain:
            pass

        @dataclasses.dataclass
        class Data:
            a: int = 0

        class Meta(type):
            pass

        for bad in (Plain, Data, Meta('WithMeta', (), {}), dict, list[int],
                    type, ValueError, enum.Enum('Kind', 'A B'),
                    collections.namedtuple('Size', 'w h'), sample.Content):
            with self.subTest(repr(bad)), \
                    self.assertRaisesRegex(
                        TypeError, 'is a class; decorate a plain function'):
                function('events')(bad)


class CallTest(FunctionalTestCase):
    """A call of a decorated function."""

    def test_returns_none_and_stores_a_job(self):
        """Nothing is called yet; one job is queued."""
        self.assertIsNone(sample.record(2, 7))
        self.assertEqual([], sample.calls)
        self.assertEqual('queued', self.job().status)
        self.assertEqual('gocept.async.function', self.job().task)

    def test_is_run_with_its_arguments(self):
        """Positional and keyword arguments arrive."""
        sample.record(2, 7, base=[10])
        process()
        self.assertEqual([((2, 7), {'base': [10]})], sample.calls)
        self.assertEqual('completed', self.job().status)
        self.assertEqual(2, self.job().output)

    def test_is_stored_with_the_callers_transaction(self):
        """Another connection sees the job after the commit, not before."""
        manager = transaction.TransactionManager()
        connection = self.service._p_jar.db().open(manager)
        self.addCleanup(connection.close)
        jobs = connection.get(self.service._p_oid).jobs
        sample.record()
        manager.begin()
        self.assertEqual(0, len(jobs))
        transaction.commit()
        manager.begin()
        self.assertEqual(1, len(jobs))

    def test_aborted_call_never_existed(self):
        """After an abort there is no job and nothing to run."""
        sample.record()
        transaction.abort()
        self.assertEqual([], self.jobs())
        process()
        self.assertEqual([], sample.calls)

    def test_call_is_undone_with_a_savepoint(self):
        """A part of the transaction that is rolled back takes its calls."""
        sample.record('stays')
        savepoint = transaction.savepoint()
        sample.record('goes')
        savepoint.rollback()
        process()
        self.assertEqual([(('stays',), {})], sample.calls)

    def test_is_executed_in_place_in_a_job(self):
        """A running job gets the result, and no second job is stored."""
        sample.nested()
        process()
        self.assertEqual(
            ['before', (('inside',), {}), 1, 'after'], sample.calls)
        self.assertEqual(1, len(self.jobs()))

    def test_is_executed_in_place_in_a_job_of_any_task(self):
        """It need not be a decorated function that calls."""
        with interaction(ProcessorRequest()):
            self.assertEqual(3, sample.add(2))
        self.assertEqual([], self.jobs())

    def test_lambda_in_a_job_is_executed_in_place(self):
        """What is not stored need not be found again."""
        with interaction(ProcessorRequest()):
            sample.anonymous()
        self.assertEqual(['anonymous'], sample.calls)

    def test_without_the_service_it_is_called_synchronously(self):
        """The result is returned; a warning names function and service."""
        self.root.getSiteManager().unregisterUtility(
            self.service, ITaskService, name='events')
        with self.assertLogs(LOG, 'WARNING') as logged:
            self.assertEqual(9, sample.add(2, 7))
        message, = logged.output
        self.assertIn('gocept.async_.tests.sample.add', message)
        self.assertIn("'events'", message)
        self.assertEqual([], self.jobs())

    def test_service_without_a_name_is_the_default(self):
        """@function() stores in the service with the empty name."""
        unnamed = add_service(self.root, '', 'unnamed')
        sample.default_service()
        self.assertEqual(1, len(unnamed.jobs))
        self.assertEqual([], self.jobs())
        process('')
        self.assertEqual(['default'], sample.calls)

    def test_wrong_arguments_are_reported_to_the_caller(self):
        """Too many, too few or unknown arguments: a TypeError at once."""
        for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {'c': 1})):
            with self.subTest(args=args, kwargs=kwargs), \
                    self.assertRaises(TypeError):
                sample.add(*args, **kwargs)
        self.assertEqual([], self.jobs())

    def test_aborted_function_leaves_no_effect(self):
        """What a failing function has changed is not stored."""
        self.root['content'] = content = sample.Content()
        sample.change_and_fail(content, 'changed')
        process(raise_errors=False)
        self.assertEqual('error', self.job().status)
        self.assertFalse(hasattr(content, 'value'))


class RefusedCallTest(FunctionalTestCase):
    """A call that is refused leaves nothing behind."""

    def refuse(self, *args, **kwargs):
        raise ValueError('refused')

    def test_arguments_are_as_they_were(self):
        """Not even a new object has got a place in the database."""
        content = self.root['content'] = sample.Content()
        with unittest.mock.patch.object(
                type(self.service), 'add', self.refuse), \
                self.assertRaisesRegex(ValueError, 'refused'):
            sample.record(content, [sample.Content()])
        self.assertIsNone(content._p_jar)
        transaction.commit()
        self.assertIsNotNone(content._p_jar)

    def test_size(self):
        """The limit is that of the service; the error says what to do."""
        for args in (('a' * 1000,), (['a'] * 1000,), ([b'a' * 400] * 1,
                     {'b': b'b' * 400, 'c': b'c' * 400})):
            with unittest.mock.patch.object(
                    decorator, 'policy_of',
                    lambda service: Policy(max_size=1000)), \
                    self.assertRaisesRegex(
                        ValueError, r'argument.* takes at least \d+ bytes, '
                        r'and 1000 are allowed \(max_size.*hand over'):
                sample.record(*args)
        self.assertEqual([], self.jobs())

    def test_least(self):
        """A hundred bytes are taken by every service."""
        with unittest.mock.patch.object(
                decorator, 'policy_of', lambda service: Policy(max_size=1)):
            sample.record('a', 1)
            with self.assertRaisesRegex(ValueError, 'and 1 are allowed'):
                sample.record('a' * 30, 'b' * 30)
        self.assertEqual(1, len(self.jobs()))

    def test_usual_limit(self):
        """It is ten million bytes."""
        sample.record('a' * 9_000_000)
        with self.assertRaisesRegex(ValueError, '10000000 are allowed'):
            sample.record('a' * 10_000_000)
        with self.assertRaisesRegex(ValueError, '10000000 are allowed'):
            sample.record(*['a' * 1_000_000 + str(n) for n in range(10)])


class ManagerTest(FunctionalTestCase):
    """A call belongs to the transaction of the service's connection."""

    def setUp(self):
        super().setUp()
        self.own = transaction.TransactionManager(explicit=True)
        connection = self.root._p_jar.db().open(self.own)
        self.addCleanup(connection.close)
        self.addCleanup(self.own.abort)
        self.own.begin()
        self.own_root = connection.root()[ZopePublication.root_name]

    def enqueue(self):
        with zope.component.hooks.site(self.own_root):
            return sample.record.enqueue([sample.Content()])

    def count(self):
        transaction.begin()
        return len(self.service.jobs)

    def test_commit(self):
        """That of the thread has nothing to do with it."""
        self.enqueue()
        transaction.commit()
        self.assertEqual(0, self.count())
        self.own.commit()
        self.assertEqual(1, self.count())
        self.own.begin()

    def test_abort(self):
        """It never existed."""
        self.enqueue()
        self.own.abort()
        self.own.begin()
        transaction.commit()
        self.assertEqual(0, self.count())

    def test_manager_of_the_thread_without_a_transaction(self):
        """It is explicit, and nobody has begun one."""
        explicit = transaction.TransactionManager(explicit=True)
        with unittest.mock.patch.object(
                transaction.manager, 'manager', explicit):
            jobid = self.enqueue()
            self.own.commit()
        self.own.begin()
        transaction.begin()
        self.assertEqual('queued', self.service.getStatus(jobid))


class EnqueueTest(FunctionalTestCase):
    """A call that tells the id of its job."""

    def test_returns_the_id_of_the_job(self):
        """The caller can ask what became of the call."""
        jobid = sample.add.enqueue(2, b=7)
        self.assertEqual('queued', self.service.getStatus(jobid))
        process()
        self.assertEqual('completed', self.service.getStatus(jobid))

    def test_stores_the_call_in_a_running_job_too(self):
        """It is the way to queue further work from a job."""
        with interaction(ProcessorRequest()):
            jobid = sample.add.enqueue(2)
        self.assertEqual('queued', self.service.getStatus(jobid))

    def test_without_the_service_it_is_an_error(self):
        """There is no id to return."""
        self.root.getSiteManager().unregisterUtility(
            self.service, ITaskService, name='events')
        with self.assertRaisesRegex(LookupError, 'no task service .events'):
            sample.add.enqueue(2)

    def test_wrong_arguments_are_reported(self):
        """As by a call."""
        with self.assertRaises(TypeError):
            sample.add.enqueue()


class EnqueueWithTest(FunctionalTestCase):
    """A call with a priority or a delay."""

    def test_priority(self):
        """Calls with a higher one are run first."""
        for priority in (0, 9, 5):
            sample.record.enqueue_with(priority=priority)(priority)
        sample.record('usual')
        process()
        self.assertEqual(
            [9, 5, 'usual', 0], [args[0] for args, _ in sample.calls])

    def test_delay(self):
        """The call is not run before its time."""
        before = time.time()
        jobid = sample.record.enqueue_with(delay=60)('later')
        process()
        self.assertEqual([], sample.calls)
        self.assertEqual('queued', self.service.getStatus(jobid))
        self.assertAlmostEqual(before + 60, self.job().due, delta=30)
        process(after=59)
        self.assertEqual([], sample.calls)
        process(after=61)
        self.assertEqual([(('later',), {})], sample.calls)

    def test_without_options(self):
        """It is the same as enqueue."""
        jobid = sample.record.enqueue_with()(1, b=2)
        process()
        self.assertEqual('completed', self.service.getStatus(jobid))
        self.assertEqual([((1,), {'b': 2})], sample.calls)

    def test_can_be_used_again(self):
        """For several calls with the same options."""
        enqueue = sample.record.enqueue_with(priority=7)
        self.assertNotEqual(enqueue(1), enqueue(2))
        self.assertEqual([7, 7], [job.priority for job in self.jobs()])

    def test_values_that_are_refused(self):
        """At the call, which stores nothing then."""
        for options, name in (
                ({'priority': 10}, 'priority'), ({'priority': -1}, 'priority'),
                ({'priority': '5'}, 'priority'), ({'delay': -1}, 'delay'),
                ({'delay': float('nan')}, 'delay'),
                ({'delay': '1'}, 'delay')):
            with self.subTest(options), \
                    self.assertRaisesRegex(ValueError, name):
                sample.record.enqueue_with(**options)()
        self.assertEqual([], self.jobs())

    def test_options_that_do_not_exist(self):
        """A wrong spelling is not an argument of the function."""
        with self.assertRaises(TypeError):
            sample.record.enqueue_with(prio=9)
        with self.assertRaises(TypeError):
            sample.record.enqueue_with(9)

    def test_arguments_of_that_name_belong_to_the_function(self):
        """The options do not stand in their way."""
        sample.record.enqueue_with(priority=9)(priority='mine', delay='too')
        process()
        self.assertEqual(
            [((), {'priority': 'mine', 'delay': 'too'})], sample.calls)


class StackedTest(FunctionalTestCase):
    """Other decorators around the same function."""

    def test_decorator_below_belongs_to_the_function(self):
        """It is applied when the function runs."""
        sample.announced_when_run(1)
        self.assertEqual([], sample.calls)
        process()
        self.assertEqual(['announced', (1,)], sample.calls)

    def test_decorator_above_belongs_to_the_call(self):
        """It is applied when the function is called, and only then."""
        sample.announced_when_called(1)
        self.assertEqual(['announced'], sample.calls)
        process()
        self.assertEqual(['announced', (1,)], sample.calls)

    def test_decorator_that_supplies_an_argument(self):
        """Its __signature__ says what is left to callers, or nothing does.
        """
        for each in (sample.supplied_when_run, sample.supplied_when_called,
                     sample.supplied_unsaid):
            for args, kwargs in ((('p',), {}), ((), {'path': 'p'}), ((), {})):
                sample.calls.clear()
                each(*args, **kwargs)
                process()
                with self.subTest(each.__name__, args=args, kwargs=kwargs):
                    self.assertEqual([
                        ('session', 'p' if args or kwargs else '/')],
                        sample.calls)
        for each in (sample.supplied_when_run, sample.supplied_when_called):
            with self.assertRaisesRegex(TypeError, 'too many positional'):
                each('p', 'another')

    def test_decorator_that_hides_the_function_is_reported(self):
        """Without functools.wraps the function is not found again."""
        with self.assertRaisesRegex(
                LookupError, 'sample.hidden.*use functools.wraps'):
            sample.hidden()
        self.assertEqual([], self.jobs())


class FindableTest(FunctionalTestCase):
    """A function that a processor could not find is refused at the call."""

    def assertRefused(self, call, name, advice='importable module'):
        with self.assertRaises(LookupError) as raised:
            call()
        message = str(raised.exception)
        self.assertIn(name, message)
        self.assertIn(advice, message)
        self.assertEqual([], sample.calls)
        self.assertEqual([], self.jobs())
        # The transaction goes on.
        self.root['after'] = sample.Content()
        transaction.commit()
        self.assertIn('after', self.root)
        self.assertEqual([], self.jobs())

    def test_lambda(self):
        """A lambda has no name."""
        self.assertRefused(sample.anonymous, 'sample.<lambda>')

    def test_nested_function(self):
        """A function defined in another one exists only there."""
        self.assertRefused(
            sample.make_nested(), 'sample.make_nested.<locals>.inner')

    def test_method(self):
        """A method is found in its class, not in the module."""
        self.assertRefused(
            sample.Application().method, 'sample.Application.method')

    def test_static_method(self):
        """Nor is a static method at the top of the module."""
        self.assertRefused(
            sample.Application.static_method,
            'sample.Application.static_method')

    def test_function_that_its_module_lacks(self):
        """It was deleted, or renamed, in its module."""
        self.assertRefused(
            sample.kept_elsewhere[0], 'gocept.async_.tests.sample.forgotten')

    def test_function_of_a_module_that_cannot_be_imported(self):
        """For example one made by exec."""
        module = types.ModuleType('no_such_module')
        exec('def compute(): pass', module.__dict__)
        self.assertRefused(
            function('events')(module.compute), 'no_such_module.compute')

    def test_function_shadowed_by_another(self):
        """The other function of that name would be run."""
        self.assertRefused(
            sample.first_shadowed, 'sample.shadowed', 'another function')

    def test_function_of_a_script(self):
        """In the processor's process, __main__ is another script."""
        self.check_script('__main__')

    def test_function_of_a_spawned_script(self):
        """Processes of multiprocessing call it like that."""
        self.check_script('__mp_main__')

    def check_script(self, name):
        module = types.ModuleType(name)
        exec('def compute(): pass', module.__dict__)
        self.assertRefused(
            function('events')(module.compute), f'{name}.compute', 'script')

    def test_the_last_of_that_name_is_fine(self):
        """Shadowing harms only what is shadowed."""
        sample.shadowed()
        process()
        self.assertEqual(['the second'], sample.calls)


class IMarker(zope.interface.Interface):
    """What an application says of a function."""


class InterfacesTest(unittest.TestCase):

    def test_those_of_the_function(self):
        """They are those of what is called instead, too."""
        @zope.interface.provider(IMarker)
        def marked():
            pass
        decorated = function('events')(marked)
        self.assertTrue(IMarker.providedBy(decorated))
        self.assertTrue(IJobSource.providedBy(decorated))


class IsAsyncTest(FunctionalTestCase):
    """Whether one is part of a running job."""

    def test_false_in_a_request(self):
        """Outside of jobs it is False, with an interaction or not."""
        self.assertIs(False, is_async())
        gocept.async_.testing.login('zope.user')
        self.assertIs(False, is_async())

    def test_true_in_a_job(self):
        """In a job it is True, and False again after it."""
        sample.note_is_async()
        process()
        self.assertEqual([True], sample.calls)
        self.assertIs(False, is_async())

    def test_true_as_another(self):
        """So it is where the job goes on as somebody else; in its thread."""
        sample.act_as_another()
        process()
        self.assertEqual([3, False], sample.calls)
        self.assertIs(False, is_async())
