"""What is registered for the pages: factories of views."""

from importlib import resources

from zope.security.checker import defineChecker
from zope.security.checker import getCheckerForInstancesOf
from zope.security.proxy import ProxyFactory

from gocept.async_.pages.earlier import Lead
from gocept.async_.pages.overview import Overview
from lovely.remotetask.browser.assets import Assets
from lovely.remotetask.browser.missing import Missing
from lovely.remotetask.browser.page import Page
from lovely.remotetask.browser.pages import Pages
from lovely.remotetask.browser.place import Place
from lovely.remotetask.browser.place import Settings
from lovely.remotetask.browser.wording import Words


LOCALES = resources.files('lovely.remotetask.browser').joinpath('locales')


def define_checkers():
    """Let the classes of all pages have the checkers that pages have.

    Grok takes the proxies of what is published off, and asks for the checker
    of its class before it is called.
    """
    found = [Assets, Lead, Missing, Page, Pages]
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
            service, service, self.settings,
            Words(request).service(service.__name__ or '')), request)
