"""The commands of docs/howto/upgrading.rst are run as they stand there.

On the database of Python 2, with nothing done to it but what a reader does.
"""

import doctest
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

from gocept.async_.tests import python2data


DOCUMENT = Path(__file__).parents[4] / 'docs' / 'howto' / 'upgrading.rst'

BLOCK = re.compile(
    r'^( *)\.\. code-block:: (\w+)\n\n((?:\1 {4}.*\n|\n)+)', re.MULTILINE)

# Seconds after which a command does not end any more.
LONG = 60


class Step:
    """A command, and what it prints."""

    def __init__(self, command):
        self.command = command
        self.expected = ''


def steps(text):
    """Return the steps of a block."""
    found = []
    for line in textwrap.dedent(text).splitlines():
        if line.startswith('$ '):
            found.append(Step(line[2:]))
        elif line:
            found[-1].expected += f'{line}\n'
    return found


@unittest.skipUnless(
    DOCUMENT.exists(),
    'The folder docs/ is in a checkout and in the source distribution only.')
class UpgradingTest(unittest.TestCase):

    maxDiff = None

    def blocks(self):
        """Yield the paragraph before each block, and the block."""
        text = DOCUMENT.read_text(encoding='utf-8')
        found = list(BLOCK.finditer(text))
        self.assertEqual(text.count('.. code-block::'), len(found))
        for block in found:
            self.assertEqual('console', block[2])
            yield text[:block.start()].rstrip().split('\n\n')[-1], block[3]

    def test_commands(self):
        """Each of them prints what the document says."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        data = python2data.unpack('core-py2', folder)
        Path(python2data.configure(data)).rename(folder / 'zope.conf')
        (folder / 'Data.fs.index').write_bytes(b'of Python 2')
        number = 0
        for before, block in self.blocks():
            if '(Not run: ' in before:
                continue
            for step in steps(block):
                with self.subTest(step.command):
                    self.check(step, folder)
                    number += 1
        self.assertEqual(6, number)

    def check(self, step, folder):
        done = subprocess.run(
            step.command, shell=True, cwd=folder, text=True, timeout=LONG,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={
                **os.environ, 'PYTHONWARNINGS': 'ignore',
                'PYTHONPATH': str(python2data.FOLDER),
                'PATH': os.pathsep.join([
                    str(Path(sys.executable).parent), os.environ['PATH']])})
        checker = doctest.OutputChecker()
        example = doctest.Example(step.command, step.expected)
        if not checker.check_output(
                step.expected, done.stdout, doctest.ELLIPSIS):
            self.fail(checker.output_difference(
                example, done.stdout, doctest.ELLIPSIS))
