"""Moving a service, killed at each point, and done again."""

import json
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from gocept.async_.tests import interpreter
from gocept.async_.tests import movestage


CODE = f'''
import sys
import {movestage.__name__} as stage
stage.main(*sys.argv[1:])
'''


# Killed at these, the service is where it is to be.
AFTER = 'finishing', 'switched'


class StageCase(unittest.TestCase):

    # It starts processes.
    level = 2

    on_relstorage = ()

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def run_stage(self, action, *args, code=0):
        done = subprocess.run(
            [sys.executable, '-c', CODE, action,
             str(self.folder / 'zope.conf'), *args],
            env=interpreter.environment(), capture_output=True, text=True,
            timeout=60)
        self.assertEqual(code, done.returncode, done.stderr[-3000:])
        return done.stdout

    def write(self, name):
        movestage.write(self.folder, name, self.on_relstorage)


class PackTest(StageCase):

    def test_arguments_that_were_removed(self):
        """They are there for the jobs when all databases are packed."""
        self.write('content')
        self.run_stage('fill_removed')
        self.write('jobs')
        _, said, moved = json.loads(self.run_stage('again'))
        self.assertEqual('jobs', moved['database'])
        found = json.loads(self.run_stage('finish'))
        self.assertEqual(([1, 2], []), (found['run'], found['unreadable']))
        self.assertIn('2 objects', said)


class KilledTest(StageCase):
    """No job is lost, and none is run twice."""

    def test_each_point(self):
        self.write('content')
        self.run_stage('fill')
        told = json.loads(self.run_stage('tell'))['jobs']
        self.assertEqual(movestage.JOBS + 3, len(told))
        names = ['jobs', 'more'] * len(movestage.POINTS)
        before = 'content'
        for point, name in zip(movestage.POINTS, names, strict=False):
            with self.subTest(point, to=name):
                self.write(name)
                self.run_stage('move', point, code=-signal.SIGKILL)
                killed, said, moved = json.loads(self.run_stage('again'))
                self.assertEqual(told, killed['jobs'])
                self.assertEqual(
                    name if point in AFTER else before, killed['database'])
                self.assertIn('service "events"', said)
                self.assertEqual((name, told),
                                 (moved['database'], moved['jobs']))
                before = name
        found = json.loads(self.run_stage('finish'))
        self.assertEqual(list(range(movestage.JOBS)), found['run'])
        self.assertEqual(
            (movestage.JOBS, 0, 2, 1, []),
            (found['counts']['completed'], found['counts']['queued'],
             found['counts']['cronjob'], found['counts']['cancelled'],
             found['unreadable']))


class RelStorageKilledTest(KilledTest):
    """From a file to RelStorage, and between two of these."""

    on_relstorage = 'jobs', 'more'
