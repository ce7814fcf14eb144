"""Counts the commits of this process, and what processors complain of."""

import logging
import sys

import ZODB
from ZODB.Connection import Connection


class CountingConnection(Connection):

    commits = failed = 0

    def tpc_finish(self, txn):
        super().tpc_finish(txn)
        CountingConnection.commits += 1

    def tpc_abort(self, txn):
        # Called for a commit that was begun and has failed.
        CountingConnection.failed += 1
        super().tpc_abort(txn)


class CountingDB(ZODB.DB):

    klass = CountingConnection


def commits():
    """Return how many transactions stored something, in all threads."""
    return CountingConnection.commits


def failed():
    """Return how many commits met a conflict, in all threads."""
    return CountingConnection.failed


class Complaints(logging.Handler):
    """Counts what processors log in place of a step; prints each kind once.

    With several processors that is mostly a batch of claims that met too
    many conflicts, and is tried again a little later.
    """

    def __init__(self):
        super().__init__(logging.WARNING)
        self.number = 0
        self._seen = set()

    def emit(self, record):
        self.number += 1
        text = record.getMessage().strip()
        kind = text.rpartition('\n')[2][:60]
        if kind not in self._seen:
            self._seen.add(kind)
            print(text, file=sys.stderr)


complaints = Complaints()


def count_complaints():
    log = logging.getLogger('lovely.remotetask.processor')
    log.addHandler(complaints)
    log.propagate = False
