"""References as zodbupdate 3.0 writes them."""

import io
import unittest.mock

import persistent
import persistent.mapping
import persistent.wref
import transaction
import ZODB
import ZODB.MappingStorage
import zodbpickle.pickle
from ZODB.POSException import POSKeyError
from ZODB.POSException import StateLoadError

from lovely.remotetask.foreign import reference
from lovely.remotetask.tests.fixture import TaskCase


OID = b'\0' * 7 + b'\5'


class Holder(persistent.Persistent):
    pass


class Unstorable:

    closed = False

    def __reduce__(self):
        if self.closed:
            raise RuntimeError('no longer')
        return Unstorable, ()


class _Reference:

    def __init__(self, to):
        self.to = to


def spoil(db, stored, how):
    """Store the record of an object anew, as zodbupdate does.

    how -- called with each reference of the record, returns another one.
    """
    data, serial = db.storage.load(stored._p_oid)
    unpickler = zodbpickle.pickle.Unpickler(io.BytesIO(data))
    unpickler.persistent_load = _Reference
    written = io.BytesIO()
    for _ in range(2):
        pickler = zodbpickle.pickle.Pickler(written, 3)
        pickler.persistent_id = lambda each: how(
            each.to) if type(each) is _Reference else None
        pickler.dump(unpickler.load())
    txn = transaction.Transaction()
    db.storage.tpc_begin(txn)
    db.storage.store(stored._p_oid, serial, written.getvalue(), '', txn)
    db.storage.tpc_vote(txn)
    db.storage.tpc_finish(txn)


class CorrectedTest(TaskCase):

    def test_corrected(self):
        for spoilt, right in (
                (['w', OID], ['w', (OID,)]),
                (['m', ('other', OID)], ['n', ('other', OID)])):
            with self.subTest(spoilt[0]):
                self.assertEqual(right, reference.corrected(spoilt))

    def test_others_stay(self):
        """All that ZODB writes."""
        for right in (OID, (OID, Holder), ['w', (OID,)], [OID],
                      ['w', (OID, 'other')], ['n', ('other', OID)],
                      ['m', ('other', OID, Holder)], ['w', b'short'],
                      ['m'], [], ['w', 5], ['m', (1, 2, 3)], ['x', OID]):
            with self.subTest(right):
                self.assertIs(right, reference.corrected(right))


class RepairTest(TaskCase):
    """Two databases of one application; a holder refers to targets."""

    def setUp(self):
        super().setUp()
        databases = {}
        self.db, self.other = (
            ZODB.DB(ZODB.MappingStorage.MappingStorage(), databases=databases,
                    database_name=name) for name in ('main', 'other'))
        self.addCleanup(self.db.close)
        self.addCleanup(self.other.close)
        self.connection = self.db.open()
        root = self.connection.root()
        self.holder = root['holder'] = Holder()
        self.target = root['target'] = persistent.mapping.PersistentMapping()
        self.holder.near = persistent.wref.WeakRef(self.target)
        transaction.commit()

    def spoil(self, how):
        """See `spoil`; the record is that of the holder."""
        transaction.abort()
        spoil(self.db, self.holder, how)
        transaction.begin()
        self.holder._p_invalidate()

    def test_weak_reference(self):
        self.spoil(lambda found: ['w', found[1][0]])
        with self.assertRaises(StateLoadError):
            self.holder._p_activate()
        self.assertTrue(reference.repair(self.holder))
        self.assertIs(self.target, self.holder.near())
        self.assertTrue(self.holder._p_changed)

    def test_once_for_all(self):
        """What is stored can be read by anybody."""
        self.spoil(lambda found: ['w', found[1][0]])
        reference.repair(self.holder)
        transaction.commit()
        with self.db.transaction() as connection:
            holder = connection.root()['holder']
            self.assertFalse(reference.repair(holder))
            self.assertEqual(connection.root()['target'], holder.near())

    def test_other_database(self):
        """A reference to an object of another one."""
        far = self.connection.get_connection('other').root()
        far['far'] = persistent.mapping.PersistentMapping({1: 2})
        transaction.commit()
        oid = far['far']._p_oid
        self.spoil(lambda found: ['m', ('other', oid)])
        self.assertTrue(reference.repair(self.holder))
        self.assertEqual({1: 2}, dict(self.holder.near))

    def test_target_that_is_gone(self):
        """So is what the reference leads to, and nothing else."""
        self.spoil(lambda found: ['w', OID[:-1] + b'\xee'])
        self.assertTrue(reference.repair(self.holder))
        self.assertIsNone(self.holder.near())

    def test_cannot_be_stored(self):
        """It is loaded, and left as it is: no commit fails for it."""
        self.holder.unstorable = Unstorable()
        transaction.commit()
        self.spoil(lambda found: ['w', found[1][0]])
        with unittest.mock.patch.object(Unstorable, 'closed', True):
            self.assertTrue(reference.repair(self.holder))
            self.assertIs(self.target, self.holder.near())
            self.assertFalse(self.holder._p_changed)
            transaction.commit()

    def test_nothing_to_repair(self):
        """It is left to those who use it."""
        self.holder._p_invalidate()
        self.assertFalse(reference.repair(self.holder))
        self.assertFalse(self.holder._p_changed)
        self.assertFalse(reference.repair(Holder()))

    def test_something_else(self):
        """What cannot be read for another reason stays so."""
        ghost = self.connection.get(self.holder._p_oid)
        ghost._p_invalidate()
        self.spoil(lambda found: ['w', 5])
        self.assertFalse(reference.repair(self.holder))
        with self.assertRaises(StateLoadError):
            self.holder._p_activate()

    def test_load(self):
        """Whoever loads it for a job says that it is repaired."""
        self.spoil(lambda found: ['w', found[1][0]])
        with self.assertLogs(reference.__name__, 'INFO') as logged:
            self.assertFalse(reference.load(self.holder).failed)
        self.assertIn('test_reference.Holder', logged.output[0])
        self.assertIs(self.target, self.holder.near())
        with self.assertNoLogs(reference.__name__):
            self.assertFalse(reference.load(self.holder).failed)

    def test_load_fails(self):
        """What cannot be repaired fails as it did."""
        self.spoil(lambda found: ['w', 5])
        with self.assertNoLogs(reference.__name__):
            self.assertTrue(reference.load(self.holder).is_a(StateLoadError))

    def test_reader_is_put_back(self):
        """Also where the record is missing."""
        reader = self.connection._reader
        self.holder._p_invalidate()
        load = self.connection._storage.load
        self.connection._storage.load = self.missing
        self.assertFalse(reference.repair(self.holder))
        self.connection._storage.load = load
        self.assertIs(reader, self.connection._reader)

    def missing(self, oid, version=''):
        raise POSKeyError(oid)
