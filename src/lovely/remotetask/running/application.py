"""The application server of the Zope Toolkit; see IApplicationServer.

The one room that knows the publication: where its root folder is, how
objects are located and sites and users are known, and how a process is
configured.  Whoever wants to run on something else replaces it.
"""

from pathlib import Path

import transaction
import ZConfig
import zope.app.appsetup
import zope.app.appsetup.product
import zope.app.wsgi
import zope.component
import zope.component.hooks
import zope.event
import zope.interface
import zope.location.interfaces
import zope.processlifetime
from zope.app.publication.zopepublication import ZopePublication
from zope.component.interfaces import ISite
from zope.container.interfaces import IReadContainer
from zope.interface.interface import InterfaceClass
from zope.security.proxy import removeSecurityProxy
from zope.site.site import SiteManagementFolder

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.part import DEPTH
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.part import parents
from lovely.remotetask.part import path
from lovely.remotetask.retry import Pauses
from lovely.remotetask.retry import again
from lovely.remotetask.retry import is_transient
from lovely.remotetask.running import principal
from lovely.remotetask.running.server import DatabasesOpened
from lovely.remotetask.running.server import ServerStarted
from lovely.remotetask.running.surroundings import JobPlace
from lovely.remotetask.running.surroundings import ProcessorRequest


SITE_MANAGER = '++etc++site'

# How often the databases are opened where others prepare the same, and the
# seconds between two times.
OPENINGS = 10
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


def _nobody():
    return [ProcessorRequest()]


def _is_of_service(provided):
    """Return whether a utility is found when a service is asked for.

    provided -- the interface that it is registered for; or what stands for
        one that is not there any more.
    """
    return isinstance(provided, InterfaceClass) and provided.extends(
        interfaces.ITaskService, strict=False)


@zope.interface.implementer(interfaces.IApplicationServer)
class Toolkit:
    """See IApplicationServer."""

    # The content

    def root(self, connection):
        """See IApplicationServer."""
        return connection.root().get(ZopePublication.root_name)

    def find(self, root, path):
        """See IApplicationServer."""
        found = root
        for name in path:
            if found is None:
                break
            if name == SITE_MANAGER and self.is_site(found):
                found = found.getSiteManager()
            else:
                found = found.get(name) if name in found else None
        return found

    def path(self, location):
        """See IApplicationServer."""
        return path(location)

    def root_database(self, location):
        """See IApplicationServer."""
        *_, root = parents(location)
        return None if root._p_jar is None else root._p_jar.db()

    def names(self, location):
        """See IApplicationServer."""
        return location if IReadContainer.providedBy(location) else None

    def is_site(self, location):
        """See IApplicationServer."""
        return ISite.providedBy(location)

    # Services

    def visible_service(self, name):
        """See IApplicationServer."""
        found = zope.component.queryUtility(interfaces.ITaskService, name)
        return None if is_nowhere(found) else found

    def service_of(self, site, name):
        """See IApplicationServer."""
        return site.getSiteManager().utilities.registered(
            (), interfaces.ITaskService, name)

    def services(self, site):
        """See IApplicationServer."""
        return [(each.name, each.component) for each
                in site.getSiteManager().registeredUtilities()
                if _is_of_service(each.provided)]

    def folder(self, site):
        """See IApplicationServer."""
        manager = site.getSiteManager()
        if 'default' not in manager:
            manager['default'] = SiteManagementFolder()
        return manager['default']

    def register(self, site, service, name):
        """See IApplicationServer."""
        site.getSiteManager().registerUtility(
            service, interfaces.ITaskService, name=name)

    # Who calls, and where

    def principals(self):
        """See IApplicationServer."""
        return principal.current()

    def principal_id(self, principals):
        """See IApplicationServer."""
        return principal.first_id(principals)

    def principals_of(self, id):
        """See IApplicationServer."""
        return () if id is None else ((principal.LISTED, id),)

    def user_id(self):
        """See IApplicationServer."""
        return principal.current_id()

    def site(self):
        """See IApplicationServer."""
        return removeSecurityProxy(zope.component.hooks.getSite())

    def is_reachable(self, site, service):
        """See IApplicationServer."""
        location = site
        location.getSiteManager()
        for _ in range(DEPTH):
            if zope.location.interfaces.IRoot.providedBy(location):
                return True
            location = location.__parent__
            if location is None:
                return False
        return False

    def acting(self, principals, site, service):
        """See IApplicationServer."""
        return JobPlace(
            zope.component.hooks.getSite() if site is None else site,
            # In the site: it may have an authentication of its own.
            lambda: principal.requests(principals))

    def around_job(self, service):
        """See IApplicationServer."""
        site = next(filter(self.is_site, parents(service)), None)
        return JobPlace(site, _nobody)

    def is_in_job(self):
        """See IApplicationServer."""
        return any(isinstance(each, ProcessorRequest)
                   for each in principal.participations())

    # Arguments

    def reference(self, value):
        """See IApplicationServer."""
        # Persistent objects are stored as what they are: by reference.

    def referred(self, reference, service):
        """See IApplicationServer."""
        raise NotImplementedError('Nothing is stored like this.')

    # Processes

    def settings(self, product):
        """See IApplicationServer."""
        return zope.app.appsetup.product.getProductConfiguration(
            product) or {}

    def read(self, path):
        """See IApplicationServer."""
        schema = ZConfig.loadSchema(str(
            Path(zope.app.appsetup.__file__).parent / 'schema'
            / 'schema.xml'))
        options, _ = ZConfig.loadConfig(schema, path)
        return Configuration(path, options)


toolkit = Toolkit()


@zope.interface.implementer(interfaces.IConfiguration)
class Configuration:
    """See IConfiguration; that of a zope.conf."""

    def __init__(self, path, options):
        self._path = path
        self._options = options

    @property
    def uses_file_storage(self):
        """See IConfiguration."""
        return any(type(database.config.storage).__name__ == 'FileStorage'
                   for database in self._options.databases)

    def configure(self):
        """See IConfiguration."""
        options = self._options
        zope.app.appsetup.product.setProductConfigurations(
            options.product_config)
        zope.app.appsetup.config(
            options.site_definition,
            features=('devmode',) if options.devmode else ())

    def open(self):
        """See IConfiguration."""
        # Others that start at the same time make the root folder, too, and
        # zope.app.appsetup has no second try.
        return again(lambda: outcome_of(self._open_once), OPENINGS,
                     Pauses(FIRST_PAUSE, LONGEST_PAUSE))

    def _open_once(self):
        databases, _ = zope.app.appsetup.appsetup.multi_database(
            self._options.databases)
        told = outcome_of(
            zope.event.notify,
            zope.processlifetime.DatabaseOpened(databases[0]))
        if told.failed and is_transient(told):
            transaction.abort()
            for db in databases:
                db.close()
        if told.failed:
            raise told.exception
        return databases[0]

    def connect(self, read_only):
        """See IConfiguration."""
        for database in self._options.databases:
            for config in _parts(database.config.storage):
                _check_file(config)
                if read_only and hasattr(config, 'read_only'):
                    config.read_only = True
        databases, _ = zope.app.appsetup.appsetup.multi_database(
            self._options.databases)
        return databases[0]

    def start(self):
        """See IConfiguration."""
        return zope.app.wsgi.config(self._path)


def _parts(opener):
    """Yield what the configuration says of a storage, and of its parts.

    opener -- a ZODB.config.BaseConfig.
    """
    yield opener.config
    base = getattr(opener.config, 'base', None)
    for part in (base, *getattr(opener.config, 'factories', ())):
        if part is not None:
            yield from _parts(part)


def _check_file(config):
    """Raise FileNotFoundError for a file that would be made.

    config -- of any kind of storage.
    """
    path = getattr(config, 'path', None)
    if isinstance(path, str) and not Path(path).exists():
        raise FileNotFoundError(f'there is no {path}')


# What the Toolkit says of a process, told by the common names

def tell_of_databases(event):
    """Tell of an IDatabaseOpenedWithRoot."""
    zope.event.notify(DatabasesOpened(event.database))


def tell_of_server(event):
    """Tell of an IWSGIPublisherApplicationCreatedEvent."""
    # Neither the event nor its application names the database of this one.
    zope.event.notify(ServerStarted())
