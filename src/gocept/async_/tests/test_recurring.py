"""What goes wrong again and again is tried, and told, ever less often."""

import logging
import unittest

from gocept.async_.recurring import Complaint
from gocept.async_.recurring import Trial
from gocept.async_.tests.clock import Clock
from lovely.remotetask.retry import Pauses


class PausesTest(unittest.TestCase):

    def test_growth(self):
        """They double up to the longest one, and begin anew when told so."""
        pauses = Pauses(1.0, 5.0)
        self.assertEqual(
            [1.0, 2.0, 4.0, 5.0, 5.0], [pauses.next() for _ in range(5)])
        pauses.reset()
        self.assertEqual(1.0, pauses.next())


class ComplaintTest(unittest.TestCase):

    def setUp(self):
        self.clock = Clock()
        self.said = []
        self.complaint = Complaint(
            lambda text, *args: self.said.append(text % args), self.clock)

    def test_an_hour_of_it(self):
        """What happens each second for an hour is ten lines at most."""
        for _ in range(3600):
            self.complaint.say('no room for %s', 'x')
            self.clock.now += 1
        self.assertLess(len(self.said), 10)
        self.assertEqual('no room for x', self.said[0])
        self.assertEqual(
            'no room for x (9 times more since it was said)', self.said[1])

    def test_end(self):
        """When it is over, the next time is the first one."""
        self.assertFalse(self.complaint.end())
        self.complaint.say('away')
        self.assertTrue(self.complaint.end())
        self.complaint.say('away')
        self.assertEqual(['away', 'away'], self.said)


class TrialTest(unittest.TestCase):

    def test_failures(self):
        """It is tried again after a pause, and said when it works."""
        calls = []
        log = logging.getLogger(f'{__name__}.trial')

        def call():
            calls.append(None)
            if len(calls) < 3:
                raise OSError('full')
        trial = Trial(call, 'write', log, Pauses(1.0, 8.0))
        with self.assertLogs(log) as logged:
            for now in (0.0, 0.5, 1.0, 1.5, 2.9, 3.0):
                trial.run(now)
        self.assertEqual(3, len(calls))
        self.assertEqual(
            ['cannot write: full', 'can write again'],
            [record.getMessage() for record in logged.records])
