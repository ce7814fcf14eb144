"""The pages of the demo; all of them views of the root folder."""

import inspect
import json

import zope.component
from zope.publisher.browser import BrowserView
from zope.security import canAccess
from zope.traversing.browser import absoluteURL

from gocept.async_.demo.application import TOOK
from gocept.async_.demo.computation import NAME
from gocept.async_.demo.computation import sum_of_primes
from lovely.remotetask.interfaces import ITaskService


MAX_LIMIT = 5_000_000


class ComputationsView(BrowserView):
    """What all pages need."""

    @property
    def computations(self):
        # Looked up in the root folder, so security proxied: the permissions
        # in configure.zcml hold here too.
        return self.context[NAME]

    @property
    def token(self):
        return self.computations.tokens.make(self.request.principal.id)

    def rows(self):
        """Return the newest computations, as dicts for JSON."""
        jobs = zope.component.getUtility(ITaskService, 'events').jobs
        return [describe(computation, jobs.get(computation.jobid))
                for computation in self.computations.newest]


def describe(computation, job):
    """Return what is known about a computation.

    job -- its IJob; None if it was removed from the service.
    """
    described = {
        'id': computation.jobid,
        'limit': computation.limit,
        'state': 'removed' if job is None else job.status,
        'asked_by': computation.asked_by,
        'principal': computation.principal,
        'result': computation.result,
        'runs': computation.runs,
        'error': None if job is None else job.error,
        'processor': _processor(job),
        'seconds': _seconds(job),
    }
    return described | {'cells': _cells(**described)}


def _processor(job):
    """Return who runs a job, or has run it last: host:pid:thread."""
    if job is None:
        return None
    if job.claim is not None:
        return job.claim.processor
    return job.history[-1].processor if job.history else None


def _seconds(job):
    if job is None or job.completed is None or job.started is None:
        return None
    return (job.completed - job.started).total_seconds()


def _cells(limit, state, asked_by, principal, result, error, seconds,
           processor, **_):
    """Return the cells of a row of the table, str each."""
    return [
        f'{limit:,}',
        state,
        asked_by or '',
        principal or '',
        error or ('' if result is None else f'{result:,}'),
        '' if seconds is None else f'{seconds:.1f} s',
        _short(processor)]


def _short(processor):
    """Return host and process, without the thread."""
    return ':'.join((processor or '').split(':')[:2])


class Index(ComputationsView):
    """The page, see index.pt."""

    columns = ('Primes below', 'State', 'Asked for by', 'Run as',
               'Their sum', 'Time', 'By')
    max_limit = MAX_LIMIT
    code = inspect.getsource(sum_of_primes.undecorated)

    @property
    def took(self):
        """Milliseconds (str) of the request that led here, or None."""
        took = self.request.getCookies().get(TOOK, '')
        return took if took.isdecimal() else None

    @property
    def may_forget(self):
        return canAccess(self.computations, 'forget')

    @property
    def url(self):
        return absoluteURL(self.context, self.request)

    def __call__(self):
        response = self.request.response
        response.setHeader('Cache-Control', 'no-store')
        # Nobody puts our buttons under theirs.
        response.setHeader(
            'Content-Security-Policy', "frame-ancestors 'none'")
        return self.index()


class AsJSON(ComputationsView):
    """The same rows, for the script of the page."""

    def __call__(self):
        response = self.request.response
        response.setHeader('Content-Type', 'application/json')
        response.setHeader('Cache-Control', 'no-store')
        return json.dumps({'computations': self.rows()})


class Refused(Exception):
    """A form is not accepted: HTTP status, and a sentence."""


class FormAction(ComputationsView):
    """Changes something, if one of our own forms asks for it."""

    def __call__(self):
        try:
            self.check()
            self.act()
        except Refused as refused:
            return self.refuse(*refused.args)
        return self.request.response.redirect(
            absoluteURL(self.context, self.request) + '/', status=303)

    def check(self):
        """Raise Refused unless it is one of our forms."""
        if self.request.method != 'POST':
            raise Refused(405, 'Use the form on the page: only POST changes '
                               'anything.')
        if not self.computations.tokens.accepts(
                self.request.principal.id, self.request.form.get('token')):
            raise Refused(403, 'The token of the form is missing or is not '
                               'yours; reload the page and try again.')

    def refuse(self, status, message):
        """Answer with a sentence."""
        response = self.request.response
        response.setStatus(status)
        response.setHeader('Content-Type', 'text/plain;charset=utf-8')
        if status == 405:
            response.setHeader('Allow', 'POST')
        return message + '\n'


class Start(FormAction):
    """Start a computation."""

    def act(self):
        self.computations.start(self.limit())

    def limit(self):
        """Return the number (int) in the form, or raise Refused."""
        given = self.request.form.get('limit')
        try:
            limit = int(given)
        except (TypeError, ValueError):
            limit = 0
        if not 1 <= limit <= MAX_LIMIT:
            raise Refused(400, f'The limit must be a whole number from 1 to '
                               f'{MAX_LIMIT}, not {given!r:.40}; go back and '
                               f'choose another one.')
        return limit


class Forget(FormAction):
    """Remove what has ended."""

    def act(self):
        self.computations.forget()
