"""How far one database of an application may lag behind another.

A ZEO client is told of transactions by its server, and has a connection for
each storage.  So what was committed first may be seen last.
"""

from lovely.remotetask.running import quirks


def catch_up(database):
    """See in the other databases what came before what is seen in this one.

    database -- a ZODB.DB.

    Takes one request to the server for each other database that is served by
    ZEO, none for others: they look when a transaction begins.  That has to be
    after this.  Raise ClientDisconnected if a server does not answer.
    """
    for other in database.databases.values():
        if other is not database:
            ask(other)


def ask(database):
    """See in a database what was committed there by now.

    As `catch_up`, of one database: a client that has lost its server shows
    what it has in its cache.
    """
    quirks.ask_server(database.storage)
