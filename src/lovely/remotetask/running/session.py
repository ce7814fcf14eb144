"""A connection to the databases, with a transaction manager of its own.

Whoever runs a job, or keeps the books, works in one.  The thread's own
transaction is put aside meanwhile, and what a job does to the transaction
manager, its synchronizers or its mode ends with the session.
"""

import contextlib
import functools
import os

import transaction
from ZODB.Connection import Connection
from ZODB.DB import TransactionalUndo

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import PrivateManager
from lovely.remotetask.running import quirks
from lovely.remotetask.running import signature
from lovely.remotetask.running.child import end_child
from lovely.remotetask.running.server import server
from lovely.remotetask.task import TaskError


UNCOMMITTED = (
    'What the job has done was not committed: it has taken its transaction, '
    'or the commit of that, away. Leave the transaction manager alone.')


AT_ODDS = (
    'The job has changed one database by two connections, or has undone '
    'something there. None of that can be committed: each would wait for the '
    'other one, for ever. Give what is to be committed apart a transaction '
    'manager of its own, db.open(transaction.TransactionManager()).')


class Session:
    """An open connection, and the manager of its transactions.

    connection -- that of the database with the root folder.
    manager -- TransactionManager; the current one of the thread meanwhile.
    """

    def __init__(self, db):
        self.manager = PrivateManager()
        self.connection = _opened(db, self.manager)
        self._outer = transaction.manager.manager
        transaction.manager.manager = self.manager

    def begin(self, path, explicit=False):
        """Begin the transaction: see what was committed last.

        explicit -- whether there will be no other one: then the storage is
            not asked for news once more at the end.

        Return the IJobExecution of the service at a path; NoSuchService if
        there is none.  It is good for this transaction.
        """
        self.manager.begin()
        engine = self._find(path)
        if explicit:
            return engine
        # As it is in a request.  A function that aborts, and goes on, is in
        # a new transaction that sees what was committed meanwhile.
        self.manager.explicit = False
        for each in self._connections():
            each.explicit_transactions = False
            each.close = functools.partial(_close, each)
        return engine

    def _find(self, path):
        content = server()
        found = content.find(content.root(self.connection), path)
        engine = interfaces.IJobExecution(found, None)
        if engine is None:
            raise interfaces.NoSuchService(
                f'{"/" + "/".join(path)!r} is no task service: {found!r}.')
        return engine

    def resume(self):
        """Make this the current one again, whatever was made it meanwhile."""
        transaction.manager.manager = self.manager
        self.manager.explicit = False

    def check(self):
        """Raise TaskError unless a commit commits what the job has done.

        The next commit raises it if the transaction says of itself what
        cannot be stored.  Call `confirm` after that.
        """
        self._commits = False
        self._pid = os.getpid()
        for each in self._connections():
            if (each.opened is None
                    or each.transaction_manager is not self.manager):
                raise TaskError(
                    'The job has closed its connection, or taken it to '
                    'another transaction manager: what it has done cannot be '
                    'committed. Open another connection for that, with a '
                    'transaction manager of its own.')
        # Not a hook, nor a synchronizer: others of these may come after it,
        # and change what it has seen.
        self.manager.get()._commitResources = self._commit_resources

    def _commit_resources(self):
        """Check what is committed, now that nothing can join it any more."""
        # A child that a hook has forked has the parent's file or connection.
        end_child(self._pid)
        txn = self.manager.get()
        if vars(txn).pop('_commitResources', None) is None:
            # A hook has ended the transaction that is being committed.
            raise TaskError(UNCOMMITTED)
        self._check_resources(txn)
        self._commits = True
        self._expect_end(txn)
        txn._commitResources()

    def _check_resources(self, txn):
        signature.check(txn, self.connection.db())
        if _are_at_odds(txn._resources):
            raise TaskError(AT_ODDS)
        # The resources are not compared: their classes are the application's.
        joined = [id(resource) for resource in txn._resources]
        if not all(each._needs_to_join or id(each) in joined
                   for each in self._connections()):
            raise TaskError(UNCOMMITTED)

    def confirm(self):
        """Raise TaskError if there was no commit since `check`."""
        if not self._commits:
            raise TaskError(UNCOMMITTED)

    def _expect_end(self, txn):
        """Let the commit that has begun not ask the storage for news.

        Nobody would look at these before the session is closed; but for a
        hook that is called after the commit.
        """
        if not any(txn.getAfterCommitHooks()):
            for each in self._connections():
                each.explicit_transactions = True

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
        good = (not outcome_of(self.manager.abort).failed
                and all(map(self._is_good, connections)))
        if clean:
            self.forget()
        if not good or outcome_of(self.connection.close).failed:
            _release(connections)

    def forget(self):
        """Forget what is in memory, and no database was told of."""
        for each in self._connections():
            outcome_of(each.cacheMinimize)

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
                and not connection._registered_objects
                and quirks.hears(connection))


def _opened(db, manager):
    """Open a connection; not one that somebody has spoilt."""
    while not quirks.hears(connection := db.open(manager)):
        _release([connection])
    return connection


def _close(connection, primary=True):
    """Refuse to close the connection of a running job.

    It would serve somebody else while the job goes on.
    """
    # Also when another one is closed that belongs to it: a connection to
    # another database, say, which the job was the first one to need.  If the
    # database itself is closed, it has taken the storage away before.
    if primary or connection._storage is not None:
        raise RuntimeError(
            'The connection of a running job is not its own to close; open '
            'another one for what is to be closed.')
    _allow_to_close(connection)
    connection.close(False)


def _are_at_odds(resources):
    """Return whether two of them would commit to one database.

    A storage lets one after the other begin.
    """
    databases = [id(resource._db) for resource in resources
                 if issubclass(type(resource), Connection | TransactionalUndo)]
    return len(databases) > len(set(databases))


def _allow_to_close(connection):
    found = vars(connection).get('close')
    # That of ZODB, once the database is closed, stays.
    if isinstance(found, functools.partial) and found.func is _close:
        del connection.close


def _release(connections):
    """Take leave of a connection that is not given back to its pool."""
    for each in connections:
        outcome_of(quirks.release, each)
        # It would be counted as open as long as somebody refers to it.
        outcome_of(lambda: each.db().pool.all.discard(each))  # noqa: B023
        each.opened = None


@contextlib.contextmanager
def opened_service(db, path):
    """Open the service of that path; see `opened_engine`."""
    with opened_engine(db, path) as engine:
        yield engine.service


@contextlib.contextmanager
def opened_engine(db, path, explicit=False):
    """Open the IJobExecution of the service of that path.

    explicit -- see Session.begin.

    That is in a new transaction.  It is aborted at the end, unless it was
    committed.  It is the current one of the thread; the one that was current
    before is put aside.

    Raise NoSuchService if there is none.
    """
    session = Session(db)
    clean = True
    try:
        yield session.begin(path, explicit)
        clean = False
    finally:
        session.close(clean)
