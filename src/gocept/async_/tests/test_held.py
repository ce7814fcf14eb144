"""Calls that do not fit the installed code are held, and say why."""

import collections
import pathlib
import sys
import tempfile
import types
import unittest.mock

import persistent
import persistent.wref
import transaction
import ZODB.broken
import ZODB.POSException
import zope.component.hooks
import zope.interface
from zope.site.folder import Folder

from gocept.async_ import function
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.test_task import add_site
from lovely.remotetask.foreign.outcome import in_runner


SHOP = 'gocept_async_test_shop'

NAME = f'{__name__}.ship'

# What the function was called with.
calls = []


@function('events')
def ship(order, *others, copies=1, **options):
    calls.append(order)


class Plain:
    """Something with attributes."""


class HeldTestCase(FunctionalTestCase):

    def setUp(self):
        super().setUp()
        calls.clear()
        self.deploy()
        self.addCleanup(sys.modules.pop, SHOP, None)
        self.addCleanup(ZODB.broken.broken_cache.clear)
        # First of all: its site manager may not be loaded by then.
        self.addCleanup(zope.component.hooks.setSite, None)

    def deploy(self, *classes, **others):
        """Replace the module of the application.

        Everything is loaded anew afterwards.
        """
        shop = sys.modules[SHOP] = types.ModuleType(SHOP)
        for class_ in classes:
            class_.__module__ = SHOP
            class_.__qualname__ = class_.__name__
            others[class_.__name__] = class_
        vars(shop).update(others)
        return others

    def restart(self, *classes, **others):
        """Store what there is, and go on with another module."""
        transaction.commit()
        self.deploy(*classes, **others)
        if not classes and not others:
            del sys.modules[SHOP]
        self.root._p_jar.cacheMinimize()
        self.jobs_db.cacheMinimize()
        transaction.begin()

    def make(self, name, base=object, **state):
        """Make a class of the application, and deploy it."""
        class_ = type(name, (base,), state)
        self.deploy(class_)
        return class_

    def assertHeld(self, *messages):
        process(raise_errors=False)
        self.assertEqual([], calls)
        job = self.job()
        self.assertEqual(
            ('held', 'lovely.remotetask.interfaces.CannotRun'),
            (job.status, job.errorClass))
        for message in messages:
            self.assertRegex(job.error, message)
        self.assertFound()

    def assertFound(self):
        """Whoever looks for jobs finds it, and goes on."""
        self.root._p_jar.cacheMinimize()
        found = self.service.find(function=NAME).jobs
        self.assertEqual([self.job().id], [job.id for job in found])
        self.assertEqual([], self.service.find(function='other').jobs)

    def assertRunsAgain(self):
        """Once the code fits."""
        self.service.requeue(self.job().id)
        process()
        self.assertEqual(1, len(calls))
        self.assertEqual('completed', self.job().status)


class GoneTest(HeldTestCase):
    """The class of an argument is gone."""

    IS_GONE = f'is of the class {SHOP}.Order, which is gone'
    HAS_GONE = f'holds an object of the class {SHOP}.Order, which is gone'

    def check(self, argument, message):
        ship(argument)
        self.restart()
        self.assertHeld("argument 'order' " + message)
        self.service.clean(['cancelled'])
        self.service.remove(self.job().id)
        transaction.commit()

    def test_plain_object(self):
        """It would be another object."""
        Order = self.make('Order')
        ship(Order())
        self.restart()
        self.assertHeld("^argument 'order' " + self.IS_GONE)
        self.restart(Order)
        self.assertRunsAgain()
        self.assertIs(Order, type(calls[0]))

    def test_persistent_object(self):
        """The same, stored by reference."""
        Order = self.make('Order', persistent.Persistent)
        ship(Order())
        self.restart()
        self.assertHeld("^argument 'order' " + self.IS_GONE)

    def test_at_any_depth(self):
        """In containers and in plain objects."""
        for wrap in (lambda order: [order], lambda order: {'a': (order,)},
                     lambda order: {order}, self.in_plain,
                     lambda order: {order: 1}):
            for base in (object, persistent.Persistent):
                Order = self.make('Order', base)
                self.check(wrap(Order()), self.HAS_GONE)

    def in_plain(self, order):
        plain = Plain()
        plain.parts = [order]
        return plain

    def test_class_and_function(self):
        """Given as they are, they are read as classes."""
        Order = self.make('Order')
        self.check(Order, self.HAS_GONE)

        def Order():
            pass
        Order.__module__, Order.__qualname__ = SHOP, 'Order'
        self.deploy(Order=Order)
        self.check([Order], self.HAS_GONE)

    def test_weak_reference(self):
        """To a stored object whose class is gone."""
        Order = self.make('Order', persistent.Persistent)
        self.root.order = Order()
        transaction.commit()
        self.check(persistent.wref.WeakRef(self.root.order), self.HAS_GONE)

    def test_other_arguments(self):
        """By the name that the function has for them, or their number."""
        Order = self.make('Order')
        for number, call in enumerate((
                lambda: ship(1, 2, Order()),
                lambda: ship(1, copies=Order()),
                lambda: ship(1, by=Order()))):
            self.deploy(Order)
            call()
            self.restart()
            self.assertHeld('^argument ' + (
                '3', "'copies'", "'by'")[number] + ' is of the class')
            self.service.remove(self.job().id)

    def test_site(self):
        """A site of a class that is gone."""
        Site = self.make('Site', Folder)
        site = add_site(self.root, 'site')
        site.__class__ = Site
        self.root._p_changed = site._p_changed = True
        with zope.component.hooks.site(site):
            ship(1)
        self.restart()
        self.assertHeld(f'site .* is of the class {SHOP}.Site, which is gone')

    def test_what_contains_the_site(self):
        """Then nobody knows whether the site is still there."""
        Parent = self.make('Parent', Folder)
        self.root['parent'] = parent = Parent()
        with zope.component.hooks.site(add_site(parent, 'site')):
            ship(1)
        self.restart()
        self.assertHeld('site .* cannot be loaded')

    def test_annotation(self):
        """Of the stored call."""
        Note = self.make('Note')
        ship(1)
        self.job().input.__annotations__ = {'shop': Note()}
        self.restart()
        self.assertHeld(f"'__annotations__' .*class {SHOP}.Note")

    def test_odd_parts(self):
        """Of the stored call: somebody has put something else there."""
        for name, odd, message in (
                ('args', 5, 'with which arguments'),
                ('args', 'text', 'with which arguments'),
                ('kwargs', [1], 'with which keyword arguments'),
                ('_f', b'shop.ship', 'of which function')):
            with self.subTest(name, odd=odd):
                ship(1)
                *_, job = self.service.jobs.values()
                setattr(job.input, name, odd)
                transaction.commit()
                process(raise_errors=False)
                self.assertEqual('held', job.status)
                self.assertRegex(job.error, message + '.*cancel the job')

    def test_parts(self):
        """Of the stored call: somebody has taken them out."""
        for name, message in (('args', 'with which arguments'),
                              ('_f', 'of which function')):
            with self.subTest(name):
                ship(1)
                *_, job = self.service.jobs.values()
                delattr(job.input, name)
                transaction.commit()
                process(raise_errors=False)
                self.assertEqual('held', job.status)
                self.assertRegex(job.error, message)

    def test_interface(self):
        """That an argument provides by itself."""
        IOrder = zope.interface.interface.InterfaceClass(
            'IOrder', (zope.interface.Interface,), {}, __module__=SHOP)
        self.deploy(IOrder=IOrder)
        plain = Plain()
        zope.interface.directlyProvides(plain, IOrder)
        ship(plain)
        self.restart()
        self.assertHeld(NAME, "argument 'order'", f'{SHOP}.IOrder')

    def test_interface_of_a_persistent_object(self):
        """It cannot be loaded by itself."""
        # Another name than above: declarations of equal interfaces are kept
        # as long as anybody has an object that provides one.
        IParcel = zope.interface.interface.InterfaceClass(
            'IParcel', (zope.interface.Interface,), {}, __module__=SHOP)
        self.deploy(IParcel=IParcel)
        content = sample.Content()
        zope.interface.directlyProvides(content, IParcel)
        ship([content])
        self.restart()
        self.assertHeld("^argument 'order' cannot be loaded: ")


class ChangedTest(HeldTestCase):
    """An argument cannot be loaded any more."""

    def test_named_tuple_with_a_new_field(self):
        """Nothing of the call can be loaded."""
        ship(self.deploy(collections.namedtuple('Size', 'w h'))['Size'](1, 2))
        self.restart(collections.namedtuple('Size', 'w h dpi'))
        self.assertHeld(
            NAME, f"argument 'order' is of the class {SHOP}.Size",
            'TypeError: .*dpi')
        self.restart(collections.namedtuple('Size', 'w h'))
        self.assertRunsAgain()
        self.assertEqual((1, 2), calls[0])

    def test_in_a_container(self):
        """The same at any depth, of any argument."""
        Size = collections.namedtuple('Size', 'w h')
        self.deploy(Size)
        ship(1, copies=[{'a': Size(1, 2)}])
        self.restart(collections.namedtuple('Size', 'w h dpi'))
        self.assertHeld(f"argument 'copies' is of the class {SHOP}.Size")

    def test_class_that_raises_anything(self):
        """When its state is set."""
        in_runner_token = in_runner.set(True)
        self.addCleanup(in_runner.reset, in_runner_token)
        for error in (ValueError, SystemExit, KeyboardInterrupt,
                      RecursionError, GeneratorExit):
            with self.subTest(error.__name__):
                order = self.make('Order')()
                order.number = 1
                ship(order)

                def fail(self, state, error=error):
                    raise error('no')
                self.restart(type('Order', (), {'__setstate__': fail}))
                self.assertHeld(f"argument 'order' is of the class {SHOP}",
                                error.__name__)
                self.service.remove(self.job().id)

    def test_persistent_object(self):
        """It is loaded before the function is called."""
        for wrap in (lambda order: order, lambda order: [{'a': order}]):
            order = self.make('Order', persistent.Persistent)()
            order.number = 1
            ship(wrap(order))

            def fail(self, state):
                raise ValueError('no')
            self.restart(type('Order', (persistent.Persistent,),
                              {'__setstate__': fail}))
            self.assertHeld(
                "^argument 'order' cannot be loaded: builtins.ValueError: no")
            self.service.remove(self.job().id)

    def test_object_that_the_database_does_not_have(self):
        """It may come back with a backup."""
        content = sample.Content()
        ship(content)
        transaction.commit()
        oid = content._p_oid
        self.restart()
        connection = self.service._p_jar
        storage = type(connection._storage)
        load = storage.load

        def lose(self, asked, *args):
            if asked == oid:
                raise ZODB.POSException.POSKeyError(asked)
            return load(self, asked, *args)
        with unittest.mock.patch.object(storage, 'load', lose):
            self.assertHeld(
                "^argument 'order' cannot be loaded: .*POSKeyError")

    def test_function_that_is_gone_too(self):
        """There are only numbers for the arguments then."""
        Size = collections.namedtuple('Size', 'w h')
        self.deploy(Size)
        ship(1, Size(1, 2))
        self.job().input._f = 'shop.gone'
        self.restart(collections.namedtuple('Size', 'w h dpi'))
        process(raise_errors=False)
        self.assertEqual('held', self.job().status)
        self.assertRegex(
            self.job().error,
            f"'shop.gone': argument 2 is of the class {SHOP}.Size")

    def test_storage_that_is_away(self):
        """That is not the fault of the job."""
        ship(1)
        self.restart()
        description = self.job().input
        error = ZODB.POSException.StorageError('away')

        def fail(*args):
            raise error
        with unittest.mock.patch.object(
                type(self.service._p_jar._storage), 'load', fail), \
                self.assertRaises(ZODB.POSException.StorageError):
            description.function_name  # noqa: B018


class ImportTest(HeldTestCase):
    """The module of the function cannot be imported."""

    LYING = '''
class Meta(type):
    __module__ = property(lambda self: 1 / 0)
class Lie(Exception, metaclass=Meta):
    def __str__(self):
        raise self
raise Lie()
'''

    def write(self, source):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        name = f'gocept_async_test_{pathlib.Path(folder.name).name}'
        (pathlib.Path(folder.name) / f'{name}.py').write_text(source)
        sys.path.insert(0, folder.name)
        self.addCleanup(sys.path.remove, folder.name)
        self.addCleanup(sys.modules.pop, name, None)
        return name

    def check(self, source, error, message='There is no function'):
        module = self.write(source)
        ship(1)
        self.job().input._f = f'{module}.ship'
        process(raise_errors=False)
        job = self.job()
        self.assertEqual('held', job.status)
        self.assertIn(message, job.error)
        self.assertIn(f"'{module}.ship'", job.error)
        self.assertRegex(job.error, error)
        self.assertEqual(
            [job.id], [found.id for found in self.service.find(
                function=f'{module}.ship').jobs])
        self.service.remove(job.id)

    def test_whatever_is_raised(self):
        """The reason names module and class."""
        token = in_runner.set(True)
        self.addCleanup(in_runner.reset, token)
        for error in ('SystemExit(2)', 'KeyboardInterrupt()', 'ValueError()',
                      'RecursionError()', 'MemoryError()', 'GeneratorExit()',
                      'LookupError("x")', 'ImportError("y")',
                      'ExceptionGroup("g", [ValueError()])'):
            with self.subTest(error):
                self.check(f'raise {error}', error.partition('(')[0])

    def test_syntax_error(self):
        """As after an update of Python."""
        self.check('def :', r'builtins.SyntaxError')

    def test_module_that_imports_what_is_gone(self):
        """The reason is that of the import."""
        self.check('import no_such_module', "No module named 'no_such_module'")

    def test_exception_that_lies(self):
        """There is a reason all the same."""
        self.check(self.LYING, 'There is no function')

    def test_attribute_that_raises(self):
        """A module may have a __getattr__."""
        self.check('def __getattr__(name):\n    raise SystemExit(name)',
                   'SystemExit')

    def test_object_that_lies(self):
        """It is none of the decorator's, whatever it says."""
        self.check('''
import gocept.async_.tests.test_held
class Lie:
    undecorated = print
    def __eq__(self, other):
        return True
    def __hash__(self):
        return hash(gocept.async_.tests.test_held.ship)
    def __call__(self):
        raise SystemExit()
ship = Lie()
''', 'ship', 'not an asynchronous function')

    def test_module_that_is_repaired(self):
        """The call is made after the next deploy."""
        module = self.write('raise SystemExit(1)')
        ship(1)
        self.job().input._f = f'{module}.ship'
        process(raise_errors=False)
        self.assertEqual('held', self.job().status)
        found = sys.modules[module] = types.ModuleType(module)
        found.ship = ship
        self.assertRunsAgain()
