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
from gocept.async_.tests.interpreter import environment
from gocept.async_.tests.workerstage import Process


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
