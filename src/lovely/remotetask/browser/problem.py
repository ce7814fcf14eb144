"""What goes wrong on a page, said in a sentence: problem+json, or a page."""

import http
import json

import zope.component
from zope.publisher.defaultview import queryDefaultViewName

from lovely.remotetask.browser.wording import _


# The content types of what programs send and get.
JSON = 'application/json'
PROBLEM = 'application/problem+json'


def is_sent_as_json(request):
    """Return whether the body of a request is JSON, by what it says."""
    sent = request.getHeader('Content-Type') or ''
    return sent.partition(';')[0].strip().lower() == JSON


def set_type(request, content_type, text_type=JSON):
    """Say of which content type the answer to a request is.

    text_type -- what to say instead if HEAD has asked: there the publisher
        answers with an empty text, and fails for a type of which it does not
        know that it is one of texts.
    """
    request.response.setHeader(
        'Content-Type',
        text_type if request.method == 'HEAD' else content_type)


class Problem(Exception):
    """A request is not answered as asked.

    status -- int, of HTTP.
    detail -- a sentence for people: what, which value, what to do.
    headers -- mapping.
    """

    def __init__(self, status, detail, headers=None, **mapping):
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.mapping = mapping
        self.headers = headers or {}

    @property
    def title(self):
        """What HTTP says of the status."""
        return http.HTTPStatus(self.status).phrase


def method_not_allowed(allowed):
    """Return the Problem of a method that a page does not know.

    allowed -- the one that it does.
    """
    return Problem(
        405, _('This address is for ${allowed} alone.'), {'Allow': allowed},
        allowed=allowed)


def as_json(status, title, detail):
    """Return a document of RFC 9457."""
    return json.dumps({'type': 'about:blank', 'title': title,
                       'status': status, 'detail': detail})


def refused(error, request):
    """Return the Problem of an Unauthorized.

    The view of the application for it says how to log in; only its page is
    left out.
    """
    name = queryDefaultViewName(error, request) or 'index.html'
    view = zope.component.queryMultiAdapter((error, request), name=name)
    if view is not None:
        view()
    status = request.response.getStatus()
    if 300 <= status < 400:
        # A form to log in; programs do not.
        request.response.reset()
        status = 401
    return Problem(status if status in (401, 403) else 403, _(
        'You may not do that; log in as somebody who may.'))
