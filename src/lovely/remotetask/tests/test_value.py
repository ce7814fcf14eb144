"""Tests of lovely.remotetask.foreign.value."""

import datetime
import decimal
import enum
import io
import pickle
import sys
import threading
import types
import unittest
import zoneinfo

import persistent
import persistent.mapping
import persistent.wref
import transaction
import ZODB
import ZODB.blob
import ZODB.broken
import zope.security.checker
from zope.i18nmessageid import Message
from zope.security.proxy import Proxy

from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import failure_of
from lovely.remotetask.foreign.outcome import in_runner


LIMIT = 10_000


class Content(persistent.Persistent):
    """Something an application stores."""


class Plain:
    """Something that is stored with the value."""


class Demanding(Content):
    """Cannot be made without an argument, which is not stored."""

    def __new__(cls, argument):
        return super().__new__(cls)


class Willing(Demanding):
    """The same, stored."""

    def __getnewargs__(self):
        return 'x',


class Forgetful(Content):
    """Fails when its state is set."""

    def __setstate__(self, state):
        raise KeyError('state')


class Moody(Content):
    """Fails when it is made, but for the first time."""

    made = []

    def __new__(cls):
        cls.made.append(cls)
        if cls.made[1:]:
            raise SystemExit('made')
        return super().__new__(cls)


class NoClass:
    """Fails when it is asked for its class."""

    @property
    def __class__(self):
        raise SystemExit('class')


class NoClassAtAll:
    """Fails when it is asked for anything."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


class Outer:

    class Inner(Plain):
        """Can be pickled by Python, and not by ZODB."""

    class Kind(enum.Enum):
        GOOD = 1


class Grade(enum.IntEnum):
    GOOD = 1


class Number(int):
    """An int of the application's."""


class Ratio(float):
    """A float of the application's."""


class Failing:
    """Cannot be pickled, for any reason."""

    def __init__(self, exception):
        self.exception = exception

    def __reduce__(self):
        raise self.exception


class Refused(Exception):
    """Can be pickled, and not be read back."""

    def __init__(self, order, reason):
        super().__init__(f'{order}: {reason}')


class ReadBackFails:

    def __reduce__(self):
        return Failing.__reduce__, (Failing(None),)


class Changeling:
    """Comes back as something that cannot be stored."""

    def __reduce__(self):
        return threading.Lock, ()


class Odd(type):
    """The class of classes that lie, and cannot be hashed."""

    def __eq__(self, other):
        return True

    @property
    def __name__(self):
        raise RuntimeError('no name')

    @property
    def __module__(self):
        raise RuntimeError('no module')

    def __instancecheck__(self, other):
        raise RuntimeError('no instance')


class Text(str):

    def __format__(self, spec):
        raise SystemExit('text')


Hard = Odd('Hard', (), {})


def proxied(of):
    return Proxy(of, zope.security.checker.Checker({}))


def deep(levels):
    found = []
    for _ in range(levels):
        found = [found]
    return found


class ValueTestCase(unittest.TestCase):

    def setUp(self):
        self.databases = {}
        self.db = self.open_db('main')
        self.connection = self.connect(self.db)
        self.stored = self.connection.root()['stored'] = Content()
        self.manager.commit()

    def open_db(self, name, **options):
        db = ZODB.DB(None, database_name=name, databases=self.databases,
                     **options)
        self.addCleanup(db.close)
        return db

    def connect(self, db):
        self.manager = transaction.TransactionManager()
        connection = db.open(self.manager)
        self.addCleanup(connection.close)
        self.addCleanup(self.manager.abort)
        return connection

    def copy(self, of, **options):
        return value.copy(of, self.connection, **options)

    def assertRefused(self, message, of, error=TypeError, **options):
        with self.assertRaisesRegex(error, message):
            self.copy(of, **options)


class ClearRefusalTest(ValueTestCase):
    """What ZODB cannot store, and would not say so clearly."""

    def test_time_zones(self):
        """It is said what to hand over instead."""
        zone = zoneinfo.ZoneInfo('UTC')
        for of in (zone, datetime.datetime(2026, 1, 1, tzinfo=zone)):
            self.assertRefused('hand over the time in UTC', of)
        self.copy(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))

    def test_classes_in_classes(self):
        for of in Outer.Inner, Outer.Inner(), Outer.Kind.GOOD:
            self.assertRefused('put it at the top of its module', of)


class CopyTest(ValueTestCase):
    """What is read back from the database."""

    def test_atoms_are_the_same(self):
        """There is nothing to copy."""
        for of in (None, True, 10 ** 400, 1.5, 1j, 'a' * 99, b'b'):
            with self.subTest(of):
                self.assertIs(of, self.copy(of))
                self.assertIs(of, self.copy(of, limit=LIMIT))

    def test_containers_are_copies(self):
        """At any depth."""
        of = [1, {'a': [2]}]
        copied = self.copy(of)
        of[1]['a'].append(3)
        self.assertEqual([1, {'a': [2]}], copied)

    def test_types_are_kept(self):
        """Numbers and texts of an application's classes are these still."""
        for of in (Grade.GOOD, Text('a'), Number(5), Ratio(0.5), True,
                   Message('a', 'shop'), datetime.date(2026, 1, 1),
                   decimal.Decimal('1.10')):
            with self.subTest(repr(type(of))):
                copied, = self.copy([of])
                self.assertIs(type(of), type(copied))
                self.assertIs(type(of), type(self.copy(of)))

    def test_blob(self):
        """It is persistent, and no part of a pickle."""
        blob = ZODB.blob.Blob()
        with blob.open('w') as opened:
            opened.write(b'a' * 100_000)
        self.assertEqual([blob], self.copy([blob], limit=1000))

    def test_objects_are_copies(self):
        """Of the same class, with the same state."""
        of = Plain()
        of.name = 'a'
        copied = self.copy(of)
        self.assertIsNot(of, copied)
        self.assertIs(Plain, type(copied))
        self.assertEqual('a', copied.name)

    def test_persistent_objects_are_the_same(self):
        """They are referred to, new ones as well, and not even read."""
        self.stored._p_deactivate()
        new = Content()
        first, second = self.copy([self.stored, new])
        self.assertIs(self.stored, first)
        self.assertIs(new, second)
        self.assertIsNone(self.stored._p_changed)

    def test_persistent_objects_are_told(self):
        """Each once, also those inside of new ones."""
        found = []
        new = Content()
        new.child = [self.stored]
        self.copy([new, new], found=found.append)
        self.assertEqual([new, self.stored], found)

    def test_nothing_is_told_of_a_value_that_is_refused(self):
        """First everything that can fail."""
        found = []
        self.assertRefused('lock', [Content(), threading.Lock()],
                           found=found.append)
        self.assertEqual([], found)

    def test_new_object_in_a_weak_reference(self):
        """A commit would store it, so it is checked."""
        new = Content()
        new.lock = threading.Lock()
        self.assertRefused('cannot pickle', persistent.wref.WeakRef(new))

    def test_service_that_is_not_stored(self):
        """Without a connection everything has the same rules but one."""
        self.assertEqual([self.stored], value.copy([self.stored], None))
        with self.assertRaises(TypeError):
            value.copy(threading.Lock(), None)


class RefusalTest(ValueTestCase):
    """A clear error for what cannot be stored, whatever it does."""

    def test_message(self):
        """It names the value, its class and the reason."""
        self.assertRefused(
            r"^the result \(list\) cannot be stored: builtins\.TypeError: "
            r"cannot pickle '_thread\.lock' object\.$",
            [threading.Lock()], what='the result')

    def test_whatever_cannot_be_pickled(self):
        """Code, open things, modules, views, proxies."""
        for of in (lambda: None, (n for n in ()), threading.Lock(), {}.keys(),
                   sys, sys._getframe(), io.StringIO, proxied([1]),
                   proxied(self.stored), deep(100_000)):
            if of is io.StringIO:
                of = open(__file__)  # noqa: SIM115
                self.addCleanup(of.close)
            with self.subTest(type(of).__name__):
                self.assertRefused('^the value .* cannot be stored: ', [of])

    def test_security_proxy(self):
        """With advice."""
        self.assertRefused('removeSecurityProxy', proxied(Content()))

    def test_what_cannot_be_read_back(self):
        """It would stop whoever reads it later."""
        for of in (Refused(7, 'card'), ReadBackFails(),
                   {'errors': [Refused(7, 'card')]}):
            with self.subTest(type(of).__name__):
                self.assertRefused('cannot be stored: ', of)

    def test_state_of_a_new_object_that_cannot_be_read_back(self):
        """The same in a persistent object that is new."""
        new = Content()
        new.error = Refused(7, 'card')
        self.assertRefused('cannot be stored: ', new)

    def test_new_object_that_cannot_be_made_again(self):
        """The database calls the class, and gives it the state."""
        for of in (Demanding('x'), Forgetful(), Moody()):
            with self.subTest(type(of).__name__):
                self.assertRefused('cannot be stored: ', of)
                self.assertRefused('cannot be stored: ', [of])
                content = Content()
                content.part = of
                self.assertRefused('cannot be stored: ', content)
        self.assertIs(Willing, type(self.copy(Willing('x'))))

    def test_what_does_not_say_its_class(self):
        """The pickler of the database would end the process."""
        for of in (NoClass(), NoClassAtAll()):
            for around in of, [of], {'a': (of,)}, Plain():
                with self.subTest(type(of).__name__, around=type(around)):
                    if type(around) is Plain:
                        around.part = of
                    self.assertRefused('cannot be stored: ', around)
                    self.assertEqual([], value.broken(around))

    def test_what_comes_back_as_something_else(self):
        """It would make the commit fail, far away."""
        self.assertRefused('cannot pickle', [Changeling()])

    def test_what_only_python_can_pickle(self):
        """The database has a pickler of its own."""
        for of in (Outer.Inner(), Outer.Kind.GOOD, [].append):
            with self.subTest(of):
                pickle.loads(pickle.dumps(of))
                self.assertRefused('cannot be stored: ', of)

    def test_whatever_is_raised(self):
        """Not only by an Exception with a message."""
        with_bad_text = type('WithBadText', (Exception,), {
            '__str__': lambda self: 1 / 0})
        token = in_runner.set(True)
        self.addCleanup(in_runner.reset, token)
        for exception in (
                SystemExit(3), KeyboardInterrupt(), GeneratorExit(),
                MemoryError(), RecursionError(), StopIteration(),
                with_bad_text(), Exception(),
                ExceptionGroup('g', [ValueError()])):
            with self.subTest(type(exception).__name__):
                self.assertRefused('cannot be stored: ', Failing(exception))

    def test_classes_that_lie(self):
        """Neither a name nor a hash is asked of a class."""
        self.assertRefused(r'^the value \(Hard\) cannot be stored: ', Hard())
        odd = type(Text('Odd'), (), {})()
        self.assertRefused(r'^the value \(Odd\) cannot be stored: ', odd)

    def test_long_messages_are_cut(self):
        """They are shown, and may be stored."""
        with self.assertRaises(TypeError) as raised:
            self.copy(Failing(ValueError('x' * 100_000)))
        self.assertLess(len(str(raised.exception)), 1000)

    def test_conflicts_stay_conflicts(self):
        """Who has called tries again."""
        conflict = ZODB.POSException.ReadConflictError()
        self.assertRefused('', Failing(conflict), type(conflict))

    def test_a_class_of_odd_names(self):
        """Its name is one line, and not longer than names are."""
        class_ = type('x\ny', (), {'__module__': 'z' * 10_000})
        found = value.class_name(class_)
        self.assertTrue(found.endswith(r'x\ny'))
        self.assertLess(len(found), 501)

    def test_storage_errors_stay_storage_errors(self):
        """They say nothing of the value."""
        for error in (ZODB.POSException.StorageError('gone'),
                      ZODB.POSException.ConnectionStateError('closed')):
            self.assertRefused('', Failing(error), type(error))

    def test_what_the_database_does_not_have(self):
        """This does say something of the value."""
        self.assertRefused('POSKeyError', Failing(
            ZODB.POSException.POSKeyError(b'\0' * 8)))

    def test_a_failure_that_does_not_tell_its_cause(self):
        """What its class says of the cause is not asked for."""
        class NoCause(ZODB.POSException.POSKeyError):
            @property
            def __cause__(self):
                raise SystemExit('cause')
        error = NoCause(b'\0' * 8)
        self.assertIn('NoCause', value.reason(failure_of(error)))
        vars(BaseException)['__cause__'].__set__(error, KeyError('state'))
        self.assertEqual("builtins.KeyError: 'state'",
                         value.reason(failure_of(error)))


class OtherProcessTest(ValueTestCase):
    """What no other process could read is refused, too."""

    def define(self, name, base=(), **state):
        """Define a class in the script that runs."""
        main = sys.modules['__main__']
        class_ = types.new_class(name, base, exec_body=lambda namespace:
                                 namespace.update(state, __module__='__main__',
                                                  __qualname__=name))
        setattr(main, name, class_)
        self.addCleanup(delattr, main, name)
        return class_

    def test_class_function_and_enum_of_a_script(self):
        """At any depth, as a class, an object, or a member."""
        main = sys.modules['__main__']
        box = self.define('Box')
        error = self.define('BoxError', (Exception,))

        def pack():
            pass
        pack.__module__, pack.__qualname__ = '__main__', 'pack'
        main.pack = pack
        self.addCleanup(delattr, main, 'pack')
        kind = enum.Enum('Kind', 'GOOD', module='__main__', qualname='Kind')
        main.Kind = kind
        self.addCleanup(delattr, main, 'Kind')
        for of in (box, box(), [{'a': (box(),)}], error('x'), pack, kind.GOOD,
                   {kind.GOOD: 1}):
            with self.subTest(of):
                self.assertRefused(
                    '__main__.*defined in a script.*importable module', of)

    def test_persistent_object_of_a_script(self):
        """Also where it is only referred to."""
        box = self.define('Box', (persistent.Persistent,))()
        self.assertRefused('__main__.Box is defined in a script', box)
        self.connection.root()['box'] = box
        self.manager.commit()
        self.assertRefused('__main__.Box is defined in a script', [box])

    def test_class_of_a_script_in_a_new_object(self):
        """It is stored with the value."""
        new = Content()
        new.box = self.define('Box')()
        self.assertRefused('__main__.Box is defined in a script', new)

    def test_local_classes(self):
        """Of a function."""
        class Local:
            pass

        class Stored(persistent.Persistent):
            pass

        class Kind(enum.Enum):
            GOOD = 1

        for of in (Local, Local(), Stored(), Kind.GOOD):
            with self.subTest(of):
                self.assertRefused('cannot be stored: .*<locals>', of)
        self.assertRefused('<lambda> is defined', lambda: None)

    def test_class_whose_name_leads_to_another(self):
        """As after a reload of its module."""
        other = type('Plain', (), {'__module__': __name__})
        self.assertRefused('not the same object', other())

    def test_object_of_another_connection(self):
        """It is that of another transaction."""
        other = self.connect(self.db).root()['stored']
        self.assertRefused('another database connection', [other])

    def test_database_without_references_to_others(self):
        """At the commit it would be an InvalidObjectReference."""
        alone = self.open_db('alone', xrefs=False)
        with self.assertRaisesRegex(TypeError, '"alone" does not allow'):
            value.copy(self.stored, self.connection.get_connection('alone'))
        self.assertIs(alone, self.databases['alone'])


class LimitTest(ValueTestCase):
    """A value may take so many bytes, and no more."""

    def assertTooLarge(self, of, limit=LIMIT):
        self.assertRefused(
            rf'^the value .* takes at least \d+ bytes, and {limit} are '
            r'allowed \(max_size.*; hand over', of, value.TooLarge,
            limit=limit)

    def test_is_a_value_error(self):
        """The type is fine, the value is not."""
        self.assertTrue(issubclass(value.TooLarge, ValueError))

    def test_atoms(self):
        """In bytes, not in characters."""
        for of in ('a' * LIMIT, b'a' * LIMIT, 'ä' * (LIMIT // 2),
                   '€' * (LIMIT // 3), 1 << 8 * LIMIT):
            with self.subTest(type(of)):
                self.assertTooLarge(of)

    def test_what_fits(self):
        """The limit itself is allowed."""
        for of in ('a' * (LIMIT - 100), 'ä' * (LIMIT // 2 - 50), 1, None,
                   1 << 8 * (LIMIT - 100), [b'a' * (LIMIT - 100)],
                   bytearray(LIMIT - 100)):
            with self.subTest(type(of)):
                self.assertEqual(of, self.copy(of, limit=LIMIT))

    def test_many_small_things(self):
        """Each counts."""
        self.assertTooLarge([None] * (LIMIT + 1))
        self.assertTooLarge([['a']] * 5 + [str(n) for n in range(LIMIT)])
        self.assertTooLarge({n: {} for n in range(LIMIT // 2)})
        self.assertTooLarge([Plain() for n in range(LIMIT // 4)])

    def test_what_is_there_twice_is_stored_once(self):
        """A pickle refers to it."""
        text = 'a' * (LIMIT // 2)
        self.assertEqual([text] * 100, self.copy([text] * 100, limit=LIMIT))

    def test_equal_things_are_stored_each(self):
        """These are others, though equal."""
        self.assertTooLarge([b'%d' % n + b'a' * (LIMIT // 10)
                             for n in range(10)])

    def test_no_pickle_is_made_of_what_is_far_too_large(self):
        """What is already large enough ends the pickling."""
        after = Failing(AssertionError('pickled'))
        self.assertTooLarge(['a' * LIMIT, after])
        self.assertTooLarge([*range(LIMIT), after])
        self.assertTooLarge([bytearray(LIMIT), after])

    def test_new_objects_count(self):
        """They are stored with the value, and by nobody else."""
        new = Content()
        new.child = Content()
        new.child.text = 'a' * LIMIT
        self.assertTooLarge([new])

    def test_all_together(self):
        """The sum counts."""
        news = [Content() for n in range(10)]
        for new in news:
            new.text = 'a' * (LIMIT // 10)
        self.assertTooLarge(news)
        self.copy(news[:9], limit=LIMIT)

    def test_stored_objects_do_not_count(self):
        """They are there already."""
        self.stored.text = 'a' * LIMIT
        self.manager.commit()
        self.copy([self.stored], limit=LIMIT)

    def test_new_content_does_not_count(self):
        """It is stored in its container, with all it is made of."""
        new = Content()
        new.__parent__ = self.stored
        new.part = Content()
        new.part.text = 'a' * LIMIT
        self.assertIs(new, self.copy(new, limit=LIMIT))

    def test_parents_without_end(self):
        """They lead nowhere."""
        new, other = Content(), Content()
        new.__parent__, other.__parent__ = other, new
        new.text = 'a' * LIMIT
        self.assertTooLarge(new)

    def test_without_a_limit(self):
        """There is none by default."""
        of = ['a' * 100_000]
        self.assertEqual(of, self.copy(of))


class BrokenTest(ValueTestCase):
    """Objects whose class is gone."""

    GONE = 'shop.gone.Order'

    def gone(self, name='Order', persistent=False):
        class_ = ZODB.broken.find_global('shop.gone', name)
        if persistent:
            class_ = ZODB.broken.persistentBroken(class_)
        return class_

    def test_nothing_broken(self):
        """As usual."""
        for of in (None, 'a', [1, {'b': Plain()}], self.stored, Plain, len):
            with self.subTest(of):
                self.assertEqual([], value.broken(of))

    def test_anywhere(self):
        """At any depth of containers and plain objects."""
        gone = self.gone()()
        plain = Plain()
        plain.parts = ({'a': [gone]},)
        for of in (gone, [gone], {'a': gone}, {gone}, {gone: 1}, plain,
                   frozenset([gone])):
            with self.subTest(type(of)):
                self.assertEqual([self.GONE], value.broken(of))

    def test_persistent(self):
        """It cannot even be pickled."""
        gone = self.gone(persistent=True)()
        self.assertEqual([self.GONE], value.broken([gone]))

    def test_class_or_function(self):
        """A name that leads nowhere is read as a class."""
        self.assertEqual([self.GONE], value.broken([self.gone()]))

    def test_weak_reference(self):
        """To a persistent object whose class is gone."""
        gone = self.gone(persistent=True)()
        reference = persistent.wref.WeakRef(gone)
        self.assertEqual([self.GONE], value.broken({'a': reference}))

    def test_weak_reference_to_nothing(self):
        """That is as usual."""
        reference = persistent.wref.WeakRef(self.stored)
        del reference._v_ob
        reference.oid = b'\0' * 7 + b'\xff'
        self.assertEqual([], value.broken(reference))

    def test_several(self):
        """Each is named once."""
        of = [self.gone('B')(), self.gone('A')(), self.gone('B')()]
        self.assertEqual(['shop.gone.A', 'shop.gone.B'], value.broken(of))

    def test_not_in_persistent_objects(self):
        """These are not read."""
        self.stored.part = self.gone()()
        self.assertEqual([], value.broken([self.stored]))

    def test_with_what_cannot_be_pickled(self):
        """What was found before that counts."""
        of = [self.gone()(), threading.Lock()]
        self.assertEqual([self.GONE], value.broken(of))
        self.assertEqual([], value.broken(threading.Lock()))

    def test_storage_that_is_away(self):
        """That says nothing of the value."""
        error = ZODB.POSException.StorageError('gone')
        with self.assertRaises(ZODB.POSException.StorageError):
            value.broken([Failing(error)])


class NameTest(ValueTestCase):
    """Names of classes and functions, whatever is said of them."""

    def test_class_name(self):
        """Module and name, or what Python shows."""
        self.assertEqual(f'{__name__}.Plain', value.class_name(Plain))
        self.assertEqual(f'{__name__}.Outer.Inner',
                         value.class_name(Outer.Inner))
        self.assertIn('Hard', value.class_name(Hard))
        named = value.class_name(type(Text('X'), (), {
            '__module__': Text('mod')}))
        self.assertIs(str, type(named))

    def test_function_name(self):
        """That of a stored call; None for anything else."""
        named = Plain()
        named.function_name = 'shop.ship'
        self.assertEqual('shop.ship', value.function_name(named))
        for bad in (None, 5, Text('shop.ship'), b'shop'):
            named.function_name = bad
            self.assertIsNone(value.function_name(named))
        self.assertIsNone(value.function_name(None))

    def test_function_name_that_cannot_be_read(self):
        """It is None, and whoever lists jobs goes on."""
        class Input:
            @property
            def function_name(self):
                raise SystemExit('no')
        self.assertIsNone(value.function_name(Input()))
