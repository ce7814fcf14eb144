"""What can be done to a service as a whole."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from lovely.remotetask.browser import flash
from lovely.remotetask.browser.page import MANAGE
from lovely.remotetask.browser.page import OPERATE
from lovely.remotetask.browser.posted import Posted
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.wording import _
from lovely.remotetask.interfaces import ENDED


class ServiceActionKind(NamedTuple):
    """Something that people do to a service.

    method -- of IOperations.
    fits -- called with the summary of a service: whether it means anything.
    said -- what the page says when it was done.
    """

    method: str
    permission: str
    title: str
    effect: str
    said: str
    fits: Callable[[Any], bool]
    style: str = ''


KINDS = {
    'start': ServiceActionKind(
        'start_processing', MANAGE, _('Start processing'),
        _('Lets this process run jobs, until it ends or somebody stops '
          'that'),
        _('This process runs jobs now.'),
        lambda data: not (data['processing'] or data['workers'])),
    'stop': ServiceActionKind(
        'stop_processing', MANAGE, _('Stop processing'),
        _('This process claims no more jobs; what runs is finished'),
        _('This process runs no more jobs.'),
        lambda data: data['processing']),
    'pause': ServiceActionKind(
        'pause', OPERATE, _('Pause'),
        _('Workers claim no more jobs; what runs is finished'),
        _('The service is paused.'), lambda data: not data['paused']),
    'resume': ServiceActionKind(
        'resume', OPERATE, _('Resume'), _('Workers claim jobs again'),
        _('The service is no longer paused.'), lambda data: data['paused'],
        'main'),
    'clean': ServiceActionKind(
        'clean', MANAGE, _('Clean up'),
        _('Removes all jobs that have ended, those that failed, too: it '
          'cannot be undone'),
        _('The jobs that had ended are removed.'),
        lambda data: any(data['counts'].get(status) for status in ENDED),
        'danger'),
}


class ServiceAction(Posted):
    """Does something to a service."""

    tab = 'service'

    def __init__(self, context, request, action):
        super().__init__(context, request)
        self.action = action
        self.permission = KINDS[action].permission

    def act(self):
        """Do it.  Return what was done, for JSON.  Raise Problem."""
        try:
            done = getattr(self.operations, KINDS[self.action].method)()
        except ValueError as error:
            # One that lies in no folder cannot be started.
            raise Problem(409, str(error)) from error
        if done is False:
            raise Problem(409, _(
                'That was done already: the service is as you want it.'))
        return {'done': True, 'number': done if type(done) is int else None}

    def next(self, done):
        """Return where to go afterwards, relative to this address."""
        flash.leave(self, self.action, self.tab)
        return './'


def said(page):
    """Return what the action before the summary has done, None without one."""
    kind = KINDS.get(flash.take(page, ServiceAction.tab))
    return None if kind is None else page.say(kind.said)
