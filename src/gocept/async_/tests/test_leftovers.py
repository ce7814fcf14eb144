"""A run of the tests that leaves a process behind fails."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from gocept.async_.tests import leftovers


# The module needs no other, so a bare interpreter does.
BARE = [sys.executable, '-I', '-S', '-c']

RUN = '''
import runpy, subprocess, sys, tempfile
leftovers = runpy.run_path(sys.argv[1])
leftovers['begin'].__globals__['PATIENCE'] = float(sys.argv[2])
leftovers['begin']()
def start(code, **options):
    process = subprocess.Popen(
        [sys.executable, '-I', '-S', '-c', code], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    print(process.pid, tempfile.gettempdir())
    process.returncode = 0
'''

WAIT = 'import time; time.sleep(60)'

# Seconds until what does not happen has failed.
LONG = 60


@unittest.skipUnless(
    Path('/proc/self').exists(), 'This system does not show its processes.')
class LeftoversTest(unittest.TestCase):

    def run_tests(self, code, patience=0.2, arguments=()):
        """Return exit code, errors, and process id of what was started."""
        done = subprocess.run(
            [*BARE, RUN + code, leftovers.__file__, str(patience),
             *arguments], capture_output=True, text=True, timeout=LONG)
        pid, folder = (done.stdout.split() + ['0', ''])[:2]
        self.addCleanup(self.kill, int(pid))
        if not arguments:
            self.assertFalse(folder and os.path.exists(folder))
        return done.returncode, done.stderr, int(pid)

    def kill(self, pid):
        if pid and leftovers.PROCESSES.joinpath(str(pid)).exists():
            os.kill(pid, signal.SIGKILL)

    def assert_ended(self, pid):
        stat = leftovers.PROCESSES / str(pid) / 'stat'
        end = time.monotonic() + LONG
        while stat.exists() and ') Z ' not in stat.read_text():
            self.assertLess(time.monotonic(), end)

    def test_process(self):
        """It is named and ended, and the run has failed."""
        code, said, pid = self.run_tests(f'start({WAIT!r})')
        self.assertEqual(1, code)
        self.assertRegex(
            said, f'left process {pid} behind: .*-c {re.escape(WAIT)}')
        self.assert_ended(pid)

    def test_process_that_hides_its_environment(self):
        """Many servers do; they are told by the folder that they use."""
        code, _, pid = self.run_tests(
            f'start({WAIT!r}, env={{}}, cwd=tempfile.gettempdir())')
        self.assertEqual(1, code)
        self.assert_ended(pid)

    def test_process_that_ends(self):
        """One that is about to end may do so."""
        code, said, _ = self.run_tests(
            'start("import time; time.sleep(0.3)")', patience=LONG)
        self.assertEqual((0, ''), (code, said))

    def test_tracker_of_pools(self):
        """Python's own helper for pools ends with the runner of the tests."""
        code, said, _ = self.run_tests(
            'import multiprocessing.resource_tracker as tracker\n'
            'tracker.ensure_running()')
        self.assertEqual((0, ''), (code, said))

    def test_failure(self):
        """What the tests have found is not hidden."""
        code, said, _ = self.run_tests('sys.exit(3)')
        self.assertEqual((3, ''), (code, said))

    def test_part_of_a_run(self):
        """A runner for one layer leaves it to the one that has started it.
        """
        code, _, pid = self.run_tests(
            f'start({WAIT!r})', arguments=['--resume-layer'])
        self.assertEqual(0, code)

    def test_command(self):
        """The same for all that was done with a folder."""
        with tempfile.TemporaryDirectory() as folder:
            waiting = subprocess.Popen([*BARE, WAIT, folder])
            self.addCleanup(waiting.wait)
            self.addCleanup(waiting.kill)
            end = time.monotonic() + 60
            while (waiting.pid not in leftovers.find(folder)
                    and time.monotonic() < end):
                # It becomes the program in a moment.
                time.sleep(0.01)
            self.assertIn(waiting.pid, leftovers.find(folder))
            self.assertNotIn(os.getpid(), leftovers.find(folder))
        self.assertEqual({}, leftovers.wait_for('/none/of/them', 0))
