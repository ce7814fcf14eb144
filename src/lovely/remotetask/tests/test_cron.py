"""Patterns in time zones; test_job has those in UTC."""

import calendar
import datetime
import decimal
import enum
import fractions
import functools
import itertools
import math
import pickle
import statistics
import time
import unittest
import unittest.mock
import zoneinfo

import hypothesis
import hypothesis.strategies as st

from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask.cron import RANGES
from lovely.remotetask.cron import check_delay
from lovely.remotetask.job import CronJob
from lovely.remotetask.number import FIRST
from lovely.remotetask.number import LAST
from lovely.remotetask.tests import cronzones
from lovely.remotetask.tests.test_zone import zone_data


BERLIN = zoneinfo.ZoneInfo('Europe/Berlin')

DAY = 24 * 3600


def seconds(*args):
    """Return the POSIX seconds of a UTC time."""
    return calendar.timegm(datetime.datetime(*args).timetuple())


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


# Kept, with what they have seen.
watcher = functools.cache(cronzones.Watcher)


class ChangeTest(unittest.TestCase):
    """What happens when clocks are changed; all zones: see cronzones."""

    CHANGES = (
        ('Europe/Berlin', (2026, 3, 29, 1)),
        ('Europe/Berlin', (2026, 10, 25, 1)),
        # Half an hour.
        ('Australia/Lord_Howe', (2026, 4, 4, 15)),
        ('Australia/Lord_Howe', (2026, 10, 3, 15, 30)),
        # Summer is the standard, and winter the exception.
        ('Europe/Dublin', (2026, 3, 29, 1)),
        ('Africa/Casablanca', (2026, 2, 15, 2)),
        ('Africa/Casablanca', (2026, 3, 22, 2)),
        # At midnight, and before.
        ('America/Havana', (2026, 3, 8, 5)),
        ('America/Nuuk', (2026, 3, 29, 1)),
        # Another standard time: an hour, half an hour, a day.
        ('Asia/Pyongyang', (2015, 8, 14, 15)),
        ('Europe/Volgograd', (2020, 12, 26, 22)),
        ('Pacific/Apia', (2011, 12, 30, 10)),
        # Two hours; seven hours.
        ('Antarctica/Troll', (2026, 10, 25, 1)),
        ('Antarctica/Vostok', (1994, 1, 31, 17)),
        # An offset with seconds.
        ('Africa/Monrovia', (1972, 1, 7, 0, 44, 30)),
    )

    def test_changes_are_where_they_are_said_to_be(self):
        """Otherwise the other tests would test nothing."""
        for zone, change in self.CHANGES:
            watcher = cronzones.Watcher(zone)
            with self.subTest(zone):
                self.assertNotEqual(watcher.offset(seconds(*change) - 1),
                                    watcher.offset(seconds(*change)))

    @hypothesis.settings(max_examples=150, deadline=None, database=None)
    @hypothesis.given(
        st.sampled_from(CHANGES), st.fixed_dictionaries({}, optional={
            'minute': st.sets(st.integers(0, 59), min_size=1, max_size=4),
            'hour': st.sets(st.integers(0, 3), min_size=1, max_size=3)
            | st.sets(st.integers(0, 23), min_size=1, max_size=3)
            | st.just(range(24)),
            'dayOfMonth': st.sets(st.integers(28, 31), min_size=1),
            'dayOfWeek': st.sets(st.integers(0, 6), min_size=1)}),
        st.integers(-8 * 3600, 8 * 3600),
        st.sampled_from((0, 0.5, 0.999)))
    def test_against_a_watch(self, change, fields, moment, fraction):
        """The next time is when somebody who watches the clock would run it.
        """
        zone, change = change[0], seconds(*change[1])
        now = change + moment + fraction
        # At each whole minute that the clock shows before or after the change.
        step = 30 if change % 60 else 60
        begin = change - cronzones.AROUND
        end = change + cronzones.AROUND
        runs = watcher(zone, step).watch(
            begin, end, cronzones.Expectation(fields))
        later = [run for run in runs if run > now]
        found = cronzones.make(zone, fields).after(now)
        self.assertGreater(found, now)
        self.assertIs(int, type(found))
        if later:
            self.assertEqual(later[0], found)
        else:
            self.assertGreaterEqual(found, end)

    def assertRuns(self, expected, zone, begin, hours, **fields):
        begin = datetime.datetime(*begin)
        found = [time.astimezone(zoneinfo.ZoneInfo(zone)) for time in runs(
            cron(zone, **fields), begin,
            begin + datetime.timedelta(hours=hours))]
        self.assertEqual(
            expected, [time.strftime('%d %H:%M') for time in found])

    def test_asked_in_an_hour_that_comes_twice(self):
        """A time that was run in the first one is over."""
        for zone, fields, now, expected in (
                ('Europe/Berlin', {'hour': (2,), 'minute': (30,)},
                 (2026, 10, 25, 1, 10), (2026, 10, 26, 1, 30)),
                ('America/New_York', {'hour': (1,), 'minute': (15,)},
                 (2026, 11, 1, 6, 5), (2026, 11, 2, 6, 15)),
                ('Australia/Lord_Howe', {'hour': (1,), 'minute': (45,)},
                 (2026, 4, 4, 15, 5), (2026, 4, 5, 15, 15)),
                ('Europe/Berlin', {'hour': (2,), 'minute': range(60)},
                 (2026, 10, 25, 1, 10), (2026, 10, 26, 1, 0))):
            with self.subTest(zone):
                self.assertEqual(
                    seconds(*expected),
                    cron(zone, **fields).timeOfNextCall(seconds(*now)))

    def test_every_half_hour_goes_on(self):
        """Without hours it is run in both of the hours."""
        self.assertRuns(
            ['25 01:30', '25 02:00', '25 02:30', '25 02:00', '25 02:30',
             '25 03:00'],
            'Europe/Berlin', (2026, 10, 24, 23, 15), 3, minute=(0, 30))

    def test_all_hours_are_as_good_as_none(self):
        """Who names all 24 means every hour."""
        self.assertRuns(
            ['25 01:30', '25 02:30', '25 02:30', '25 03:30'],
            'Europe/Berlin', (2026, 10, 24, 23, 15), 4,
            minute=(30,), hour=range(24))

    def test_half_an_hour_is_skipped(self):
        """In Lord Howe 02:00 to 02:30 is left out."""
        begin = 2026, 10, 3, 15
        self.assertRuns(['04 02:30', '04 03:30'], 'Australia/Lord_Howe',
                        begin, 2, minute=(30,))
        self.assertRuns(['04 03:15', '04 04:15'], 'Australia/Lord_Howe',
                        begin, 3, minute=(15,))
        self.assertRuns(['04 02:30'], 'Australia/Lord_Howe',
                        begin, 3, minute=(15,), hour=(2,))

    def test_half_an_hour_comes_twice(self):
        """In Lord Howe 01:30 to 02:00 does."""
        begin = 2026, 4, 4, 14
        self.assertRuns(['05 01:30', '05 01:30', '05 02:30'],
                        'Australia/Lord_Howe', begin, 3, minute=(30,))
        self.assertRuns(['05 01:30'], 'Australia/Lord_Howe', begin, 3,
                        minute=(30,), hour=(1,))

    def test_a_day_is_skipped(self):
        """There was no 30 December 2011 in Samoa; it is run after that."""
        for fields, expected in (
                ({'hour': (12,)}, ['29 12:00', '31 00:00', '31 12:00']),
                ({'dayOfMonth': (30,)}, ['31 00:00']),
                ({'dayOfMonth': (30,), 'minute': (30,)}, ['31 00:00']),
                ({'dayOfWeek': (4,), 'hour': (9, 10)}, ['31 00:00']),
                ({'hour': range(24)}, None)):
            with self.subTest(fields):
                if expected is None:
                    expected = [f'{day} {hour:02}:00' for day in (29, 31)
                                for hour in range(24)]
                self.assertRuns(
                    expected, 'Pacific/Apia', (2011, 12, 29, 9, 59), 48,
                    **fields)

    def test_times_that_are_skipped_together(self):
        """They are run once, and not again at the time of the change."""
        self.assertRuns(
            ['29 03:00', '29 03:59', '30 02:00'], 'Europe/Berlin',
            (2026, 3, 29, 0, 30), 24, hour=(2, 3), minute=(0, 59))


class TimeTest(unittest.TestCase):
    """What `now` may be."""

    PATTERNS = ({}, {'minute': (30,)}, {'hour': (2,)},
                {'month': (2,), 'dayOfMonth': (29,), 'dayOfWeek': (0,)})
    ZONES = (None, 'Europe/Berlin', 'Pacific/Kiritimati', 'Etc/GMT+12')

    def test_any_time_of_the_calendar(self):
        """The result is later, or there is none."""
        class Number(int):
            pass
        for now in (-1, 0, 0.5, -1e9, Number(5), 1 << 40, FIRST, FIRST + 0.5,
                    LAST, LAST - 1, LAST - 86400.5, LAST - 3e9):
            for zone in self.ZONES:
                for fields in self.PATTERNS:
                    with self.subTest(f'{now} {zone} {fields}'):
                        job = cron(zone, **fields)
                        try:
                            found = job.timeOfNextCall(now)
                        except ValueError as error:
                            self.assertIn('year', str(error))
                            self.assertGreater(now, LAST - 4e9)
                        else:
                            self.assertGreater(found, now)
                            self.assertIs(int, type(found))

    def test_no_time(self):
        """What is none raises ValueError and says so."""
        for now in (math.nan, math.inf, -math.inf, 1e300, 10 ** 400, -1e12,
                    LAST + 1, FIRST - 1, '0', True, (), object(),
                    datetime.datetime.now()):
            for job in (cron(hour=(2,)), cron(None), cron(delay=5)):
                with self.subTest(now), self.assertRaisesRegex(
                        ValueError, 'POSIX seconds'):
                    job.timeOfNextCall(now)

    def test_quickly(self):
        """Nobody waits for the next time, however rare, or odd, it is."""
        leap_day = {'month': (2,), 'dayOfMonth': (29,), 'dayOfWeek': (0,)}
        for zone in ('Europe/Berlin', 'Antarctica/Vostok'):
            for fields in (
                    {}, {'hour': (2,), 'minute': range(60)}, leap_day,
                    {**leap_day, 'minute': range(60), 'hour': range(23)}):
                pattern = cronzones.make(zone, fields)
                times = []
                for now in (seconds(1994, 1, 31, 17, 1), seconds(2096, 3, 1),
                            seconds(2026, 10, 25, 1, 1)):
                    for _ in range(5):
                        begin = time.perf_counter()
                        pattern.after(now)
                        times.append(time.perf_counter() - begin)
                with self.subTest(f'{zone} {fields}'):
                    self.assertLess(statistics.median(times), 0.005)

    def test_leap_days(self):
        """Each weekday has its 29 February, in any century."""
        days = [datetime.datetime(year, 2, 29) for year in range(1970, 2420)
                if calendar.isleap(year)]
        for year in range(1970, 2370):
            weekday = year % 7
            expected = next(day for day in days if day.year >= year
                            and day.weekday() == weekday)
            self.assertEqual(
                [expected.replace(tzinfo=datetime.UTC)],
                runs(cron(None, month=(2,), dayOfMonth=(29,),
                          dayOfWeek=(weekday,)),
                     datetime.datetime(year, 1, 1),
                     expected + datetime.timedelta(1)))


class ImpossibleTest(unittest.TestCase):

    def test_quickly(self):
        """That nothing ever matches is found out at once."""
        begin = time.process_time()
        for fields in ({'dayOfMonth': (31,), 'month': (2, 4)},
                       {'dayOfMonth': (30,), 'month': (2,),
                        'dayOfWeek': (0,)}):
            for timezone in (None, 'Europe/Berlin'):
                with self.assertRaisesRegex(ValueError, 'No day ever'):
                    cron(timezone, **fields)
        # To look at each minute of a cycle of the calendar takes hours.
        self.assertLess(time.process_time() - begin, 60)


class Hour(enum.IntEnum):
    TWO = 2


class Wait(float, enum.Enum):
    SHORT = 0.5


class Zone(enum.StrEnum):
    BERLIN = 'Europe/Berlin'


class NumpyLike:
    """An integer as numpy has it: no int, but an index."""

    def __index__(self):
        return 2


class FieldsTest(unittest.TestCase):

    def test_collections(self):
        """Whatever holds whole numbers is taken, and stored as a tuple."""
        for value, expected in (
                ((2, 13), (2, 13)), ([13, 2], (13, 2)), ({13, 2}, (2, 13)),
                (frozenset({2}), (2,)), (range(2, 6, 2), (2, 4)),
                ((hour for hour in (2, 4)), (2, 4)), (iter([2]), (2,)),
                ({2: 'two'}.keys(), (2,)), ([2, 2], (2,)),
                (2, (2,)), (0, (0,)), (Hour.TWO, (2,)), (NumpyLike(), (2,)),
                ([Hour.TWO], (2,)), ([NumpyLike()], (2,)), (Hour, (2,)),
                ((), ()), ([], ()), (None, ())):
            with self.subTest(value):
                job = cron(hour=value)
                self.assertEqual(expected, job.hour)
                self.assertIs(tuple, type(job.hour))
                self.assertEqual({int}, {int, *map(type, job.hour)})

    def test_what_is_no_number(self):
        """The message says which field, what it is, and what to write."""
        nested = ()
        for _ in range(100_000):
            nested = (nested,)
        for value in ('24', '2,-1', '', b'2', (2.0,), 2.0, ('2',), ('mon',),
                      (True,), True, (None,), ((2,),), nested, {2: 'two'},
                      object(), datetime.time(2), (math.nan,), (10 ** 5000,),
                      10 ** 5000, (-1,), (24,), 24, -1, [2, 'x'], {2, 'x'},
                      itertools.count(), itertools.repeat(2),
                      range(10 ** 9), [2] * 5000):
            with self.subTest(type(value)), self.assertRaisesRegex(
                    ValueError, r'hour must be 0 to 23, not .*hour=\(2,\)'):
                cron(hour=value)

    def test_nothing_of_the_application_is_stored(self):
        """Its classes may move."""
        job = cron(Zone.BERLIN, hour=Hour.TWO, minute=[NumpyLike()])
        self.assertNotIn(__name__.encode(), pickle.dumps(job.__getstate__()))
        self.assertIs(str, type(job.timezone))
        job.update(delay=Wait.SHORT)
        self.assertNotIn(__name__.encode(), pickle.dumps(job.__getstate__()))

    def test_the_zone(self):
        """It is a name; test_zone has more."""
        for value, advice in ((datetime.UTC, "'UTC'"),
                              (BERLIN, "'Europe/Berlin'"),
                              ('', '"Europe/Berlin"')):
            with self.subTest(value), \
                    self.assertRaisesRegex(ValueError, advice):
                cron(value, hour=(2,))

    def test_a_refused_update_changes_nothing(self):
        """Not even a part of the fields."""
        job = cron(hour=(2,))
        before = job.__getstate__()
        for fields in ({'minute': (5,), 'hour': '24'},
                       {'minute': 5, 'timezone': 'Mars/X'},
                       {'hour': 5, 'delay': math.nan},
                       {'hour': 5, 'delay': 5}):
            with self.assertRaises(ValueError):
                job.update(**fields)
            self.assertEqual(before, job.__getstate__())


class DelayTest(unittest.TestCase):

    def test_delays(self):
        """Whole seconds and fractions, of any type of number."""
        for value, expected in ((5, 5), (0.5, 0.5), (Hour.TWO, 2),
                                (Wait.SHORT, 0.5), (NumpyLike(), 2),
                                (10 ** 9, 10 ** 9)):
            with self.subTest(value):
                job = cron(delay=value)
                self.assertEqual(expected, job.delay)
                self.assertIs(type(expected), type(job.delay))
                self.assertFalse(job.recurring)

    def test_no_delay(self):
        """None, and, as published, 0."""
        for value in (None, 0, 0.0):
            self.assertTrue(cron(delay=value).recurring)

    def test_beside_a_pattern(self):
        """One of the two would be dropped."""
        for name in RANGES:
            for value in (1, (1,), '1'):
                fields = {name: value}
                with self.subTest(**fields):
                    with self.assertRaisesRegex(ValueError, 'one of the two'):
                        cron(delay=5, **fields)
                    self.assertTrue(cron(delay=0, **fields).recurring)
        job = cron(hour=2)
        job.update(delay=5, hour=(), timezone='Europe/Berlin')
        self.assertFalse(job.recurring)

    def test_wrong(self):
        """The message says what it is, and what is right."""
        for value in (math.nan, -1, -0.1, -math.inf, True, False, '5', '',
                      decimal.Decimal(5), fractions.Fraction(1, 2), (5,), (),
                      datetime.datetime.now(), object()):
            for call in (check_delay, lambda value: cron(delay=value)):
                with self.subTest(value), self.assertRaisesRegex(
                        ValueError, 'delay must be a number of seconds, 0'):
                    call(value)

    def test_a_timedelta(self):
        """The message has the number to write."""
        with self.assertRaisesRegex(
                ValueError, r'delay must .* write 5400\.0'):
            check_delay(datetime.timedelta(hours=1.5))

    def test_too_long(self):
        """Dates end with the year 9999; the message has the limit."""
        for value in (math.inf, 1e300, 10 ** 400, LAST):
            for call in (check_delay, lambda value: cron(delay=value)):
                with self.subTest(value), self.assertRaisesRegex(
                        ValueError, r'delay must end before the year 9999 '
                        r'does, so it is \d{12} seconds at most'):
                    call(value)

    def test_is_never_over_too_early(self):
        """Fractions of seconds are rounded up."""
        for now, delay, expected in (
                (0, 10, 10), (0.5, 10, 11), (100.9, 1, 102), (0.1, 0.2, 1),
                (100, 0.1, 101), (LAST - 10, 10, LAST), (-5, 2, -3)):
            with self.subTest(now):
                job = cron(delay=10)
                job.delay = delay
                self.assertEqual(expected, job.timeOfNextCall(now))


class StoredTest(unittest.TestCase):
    """Jobs that somebody else has stored: older code, or a newer one."""

    def test_delay_beside_a_pattern(self):
        """It stays what it was: run once, after its delay."""
        job = cron(hour=(2,))
        job.delay = 5
        self.assertFalse(job.recurring)
        self.assertEqual(15, job.timeOfNextCall(10))

    def test_values_that_cannot_be(self):
        """They raise ValueError, with the values, and nothing else."""
        for name, value, shown in (
                ('minute', (0, 60), '60'), ('hour', (24,), '24'),
                ('hour', ('2',), "'2'"), ('hour', 5.5, '5.5'),
                ('dayOfMonth', object(), 'object'), ('month', (0,), '0'),
                ('dayOfWeek', (10 ** 5000,), '16610 bits'),
                ('delay', 1e300, r'1e\+300'), ('delay', 10 ** 400, 'bits'),
                ('delay', -5, '-5'), ('delay', math.nan, 'nan'),
                ('delay', 'soon', 'soon'), ('delay', (), r'\(\)'),
                ('timezone', 'Mars/X', 'Mars/X'), ('timezone', 5, '5'),
                ('timezone', BERLIN, 'Berlin'), ('timezone', '', "''")):
            job = cron(hour=(2,))
            setattr(job, name, value)
            job.due = 1
            for call in job.timeOfNextCall, job.corrected_due:
                with self.subTest(f'{name} {shown}'), \
                        self.assertRaisesRegex(ValueError, shown):
                    call(0)

    def test_no_day(self):
        """A pattern that lovely.remotetask 0.5 took, and no day matches."""
        job = cron(hour=(2,))
        job.month, job.dayOfMonth = (2,), (30,)
        with self.assertRaisesRegex(
                ValueError, r'No day ever .*dayOfMonth=\(30,\), month=\(2,\)'):
            job.timeOfNextCall(0)

    def test_fields_that_are_missing(self):
        """They are empty."""
        job = cron(minute=(5,))
        for name in ('hour', 'dayOfMonth', 'month', 'dayOfWeek', 'delay',
                     'timezone'):
            del job.__dict__[name]
        self.assertEqual(300, job.timeOfNextCall(0))

    def test_without_time_zone_data(self):
        """In a process that has none, the reason is that."""
        job, utc = cron(hour=(2,)), cron(None, hour=(2,))
        with zone_data():
            with self.assertRaisesRegex(
                    interfaces.NoTimeZone, 'no time zone data.*tzdata'):
                job.timeOfNextCall(0)
            with self.assertRaisesRegex(
                    interfaces.NoTimeZone, 'no time zone data.*tzdata'):
                cron(hour=(2,))
            self.assertEqual(7200, utc.timeOfNextCall(0))
        self.assertEqual(3600, job.timeOfNextCall(0))

    def test_dates_beyond_the_calendar(self):
        """lovely.remotetask 0.5 has stored them; they can be shown."""
        job = cron(delay=5)
        for due, year in ((1e300, 9999), (10 ** 400, 9999), (math.inf, 9999),
                          (-1e300, 1), (math.nan, 1)):
            job.due = due
            self.assertEqual(year, job.scheduledFor.year)


class CorrectedDueTest(unittest.TestCase):
    """A clock that was ahead for a moment has made a job due."""

    NOW = 1_800_000_000  # 15 January 2027, 08:00 UTC

    def corrected(self, due, now=NOW, attempts=0, **fields):
        job = cron(None, **fields)
        job.created = now
        job.due = due
        job.attempts = attempts
        return job.corrected_due(now)

    def test_as_it_should_be(self):
        """The next time, one that is over, or none yet."""
        for due in (None, 0, self.NOW - 1, self.NOW, self.NOW + 3600):
            self.assertIsNone(self.corrected(due, minute=(0,)))

    def test_far_too_late(self):
        """It is the next time from now."""
        for due in (self.NOW + 10 * 365 * DAY, self.NOW + 8 * DAY,
                    self.NOW + 7200, math.inf, 1e300, math.nan, 'late'):
            self.assertEqual(
                self.NOW + 3600, self.corrected(due, minute=(0,)))

    def test_what_was_missed(self):
        """A time that has passed since the last run is made up for, once."""
        late = self.NOW + 10 * 365 * DAY
        for history, due in (
                ([self.NOW - 1800], self.NOW),
                ([self.NOW - 2 * 3600 + 5], self.NOW - 3600),
                ([self.NOW - 2 * 3600 + 5, late - 60], self.NOW - 3600)):
            with self.subTest(history):
                job = cron(None, minute=(0,))
                job.created = self.NOW - 9 * DAY
                job._history = tuple(
                    (started, 1.0, 'host:1:thread') for started in history)
                job.due = late
                self.assertEqual(due, job.corrected_due(self.NOW))

    def test_what_was_before_a_change(self):
        """A time before the pattern was changed is none that was missed."""
        job = cron(None, minute=(0,))
        job.created = self.NOW - 9 * DAY
        with moment.at(self.NOW - 5):
            job.update(minute=(30,))
        job.due = self.NOW + 10 * 365 * DAY
        self.assertEqual(self.NOW + 1800, job.corrected_due(self.NOW))

    def test_rare_times(self):
        """What is years away may be right."""
        leap_day = {'month': (2,), 'dayOfMonth': (29,)}
        right = seconds(2028, 2, 29)
        self.assertIsNone(self.corrected(right, **leap_day))
        self.assertEqual(
            right, self.corrected(seconds(2032, 2, 29), **leap_day))

    def test_clocks_that_differ_a_little(self):
        """Who has run it a bit too early must not run it again."""
        for ahead in (0.5, 5, 70):
            self.assertIsNone(self.corrected(
                self.NOW + 120, now=self.NOW + 60 - ahead))

    def test_delays(self):
        """A delay is over after that time at the latest."""
        self.assertIsNone(self.corrected(self.NOW + 10, delay=10))
        self.assertEqual(
            self.NOW + 10, self.corrected(self.NOW + 9 * DAY, delay=10))

    def test_another_attempt(self):
        """It may have to wait for that longer than for the next time."""
        self.assertIsNone(self.corrected(self.NOW + 3600, attempts=1))
        self.assertIsNotNone(self.corrected(self.NOW + 3600))
        self.assertEqual(
            self.NOW + 60, self.corrected(self.NOW + DAY, attempts=1))

    def test_a_clock_that_is_wrong_now(self):
        """No time at all is refused."""
        for now in (math.nan, math.inf, 1e300, 'now'):
            with self.assertRaises(ValueError):
                self.corrected(self.NOW, now)
