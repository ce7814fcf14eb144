"""The transaction that changes of a service become part of."""

import transaction
from ZODB.POSException import ReadOnlyError

from lovely.remotetask import interfaces


# Statuses of a transaction, see ITransaction.
ENDS = ('Committing', 'Committed')
FAILED = 'Commit failed'


def current(persistent):
    """Return the transaction that a change of an object becomes part of.

    That of the connection of the object, whatever the thread's own one is;
    None if it is in no database.

    Raise NoTransaction if there is none, or if it would never store the
    change; ReadOnlyError if the database would not.  Asked first, before
    anything is changed: an object that cannot register with its connection
    must not be changed in memory either.
    """
    connection = persistent._p_jar
    if connection is None:
        return None
    manager = connection.transaction_manager
    if connection.opened is None or manager is None:
        raise interfaces.NoTransaction(
            'The connection of the task service is closed; open one, and get '
            'the service from that.')
    txn = _begun(manager)
    if txn.status == FAILED:
        raise interfaces.NoTransaction(
            'The transaction has failed; abort it before jobs are added or '
            'changed.')
    if txn.status in ENDS or _is_over(txn, connection):
        raise interfaces.NoTransaction(
            'The transaction is being ended, or has ended: nothing becomes '
            'part of it any more. Add or change jobs before the commit, in a '
            'before-commit hook perhaps, or in a transaction of its own, with '
            'another connection.')
    _check_can_write(connection)
    return txn


def _check_can_write(connection):
    storage = connection.db().storage
    is_connected = getattr(storage, 'is_connected', lambda: True)
    # A client that has no server says that it is read-only; it may have one
    # again before the commit.
    if connection.isReadOnly() and is_connected():
        raise ReadOnlyError(
            f'No jobs can be added or changed: the database '
            f'"{connection.db().database_name}" is read-only here; use a '
            f'process, or a connection, that can write to it.')


def _begun(manager):
    try:
        return manager.get()
    except transaction.interfaces.NoTransaction:
        raise interfaces.NoTransaction(
            'No transaction has begun, and the transaction manager of the '
            'connection is explicit; call its begin().') from None


def _is_over(txn, connection):
    """Return whether a transaction has been aborted, and calls its hooks.

    It has the status of one that is active.  A connection that has joined it
    has left it.
    """
    return connection._needs_to_join and connection in txn._resources
