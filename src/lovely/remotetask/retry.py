"""What is tried again: after which pauses, and in transactions of its own."""

import contextlib
import random
import time

import transaction
from transaction.interfaces import TransientError

from lovely.remotetask.foreign.outcome import outcome_of


# A wait is doubled so often at most: it is longer than any limit by then, and
# a power of two that is much greater is no float any more.
MAX_DOUBLED = 100

# Seconds before a private transaction is tried again, at first and at most.
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.3


def doubled(first, longest, number, spread=0.0):
    """Return how many seconds to wait before something is tried again.

    first, longest -- seconds: twice as much each time, up to the longest.
    number -- int, how often it was waited for already.
    spread -- 0 to 1, by which part the wait may be shorter, at random: so
        that all who have met do not meet again.

    Exponential backoff with jitter (Marc Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """
    limit = min(longest, first * 2 ** min(number, MAX_DOUBLED))
    if not spread:
        return limit
    return random.uniform(limit * (1 - spread), limit)


class Pauses:
    """Seconds to wait after each of some failures that follow each other.

    See `doubled`.
    """

    def __init__(self, first: float, longest: float,
                 spread: float = 0.0) -> None:
        self._first = first
        self._longest = longest
        self._spread = spread
        self.reset()

    def reset(self) -> None:
        """Begin with the first one again."""
        self._number = 0

    def next(self) -> float:
        """Return how many seconds to wait now."""
        found = doubled(
            self._first, self._longest, self._number, self._spread)
        self._number += 1
        return found


def is_transient(outcome):
    """Return whether a call that has failed may go well the next time.

    outcome -- an Outcome.
    """
    # Without a transaction of the thread nobody could be asked.
    return outcome.retryable or outcome.is_a(TransientError)


def again(call, attempts, pauses=None, patience=float('inf')):
    """Call something until it does not fail for a transient reason.

    call -- returns an Outcome: only where its transaction is there still can
        the reason be told.  It begins the transaction, and ends it.
    attempts -- how often at most.
    pauses -- Pauses in between; none by default.
    patience -- seconds after which it is not tried again.

    Return the value; raise the exception if all fail.
    """
    end = time.monotonic() + patience
    for left in reversed(range(attempts)):
        outcome = call()
        if not outcome.failed:
            return outcome.value
        if not (left and is_transient(outcome)) or time.monotonic() > end:
            break
        if pauses is not None:
            # Whoever was quicker needs a moment too.
            time.sleep(pauses.next())
    raise outcome.exception


class PrivateManager(transaction.TransactionManager):
    """Aborts the transaction there is; there may be none.

    Also ZODB aborts it, when the database is closed by another thread.
    """

    def __init__(self):
        # Explicit, so that the storage is asked nothing while the database
        # has a connection that nobody else holds: if that failed, it would
        # never be given back.
        super().__init__(explicit=True)

    def abort(self):
        if self._txn is not None:
            super().abort()


@contextlib.contextmanager
def private_connection(db):
    """Open a connection with a transaction manager of its own.

    Not in the transaction of the thread, which belongs to the caller: it may
    be in the middle of something.  The transaction is to be begun; what is
    not committed is aborted at the end.
    """
    manager = PrivateManager()
    connection = db.open(manager)
    try:
        yield connection
    finally:
        manager.abort()
        connection.close()


def in_private_transaction(db, call, attempts, then=None):
    """Call ``call(connection)`` in a transaction of its own, commit that.

    attempts -- how often it is tried, each time from what was committed last.
    then -- called with what it has returned, once that is committed.

    Return what the last one of them returns.
    """
    return again(lambda: outcome_of(_call_in_private, db, call, then),
                 attempts, Pauses(FIRST_PAUSE, LONGEST_PAUSE, 1.0))


def _call_in_private(db, call, then):
    with private_connection(db) as connection:
        manager = connection.transaction_manager
        manager.begin()
        found = call(connection)
        manager.commit()
        if then is None:
            return found
        manager.begin()
        return then(found)
