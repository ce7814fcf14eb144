"""A job may close the files that each process has: they are there again."""

import json
import subprocess
import sys
import unittest


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
        """What is opened later would get their numbers, and all output."""
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
