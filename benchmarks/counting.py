"""A database that counts the commits of this process."""

import ZODB
from ZODB.Connection import Connection


class CountingConnection(Connection):

    commits = 0

    def tpc_finish(self, txn):
        super().tpc_finish(txn)
        CountingConnection.commits += 1


class CountingDB(ZODB.DB):

    klass = CountingConnection


def commits():
    """Return how many transactions stored something, in all threads."""
    return CountingConnection.commits
