"""What was counted of the runs of a service, as people ask for it."""

from typing import NamedTuple

from lovely.remotetask import interfaces
from lovely.remotetask.browser.charts import Bar
from lovely.remotetask.browser.charts import spark
from lovely.remotetask.browser.wording import _
from lovely.remotetask.browser.wording import duration


class Range(NamedTuple):
    """How far is looked back.

    title -- what it is called.
    level -- see IManagement.history.
    seconds -- those of one bar.
    number -- how many bars there are.
    """

    title: str
    level: int
    seconds: int
    number: int

    def since(self, now):
        """Return when the first bar begins, in POSIX seconds."""
        return (int(now) // self.seconds - self.number + 1) * self.seconds

    def starts(self, now):
        """Return when each bar begins."""
        since = self.since(now)
        return [since + number * self.seconds
                for number in range(self.number)]


RANGES = {
    'hour': Range(_('Last hour'), 0, 60, 60),
    'day': Range(_('Last day'), 1, 600, 144),
    'month': Range(_('Last 40 days'), 2, 6 * 3600, 160),
}
HOUR = RANGES['hour']

# The shares of runs whose times are told.
MEDIAN, MOST = 0.5, 0.95


def history(service, asked, now):
    """Return the slices of a Range: see IManagement.history."""
    found = interfaces.IManagement(service).history(
        asked.level, asked.since(now), asked.seconds)
    return [each for each in found if each.start <= now]


def numbers(counts):
    """Return what is told of some Counts: a dict for JSON."""
    return {
        **{name: getattr(counts, name) for name in (
            'completed', 'failed', 'retried', 'conflicts', 'lost')},
        'run_median': counts.run_time(MEDIAN),
        'run_most': counts.run_time(MOST),
        'wait_median': counts.wait_time(MEDIAN),
        'wait_most': counts.wait_time(MOST),
        'run_seconds': counts.seconds}


def by_function(slices):
    """Return what is told of each function, the busiest first: dicts."""
    found = {}
    for each in slices:
        for name, counts in each.functions.items():
            if name not in found:
                found[name] = type(counts)()
            found[name].add(counts)
    return [{'function': name, **numbers(counts)} for name, counts in sorted(
        found.items(), key=lambda pair: (-pair[1].seconds, pair[0]))]


def failed(slices):
    """Return how many jobs have failed for good."""
    return sum(each.functions.number('failed') for each in slices)


# Seconds after which a worker has told of what it counts.
UNTOLD = 120

AWAY = _('no worker')
NONE = _('${when}: no run')
NEW = _('not counted yet')
ENDED = _('${when}: ${completed} completed, ${failed} failed')
WAITED = _('${when}: ${number} waited')
RAN = _('${when}: 95 % ran for ${time} at most')
OLDEST = _('${when}: the oldest one for ${time}')


def ends(slices, asked, now, label, say):
    """Return Bars: how many jobs have ended well, and how many not.

    asked -- Range.
    label -- called with the start of a slice; returns a text.
    """
    def bar(each, when):
        completed = each.functions.number('completed')
        bad = each.functions.number('failed')
        return Bar(say(ENDED, when=when, completed=completed, failed=bad),
                   (('good', completed), ('bad', bad)))
    return _bars(slices, asked, now, label, say, bar)


def runs(slices, asked, now, label, say):
    """Return Bars: how long nearly all runs took at most; see `ends`."""
    def bar(each, when):
        most = each.functions.total().run_time(MOST)
        return Bar(say(NONE, when=when), ()) if most is None else Bar(
            say(RAN, when=when, time=duration(most)), (('busy', most),))
    return _bars(slices, asked, now, label, say, bar)


def waiting(slices, asked, now, label, say):
    """Return Bars: how many jobs waited at most; see `ends`."""
    def bar(each, when):
        return None if each.depth is None else Bar(
            say(WAITED, when=when, number=each.depth),
            (('busy', each.depth),))
    return _bars(slices, asked, now, label, say, bar)


def ages(slices, asked, now, label, say):
    """Return Bars: for how long the oldest job waited; see `ends`."""
    def bar(each, when):
        return None if each.age is None else Bar(
            say(OLDEST, when=when, time=duration(each.age)),
            (('busy', each.age),))
    return _bars(slices, asked, now, label, say, bar)


def _bars(slices, asked, now, label, say, bar):
    """Return a Bar for each place of a Range.

    bar -- called with a slice and the text of when that is; returns a Bar, or
        None if the slice has nothing to be drawn.
    """
    by_start = {each.start: each for each in slices}
    found = []
    for start in asked.starts(now):
        each, when = by_start.get(start), label(start)
        drawn = None if each is None else bar(each, when)
        if drawn is None:
            is_new = start + asked.seconds > now - UNTOLD
            drawn = (Bar(f'{when}: {say(NEW)}', ()) if is_new
                     else Bar(f'{when}: {say(AWAY)}', None))
        found.append(drawn)
    return found


def hourly(service, now):
    """Return what a row of the overview tells of the last hour: a dict."""
    slices = history(service, HOUR, now)
    by_start = {each.start: [each.functions.number('completed'),
                             each.functions.number('failed')]
                for each in slices}
    return {'failed_last_hour': failed(slices),
            'last_hour': [by_start.get(start) for start in HOUR.starts(now)]}


def sparkline(row, say):
    """Return the Markup of the last hour, by what `hourly` has found."""
    found = row['last_hour']
    pairs = [pair for pair in found if pair is not None]
    title = say(
        _('Last hour: ${completed} completed, ${failed} failed'),
        completed=sum(good for good, _bad in pairs),
        failed=sum(bad for _good, bad in pairs))
    # Twelve bars of five minutes: there is no room for more.
    return spark(title, [
        _five(found[number:number + 5])
        for number in range(0, len(found), 5)])


def _five(minutes):
    present = [pair for pair in minutes if pair is not None]
    if not present:
        return Bar('', None)
    return Bar('', (('good', sum(good for good, _bad in present)),
                    ('bad', sum(bad for _good, bad in present))))
