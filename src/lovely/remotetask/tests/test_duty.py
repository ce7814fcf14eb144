"""What is tried again: pauses, and what the log is told."""

import random
import unittest
import unittest.mock

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running.duty import LONGEST_PAUSE
from lovely.remotetask.running.duty import Duty
from lovely.remotetask.running.duty import Pauses
from lovely.remotetask.running.duty import reason_of


class PausesTest(unittest.TestCase):

    def test_grow(self):
        """They grow, each by chance, up to the longest one."""
        pauses = Pauses()
        found = [pauses.next() for _ in range(20)]
        self.assertTrue(0.05 <= found[0] <= 0.1)
        self.assertTrue(all(
            LONGEST_PAUSE / 2 <= each <= LONGEST_PAUSE
            for each in found[9:]))
        self.assertGreater(len(set(found)), 15)

    def test_most(self):
        """What costs nothing to be tried has no long ones."""
        pauses = Pauses(1.0)
        self.assertTrue(all(
            pauses.next() <= 1.0 for _ in range(20)))

    def test_reset(self):
        """After a success they begin with the shortest one."""
        pauses = Pauses()
        for _ in range(20):
            pauses.next()
        pauses.reset()
        self.assertLessEqual(pauses.next(), 0.1)


class DutyTest(unittest.TestCase):

    def setUp(self):
        self.duty = Duty('work')
        self.now = 1000.0

    def fail_for(self, seconds, reason='it is broken', kind=None,
                 patience=0.0):
        """Fail as often as is tried; return how often the log was told."""
        end, told = self.now + seconds, 0
        self.times = 0
        while self.now < end:
            if self.duty.is_due(self.now):
                self.times += 1
                told += self.duty.has_failed(
                    self.now, reason, kind, patience)
            self.now += 0.01
        return told

    def test_interval(self):
        """It is due at once, and then after its interval."""
        duty = Duty('work', 15)
        self.assertTrue(duty.is_due(0.0))
        self.assertFalse(duty.has_ended(100.0))
        self.assertFalse(duty.is_due(114.9))
        self.assertTrue(duty.is_due(115.0))

    def test_failing(self):
        """What fails for an hour is tried seldom, and told seldom."""
        told = self.fail_for(3600)
        self.assertLess(self.times, 300)
        self.assertLess(told, 12)
        self.assertGreater(told, 5)

    def test_a_few_seconds(self):
        """In three seconds it is tried a few times, and told once."""
        self.assertEqual(1, self.fail_for(3))
        self.assertTrue(3 <= self.times <= 8, self.times)

    def test_seldom(self):
        """What is done seldom is not done more often because it fails."""
        self.duty = Duty('work', 60)
        self.fail_for(600)
        self.assertLessEqual(self.times, 10)

    def test_trouble(self):
        """It says what cannot be done, and why, while that is so."""
        self.assertIsNone(self.duty.trouble)
        self.fail_for(1)
        self.assertEqual('cannot work: it is broken', self.duty.trouble)
        self.assertTrue(self.duty.has_ended(self.now))
        self.assertIsNone(self.duty.trouble)

    def test_well_again(self):
        """That it goes well is told where it was told that it did not."""
        self.assertFalse(self.duty.has_ended(self.now))
        self.fail_for(1)
        self.assertTrue(self.duty.has_ended(self.now))
        self.assertFalse(self.duty.has_ended(self.now))

    def test_patience(self):
        """Nobody is told of what passes within some seconds."""
        with unittest.mock.patch('time.monotonic', lambda: self.now):
            self.assertEqual(0, self.fail_for(9, patience=10))
            self.assertIsNone(self.duty.trouble)
            self.assertFalse(self.duty.has_ended(self.now))
            self.assertGreater(self.fail_for(60, patience=10), 0)
            self.assertIsNotNone(self.duty.trouble)

    def test_off_and_on(self):
        """What fails every second time does not fill the log."""
        told = 0
        for _ in range(1000):
            told += self.duty.has_failed(self.now, 'it is broken')
            self.now += 0.1
            self.duty.has_ended(self.now)
        self.assertLess(told, 10)

    def test_other_reasons(self):
        """Another kind of failure is told at once; endless kinds are not."""
        told = sum(self.duty.has_failed(
            self.now + number / 10, f'reason {number % 9}', number % 9)
            for number in range(90))
        self.assertEqual(5, told)

    def test_after_a_long_time(self):
        """After it went well for long enough, it is told as at first."""
        # With the longest pauses it is tried after 12.7 seconds.
        self.enterContext(unittest.mock.patch.object(
            random, 'uniform', lambda low, high: high))
        self.fail_for(3600)
        self.duty.has_ended(self.now)
        self.now += 7200
        self.assertEqual(2, self.fail_for(20))


class ReasonTest(unittest.TestCase):

    def reason(self, exception):
        def fail():
            raise exception
        return reason_of(outcome_of(fail))

    def test_never_empty(self):
        """An exception without a message has a class."""
        self.assertEqual('builtins.OSError: (no message)',
                         self.reason(OSError()))

    def test_one_line(self):
        """Control characters do not reach the log."""
        self.assertNotIn('\n', self.reason(OSError('one\ntwo\x1b[31m')))
        self.assertNotIn('\x1b', self.reason(OSError('one\ntwo\x1b[31m')))

    def test_long(self):
        """Nor do long texts."""
        self.assertLess(len(self.reason(OSError('x' * 10 ** 6))), 1000)
