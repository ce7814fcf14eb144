"""Who has given no sign of life, by the clock of the one who looks."""

import unittest

from lovely.remotetask.running.watch import Watch


class WatchTest(unittest.TestCase):

    def setUp(self):
        self.watch = Watch(15, 4)
        self.now = 1000.0

    def look(self, seconds=15.0, **signs):
        self.now += seconds
        self.watch.look(signs, self.now)

    def silent(self, who='a'):
        return self.watch.is_silent(who)

    def test_four_intervals(self):
        """One whose sign has not changed for four intervals is silent."""
        for _ in range(5):
            self.assertFalse(self.silent())
            self.look(a=1)
        self.assertTrue(self.silent())

    def test_first_looks(self):
        """The first look tells nothing, however long there was none."""
        self.look(10 ** 6, a=1)
        self.assertFalse(self.silent())

    def test_sign(self):
        """Any change is a sign of life, backwards as well."""
        for number in range(30):
            self.look(a=-number)
            self.assertFalse(self.silent())

    def test_looks_more_often(self):
        """Time counts, not the number of looks."""
        self.look(a=1)
        for _ in range(50):
            self.look(1.0, a=1)
        self.assertFalse(self.silent())
        for _ in range(10):
            self.look(1.0, a=1)
        self.assertTrue(self.silent())

    def test_stall(self):
        """A gap between two looks counts for one interval at most."""
        self.look(a=1)
        for _ in range(3):
            self.look(10 ** 5, a=1)
            self.assertFalse(self.silent())
        self.look(10 ** 5, a=1)
        self.assertTrue(self.silent())

    def test_clock_that_stands_still(self):
        """A clock that does not go, or goes back, makes nobody old."""
        for seconds in [0.0] * 50 + [-100.0] * 50:
            self.look(seconds, a=1)
        self.assertFalse(self.silent())

    def test_each_by_itself(self):
        """That others are heard of helps none."""
        for number in range(5):
            self.look(a=1, b=number)
        self.assertTrue(self.silent('a'))
        self.assertFalse(self.silent('b'))

    def test_comes_later(self):
        """One that comes later, or comes back, is watched from then on."""
        for _ in range(5):
            self.look(a=1)
        self.look(a=1, b=1)
        self.assertFalse(self.silent('b'))
        self.look(b=1)
        self.look(a=1, b=1)
        self.assertFalse(self.silent('a'))

    def test_unknown(self):
        """Of one that was never seen nothing is known."""
        self.assertFalse(self.silent('nobody'))

    def test_who_was_seen(self):
        """It knows those of the last look, and their signs."""
        self.look(a=1, b=2)
        self.look(b=3, c=4)
        self.assertEqual({'b': 3, 'c': 4},
                         self.watch.signs())
