"""The examples of docs/howto/deployment.rst are run as they are written."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

from gocept.async_.tests.celerystage import Valkey
from gocept.async_.tests.celerystage import kill_group
from gocept.async_.tests.workerstage import PATIENCE
from gocept.async_.tests.workerstage import Process
from gocept.async_.tests.workerstage import free_port


DOCS = Path(__file__).parents[4] / 'docs'

CONSOLE = re.compile(
    r'^\.\. code-block:: console\n\n((?: {4}.*\n|\n)+)', re.MULTILINE)

# What this machine may use for something else.
PORTS = ('9100', '8099')
BROKER_PORT = '6379'


class DeploymentLayer:
    """A layer of its own: `bin/test` runs it beside others."""


# What is in the traceback of a start that met another one.
COLD_START = 'zope/app/appsetup/'


class Terminal:
    """Does what a reader of the document does, command by command."""

    def __init__(self, stack, folder, replacements):
        self._stack = stack
        self._folder = folder
        self._replacements = replacements
        # Those of another environment, if .ci/run says so.
        programs = os.environ.get(
            'EXAMPLES_BIN', str(Path(sys.executable).parent))
        self._variables = {
            **os.environ,
            'PATH': os.pathsep.join([programs, os.environ['PATH']])}

    def run(self, command):
        """Return what a command prints; nothing if it ends with "&"."""
        for old, new in self._replacements.items():
            command = command.replace(old, new)
        words = shlex.split(command)
        if words[0] == 'cd':
            # The files have been copied.
            return ''
        if words[0] == 'export':
            self._variables.update(word.split('=', 1) for word in words[1:])
            return ''
        if words[-1] == '&':
            self._start(words[:-1])
            return ''
        done = self._finish(words)
        if done.returncode and COLD_START in done.stderr:
            # Two processes that meet an empty database both make the root
            # folder, and zope.app.appsetup has no second try.
            done = self._finish(words)
        if done.returncode:
            raise AssertionError(f'{command}: {done.stderr}')
        return done.stdout

    def _finish(self, words):
        return subprocess.run(
            words, cwd=self._folder, env=self._variables, text=True,
            capture_output=True, timeout=PATIENCE)

    def _start(self, words):
        process = Process(
            self._stack, *words, cwd=self._folder, stdout=subprocess.DEVNULL,
            start_new_session=True, variables=self._variables)
        self._stack.callback(kill_group, process)
        # As the document says; killed, it would leave processes behind that
        # wait for a server which is gone, too.
        self._stack.callback(self._end, process)

    def _end(self, process):
        process.signal(signal.SIGTERM)
        process.wait()


@unittest.skipUnless(
    DOCS.exists(),
    'The folder docs/ is in a checkout and in the source distribution only.')
class DeploymentTest(unittest.TestCase):

    layer = DeploymentLayer

    def setUp(self):
        self.stack = self.enterContext(contextlib.ExitStack())
        self.folder = Path(self.stack.enter_context(
            tempfile.TemporaryDirectory()), 'example')
        shutil.copytree(DOCS / 'deployment' / 'example', self.folder)
        self.replacements = {port: str(free_port()) for port in PORTS}

    def run_example(self, configuration):
        """Run the commands that mention a configuration."""
        for path in self.folder.glob('*/*.*'):
            text = path.read_text()
            for old, new in self.replacements.items():
                text = text.replace(old, new)
            path.write_text(text)
        terminal = Terminal(self.stack, self.folder, self.replacements)
        printed = expected = ''
        for line in self.find_example(configuration):
            if line.startswith('$ '):
                printed += terminal.run(line[2:])
            elif line:
                expected += f'{line}\n'
        self.assertTrue(expected)
        self.assertEqual(expected, printed)

    def find_example(self, configuration):
        text = (DOCS / 'howto' / 'deployment.rst').read_text()
        found, = [block for block in CONSOLE.findall(text)
                  if f'sums.py {configuration}\n' in block]
        return textwrap.dedent(found).splitlines()

    def test_thread(self):
        """The job is run by a thread of the same process."""
        self.run_example('thread/zope.conf')

    def test_worker(self):
        """The job is run by async-worker."""
        self.run_example('worker/zope.conf')

    def test_database(self):
        """The job is stored in another database, and run by async-worker."""
        self.run_example('database/zope.conf')

    def test_celery(self):
        """The job is run by a Celery worker."""
        broker = Valkey(self.stack, self.folder)
        self.replacements[BROKER_PORT] = str(broker.port)
        self.run_example('celery/zope.conf')
