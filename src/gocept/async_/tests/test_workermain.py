"""The main process of a worker goes on, whatever a round meets."""

import argparse
import logging
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from gocept.async_.worker import command


class MainTest(unittest.TestCase):

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.heartbeat = self.folder / 'missing' / 'heartbeat'
        # Nothing waits: neither for processes, nor after an error.
        self.enterContext(unittest.mock.patch.object(command, 'LOOK', 0.0))
        self.options = argparse.Namespace(
            configuration='zope.conf', service=[], threads=None, processes=1,
            grace=0.0, patience=60.0, max_jobs=None, max_memory=None,
            health=None, heartbeat=str(self.heartbeat))
        self.log = self.enterContext(self.assertLogs(level='INFO'))
        logging.info('so that there is a line')

    def make(self, ready=True):
        made = command.Worker(self.options)
        made.pool = unittest.mock.Mock(reloading=False, all_ready=ready)
        return made

    def complaints(self):
        return [record.getMessage() for record in self.log.records
                if record.levelno >= logging.ERROR]

    def test_error_of_any_kind(self):
        """It is said once, with the place, and the next round is gone."""
        made = self.make()
        errors = OSError(12, 'no memory'), KeyError('x'), SystemExit('y')
        made.pool.step.side_effect = [*errors, *errors, None]
        for _ in range(7):
            made._survive()
        self.assertEqual(7, made.pool.step.call_count)
        complaint, = [line for line in self.complaints()
                      if 'heartbeat' not in line]
        self.assertIn('no memory', complaint)

    def test_heartbeat_that_cannot_be_written(self):
        """The worker is ready nevertheless, and says what is wrong once."""
        made = self.make()
        for _ in range(20):
            made._survive()
        complaint, = self.complaints()
        self.assertIn(f'cannot touch {self.heartbeat}: ', complaint)
        self.assertTrue(made._announced)

    def test_not_ready(self):
        """Nobody is told that all is well when it is not."""
        self.options.heartbeat = str(self.folder / 'heartbeat')
        made = self.make(ready=False)
        made._survive()
        self.assertFalse((self.folder / 'heartbeat').exists())
        self.assertFalse(made._announced)
        made.pool.all_ready = True
        made._survive()
        self.assertTrue((self.folder / 'heartbeat').exists())

    def test_pid_that_cannot_be_written(self):
        """Nor does a full folder of the pid file end it."""
        pid_file = unittest.mock.Mock()
        pid_file.keep.side_effect = OSError(28, 'No space left on device')
        self.options.pid_file = 'run/pid'
        self.options.heartbeat = None
        made = command.Worker(self.options, pid_file)
        made.pool = self.make().pool
        for _ in range(20):
            made._survive()
        complaint, = self.complaints()
        self.assertIn('cannot write run/pid: ', complaint)
        self.assertTrue(made._announced)
