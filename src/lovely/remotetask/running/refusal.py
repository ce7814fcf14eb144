"""Running jobs must not commit; see docs/design.rst."""

import contextvars

from lovely.remotetask.task import TaskError


# Whether the transaction of the job that this context belongs to is
# committed: what comes then, hooks for instance, is no part of the job.
is_committed = contextvars.ContextVar('is_committed', default=False)

# The status of such a transaction, see ITransaction.
COMMITTED = 'Committed'


class CommitRefusal:
    """Makes every commit of a manager's transactions an error, until lifted.

    A function that commits would store half of its effects under a job that
    is not completed; run again after a crash, it would store them twice.

    manager -- TransactionManager; it keeps a weak reference to this.
    """

    def __init__(self, manager):
        self._manager = manager
        self._lifted = False
        self._refused = False
        # Tells us at once of the transaction that has begun already.
        manager.registerSynch(self)

    def lift(self):
        """Let the next commit through, if none was refused before.

        The function may have swallowed the error; what it meant to commit is
        lost then, and the job is in error whatever it does afterwards.
        """
        if self._refused:
            self._refuse()
        self._lifted = True

    def newTransaction(self, txn):
        txn.addBeforeCommitHook(self._refuse)

    def beforeCompletion(self, txn):
        pass

    def afterCompletion(self, txn):
        if not self._lifted:
            # Nobody is told of the one that an abort is followed by.
            self.newTransaction(self._manager.get())
        elif txn.status == COMMITTED:
            is_committed.set(True)

    def _refuse(self):
        if self._lifted:
            return
        self._refused = True
        # The hook is gone when it was called once.
        self._manager.get().doom()
        raise TaskError(
            'A running job must not commit: its effects are committed '
            'together with its status when the function returns. Queue '
            'further jobs, or use savepoints.')
