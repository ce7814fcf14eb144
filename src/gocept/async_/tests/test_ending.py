"""A process ends in time, whatever its threads wait for."""

import subprocess
import sys
import unittest

from gocept.async_.tests.interpreter import environment


CODE = '''
import logging, sys, threading
logging.basicConfig()
from gocept.async_.worker import ending
ending.LAST = 0.1
ending.Ending().within(float(sys.argv[1]))
'''

# Seconds until a process that does not end has failed.
PATIENCE = 60


class EndingTest(unittest.TestCase):

    def end(self, code, seconds=0.1):
        """Run it to its end.  Return exit code and errors."""
        done = subprocess.run(
            [sys.executable, '-c', CODE + code, str(seconds)],
            env=environment(), capture_output=True, text=True,
            timeout=PATIENCE)
        return done.returncode, done.stderr

    def test_thread_that_is_waited_for(self):
        """It is told where it waits."""
        code, said = self.end('''
def for_ever():
    threading.Event().wait()
threading.Thread(target=for_ever, name='stubborn').start()
''')
        self.assertEqual(1, code)
        self.assertRegex(said, 'is cut off; .*stubborn: .*:[0-9]+')

    def test_lock_of_the_interpreter(self):
        """A computation lets no other thread run."""
        code, _ = self.end('''
import re
re.match('(a+)+b', 'a' * 60)
''')
        self.assertEqual(1, code)

    def test_log_that_takes_no_lines(self):
        """Who logs waits for ever."""
        code, _ = self.end('''
logging.getLogger().handlers[0].acquire()
threading.Event().wait()
''')
        self.assertEqual(1, code)

    def test_in_time(self):
        """One that ends by itself is left alone."""
        code, said = self.end('sys.exit(3)', PATIENCE)
        self.assertEqual((3, ''), (code, said))
