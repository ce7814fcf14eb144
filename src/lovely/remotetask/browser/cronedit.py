"""Giving a cron job another pattern."""

from lovely.remotetask import interfaces
from lovely.remotetask.browser import cronwords
from lovely.remotetask.browser import parameters
from lovely.remotetask.browser.page import MANAGE
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.posted import Posted
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _


NAME = 'pattern'

# What each field of the form is called, and what may be in it.
LABELS = {'minute': _('Minutes, 0 to 59'), 'hour': _('Hours, 0 to 23'),
          'dayOfMonth': _('Days of the month, 1 to 31'),
          'month': _('Months, 1 to 12'),
          'dayOfWeek': _('Days of the week, 0 (Monday) to 6')}


def cron_job(service, jobid):
    """Return a job that runs again and again.  Raise Problem."""
    job = service.jobs.get(jobid)
    if not interfaces.ICronJob.providedBy(job) or job.delay is not None:
        raise Problem(404, _(
            'Job ${jobid} is none that runs again and again.'), jobid=jobid)
    return job


class CronEdit(Page):
    """The form."""

    name = 'crons'
    title = _('Pattern')
    permission = MANAGE
    depth = 3
    content = template('cronedit')
    live = False

    def __init__(self, context, request, jobid):
        super().__init__(context, request)
        self.jobid = jobid

    def data(self):
        """The pattern as it is."""
        job = cron_job(self.service, self.jobid)
        return {'id': str(job.id), 'function': job.function or job.task,
                'pattern': {name: list(getattr(job, name))
                            for name in cronwords.FIELDS},
                'timezone': job.timezone}

    # For the template

    def fields(self, data):
        """Yield the fields of the form."""
        for name, label in LABELS.items():
            yield {'name': name, 'label': self.say(label),
                   'value': ', '.join(map(str, data['pattern'][name]))}

    def words(self, data):
        """Return the pattern in words."""
        return cronwords.words(data['pattern'], self.say)


class CronUpdate(Posted):
    """Takes what the form says."""

    name = 'crons'
    permission = MANAGE
    depth = 3

    def __init__(self, context, request, jobid):
        super().__init__(context, request)
        self.jobid = jobid

    def act(self):
        """Change the pattern."""
        cron_job(self.service, self.jobid)
        pattern = {name: numbers(self.form, name)
                   for name in cronwords.FIELDS}
        try:
            self.operations.update_cron(
                self.jobid, **pattern,
                timezone=parameters.text(self.form, 'timezone'))
        except (ValueError, TypeError) as error:
            raise Problem(400, str(error)) from error
        return {'done': True, 'job': str(self.jobid)}

    def next(self, done):
        """Return where to go afterwards, relative to this address."""
        return '../../crons'


def numbers(form, name):
    """Return the numbers (tuple of ints) of a field.

    Separated by commas or blanks; or a list, in JSON.
    """
    found = form.get(name) or ()
    if isinstance(found, str):
        found = found[:parameters.SIZE].replace(',', ' ').split()
    if not isinstance(found, list | tuple):
        found = [found]
    try:
        return tuple(int(each) for each in found)
    except (TypeError, ValueError) as error:
        raise Problem(400, _(
            '"${name}" must be whole numbers, separated by commas.'),
            name=name) from error
