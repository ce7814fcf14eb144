"""Running jobs must not commit; see docs/design.rst."""

import contextlib

import transaction

from lovely.remotetask.task import TaskError


class CommitRefusal:
    """Makes every commit of this thread an error, until lifted.

    A function that commits would store half of its effects under a job that
    is not completed; run again after a crash, it would store them twice.
    """

    lifted = False
    refused = None

    def lift(self):
        # The function may have swallowed the error.
        if transaction.get() is self.refused:
            self._refuse()
        self.lifted = True

    def newTransaction(self, txn):
        txn.addBeforeCommitHook(self._refuse)

    def beforeCompletion(self, txn):
        pass

    def afterCompletion(self, txn):
        # Nobody is told of the one that an abort is followed by.
        if not self.lifted:
            self.newTransaction(transaction.get())

    def _refuse(self):
        if self.lifted:
            return
        self.refused = transaction.get()
        # The hook is gone when it was called once.
        self.refused.doom()
        raise TaskError(
            'A running job must not commit: its effects are committed '
            'together with its status when the function returns. Queue '
            'further jobs, or use savepoints.')


@contextlib.contextmanager
def commit_refused():
    refusal = CommitRefusal()
    # The manager keeps a weak reference, and tells us at once of the
    # transaction that has begun already.
    transaction.manager.registerSynch(refusal)
    try:
        yield refusal
    finally:
        transaction.manager.unregisterSynch(refusal)
