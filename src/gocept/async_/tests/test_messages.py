"""What the main process says: nobody waits for who reads it."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import unittest
import unittest.mock

from gocept.async_.tests.interpreter import run
from gocept.async_.worker import messages
from gocept.async_.worker.messages import StandardError
from gocept.async_.worker.messages import prepare_standard_files
from lovely.remotetask.running import processstate


class StandardErrorTest(unittest.TestCase):

    def setUp(self):
        self.log = logging.Logger(__name__)

    def say_to(self, descriptor):
        handler = StandardError(descriptor)
        self.addCleanup(handler.close)
        self.log.addHandler(handler)
        return handler

    def test_lines(self):
        """Each record is a line; what was said last is written, too."""
        with tempfile.TemporaryFile() as file:
            handler = self.say_to(file.fileno())
            self.log.info('one')
            self.log.info('two \udc80 \u20ac')
            handler.close()
            file.seek(0)
            self.assertEqual(
                b'one\ntwo \\udc80 \xe2\x82\xac\n', file.read())

    def test_nobody_reads(self):
        """A full pipe holds nobody up, neither now nor at the end."""
        read, write = os.pipe()
        handler = self.say_to(write)
        for number in range(3 * messages.MOST):
            self.log.info('%s', f'{number} ' * 20)
        with unittest.mock.patch.object(messages, 'PATIENCE', 0.1):
            handler.close()
        # So that the thread ends.
        os.close(read)
        while handler._thread.is_alive():
            handler.close()
        os.close(write)

    def test_cannot_be_written(self):
        """A disk without room, or a pipe without a reader, loses lines."""
        read, write = os.pipe()
        os.close(read)
        with open('/dev/full', 'wb') as full:
            for descriptor in full.fileno(), write, 10 ** 6:
                handler = self.say_to(descriptor)
                self.log.info('lost')
                handler.close()
                self.assertFalse(handler._thread.is_alive())
        os.close(write)

    def test_line_that_cannot_be_made(self):
        """Who says it wrong is not interrupted."""
        handler = self.say_to(10 ** 6)
        self.log.info('%d', 'x')
        handler.close()


class StandardFilesTest(unittest.TestCase):

    def test_closed(self):
        """What is opened later does not get their numbers."""
        self.assertEqual('True [3, 4]', run('''
import os, sys
saved = os.dup(1), os.dup(2)
for descriptor in range(3):
    os.close(descriptor)
from lovely.remotetask.running.processstate import open_standard_files
open_standard_files()
found = [os.get_inheritable(descriptor) for descriptor in range(3)]
os.dup2(saved[0], 1)
print(all(found), list(saved))
'''))

    def test_written_to(self):
        """What is said there is lost, and nothing else."""
        found = io.StringIO()
        with contextlib.redirect_stdout(found):
            with unittest.mock.patch.object(sys, 'stderr', None):
                prepare_standard_files()
                print('lost', file=sys.stderr)
            self.assertEqual('', found.getvalue())
            with unittest.mock.patch.object(sys, 'stdout', None):
                prepare_standard_files()
                print('lost')
            self.assertIs(found, sys.stdout)

    def test_open(self):
        """Nothing is done if nothing is missing."""
        before = os.listdir('/dev/fd')
        processstate.open_standard_files()
        self.assertEqual(before, os.listdir('/dev/fd'))
