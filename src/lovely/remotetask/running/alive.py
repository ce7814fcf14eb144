"""Whether the databases of an application answer, and take changes.

What a client has in its cache says nothing of that: each database is asked.
"""

import contextlib
import os
import tempfile

import transaction
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IMVCCStorage

from lovely.remotetask.foreign.blame import parts
from lovely.remotetask.foreign.outcome import attempt


# Bytes that a disk has to take: it gives them out in pieces of that size.
BLOCK = 4096


class NoSignOfLife(Exception):
    """A database cannot be worked with; the message says which, and why."""


def sign_of_life(db, seen=None, doubt=lambda text: None):
    """Ask each database of an application for a sign of life.

    db -- a ZODB.DB; all of its `databases` are asked.
    seen -- dict, always the same one, to remember the last transactions: a
        database that was committed to since the last call takes changes, and
        is not asked whether it does.
    doubt -- called before each request with a text: what is the matter if
        that never returns.

    Who waits for a server that stands still waits without end.  So call this
    in a thread that nobody depends on.

    Raise NoSignOfLife for the first one that cannot be worked with.
    """
    seen = {} if seen is None else seen
    databases = dict(db.databases)
    for name, database in databases.items():
        called = f'the database "{name}"' \
            if len(databases) > 1 else 'the database'
        outcome = attempt(_ask, database, called, seen, doubt)
        if outcome.failed:
            raise NoSignOfLife(
                f'{called}: {outcome.error or outcome.errorClass}'
                ) from outcome.exception


def _ask(database, called, seen, doubt):
    doubt(f'{called} does not answer')
    for storage in parts(database.storage):
        _ask_storage(storage)
    last = _last_transaction(database.storage)
    is_idle = last is None or seen.get(called, last) == last
    seen[called] = last
    with _connected(database) as (connection, txn):
        if is_idle and not connection.isReadOnly():
            doubt(f'{called} takes no changes')
            _prepare(connection, txn)


def _ask_storage(storage):
    """Ask in a way that this kind of storage cannot answer by itself."""
    is_connected = getattr(storage, 'is_connected', None)
    if is_connected is not None and not is_connected():
        # A request would wait half a minute for the server to come back.
        raise NoSignOfLife(f'not connected to {storage.getName()}')
    ping = getattr(storage, 'ping', None)
    if ping is not None:
        ping()
    if isinstance(storage, FileStorage):
        _ask_disk(storage)


def _ask_disk(storage):
    path = storage.getName()
    # Packing puts another file there, and holds this lock meanwhile.
    with storage._lock:
        if not os.path.samestat(
                os.stat(path), os.fstat(storage._file.fileno())):
            raise NoSignOfLife(f'{path} is not the file that was opened')
    if storage.isReadOnly():
        return
    # A file without a name: nobody else sees it, and it is gone with the
    # process.  As large as that of the storage, which may be what is too
    # much, but for its last block it takes no place.
    with tempfile.TemporaryFile(
            dir=os.path.dirname(path), buffering=0) as probe:
        probe.seek(storage.getSize())
        probe.write(bytes(BLOCK))


def _last_transaction(storage):
    """Return the last transaction, if that can be told in any thread."""
    if IMVCCStorage.providedBy(storage):
        return None
    return storage.lastTransaction()


@contextlib.contextmanager
def _connected(database):
    """Open a connection; storages without news of others are polled."""
    manager = transaction.TransactionManager(explicit=True)
    connection = database.open(manager)
    try:
        yield connection, manager.begin()
    finally:
        manager.abort()
        connection.close()


def _prepare(connection, txn):
    """Prepare a transaction that changes nothing, and let it go.

    It has to have what only one can have at a time; a writer that stands
    still does not give that back.
    """
    connection.tpc_begin(txn)
    try:
        connection.tpc_vote(txn)
    finally:
        connection.tpc_abort(txn)
