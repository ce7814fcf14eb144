"""What async-worker depends on fails; it tells the truth, and ends in time.

`test_worker` has what takes seconds; this is part of::

    python3 bootstrap.py faults
"""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gocept.async_.tests.workerstage import PostgreSQL
from gocept.async_.tests.workerstage import Sqlite
from gocept.async_.tests.workerstage import Stage
from gocept.async_.tests.workerstage import Worker
from gocept.async_.tests.workerstage import ZeoServer
from gocept.async_.tests.workerstage import find_postgresql
from gocept.async_.tests.workerstage import until


# Seconds within which a fault is seen, and a process ends beyond its grace.
SEEN = 15.0
ENDED = 20.0

# Those of the workers here.
GRACE = 1.0
PATIENCE = 4.0


class Scene:
    """A server, a process that adds jobs, and a worker."""

    def __init__(self, stack, make_server=ZeoServer, *options, **more):
        self.stack = stack
        self.stage = Stage(stack, make_server)
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.heartbeat = self.folder / 'beats' / 'heartbeat'
        self.heartbeat.parent.mkdir()
        self.number = 0
        self.worker = Worker(
            stack, self.stage.configuration, '--grace', str(GRACE),
            '--patience', str(PATIENCE), '--heartbeat', str(self.heartbeat),
            *options, **more).wait_until_ready()

    def add(self):
        """Add a job; it waits, if nobody can run it."""
        self.number += 1
        self.stage.adder.ask('add', 'count', f'job-{self.number}')

    def add_waiting(self):
        """Add a job that runs until it is let go.  Return when it runs."""
        self.number += 1
        path = self.folder / f'go-{self.number}'
        self.stage.adder.ask(
            'add', 'wait_for', str(path), f'job-{self.number}')
        until(Path(f'{path}.begun').exists, 'a job that has begun')
        return path

    def check(self):
        """Each job has one effect."""
        self.stage.restart_adder()
        self.stage.adder.wait_until_done()
        counts = self.stage.adder.ask('counts')
        expected = {f'job-{number + 1}': 1 for number in range(self.number)}
        assert counts == expected, counts

    def wait_until_not_ready(self, problem=''):
        """Return after how many seconds /ready is 503 and says so."""
        began = time.monotonic()
        until(lambda: self.problem() is not None
              and problem in self.problem(), f'503 with {problem}', SEEN)
        took = time.monotonic() - began
        self.assert_no_heartbeat()
        return took

    def problem(self):
        """Return what the first process complains of; None if all is well.
        """
        status, found = self.worker.health()
        if status == 200:
            return None
        return found['children'][0].get('problem') or ''

    def assert_no_heartbeat(self):
        # What was begun before ends.
        time.sleep(1)
        os.utime(self.heartbeat, (0, 0))
        time.sleep(2)
        assert self.heartbeat.stat().st_mtime == 0, 'there is a heartbeat'

    def wait_until_given_up(self):
        """Wait until /live says that it is stuck, or another one is there.
        """
        before = self.worker.children()
        until(lambda: self.worker.health('/live')[0] == 503
              or self.worker.children() != before, 'a stuck process',
              PATIENCE + SEEN)

    def wait_until_ready(self):
        """Return after how many seconds the worker is ready."""
        began = time.monotonic()
        self.worker.wait_until_ready()
        return time.monotonic() - began


def _alive(pids):
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if ') Z ' not in Path(f'/proc/{pid}/stat').read_text():
                found.append(pid)
    return found


@contextlib.contextmanager
def _stopped(pids):
    """They stand still meanwhile."""
    pids = list(pids)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def _limited(pid, kind, soft):
    """A process has a lower limit meanwhile."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (soft, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, kind, before)


def database_killed(say):
    """The ZEO server is killed, and comes back; the processes stay."""
    with contextlib.ExitStack() as stack:
        scene = Scene(stack)
        before = scene.worker.children()
        scene.add()
        scene.stage.server.stop()
        seen = scene.wait_until_not_ready('the database')
        scene.stage.server.start()
        back = scene.wait_until_ready()
        assert scene.worker.children() == before
        scene.check()
        say(f'/ready was 503 after {seen:.1f} s, 200 again after {back:.1f} '
            f's')


def _database_frozen(say, make_server):
    with contextlib.ExitStack() as stack:
        scene = Scene(stack, make_server)
        scene.add()
        scene.stage.adder.wait_until_done()
        with _stopped(scene.stage.server.processes()):
            began = time.monotonic()
            seen = scene.wait_until_not_ready('the database')
            scene.wait_until_given_up()
            stuck = time.monotonic() - began
        back = scene.wait_until_ready()
        scene.check()
        say(f'/ready was 503 after {seen:.1f} s, the process given up by '
            f'{stuck:.1f} s, ready again after {back:.1f} s')


def zeo_frozen(say):
    """The ZEO server stands still: no process waits for it for ever."""
    _database_frozen(say, ZeoServer)


def postgresql_frozen(say):
    """PostgreSQL stands still, with all its sessions."""
    if find_postgresql('initdb') is None:
        say('skipped: there is no PostgreSQL')
        return
    _database_frozen(say, PostgreSQL)


def worker_frozen(say):
    """A process of the worker stands still, and is replaced."""
    with contextlib.ExitStack() as stack:
        scene = Scene(stack)
        pid, = scene.worker.children().values()
        with _stopped([pid]):
            seen = scene.wait_until_not_ready()
            until(lambda: not _alive([pid]), 'its end', PATIENCE + ENDED)
        scene.wait_until_ready()
        scene.add()
        scene.check()
        say(f'/ready was 503 after {seen:.1f} s')


def disk_full(say):
    """The server can write no more, while a job waits."""
    with contextlib.ExitStack() as stack:
        scene = Scene(stack)
        pid, = scene.stage.server.processes()
        children = list(scene.worker.children().values())
        with _stopped(children):
            # So that it cannot be run before the disk is full.
            scene.add()
            size = os.path.getsize(scene.stage.server.path)
            limit = _limited(pid, resource.RLIMIT_FSIZE, size)
            limit.__enter__()
        seen = scene.wait_until_not_ready('service "events": ')
        limit.__exit__(None, None, None)
        back = scene.wait_until_ready()
        scene.check()
        say(f'/ready was 503 after {seen:.1f} s, 200 again after {back:.1f} '
            f's')


def no_descriptors(say):
    """A process of the worker can open nothing any more."""
    with contextlib.ExitStack() as stack:
        scene = Scene(stack)
        pid, = scene.worker.children().values()
        highest = max(map(int, os.listdir(f'/proc/{pid}/fd')))
        with _limited(pid, resource.RLIMIT_NOFILE, highest + 1):
            # Some of the lower numbers may be free.
            seen = scene.wait_until_not_ready('Too many open files')
        scene.wait_until_ready()
        scene.add()
        scene.check()
        say(f'/ready was 503 after {seen:.1f} s')


def sqlite_writer(say):
    """Another process has the write lock of sqlite, and stands still."""
    code = ('import sqlite3, sys\n'
            'db = sqlite3.connect(sys.argv[1], isolation_level=None)\n'
            'db.execute("BEGIN IMMEDIATE")\n'
            'print("locked", flush=True)\n'
            'sys.stdin.read()\n')
    with contextlib.ExitStack() as stack:
        scene = Scene(stack, Sqlite)
        writer = stack.enter_context(subprocess.Popen(
            [sys.executable, '-c', code, scene.stage.server.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        stack.callback(writer.kill)
        writer.stdout.readline()
        with _stopped([writer.pid]):
            seen = scene.wait_until_not_ready('the database')
        writer.kill()
        back = scene.wait_until_ready()
        scene.add()
        scene.check()
        say(f'/ready was 503 after {seen:.1f} s, 200 again after {back:.1f} '
            f's')


def ends_without_database(say):
    """A worker that is to stop ends, though the database never answers."""
    with contextlib.ExitStack() as stack:
        scene = Scene(stack)
        children = list(scene.worker.children().values())
        go = scene.add_waiting()
        with _stopped(scene.stage.server.processes()):
            began = time.monotonic()
            scene.worker.signal(signal.SIGTERM)
            # The job is to be handed back when the grace is over.
            scene.worker.wait(GRACE + ENDED)
            took = time.monotonic() - began
        assert not _alive(children)
        go.touch()
        Worker(stack, scene.stage.configuration).wait_until_ready()
        scene.check()
        say(f'it took {took:.1f} s, with a grace of {GRACE} s')


def orphans_end(say):
    """Processes end whose main process was killed, and the server too."""
    with contextlib.ExitStack() as stack:
        scene = Scene(stack)
        children = list(scene.worker.children().values())
        scene.add_waiting()
        scene.worker.process.kill()
        scene.stage.server.stop()
        began = time.monotonic()
        until(lambda: not _alive(children), 'their end', GRACE + ENDED)
        say(f'it took {time.monotonic() - began:.1f} s')


def orphans_that_start_end(say):
    """So do those that have not yet got hold of their database."""
    with contextlib.ExitStack() as stack:
        scene = Scene(stack)
        with _stopped(scene.stage.server.processes()):
            old, = scene.worker.children().values()
            os.kill(old, signal.SIGKILL)
            pid = until(lambda: next(
                (pid for pid in scene.worker.children().values()
                 if pid not in (None, old)), None), 'another process')
            scene.worker.process.kill()
            until(lambda: not _alive([pid]), 'its end', ENDED)
    say('they do')


def bad_surroundings(say):
    """Nothing that the main process reads, writes or starts ends it."""
    read, write = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, read)
        run = Path(stack.enter_context(tempfile.TemporaryDirectory()), 'run')
        run.mkdir()
        # Nobody reads what it says.
        scene = Scene(stack, ZeoServer, '--pid-file', str(run / 'pid'),
                      stderr=write)
        os.close(write)
        until(scene.heartbeat.exists, 'a heartbeat')
        clients = [socket.create_connection(('127.0.0.1', scene.worker.port))
                   for _ in range(300)]
        # Neither heartbeat nor pid file have a place any more.
        (run / 'pid').unlink()
        run.rmdir()
        scene.heartbeat.unlink()
        scene.heartbeat.parent.rmdir()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(b'x')
            assert scene.worker.is_ready()
            time.sleep(0.5)
        scene.heartbeat.parent.mkdir()
        until(scene.heartbeat.exists, 'another heartbeat')
        no_room_for_processes(scene)
        scene.add()
        scene.check()
        scene.worker.signal(signal.SIGTERM)
        code = scene.worker.wait(GRACE + ENDED)
        for client in clients:
            client.close()
        assert code == 0, code
        say('the worker went on, and ended with exit code 0')


def no_room_for_processes(scene):
    """A process dies while the main one cannot start another."""
    pid, = scene.worker.children().values()
    main = scene.worker.pid
    used = set(map(int, os.listdir(f'/proc/{main}/fd')))
    free = [number for number in range(1000) if number not in used]
    # One is left, and a new process needs several.
    with _limited(main, resource.RLIMIT_NOFILE, free[1]):
        os.kill(pid, signal.SIGKILL)
        time.sleep(5)
        assert scene.worker.process.poll() is None
    scene.wait_until_ready()


SCENARIOS = (database_killed, zeo_frozen, postgresql_frozen, worker_frozen,
             disk_full, no_descriptors, sqlite_writer, ends_without_database,
             orphans_end, orphans_that_start_end, bad_surroundings)
