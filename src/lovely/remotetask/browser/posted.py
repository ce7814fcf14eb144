"""What changes something: only by POST, and only from a page of ours."""

import json

import transaction

from lovely.remotetask import interfaces
from lovely.remotetask.browser import environment
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.problem import Problem
from lovely.remotetask.browser.problem import is_sent_as_json
from lovely.remotetask.browser.wording import _


# What browsers say of who has sent a request, if it is we ourselves; or the
# reader, who typed the address.
OURS = ('same-origin', 'none')

# Bytes that a JSON document may have.
SIZE = 10_000

# Characters of a name that is told.
SHORT = 100


class Posted(Page):
    """Something that is done when a form is sent, or a JSON document.

    A browser sends a form for anybody, with its reader's password; only our
    pages know the token in it.  It sends JSON to another site only after that
    was asked, and has said yes, which is never done here: so JSON needs no
    token.
    """

    method = 'POST'
    live = False

    # What a document may say.  What is not understood is refused: a filter
    # that is misspelt is none, and would be for all jobs.
    fields = ()

    def __init__(self, context, request):
        super().__init__(context, request, is_sent_as_json(request))
        self.form = request.form

    def check(self):
        """See Page; and refuse what none of our pages has sent."""
        super().check()
        site = self.request.getHeader('Sec-Fetch-Site')
        if site is not None and site not in OURS:
            raise Problem(403, _('Another site has sent this form.'))
        if self.is_json:
            self.form = read_json(self.request, self.fields)
        elif not interfaces.IManagement(self.service).accepts_token(
                self.request.principal.id, self.request.form.get('token')):
            raise Problem(403, _(
                'The token of the form is missing or is not yours: go back, '
                'reload the page and try again.'))

    def data(self):
        """See Page."""
        return self.act()

    @property
    def operations(self):
        """The IOperations of the service; it asks for the permissions."""
        return interfaces.IOperations(self.service)

    def _refuse(self, problem):
        # Half of something must not be stored.
        transaction.doom()
        return super()._refuse(problem)

    def _as_html(self, data):
        return self.request.response.redirect(self.next(data), status=303)


def read_json(request, fields):
    """Return the JSON object in the body of a request.  Raise Problem.

    fields -- the names that it may have.
    """
    if environment.query(request):
        raise Problem(400, _('The query of the address is not looked at; '
                             'write it into the JSON document.'))
    body = request.bodyStream.read(SIZE + 1)
    if len(body) > SIZE:
        raise Problem(413, _('The document is too large.'))
    try:
        found = json.loads(body or b'{}')
    except (ValueError, RecursionError) as error:
        raise Problem(400, _('The body is no JSON document.')) from error
    if not isinstance(found, dict):
        raise Problem(400, _('The body must be a JSON object.'))
    for name in found:
        if name not in fields:
            raise Problem(400, _('"${name}" means nothing here; known: '
                                 '${known}.'), name=name[:SHORT],
                          known=', '.join(fields) or '–')
    return found
