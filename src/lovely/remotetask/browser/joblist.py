"""The list of jobs: a filter, and a page of those that match."""

import time
from typing import NamedTuple

from lovely.remotetask import interfaces
from lovely.remotetask.browser import cells
from lovely.remotetask.browser import parameters
from lovely.remotetask.browser import rows
from lovely.remotetask.browser.action import ACTIONS
from lovely.remotetask.browser.action import said
from lovely.remotetask.browser.bulkpage import fitting
from lovely.remotetask.browser.jobpage import JobPage
from lovely.remotetask.browser.markup import escaped
from lovely.remotetask.browser.markup import tag
from lovely.remotetask.browser.missing import not_found
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.place import jobid_of
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.selection import Selection
from lovely.remotetask.browser.wording import _
from lovely.remotetask.browser.wording import duration


# In the order in which people ask for them.
TABS = (interfaces.PROCESSING, interfaces.QUEUED, interfaces.DELAYED,
        interfaces.CRONJOB, interfaces.STARTLATER, interfaces.HELD,
        interfaces.ERROR, interfaces.CANCELLED, interfaces.COMPLETED)


ALL = {'requeue': _('Requeue all'), 'cancel': _('Cancel all'),
       'remove': _('Remove all')}

# Asked before jobs that were checked are removed.
GONE = _('Remove these jobs? Nothing is left of them: it cannot be undone.')

# How long is looked for jobs that match, in seconds: half of what a page may
# take.
SECONDS = 0.15


class Field(NamedTuple):
    """A field of the filter.

    label -- what it is called; None for one that is not typed.
    """

    label: str | None
    style: str | None = None
    type: str | None = None
    inputmode: str | None = None
    pattern: str | None = None
    placeholder: str | None = None


WHEN = {'style': 'time', 'placeholder': '2026-01-31 14:30'}

# By their names, for all that a Selection has, and for the id.
FIELDS = {'status': Field(None),
          'function': Field(_('Function'), 'long', type='search'),
          'principal': Field(_('Principal')),
          'error_class': Field(_('Error class')),
          'since': Field(_('From (UTC)'), **WHEN),
          'until': Field(_('To (UTC)'), **WHEN),
          'task': Field(_('Task')),
          'id': Field(_('Id'), 'short', inputmode='numeric',
                      pattern='[0-9]*')}


class JobList(Page):
    """See the module."""

    name = 'jobs'
    title = _('Jobs')
    content = template('jobs')
    gone = GONE

    def publishTraverse(self, request, name):
        """Return the page of a job."""
        jobid = jobid_of(name.removesuffix('.json'))
        if self.is_json or jobid is None:
            return not_found(self.context, name, request)
        return JobPage(self.context, request, name.endswith('.json'), jobid)

    def data(self):
        """The filter, the counts, a page of jobs, and where the next begins.
        """
        form = self.request.form
        self.selection = Selection.of(form)
        jobid = parameters.number(form, 'id')
        limit = parameters.limit(form)
        if jobid is not None:
            job = self.service.jobs.get(jobid)
            found, after, back_to = ([] if job is None else [job]), None, None
        else:
            found, after, back_to = self._find(
                parameters.after(form), limit)
        return {
            'filter': self.selection.given() | (
                {} if jobid is None else {'id': str(jobid)}),
            'counts': dict(self.service.counts()),
            'jobs': [rows.row(job) for job in rows.seen(found)],
            'after': after,
            'looked_back_to': back_to}

    def _find(self, after, limit):
        """Return jobs, where to go on, and how far back was looked.

        That is None if there are as many jobs as were asked for, or no more.
        """
        try:
            page = self.service.find(
                **self.selection.arguments(), after=after, limit=limit,
                deadline=time.monotonic() + SECONDS)
        except ValueError as error:
            raise Problem(400, str(error)) from error
        is_cut_short = page.after is not None and len(page.jobs) < limit
        return (page.jobs, page.after,
                page.looked_back_to if is_cut_short else None)

    # For the template

    def fields(self, data):
        """Yield the fields of the filter: all that it may ask for."""
        for name in (*Selection._fields, 'id'):
            field = FIELDS[name]
            yield {**field._asdict(), 'name': name,
                   'label': field.label and self.say(field.label),
                   'value': data['filter'].get(name)}

    def statuses(self, counts):
        """Yield the filters by status, with their numbers."""
        current = self.selection.status
        yield {'title': self.say(_('All')), 'number': sum(counts.values()),
               'url': f'jobs{self.selection.query(status=None)}',
               'current': None if current else 'true', 'class': 'all'}
        for status in TABS:
            yield {'title': self.say.status(status),
                   'number': counts.get(status, 0),
                   'url': f'jobs{self.selection.query(status=status)}',
                   'current': 'true' if status == current else None,
                   'class': status.replace(' ', '-')}

    def said(self):
        """Return what the last action has done, None without one."""
        return said(self, self.name)

    def looked(self, data):
        """Return how many were found up to where the page has looked."""
        return self.say(_('${number} found; looked back to what was'),
                        number=len(data['jobs']))

    def bulk(self, data):
        """Yield what can be done to all that match: a title, an address."""
        if data['jobs'] and not data['filter'].get('id'):
            for name in fitting(self, self.selection.status):
                yield {'title': self.say(ALL[name]), 'name': name,
                       'one': self.say(ACTIONS[name].title),
                       'style': ACTIONS[name].style,
                       'url': f'bulk{self.selection.query(action=name)}'}

    def next_page(self, after):
        """Return the address of the page after this one."""
        return f'jobs{self.selection.query(after=after, limit=self._limit)}'

    def first_page(self):
        """Return the address of the newest jobs, None if these are it."""
        if parameters.after(self.request.form) is None:
            return None
        return f'jobs{self.selection.query(limit=self._limit)}'

    @property
    def _limit(self):
        """What the address says of it: a text, or None."""
        return parameters.text(self.request.form, 'limit')

    def lines(self, found, with_boxes):
        """Return the Markup of rows, below the heads that the template has.

        with_boxes -- whether each begins with a box to be checked.

        An expression of a template for each cell took most of the time of
        the page.
        """
        return escaped([
            tag('tr', [
                tag('td', tag('input', type='checkbox', name='job',
                              value=row['id'], aria_label=f'#{row["id"]}'),
                    class_='check') if with_boxes else '',
                *self._cells(row)], data_row=row['id']) for row in found])

    def _cells(self, row):
        link = tag('a', cells.function(row['function']),
                   href=f'jobs/{row["id"]}')
        return [
            tag('td', self.status(row['status'])),
            tag('td', tag('span', [
                link, ' ', cells.class_name(row['error_class'])],
                class_='line'), class_='main'),
            tag('td', self.moment(rows.when(row)), class_='when'),
            tag('td', duration(row['wait']), class_='number wide'),
            tag('td', duration(row['run']), class_='number wide'),
            tag('td', row['attempts'] or '', class_='number wide'),
            tag('td', row['principal'], class_='wide principal'),
            tag('td', cells.worker(row['worker']), class_='widest'),
            tag('td', cells.jobid(row['id']), class_='id wide')]

    def is_filtered(self, data):
        """Return whether not all jobs were asked for."""
        return bool(data['filter'])

    def is_narrowed(self, data):
        """Return whether more than a status was asked for."""
        return bool(data['filter'].keys() - {'status'})
