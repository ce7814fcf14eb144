"""Whether a machine's clock is that of the storage, roughly."""

import unittest

from lovely.remotetask.running.clock import Clock


DAY = 86400.0


class SetClock(Clock):
    """Shows what it is told, and goes with the time that passes."""

    def __init__(self, off=0.0):
        super().__init__()
        # What time it is, and by how much this clock is ahead.
        self.true = 1e9
        self.off = off

    def wall(self):
        return self.true + self.off

    def monotonic(self):
        return self.true - 5e8

    def commit(self, storage_off=0.0, takes=0.0, after=0.0):
        """Commit after some seconds, and compare."""
        self.true += after
        before = self.wall(), self.monotonic()
        there = self.true + takes / 2 + storage_off
        self.true += takes
        self.compare(there, *before)


class CompareTest(unittest.TestCase):

    def test_two_comparisons_at_once(self):
        """The second one does not forget what is known."""
        clock = SetClock(-8 * DAY)
        for _ in range(2):
            clock.commit()
            clock.true += 2
        self.assertTrue(clock.is_far)
        for _ in range(3):
            clock.commit()
            self.assertTrue(clock.is_far)
            clock.true += 0.1

    def test_unknown(self):
        """Before it was compared, a clock is not good."""
        clock = SetClock()
        self.assertFalse(clock.is_good)
        self.assertFalse(clock.is_far)
        self.assertTrue(clock.wants_comparison())

    def test_same(self):
        """A clock that agrees is good, and need not be compared again."""
        for off in (0, 1, -1, 59, -59):
            with self.subTest(off):
                clock = SetClock(off)
                clock.commit()
                self.assertTrue(clock.is_good)
                self.assertFalse(clock.is_far)
                clock.true += 10 * DAY
                self.assertFalse(clock.wants_comparison())
                self.assertEqual(clock.wall(), clock.now())

    def test_slow_commit(self):
        """How long a commit takes does not matter."""
        clock = SetClock()
        clock.commit(takes=1000)
        self.assertEqual(0, clock.ahead)
        self.assertTrue(clock.is_good)

    def test_ahead(self):
        """One that is ahead is far; the time is that of the storage."""
        for off in (61, 8 * DAY, 3650 * DAY):
            with self.subTest(off):
                clock = SetClock(off)
                clock.commit()
                self.assertTrue(clock.is_far)
                self.assertFalse(clock.is_good)
                self.assertEqual(off, clock.ahead)
                self.assertEqual(clock.true, clock.now())

    def test_set_since_it_was_compared(self):
        """The time is right at once, before it is compared again.

        With what was right to subtract before, jobs would be dated by so much
        too early, and be removed as if they had been kept long enough.
        """
        for before, after in ((8 * DAY, 0), (0, 8 * DAY), (0, -DAY),
                              (1000 * DAY, 8 * DAY), (70, 0)):
            with self.subTest(before=before, after=after):
                clock = SetClock(before)
                clock.commit()
                clock.true += 100
                clock.off = after
                self.assertAlmostEqual(clock.true, clock.now(), 3)
                self.assertFalse(clock.is_good)

    def test_set_while_it_was_compared(self):
        """What was known before holds; it is compared again soon."""
        for before, after in ((70, 1000 * DAY), (0, 8 * DAY), (0, -DAY),
                              (8 * DAY, 0)):
            with self.subTest(before=before, after=after):
                clock = SetClock(before)
                clock.commit()
                clock.true += 100
                began = clock.wall(), clock.monotonic()
                there, clock.off = clock.true, after
                clock.compare(there, *began)
                self.assertAlmostEqual(clock.true, clock.now(), 3)
                self.assertFalse(clock.is_good)
                self.assertTrue(clock.wants_comparison())
                clock.commit(after=1)
                self.assertAlmostEqual(clock.true, clock.now(), 3)

    def test_set_while_it_was_compared_first(self):
        """Nothing is known then."""
        clock = SetClock()
        began = clock.wall(), clock.monotonic()
        there, clock.off = clock.true, DAY
        clock.compare(there, *began)
        self.assertFalse(clock.is_good)
        self.assertTrue(clock.wants_comparison())

    def test_behind(self):
        """One that is behind is far after a second comparison."""
        for off in (-70, -8 * DAY):
            with self.subTest(off):
                clock = SetClock(off)
                clock.commit()
                self.assertFalse(clock.is_good)
                self.assertFalse(clock.is_far)
                self.assertFalse(clock.wants_comparison())
                clock.true += 1
                self.assertTrue(clock.wants_comparison())
                clock.commit()
                self.assertTrue(clock.is_far)
                self.assertEqual(off, clock.ahead)
                self.assertEqual(clock.true, clock.now())

    def test_too_early(self):
        """A second comparison at once tells nothing."""
        clock = SetClock(-70)
        clock.commit()
        clock.commit(after=0.5)
        self.assertFalse(clock.is_far)
        self.assertFalse(clock.is_good)

    def test_ids_in_smallest_steps(self):
        """After somebody's clock was ahead, ids tell nothing."""
        clock = SetClock()
        clock.commit(3650 * DAY)
        self.assertFalse(clock.is_good)
        clock.true += 1
        # The next id is the last one, and the smallest step.
        clock.compare(
            1e9 + 3650 * DAY + 1e-7, clock.wall(), clock.monotonic())
        self.assertTrue(clock.is_good)
        self.assertEqual(clock.wall(), clock.now())

    def test_a_storage_that_is_ahead(self):
        """If ids go on with the time, it is this clock that is behind."""
        clock = SetClock()
        clock.commit(600)
        clock.commit(600, after=5)
        self.assertTrue(clock.is_far)
        self.assertEqual(-600, clock.ahead)

    def test_far_is_compared_again(self):
        """A storage's clock may be set right, without this one noticing."""
        clock = SetClock()
        clock.commit(-600)
        self.assertTrue(clock.is_far)
        self.assertFalse(clock.wants_comparison())
        clock.true += 60
        self.assertTrue(clock.wants_comparison())
        clock.commit()
        self.assertTrue(clock.is_good)

    def test_set(self):
        """A clock that was set is not good until it is compared."""
        for off in (6, -6, 8 * DAY, -8 * DAY):
            with self.subTest(off):
                clock = SetClock()
                clock.commit()
                clock.off = off
                self.assertFalse(clock.is_good)
                self.assertTrue(clock.wants_comparison())

    def test_set_right(self):
        """A clock that is corrected is compared at once, and good."""
        clock = SetClock(8 * DAY)
        clock.commit()
        clock.off = 0
        self.assertTrue(clock.wants_comparison())
        clock.commit()
        self.assertTrue(clock.is_good)

    def test_trusted(self):
        """Where the storage goes by this clock, there is nothing to do."""
        clock = SetClock(8 * DAY)
        clock.trusted = True
        self.assertFalse(clock.wants_comparison())
        self.assertTrue(clock.is_good)
        self.assertEqual(clock.wall(), clock.now())
        clock.commit()
        self.assertTrue(clock.is_good)
        self.assertEqual(clock.wall(), clock.now())


class SetBackTest(unittest.TestCase):

    def test_first(self):
        """The first look has nothing to compare with."""
        self.assertFalse(SetClock().was_set_back())

    def test_time_passes(self):
        """Time that passes, and a clock that is set forward, are no matter.
        """
        clock = SetClock()
        clock.was_set_back()
        clock.true += DAY
        self.assertFalse(clock.was_set_back())
        clock.off = 3650 * DAY
        self.assertFalse(clock.was_set_back())

    def test_back(self):
        """It tells once that the clock was set back, also after a pause."""
        clock = SetClock(3650 * DAY)
        clock.was_set_back()
        clock.off = 0
        clock.true += 100
        self.assertTrue(clock.was_set_back())
        self.assertFalse(clock.was_set_back())

    def test_a_little(self):
        """A few seconds are how clocks are kept right."""
        clock = SetClock()
        clock.was_set_back()
        clock.off = -4
        self.assertFalse(clock.was_set_back())
