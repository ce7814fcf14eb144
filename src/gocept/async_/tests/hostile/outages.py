"""What fails around the jobs: disks, servers, processes, clocks, brokers."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import kombu

from gocept.async_.tests import workerstage
from gocept.async_.tests.celerystage import COMMAND as CELERY_COMMAND
from gocept.async_.tests.workerstage import is_listening


BALLAST = 2 ** 20, 4096, 1


class Disk:
    """A small disk that can be full; in memory, where that can be mounted.

    path -- of a folder on it.
    is_small -- whether it could be mounted.
    """

    def __init__(self, stack, megabytes=256):
        self.path = tempfile.mkdtemp(prefix='disk')
        stack.callback(shutil.rmtree, self.path, ignore_errors=True)
        # Short of rights, or of the program.
        self.is_small = shutil.which('mount') is not None and not (
            subprocess.call(
                ['mount', '-t', 'tmpfs', '-o', f'size={megabytes}m',
                 'hostile', self.path], stderr=subprocess.DEVNULL))
        if self.is_small:
            # Lazily: what does not end is found, and told of, elsewhere.
            stack.callback(subprocess.call, ['umount', '-l', self.path])

    @contextlib.contextmanager
    def full(self):
        """Leave no byte on it meanwhile."""
        ballast = Path(self.path, 'ballast')
        try:
            with ballast.open('wb', buffering=0) as target:
                for size in BALLAST:
                    with contextlib.suppress(OSError):
                        while target.write(b'x' * size) == size:
                            pass
            yield
        finally:
            ballast.unlink()


@contextlib.contextmanager
def files_full(pid, path):
    """Let a process make no file larger than one; in place of a full disk.
    """
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(
        pid, resource.RLIMIT_FSIZE, (os.path.getsize(path), hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextlib.contextmanager
def without_descriptors(*pids):
    """Let processes open no file meanwhile."""
    limits = {}
    with contextlib.suppress(ProcessLookupError):
        for pid in pids:
            limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(
                pid, resource.RLIMIT_NOFILE, (0, limits[pid][1]))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


@contextlib.contextmanager
def frozen(*pids):
    """Let processes stand still; who waits for them gets no answer."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class ZeoServer(workerstage.ZeoServer):
    """A ZEO server that can be frozen."""

    def processes(self):
        return [self._process.pid]

    def data(self):
        return f'{self._folder}/Data.fs'

    def is_there(self):
        return self._process.process.poll() is None


class PostgreSQL(workerstage.PostgreSQL):
    """A PostgreSQL server whose data are on a disk."""

    def __init__(self, stack, folder):
        self._disk = folder
        super().__init__(stack)

    def _run(self, program, *arguments):
        folder = Path(self._folder, 'data')
        if program == 'initdb' and not folder.is_symlink():
            place = Path(self._disk, 'data')
            place.mkdir(mode=0o700)
            os.chmod(self._disk, 0o755)
            if self._user:
                shutil.chown(place, self._user)
            folder.symlink_to(place)
        if program == 'pg_ctl' and arguments[-1] == 'start':
            # Else its journal alone would fill the disk.
            options = list(arguments)
            options[options.index('-o') + 1] += (
                ' -c max_wal_size=64MB -c min_wal_size=32MB')
            arguments = options
        super()._run(program, *arguments)

    def processes(self):
        """Return the ids of all its processes."""
        first = int(Path(self._folder, 'data', 'postmaster.pid')
                    .read_text().split()[0])
        children = Path(f'/proc/{first}/task/{first}/children').read_text()
        return [first, *map(int, children.split())]

    def is_there(self):
        return is_listening(self.port)

    def start(self):
        # A full disk has ended it at any moment.
        if not self.is_there():
            super().start()


# Messages that no processor has sent.
GARBAGE = [
    {'body': b'garbage', 'content_type': 'application/x-odd'},
    {'body': b'\xff\xfe', 'content_type': 'application/json',
     'content_encoding': 'utf-8'},
    {'body': b'[', 'content_type': 'application/json',
     'content_encoding': 'utf-8'},
    {'body': [], 'serializer': 'json'},
    {'body': {'task': 5}, 'serializer': 'json'},
    {'body': None, 'serializer': 'json'},
]

RUN = 'gocept.async.run'


def messages(queue):
    """Return messages of Celery's form, in which anything else is odd."""
    tid = '0' * 16
    addresses = [
        (), (1, 2), ('', '++etc++site/default/events', 5, 1, tid),
        ('', '++etc++site/default/events', 'x', 1, tid),
        ('', '++etc++site/default/events', 10 ** 30, 1, tid),
        ('', '++etc++site/default/events', -1, 1, tid),
        ('', '++etc++site/default/events', 5, 1, 'zz'),
        ('', '++etc++site/default/events', 5, 1, 'f' * 16),
        ('', 'no/such/service', 5, 1, tid), ('', '', 5, 1, tid),
        ('other', '++etc++site/default/events', 5, 1, tid),
        (None, None, None, None, None), ({}, [], {}, [], {}),
        ('', '../../etc', 5, 1, tid)]
    found = [(RUN, address, {}) for address in addresses]
    found += [('no.such.task', (), {}), ('celery.chord', (), {}),
              (None, (), {}), ('os.system', ('true',), {})]
    good = addresses[2]
    for headers in (
            {'timelimit': [0.001, 0.001]}, {'timelimit': ['x', {}]},
            {'eta': 'never'}, {'expires': 'yesterday'},
            {'retries': 'x'}, {'eta': '2999-01-01T00:00:00'},
            {'callbacks': 5}, {'group': {}}, {'reply_to': 5},
            {'shadow': 'x' * 10000}):
        found.append((RUN, good, headers))
    return found


def send_garbage(url, queue, random):
    """Send messages that nobody understands to a queue of Celery."""
    with kombu.Connection(url, connect_timeout=2) as connection:
        target = kombu.Queue(queue)
        producer = connection.Producer()
        for _ in range(5):
            producer.publish(
                **random.choice(GARBAGE), exchange='', routing_key=queue,
                declare=[target])
            task, args, headers = random.choice(messages(queue))
            producer.publish(
                [args, {}, {}], serializer='json', exchange='',
                routing_key=queue, correlation_id='x',
                headers={'lang': 'py', 'task': task, 'id': 'x', **headers})


def kill(pid):
    """Kill a process, if it has not ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def purge(environment, queues):
    """Delete all messages that wait, as somebody may do by hand."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [*CELERY_COMMAND, 'purge', '-f', '-Q', ','.join(queues)],
            env=environment, capture_output=True, timeout=60)


def set_clock(path, seconds):
    """Let the clock of a process jump."""
    fresh = Path(f'{path}.new')
    fresh.write_text(str(seconds))
    fresh.rename(path)
    # Seen by then; see `clock`.
    time.sleep(0.2)
