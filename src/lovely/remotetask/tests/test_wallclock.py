"""What a clock in a time zone shows, and when."""

import datetime
import unittest
import zoneinfo

from lovely.remotetask.wallclock import WallClock


def time(*args):
    return int(datetime.datetime(*args, tzinfo=datetime.UTC).timestamp())


def clock(name):
    return WallClock(zoneinfo.ZoneInfo(name))


class WallClockTest(unittest.TestCase):

    def test_usual_days(self):
        """The clock shows each reading once."""
        berlin, noon = clock('Europe/Berlin'), datetime.datetime(
            2026, 1, 10, 12)
        self.assertEqual(noon, berlin.reading(time(2026, 1, 10, 11)))
        self.assertEqual([time(2026, 1, 10, 11)], berlin.times(noon))
        self.assertEqual(time(2026, 1, 10, 11), berlin.first_time(noon))
        self.assertIsNone(berlin.turned_back(time(2026, 1, 10, 11)))

    def test_set_forward(self):
        """What it skips it never shows; the change takes its place."""
        for name, skipped, change in (
                ('Europe/Berlin', (2026, 3, 29, 2, 30), (2026, 3, 29, 1)),
                ('Europe/Dublin', (2026, 3, 29, 1, 30), (2026, 3, 29, 1)),
                ('Australia/Lord_Howe', (2026, 10, 4, 2, 15),
                 (2026, 10, 3, 15, 30)),
                ('Africa/Casablanca', (2026, 3, 22, 2, 15), (2026, 3, 22, 2)),
                ('Pacific/Apia', (2011, 12, 30, 12), (2011, 12, 30, 10))):
            with self.subTest(name):
                reading = datetime.datetime(*skipped)
                self.assertEqual([], clock(name).times(reading))
                self.assertEqual(
                    time(*change), clock(name).first_time(reading))

    def test_turned_back(self):
        """What it repeats it shows twice."""
        for name, repeated, times, change in (
                ('Europe/Berlin', (2026, 10, 25, 2, 30),
                 ((2026, 10, 25, 0, 30), (2026, 10, 25, 1, 30)),
                 (2026, 10, 25, 1)),
                ('Australia/Lord_Howe', (2026, 4, 5, 1, 45),
                 ((2026, 4, 4, 14, 45), (2026, 4, 4, 15, 15)),
                 (2026, 4, 4, 15))):
            with self.subTest(name):
                reading = datetime.datetime(*repeated)
                times = [time(*one) for one in times]
                self.assertEqual(times, clock(name).times(reading))
                self.assertEqual(times[0], clock(name).first_time(reading))
                self.assertEqual(
                    [time(*change), None],
                    [clock(name).turned_back(one) for one in times])

    def test_offsets_with_seconds(self):
        """Clocks in Monrovia were 44 minutes and 30 seconds behind."""
        monrovia = clock('Africa/Monrovia')
        reading = datetime.datetime(1971, 6, 1, 12)
        self.assertEqual([time(1971, 6, 1, 12, 44, 30)],
                         monrovia.times(reading))
