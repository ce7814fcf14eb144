"""What is at an address at which there is nothing."""

import zope.interface
from zope.publisher.interfaces import NotFound
from zope.publisher.interfaces.browser import IBrowserPublisher
from zope.security.checker import NamesChecker

from lovely.remotetask.browser import environment
from lovely.remotetask.browser.problem import PROBLEM
from lovely.remotetask.browser.problem import as_json
from lovely.remotetask.browser.problem import is_sent_as_json
from lovely.remotetask.browser.problem import set_type
from lovely.remotetask.browser.wording import Words
from lovely.remotetask.browser.wording import _


def not_found(context, name, request):
    """Raise NotFound: the application has a page for that.

    Return what publishes a problem instead, if a program has asked: by
    ``.json`` at the end of the address, or by sending JSON there.
    """
    path = environment.path(request)
    if not (path.endswith('.json') or is_sent_as_json(request)):
        raise NotFound(context, name, request)
    return Missing(context, request)


@zope.interface.implementer(IBrowserPublisher)
class Missing:
    """Tells that there is nothing, whatever else is in the address."""

    __Security_checker__ = NamesChecker(
        ('__call__', 'browserDefault', 'publishTraverse'))

    def __init__(self, context, request):
        self.context = self.__parent__ = context
        self.request = request

    def browserDefault(self, request):
        """See IBrowserPublisher."""
        return self, ()

    def publishTraverse(self, request, name):
        """See IPublishTraverse."""
        return self

    def __call__(self):
        response = self.request.response
        response.setStatus(404)
        response.setHeader('Cache-Control', 'no-store')
        response.setHeader('X-Content-Type-Options', 'nosniff')
        set_type(self.request, PROBLEM)
        return as_json(404, 'Not Found', Words(self.request)(
            _('There is nothing at this address.'))).encode()
