"""What the forms for cron jobs have in common: fields, and what they mean."""

from lovely.remotetask import interfaces
from lovely.remotetask.browser import cells
from lovely.remotetask.browser import cronwords
from lovely.remotetask.browser import parameters
from lovely.remotetask.browser.page import MANAGE
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.posted import Posted
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _


# What each field of the form is called, and what may be in it.
LABELS = {'minute': _('Minutes, 0 to 59'), 'hour': _('Hours, 0 to 23'),
          'dayOfMonth': _('Days of the month, 1 to 31'),
          'month': _('Months, 1 to 12 or jan to dec'),
          'dayOfWeek': _('Days of the week, mon to sun or 0 (Monday) to 6')}

# How many of the next runs are told.
NEXT = 5


def pattern_of(form):
    """Return the pattern that a form gives, for `ICronJob.update`.

    Texts as in a crontab, also separated by blanks; or numbers, and lists of
    them, in JSON.
    """
    found = {name: _field(form, name) for name in cronwords.FIELDS}
    return {**found, 'timezone': parameters.text(form, 'timezone')}


def delay_of(form):
    """Return in how many seconds a form wants a job to be run once, or None.

    Raise ValueError for what is no number, and Problem for 0: to ICronJob
    that is no delay, but a job that runs again and again.
    """
    delay = _number(form)
    if delay == 0:
        raise Problem(400, _(
            'A job that runs once waits for more than 0 seconds; say how '
            'many, or leave the field empty.'))
    return delay


def _number(form):
    value = form.get('delay')
    if type(value) in (int, float):
        return value
    text = parameters.text(form, 'delay')
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f'delay must be a number of seconds, like 600, not {text!r}.'
            ) from None


def _field(form, name):
    value = form.get(name)
    if value is None or isinstance(value, list):
        return value or ()
    if type(value) is int:
        return value
    text = parameters.text(form, name) or ''
    return ','.join(text.replace(',', ' ').split()) or ()


def says_when(pattern):
    """Return whether any field of a pattern says something."""
    return any(pattern[name] != () for name in LABELS)


class CronForm(Page):
    """A form for the pattern of a cron job; it shows the next runs.

    To look at them changes nothing, so the form asks for itself, with GET;
    another button of it sends what is to be kept, with POST.
    """

    name = 'crons'
    permission = MANAGE
    content = template('cronform')
    live = False

    # What was wrong with what the form has sent, None if nothing was.
    trouble = None

    # What each field is called that says when.
    labels = LABELS

    def texts(self):
        """Return what is in the fields: a dict of texts."""
        return {name: parameters.text(self.request.form, name) or ''
                for name in (*self.labels, 'timezone')}

    @property
    def is_filled(self):
        """Whether the form has sent anything."""
        return any(name in self.request.form
                   for name in (*self.labels, 'timezone'))

    def data(self):
        """The fields, and when the job would run."""
        texts = self.texts()
        data = {'fields': texts, 'pattern': None, 'next': [],
                'trouble': self.trouble}
        if self.trouble is None and any(texts[name] for name in self.labels):
            return {**data, **self._foreseen(texts)}
        return data

    def _foreseen(self, texts):
        try:
            pattern, times = interfaces.IManagement(self.service).foresee(
                self.asked(texts), NEXT)
        except (ValueError, Problem) as error:
            problem = (error if isinstance(error, Problem)
                       else Problem(400, str(error)))
            if self.is_json:
                raise problem from error
            return {'trouble': self.say(problem.detail, **problem.mapping)}
        return {'pattern': {name: list(pattern[name])
                            for name in cronwords.FIELDS},
                'next': [cells.as_datetime(time) for time in times]}

    def asked(self, texts):
        """Return what the form asks for, see IManagement.foresee."""
        return pattern_of(texts)

    # For the template

    heading = None
    hint = None
    address = ''
    back = ''

    def choices(self, data):
        """Return the functions to choose from, None if it is known which."""

    def fields(self, data):
        """Yield the fields of the form."""
        for name, label in self.labels.items():
            yield {'name': name, 'label': self.say(label),
                   'value': data['fields'][name]}

    def words(self, data):
        """Return the pattern in words, and the time zone."""
        return ' '.join((cronwords.words(data['pattern'], self.say),
                         data['fields']['timezone'] or 'UTC'))

    def in_zone(self, when, data):
        """Return a time as the clocks of the time zone show it."""
        return cronwords.in_zone(when, data['fields']['timezone']) or ''


class CronPosted(Posted):
    """Takes what such a form says."""

    name = 'crons'
    permission = MANAGE
    fields = (*cronwords.FIELDS, 'timezone')

    def form_page(self):
        """Return the CronForm, to show it once more."""
        raise NotImplementedError

    def keep(self, pattern):
        """Keep a pattern; return the id of the job."""
        raise NotImplementedError

    def asked(self):
        """Return what the form asks for.  Raise ValueError, or Problem."""
        pattern = pattern_of(self.form)
        if not says_when(pattern):
            # An empty pattern is each minute, which few people want.
            raise Problem(400, _(
                'Say when: fill in at least one field. A * in "minute" is '
                'each minute.'))
        return pattern

    def act(self):
        """Do it.  Return what was done, for JSON.  Raise Problem."""
        try:
            jobid = self.keep(self.asked())
        except (ValueError, TypeError) as error:
            raise Problem(400, str(error)) from error
        return {'done': True, 'job': str(jobid)}

    def _refuse(self, problem):
        refused = super()._refuse(problem)
        if self.is_json or problem.status != 400:
            return refused
        # The form is there again, with what was typed.
        page = self.form_page()
        page.method = self.request.method
        page.trouble = self.say(problem.detail, **problem.mapping)
        shown = page()
        self.request.response.setStatus(400)
        return shown
