"""Real servers, a process that adds jobs, and workers, for the tests.

Each is a process of its own, and only those are ended that were started
here.  All listen on the loopback address.
"""

import contextlib
import glob
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from importlib import resources
from pathlib import Path

from gocept.async_.tests.interpreter import environment
from gocept.async_.tests.test_openmetrics import read


# Seconds until something that does not happen has failed; of one process.
PATIENCE = 120.0

CONFIGURATION = '''
site-definition {site}
<zodb>
  pool-size 20
  {storage}
</zodb>
<eventlog>
  level info
  <logfile>
    path {log}
    format %(asctime)s %(process)d %(levelname)s %(name)s %(message)s
  </logfile>
</eventlog>
'''


def until(condition, what, patience=PATIENCE):
    """Return what the condition returns, once it is true."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f'{what}: not within {patience:.0f} s.')


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as found:
        return found.getsockname()[1]


def is_listening(port):
    with contextlib.suppress(OSError), socket.create_connection(
            ('127.0.0.1', port), timeout=1):
        return True
    return False


def get_json(port, path):
    """Return the HTTP status and what a server here answers."""
    return get(port, path, json.load)


def get(port, path, read):
    """Return the HTTP status, and what `read` makes of the response."""
    # No proxy: it could not reach this machine's loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f'http://127.0.0.1:{port}{path}'
    try:
        with opener.open(url, timeout=PATIENCE) as response:
            return response.status, read(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, read(error)


class Process:
    """A process that is ended with an ExitStack at the latest."""

    def __init__(self, stack, *command, variables=None, **options):
        self._complaints = stack.enter_context(
            tempfile.TemporaryFile('w+'))  # noqa: SIM115
        self.process = subprocess.Popen(
            command, text=True, env=variables or environment(),
            **{'stderr': self._complaints, **options})
        stack.callback(self.kill)
        self.pid = self.process.pid

    @property
    def complaints(self):
        # Not by its own position, which the process shares.
        return os.pread(self._complaints.fileno(), 2 ** 20, 0).decode()

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, patience=PATIENCE):
        """Return the exit code."""
        return self.process.wait(patience)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            # A request that nobody could read any more may be left in it.
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class FileStorage:
    """The storage that only one process can use."""

    def __init__(self, folder):
        self.section = (f'<filestorage>\n    path {folder}/Data.fs\n'
                        f'  </filestorage>')


class Server:
    """Serves a database to the application of the tests."""

    site = 'worker.zcml'
    jobs = ''


class ZeoServer(Server):
    """A ZEO server on a file."""

    def __init__(self, stack, folder):
        self._stack = stack
        self._folder = folder
        self.path = f'{folder}/Data.fs'
        self.port = free_port()
        self.section = (f'<zeoclient>\n    server 127.0.0.1:{self.port}\n'
                        f'    max-disconnect-poll 1\n  </zeoclient>')
        self.start()

    def start(self):
        self._process = Process(
            self._stack, sys.executable, '-m', 'ZEO.runzeo',
            *self.arguments(), cwd=self._folder, stdout=subprocess.DEVNULL)
        until(lambda: is_listening(self.port), 'ZEO server')

    def arguments(self):
        return '-a', f'127.0.0.1:{self.port}', '-f', f'{self._folder}/Data.fs'

    def stop(self):
        # Asked to end, it may wait for its clients.
        self._process.kill()

    def processes(self):
        return [self._process.pid]


class ZeoServerOfTwo(ZeoServer):
    """A ZEO server with a storage for the content and one for the jobs.

    jobs -- the section for the database of jobs.
    """

    site = 'workerdatabases.zcml'

    def __init__(self, stack, folder):
        super().__init__(stack, folder)
        self.jobs = (
            f'<zodb jobs>\n  pool-size 20\n  <zeoclient>\n'
            f'    server 127.0.0.1:{self.port}\n    storage jobs\n'
            f'    max-disconnect-poll 1\n  </zeoclient>\n</zodb>\n')

    def arguments(self):
        path = Path(self._folder, 'zeo.conf')
        path.write_text(
            f'<zeo>\n  address 127.0.0.1:{self.port}\n</zeo>\n'
            f'<filestorage 1>\n  path {self._folder}/Data.fs\n'
            f'</filestorage>\n'
            f'<filestorage jobs>\n  path {self._folder}/jobs.fs\n'
            f'</filestorage>\n')
        return '-C', str(path)


class Sqlite(Server):
    """No server at all, but files that several processes use."""

    def __init__(self, stack, folder):
        self.path = f'{folder}/jobs/main.sqlite3'
        self.section = (f'%import relstorage\n  <relstorage>\n    <sqlite3>\n'
                        f'      data-dir {folder}/jobs\n    </sqlite3>\n'
                        f'  </relstorage>')


class PostgreSQL(Server):
    """A PostgreSQL server of an ordinary user, with an empty database."""

    def __init__(self, stack, folder=None):
        self._user = _ordinary_user()
        # A short path: that of its socket has a limit.
        self._folder = tempfile.mkdtemp(prefix='pg')
        stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        if self._user:
            shutil.chown(self._folder, self._user)
        self.port = free_port()
        self.section = (
            f'%import relstorage\n  <relstorage>\n    <postgresql>\n'
            f'      dsn host=127.0.0.1 port={self.port} dbname=postgres '
            f'user=zodb\n    </postgresql>\n  </relstorage>')
        # On the loopback address only, in a folder that nobody else reads.
        self._run('initdb', '-D', f'{self._folder}/data', '-A', 'trust',
                  '-U', 'zodb', '--no-sync', '-E', 'UTF8')
        stack.callback(self.stop)
        self.start()

    def _run(self, program, *arguments):
        done = subprocess.run(
            [*_as_user(self._user), find_postgresql(program), *arguments],
            cwd=self._folder, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=PATIENCE)
        if done.returncode:
            raise AssertionError(f'{program}: {done.stdout}')

    def start(self):
        self._run('pg_ctl', '-D', f'{self._folder}/data', '-w', '-s',
                  '-l', f'{self._folder}/log', '-o',
                  f'-p {self.port} -c listen_addresses=127.0.0.1 '
                  f'-k {self._folder} -F', 'start')

    def stop(self):
        """Stop it, whoever is connected."""
        with contextlib.suppress(AssertionError):
            # It does not run.
            self._run('pg_ctl', '-D', f'{self._folder}/data', '-w', '-s',
                      '-m', 'fast', 'stop')


    def processes(self):
        """Return the ids of the server and of all its sessions."""
        server = Path(self._folder, 'data', 'postmaster.pid')
        server = int(server.read_text().split()[0])
        children = Path(f'/proc/{server}/task/{server}/children')
        return [server, *map(int, children.read_text().split())]


def _ordinary_user():
    """Return who is to run PostgreSQL, which refuses root; None: we do."""
    if os.geteuid() != 0:
        return None
    for name in ('postgres', 'nobody'):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise unittest.SkipTest('There is no ordinary user to run PostgreSQL.')


def _as_user(name):
    if name is None:
        return []
    if shutil.which('setpriv'):
        user = pwd.getpwnam(name)
        return ['setpriv', f'--reuid={user.pw_uid}', f'--regid={user.pw_gid}',
                '--clear-groups', '--']
    return ['runuser', '-u', name, '--']


def find_postgresql(program):
    """Return the path of a program of PostgreSQL, or None."""
    places = [os.path.dirname(shutil.which(program) or ''),
              *sorted(glob.glob('/usr/lib/postgresql/*/bin'), reverse=True)]
    for place in filter(None, places):
        path = os.path.join(place, program)
        # A name on PATH may be a link, without the other programs.
        path = os.path.realpath(path)
        if os.access(path, os.X_OK):
            return path
    return None


def skip_without_postgresql(case):
    """Skip a test whose layer has found no server to start."""
    if case.layer.stage is None:
        case.skipTest('There is no PostgreSQL server; install it '
                      '(Debian, Ubuntu: apt-get install postgresql).')


def write_configuration(folder, section, site='worker.zcml', more=''):
    """Write a zope.conf into the folder.  Return its path.

    site -- name of a file among the tests.
    more -- further sections.
    """
    site = resources.files('gocept.async_.tests').joinpath(site)
    # An import stands outside of sections.
    imports = '%import relstorage' if section.startswith('%import') else ''
    storage = section.removeprefix('%import relstorage\n')
    path = Path(folder, 'zope.conf')
    path.write_text(imports + CONFIGURATION.format(
        site=site, storage=storage, log=f'{folder}/event.log') + more)
    return path


class Adder(Process):
    """A process with the application, that adds jobs and looks at them."""

    def __init__(self, stack, configuration,
                 module='gocept.async_.tests.adder'):
        super().__init__(
            stack, sys.executable, '-m', module,
            str(configuration), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        self._answer()

    def _answer(self):
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise AssertionError(f'no answer: {self.complaints}')
        return json.loads(line)

    def ask(self, *request):
        self.process.stdin.write(json.dumps(request) + '\n')
        self.process.stdin.flush()
        return self._answer()

    def wait_until_done(self, patience=PATIENCE):
        """Wait until all jobs have ended."""
        until(lambda: not self.ask('waiting'), 'all jobs done', patience)


class Stage:
    """A folder, a server of a database, and a process that adds jobs."""

    def __init__(self, stack, make_server):
        self._stack = stack
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.server = make_server(stack, self.folder)
        self.configuration = write_configuration(
            self.folder, self.server.section, self.server.site,
            self.server.jobs)
        self.adder = Adder(stack, self.configuration)
        self.adder.ask('prepare')

    def restart_adder(self):
        self.adder.kill()
        self.adder = Adder(self._stack, self.configuration)

    def log(self):
        return Path(self.folder, 'event.log').read_text()


class Worker(Process):
    """The command async-worker, with its health page."""

    def __init__(self, stack, configuration, *options, health=True, **more):
        self.port = free_port()
        if health:
            options = ('--health', str(self.port), *options)
        super().__init__(
            stack, sys.executable, '-m', 'gocept.async_.worker.command',
            str(configuration), *options, stdout=subprocess.DEVNULL, **more)
        if health:
            # Its children end, too, when it does not.
            until(lambda: is_listening(self.port) or
                  self.process.poll() is not None, 'the health page')

    def kill(self):
        """End it at once, by as many signals as it takes.

        A killed one would leave its children alone for a second, in which
        they would take the jobs of the next test.
        """
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.2)
        super().kill()

    def health(self, path='/ready'):
        """Return the HTTP status and what was answered."""
        return get_json(self.port, path)

    def metrics(self):
        """Return the samples that Prometheus would read, see `read` there."""
        status, text = get(
            self.port, '/metrics', lambda response: response.read())
        assert status == 200, text
        return read(text)

    def is_ready(self):
        return self.health()[0] == 200

    def wait_until_ready(self):
        try:
            until(self.is_ready, 'a worker that is ready')
        except (AssertionError, OSError) as error:
            raise AssertionError(f'{error}\n{self.complaints}') from error
        return self

    def children(self):
        """Return the process ids of the children, by number."""
        return {child['number']: child.get('pid')
                for child in self.health()[1]['children']}
