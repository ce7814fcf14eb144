"""What ZCML says of a service, and where the service is."""

import zope.component
import zope.interface

from gocept.async_ import absence
from gocept.async_.interfaces import IServiceDeclaration
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.interfaces import IProcessorSettings
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.number import shown
from lovely.remotetask.part import home
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.part import parents
from lovely.remotetask.policy import Policy
from lovely.remotetask.running.server import server


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
            if server().names(site) is None:
                return None
            site = server().find(site, [name])
        return site if server().is_site(site) else None

    def find(self, root):
        """See IServiceDeclaration."""
        site = self.find_site(root)
        return None if site is None else server().service_of(site, self.name)


def declarations():
    """Return all declarations, sorted by name."""
    found = zope.component.getGlobalSiteManager().getUtilitiesFor(
        IServiceDeclaration)
    return [declaration for _, declaration in sorted(found)]


def service(name='', context=None):
    """Return the ITaskService of a name.

    As the current site sees it; for those who have none, as scripts, the one
    that is declared.

    context -- any object of the content, to say in which connection to look
        for it.

    Raise LookupError if there is none, ValueError for what is no name.
    """
    check_name(name)
    found = server().visible_service(name)
    if found is None and context is not None:
        found = _declared_service(name, home(context))
    if found is None:
        raise LookupError(_absence(name, context))
    return found


def check_name(name):
    """Raise ValueError unless a value is a name, not a service itself, say."""
    if not isinstance(name, str):
        raise ValueError(
            f'A task service is found by its name, a text like "events", not '
            f'{shown(name)}.')


def _declared_service(name, connection):
    declared = _declaration(name)
    root = None if connection is None else server().root(connection)
    found = None if None in (declared, root) else declared.find(root)
    return None if is_nowhere(found) else found


def _declaration(name):
    return next((each for each in declarations() if each.name == name), None)


def _absence(name, context):
    """Return why there is no service, and what to do."""
    declared = _declaration(name)
    connection = None if context is None else home(context)
    if declared is None:
        return absence.nowhere(name) or (
            f'There is no task service {name!r}; declare it in ZCML, '
            f'<async:service name="..." />, and set the site that holds it, '
            f'or hand over an object of the content as `context`.')
    if connection is None:
        return (f'{absence.unseen(name, declarations())} Or hand over a '
                f'stored object of the content as `context`.')
    return (f'There is no task service {name!r}: it is declared in ZCML, but '
            f'{absence.missing(declared, server().root(connection))}')


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
        found = outcome_of(_declares, declaration, root, service)
        if found.failed and value.is_of_database(found):
            raise found.exception
        if found.value:
            return declaration
    return None


def name_of(service):
    """Return the name by which decorated functions refer to a service."""
    declaration = declared_settings(service)
    return getattr(service, '__name__', None) if declaration is None \
        else declaration.name


def _declares(declaration, root, service):
    return declaration.find(root) == service


def _root(service):
    """Return the outermost parent of a service, None if it has no parent."""
    found = outcome_of(lambda: list(parents(service)))
    if found.failed and value.is_of_database(found):
        raise found.exception
    return found.value[-1] if len(found.value or ()) > 1 else None
