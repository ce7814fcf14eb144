"""The summary of a service: how it does, in numbers and a sentence."""

import collections
import time

from lovely.remotetask import interfaces
from lovely.remotetask.browser import cells
from lovely.remotetask.browser import charts
from lovely.remotetask.browser import metrics
from lovely.remotetask.browser import rows
from lovely.remotetask.browser.joblist import TABS
from lovely.remotetask.browser.markup import escaped
from lovely.remotetask.browser.markup import tag
from lovely.remotetask.browser.page import FrontPage
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.serviceaction import KINDS
from lovely.remotetask.browser.serviceaction import said
from lovely.remotetask.browser.wording import _
from lovely.remotetask.browser.wording import duration


# How many of the last failures are looked at, and groups of them shown.
FAILURES = 50
GROUPS = 8

# How many functions are shown.
FUNCTIONS = 5

# How long is looked for failures, in seconds.
SECONDS = 0.1

# Classes of numbers, by how many characters they have.
WIDTHS = (10, 'longest'), (9, 'longer'), (7, 'long')

# Seconds that a job may wait before somebody should look after it.
LONG = 300


class ServicePage(FrontPage):
    """See the module."""

    name = 'service'
    title = _('Summary')
    content = template('service')

    def data(self):
        """State, counts, age of the oldest, failures by their kind."""
        service = self.service
        found = summary(service, self.now)
        self.slices = metrics.history(service, metrics.HOUR, self.now)
        return {**found, 'failures': failures(service),
                'failed_last_hour': metrics.failed(self.slices),
                'functions': metrics.by_function(self.slices)[:FUNCTIONS],
                'tasks': sorted(service.getAvailableTasks()),
                'actions': [name for name, kind in KINDS.items()
                            if kind.fits(found)
                            and self.may(kind.permission)]}

    # For the template

    def tiles(self, data):
        """Yield the numbers by status."""
        for status in TABS:
            number = f'{data["counts"].get(status, 0):,}'
            yield {'title': self.say.status(status), 'number': number,
                   'width': width(number),
                   'url': f'jobs?status={status.replace(" ", "+")}',
                   'class': status.replace(' ', '-')}

    def said(self):
        """Return what the last action has done, None without one."""
        return said(self)

    def buttons(self, data):
        """Yield what can be done to the service."""
        for name in data['actions']:
            kind = KINDS[name]
            yield {'url': name, 'title': self.say(kind.title),
                   'effect': self.say(kind.effect), 'class': kind.style}

    def state(self, data):
        """Return the Markup of the state of the service."""
        return state(data, self.say)

    def banner(self, data):
        """Return the Markup of what needs somebody, '' if nothing does."""
        return escaped(banner(data, self.now, self.say))

    def chart(self):
        """Return the Markup of how jobs have ended in the last hour."""
        return charts.chart(
            self.say(_('Jobs that have ended in the last hour')),
            metrics.ends(
                self.slices, metrics.HOUR, self.now,
                lambda start: f'{cells.as_datetime(start):%H:%M} UTC',
                self.say), 60)

    def ended(self, data):
        """Return how many jobs have ended in the last hour, in words."""
        completed = sum(each.functions.number('completed')
                        for each in self.slices)
        return self.say(
            _('${completed} completed, ${failed} failed in the last hour'),
            completed=f'{completed:,}', failed=f'{data["failed_last_hour"]:,}')

    def jobs_of(self, row):
        """Return the Markup of a function: a link to its jobs."""
        return cells.jobs_of(row['function'], self.say(_('all others')))

    def time(self, seconds):
        """Return the text of a duration, '–' for one that is not known."""
        return duration(seconds) or '–'

    def error_class(self, name):
        """Return the Markup of the class of an exception."""
        return cells.class_name(name)


def width(number):
    """Return the class of a number, by the room that its digits need."""
    return next((name for limit, name in WIDTHS if len(number) >= limit), '')


def summary(service, now):
    """Return how a service does, cheaply: a dict for JSON.

    now -- POSIX seconds.
    """
    counts = dict(service.counts())
    oldest = service.oldest_waiting(now)
    return {
        'paused': bool(service.paused),
        'counts': counts,
        'oldest_waiting': cells.as_datetime(oldest),
        'oldest_waiting_age': (
            None if oldest is None else max(0.0, now - oldest)),
        'workers': interfaces.IManagement(service).living_workers(now),
        'processing': bool(service.isProcessing()),
        'unreadable': len(service.unreadable()),
    }


def state(data, say):
    """Return the Markup of the state of a service.

    data -- see `summary`.
    """
    if data['paused']:
        return tag('span', say(_('Paused')), class_='state paused')
    if data['workers']:
        return tag('span', say(_('Working')), class_='state running')
    if data['oldest_waiting'] is None:
        return tag('span', say(_('Idle')), class_='state')
    return tag('span', say(_('No worker')), class_='state alone')


def waiting(data):
    """Return how many jobs wait for a worker."""
    return data['counts'].get(interfaces.QUEUED, 0)


def banner(data, now, say):
    """Return the Markup of what needs somebody, '' if nothing does."""
    oldest = data['oldest_waiting']
    if oldest is None or now - oldest.timestamp() < LONG:
        return ''
    message = (_('The service is paused; the oldest of ${number} jobs waits '
                 'since') if data['paused'] else
               _('The oldest of ${number} waiting jobs waits since'))
    return [say(message, number=f'{waiting(data):,}'), ' ',
            cells.moment(oldest, now, say)]


def failures(service):
    """Return the last failures, grouped: a list of dicts for JSON.

    With cron jobs whose last run has failed: these wait for their next time,
    and have another status.
    """
    deadline = time.monotonic() + SECONDS
    failed = rows.seen(service.find(
        status=interfaces.ERROR, limit=FAILURES, deadline=deadline).jobs)
    crons = [job for job in rows.seen(service.cron_jobs(deadline))
             if job.errorClass is not None]
    groups = collections.OrderedDict()
    for job in sorted(failed + crons, key=_ended, reverse=True):
        key = job.function or job.task, job.errorClass
        group = groups.setdefault(key, {
            'function': key[0], 'error_class': key[1],
            'number': 0, 'last': job.completed, 'job': str(job.id)})
        group['number'] += 1
    return list(groups.values())[:GROUPS]


def _ended(job):
    """Return when a job has ended, in POSIX seconds; 0 if nobody knows."""
    return 0.0 if job.completed is None else job.completed.timestamp()
