"""Workers that are started again whenever they have ended."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

from gocept.async_.tests import celerystage
from gocept.async_.tests import workerstage
from gocept.async_.tests.hostile.kinds import CELERY
from gocept.async_.tests.hostile.kinds import WORKER
from gocept.async_.tests.hostile.stage import PATIENCE
from gocept.async_.tests.workerstage import Process
from gocept.async_.tests.workerstage import free_port
from gocept.async_.tests.workerstage import until


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
            self._stack, sys.executable, '-m', 'gocept.async_.worker.command',
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


def start_slots(stage, stack, clock=None):
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
