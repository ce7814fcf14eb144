"""How many jobs are claimed at a time."""

import unittest

from lovely.remotetask.running.tempo import MAX_BATCH
from lovely.remotetask.running.tempo import Tempo


class TempoTest(unittest.TestCase):

    def tempo(self, *durations):
        made = Tempo()
        for duration in durations:
            made.learn(duration)
        return made

    def test_unknown(self):
        """Before a job was run, each free thread gets one."""
        self.assertEqual(1, self.tempo().batch(1, 0))
        self.assertEqual(5, self.tempo().batch(5, 0))

    def test_short(self):
        """Of short jobs as many as half a second has time for."""
        self.assertEqual(10, self.tempo(0.05).batch(1, 0))
        self.assertEqual(20, self.tempo(0.05).batch(2, 0))
        self.assertEqual(MAX_BATCH, self.tempo(1e-9).batch(1, 0))
        self.assertEqual(MAX_BATCH, self.tempo(0.0).batch(1, 0))

    def test_long(self):
        """Of long ones each free thread gets one."""
        self.assertEqual(2, self.tempo(100).batch(2, 0))

    def test_busy(self):
        """Those that are busy keep theirs, and get no others."""
        self.assertEqual(3, self.tempo(0.001).batch(0, 3))
        self.assertEqual(MAX_BATCH + 1, self.tempo(0.001).batch(1, 1))

    def test_average(self):
        """It follows what jobs take."""
        made = self.tempo(1.0)
        for _ in range(50):
            made.learn(0.01)
        self.assertAlmostEqual(0.01, made.average, delta=0.01)

    def test_low_water(self):
        """Others are fetched before there are none."""
        self.assertEqual(10, self.tempo(0.001).low_water(1, 0))
        self.assertEqual(0, self.tempo(1).low_water(1, 0))

    def test_brisk(self):
        """Half a second has time for a full batch of them."""
        self.assertTrue(self.tempo(0.01).is_brisk)
        self.assertFalse(self.tempo(0.011).is_brisk)
        self.assertFalse(self.tempo().is_brisk)

    def test_fits(self):
        """Only short jobs are put together."""
        self.assertTrue(self.tempo(0.01).fits(10))
        self.assertFalse(self.tempo(0.01).fits(50))
        self.assertFalse(self.tempo(1.0).fits(1))
        self.assertFalse(self.tempo().fits(1))
