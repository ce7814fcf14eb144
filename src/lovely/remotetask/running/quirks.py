"""What databases and storages do not say in a common way.

Nobody else asks a storage anything, but for what a connection shows (see
`snapshot`); whose failure an exception is, `blame` tells.
"""

import errno
import io
import os
import tempfile

from transaction import TransactionManager
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileStorageFormatError
from ZODB.interfaces import IMVCCStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.mvccadapter import MVCCAdapter
from ZODB.utils import p64
from ZODB.utils import u64
from ZODB.utils import z64

from lovely.remotetask.foreign.blame import is_closed
from lovely.remotetask.foreign.blame import number_of
from lovely.remotetask.foreign.blame import parts
from lovely.remotetask.foreign.outcome import outcome_of


# What the operating system says when there is no room for a file, or no way
# to write it.
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO,
                errno.EROFS)


# Found here by all who ask about databases.
__all__ = ['is_closed']

# Seconds after which the pool of a ZODB.DB lets go what is not used, unless an
# application tells another number: never.
NO_TIMEOUT = 1 << 31

# Bytes that a disk has to take: it gives them out in pieces of that size.
BLOCK = 4096


class NoAnswer(Exception):
    """A storage cannot be worked with; the message says why."""


def is_not_converted(failure):
    """Return whether a file cannot be opened as Python 2 has written it.

    failure -- an Outcome.
    """
    return failure.is_a(FileStorageFormatError)


def cannot_write(failure):
    """Return whether the operating system could not write to a file.

    failure -- an Outcome.

    A FileStorage raises that as it is.
    """
    return number_of(failure.exception) in CANNOT_WRITE


def close(db):
    """Close a database and those beside it, whatever that raises.

    A FileStorage flushes its files then, also after it has failed to write.
    """
    for each in list(db.databases.values()):
        outcome_of(each.close)


def is_read_only(db):
    """Return whether nothing can be written to a ZODB.DB at the moment."""
    ask = getattr(db.storage, 'isReadOnly', None)
    return ask is not None and bool(ask())


def is_away(db):
    """Return whether a ZODB.DB is known to have lost its server.

    Whatever it is asked for then waits half a minute.
    """
    storage = db.storage
    return is_served(storage) and not storage.is_connected()


def is_served(storage):
    """Return whether a storage is that of a ZEO client."""
    return type(storage).__module__.startswith('ZEO.')


def send(storage, value):
    """Return a value as a ZEO server receives it from a client.

    Raise anything if it cannot be sent, or if the server will not take it.
    """
    # Whoever has a client of ZEO has its other modules.
    from ZEO.asyncio import marshal

    # There is none while it has no connection; Z stands for pickles.
    version = outcome_of(
        lambda: storage._server.client.protocol_version).value or b'Z'
    data = marshal.encoder(version)(value)
    if version.startswith(b'M'):
        return marshal.server_decoder(version)(data)
    # The decoder of ZEO would have the log show what it cannot read.
    unpickler = marshal.Unpickler(io.BytesIO(data))
    unpickler.find_global = marshal.server_find_global
    return unpickler.load()


def last_transaction_heard_of(db):
    """Return the last transaction, if that can be told at no cost, or None.
    """
    storage = getattr(db, 'storage', None)
    # A ZEO client is told of each; to ask others may take a request.
    return storage.lastTransaction() if is_served(storage) else None


class Changes:
    """Hears which objects of a database were changed, without asking anybody.

    db -- a ZODB.DB, see `last_transaction_heard_of`.
    call -- called with the oids of what was changed, None if that may be
        anything: in the thread that has changed it, or has been told of that.
        It must not wait.

    It hears what each connection hears.
    """

    def __init__(self, db, call):
        self.db = db
        self._adapter = db._mvcc_storage
        self._storage = self._adapter.new_instance()
        self._invalidate = self._storage._invalidate
        self._invalidate_cache = self._storage._invalidateCache
        self._call = call
        # The adapter calls these of each of its instances.
        self._storage._invalidate = self._hear
        self._storage._invalidateCache = self._hear_all
        self.take()

    def _hear(self, tid, oids):
        self._invalidate(tid, oids)
        self._call(oids)

    def _hear_all(self):
        self._invalidate_cache()
        self._call(None)

    def take(self):
        """Return the oids (frozenset) since the last time, None if unknown.

        A transaction that begins after this sees them.
        """
        found = self._storage.poll_invalidations()
        # The adapter has this lock while it tells one instance after the
        # other: this one may be told before the connection that is used next.
        # It is not kept while the storage is asked: that has a lock, too, with
        # which a thread that commits waits for this one.
        with self._adapter._lock:
            pass
        return None if found is None else frozenset(found)

    @property
    def newest(self):
        """The newest transaction (its id, bytes) as of the last call."""
        return p64(u64(self._storage._start) - 1)

    def end(self):
        """Hear nothing any more."""
        self._storage.release()


def is_polled(db):
    """Return whether other processes may commit to a ZODB.DB, unheard."""
    storage = getattr(db, 'storage', None)
    return not (storage is None or is_served(storage)
                or keeps_time_itself(storage))


def postgresql_of(storage):
    """Return RelStorage's adapter if a storage is on PostgreSQL, or None."""
    while not isinstance(storage, DemoStorage | None):
        found = vars(storage).get('_adapter')
        if any(each.__module__.startswith('relstorage.adapters.postgresql')
               for each in type(found).__mro__):
            return found
        # What compresses or encrypts has a base.
        storage = vars(storage).get('base')
    return None


def keeps_time_itself(storage):
    """Return whether the clock of this process dates its transactions.

    Others are dated by a server, or by whatever process writes them.
    """
    while not isinstance(storage, (FileStorage, MappingStorage)):
        # What compresses or encrypts has a base; a demo, its changes.
        inner = (storage.changes if isinstance(storage, DemoStorage)
                 else vars(storage).get('base'))
        if inner is None:
            return False
        storage = inner
    return True


def has_changes(connection):
    """Return whether something was changed in a connection, uncommitted.

    Or in one to another database that goes with it.
    """
    return any(not each._needs_to_join
               for each in connection.connections.values())


# Whether it works

def ask_for_answer(storage):
    """Ask a storage, and those that it is made of; raise NoAnswer or anything.

    In a way that this kind of storage cannot answer by itself.
    """
    for each in parts(storage):
        _ask_storage(each)


def _ask_storage(storage):
    is_connected = getattr(storage, 'is_connected', None)
    if is_connected is not None and not is_connected():
        # A request would wait half a minute for the server to come back.
        raise NoAnswer(f'not connected to {storage.getName()}')
    ask_server(storage)
    if isinstance(storage, FileStorage):
        _ask_disk(storage)


def _ask_disk(storage):
    path = storage.getName()
    # Packing puts another file there, and holds this lock meanwhile.
    with storage._lock:
        if not os.path.samestat(
                os.stat(path), os.fstat(storage._file.fileno())):
            raise NoAnswer(f'{path} is not the file that was opened')
    if storage.isReadOnly():
        return
    # A file without a name: nobody else sees it, and it is gone with the
    # process.  As large as that of the storage, which may be what is too
    # much, but for its last block it takes no place.
    with tempfile.TemporaryFile(
            dir=os.path.dirname(path), buffering=0) as probe:
        probe.seek(storage.getSize())
        probe.write(bytes(BLOCK))


def last_transaction(storage):
    """Return the last transaction, if that can be told in any thread."""
    if IMVCCStorage.providedBy(storage):
        return None
    return storage.lastTransaction()


def ask_server(storage):
    """See in a storage what was committed there by now.

    Takes one request to the server of ZEO, none for others: they look when a
    transaction begins.  Raise ClientDisconnected if it does not answer.
    """
    # The server answers after what it has sent before.
    ping = getattr(storage, 'ping', None)
    if ping is not None:
        ping()


# What it does

def forget_reserve_on_reconnect(storage):
    """Let a ZEO client drop the object ids it has in reserve, on connecting.

    A client gets ids for new objects a hundred at a time.  ZEO 6.2 keeps them
    when it connects again, but a server that was restarted gives those out
    once more that are not in its file yet.  Two new objects with one id are a
    conflict for whoever commits second, and leave a client with an object
    without state.

    Nothing happens to other storages, nor to a ZEO that keeps its reserve
    elsewhere.
    """
    if not (is_served(storage)
            and isinstance(getattr(storage, '_oids', None), list)):
        return
    connected = storage.notify_connected

    def notify_connected(*args, **kw):
        # In place: another thread may be taking one.
        del storage._oids[:]
        connected(*args, **kw)

    storage.notify_connected = notify_connected


def hears(connection):
    """Return whether a connection is told of what others commit.

    Where somebody has closed its storage, or put another one there, it shows
    what it has in memory for ever, and says nothing.
    """
    storage = connection._normal_storage
    if connection._storage is not storage:
        return False
    adapter = connection.db()._mvcc_storage
    # RelStorage asks by itself.  A closed adapter tells nobody any more.
    told = (vars(adapter).get('_instances')
            if isinstance(adapter, MVCCAdapter) else None)
    return told is None or storage in told


def refresh_idle(db):
    """Let the idle connections of a ZODB.DB forget what they have heard of.

    Each of them remembers all objects that were changed since it was used.  A
    pool gives out what was used last: so one that is too many remembers ever
    more.
    """
    # RelStorage tells idle ones nothing; and with a timeout the pool lets
    # them go, which it would not if they were used.
    if (not isinstance(db._mvcc_storage, MVCCAdapter)
            or db.pool.timeout < NO_TIMEOUT):
        return
    opened = []
    try:
        for _ in range(len(db.pool.available)):
            opened.append(db.open(TransactionManager()))
    finally:
        # The one that was used last is the last one again.
        for each in reversed(opened):
            each.close()


def release(connection):
    """Let the storage of a connection go that nobody is to use any more."""
    connection._storage.release()


def order_of_commit(db):
    """Return what the storage of a ZODB.DB is sorted by in a commit (str).

    None if that is by chance: by the address of an object in memory.
    """
    key = db.storage.sortKey()
    return None if key.startswith('RelStorage: ') else key


# Records as they are stored

def load(connection, oid):
    """Return the bytes of a record, as of the snapshot of a connection."""
    return connection._storage.load(oid)[0]


def store_all(connection, records):
    """Store some new records, in a transaction of the storage alone.

    records -- list of pairs: oids that nobody has used, and bytes.
    """
    storage = connection._storage
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    done = outcome_of(_store_all, storage, records, txn)
    if done.failed:
        storage.tpc_abort(txn)
        raise done.exception


def _store_all(storage, records, txn):
    for oid, data in records:
        storage.store(oid, z64, data, '', txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
