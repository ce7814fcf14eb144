"""What fails is done again, less and less often, and seldom told of."""

import unittest
import unittest.mock

from gocept.async_ import celeryduty
from gocept.async_.celeryduty import Duty
from lovely.remotetask.gate import ProcessorStopped
from lovely.remotetask.interfaces import NoSuchService


class DutyTest(unittest.TestCase):

    def setUp(self):
        self.now = 0.0
        self.call = unittest.mock.Mock(return_value='done')
        self.duty = Duty('sweeping', self.call, lambda: self.now)

    def do(self, seconds):
        """Let seconds go by, one after the other."""
        for _ in range(seconds):
            self.duty.do()
            self.now += 1

    def test_works(self):
        """Done each time."""
        self.do(10)
        self.assertEqual(10, self.call.call_count)
        self.assertEqual('done', self.duty.do().value)

    def test_fails(self):
        """Done, and told of, less and less often."""
        self.call.side_effect = OSError('away')
        with self.assertLogs(celeryduty.log, 'WARNING') as logs:
            self.do(600)
        self.assertLess(self.call.call_count, 30)
        self.assertLess(len(logs.output), 8)
        self.assertIn('sweeping has failed, and is tried again: '
                      'builtins.OSError: away (', logs.output[0])
        self.assertIsNone(self.duty.do())

    def test_works_again(self):
        """As if nothing had been; one line says so."""
        self.call.side_effect = OSError
        with self.assertLogs(celeryduty.log, 'INFO') as logs:
            self.do(60)
            self.call.side_effect = None
            self.do(60)
        self.assertIn('sweeping works again', logs.output[-1])
        self.call.reset_mock()
        self.do(10)
        self.assertEqual(10, self.call.call_count)

    def test_whatever_is_raised(self):
        """Nothing ends the thread."""
        for error in (SystemExit, MemoryError, RecursionError,
                      GeneratorExit, BaseException):
            self.call.side_effect = error
            with self.assertLogs(celeryduty.log, 'WARNING'):
                self.assertTrue(Duty('x', self.call).do().failed)

    def test_nothing_to_tell(self):
        """Of the end of the process, and of services that are not there."""
        with self.assertNoLogs(celeryduty.log, 'INFO'):
            for error in ProcessorStopped, NoSuchService:
                self.call.side_effect = error
                Duty('x', self.call).do()
