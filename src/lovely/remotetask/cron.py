"""Cron patterns: which times match, computed by cronsim and zoneinfo."""

import datetime
import zoneinfo
from typing import NamedTuple

import cronsim


RANGES = {
    'minute': range(60),
    'hour': range(24),
    'dayOfMonth': range(1, 32),
    'month': range(1, 13),
    'dayOfWeek': range(7),
}

# Days with the right day of the month are tried until one has the right day
# of the week.  They meet within 40 years: 29 February, with a century that
# has none, takes longest.
DAYS_TO_TRY = 12 * 40


class Pattern(NamedTuple):
    """The times at which a cron job runs; see ICronJob for the fields."""

    minute: tuple
    hour: tuple
    dayOfMonth: tuple
    month: tuple
    dayOfWeek: tuple
    timezone: str | None = None

    def check(self):
        """Raise ValueError if this is no pattern, or nothing matches it."""
        for name, allowed in RANGES.items():
            for value in getattr(self, name):
                if isinstance(value, bool) or value not in allowed:
                    raise ValueError(
                        f'{name} must be {allowed[0]} to {allowed[-1]}, '
                        f'not {value!r}.')
        self._zone()
        self.after(0)

    def after(self, now):
        """Return the first matching time after `now`, POSIX seconds (int).

        cronsim follows Debian's cron, where a day matches if *either* day
        field does.  Here both must.  So cronsim gets the day of the month,
        and days with another day of the week are skipped.
        """
        expression = self._expression()
        begin = datetime.datetime.fromtimestamp(now, self._zone())
        for _ in range(DAYS_TO_TRY):
            try:
                found = next(cronsim.CronSim(expression, begin))
            except (cronsim.CronSimError, StopIteration):
                break
            if not self.dayOfWeek or found.weekday() in self.dayOfWeek:
                return int(found.timestamp())
            begin = found.replace(hour=23, minute=59)
        raise ValueError(f'No day ever matches the pattern {self!r}.')

    def _zone(self):
        if self.timezone is None:
            return datetime.UTC
        try:
            return zoneinfo.ZoneInfo(self.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(
                f'There is no time zone {self.timezone!r}; use a name of the '
                f'IANA database like "Europe/Berlin".') from error

    def _expression(self):
        """Return the cron expression for all but the day of the week.

        What is not said is every value, or the first one if it is finer
        than the finest field that is said.
        """
        if not any(self[:5]):
            return '* * * * *'
        no_time = not self.minute and not self.hour
        return ' '.join((
            _term(self.minute, '0'),
            _term(self.hour, '*' if self.minute else '0'),
            _term(self.dayOfMonth,
                  '1' if no_time and not self.dayOfWeek else '*'),
            _term(self.month, '*'),
            '*'))


def _term(values, otherwise):
    return ','.join(map(str, values)) if values else otherwise


def check_delay(delay):
    """Raise ValueError if this is no number of seconds (None is fine)."""
    if delay is None:
        return
    if (isinstance(delay, bool) or not isinstance(delay, int | float)
            or not 0 <= delay < float('inf')):
        raise ValueError(
            f'delay must be a number of seconds, 0 or more, not {delay!r}.')
