"""What can be done to one job, by whom, and doing it."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from urllib.parse import parse_qsl
from urllib.parse import urlencode

from lovely.remotetask import interfaces
from lovely.remotetask.browser import environment
from lovely.remotetask.browser import flash
from lovely.remotetask.browser import parameters
from lovely.remotetask.browser.page import MANAGE
from lovely.remotetask.browser.page import OPERATE
from lovely.remotetask.browser.posted import Posted
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _


class Action(NamedTuple):
    """Something that people do to a job.

    method -- of IOperations.
    fits -- called with a job: whether it means anything there.
    said -- what the page says when it was done.
    keeps_status -- whether the job keeps its status, so that it means the
        same whatever that is.
    """

    method: str
    permission: str
    title: str
    effect: str
    said: str
    fits: Callable[[Any], bool]
    style: str = ''
    keeps_status: bool = False


def _recurs(job: Any) -> bool:
    return interfaces.ICronJob.providedBy(job) and job.delay is None


def _is_readable(job: Any) -> bool:
    return not interfaces.IUnreadableJob.providedBy(job)


ACTIONS = {
    'requeue': Action(
        'requeue', OPERATE, _('Requeue'),
        _('Run it again, with new attempts, as ${principal}'),
        _('The job waits to be run again.'),
        lambda job: job.status in (
            interfaces.HELD, interfaces.ERROR, interfaces.CANCELLED), 'main'),
    'run-now': Action(
        'run_now', OPERATE, _('Run now'),
        _('Adds a copy that runs at once, as ${principal}; the schedule '
          'stays'),
        _('A copy waits to be run.'), _recurs, 'main', keeps_status=True),
    'pause': Action(
        'pause_job', OPERATE, _('Pause'),
        _('It is not due until somebody resumes it'),
        _('The job is paused.'),
        lambda job: _recurs(job) and not job.paused and (
            job.status in (interfaces.CRONJOB, interfaces.PROCESSING)),
        keeps_status=True),
    'resume': Action(
        'resume_job', OPERATE, _('Resume'),
        _('It is due again, at its next time from now'),
        _('The job is due again.'),
        lambda job: _recurs(job) and job.paused, keeps_status=True),
    'cancel': Action(
        'cancel', OPERATE, _('Cancel'), _('It does not run'),
        _('The job is cancelled.'),
        lambda job: _is_readable(job) and job.status in (
            *interfaces.WAITING, interfaces.STARTLATER, interfaces.HELD)),
    'copy': Action(
        'copy', MANAGE, _('Run a copy'),
        _('Adds a job that makes the same call once, as ${principal}'),
        _('A copy waits to be run.'),
        lambda job: _is_readable(job) and not _recurs(job),
        keeps_status=True),
    'remove': Action(
        'remove', MANAGE, _('Remove'),
        _('Nothing is left of the job: it cannot be undone'),
        _('The job is removed.'),
        lambda job: job.status != interfaces.PROCESSING, 'danger'),
}


def said(page, where):
    """Return what the action before a page has done, None without one.

    where -- what the page is called below the service.
    """
    action = ACTIONS.get(flash.take(page, where))
    return None if action is None else page.say(action.said)


def address(action, jobid, status):
    """Return where an action is sent, relative to the list of the jobs.

    status -- of the job, as the page shows it.
    """
    path = f'{jobid}/{action}'
    return path if ACTIONS[action].keeps_status else (
        f'{path}?{urlencode({"status": status})}')


def in_query(request):
    """Return the query of an address to which a form is sent: a dict.

    The publisher looks at what is sent alone.
    """
    return dict(parse_qsl(environment.query(request)))


class JobAction(Posted):
    """Does something to one job."""

    name = 'jobs'
    depth = 3
    fields = ('status',)

    def __init__(self, context, request, jobid, action):
        super().__init__(context, request)
        self.jobid = jobid
        self.action = action
        self.permission = ACTIONS[action].permission

    def act(self):
        """Do it.  Return what was done, for JSON.  Raise Problem."""
        action = ACTIONS[self.action]
        if self.service.jobs.get(self.jobid) is None:
            raise Problem(404, _('There is no job ${jobid} any more.'),
                          jobid=self.jobid)
        self._check_status()
        try:
            done = getattr(self.operations, action.method)(self.jobid)
        except ValueError as error:
            raise Problem(409, str(error)) from error
        if done is False or done is None:
            raise Problem(409, _(
                'The job has changed meanwhile: "${action}" means nothing '
                'for it now. Go back and look at it.'),
                action=self.say(action.title))
        made = done if type(done) is int else None
        return {'done': True, 'job': str(self.jobid if made is None
                                         else made)}

    def _check_status(self):
        """Raise Problem if the job is no longer what its reader has seen."""
        given = self.form if self.is_json else in_query(self.request)
        if given.get('status') is None:
            return
        asked = parameters.text(given, 'status')
        if asked not in interfaces.STATUSES:
            raise Problem(400, _('"status" must be one of ${names}.'),
                          names=', '.join(interfaces.STATUSES))
        job = self.service.jobs[self.jobid]
        if asked != job.status:
            raise Problem(409, _(
                'The job has changed meanwhile: it was "${before}", and is '
                '"${now}" now. Go back and look at it.'),
                before=self.say.status(asked),
                now=self.say.status(job.status))

    def next(self, done):
        """Return where to go afterwards, relative to this address."""
        where = 'jobs' if self.action == 'remove' else f'jobs/{done["job"]}'
        flash.leave(self, self.action, where)
        return f'../../{where}'
