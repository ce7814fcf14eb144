"""Patterns in every time zone for ten years, against somebody with a watch.

The watcher knows nothing of `Pattern` and of how it calculates: he looks at
the clock on the wall once a minute, and notes when a job has to run.

Usage::

    bin/python -m lovely.remotetask.tests.cronzones [FIRST_YEAR [ZONE ...]]

All zones take some minutes.  Zones that do the same in these years are
checked once.
"""

import collections
import datetime
import sys
import time
import zoneinfo

from lovely.remotetask.cron import Pattern


MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
A_MINUTE = datetime.timedelta(minutes=1)

# How long before and after a change the clock is watched, in seconds.
AROUND = 26 * HOUR

# Patterns with more runs a day are looked at around the changes only.
MOST = 16

PATTERNS = (
    {},
    {'minute': (30,)},
    {'minute': (0, 15, 45)},
    {'hour': (2,)},
    {'hour': (0,)},
    {'hour': (23,), 'minute': (59,)},
    {'hour': (2,), 'minute': (30,)},
    {'hour': (1,), 'minute': (30,)},
    {'hour': (0, 1, 2, 3), 'minute': (0, 5, 30, 59)},
    {'hour': (2,), 'minute': tuple(range(60))},
    {'hour': tuple(range(24)), 'minute': (20,)},
    {'dayOfWeek': (6,)},
    {'dayOfWeek': (5, 6), 'minute': (30,)},
    {'dayOfMonth': (30,)},
    {'dayOfMonth': (30,), 'minute': (30,)},
    {'dayOfMonth': (1, 15, 31), 'hour': (2, 3), 'minute': (15,)},
    {'month': (3, 4, 10, 11)},
    {'month': (3, 10), 'dayOfWeek': (6,), 'hour': (2,), 'minute': (30,)},
    {'month': (2,), 'dayOfMonth': (29,)},
    {'month': (2,), 'dayOfMonth': (29,), 'dayOfWeek': (1,), 'hour': (12,)},
)


def make(zone, fields):
    return Pattern(*(fields.get(name, ()) for name in Pattern._fields[:5]),
                   timezone=zone)


class Expectation:
    """What the documentation of ICronJob says of some fields."""

    def __init__(self, fields):
        # From fine to coarse; days have two fields.
        given = [bool(fields.get('minute')), bool(fields.get('hour')),
                 bool(fields.get('dayOfMonth') or fields.get('dayOfWeek')),
                 bool(fields.get('month'))]
        finest = given.index(True) if any(given) else 0
        self.minutes = fields.get('minute') or (
            range(60) if finest == 0 else (0,))
        self.hours = fields.get('hour') or (
            range(24) if finest <= 1 else (0,))
        self.days = fields.get('dayOfMonth') or (
            range(1, 32) if finest <= 2 else (1,))
        self.months = fields.get('month') or range(1, 13)
        self.weekdays = fields.get('dayOfWeek') or range(7)
        self.of_all_hours = set(self.hours) == set(range(24))

    def on_day(self, day):
        return (day.month in self.months and day.day in self.days
                and day.weekday() in self.weekdays)

    def __call__(self, reading):
        return (reading.minute in self.minutes and reading.hour in self.hours
                and reading.second == 0 and self.on_day(reading))

    def per_day(self):
        return len(self.hours) * len(self.minutes)


class Watcher:
    """Looks at the clock of a zone again and again."""

    def __init__(self, zone, step=MINUTE):
        self.zone = zoneinfo.ZoneInfo(zone)
        self.step = step
        self.seen = {}

    def look(self, seconds):
        return datetime.datetime.fromtimestamp(
            seconds, self.zone).replace(tzinfo=None)

    def offset(self, seconds):
        return datetime.datetime.fromtimestamp(seconds, self.zone).utcoffset()

    def changes(self, begin, end):
        """Return when the clock is changed, to the second."""
        found = []
        for hour in range(begin, end, HOUR):
            old = self.offset(hour)
            if self.offset(hour + HOUR) != old:
                low, high = hour, hour + HOUR
                while high - low > 1:
                    middle = (low + high) // 2
                    if self.offset(middle) == old:
                        low = middle
                    else:
                        high = middle
                found.append(high)
        return found

    def looks(self, begin, end):
        """Return what is seen: when, what, what was skipped, and the latest.
        """
        if (begin, end) not in self.seen:
            self.seen[begin, end] = self._look(begin, end)
        return self.seen[begin, end]

    def _look(self, begin, end):
        found = []
        before = furthest = self.look(begin - self.step)
        for now in range(begin, end, self.step):
            reading = self.look(now)
            found.append((now, reading, self._between(before, reading),
                          furthest))
            before = reading
            furthest = max(furthest, reading)
        return found

    def watch(self, begin, end, expected):
        """Return when to run, from `begin` on, where no change is near."""
        found = []
        for now, reading, skipped, furthest in self.looks(begin, end):
            if expected.of_all_hours:
                runs = expected(reading) or (
                    any(map(expected, skipped))
                    and not self._within_the_hour(now, expected))
            else:
                runs = any(expected(shown) for shown in (*skipped, reading)
                           if shown > furthest)
            if runs:
                found.append(now)
        return found

    def _within_the_hour(self, now, expected):
        return any(expected(self.look(later))
                   for later in range(now, now + HOUR, self.step))

    def _between(self, before, reading):
        """Return the whole minutes that the clock has not shown."""
        found = []
        shown = before.replace(second=0) + A_MINUTE
        while shown < reading:
            found.append(shown)
            shown += A_MINUTE
        return found

    def quiet(self, begin, end, expected):
        """Return when to run while the clock is not changed."""
        offset = self.offset(begin)
        found = []
        day = self.look(begin).date()
        while day <= self.look(end).date():
            if expected.on_day(day):
                for hour in sorted(expected.hours):
                    for minute in sorted(expected.minutes):
                        shown = datetime.datetime(
                            day.year, day.month, day.day, hour, minute,
                            tzinfo=datetime.UTC)
                        found.append(int((shown - offset).timestamp()))
            day += datetime.timedelta(days=1)
        return [now for now in found if begin <= now < end]


class Check:
    """One zone, from one time to another."""

    def __init__(self, zone, begin, end):
        self.zone = zone
        self.begin, self.end = begin, end
        self.watcher = Watcher(zone)
        self.changes = self.watcher.changes(begin + AROUND, end - AROUND)
        self.compared = 0

    @property
    def signature(self):
        return tuple((change, self.watcher.offset(change))
                     for change in (self.begin, *self.changes))

    def __call__(self, patterns=PATTERNS):
        """Return what is wrong, a list of str."""
        wrong = []
        for fields in (*patterns, *self.nasty()):
            wrong += self.compare(fields)
        return wrong

    def nasty(self):
        """Return patterns of times that are skipped, or come twice."""
        found = {}
        for change in self.changes:
            before = self.watcher.look(change - 1)
            after = self.watcher.look(change)
            middle = min(before, after) + abs(after - before) / 2
            found[middle.hour, middle.minute] = {
                'hour': (middle.hour,), 'minute': (middle.minute,)}
        return list(found.values())[:10]

    def compare(self, fields):
        expected = Expectation(fields)
        pattern = make(self.zone, fields)
        wrong, runs, quiet = [], [], self.begin
        for change in self.changes:
            if change - AROUND < quiet:
                # Within the time around the change before.
                continue
            around = change - AROUND, change + AROUND
            watched = self.watcher.watch(*around, expected)
            wrong += self._chain(pattern, *around, watched)
            wrong += self._points(pattern, change, watched)
            runs += self._quiet(quiet, around[0], expected) + watched
            quiet = around[1]
        runs += self._quiet(quiet, self.end, expected)
        if expected.per_day() <= MOST:
            wrong += self._chain(pattern, self.begin, self.end, runs)
        return wrong

    def _quiet(self, begin, end, expected):
        if expected.per_day() > MOST:
            return []
        return self.watcher.quiet(begin, end, expected)

    def _chain(self, pattern, begin, end, expected):
        """Compare one run after the other."""
        now = begin - 1
        for run in (*expected, None):
            found = pattern.after(now)
            self.compared += 1
            if found <= now or (found >= end if run is None else found != run):
                if run is None and found >= end:
                    return []
                return [self._differs(pattern, now, run, found)]
            now = found
        return []

    def _points(self, pattern, change, expected):
        """Ask at any moment around a change."""
        wrong = []
        for now in range(change - 4 * HOUR, change + 4 * HOUR, 7 * MINUTE - 1):
            for moment in (now, now + 0.5):
                later = [run for run in expected if run > moment]
                found = pattern.after(moment)
                self.compared += 1
                if found <= moment or later and found != later[0]:
                    wrong.append(self._differs(
                        pattern, moment, later[0] if later else None, found))
        return wrong[:3]

    def _differs(self, pattern, now, expected, found):
        def show(seconds):
            return None if seconds is None else datetime.datetime \
                .fromtimestamp(seconds, self.watcher.zone).isoformat(' ')
        return (f'{pattern}: after {show(now)} expected {show(expected)}, '
                f'found {show(found)}')


def year(number):
    return int(datetime.datetime(
        number, 1, 1, tzinfo=datetime.UTC).timestamp())


def main(first='2026', *zones):
    began = time.monotonic()
    begin, end = year(int(first)), year(int(first) + 10)
    names = zones or sorted(zoneinfo.available_timezones())
    alike = collections.defaultdict(list)
    for name in names:
        alike[Check(name, begin, end).signature].append(name)
    failed = compared = 0
    for same in alike.values():
        check = Check(same[0], begin, end)
        wrong = check()
        compared += check.compared
        failed += bool(wrong)
        for line in wrong[:10]:
            print(line)
    print(f'{first} to {int(first) + 10}: {len(names)} zones, '
          f'{len(alike)} that differ, {len(PATTERNS)} patterns and those of '
          f'skipped and repeated times; {compared} times compared, '
          f'{failed} zones wrong, {time.monotonic() - began:.0f} s.')
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
