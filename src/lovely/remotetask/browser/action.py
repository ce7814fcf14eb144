"""What can be done to one job, by whom, and doing it."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from lovely.remotetask import interfaces
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
    """

    method: str
    permission: str
    title: str
    effect: str
    said: str
    fits: Callable[[Any], bool]
    style: str = ''


def _recurs(job: Any) -> bool:
    return interfaces.ICronJob.providedBy(job) and job.delay is None


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
        _('A copy waits to be run.'), _recurs, 'main'),
    'pause': Action(
        'pause_job', OPERATE, _('Pause'),
        _('It is not due until somebody resumes it'),
        _('The job is paused.'),
        lambda job: _recurs(job) and not job.paused and (
            job.status in (interfaces.CRONJOB, interfaces.PROCESSING))),
    'resume': Action(
        'resume_job', OPERATE, _('Resume'),
        _('It is due again, at its next time from now'),
        _('The job is due again.'),
        lambda job: _recurs(job) and job.paused),
    'cancel': Action(
        'cancel', OPERATE, _('Cancel'), _('It does not run'),
        _('The job is cancelled.'),
        lambda job: job.status in (
            *interfaces.WAITING, interfaces.STARTLATER, interfaces.HELD)),
    'copy': Action(
        'copy', MANAGE, _('Run a copy'),
        _('Adds a job that makes the same call once, as ${principal}'),
        _('A copy waits to be run.'),
        lambda job: not _recurs(job)),
    'remove': Action(
        'remove', MANAGE, _('Remove'),
        _('Nothing is left of the job: it cannot be undone'),
        _('The job is removed.'),
        lambda job: job.status != interfaces.PROCESSING, 'danger'),
}


def said(request, say):
    """Return what the action before this page has done, None without one."""
    action = ACTIONS.get(request.form.get('said')) \
        if isinstance(request.form.get('said'), str) else None
    return None if action is None else say(action.said)


class JobAction(Posted):
    """Does something to one job."""

    name = 'jobs'
    depth = 3

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

    def next(self, done):
        """Return where to go afterwards, relative to this address."""
        if self.action == 'remove':
            return f'../../jobs?said={self.action}'
        return f'../{done["job"]}?said={self.action}'
