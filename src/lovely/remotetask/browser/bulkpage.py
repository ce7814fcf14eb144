"""The same done to many jobs: a sample, a question, and slice after slice.

Each request does at most so many jobs, or takes so long, and says where to go
on.  A script goes on by itself; without one there is a button.
"""

import re
import time

from lovely.remotetask import interfaces
from lovely.remotetask.browser import cells
from lovely.remotetask.browser import parameters
from lovely.remotetask.browser import rows
from lovely.remotetask.browser.action import ACTIONS
from lovely.remotetask.browser.frame import DONE
from lovely.remotetask.browser.markup import visible
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.posted import Posted
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.problem import is_sent_as_json
from lovely.remotetask.browser.selection import FOLDED
from lovely.remotetask.browser.selection import Selection
from lovely.remotetask.browser.wording import _


# What can be done to many.
BULK = ('requeue', 'cancel', 'remove')

# Which of them makes sense for jobs of a status.
FITTING = {
    interfaces.QUEUED: ('cancel', 'remove'),
    interfaces.DELAYED: ('cancel', 'remove'),
    interfaces.CRONJOB: (),
    interfaces.STARTLATER: ('cancel', 'remove'),
    interfaces.HELD: ('requeue', 'cancel', 'remove'),
    interfaces.ERROR: ('requeue', 'remove'),
    interfaces.CANCELLED: ('requeue', 'remove'),
    interfaces.COMPLETED: ('remove',),
}

SAMPLE = 10

# How many jobs one request does at most, and how many seconds it takes.
SLICE = 500
SECONDS = 2.0

# How many characters must be typed at most.
LONGEST = 40

# What is said of jobs that were checked, and have become something else.
CHANGED = _('Left alone, for they are gone or no longer what the list '
            'showed: ${number}.')

# From how many jobs on it must be typed how many are removed.
TYPED = 1000


def fitting(page, status):
    """Return what somebody may do to many jobs of a status."""
    return [name for name in FITTING.get(status, ())
            if page.may(ACTIONS[name].permission)]


def asked_for(form):
    """Return the name of the action that a form asks for.  Raise Problem."""
    name = parameters.text(form, 'action')
    if name not in BULK:
        raise Problem(400, _('"action" must be one of ${names}.'),
                      names=', '.join(BULK))
    return name


class BulkPage(Page):
    """Asks whether it is to be done; see the module."""

    name = 'bulk'
    title = _('Many jobs')
    tab = 'jobs'
    content = template('bulk')
    live = False

    def __new__(cls, context, request, is_json=False):
        # The form and what does it have one address: what is sent there by
        # POST is done.
        if cls is BulkPage and request.method == 'POST':
            return BulkAction(context, request)
        return super().__new__(cls)

    def check(self):
        """See Page."""
        self.action = asked_for(self.request.form)
        self.permission = ACTIONS[self.action].permission
        super().check()

    def data(self):
        """The selection, how many match, and a sample of them."""
        self.selection = Selection.asked(self.request.form, self.is_json)
        try:
            page = self.service.find(**self.selection.arguments(),
                                     limit=SAMPLE)
        except ValueError as error:
            raise Problem(400, str(error)) from error
        number = number_of(self.service, self.selection)
        return {'action': self.action,
                'filter': self.selection.given(),
                'number': number,
                'as_of': page.as_of,
                'confirm': confirmation(self.action, number,
                                        self.context.title),
                'sample': [rows.row(job) for job in rows.seen(page.jobs)],
                'more': page.after is not None}

    # For the template

    def action_title(self):
        """Return what is to be done, in a word."""
        return self.say(ACTIONS[self.action].title)

    def back(self):
        """Return the address of the list of the jobs."""
        return f'jobs{self.selection.query()}'

    def pattern(self, text):
        """Return the pattern of a field that takes one text alone."""
        return re.escape(text).replace('\\ ', ' ').replace('\\-', '-')

    def error_class(self, name):
        """Return the Markup of the class of an exception."""
        return cells.class_name(name)

    def when(self, row):
        """Return the Markup of the time of a row."""
        return self.moment(rows.when(row))


def number_of(service, selection):
    """Return how many jobs match, None where that would need a count."""
    if not selection.is_by_status():
        return None
    counts = service.counts()
    return (sum(counts.values()) if selection.status is None
            else counts.get(selection.status, 0))


def _was_done(method, jobid):
    try:
        return bool(method(jobid))
    except ValueError:
        # As in IOperations.requeue_some: a job that cannot be changed is no
        # reason to leave the others alone.
        return False


def confirmation(action, number, title):
    """Return what must be typed before it is done; None: nothing.

    number -- of jobs that match, None if it is not known.
    title -- of the service.
    """
    if action != 'remove' or number is not None and number <= TYPED:
        return None
    return typed(title) if number is None else str(number)


def typed(text):
    """Return a text as people type it, who see it on a page.

    Without what no page shows: the numbers of hidden characters are there
    for them, and of blanks there is one between words.
    """
    return ' '.join(visible(text).split())[:LONGEST].rstrip()


class BulkAction(Posted):
    """Does it to the next slice of jobs, or to those that were chosen."""

    name = 'bulk'
    title = _('Many jobs')
    tab = 'jobs'
    content = template('bulkdone')
    fields = ('action', FOLDED, *Selection._fields, 'as_of', 'after', 'number',
              'confirm', 'done', 'skipped', 'job')

    def check(self):
        """See Posted."""
        form = self.request.form
        if not is_sent_as_json(self.request):
            self.permission = ACTIONS[asked_for(form)].permission
        super().check()
        # Also for JSON, which is read only now; the operations ask again.
        self.action = asked_for(self.form)
        self.permission = ACTIONS[self.action].permission
        super(Posted, self).check()

    def act(self):
        """Do a slice.  Return what was done, and where to go on."""
        if 'job' in self.form:
            return self._do_each(self.form['job'])
        self.selection = Selection.asked(self.form, self.is_json)
        after = parameters.after(self.form)
        self._check_confirmation(after)
        method = getattr(
            self.operations, f'{ACTIONS[self.action].method}_some')
        try:
            found = method(
                after=after, as_of=parameters.text(self.form, 'as_of'),
                deadline=time.monotonic() + SECONDS, limit=SLICE,
                **self.selection.arguments())
        except ValueError as error:
            raise Problem(400, str(error)) from error
        return self._done(found.done, found.skipped, found.after)

    def _do_each(self, chosen):
        """Do it to jobs with the given ids, of which there may be none."""
        # One that is empty is in each form, so that one in which none is
        # checked differs from one that means all.
        chosen = [each for each in (
            chosen if isinstance(chosen, list) else [chosen]) if each != '']
        self.selection = Selection.asked(self.form, self.is_json)
        if len(chosen) > SLICE:
            raise Problem(400, _('Choose ${number} jobs at most.'),
                          number=SLICE)
        if None in chosen:
            raise Problem(400, _('"${name}" must be a whole number.'),
                          name='job')
        ids = [parameters.number({'job': each}, 'job') for each in chosen]
        fitting = self._still_matching(ids)
        method = getattr(self.operations, ACTIONS[self.action].method)
        done = sum(_was_done(method, each) for each in fitting)
        return {**self._done(done, len(fitting) - done, None),
                'changed': len(ids) - len(fitting)}

    def _still_matching(self, ids):
        """Return the ids of jobs that are still what the filter asks for.

        Somebody else may have changed a job since its box was checked.
        """
        try:
            return self.management.matching(
                ids, **self.selection.arguments())
        except ValueError as error:
            raise Problem(400, str(error)) from error

    def _check_confirmation(self, after):
        """Raise Problem unless it was typed how many are meant."""
        # Later slices find fewer jobs than those that were asked about.
        if after is not None:
            return
        number = number_of(self.service, self.selection)
        expected = confirmation(self.action, number, self.context.title)
        asked = parameters.number(self.form, 'number')
        if None not in (expected, number, asked):
            # Meanwhile there may be others, which are left alone.
            expected = str(asked)
        confirmed = typed(parameters.text(self.form, 'confirm') or '')
        if expected not in (None, confirmed):
            raise Problem(409, _(
                'Type ${expected} to remove that many jobs; go back and try '
                'again.'), expected=expected)

    def _done(self, done, skipped, after):
        def before(name):
            return parameters.number(self.form, name, 0)

        return {'action': self.action, 'filter': self.selection.given(),
                'as_of': parameters.text(self.form, 'as_of'),
                'done': before('done') + done,
                'skipped': before('skipped') + skipped, 'after': after}

    def _as_html(self, data):
        return Page._as_html(self, data)

    # For the template

    result = DONE
    changed = CHANGED

    def action_title(self):
        """Return what is done, in a word."""
        return self.say(ACTIONS[self.action].title)

    def back(self):
        """Return the address of the list of the jobs."""
        return f'jobs{self.selection.query()}'
