"""The gate through which all commits of a processor go."""

import threading

import transaction


class ProcessorStopped(Exception):
    """The process ends; nothing may be committed any more."""


class CommitGate:
    """Lets commits through until it is closed.

    The interpreter freezes daemon threads wherever they are when it ends.
    Closing waits for those that are in the middle of a commit.
    """

    def __init__(self):
        self._condition = threading.Condition()
        self._inside = 0
        self._closed = False

    def commit(self):
        """Commit the current transaction; ProcessorStopped if closed."""
        with self._condition:
            if self._closed:
                raise ProcessorStopped('This process is ending.')
            self._inside += 1
        try:
            # Not `transaction.commit`: a test that was run as a job may have
            # put something else there.
            transaction.manager.commit()
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    def close(self, timeout):
        """Let no commit begin any more, wait for those that have begun."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: not self._inside, timeout)
