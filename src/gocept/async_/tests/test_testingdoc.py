"""docs/howto/testing.rst: its application, tested by pytest and by Zope."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from gocept.async_.tests import documents
from gocept.async_.tests import interpreter


# A class that has the layer by itself uses the fixture, too.
CASE = '''
import unittest

import pytest
from shop.testing import SHOP_LAYER


class CaseTest(unittest.TestCase):

    layer = SHOP_LAYER

    @pytest.fixture(autouse=True)
    def use(self, async_services):
        self.services = async_services

    def test_root(self):
        self.assertIs(SHOP_LAYER.getRootFolder(), self.services.root)
'''

# A Python with nothing but what the document asks for; .ci/run has made it.
PYTHON = os.environ.get('TESTING_PYTHON')


@unittest.skipUnless(documents.DOCS.exists(), 'installed without documents')
class DocumentTest(unittest.TestCase):

    # It starts processes: see CONTRIBUTING.rst.
    level = 2

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        documents.write_files(
            documents.DOCS / 'howto' / 'testing.rst', self.folder)

    def run_module(self, *arguments):
        environment = None if PYTHON else interpreter.environment()
        return subprocess.run(
            [PYTHON or sys.executable, '-m', *arguments], cwd=self.folder,
            env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=120)

    def test_pytest(self):
        """Its output is the one that the document shows."""
        done = self.run_module('pytest', '-p', 'no:cacheprovider')
        self.assertIn('4 passed', done.stdout)
        self.assertEqual(0, done.returncode)

    def test_several_folders(self):
        """Each may have a conftest.py; the layer is there for all."""
        for name in ('one', 'two'):
            folder = pathlib.Path(self.folder, name)
            folder.mkdir()
            for each in ('conftest.py', 'test_shop.py'):
                shutil.copy(pathlib.Path(self.folder, each), folder)
            (folder / 'test_case.py').write_text(CASE)
        done = self.run_module(
            'pytest', '-p', 'no:cacheprovider', '--import-mode=importlib',
            'one', 'two')
        self.assertIn('10 passed', done.stdout)
        self.assertEqual(0, done.returncode, done.stdout)

    @unittest.skipIf(PYTHON, 'zope.testrunner is not part of the extra')
    def test_testrunner(self):
        """The same application."""
        done = self.run_module('zope.testrunner', '--path', '.', '-s', 'shop')
        self.assertIn('Ran 1 tests with 0 failures', done.stdout)
        self.assertEqual(0, done.returncode)
