"""Start the services that the product configuration names.

In zope.conf::

    <product-config lovely.remotetask>
      autostart site1@Name, @RootName, *@*, site@*, *@Name
    </product-config>
"""

import contextlib
import weakref

import zope.component
# Without it no event reaches the subscribers that ZCML declares.
import zope.component.event  # noqa: F401

from lovely.remotetask import interfaces
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import private_connection
from lovely.remotetask.running import quirks
from lovely.remotetask.running.server import server


log = journal(__name__)

# What to do where there is no root folder.
ROOT_FOLDER = (
    'On the Zope Toolkit, zope.app.appsetup makes the root folder and tells '
    'of it: add <include package="zope.app.appsetup" /> to site.zcml, which '
    'needs zope.traversing and zope.container there, too, and restart.')

# The database the application opened last, as a weak reference.  The event
# of a new web application does not name it.
_opened = None


class NoRootFolder(LookupError):
    """The database has no root folder."""


def rememberDatabase(event):
    """Keep the database of an IDatabasesOpened event."""
    global _opened
    _opened = weakref.ref(event.database)


def forgetReservedIds(event):
    """Make the storages of an IDatabasesOpened event safe to restart."""
    for db in event.database.databases.values():
        quirks.forget_reserve_on_reconnect(db.storage)


def openedDatabase():
    """Return the database the application opened last, or None."""
    return None if _opened is None else _opened()


def getAutostartServiceNames():
    """Return the ``site@service`` names of the product configuration."""
    names = server().settings('lovely.remotetask').get(
        'autostart', '').split(',')
    return [name.strip() for name in names if name.strip()]


def bootStrapSubscriber(event):
    """Start the services named in the product configuration.

    event -- an IServerStarted, or any other with the attribute `database`.
    """
    names = getAutostartServiceNames()
    db = getattr(event, 'database', None) or openedDatabase()
    if names and db is None:
        log.error(
            'autostart: no service is started, for the application has told '
            'of no database with a root folder. %s', ROOT_FOLDER)
    elif names:
        tried('autostart: no service is started', _start_named, db, names)


def _start_named(db, names):
    with root_folder(db) as root:
        for name in names:
            _start_services(root, name)


def tried(what, call, *args):
    """Return what a call returns; log an error, and return None, if it fails.

    what -- str, what is being done.

    So that one site, or service, does not keep others from being started.
    What says that the database is away is raised.
    """
    outcome = outcome_of(call, *args)
    if outcome.failed and value.is_of_database(outcome):
        raise outcome.exception
    if outcome.failed:
        log.error('%s: %s', what, value.reason(outcome))
    return outcome.value


@contextlib.contextmanager
def opened_root(db):
    """Open the root folder for reading, outside the thread's transaction.

    The value is None if there is none.
    """
    with private_connection(db) as connection:
        # A storage that is polled may fail here.
        connection.transaction_manager.begin()
        yield server().root(connection)


@contextlib.contextmanager
def root_folder(db):
    """As `opened_root`; raise NoRootFolder if there is none."""
    with opened_root(db) as root:
        if root is None:
            raise NoRootFolder(
                f'The database has no root folder. {ROOT_FOLDER}')
        yield root


def _start_services(root, directive):
    site_name, separator, service_name = directive.partition('@')
    if not separator:
        log.error('autostart: %r is not understood; write site@service',
                  directive)
        return
    started = [
        tried(f'autostart: service {name}', _start_service, site, name,
              service)
        for site in tried(f'autostart: {directive}', _sites, root,
                          site_name) or ()
        for name, service in tried(
            f'autostart: {directive}', _services, root, site, site_name,
            service_name) or ()]
    if not any(started):
        log.warning('no services started by directive %s', directive)


def _start_service(site, name, service):
    if service is None or service.isProcessing():
        return False
    service.startProcessing()
    log.info('service %s on site %s started', name, site.__name__ or 'root')
    return True


def _sites(root, name):
    if name == '':
        return [root]
    if name == '*':
        # Each by itself: one may be unreadable.
        found = [tried(f'autostart: {key}', server().find, root, [key])
                 for key in list(server().names(root))]
        return [root, *filter(server().is_site, found)]
    site = server().find(root, [name])
    if site is None or not server().is_site(site):
        log.error('site %s not found', name)
        return []
    return [site]


def _services(root, site, site_name, service_name):
    """Return pairs of name and service (or None) that a directive names."""
    if service_name != '*':
        return [(service_name, zope.component.queryUtility(
            interfaces.ITaskService, service_name, context=site))]
    services = site.getSiteManager().getUtilitiesFor(interfaces.ITaskService)
    if site_name in ('', '*'):
        return list(services)
    # A site sees those of the root folder too, but they were not named.
    of_root = [service for _, service in root.getSiteManager()
               .getUtilitiesFor(interfaces.ITaskService)]
    return [(name, service) for name, service in services
            if service not in of_root]
