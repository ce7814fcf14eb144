"""The storages that are measured: each in a temporary folder, with a server.

Servers listen on free ports of the loopback interface and end with `close`.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ZODB.FileStorage

from counting import CountingDB


# Seconds a server has to start, or to end.
PATIENCE = 30

POSTGRESQL = ('initdb', 'postgres')


class Missing(Exception):
    """A storage cannot be measured here; the message says why."""


class FileStorage:
    """A Data.fs, opened by one process.

    shared -- whether several processes can use such a storage.
    tells -- whether these are told of commits.
    """

    name = 'filestorage'
    shared = False
    tells = True

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix='benchmark-'))
        self.path = self.folder / 'Data.fs'

    def open(self):
        """Return a DB; of a shared storage, each call is a client more."""
        return CountingDB(ZODB.FileStorage.FileStorage(str(self.path)))

    def size(self):
        """Return how many bytes are stored, all revisions."""
        return self.path.stat().st_size

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class ZEO(FileStorage):
    """A ZEO server, a process of its own, in front of a Data.fs.

    It is started without PYTHONPATH: it need not import lovely.remotetask.
    """

    name = 'zeo'
    shared = True

    def __init__(self):
        if importlib.util.find_spec('ZEO') is None:
            raise Missing('ZEO is not installed: pip install ZEO.')
        super().__init__()
        self.address = '127.0.0.1', free_port()
        self.server = subprocess.Popen(
            [sys.executable, '-I', '-m', 'ZEO.runzeo',
             '-a', '{}:{}'.format(*self.address), '-f', str(self.path)],
            cwd=self.folder, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        _wait_for(self.address)

    @property
    def spec(self):
        """What `client` needs, in another process."""
        return ['zeo', *self.address]

    @property
    def section(self):
        """What a zope.conf needs: a line before all, and a section."""
        return '', ('<zeoclient>\n    server {}:{}\n  </zeoclient>'
                    .format(*self.address))

    def open(self):
        return client(self.spec)

    def close(self):
        _end(self.server)
        super().close()


class RelStorage:
    """RelStorage with history on a PostgreSQL server of its own."""

    name = 'relstorage'
    shared = tells = True

    def __init__(self):
        _check_relstorage()
        self.folder = Path(tempfile.mkdtemp(prefix='benchmark-'))
        self.owner = _server_owner(self.folder)
        self.port = free_port()
        self._run_as_owner(
            'initdb', '-D', 'data', '-A', 'trust', '-U', 'benchmark', '-N')
        self.server = self._start()
        _wait_for(('127.0.0.1', self.port))
        _connect_patiently(self.dsn).close()

    @property
    def dsn(self):
        return (f'host=127.0.0.1 port={self.port} user=benchmark '
                f'dbname=postgres')

    @property
    def spec(self):
        return ['relstorage', self.dsn]

    @property
    def section(self):
        return '%import relstorage', (
            f'<relstorage>\n    <postgresql>\n      dsn {self.dsn}\n'
            f'    </postgresql>\n  </relstorage>')

    def open(self):
        return client(self.spec)

    def size(self):
        """Return how many bytes the states of all revisions have.

        The files of a PostgreSQL server grow in steps.
        """
        with contextlib.closing(_connect_patiently(self.dsn)) as connection:
            cursor = connection.cursor()
            cursor.execute('SELECT sum(state_size) FROM object_state')
            return int(cursor.fetchone()[0])

    def transactions(self):
        """Return how many transactions the server has ended, for anybody.

        It counts those of a session late: when that has its next one.
        """
        with contextlib.closing(_connect_patiently(self.dsn)) as connection:
            cursor = connection.cursor()
            cursor.execute(
                'SELECT sum(xact_commit + xact_rollback)'
                ' FROM pg_stat_database WHERE datname = current_database()')
            return int(cursor.fetchone()[0])

    def close(self):
        _end(self.server)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self):
        return subprocess.Popen(
            ['postgres', '-D', 'data', '-p', str(self.port),
             '-k', str(self.folder), '-c', 'listen_addresses=127.0.0.1'],
            **self._as_owner())

    def _run_as_owner(self, *command):
        subprocess.run(command, check=True, **self._as_owner())

    def _as_owner(self):
        result = {'cwd': self.folder, 'stdout': subprocess.DEVNULL,
                  'stderr': subprocess.DEVNULL}
        if self.owner is not None:
            result.update(user=self.owner.pw_uid, group=self.owner.pw_gid,
                          extra_groups=[])
        return result


class Sqlite(FileStorage):
    """RelStorage on files, without a server: nobody is told of a commit."""

    name = 'sqlite'
    shared = True
    tells = False

    def __init__(self):
        _check_module('relstorage')
        super().__init__()

    @property
    def spec(self):
        return ['sqlite', str(self.folder)]

    def open(self):
        return client(self.spec)


STORAGES = {class_.name: class_ for class_ in (FileStorage, ZEO, RelStorage)}


@contextlib.contextmanager
def started(name):
    """Start a storage that is empty; end it, and delete it."""
    storage = STORAGES[name]()
    try:
        yield storage
    finally:
        storage.close()


def client(spec, **options):
    """Return a new client of a shared storage, in whatever process.

    options -- of a client of ZEO.
    """
    if spec[0] == 'zeo':
        import ZEO.ClientStorage
        storage = ZEO.ClientStorage.ClientStorage(
            tuple(spec[1:]), wait=True, wait_timeout=PATIENCE, **options)
    else:
        from relstorage.storage import RelStorage as Storage
        storage = Storage(_adapter(*spec))
    # The name of a database that has none in zope.conf.
    return CountingDB(storage, database_name='')


def _adapter(name, where):
    if name == 'sqlite':
        from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
        return Sqlite3Adapter(where, {})
    from relstorage.adapters.postgresql import PostgreSQLAdapter
    return PostgreSQLAdapter(where)


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def _check_relstorage():
    for module in ('relstorage', 'psycopg2'):
        _check_module(module)
    for program in POSTGRESQL:
        if shutil.which(program) is None:
            raise Missing(
                f'PostgreSQL\'s program {program} is not on the PATH.')


def _check_module(name):
    if importlib.util.find_spec(name) is None:
        raise Missing(
            f'{name} is not installed: pip install RelStorage '
            f'psycopg2-binary.')


def _server_owner(folder):
    """Return whom PostgreSQL runs as, None if as we do; it refuses root."""
    if os.geteuid() != 0:
        return None
    owner = pwd.getpwnam('nobody')
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return owner


def _wait_for(address):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(address, 1).close()
            return
        time.sleep(0.05)
    raise Missing(f'No server answered at {address[0]}:{address[1]}.')


def _connect_patiently(dsn):
    import psycopg2
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return psycopg2.connect(dsn)
        except psycopg2.OperationalError:
            # It is starting up.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _end(server):
    # For PostgreSQL this is the "fast" way to shut down.
    server.send_signal(2)
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
