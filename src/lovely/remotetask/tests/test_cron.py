"""Patterns in time zones; test_job has those in UTC."""

import datetime
import time
import unittest
import unittest.mock
import zoneinfo

from lovely.remotetask.job import CronJob


BERLIN = zoneinfo.ZoneInfo('Europe/Berlin')


def cron(timezone='Europe/Berlin', **fields):
    return CronJob(1, 'test.task', None, timezone=timezone, **fields)


def runs(job, begin, end):
    """Return all times between two dates, in UTC."""
    now = begin.replace(tzinfo=datetime.UTC).timestamp()
    end = end.replace(tzinfo=datetime.UTC).timestamp()
    found = []
    while (now := job.timeOfNextCall(now)) < end:
        found.append(datetime.datetime.fromtimestamp(now, datetime.UTC))
    return found


def local(found):
    return [time.astimezone(BERLIN).strftime('%d %H:%M') for time in found]


class ZoneTest(unittest.TestCase):

    def test_local_time(self):
        """The fields are local: 02:30 in Berlin is 01:30 UTC in winter."""
        found, = runs(cron(hour=(2,), minute=(30,)),
                      datetime.datetime(2026, 1, 10, 12),
                      datetime.datetime(2026, 1, 11, 12))
        self.assertEqual((1, 30), (found.hour, found.minute))

    def test_summer_time_begins(self):
        """A time that is skipped runs once, after the change."""
        found = runs(cron(hour=(2,), minute=(30,)),
                     datetime.datetime(2026, 3, 28, 0),
                     datetime.datetime(2026, 3, 31, 0))
        self.assertEqual([28, 29, 30], [time.day for time in found])
        self.assertEqual('28 02:30', local(found)[0])
        self.assertGreaterEqual(local(found)[1], '29 03:00')
        self.assertEqual('30 02:30', local(found)[2])

    def test_summer_time_ends(self):
        """A time that comes twice runs once."""
        found = runs(cron(hour=(2,), minute=(30,)),
                     datetime.datetime(2026, 10, 24, 0),
                     datetime.datetime(2026, 10, 27, 0))
        self.assertEqual(['24 02:30', '25 02:30', '26 02:30'], local(found))

    def test_every_day_of_some_years(self):
        """Each day of ten years has exactly one run."""
        found = runs(cron(hour=(2,), minute=(30,)),
                     datetime.datetime(2025, 1, 1),
                     datetime.datetime(2035, 1, 1))
        days = [time.astimezone(BERLIN).date() for time in found]
        self.assertEqual(3652, len(days))
        self.assertEqual(3652, len(set(days)))

    def test_every_hour(self):
        """A job of every hour runs 23 and 25 times on these days."""
        job = cron(minute=(0,))
        for month, day, count in ((3, 29, 23), (10, 25, 25)):
            begin = datetime.datetime(2026, month, day, tzinfo=BERLIN)
            end = begin + datetime.timedelta(days=1)
            found = runs(
                job, begin.astimezone(datetime.UTC)
                - datetime.timedelta(seconds=1),
                end.astimezone(datetime.UTC))
            with self.subTest(month):
                self.assertEqual(count, len(found))

    def test_day_of_week_is_local(self):
        """Monday at 00:00 in Berlin is Sunday in UTC."""
        found, = runs(cron(dayOfWeek=(0,), hour=(0,)),
                      datetime.datetime(2026, 6, 1, 0),
                      datetime.datetime(2026, 6, 8, 0))
        self.assertEqual((7, 22), (found.day, found.hour))

    def test_unknown_zone(self):
        """A zone that does not exist is named."""
        for name in ('Europe/Atlantis', '', '../etc/passwd', 'a\0b'):
            with self.subTest(name), \
                    self.assertRaisesRegex(ValueError, 'no time zone'):
                cron(timezone=name, hour=(2,))

    def test_the_machine_does_not_matter(self):
        """Nor does a zone depend on that of the machine."""
        self.addCleanup(time.tzset)
        expected = cron(hour=(2,)).timeOfNextCall(0)
        with unittest.mock.patch.dict('os.environ', TZ='Asia/Tokyo'):
            time.tzset()
            self.assertEqual(expected, cron(hour=(2,)).timeOfNextCall(0))


class ImpossibleTest(unittest.TestCase):

    def test_quickly(self):
        """That nothing ever matches is found out at once."""
        begin = time.monotonic()
        for fields in ({'dayOfMonth': (31,), 'month': (2, 4)},
                       {'dayOfMonth': (30,), 'month': (2,),
                        'dayOfWeek': (0,)}):
            for timezone in (None, 'Europe/Berlin'):
                with self.assertRaisesRegex(ValueError, 'No day ever'):
                    cron(timezone, **fields)
        self.assertLess(time.monotonic() - begin, 2)
