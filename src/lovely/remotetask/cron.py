"""Cron patterns: which times match.  See ICronJob for their meaning."""

import calendar
import datetime
import itertools
import math
import time
from typing import Any
from typing import NamedTuple

from lovely.remotetask import zone
from lovely.remotetask.crontab import FIELDS
from lovely.remotetask.number import LAST
from lovely.remotetask.number import check_seconds
from lovely.remotetask.number import check_time
from lovely.remotetask.number import shown
from lovely.remotetask.number import whole
from lovely.remotetask.wallclock import WallClock


RANGES = {
    'minute': range(60),
    'hour': range(24),
    'dayOfMonth': range(1, 32),
    'month': range(1, 13),
    'dayOfWeek': range(7),
}

# A field with more values than this is endless, or a mistake.
MAX_VALUES = 1000

# A day of the week falls on 29 February again after 40 years at most: so long
# it takes over a century that has no such day.
YEARS_TO_TRY = 41

# Python's calendar ends one day later; `number.LAST` tells why that day is
# left out.
LAST_DAY = datetime.date(9999, 12, 30)

HOUR = 3600
YEAR = 366 * 24 * HOUR

SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)
DAY = datetime.timedelta(days=1)


# The values of a field, as they are stored.
Numbers = tuple[int, ...]

# What callers may give for them: checked, so it may be anything.
Field = Any


class Pattern(NamedTuple):
    """The times at which a cron job runs; see ICronJob for the fields."""

    minute: Field
    hour: Field
    dayOfMonth: Field
    month: Field
    dayOfWeek: Field
    timezone: str | None = None

    def check(self) -> 'Pattern':
        """Return the pattern as it can be stored, with exact values.

        Raise ValueError if this is no pattern, or nothing matches it.
        """
        checked = self._replace(
            timezone=zone.check_name(self.timezone), **self._numbers())
        checked.after(0)
        return checked

    def after(self, now: float) -> int:
        """Return the first time after `now` to run, in POSIX seconds (int).

        Raise ValueError, and nothing else, if this is no pattern, no day
        matches it, or `now` is no time; NoTimeZone if this process does not
        know the time zone.
        """
        now = math.floor(check_time(now))
        clock = WallClock(zone.find(self.timezone))
        readings = Readings(**self._numbers())
        find = _next_shown if readings.of_all_hours else _next_once
        try:
            return find(readings, clock, now)
        except LookupError as error:
            raise ValueError(self._no_day(now)) from error

    def _no_day(self, now: int) -> str:
        pattern = ', '.join(
            f'{name}={shown(value)}' for name, value in self._asdict().items()
            if value) or '(every minute)'
        if now < LAST - YEARS_TO_TRY * YEAR:
            return f'No day ever matches the pattern {pattern}.'
        return (
            f'No day after {now} (POSIX seconds) matches the pattern '
            f'{pattern}; the calendar ends with the year {LAST_DAY.year}.')

    @property
    def says_when(self) -> bool:
        """Whether any field is given; without, it is every minute."""
        return any(getattr(self, name) for name in RANGES)

    def _numbers(self) -> dict[str, Numbers]:
        return {name: _numbers(name, getattr(self, name)) for name in RANGES}


def _numbers(name: str, values: Field) -> Numbers:
    """Return the values of a field as a tuple of int, each of them once."""
    if values is None:
        return ()
    if isinstance(values, str):
        return _numbers_of_text(name, values)
    if (single := whole(values)) is not None:
        values = (single,)
    numbers = dict.fromkeys(
        _number(name, value) for value in _members(name, values))
    unordered = isinstance(values, set | frozenset)
    return tuple(sorted(numbers) if unordered else numbers)


def _numbers_of_text(name: str, text: str) -> Numbers:
    try:
        return FIELDS[name].numbers(text)
    except ValueError as error:
        raise _refused(name, text, str(error)) from error


def _members(name: str, values: Field) -> tuple:
    if isinstance(values, bytes | dict):
        raise _refused(name, values)
    try:
        members = tuple(itertools.islice(values, MAX_VALUES + 1))
    except TypeError as error:
        raise _refused(name, values) from error
    if len(members) > MAX_VALUES:
        raise _refused(name, members)
    return members


def _number(name: str, value: object) -> int:
    number = whole(value)
    if number is None or number not in RANGES[name]:
        raise _refused(name, value)
    return number


def _refused(name: str, value: object, why: str = '') -> ValueError:
    allowed = RANGES[name]
    why = why or (f'{name} must be {allowed[0]} to {allowed[-1]}, not '
                  f'{shown(value)}')
    return ValueError(
        f'{why}; write whole numbers in a tuple, like {name}=({allowed[2]},), '
        f'or a text like "{allowed[2]},{allowed[4]}", "{allowed[1]}-'
        f'{allowed[3]}" or "*/2".')


class Readings:
    """What a clock shows, a naive datetime, when a pattern matches."""

    def __init__(self, minute: Numbers, hour: Numbers, dayOfMonth: Numbers,
                 month: Numbers, dayOfWeek: Numbers) -> None:
        # A field that is not given stands for every value, or for the first
        # one if it is finer than the finest field that is given.
        a_time = minute or hour
        a_day = dayOfMonth or dayOfWeek
        nothing = not (a_time or a_day or month)
        self.minutes = sorted(minute or (RANGES['minute'] if nothing else [0]))
        self.hours = sorted(
            hour or (RANGES['hour'] if minute or nothing else [0]))
        self.days = sorted(dayOfMonth or (
            RANGES['dayOfMonth'] if a_time or a_day or nothing else [1]))
        self.months = sorted(month or RANGES['month'])
        self.weekdays = dayOfWeek or RANGES['dayOfWeek']

    @property
    def of_all_hours(self) -> bool:
        return len(self.hours) == len(RANGES['hour'])

    def find(self, begin: datetime.datetime) -> datetime.datetime:
        """Return the first one that is not before `begin`, or LookupError.
        """
        if begin.second or begin.microsecond:
            begin = begin.replace(second=0, microsecond=0) + MINUTE
        day = self._day(begin.date())
        if day == begin.date():
            for hour in self.hours:
                for minute in self.minutes:
                    if (hour, minute) >= (begin.hour, begin.minute):
                        return _reading(day, hour, minute)
            day = self._day(day + DAY)
        return _reading(day, self.hours[0], self.minutes[0])

    def _day(self, begin: datetime.date) -> datetime.date:
        for year in range(begin.year, begin.year + YEARS_TO_TRY):
            for month in self.months:
                if (year, month) < (begin.year, begin.month):
                    continue
                day = self._day_in(year, month, begin)
                if day is not None:
                    return day
        raise LookupError(begin)

    def _day_in(self, year: int, month: int,
                begin: datetime.date) -> datetime.date | None:
        if year > LAST_DAY.year:
            return None
        _, length = calendar.monthrange(year, month)
        for number in self.days:
            if number > length:
                break
            day = datetime.date(year, month, number)
            if (begin <= day <= LAST_DAY
                    and day.weekday() in self.weekdays):
                return day
        return None


def _reading(day: datetime.date, hour: int,
             minute: int) -> datetime.datetime:
    return datetime.datetime(day.year, day.month, day.day, hour, minute)


def _next_once(readings: Readings, clock: WallClock, now: int) -> int:
    """Return the next time after `now` of a pattern with hours.

    What a change of the clock skips is run at the change, what comes twice
    the first time.
    """
    reading = readings.find(clock.reading(now) + SECOND)
    while (found := clock.first_time(reading)) <= now:
        reading = readings.find(reading + MINUTE)
    return found


def _next_shown(readings: Readings, clock: WallClock, now: int,
                wait: int = 1) -> int:
    """Return the next time of a pattern of all hours, `wait` seconds later.

    It goes by what the clock shows.  What a change skips is run at the change
    only if nothing else is run within the hour after it.
    """
    shown_now = clock.reading(now)
    reading = readings.find(shown_now + wait * SECOND)
    turn = clock.turned_back(now)
    if turn is not None and (reading - shown_now) // SECOND >= turn - now:
        return _next_shown(readings, clock, turn, 0)
    for found in clock.times(reading):
        if found >= now + wait:
            return found
    skipped = clock.first_time(reading)
    following = _next_shown(readings, clock, skipped, 0)
    return following if following < skipped + HOUR else skipped


def check_delay(delay: float | None) -> float | None:
    """Return a delay in seconds as an exact number; None is fine.

    Raise ValueError if it is none, or would end after the year 9999.
    """
    if delay is None:
        return None
    return _delay(delay, time.time())


def after_delay(now: float, delay: float) -> int:
    """Return when a delay is over that begins now, in POSIX seconds (int).

    Later than `now`, also for a fraction of a second.  Raise ValueError if
    one of the two is not as it should be.
    """
    now = check_time(now)
    return max(math.ceil(now + _delay(delay, now)), math.floor(now) + 1)


def _delay(delay: float, now: float) -> float:
    if isinstance(delay, datetime.timedelta):
        raise ValueError(
            f'delay must be a number of seconds, not {shown(delay)}; write '
            f'{delay.total_seconds()!r}.')
    seconds = check_seconds('delay', delay)
    if seconds > LAST - now:
        raise ValueError(
            f'delay must end before the year 9999 does, so it is '
            f'{LAST - now:.0f} seconds at most, not {shown(delay)}.')
    return seconds
