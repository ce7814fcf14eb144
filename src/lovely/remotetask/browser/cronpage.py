"""The cron jobs of a service: when each runs, in words, and what came of it.
"""

import time

from lovely.remotetask.browser import cells
from lovely.remotetask.browser import cronadd
from lovely.remotetask.browser import cronwords
from lovely.remotetask.browser import flash
from lovely.remotetask.browser import rows
from lovely.remotetask.browser.action import ACTIONS
from lovely.remotetask.browser.action import address
from lovely.remotetask.browser.markup import tag
from lovely.remotetask.browser.page import MANAGE
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.wording import _


# What a row has buttons for.
BUTTONS = ('run-now', 'pause', 'resume')

# How long is looked for jobs of which no worker has heard, in seconds.
SECONDS = 0.15

# Seconds after which a job that should run is said to be overdue.
OVERDUE = 60


class CronPage(Page):
    """See the module."""

    name = 'crons'
    title = _('Cron jobs')
    content = template('crons')

    def data(self):
        """The cron jobs, newest first, and whether these are all."""
        deadline = time.monotonic() + SECONDS
        found = self.service.cron_jobs(deadline)
        return {'complete': time.monotonic() <= deadline,
                'crons': [self._cron(job) for job in rows.seen(found)]}

    def _cron(self, job):
        data = rows.row(job)
        data['pattern'] = {
            name: list(getattr(job, name)) for name in cronwords.FIELDS}
        data['timezone'] = job.timezone
        data['name'] = job.name
        data['paused'] = job.paused
        data['overdue'] = bool(
            not job.paused and data['due'] is not None
            and data['due'].timestamp() < self.now - OVERDUE)
        data['runs'] = [
            {'started': cells.as_datetime(attempt.started),
             'duration': attempt.duration, 'error_class': attempt.errorClass}
            for attempt in job.history][-20:]
        data['actions'] = [
            name for name in BUTTONS
            if ACTIONS[name].fits(job) and self.may(ACTIONS[name].permission)]
        return data

    # For the template

    def said(self):
        """Return what the last action has done, None without one."""
        if flash.take(self, self.name) == cronadd.NAME:
            return self.say(_('The cron job is added.'))
        return None

    def adds(self):
        """Return the address where a cron job is added, or None."""
        return cronadd.NAME if self.may(MANAGE) else None

    def link(self, row):
        """Return the Markup of what leads to a job."""
        link = tag('a', cells.function(row['function']),
                   href=f'jobs/{row["id"]}')
        if row['name'] is None:
            return link
        return [link, ' ', tag(
            'small', cells.shortened(row['name'], 24), title=self.say(
                _('Declared as "${name}"'), name=row['name']))]

    def pattern(self, row):
        """Return when a job runs, in words."""
        return cronwords.words(row['pattern'], self.say)

    def fields(self, row):
        """Return its pattern as a crontab would have it, None if none would.
        """
        return cronwords.crontab(row['pattern'])

    def next_time(self, row):
        """Return the Markup of when it runs next, or why it does not."""
        if row['paused']:
            return tag('span', self.say(_('paused')), class_='state paused')
        when = self.moment(row['due'])
        if row['overdue']:
            return [when, ' ', tag('span', self.say(_('overdue')),
                                   class_='state alone')]
        return when

    def next_in_zone(self, row):
        """Return the next time as the clocks of its zone show it, or ''."""
        if row['due'] is None or row['paused']:
            return ''
        name = row['timezone'] or 'UTC'
        found = cronwords.in_zone(row['due'], name)
        return name if found is None else f'{found} {name}'

    def runs(self, row):
        """Return the Markup of the last runs: a mark for each."""
        return tag('span', [
            tag('span', '', class_='run bad' if run['error_class'] else 'run',
                title=f'{cells.absolute(run["started"])} '
                      f'{run["error_class"] or ""}'.strip())
            for run in row['runs']], class_='runs', role='img',
            aria_label=self.say(
                _('${good} of ${all} runs went well'),
                good=sum(not run['error_class'] for run in row['runs']),
                all=len(row['runs'])))

    def buttons(self, row):
        """Yield what can be done to a job."""
        for name in row['actions']:
            action = ACTIONS[name]
            yield {'title': self.say(action.title),
                   'effect': self.say(
                       action.effect,
                       principal=row['principal'] or self.say(_('nobody'))),
                   'url': f'jobs/{address(name, row["id"], row["status"])}'}
