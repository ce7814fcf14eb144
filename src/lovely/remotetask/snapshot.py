"""What a connection shows: all that was committed up to some transaction."""

from persistent.timestamp import TimeStamp
from ZODB.interfaces import IMVCCStorage
from ZODB.utils import p64
from ZODB.utils import u64
from ZODB.utils import z64


def last_shown(connection):
    """Return the id of the last transaction that a connection shows.

    connection -- or None.

    bytes; None without a connection, a storage, or a transaction.
    """
    if connection is None:
        return None
    storage = connection._storage
    start = getattr(storage, '_start', None)
    if start is not None:
        # The storage says which transaction is the first one that is not
        # shown.
        return p64(u64(start) - 1)
    return (storage.lastTransaction() if IMVCCStorage.providedBy(storage)
            else None)


def time_shown(connection):
    """Return when the last transaction was made that a connection shows.

    POSIX seconds, by the clock of the storage; 0.0 where that is not known.
    """
    shown = last_shown(connection)
    return 0.0 if shown in (None, z64) else TimeStamp(shown).timeTime()
