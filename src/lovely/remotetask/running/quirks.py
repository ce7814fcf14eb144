"""What databases and storages do not say in a common way."""

from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask.foreign.blame import is_closed


# Found here, too.
__all__ = ['has_changes', 'is_away', 'is_closed', 'is_read_only',
           'is_served', 'keeps_time_itself', 'last_transaction_heard_of']


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
