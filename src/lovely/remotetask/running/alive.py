"""Whether the databases of an application answer, and take changes.

What a client has in its cache says nothing of that: each database is asked.
"""

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import private_connection
from lovely.remotetask.running import quirks


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
        outcome = outcome_of(_ask, database, called, seen, doubt)
        if outcome.failed:
            raise NoSignOfLife(
                f'{called}: {outcome.error or outcome.errorClass}'
                ) from outcome.exception


def _ask(database, called, seen, doubt):
    doubt(f'{called} does not answer')
    quirks.ask_for_answer(database.storage)
    last = quirks.last_transaction(database.storage)
    is_idle = last is None or seen.get(called, last) == last
    seen[called] = last
    # Storages without news of others are polled when a transaction begins.
    with private_connection(database) as connection:
        txn = connection.transaction_manager.begin()
        if is_idle and not connection.isReadOnly():
            doubt(f'{called} takes no changes')
            _prepare(connection, txn)


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
