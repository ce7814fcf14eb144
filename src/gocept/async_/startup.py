"""Create the declared services, bring them up to date, and start them."""

import contextlib
import logging

import transaction
import transaction.interfaces
import zope.event
import zope.lifecycleevent
from zope.app.publication.zopepublication import ZopePublication
from zope.site.site import SiteManagementFolder

from gocept.async_ import database
from gocept.async_.declaration import declarations
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.startup import openedDatabase
from lovely.remotetask.startup import root_folder
from lovely.remotetask.upgrade import SCHEMA
from lovely.remotetask.upgrade import upgrade


log = logging.getLogger(__name__)

# How often a service is tried to be created, or brought up to date, while
# other processes that are starting do it too.
ATTEMPTS = 10


def createServices(event):
    """Create and register the declared services that do not exist yet.

    Those that earlier code has stored are brought up to date.

    event -- an IDatabaseOpenedWithRoot.

    Raise ConfigurationError, before anything is created, if one cannot be
    stored in the database that is declared.
    """
    for declaration in declarations():
        database.check(event.database, declaration)
    for declaration in declarations():
        _ensure(event.database, declaration)


def startProcessors(event):
    """Start the processors of the declared services with autostart.

    And those that run no jobs here: without them, nobody would be told.

    event -- that a web application was created.
    """
    db = openedDatabase()
    if db is None:
        return
    with root_folder(db) as root:
        for declaration in declarations():
            service = declaration.find(root)
            starts = (declaration.autostart
                      or not declaration.processorFactory.runsJobs)
            if starts and service is not None:
                service.startProcessing()


def _ensure(db, declaration):
    # Not in the transaction of this thread: the one who opens the database
    # may be in the middle of something.
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(manager)
    try:
        for attempt in manager.attempts(ATTEMPTS):
            with attempt:
                _ensure_now(connection, declaration)
    finally:
        # Left behind only by the last attempt, if its commit failed.
        with contextlib.suppress(transaction.interfaces.NoTransaction):
            manager.abort()
        connection.close()


def _ensure_now(connection, declaration):
    root = connection.root()[ZopePublication.root_name]
    service = database.find(root, declaration)
    if service is None:
        _create(root, declaration)
    # Services of another class look after themselves.
    elif isinstance(service, TaskService):
        _look_after(service, declaration.find_site(root), declaration)


def _look_after(service, site, declaration):
    complaint = database.misplaced(service, site, declaration)
    if complaint is not None:
        log.error(complaint)
    if service.schema < SCHEMA:
        upgrade(service)
        log.info('async:service "%s": brought up to date, with %s jobs',
                 declaration.name, len(service.jobs))


def _create(root, declaration):
    site = declaration.find_site(root)
    if site is None:
        log.error(
            'async:service "%s": there is no site %s; its functions are '
            'called synchronously. Add the site and restart.',
            declaration.name, declaration.site)
        return
    manager = site.getSiteManager()
    folder = _folder(manager)
    name = database.free_name(folder, declaration.name or 'TaskService')
    service = TaskService()
    zope.event.notify(zope.lifecycleevent.ObjectCreatedEvent(service))
    database.store(service, name, folder, declaration.database)
    folder[name] = service
    # Not the proxy that a folder may give out for what it contains.
    manager.registerUtility(service, ITaskService, name=declaration.name)
    log.info('async:service "%s": created in %s',
             declaration.name, declaration.site)


def _folder(manager):
    if 'default' not in manager:
        manager['default'] = SiteManagementFolder()
    return manager['default']
