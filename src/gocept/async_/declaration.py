"""What ZCML says of a service, and where the service is."""

import zope.component
import zope.interface
from zope.component.interfaces import ISite
from zope.container.interfaces import IReadContainer

from gocept.async_.interfaces import IServiceDeclaration
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.interfaces import IProcessorSettings
from lovely.remotetask.interfaces import ITaskService
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
        if site is None:
            return None
        # Registered in that very site; others may be seen from there.
        for registration in site.getSiteManager().registeredUtilities():
            if (registration.provided == ITaskService
                    and registration.name == self.name):
                return registration.component
        return None


def declarations():
    """Return all declarations, sorted by name."""
    found = zope.component.getGlobalSiteManager().getUtilitiesFor(
        IServiceDeclaration)
    return [declaration for _, declaration in sorted(found)]


@zope.component.adapter(ITaskService)
@zope.interface.implementer(IProcessorSettings)
def declared_settings(service):
    """Return the declaration of a service, None if it was not declared."""
    root = service
    while root.__parent__ is not None:
        root = root.__parent__
    if root is service:
        return None
    for declaration in declarations():
        if declaration.find(root) == service:
            return declaration
    return None
