"""Tests of lovely.remotetask.foreign.record."""

import collections
import logging
import sys
import types
import unittest
import unittest.mock

import persistent
import transaction
import ZODB
import ZODB.broken
from ZODB.POSException import POSKeyError
from ZODB.POSException import StorageError

from lovely.remotetask.foreign import record


SHOP = 'lovely_remotetask_test_shop'


class Content(persistent.Persistent):
    """What holds objects of the shop."""


class RecordTest(unittest.TestCase):

    def setUp(self):
        self.addCleanup(sys.modules.pop, SHOP, None)
        self.addCleanup(ZODB.broken.broken_cache.clear)
        logger = logging.getLogger('ZODB.Connection')
        self.addCleanup(setattr, logger, 'disabled', logger.disabled)
        logger.disabled = True
        self.manager = transaction.TransactionManager()
        db = ZODB.DB(None)
        self.addCleanup(db.close)
        self.connection = db.open(self.manager)
        self.addCleanup(self.manager.abort)

    def deploy(self, *classes):
        shop = sys.modules[SHOP] = types.ModuleType(SHOP)
        for class_ in classes:
            class_.__module__ = SHOP
            setattr(shop, class_.__name__, class_)

    def store(self, **state):
        """Return an object with a state that is stored, and not loaded."""
        stored = self.connection.root()['content'] = Content()
        vars(stored).update(state)
        stored._p_changed = True
        self.manager.commit()
        self.connection.cacheMinimize()
        return stored

    def size(self, fields):
        return collections.namedtuple('Size', fields)

    def test_state(self):
        """What is plain is there; an object is a stand-in."""
        Size = self.size('w h')
        self.deploy(Size)
        stored = self.store(name='a', parts=[1, {'b': Size(1, 2)}])
        self.deploy()
        state = record.state(stored)
        self.assertEqual('a', state['name'])
        self.assertEqual(1, state['parts'][0])
        self.assertEqual(
            {f'{SHOP}.Size'}, record.class_names(state['parts']))
        self.assertIsNone(stored._p_changed)

    def test_classes_are_not_called(self):
        """Nor are functions that make objects."""
        class Order:
            def __reduce__(self):
                return Order, (1,), {'a': 1}, iter([2]), iter([('k', 3)])

            def __init__(self, *args):
                assert not args, 'called'
        Order.__qualname__ = 'Order'
        self.deploy(Order)
        stored = self.store(order=Order())
        self.assertEqual(
            {f'{SHOP}.Order'}, record.class_names(record.state(stored)))
        self.assertIsNone(stored._p_changed)

    def test_persistent_objects(self):
        """They have records of their own."""
        stored = self.store(child=Content())
        self.assertEqual(['child'], list(record.state(stored)))
        self.assertEqual(set(), record.class_names(record.state(stored)))

    def test_what_cannot_be_read_at_all(self):
        """There is no state then."""
        stored = self.store()
        storage = type(self.connection._storage)
        for data in (b'', b'garbage', b'\x80\x03N.'):
            with unittest.mock.patch.object(
                    storage, 'load', lambda *args, d=data: (d, b'\0' * 8)):
                self.assertIsNone(record.state(stored))
                self.assertEqual([], record.unloadable(stored))

    def test_record_that_is_gone(self):
        """Nor where the database does not have it."""
        stored = self.store()
        with unittest.mock.patch.object(
                type(self.connection._storage), 'load',
                side_effect=POSKeyError(b'\0' * 8)):
            self.assertIsNone(record.state(stored))
            self.assertEqual([], record.unloadable(stored))

    def test_storage_that_is_away(self):
        """That says nothing of the record."""
        stored = self.store()
        with unittest.mock.patch.object(
                type(self.connection._storage), 'load',
                side_effect=StorageError('away')), \
                self.assertRaises(StorageError):
            record.state(stored)

    def test_class_that_has_changed(self):
        """It is the one without which the state is loaded."""
        Size, Point = self.size('w h'), collections.namedtuple('Point', 'x')
        self.deploy(Size, Point)
        stored = self.store(parts=[Size(1, 2), Point(3)])
        self.assertEqual([], record.unloadable(stored))
        self.deploy(self.size('w h d'), Point)
        self.assertEqual([f'{SHOP}.Size'], record.unloadable(stored))

    def test_class_that_is_gone(self):
        """It is named, though others fail because of it."""
        Size, Point = self.size('w h'), collections.namedtuple('Point', 'x')
        self.deploy(Size, Point)
        stored = self.store(parts=[Size(1, 2), Point(3)])
        self.deploy(Point)
        self.assertEqual([f'{SHOP}.Size'], record.unloadable(stored))

    def test_values_that_refer_to_one_another(self):
        """There is an end to them."""
        cycle = [1]
        cycle.append({'cycle': cycle})
        self.assertEqual(set(), record.class_names(cycle))
