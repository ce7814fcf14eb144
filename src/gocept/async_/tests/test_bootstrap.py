"""Tests of bootstrap.py, which lies at the top of the checkout."""
import importlib.metadata
import importlib.util
import pathlib
import re
import shutil
import sys
import tempfile
import unittest
import unittest.mock


CHECKOUT = pathlib.Path(__file__).parents[4]
BOOTSTRAP = CHECKOUT / 'bootstrap.py'


def load():
    spec = importlib.util.spec_from_file_location('_bootstrap', BOOTSTRAP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def canonical(name):
    return re.sub('[-_.]+', '-', name).lower()


@unittest.skipUnless(BOOTSTRAP.exists(), 'needs a checkout')
class BootstrapTest(unittest.TestCase):

    def setUp(self):
        self.bootstrap = load()

    def copy_of_checkout(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        for name in self.bootstrap.INPUTS:
            shutil.copy(CHECKOUT / name, folder)
        return pathlib.Path(folder)


class PinsTest(BootstrapTest):
    """versions.cfg becomes pip constraints."""

    def test_section_versions_becomes_constraints(self):
        """Names keep their spelling, comments and blank lines go."""
        pins = self.bootstrap.read_pins(
            '[versions]\n# why\nzope.event = 6.2\n\nZODB=6.4\n')
        self.assertEqual({'ZODB': '6.4', 'zope.event': '6.2'}, pins)
        self.assertEqual(
            'ZODB==6.4\nzope.event==6.2\n', self.bootstrap.constraints(pins))

    def test_every_installed_distribution_is_pinned(self):
        """Nothing reaches .venv in a version that versions.cfg leaves open."""
        if pathlib.Path(sys.prefix) != CHECKOUT / '.venv':
            self.skipTest('runs in another environment')
        text = (CHECKOUT / 'versions.cfg').read_text()
        pins = {canonical(name): version for name, version
                in self.bootstrap.read_pins(text).items()}
        installed = {canonical(dist.name): dist.version for dist
                     in importlib.metadata.distributions()}
        del installed['gocept-async']
        self.assertEqual(
            {}, {name: version for name, version in installed.items()
                 if pins.get(name) != version},
            'pin these in versions.cfg; if leftovers, delete .venv')


class StampTest(BootstrapTest):
    """The stamp tells whether the work is done."""

    def test_fingerprint_is_the_same_for_the_same_files(self):
        """A copy of the files has the fingerprint of the originals."""
        self.assertEqual(
            self.bootstrap.fingerprint(CHECKOUT),
            self.bootstrap.fingerprint(self.copy_of_checkout()))

    def test_fingerprint_changes_with_each_input(self):
        """A change in any one file changes the fingerprint."""
        folder = self.copy_of_checkout()
        seen = {self.bootstrap.fingerprint(folder)}
        for name in self.bootstrap.INPUTS:
            with open(folder / name, 'a') as target:
                target.write('# changed\n')
            seen.add(self.bootstrap.fingerprint(folder))
        self.assertEqual(len(self.bootstrap.INPUTS) + 1, len(seen))

    def test_stamp_knows_the_folder_and_the_python(self):
        """A checkout that was moved is not ready."""
        here = self.bootstrap.place()
        self.assertIn(sys.version, here)
        self.bootstrap.HERE = '/elsewhere'
        self.assertNotEqual(
            self.bootstrap.stamp_text(here, 'x'),
            self.bootstrap.stamp_text(self.bootstrap.place(), 'x'))

    def set_up_in(self, folder):
        self.bootstrap.BIN = str(folder)
        self.bootstrap.PYTHON = sys.executable
        self.bootstrap.STAMP = str(folder / 'stamp')
        for name in self.bootstrap.SCRIPTS:
            (folder / name).touch(0o755)
        (folder / 'stamp').write_text('place\nfiles\n')

    def test_ready_only_with_the_same_stamp(self):
        """Another place, other files, or no stamp: not ready."""
        folder = self.copy_of_checkout()
        self.set_up_in(folder)
        self.assertTrue(self.bootstrap.is_ready('place\nfiles\n'))
        self.assertFalse(self.bootstrap.is_ready('place\nother\n'))
        self.assertFalse(self.bootstrap.is_ready('other\nfiles\n'))
        (folder / 'stamp').unlink()
        self.assertFalse(self.bootstrap.is_ready('place\nfiles\n'))

    def test_not_ready_if_a_script_is_gone(self):
        """Somebody who deletes bin/ gets it back."""
        folder = self.copy_of_checkout()
        self.set_up_in(folder)
        (folder / 'pytest').unlink()
        self.assertFalse(self.bootstrap.is_ready('place\nfiles\n'))


class SentenceTest(BootstrapTest):
    """What goes wrong is told in one sentence."""

    def assertSentence(self, text, *parts):
        self.assertNotIn('\n', text)
        for part in parts:
            self.assertIn(part, text)

    def test_tested_pythons_pass(self):
        """3.11, 3.12 and 3.13 are fine; nothing is said."""
        for minor in (11, 12, 13):
            version = 3, minor, 0
            self.assertIsNone(self.bootstrap.wrong_python(version))
            self.assertIsNone(self.bootstrap.untested_python(version))

    def test_newer_pythons_are_tried(self):
        """They pass, and a sentence says that nobody has tested them."""
        for version in ((3, 14, 0), (3, 15, 0, 'alpha', 1), (3, 100, 1),
                        (4, 0, 0)):
            self.assertIsNone(self.bootstrap.wrong_python(version))
            self.assertSentence(
                self.bootstrap.untested_python(version),
                'Python ' + '.'.join(map(str, version[:3])), 'not tested',
                '3.11 or 3.12 or 3.13')

    def test_what_is_said_of_newer_ones(self):
        """The sentence is said where set-up begins, which goes on."""
        with (unittest.mock.patch.object(
                self.bootstrap.sys, 'version_info', (3, 14, 0, 'final', 0)),
              unittest.mock.patch.object(self.bootstrap, 'say') as say):
            self.bootstrap.check_system()
        say.assert_called_once()
        self.assertIn('3.14.0', say.call_args.args[0])

    def test_other_pythons_learn_which_are_supported(self):
        """Too old, and PyPy: they hear what to use."""
        for version in ((2, 7, 18), (3, 10, 13)):
            self.assertSentence(
                self.bootstrap.wrong_python(version),
                'Python ' + '.'.join(map(str, version)), '3.11 and later',
                'python3.13 bootstrap.py')
        self.assertSentence(
            self.bootstrap.wrong_python((3, 11, 0), 'pypy'), 'pypy 3.11.0')

    def test_no_network(self):
        """The reason comes before pip's misleading last line."""
        sentence = self.bootstrap.explain(
            'Installing packages',
            'WARNING: Retrying: Failed to establish a new connection\n'
            'ERROR: Could not find a version that satisfies pip==1\n'
            'ERROR: No matching distribution found for pip==1\n')
        self.assertSentence(
            sentence, 'Installing packages', 'cannot be reached', 'log')

    def test_unknown_version(self):
        """A pin that does not exist is named."""
        sentence = self.bootstrap.explain(
            'Installing packages',
            'ERROR: No matching distribution found for nosuch==1\n')
        self.assertSentence(sentence, 'nosuch==1', 'versions.cfg')

    def test_anything_else(self):
        """Otherwise pip's first error, or the last line, is quoted."""
        self.assertSentence(
            self.bootstrap.explain('X', 'a\nERROR: disk full\nb\n'),
            'X failed: disk full')
        self.assertSentence(
            self.bootstrap.explain('X', 'a\nwhat a pity\n'),
            'X failed: what a pity')

    def test_unknown_command(self):
        """An unknown word names the known ones before any work is done."""
        with self.assertRaises(self.bootstrap.SetupError) as raised:
            self.bootstrap.check_arguments(['tset'])
        self.assertSentence(
            str(raised.exception), '"tset"', 'demo, faults, test')


class ScriptTest(BootstrapTest):
    """Scripts of bin/ start in every folder."""

    def test_short_path_stays(self):
        """The usual script is left alone."""
        script = '#!/x/.venv/bin/python\npass\n'
        self.assertEqual(
            script,
            self.bootstrap.through_sh(script, '/x/.venv/bin/python'))

    def test_blank_goes_through_sh_and_stays_python(self):
        """sh starts Python, which reads sh's lines as a string."""
        script = self.bootstrap.through_sh('#!/x y/python\npass\n',
                                           '/x y/python')
        self.assertEqual('#!/bin/sh', script.splitlines()[0])
        self.assertIn('exec\' "/x y/python" "$0" "$@"', script)
        compile(script, 'script', 'exec')


class EnvironmentTest(BootstrapTest):
    """pip installs into .venv, whatever the shell says."""

    def test_settings_that_lead_elsewhere_are_dropped(self):
        """PYTHONPATH would make pip believe that packages are installed."""
        with unittest.mock.patch.dict(
                'os.environ', PYTHONPATH='x', PIP_TARGET='x', PIP_USER='1'):
            env = self.bootstrap.environment()
        self.assertNotIn('PYTHONPATH', env)
        self.assertNotIn('PIP_TARGET', env)
        self.assertEqual('0', env['PIP_USER'])
