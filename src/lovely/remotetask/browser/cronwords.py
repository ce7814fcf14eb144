"""Cron patterns in words, and as a crontab has them."""

import struct
import zoneinfo

from lovely.remotetask.browser.wording import _


# From the finest to the coarsest; see ICronJob.
FIELDS = ('minute', 'hour', 'dayOfMonth', 'month', 'dayOfWeek')

# The least and the greatest number in each.
RANGES = {'minute': (0, 59), 'hour': (0, 23), 'dayOfMonth': (1, 31),
          'month': (1, 12), 'dayOfWeek': (0, 6)}

# What an empty field stands for that is finer than all that are set.
FIRST = {'minute': 0, 'hour': 0, 'dayOfMonth': 1}

DAYS = (_('Monday'), _('Tuesday'), _('Wednesday'), _('Thursday'),
        _('Friday'), _('Saturday'), _('Sunday'))

MONTHS = (_('January'), _('February'), _('March'), _('April'), _('May'),
          _('June'), _('July'), _('August'), _('September'), _('October'),
          _('November'), _('December'))

# How many times of a day are told one by one.
TIMES = 6


def effective(pattern):
    """Return a pattern in which an empty field stands for each value."""
    found = {name: sorted(values) for name, values in pattern.items()}
    is_set = [name for name in FIELDS if pattern[name]]
    if not is_set:
        return found
    coarser = 'dayOfWeek' in is_set
    for name, first in FIRST.items():
        if pattern[name] or name == 'dayOfMonth' and coarser:
            break
        found[name] = [first]
    return found


def words(pattern, say):
    """Return when a job runs, in words.

    pattern -- dict of lists of ints; say -- Words.
    """
    found = effective(pattern)
    parts = [_times(found['minute'], found['hour'], say)]
    if found['dayOfWeek']:
        parts.append(say(_('on ${days}'), days=_of_week(
            found['dayOfWeek'], say)))
    if found['dayOfMonth']:
        parts.append(say(_('on day ${days} of the month'),
                         days=_listed(found['dayOfMonth'])))
    if found['month']:
        parts.append(say(_('in ${months}'), months=_listed(
            [_name(MONTHS, 1, month, say) for month in found['month']])))
    elif found['hour'] and not (found['dayOfWeek'] or found['dayOfMonth']):
        parts.append(say(_('every day')))
    return ' '.join(parts)


def _times(minutes, hours, say):
    """Return at which times of a day."""
    if len(minutes) in (0, 60) and len(hours) in (0, 24):
        return say(_('every minute'))
    if len(minutes) == 60:
        return say(_('every minute of hour ${hours}'), hours=_listed(hours))
    step = _step(minutes, *RANGES['minute'])
    if step is not None and len(hours) in (0, 24):
        return say(_('every ${number} minutes'), number=step)
    if not hours:
        return say(_('every hour at minute ${minutes}'),
                   minutes=_listed(minutes))
    if len(hours) * len(minutes) <= TIMES:
        return say(_('at ${times}'), times=_listed(
            [f'{hour:02}:{minute:02}' for hour in hours
             for minute in minutes]))
    return say(_('at minute ${minutes} of hour ${hours}'),
               minutes=_listed(minutes), hours=_listed(hours))


def _of_week(days, say):
    """Return days of the week; three and more in a row by two of them."""
    names = [_name(DAYS, 0, day, say) for day in days]
    if len(days) > 2 and list(days) == list(range(days[0], days[-1] + 1)):
        return say(_('${first} to ${last}'), first=names[0], last=names[-1])
    return _listed(names)


def _name(names, first, number, say):
    """Return the name of a number, the first of which is that of `first`.

    The number itself where it has none: so lovely.remotetask 0.5 has stored
    some, and their jobs are held.
    """
    place = number - first
    return say(names[place]) if 0 <= place < len(names) else str(number)


def _listed(values):
    return ', '.join(map(str, values))


def crontab(pattern):
    """Return a pattern as five fields; the week begins on Monday, with 1.

    None for days of the month and of the week, both without a star: a crontab
    runs that on either, an ICronJob on what is both.
    """
    found = effective(pattern)
    texts = {**fields(found), 'dayOfWeek': _week(found['dayOfWeek'])}
    texts = {name: text or '*' for name, text in texts.items()}
    if not (texts['dayOfMonth'].startswith('*') or texts['dayOfWeek'] == '*'):
        return None
    return ' '.join(texts[name] for name in FIELDS)


def _week(days):
    # Without steps: they would count from Sunday.
    return '*' if len(days) == len(DAYS) else ','.join(
        _spans([day + 1 for day in days]))


def fields(pattern):
    """Return the fields of a form for a pattern: texts, short ones."""
    return {name: field(values, *RANGES[name])
            for name, values in pattern.items()}


def field(values, low, high):
    """Return numbers as a crontab has them: ``*/5``, ``1-5,30``."""
    values = sorted(values)
    if len(values) == high - low + 1:
        return '*'
    step = _step(values, low, high)
    return f'*/{step}' if step is not None else ','.join(_spans(values))


def _step(values, low, high):
    """Return the step with which values fill a range, or None."""
    if len(values) < 3:
        return None
    step = values[1] - values[0]
    return step if list(values) == list(range(low, high + 1, step)) and (
        step > 1) else None


def _spans(values):
    """Yield texts for values; three and more in a row are a range."""
    while values:
        length = 1
        while values[length:] and values[length] == values[0] + length:
            length += 1
        length = length if length > 2 else 1
        yield (str(values[0]) if length == 1
               else f'{values[0]}-{values[length - 1]}')
        values = values[length:]


def in_zone(when, name):
    """Return the text of a time as the clocks of a time zone show it.

    With the offset: in autumn they show an hour twice.

    name -- '' or None: UTC.

    None if this process does not know the zone; those who run the jobs may.
    """
    try:
        found = zoneinfo.ZoneInfo(name or 'UTC')
    except (LookupError, ValueError, OSError, struct.error):
        # All of this it may say of one that is missing, or damaged.
        return None
    return when.astimezone(found).isoformat(' ', 'minutes')
