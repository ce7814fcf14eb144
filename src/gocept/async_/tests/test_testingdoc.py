"""docs/howto/testing.rst: its application, tested by pytest and by Zope."""

import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest

import gocept.async_
from gocept.async_.tests import interpreter


DOCUMENT = pathlib.Path(gocept.async_.__file__).parents[3] / (
    'docs/howto/testing.rst')

FILE = re.compile(
    r'^\.\. code-block:: \w+\n    :caption: (.+)\n\n((?:    .*\n|\n)+)', re.M)


@unittest.skipUnless(DOCUMENT.exists(), 'installed without the documents')
class DocumentTest(unittest.TestCase):

    # It starts processes: see CONTRIBUTING.rst.
    level = 2

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for name, text in FILE.findall(DOCUMENT.read_text('utf-8')):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text).strip() + '\n', 'utf-8')

    def run_module(self, *arguments):
        return subprocess.run(
            [sys.executable, '-m', *arguments], cwd=self.folder,
            env=interpreter.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120)

    def test_pytest(self):
        """Its output is the one that the document shows."""
        done = self.run_module('pytest', '-p', 'no:cacheprovider')
        self.assertIn('4 passed', done.stdout)
        self.assertEqual(0, done.returncode)

    def test_testrunner(self):
        """The same application."""
        done = self.run_module('zope.testrunner', '--path', '.', '-s', 'shop')
        self.assertIn('Ran 1 tests with 0 failures', done.stdout)
        self.assertEqual(0, done.returncode)
