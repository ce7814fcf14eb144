"""What is registered for the pages: factories of views."""

from importlib import resources

from zope.security.proxy import ProxyFactory

from gocept.async_.pages.overview import Overview
from lovely.remotetask.browser.pages import Pages
from lovely.remotetask.browser.place import Place
from lovely.remotetask.browser.place import Settings


LOCALES = resources.files('lovely.remotetask.browser').joinpath('locales')


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
