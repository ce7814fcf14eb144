"""Running jobs must not commit; see docs/explanation/design.rst."""

import contextvars
import threading

from lovely.remotetask.task import TaskError


# The CommitRefusal of the run, or of the group of runs, that this context
# belongs to; None in others.
current = contextvars.ContextVar('current', default=None)

# The status of such a transaction, see ITransaction.
COMMITTED = 'Committed'


def is_part_of_run():
    """Return whether the caller is part of what a job commits.

    That is told by the context: a job may have left its interaction.  It may
    also have given its context to another thread, which commits by itself.
    """
    refusal = current.get()
    return (refusal is not None and not refusal.is_committed
            and refusal.thread == threading.get_ident())


def is_behind_commit():
    """Return whether the job that the caller belonged to is committed.

    What comes then, hooks for instance, is no part of the job.
    """
    refusal = current.get()
    return refusal is not None and refusal.is_committed


class CommitRefusal:
    """Makes every commit of a manager's transactions an error, until lifted.

    A function that commits would store half of its effects under a job that
    is not completed; run again after a crash, it would store them twice.

    manager -- TransactionManager; it keeps a weak reference to this.
    is_committed -- whether a transaction that it let through is committed.
    thread -- the identifier of the thread that runs the job.

    The current context is that of what it watches over.
    """

    def __init__(self, manager):
        self._manager = manager
        self._lifted = False
        self._refused = False
        self.is_committed = False
        self.thread = threading.get_ident()
        # Whether the function has aborted what it had done until then.
        self.was_aborted = False
        current.set(self)
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
            self.was_aborted = True
            # Nobody is told of the one that an abort is followed by.
            self.newTransaction(self._manager.get())
        elif txn.status == COMMITTED:
            self.is_committed = True

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
