"""A database server, a process that adds jobs, and those that run them."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from gocept.async_.tests import celerystage
from gocept.async_.tests import workerstage
from gocept.async_.tests.hostile import application
from gocept.async_.tests.hostile import clock
from gocept.async_.tests.hostile.kinds import CELERY
from gocept.async_.tests.hostile.kinds import FOLDER
from gocept.async_.tests.hostile.kinds import THREADS
from gocept.async_.tests.hostile.kinds import WORKER
from gocept.async_.tests.interpreter import environment
from gocept.async_.tests.workerstage import Process
from gocept.async_.tests.workerstage import free_port
from gocept.async_.tests.workerstage import until


# Seconds until an answer that does not come has failed.
PATIENCE = 60.0

# What the processes of one run have in their environment.
MARK = 'HOSTILE_RUN'

CODE = Path(__file__).parent


class NoAnswer(Exception):
    """A host has ended, or could not do what it was asked for."""


class Host(Process):
    """See the module `host`.  Only one thread may ask at a time."""

    def __init__(self, stack, configuration, role, variables):
        super().__init__(
            stack, sys.executable, '-m', 'gocept.async_.tests.hostile.host',
            str(configuration), role, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True,
            variables=variables)
        self.answer()

    def answer(self):
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise NoAnswer(f'The host has ended: {self.complaints[-2000:]}')
        answer = json.loads(line)
        if isinstance(answer, dict) and 'error' in answer:
            raise NoAnswer(answer['error'])
        return answer

    def ask(self, *request):
        try:
            self.process.stdin.write(json.dumps(request) + '\n')
            self.process.stdin.flush()
        except OSError as error:
            raise NoAnswer(f'The host has ended: {error}') from error
        return self.answer()


class FileServer:
    """No server: a FileStorage, which one process has for itself."""

    def __init__(self, stack, folder):
        self.section = workerstage.FileStorage(folder).section


class Stage:
    """A folder, a database, and a host; then those that run the jobs.

    place -- where the jobs are run: THREADS, WORKER or CELERY.
    server -- of the database; called with an ExitStack and a folder.
    make_broker -- the same for the broker of Celery.
    """

    def __init__(self, stack, place=THREADS, make_server=None,
                 make_broker=celerystage.Valkey, data=None):
        self._stack = stack
        self.place = place
        self.folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix='hostile'))
        # Whatever was not ended before that.
        stack.callback(self.processes_left, 0.0)
        self._copy_clock()
        make_server = make_server or (
            FileServer if place == THREADS else workerstage.ZeoServer)
        self.server = make_server(stack, data or self.folder)
        self.broker = make_broker(
            stack, self.folder) if place == CELERY else None
        self.configuration = application.write(
            self.folder, place, self.server.section,
            self.broker and self.broker.url)
        self._old = application.write(
            self.folder, 'old', self.server.section)
        self.host = None
        # That of the host; see `environment`.
        self.clock = None

    def _copy_clock(self):
        self.early = Path(self.folder, 'early')
        self.early.mkdir()
        shutil.copy(clock.__file__, self.early / 'sitecustomize.py')

    def environment(self, code='after', clock=None):
        """Return that of a process.

        code -- `after`, or `before` for the code of yesterday.
        clock -- path of the file by which its clock jumps.
        """
        variables = {**environment(), FOLDER: self.folder, MARK: self.folder,
                     celerystage.VARIABLE: str(self.configuration)}
        path = [str(CODE / code), variables['PYTHONPATH']]
        if clock is not None:
            variables['HOSTILE_CLOCK'] = str(clock)
            path.insert(0, str(self.early))
        variables['PYTHONPATH'] = os.pathsep.join(path)
        return variables

    def start_host(self, code='after', role=None):
        """Start the host, which in threads runs the jobs, too.

        Raise NoAnswer if it ends at once.
        """
        role = role or ('run' if self.place == THREADS else 'add')
        self.stop_host()
        configuration = self._old if role == 'old' else self.configuration
        self.host = Host(self._stack, configuration, role,
                         self.environment(code, self.clock))
        return self.host

    def stop_host(self):
        """End the host regularly.  Return its exit code."""
        if self.host is None:
            return None
        host, self.host = self.host, None
        if host.process.poll() is None:
            host.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            host.wait(PATIENCE)
        host.kill()
        return host.process.returncode

    def log(self):
        """Return what is in the log of all processes."""
        path = Path(self.folder, 'event.log')
        return path.read_text(errors='replace') if path.exists() else ''

    def keep_logs(self, folder):
        """Copy what the processes have written to a folder."""
        os.makedirs(folder, exist_ok=True)
        for name in ('calls', 'lies', 'traces', '*.log'):
            for path in Path(self.folder).glob(name):
                shutil.copy(path, folder)

    def processes(self):
        """Return the ids and commands of all processes of this run."""
        found = {}
        for entry in Path('/proc').iterdir():
            if entry.name.isdecimal() and self._is_ours(entry):
                with contextlib.suppress(OSError):
                    found[int(entry.name)] = entry.joinpath(
                        'cmdline').read_bytes().replace(b'\0', b' ').decode(
                            errors='replace')[-200:]
        return found

    def _is_ours(self, entry):
        with contextlib.suppress(OSError):
            return f'{MARK}={self.folder}'.encode() in entry.joinpath(
                'environ').read_bytes()
        return False

    def processes_left(self, patience=10.0):
        """Return those that have not ended by themselves; and end them."""
        end = time.monotonic() + patience
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.2)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left


class WorkerSlot:
    """An async-worker that is started again whenever it has ended."""

    def __init__(self, stage, stack, *options, clock=None, threads=None):
        self._stage = stage
        self._stack = stack
        self._options = options
        self._clock = clock
        self.port = free_port()
        self.worker = None
        self.deaths = -1

    def keep(self):
        """Start it if it does not run.  Return whether it did."""
        if self.worker is not None and self.worker.process.poll() is None:
            return True
        self.deaths += 1
        self.worker = Process(
            self._stack, sys.executable, '-m', 'gocept.async_.worker',
            str(self._stage.configuration), '--health', str(self.port),
            *self._options, stdout=subprocess.DEVNULL, start_new_session=True,
            variables=self._stage.environment(clock=self._clock))
        return False

    def ready(self):
        """Return the HTTP status of /ready; None without an answer."""
        with contextlib.suppress(OSError, ValueError):
            return workerstage.get_json(self.port, '/ready')[0]
        return None

    def wait_until_ready(self):
        until(lambda: self.keep() and self.ready() == 200, 'a ready worker',
              PATIENCE)

    def children(self):
        """Return the ids of its children."""
        pid = self.worker.pid
        with contextlib.suppress(OSError):
            return [int(child) for child in Path(
                f'/proc/{pid}/task/{pid}/children').read_text().split()]
        return []

    def kill(self):
        self.worker.process.kill()
        self.worker.wait()

    def stop(self):
        """End it regularly.  Return its exit code; None: it did not end."""
        if self.worker.process.poll() is None:
            self.worker.signal(signal.SIGTERM)
        try:
            return self.worker.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            celerystage.kill_group(self.worker.process)
            return None

    def log(self):
        return self.worker.complaints


class CelerySlot(WorkerSlot):
    """A Celery worker that is started again whenever it has ended.

    pool -- `threads` or `prefork`.
    """

    def __init__(self, stage, stack, pool, clock=None):
        super().__init__(stage, stack, clock=clock)
        self.pool = pool
        self._log = Path(stage.folder, f'celery-{pool}.log')

    def keep(self):
        if self.worker is not None and self.worker.process.poll() is None:
            return True
        self.deaths += 1
        with self._log.open('a') as log:
            self.worker = Process(
                self._stack, *celerystage.COMMAND, 'worker', '-P', self.pool,
                '-c', '2', '-n', f'{self.pool}{self.deaths}@localhost',
                '-l', 'INFO', '--without-gossip', '--without-mingle',
                stdout=log, start_new_session=True,
                variables=self._stage.environment(clock=self._clock))
        return False

    def ready(self):
        """Return 200 as soon as it was ready once."""
        return 200 if self.log().count(' ready.') > self.deaths else None

    def kill(self):
        celerystage.kill_group(self.worker.process)

    def log(self):
        return self._log.read_text(errors='replace') \
            + self.worker.complaints


def start_crew(stage, stack, clock=None):
    """Start what runs the jobs of a stage.  Return slots.

    clock -- path of a file; the clock of the last one jumps by it.
    """
    if stage.place == WORKER:
        slots = [WorkerSlot(stage, stack, '--grace', '10'),
                 WorkerSlot(stage, stack, '--grace', '10', clock=clock)]
    elif stage.place == CELERY:
        slots = [CelerySlot(stage, stack, 'prefork'),
                 CelerySlot(stage, stack, 'threads', clock=clock)]
    else:
        slots = []
    for slot in slots:
        slot.keep()
    for slot in slots:
        slot.wait_until_ready()
    return slots
