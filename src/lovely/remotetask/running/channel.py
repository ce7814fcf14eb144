"""The channel of PostgreSQL: LISTEN and NOTIFY.

On connections of their own, and never in a transaction: a NOTIFY in one takes
a lock on the whole server when that is committed.
"""

import contextlib
import hashlib

import zope.component
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.running import quirks


# What PostgreSQL shows as the name of the application.
APPLICATION = 'lovely.remotetask'

_registry = zope.component.getGlobalSiteManager()


def channel_of(storage):
    """Return the IChannel of a storage, None if it has none."""
    found = _registry.queryAdapter(storage, interfaces.IChannel)
    if found is None:
        adapter = quirks.postgresql_of(storage)
        if adapter is not None and _driver(adapter) in RECEIVERS:
            found = PostgreSQL(adapter)
    return found


@zope.interface.implementer(interfaces.IChannel)
class PostgreSQL:
    """That of RelStorage; see IChannel.

    adapter -- RelStorage's, of the open storage.  It knows how to connect,
        and which of several servers is in charge.
    """

    def __init__(self, adapter):
        self._adapter = adapter

    def open(self):
        """See IChannel."""
        return Connection(self._adapter)


@zope.interface.implementer(interfaces.IChannelConnection)
class Connection:
    """See IChannelConnection."""

    def __init__(self, adapter):
        self._newest = adapter.poller.get_current_tid
        self._receive = RECEIVERS[_driver(adapter)]
        with contextlib.ExitStack() as failed:
            self._connection, self._cursor = adapter.connmanager.open(
                application_name=APPLICATION)
            failed.callback(self.close)
            # Each statement is a transaction.
            self._connection.autocommit = True
            self._cursor.execute('SELECT pg_backend_pid(), current_schema()')
            self._pid, schema = self._cursor.fetchone()
            failed.pop_all()
        # PostgreSQL keeps databases apart; a database may have several
        # applications, each in a schema.  The name needs no quotes.
        self._name = f'lovely_remotetask_{_digest(str(schema).encode())}'

    def listen(self):
        """See IChannelConnection."""
        self._cursor.execute(f'LISTEN {self._name}')

    def fileno(self):
        """See IChannelConnection."""
        return _socket(self._connection).fileno()

    def receive(self):
        """See IChannelConnection."""
        return [word for pid, word in self._receive(
            self._connection, self._cursor) if pid != self._pid]

    def send(self, words):
        """See IChannelConnection."""
        # In one statement, and so in one transaction.
        calls = ', '.join(['pg_notify(%s, %s)'] * len(words))
        self._cursor.execute(f'SELECT {calls}', [
            part for word in words for part in (self._name, word)])
        self._cursor.fetchall()

    def newest(self):
        """See IChannelConnection."""
        return self._newest(self._cursor)

    def close(self):
        """See IChannelConnection."""
        self._connection.close()


def word_for(oid):
    """Return the word for a service: it tells nobody anything else.

    oid -- bytes, the object id of the service.
    """
    return _digest(oid)


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


# Drivers: what they have received, as pairs of a process id and a text

def _driver(adapter):
    return getattr(adapter.driver, 'MODULE_NAME', None)


def _socket(connection):
    # The socket of pg8000 has no public name.
    return getattr(connection, '_usock', connection)


def _of_psycopg2(connection, cursor):
    connection.poll()
    notices = connection.notifies
    found = [(each.pid, each.payload) for each in notices]
    del notices[:]
    return found


def _of_pg8000(connection, cursor):
    # pg8000 reads nothing but answers, and what comes before these.
    cursor.execute('SELECT 1')
    cursor.fetchall()
    notices = connection.notifications
    found = [(pid, payload) for pid, _, payload in notices]
    notices.clear()
    return found


RECEIVERS = {'psycopg2': _of_psycopg2, 'psycopg2cffi': _of_psycopg2,
             'pg8000': _of_pg8000}
