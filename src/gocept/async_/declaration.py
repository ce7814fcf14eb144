"""What ZCML says of a service, and where the service is."""

import zope.component
import zope.interface
from zope.component.interfaces import ISite
from zope.container.interfaces import IReadContainer

from gocept.async_.interfaces import IServiceDeclaration
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import attempt
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.interfaces import IProcessorSettings
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.part import parents
from lovely.remotetask.policy import Policy


@zope.interface.implementer(IServiceDeclaration, IProcessorSettings)
class ServiceDeclaration:
    """See IServiceDeclaration."""

    def __init__(self, name, processor, threads, wait_time, autostart, site,
                 database='', **policy):
        self.name = name
        self.processor = processor
        self.autostart = autostart
        self.site = site
        self.database = database
        self.processorArguments = {
            'waitTime': wait_time, 'maxThreads': threads}
        self.policy = Policy(**policy)

    @property
    def processorFactory(self):
        """See IProcessorSettings."""
        return zope.component.getUtility(IProcessorFactory, self.processor)

    def find_site(self, root):
        """See IServiceDeclaration."""
        site = root
        for name in filter(None, self.site.split('/')):
            if not IReadContainer.providedBy(site) or name not in site:
                return None
            site = site[name]
        return site if ISite.providedBy(site) else None

    def find(self, root):
        """See IServiceDeclaration."""
        site = self.find_site(root)
        return None if site is None else registered(site, self.name)


def registered(site, name):
    """Return the service that a site itself has registered, or None.

    Others may be seen from there.
    """
    return site.getSiteManager().utilities.registered((), ITaskService, name)


def declarations():
    """Return all declarations, sorted by name."""
    found = zope.component.getGlobalSiteManager().getUtilitiesFor(
        IServiceDeclaration)
    return [declaration for _, declaration in sorted(found)]


@zope.component.adapter(ITaskService)
@zope.interface.implementer(IProcessorSettings)
def declared_settings(service):
    """Return the declaration of a service, None if it was not declared."""
    root = _root(service)
    if root is None:
        return None
    # A service usually has the name that it is declared with.
    likely_first = sorted(declarations(), key=lambda each: each.name
                          != getattr(service, '__name__', None))
    for declaration in likely_first:
        # Content on the way to the site of another one may be unreadable.
        found = attempt(_declares, declaration, root, service)
        if found.failed and value.is_of_database(found):
            raise found.exception
        if found.value:
            return declaration
    return None


def _declares(declaration, root, service):
    return declaration.find(root) == service


def _root(service):
    """Return the outermost parent of a service, None if it has no parent."""
    found = attempt(lambda: list(parents(service)))
    if found.failed and value.is_of_database(found):
        raise found.exception
    return found.value[-1] if len(found.value or ()) > 1 else None
