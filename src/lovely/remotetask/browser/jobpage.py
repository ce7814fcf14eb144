"""The page of one job: what became of it, and what can be done about it."""

import time

from lovely.remotetask import interfaces
from lovely.remotetask.browser import cells
from lovely.remotetask.browser import cronedit
from lovely.remotetask.browser import cronwords
from lovely.remotetask.browser import rows
from lovely.remotetask.browser.action import ACTIONS
from lovely.remotetask.browser.action import JobAction
from lovely.remotetask.browser.action import address
from lovely.remotetask.browser.action import said
from lovely.remotetask.browser.missing import not_found
from lovely.remotetask.browser.page import MANAGE
from lovely.remotetask.browser.page import VIEW_ARGUMENTS
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.page import template
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.selection import Selection
from lovely.remotetask.browser.wording import _
from lovely.remotetask.browser.wording import duration


# What the first line of the page says; of a status that is not here, its
# name.
SENTENCES = {
    interfaces.QUEUED: _('Waits for a worker'),
    interfaces.DELAYED: _('Runs once, when its time comes'),
    interfaces.CRONJOB: _('Runs again and again'),
    interfaces.STARTLATER: _('Waits until somebody starts it'),
    interfaces.PROCESSING: _('Is being run: attempt ${attempts}, on '
                             '${worker}'),
    interfaces.COMPLETED: _('Completed at attempt ${attempts}, on ${worker}'),
    interfaces.ERROR: _('Failed for good at attempt ${attempts}, on '
                        '${worker}'),
    interfaces.CANCELLED: _('Was cancelled, and does not run'),
    interfaces.HELD: _('Is held: the installed code cannot run it'),
}

# How long is looked for another failure, in seconds.
SECONDS = 0.1

AGAIN = _('Waits to be tried again, after attempt ${attempts}')


class JobPage(Page):
    """See the module."""

    name = 'jobs'
    title = _('Job')
    depth = 2
    content = template('job')

    def __init__(self, context, request, is_json=False, jobid=0):
        super().__init__(context, request, is_json)
        self.jobid = jobid

    def publishTraverse(self, request, name):
        """Return what does something to the job."""
        if self.is_json:
            return not_found(self.context, name, request)
        if name == cronedit.NAME:
            kind = (cronedit.CronUpdate if request.method == 'POST'
                    else cronedit.CronEdit)
            return kind(self.context, request, self.jobid)
        if name not in ACTIONS:
            return not_found(self.context, name, request)
        return JobAction(self.context, request, self.jobid, name)

    def data(self):
        """Return all that may be told of the job."""
        job = find(self.service, self.jobid)
        data = rows.row(job)
        shows_all = self.may(VIEW_ARGUMENTS)
        data['history'] = [_attempt(each, shows_all) for each in job.history]
        data['claim'] = self._claim(job.claim)
        data['removed_at'] = cells.as_datetime(
            self.management.removed_at(job))
        data['previous_failure'] = self._previous_failure(data)
        data['actions'] = [name for name, action in ACTIONS.items()
                           if action.fits(job) and self.may(action.permission)]
        if interfaces.ICronJob.providedBy(job) and job.delay is None:
            data['pattern'] = {name: list(getattr(job, name))
                               for name in cronwords.FIELDS}
            data['timezone'] = job.timezone
            data['paused'] = job.paused
            data['name'] = job.name
        if shows_all:
            data.update(_private(job))
        return data

    def _claim(self, claim):
        """Return who runs the job, and when that one was heard of."""
        if claim is None:
            return None
        heard_of = [each['heartbeat'] for each in self.management.workers()
                    if each['id'] == claim.worker]
        return {'processor': claim.processor,
                'attempt': claim.attempt,
                'time': cells.as_datetime(claim.time),
                'heard_of': cells.as_datetime(*heard_of or [None])}

    def _previous_failure(self, data):
        """Return the id of the failure of the function before this one."""
        if data['status'] != interfaces.ERROR or data['completed'] is None:
            return None
        found = rows.seen(self.service.find(
            status=interfaces.ERROR, function=data['function'], limit=1,
            until=data['completed'].timestamp(),
            deadline=time.monotonic() + SECONDS).jobs)
        return str(found[0].id) if found else None

    def actions(self):
        """Return what was done to the job, as rows of the audit page."""
        if not self.may(MANAGE):
            return []
        return [action for action in interfaces.IOperations(
            self.service).actions() if action.job == self.jobid]

    def panels(self):
        """Yield what the application tells of the job."""
        job = self.service.jobs.get(self.jobid)
        for panel in self.management.panels(job, self.request):
            yield {**panel, 'title': self.say(panel['title'])}

    # For the template

    def said(self):
        """Return what the last action has done, None without one."""
        return said(self, f'jobs/{self.jobid}')

    def sentence(self, data):
        """Return what became of the job, in a sentence."""
        status = data['status']
        claim = data['claim']
        attempts = data['attempts'] if claim is None else claim['attempt']
        if status == interfaces.QUEUED and attempts:
            return self.say(AGAIN, attempts=attempts)
        host = (data['worker'] or '?').partition(':')[0]
        return self.say(SENTENCES.get(status, status), attempts=attempts,
                        worker=cells.shortened(host, 24))

    def when(self, data):
        """Return the Markup of the time of that."""
        return self.moment(rows.when(data))

    def timeline(self, data):
        """Yield what happened to the job, in order: a word and a time."""
        yield _('Added'), data['created']
        if data['due']:
            yield _('Due'), data['due']
        if data['claim']:
            yield _('Claimed'), data['claim']['time']
        elif data['started']:
            yield _('Begun'), data['started']
        if data['completed']:
            yield _('Ended'), data['completed']

    def facts(self, data):
        """Yield what else is known: a word and Markup."""
        if 'pattern' in data:
            yield _('Pattern'), ' '.join((
                cronwords.words(data['pattern'], self.say),
                data['timezone'] or 'UTC'))
        if data.get('name') is not None:
            yield _('Declared as'), data['name']
        yield _('Principal'), data['principal']
        yield _('Task'), data['task']
        yield _('Priority'), data['priority']
        yield _('Wait'), duration(data['wait'])
        yield _('Run time'), duration(data['run'])
        yield _('Worker'), cells.worker(data['worker'])
        if data['claim']:
            yield _('Worker heard of'), self.moment(data['claim']['heard_of'])
        if data['removed_at']:
            yield _('Is removed'), self.moment(data['removed_at'])

    def buttons(self, data):
        """Yield what can be done, with what that means."""
        for name in data['actions']:
            action = ACTIONS[name]
            yield {'name': name, 'title': self.say(action.title),
                   'url': address(name, self.jobid, data['status']),
                   'effect': self.say(
                       action.effect,
                       principal=data['principal'] or self.say(_('nobody'))),
                   'class': action.style}

    def failures(self, data):
        """Return the address of all failures of the same function."""
        query = Selection(interfaces.ERROR, data['function']).query()
        return f'../jobs{query}'

    def seconds(self, seconds):
        """Return the text of a duration."""
        return duration(seconds)

    def error_class(self, name):
        """Return the Markup of the class of an exception."""
        return cells.class_name(name)

    def worker(self, name):
        """Return the Markup of who runs a job."""
        return cells.worker(name)

    def edits(self, data):
        """Return the address where the pattern is changed, or None."""
        return f'{self.jobid}/{cronedit.NAME}' if (
            'pattern' in data and data['name'] is None
            and self.may(MANAGE)) else None

    def renamed(self, data):
        """Return the directive that tells where a function is now, or None.
        """
        if data['status'] != interfaces.HELD or (
                data['function'] == data['task']):
            return None
        return f'<async:renamed old="{data["function"]}" new="..." />'


def find(service, jobid):
    """Return a job.  Raise Problem if there is none."""
    job = service.jobs.get(jobid)
    if job is None:
        raise Problem(404, _(
            'There is no job ${jobid}. It was removed, or it ended so long '
            'ago that it is not kept any more.'), jobid=jobid)
    return job


def _attempt(attempt, shows_all):
    """Return what is told of one run of a job."""
    found = {'started': cells.as_datetime(attempt.started),
             'duration': attempt.duration,
             'processor': attempt.processor,
             'error_class': attempt.errorClass,
             'lost': attempt.duration is None}
    if shows_all:
        found['error'] = attempt.error
        found['traceback'] = attempt.traceback
    return found


def _private(job):
    """Return what only those see who may see what jobs are about."""
    texts = interfaces.IJobTexts(job)
    return {'error': job.error,
            'arguments': [{'name': name, 'repr': text}
                          for name, text in texts.arguments],
            'result': texts.result}
