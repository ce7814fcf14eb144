"""What all pages have in common: who may see them, and how they are shown."""

import datetime
import hashlib
import json
import re
import time
from importlib import resources

import zope.interface
import zope.security
from zope.browserpage import ViewPageTemplateFile
from zope.publisher.interfaces.browser import IBrowserPublisher
from zope.security.checker import NamesChecker
from zope.security.interfaces import Unauthorized

from lovely.remotetask import interfaces
from lovely.remotetask.browser import cells
from lovely.remotetask.browser import environment
from lovely.remotetask.browser.frame import Frame
from lovely.remotetask.browser.markup import escaped
from lovely.remotetask.browser.markup import visible
from lovely.remotetask.browser.missing import not_found
from lovely.remotetask.browser.problem import PROBLEM
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.problem import as_json
from lovely.remotetask.browser.problem import method_not_allowed
from lovely.remotetask.browser.problem import refused
from lovely.remotetask.browser.problem import set_type
from lovely.remotetask.browser.wording import Words
from lovely.remotetask.browser.wording import _


VIEW = 'lovely.remotetask.View'
OPERATE = 'lovely.remotetask.Operate'
MANAGE = 'lovely.remotetask.Manage'
VIEW_ARGUMENTS = 'lovely.remotetask.ViewArguments'

# The header that tells when a page was made, in milliseconds since 1970.  The
# script tells by it that it was one of these pages that has answered.
TIME = 'X-Async-Time'

PUBLIC = NamesChecker(('__call__', 'browserDefault', 'publishTraverse'))


def template_in(package, name):
    """Return the template of a page, in the folder of a package for them."""
    return ViewPageTemplateFile(str(
        resources.files(package).joinpath('templates', f'{name}.pt')))


def template(name):
    """Return the template of a page."""
    return template_in('lovely.remotetask.browser', name)


def check_current(service):
    """Raise Problem for a service that would be written when it is read."""
    management = interfaces.IManagement(service, None)
    if management is not None and not management.is_current:
        raise Problem(503, _(
            'Earlier code has stored this service, and it was not brought up '
            'to date yet. Start a process that can write to the database.'))


@zope.interface.implementer(IBrowserPublisher)
class Page:
    """A page: its data, shown as HTML or as JSON.

    context -- the place that it belongs to, see `frame.Place`.
    names -- what of the address belongs to this page.
    """

    # Traversal reaches every page, and each asks for its permission itself:
    # that of its service, which need not be reachable in any other way.
    __Security_checker__ = PUBLIC

    permission = VIEW
    method = 'GET'
    # The name of the page in the address, and of the tab that leads to it.
    name = ''
    tab = ''
    title = ''
    # How many names the address has below the service.
    depth = 1
    content = None
    # Whether the page fetches itself again and again.
    live = True

    def __init__(self, context, request, is_json=False):
        self.context = context
        self.request = request
        self.is_json = is_json
        self.say = Words(request)
        self.now = time.time()

    @property
    def __parent__(self):
        return self.context

    @property
    def service(self):
        """The ITaskService, security proxied."""
        return self.context.service

    @property
    def management(self):
        """The IManagement of the service."""
        return interfaces.IManagement(self.service)

    def browserDefault(self, request):
        """See IBrowserPublisher."""
        return self, ()

    def publishTraverse(self, request, name):
        """See IPublishTraverse."""
        return not_found(self.context, name, request)

    # Who may see it

    def may(self, permission):
        """Return whether the current principal has a permission here."""
        return zope.security.checkPermission(permission, self.service)

    def check(self):
        """Raise Unauthorized, or Problem, if there is nothing to show."""
        if not self.may(self.permission):
            raise Unauthorized(self.service, self.name, self.permission)
        allowed = (self.method, 'HEAD') if self.method == 'GET' else (
            self.method,)
        if self.request.method not in allowed:
            raise method_not_allowed(self.method)
        check_current(self.service)

    # What it shows

    def data(self):
        """Return what the page shows: what JSON can express, and datetimes.
        """
        return {}

    def __call__(self):
        try:
            self.check()
            self._set_headers()
            data = self.data()
        except Problem as problem:
            return self._refuse(problem)
        except Unauthorized as error:
            if not self.is_json:
                raise
            return self._refuse(refused(error, self.request))
        return self._as_json(data) if self.is_json else self._as_html(data)

    def _set_headers(self):
        # All links are relative to the address as it is; a base that the
        # publisher puts in would be another one.
        self.request.response.setBase('')
        set_headers = self.request.response.setHeader
        set_headers(TIME, str(int(self.now * 1000)))
        set_headers('Cache-Control', 'no-store')
        set_headers('Vary', 'Accept-Language, Cookie, Authorization')
        set_headers('X-Content-Type-Options', 'nosniff')
        set_headers('Referrer-Policy', 'same-origin')
        # The application may have set a policy for its layout, which holds,
        # too.
        set_policy = (self.request.response.addHeader if self.context.layout
                      else set_headers)
        set_policy('Content-Security-Policy', self.context.policy)

    def _as_json(self, data):
        self.request.response.setHeader('Content-Type', 'application/json')
        # In bytes: of a text, the reader chooses the encoding.
        return json.dumps(data, default=_encoded).encode()

    def _as_html(self, data):
        content = visible(self.content(data=data))
        if 'fragment' in self.request.form:
            return self._fragment(content)
        self.request.response.setHeader(
            'Content-Type', 'text/html;charset=utf-8')
        return visible(Frame(self, content)())

    def _fragment(self, content):
        """Return the content alone, unless the reader has it already."""
        response = self.request.response
        # How long ago something was changes by itself, and so does a token.
        steady = re.sub(r'<time[^>]*>[^<]*</time>', lambda found: re.sub(
            r'>[^<]*<', '><', found.group()), content)
        etag = f'"{hashlib.sha256(steady.encode()).hexdigest()[:32]}"'
        response.setHeader('ETag', etag)
        if _is_known(etag, self.request.getHeader('If-None-Match')):
            response.setStatus(304)
            return ''
        response.setHeader('Content-Type', 'text/html;charset=utf-8')
        return content

    def _refuse(self, problem):
        response = self.request.response
        self._set_headers()
        response.setStatus(problem.status)
        for name, value in problem.headers.items():
            response.setHeader(name, value)
        detail = self.say(problem.detail, **problem.mapping)
        if self.is_json:
            set_type(self.request, PROBLEM)
            # In bytes: the publisher knows this type for no text.
            return as_json(problem.status, problem.title, detail).encode()
        response.setHeader('Content-Type', 'text/html;charset=utf-8')
        self.live = False
        return visible(Frame(self, cells.notice(
            f'{problem.status} {problem.title}', detail))())

    # For templates

    def root(self):
        """Return the address of the service, relative to that of the page."""
        return './' if self.depth < 2 else '../' * (self.depth - 1)

    def moment(self, when):
        """Return the Markup of a time: how long ago, and when it was."""
        return cells.moment(when, self.now, self.say)

    def seconds_ago(self, seconds):
        """Return the Markup of a time that is given in POSIX seconds."""
        return self.moment(cells.as_datetime(seconds))

    def status(self, status):
        """Return the Markup of a status."""
        return cells.status(status, self.say)

    def function(self, name, size=48):
        """Return the Markup of the name of a function."""
        return cells.function(name, size)

    def plain(self, content):
        """Return the Markup of a text."""
        return escaped(content)

    def token(self):
        """Return the token for the forms of the page (str)."""
        return self.management.make_token(self.request.principal.id)


def _is_known(etag, sent):
    """Return whether a reader has a version already.

    sent -- the header If-None-Match, or None.  A server that compresses has
        made the mark a weak one.
    """
    known = [each.strip().removeprefix('W/')
             for each in (sent or '').split(',')]
    return etag in known or known == ['*']


def _encoded(value):
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat(
            timespec='milliseconds').replace('+00:00', 'Z')
    raise TypeError(f'{type(value)} is no part of JSON.')


class FrontPage(Page):
    """A page to which others are relative: its address ends with a slash."""

    def __call__(self):
        """See Page; lead to the address with the slash where that is missing.
        """
        path = environment.path(self.request)
        if self.is_json or path.endswith('/'):
            return super().__call__()
        # The last part as it came: names are encoded there.
        name = str(self.request.URL).rpartition('/')[2]
        return self.request.response.redirect(f'{name}/')
