"""How a service has done: charts, and the same as tables."""

from lovely.remotetask.browser import cells
from lovely.remotetask.browser import charts
from lovely.remotetask.browser import metrics
from lovely.remotetask.browser import parameters
from lovely.remotetask.browser.cells import as_datetime
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _
from lovely.remotetask.browser.wording import duration


class MetricsPage(Page):
    """See the module."""

    name = 'metrics'
    title = _('Metrics')
    content = template('metrics')

    def data(self):
        """Slices of the range that is asked for, and a row per function."""
        name = parameters.text(self.request.form, 'range') or 'hour'
        if name not in metrics.RANGES:
            raise Problem(400, _('"range" must be one of ${known}.'),
                          known=', '.join(metrics.RANGES))
        self.asked = metrics.RANGES[name]
        self.slices = metrics.history(self.service, self.asked, self.now)
        return {'range': name,
                'seconds': self.asked.seconds,
                'since': as_datetime(self.asked.since(self.now)),
                'slices': [_slice(each) for each in self.slices],
                'functions': metrics.by_function(self.slices)}

    # For the template

    def ranges(self, data):
        """Yield what leads to the other ranges."""
        for name, each in metrics.RANGES.items():
            yield {'url': f'metrics?range={name}',
                   'title': self.say(each.title),
                   'current': 'page' if name == data['range'] else None}

    def charts(self):
        """Yield the charts: what each is called, shows at most, and Markup.
        """
        for title, bars, unit in (
                (_('Jobs that have ended'), metrics.ends, _whole),
                (_('How long 95 % of the runs took at most'), metrics.runs,
                 duration),
                (_('Jobs that waited'), metrics.waiting, _whole),
                (_('How long the oldest one had waited'), metrics.ages,
                 duration)):
            drawn = bars(
                self.slices, self.asked, self.now, self.label, self.say)
            title = self.say(title)
            yield {'title': title,
                   'most': unit(charts.ceiling(charts.greatest(drawn))),
                   'chart': charts.chart(title, drawn)}

    def begin(self, data):
        """Return the Markup of when the charts begin."""
        return self.moment(data['since'])

    def label(self, start):
        """Return the text of when a slice begins."""
        return f'{as_datetime(start):%Y-%m-%d %H:%M} UTC'

    def at(self, row):
        """Return the Markup of when a slice begins."""
        return self.moment(row['start'])

    def waited(self, row):
        """Return the text of how many jobs waited."""
        return '–' if row['waiting'] is None else _whole(row['waiting'])

    def time(self, seconds):
        """Return the text of a duration, '–' for one that is not known."""
        return duration(seconds) or '–'

    def jobs_of(self, row):
        """Return the Markup of a function: a link to its jobs."""
        return cells.jobs_of(row['function'], self.say(_('all others')))


def _whole(number):
    return f'{number:,}'


def _slice(each):
    """Return what is told of a measure.Slice: a dict for JSON."""
    return {'start': as_datetime(each.start),
            'waiting': each.depth,
            'oldest_waiting_age': each.age,
            **metrics.numbers(each.functions.total())}
