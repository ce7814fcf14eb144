"""The distribution lovely.remotetask of 2010 is noticed."""

import importlib.metadata
import tempfile
import unittest
import warnings
from pathlib import Path

from gocept.async_ import installed


OUR_FILES = {'lovely/remotetask/__init__.py': 'ours',
             'lovely/remotetask/service.py': 'our service',
             'lovely/remotetask/storage/lane.py': 'lanes',
             'gocept/async_/__init__.py': 'ours'}

THEIR_FILES = {'lovely/remotetask/__init__.py': 'of 2010',
               'lovely/remotetask/service.py': 'the service of 2010',
               'lovely/remotetask/README.txt': 'text'}


class InstalledTest(unittest.TestCase):
    """Distributions are installed into a folder, as pip does it."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def install(self, name, files):
        for path, text in files.items():
            found = self.folder / path
            found.parent.mkdir(parents=True, exist_ok=True)
            found.write_text(text)
        info = self.folder / f'{name}-1.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Name: {name}\nVersion: 1.0\n')
        (info / 'RECORD').write_text(''.join(
            f'{path},,{len(text)}\n' for path, text in files.items()))

    def uninstall(self, name, files):
        for path in files:
            (self.folder / path).unlink()
        info = self.folder / f'{name}-1.0.dist-info'
        for path in info.iterdir():
            path.unlink()
        info.rmdir()

    def find(self, name):
        for found in importlib.metadata.distributions(
                path=[str(self.folder)]):
            if found.name == name:
                return found
        raise importlib.metadata.PackageNotFoundError(name)

    def check(self):
        """Return the warnings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            installed.check(self.find)
        return [str(each.message) for each in caught]

    def assertSpoilt(self, name):
        with self.assertRaisesRegex(ImportError, name) as raised:
            self.check()
        self.assertIn('--force-reinstall', str(raised.exception))

    def test_alone(self):
        """All is well."""
        self.install('gocept.async', OUR_FILES)
        self.assertEqual([], self.check())

    def test_checkout(self):
        """One that is installed has no list of files."""
        self.install('gocept.async', {})
        self.assertEqual([], self.check())

    def test_not_installed(self):
        """It is just on the path."""
        self.assertEqual([], self.check())

    def test_before_ours(self):
        """The files are ours, but would be deleted."""
        self.install('lovely.remotetask', THEIR_FILES)
        self.install('gocept.async', OUR_FILES)
        said, = self.check()
        self.assertIn('lovely.remotetask 1.0 is installed, too', said)
        self.assertIn('Take it out of install_requires', said)

    def test_after_ours(self):
        """The files are not ours."""
        self.install('gocept.async', OUR_FILES)
        self.install('lovely.remotetask', THEIR_FILES)
        self.assertSpoilt('lovely/remotetask/__init__.py')

    def test_uninstalled_after_ours(self):
        """Files are gone."""
        self.install('lovely.remotetask', THEIR_FILES)
        self.install('gocept.async', OUR_FILES)
        self.uninstall('lovely.remotetask', THEIR_FILES)
        self.assertSpoilt('lovely/remotetask/service.py')

    def test_way_out(self):
        """What the messages say helps."""
        self.install('lovely.remotetask', THEIR_FILES)
        self.install('gocept.async', OUR_FILES)
        self.uninstall('lovely.remotetask', THEIR_FILES)
        for path in ('lovely/remotetask/__init__.py',
                     'lovely/remotetask/service.py'):
            (self.folder / path).write_text(OUR_FILES[path])
        self.assertEqual([], self.check())

    def test_edited(self):
        """Whoever looks for a fault may add a line."""
        self.install('gocept.async', OUR_FILES)
        (self.folder / 'lovely/remotetask/service.py').write_text('print()')
        self.assertEqual([], self.check())

    def test_empty_distribution(self):
        """One of that name that has no files meets a requirement."""
        self.install('gocept.async', OUR_FILES)
        self.install('lovely.remotetask', {})
        self.assertEqual([], self.check())
