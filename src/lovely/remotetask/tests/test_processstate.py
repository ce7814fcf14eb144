"""What a job changes of the process is set back, and nothing else happens."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

from lovely.remotetask.running import processstate


# Prints of each act: what was said to be changed, which numbers have
# /dev/null afterwards, whether children inherit these, and whether what is
# opened then gets another number.
SCRIPT = '''
import json, os, sys
from lovely.remotetask.running import processstate
kept = [os.dup(number) for number in range(3)]
null = os.stat(os.devnull).st_ino
for line in sys.argv[1:]:
    processstate.begin()
    exec(line)
    changed = processstate.end()
    opened = os.open('.', os.O_RDONLY)
    filled = [n for n in range(3) if os.fstat(n).st_ino == null]
    found = [changed, filled, all(map(os.get_inheritable, filled)), opened > 2]
    os.close(opened)
    for number, copy in enumerate(kept):
        os.dup2(copy, number)
    print(json.dumps(found), flush=True)
'''

# And which numbers each of them closes.
ACTS = {
    'pass': [], 'os.close(1)': [1], 'os.close(2)': [2],
    'os.closerange(0, 3)': [0, 1, 2], 'os.close(0); os.close(2)': [0, 2],
    # Whoever opens a number has to say so if it is not to be closed.
    'open(2, "w").close()': [2],
    # Something else is open by that number: it is not touched.
    'os.close(0); os.open(".", os.O_RDONLY)': []}


class StandardFilesTest(unittest.TestCase):

    def test_closed(self):
        """They are there again: what is opened later would get their numbers,
        and all output.
        """
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', SCRIPT, *ACTS],
            stdin=subprocess.PIPE, capture_output=True, timeout=60)
        self.assertEqual('', done.stderr.decode())
        lines = map(json.loads, done.stdout.splitlines())
        for (act, closed), found in zip(ACTS.items(), lines, strict=True):
            with self.subTest(act):
                self.assertEqual([
                    ['closed_files'] if closed else [], closed, True, True],
                    found)


class FolderTest(unittest.TestCase):

    def setUp(self):
        self.addCleanup(os.chdir, os.getcwd())
        self.addCleanup(
            socket.setdefaulttimeout, socket.getdefaulttimeout())

    def be_in_removed(self):
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)

    def test_that_was_removed_before(self):
        """As it is after an update; all else is set back."""
        before = socket.getdefaulttimeout()
        self.be_in_removed()
        processstate.begin()
        socket.setdefaulttimeout(0.001)
        self.assertEqual(['socket_timeout'], processstate.end())
        self.assertEqual(before, socket.getdefaulttimeout())

    def test_that_is_removed_meanwhile(self):
        """It is left again."""
        before = os.getcwd()
        processstate.begin()
        self.be_in_removed()
        self.assertEqual(['current_folder'], processstate.end())
        self.assertEqual(before, os.getcwd())


class UmaskTest(unittest.TestCase):

    def setUp(self):
        self.before = os.umask(0o022)
        self.addCleanup(os.umask, self.before)

    def change(self):
        processstate.begin()
        os.umask(0o077)
        self.assertEqual(['umask'], processstate.end())
        return os.umask(0o022)

    def test_is_not_changed_to_ask_for_it(self):
        """Another thread may make a file meanwhile, for others to read."""
        processstate.begin()
        processstate.end()
        with unittest.mock.patch.object(os, 'umask', wraps=os.umask) as umask:
            processstate.begin()
            self.assertEqual([], processstate.end())
        self.assertEqual({0o022}, {call.args[0]
                                   for call in umask.call_args_list})

    def test_set_back(self):
        self.assertEqual(0o022, self.change())
