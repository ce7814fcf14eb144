"""A connection to the databases, with a transaction manager of its own.

Whoever runs a job, or keeps the books, works in one.  The thread's own
transaction is put aside meanwhile, and what a job does to the transaction
manager, its synchronizers or its mode ends with the session.
"""

import contextlib
import functools

import transaction
from zope.app.publication.zopepublication import ZopePublication
from zope.component.interfaces import ISite

from lovely.remotetask import interfaces
from lovely.remotetask import signature
from lovely.remotetask.outcome import attempt
from lovely.remotetask.task import TaskError


class Session:
    """An open connection, and the manager of its transactions.

    connection -- that of the database with the root folder.
    manager -- TransactionManager; the current one of the thread meanwhile.
    """

    def __init__(self, db):
        # Explicit, so that the storage is asked nothing while the database
        # has a connection that nobody else holds: if that failed, it would
        # never be given back.
        self.manager = _Manager(explicit=True)
        self.connection = db.open(self.manager)
        self._outer = transaction.manager.manager
        transaction.manager.manager = self.manager

    def begin(self, path):
        """Begin the transaction: see what was committed last.

        Return the service at a path; NoSuchService if there is none.
        """
        self.manager.begin()
        service = self._find(path)
        # As it is in a request.  A function that aborts, and goes on, is in
        # a new transaction that sees what was committed meanwhile.
        self.manager.explicit = False
        for each in self._connections():
            each.explicit_transactions = False
            each.close = functools.partial(_close, each)
        return service

    def _find(self, path):
        found = self.connection.root().get(ZopePublication.root_name)
        for name in path:
            found = _step(found, name)
        if not interfaces.IJobExecution.providedBy(found):
            raise interfaces.NoSuchService(
                f'{"/" + "/".join(path)!r} is no task service: {found!r}.')
        return found

    def resume(self):
        """Make this the current one again, whatever was made it meanwhile."""
        transaction.manager.manager = self.manager
        self.manager.explicit = False

    def check(self):
        """Raise TaskError unless a commit commits what the job has done.

        The next commit raises it if the transaction says of itself what
        cannot be stored.
        """
        for each in self._connections():
            if (each.opened is None
                    or each.transaction_manager is not self.manager):
                raise TaskError(
                    'The job has closed its connection, or taken it to '
                    'another transaction manager: what it has done cannot be '
                    'committed. Open another connection for that.')
        self.manager.get().addBeforeCommitHook(self._check_signature)

    def _check_signature(self):
        txn = self.manager.get()
        *_, (last, _, _) = txn.getBeforeCommitHooks()
        if last != self._check_signature:
            # What comes in between may still sign it.
            txn.addBeforeCommitHook(self._check_signature)
            return
        signature.check(txn, self.connection.db())

    def close(self, clean=False):
        """Abort what was not committed, and give the connection back.

        clean -- whether to forget what the connection has in memory: it may
            have been changed without the database being told.

        One that is not as it should be is not given back but released.
        """
        transaction.manager.manager = self._outer
        connections = self._connections()
        for each in connections:
            # Who opens it next asks the storage for news, not this one.
            each.explicit_transactions = True
            _allow_to_close(each)
        good = (not attempt(self.manager.abort).failed
                and all(map(self._is_good, connections)))
        if clean:
            for each in connections:
                attempt(each.cacheMinimize)
        if not good or attempt(self.connection.close).failed:
            _release(connections)

    def _connections(self):
        """Return the connections to all databases that were used."""
        found = list(self.connection.connections.values())
        # The application can put anything in there.
        return found if self.connection in found \
            else [self.connection, *found]

    def _is_good(self, connection):
        return (connection.opened is not None
                and connection.transaction_manager is self.manager
                and connection._needs_to_join
                and not connection._registered_objects)


class _Manager(transaction.TransactionManager):
    """Aborts the transaction there is; there may be none.

    Also ZODB aborts it, when the database is closed by another thread.
    """

    def abort(self):
        if self._txn is not None:
            super().abort()


def _close(connection, primary=True):
    """Refuse to close the connection of a running job.

    It would serve somebody else while the job goes on.
    """
    if primary:
        raise RuntimeError(
            'The connection of a running job is not its own to close; open '
            'another one for what is to be closed.')
    # The database itself is closed.
    _allow_to_close(connection)
    connection.close(False)


def _allow_to_close(connection):
    found = vars(connection).get('close')
    # That of ZODB, once the database is closed, stays.
    if isinstance(found, functools.partial) and found.func is _close:
        del connection.close


def _release(connections):
    """Take leave of a connection that is not given back to its pool."""
    for each in connections:
        attempt(lambda: each._storage.release())  # noqa: B023
        # It would be counted as open as long as somebody refers to it.
        attempt(lambda: each.db().pool.all.discard(each))  # noqa: B023
        each.opened = None


def _step(location, name):
    if location is None:
        return None
    if name == '++etc++site' and ISite.providedBy(location):
        return location.getSiteManager()
    return location.get(name)


@contextlib.contextmanager
def opened_service(db, path):
    """Open the service of that path in a new transaction.

    It is aborted at the end, unless it was committed.  It is the current one
    of the thread; the one that was current before is put aside.

    Raise NoSuchService if there is none.
    """
    session = Session(db)
    clean = True
    try:
        yield session.begin(path)
        clean = False
    finally:
        session.close(clean)
