"""What databases and storages do not say in a common way."""

import io

from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask.outcome import attempt


def is_closed(db):
    """Return whether a ZODB.DB was closed."""
    # There is no flag.  First thing, `close` replaces itself on the DB.
    return 'close' in vars(db)


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
    version = attempt(
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
