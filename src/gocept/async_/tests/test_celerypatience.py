"""A transaction that never was holds nobody up for long."""

import time
import unittest
import unittest.mock

from persistent.timestamp import TimeStamp

from gocept.async_.celery import patience
from gocept.async_.celery.patience import Patience


def tid_at(seconds):
    """Return the id of a transaction at a time (POSIX seconds)."""
    moment = time.gmtime(seconds)
    return TimeStamp(*moment[:5], moment[5] + seconds % 1).raw()


class Clock:
    """Shows the time that a test says; it goes on while somebody sleeps."""

    now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class PatienceTest(unittest.TestCase):

    def setUp(self):
        self.clock = Clock()
        self.patience = Patience(self.clock)
        patch = unittest.mock.patch('time.sleep', self.clock.sleep)
        patch.start()
        self.addCleanup(patch.stop)
        self.asked = 0

    def ask(self):
        self.asked += 1

    def wait(self, seen=(), tid=None):
        """Wait.  Return whether it was seen, and how many seconds it took.

        seen -- what each look tells; at the end: not yet.
        """
        looks = iter(seen)
        began = self.clock.now
        found = self.patience.wait(
            lambda: next(looks, False), tid or tid_at(time.time()), self.ask)
        return found, self.clock.now - began

    def test_seen(self):
        """Nothing is asked, nobody waits."""
        self.assertEqual((True, 0), self.wait([True]))
        self.assertEqual(0, self.asked)

    def test_seen_when_it_was_asked_for(self):
        """A server has told of it before it answers."""
        self.assertEqual((True, 0), self.wait([False, True]))
        self.assertEqual(1, self.asked)

    def test_seen_later(self):
        """Where the answer may be an older one."""
        found, waited = self.wait([False] * 10 + [True])
        self.assertTrue(found)
        self.assertLess(waited, 0.1)

    def test_future(self):
        """Nobody has committed that; seconds or centuries ahead."""
        for seconds in 2, 60, 3600, 10 ** 9:
            self.assertEqual(
                (False, 0), self.wait(tid=tid_at(time.time() + seconds)))
        for tid in b'\xff' * 8, b'\x7f' + b'\xff' * 7:
            self.assertEqual((False, 0), self.wait(tid=tid))

    def test_in_vain(self):
        """All that wait in vain have some seconds together."""
        waited = [self.wait()[1] for _ in range(100)]
        self.assertLess(sum(waited), patience.IN_VAIN * 1.2)
        self.assertEqual([0] * 80, waited[-80:])
        self.assertEqual([0] * 80, [self.wait()[1] for _ in range(80)])
        # A tenth of the time that passes comes back.
        self.clock.now += 10
        self.assertAlmostEqual(1.0, self.wait()[1], 1)

    def test_not_in_vain(self):
        """Who sees it does not use that up."""
        for _ in range(100):
            self.assertTrue(self.wait([False] * 50 + [True])[0])
        self.assertGreater(self.wait()[1], 0.9)
