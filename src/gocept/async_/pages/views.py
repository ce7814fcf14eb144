"""What is registered for the pages: factories of views."""

from importlib import resources

import zope.interface
from zope.publisher.interfaces import NotFound
from zope.publisher.interfaces.browser import IBrowserPublisher
from zope.security.checker import defineChecker
from zope.security.checker import getCheckerForInstancesOf
from zope.security.proxy import ProxyFactory

from gocept.async_.pages.overview import Overview
from lovely.remotetask.browser.assets import Assets
from lovely.remotetask.browser.page import PUBLIC
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.pages import Pages
from lovely.remotetask.browser.place import Place
from lovely.remotetask.browser.place import Settings


LOCALES = resources.files('lovely.remotetask.browser').joinpath('locales')


def define_checkers():
    """Let the classes of all pages have the checkers that pages have.

    Grok takes the proxies of what is published off, and asks for the checker
    of its class before it is called.
    """
    found = [Assets, Lead, Page, Pages]
    for class_ in found:
        found += class_.__subclasses__()
        if getCheckerForInstancesOf(class_) is None:
            defineChecker(class_, class_.__Security_checker__)


class Views:
    """Factories of views that know what the directive has said."""

    def __init__(self, name, layout='', frame_ancestors="'none'"):
        self.name = name
        self.settings = Settings(layout, frame_ancestors)

    def overview(self, site, request):
        """Return the overview of a site."""
        return Overview(site, request, self.settings)

    def service(self, service, request):
        """Return the pages of a service, as a view of itself."""
        service = ProxyFactory(service)
        return Pages(Place(
            service, service, self.settings, service.__name__ or ''), request)

    def old(self, page):
        """Return the factory of a view that leads to a page."""
        def lead(service, request):
            return Lead(service, request, f'@@{self.name}/{page}')
        return lead


@zope.interface.implementer(IBrowserPublisher)
class Lead:
    """An address of earlier code; it leads to where the page is now."""

    __Security_checker__ = PUBLIC

    def __init__(self, context, request, target):
        self.context = self.__parent__ = context
        self.request = request
        self.target = target

    def browserDefault(self, request):
        """See IBrowserPublisher."""
        return self, ()

    def publishTraverse(self, request, name):
        """See IPublishTraverse."""
        raise NotFound(self.context, name, request)

    def __call__(self):
        return self.request.response.redirect(self.target)
