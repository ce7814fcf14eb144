"""Tests of gocept.async_.argument."""

import pickle
import threading
import unittest

import persistent.mapping
import persistent.wref
import transaction
import ZODB
import ZODB.POSException
import zope.security.checker
from zope.security.proxy import Proxy

from gocept.async_.argument import copy_arguments
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.sample import Content


def proxied(value):
    return Proxy(value, zope.security.checker.Checker({}))


class Conflicting:
    """Reading its state meets a conflict."""

    def __reduce__(self):
        raise ZODB.POSException.ReadConflictError()


class OneWay:
    """Can be pickled, but not read back."""

    def __reduce__(self):
        return int, ('no number',)


class ArgumentTestCase(unittest.TestCase):

    def setUp(self):
        self.databases = {}
        self.db = self.open_db('main', self.databases)
        self.connection = self.connect(self.db)
        self.service = self.connection.root()['service'] = Content()
        self.stored = self.connection.root()['stored'] = Content()
        self.manager.commit()

    def open_db(self, name, databases):
        db = ZODB.DB(None, database_name=name, databases=databases)
        self.addCleanup(db.close)
        return db

    def connect(self, db):
        self.manager = transaction.TransactionManager()
        connection = db.open(self.manager)
        self.addCleanup(connection.close)
        self.addCleanup(self.manager.abort)
        return connection

    def copy(self, *args, **kwargs):
        return copy_arguments(self.connection, args, kwargs)

    def assertRefused(self, message, *args, **kwargs):
        with self.assertRaisesRegex(TypeError, message):
            self.copy(*args, **kwargs)


class CopyTest(ArgumentTestCase):
    """Arguments are stored as they are at the call."""

    def test_plain_values_are_equal(self):
        """Numbers, strings and None need no care."""
        self.assertEqual(
            ((1, 'a', None), {'b': b'c'}), self.copy(1, 'a', None, b=b'c'))

    def test_mutable_values_are_copies(self):
        """Lists and dicts are equal to the originals, but others."""
        original = [1, {'a': [2]}]
        (copied,), _ = self.copy(original)
        original[1]['a'].append(3)
        original.append(4)
        self.assertEqual([1, {'a': [2]}], copied)

    def test_keyword_arguments_are_copied_too(self):
        """As for positional ones."""
        original = [1]
        _, kwargs = self.copy(values=original)
        original.append(2)
        self.assertEqual({'values': [1]}, kwargs)

    def test_what_arguments_share_is_shared_by_the_copies(self):
        """One list given three times is one list when the function runs."""
        shared = [1]
        (first, second), kwargs = self.copy(shared, [shared], third=shared)
        self.assertIs(first, second[0])
        self.assertIs(first, kwargs['third'])
        self.assertIsNot(shared, first)

    def test_argument_may_contain_itself(self):
        """Cycles are no problem."""
        cycle = []
        cycle.append(cycle)
        (copied,), _ = self.copy(cycle)
        self.assertIs(copied, copied[0])

    def test_functions_and_classes_are_the_same(self):
        """They are stored by name."""
        args, _ = self.copy(sample.record, Content)
        self.assertIs(sample.record, args[0])
        self.assertIs(Content, args[1])


class PersistentTest(ArgumentTestCase):
    """Persistent arguments travel by reference."""

    def test_stored_object_is_not_copied(self):
        """It is the same object, in a list as well."""
        (copied, listed), _ = self.copy(self.stored, [self.stored])
        self.assertIs(self.stored, copied)
        self.assertIs(self.stored, listed[0])

    def test_stored_object_is_not_even_read(self):
        """A ghost stays one."""
        self.stored._p_deactivate()
        self.copy([self.stored])
        self.assertIsNone(self.stored._p_changed)

    def test_new_object_is_not_copied(self):
        """An object that is not stored yet will be, with the call."""
        new = Content()
        new.child = Content()
        (copied, listed), _ = self.copy(new, [new])
        self.assertIs(new, copied)
        self.assertIs(new, listed[0])

    def test_new_objects_may_refer_to_each_other(self):
        """Cycles among objects that are not stored yet are no problem."""
        new, other = Content(), Content()
        new.other, other.other = other, new
        (copied,), _ = self.copy(new)
        self.assertIs(new, copied)

    def test_weak_reference_is_not_copied(self):
        """The ZODB's weak references are stored as such."""
        reference = persistent.wref.WeakRef(self.stored)
        (copied,), _ = self.copy(reference)
        self.assertIs(reference, copied)

    def test_object_of_another_connection_is_refused(self):
        """At the commit it would be an InvalidObjectReference."""
        other = self.connect(self.db).root()['stored']
        for value in (other, [other]):
            self.assertRefused(
                'argument 1 .*another database connection; load it by', value)

    def test_new_object_of_another_connection_is_refused(self):
        """Also if that connection has only promised to store it."""
        other = Content()
        self.connect(self.db).add(other)
        self.assertRefused('another database connection', other)

    def test_object_of_another_connection_in_a_new_one_is_refused(self):
        """It may hide in the state of an object not stored yet."""
        new = Content()
        new.other = self.connect(self.db).root()['stored']
        self.assertRefused('another database connection', new)

    def test_object_of_another_database_of_the_application(self):
        """Databases that were opened together may refer to each other."""
        self.open_db('catalog', self.databases)
        other = self.connection.get_connection('catalog')
        other.root()['entry'] = entry = Content()
        (copied,), _ = self.copy(entry)
        self.assertIs(entry, copied)

    def test_service_that_is_not_stored(self):
        """A stub for tests has no connection; everything is accepted."""
        (copied,), _ = copy_arguments(None, (self.stored,), {})
        self.assertIs(self.stored, copied)


class RefusalTest(ArgumentTestCase):
    """What cannot be stored is named, by its position or name."""

    def test_security_proxy(self):
        """The error says how to get at the object itself."""
        self.assertRefused(
            r'^argument 2 \(Content\) cannot be stored.*removeSecurityProxy',
            1, proxied(Content()))

    def test_security_proxy_of_a_plain_value(self):
        """A proxied list has the class list, yet is no list."""
        self.assertRefused(
            '^argument 1 .*removeSecurityProxy', proxied([1]))

    def test_security_proxy_of_a_stored_object(self):
        """It would keep its proxy, and with it the wrong principal."""
        self.assertRefused(
            '^argument 1 .*removeSecurityProxy', proxied(self.stored))

    def test_security_proxy_as_keyword_argument(self):
        """Keyword arguments are named."""
        self.assertRefused("^argument 'content' ", content=proxied(Content()))

    def test_security_proxy_in_a_list(self):
        """It is found at any depth."""
        self.assertRefused(
            r'^argument 1 \(list\) .*removeSecurityProxy',
            [{'content': proxied(Content())}])

    def test_security_proxy_in_a_new_object(self):
        """It would fail only at the commit."""
        new = Content()
        new.child = Content()
        new.child.content = proxied(Content())
        self.assertRefused('^argument 1 .*removeSecurityProxy', new)

    def test_lock(self):
        """The reason is that of the pickler."""
        self.assertRefused(
            r'^argument 1 \(lock\) .*cannot pickle', threading.Lock())

    def test_lock_in_a_new_object(self):
        """The state of a persistent object is checked before it is stored."""
        new = Content()
        new.lock = threading.Lock()
        self.assertRefused(r'^argument 1 \(Content\) .*cannot pickle', new)
        self.assertRefused(r"^argument 'x' \(list\) .*cannot pickle", x=[new])

    def test_lambda_and_generator(self):
        """Code cannot be stored either."""
        self.assertRefused('^argument 1 .*lambda', lambda: None)
        self.assertRefused('^argument 1 ', (x for x in ()))

    def test_instance_of_a_local_class(self):
        """Its class could not be found again."""
        class Local:
            pass
        self.assertRefused(r'^argument 1 \(Local\)', Local())

    def test_what_cannot_be_read_back(self):
        """Better now than in the processor."""
        self.assertRefused(r'^argument 1 \(OneWay\)', OneWay())

    def test_the_first_bad_argument_is_named(self):
        """Also if there are good ones before it, and more bad ones."""
        self.assertRefused(
            '^argument 2 ', [], threading.Lock(), a=threading.Lock())

    def test_the_cause_is_kept(self):
        """The traceback leads to the object in question."""
        with self.assertRaises(TypeError) as raised:
            self.copy([threading.Lock()])
        self.assertIsInstance(
            raised.exception.__cause__, (TypeError, pickle.PicklingError))

    def test_conflict_stays_a_conflict(self):
        """The publication tries the request again, as always."""
        transaction.begin()
        with self.assertRaises(ZODB.POSException.ReadConflictError):
            self.copy(Conflicting())


class StoredArgumentTest(FunctionalTestCase):
    """What a function gets when it is run."""

    def test_refused_argument_leaves_the_transaction_usable(self):
        """Nothing is stored of the call; everything else is."""
        content = Content()
        content.lock = threading.Lock()
        for bad in (proxied(Content()), threading.Lock(),
                    [proxied(Content())], content):
            with self.subTest(type(bad).__name__), \
                    self.assertRaisesRegex(TypeError, 'argument 2'):
                sample.record(1, bad)
        self.root['after'] = Content()
        transaction.commit()
        self.assertIn('after', self.root)
        self.assertEqual([], self.jobs())

    def test_changed_after_the_call(self):
        """The function sees the arguments as they were at the call."""
        values = [1]
        sample.record(values, more=values)
        values.append(2)
        process()
        self.assertEqual([(([1],), {'more': [1]})], sample.calls)

    def test_sharing_is_kept(self):
        """Two references to one list are references to one list."""
        values = [1]
        sample.record(values, [values])
        process()
        (first, second), _ = sample.calls[0]
        self.assertIs(first, second[0])

    def test_stored_object_is_the_same_one(self):
        """It has the same _p_oid when the function runs."""
        self.root['content'] = content = Content()
        transaction.commit()
        sample.record(content, [content])
        process()
        (first, second), _ = sample.calls[0]
        self.assertEqual(content._p_oid, first._p_oid)
        self.assertIs(first, second[0])

    def test_stored_object_is_read_when_the_function_runs(self):
        """By reference: it is not the state at the call that counts."""
        self.root['content'] = content = Content()
        sample.change(content, 'by the function')
        content.value = 'after the call'
        process()
        self.assertEqual('by the function', content.value)

    def test_object_new_in_this_transaction(self):
        """It may be put into its container before the call, or after it."""
        self.root['before'] = before = Content()
        after = Content()
        sample.record(before, [after])
        self.root['after'] = after
        process()
        (first, second), _ = sample.calls[0]
        self.assertEqual(before._p_oid, first._p_oid)
        self.assertEqual(after._p_oid, second[0]._p_oid)

    def test_object_that_is_stored_nowhere_else(self):
        """A new persistent object lives with the job alone."""
        new = Content()
        new.value = 'new'
        new.mapping = persistent.mapping.PersistentMapping(a=1)
        sample.record(new)
        process()
        (found,), _ = sample.calls[0]
        self.assertEqual(new._p_oid, found._p_oid)
        self.assertEqual('new', self.job().input.args[0].value)
        self.assertEqual({'a': 1}, dict(self.job().input.args[0].mapping))

    def test_object_of_another_connection(self):
        """It is refused at the call, not at the commit."""
        self.root['content'] = Content()
        transaction.commit()
        manager = transaction.TransactionManager()
        connection = self.root._p_jar.db().open(manager)
        self.addCleanup(connection.close)
        foreign = connection.get(self.root['content']._p_oid)
        with self.assertRaisesRegex(TypeError, 'argument 1'):
            sample.record(foreign)
        transaction.commit()
        self.assertEqual([], self.jobs())
