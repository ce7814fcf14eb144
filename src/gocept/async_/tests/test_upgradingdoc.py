"""The commands of docs/howto/upgrading.rst are run as they stand there.

On the database of Python 2, with nothing done to it but what a reader does.
"""

import doctest
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from gocept.async_.tests import documents
from gocept.async_.tests import python2data
from gocept.async_.tests import reader


DOCUMENT = documents.DOCS / 'howto' / 'upgrading.rst'

# Seconds after which a command does not end any more.
LONG = 60


@unittest.skipUnless(
    DOCUMENT.exists(),
    'The folder docs/ is in a checkout and in the source distribution only.')
class UpgradingTest(unittest.TestCase):

    maxDiff = None

    def test_commands(self):
        """Each of them prints what the document says."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        data = python2data.unpack('core-py2', folder)
        Path(python2data.configure(data)).rename(folder / 'zope.conf')
        (folder / 'Data.fs.index').write_bytes(b'of Python 2')
        number = 0
        for block in documents.blocks(DOCUMENT):
            self.assertEqual('console', block.language)
            if 'not run' in block.notes:
                continue
            for command, expected in reader.commands(block.text):
                with self.subTest(command):
                    self.check(command, expected, folder)
                    number += 1
        self.assertEqual(6, number)

    def check(self, command, expected, folder):
        reader.check_harmless(command)
        done = subprocess.run(
            command, shell=True, cwd=folder, text=True, timeout=LONG,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={
                **os.environ, 'PYTHONWARNINGS': 'ignore',
                'PYTHONPATH': str(python2data.FOLDER),
                'PATH': os.pathsep.join([
                    str(Path(sys.executable).parent), os.environ['PATH']])})
        checker = doctest.OutputChecker()
        example = doctest.Example(command, expected)
        if not checker.check_output(
                expected, done.stdout, doctest.ELLIPSIS):
            self.fail(checker.output_difference(
                example, done.stdout, doctest.ELLIPSIS))
