"""Create the declared services, bring them up to date, and start them."""

import logging
from typing import NamedTuple

import zope.event
import zope.lifecycleevent
from ZODB.POSException import ReadOnlyError

from gocept.async_ import absence
from gocept.async_ import database
from gocept.async_.crons.upkeep import look_after
from gocept.async_.declaration import declarations
from gocept.async_.elsewhere import elsewhere
from gocept.async_.orphans import tell_of_orphans
from gocept.async_.upgrade.slices import bring_up_to_date
from lovely.remotetask import TaskService
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.retry import in_private_transaction
from lovely.remotetask.running.server import server
from lovely.remotetask.startup import opened_root
from lovely.remotetask.startup import openedDatabase
from lovely.remotetask.startup import root_folder
from lovely.remotetask.startup import tried
from lovely.remotetask.storage.upgrade import SCHEMA


log = journal(__name__)

# How often a service is tried to be created, while other processes that are
# starting do it too.
ATTEMPTS = 10


class Ensured(NamedTuple):
    """What was found of a declared service.

    said -- what is to be logged: lists of level, message and arguments.
    is_old -- whether the service is to be brought up to date.
    """

    said: list
    is_old: bool = False


def createServices(event):
    """Create and register the declared services that do not exist yet.

    Those that earlier code has stored are brought up to date, and each gets
    the cron jobs that are declared for it.  Where the database is read-only,
    neither is done, and the log says so.

    event -- an IDatabasesOpened.

    Raise ConfigurationError, before anything is created, if one cannot be
    stored in the database that is declared.
    """
    for declaration in declarations():
        database.check(event.database, declaration)
    for declaration in declarations():
        _ensure(event.database, declaration)
        tried(f'async:service "{declaration.name}": its cron jobs are not '
              f'looked after', look_after, event.database, declaration)
    tried('async: the names of services cannot be compared',
          tell_of_orphans, event.database)


def startProcessors(event):
    """Start the processors of the declared services with autostart.

    And those that run no jobs here: without them, nobody would be told.
    None where the database is read-only.

    event -- an IServerStarted.
    """
    db = openedDatabase()
    if db is None:
        for declaration in declarations():
            log.error('%s', absence.untold(declaration))
        tell_of_orphans()
    elif declarations():
        tried('async: no processor is started', _start_processors, db)


def tell_of_missing(db):
    """Log which declared services are missing, if nobody was told of a db.

    For commands, which open a database and hear of no server that starts.
    """
    if openedDatabase() is db:
        # Who was told has said it.
        return
    with opened_root(db) as root:
        for declaration in declarations():
            if root is None or declaration.find(root) is None:
                log.error('%s', absence.untold(declaration))


def _start_processors(db):
    with root_folder(db) as root:
        for declaration in declarations():
            tried(f'async:service "{declaration.name}": not started',
                  _start_processor, db, root, declaration)


def _start_processor(db, root, declaration):
    service = declaration.find(root)
    starts = (declaration.autostart
              or not declaration.processorFactory.runsJobs)
    if not starts or service is None:
        return
    if database.is_read_only(db, declaration):
        log.warning('async:service "%s": the database is read-only; this '
                    'process runs no jobs.', declaration.name)
        return
    service.startProcessing()


def _ensure(db, declaration):
    try:
        found = in_private_transaction(
            db, lambda connection: _ensure_now(connection, declaration),
            ATTEMPTS)
    except ReadOnlyError:
        # A storage need not know it before.
        found = Ensured([_cannot_be_written(declaration)])
    # What is told has happened, as it is committed now.
    for level, *message in found.said:
        log.log(level, *message)
    if found.is_old:
        tried(f'async:service "{declaration.name}": it cannot be brought up '
              f'to date, and runs no jobs', _bring_up_to_date, db, declaration)


def _ensure_now(connection, declaration):
    """Create the service of a declaration if need be.  Return Ensured."""
    root = server().root(connection)
    service = database.find(root, declaration)
    is_read_only = database.is_read_only(connection.db(), declaration)
    if service is None:
        site = declaration.find_site(root)
        if site is None:
            return Ensured([_no_site(root, declaration)])
        if is_read_only:
            return Ensured([_cannot_be_written(declaration)])
        return Ensured(_create(root, site, declaration))
    if is_nowhere(service):
        return Ensured([(logging.ERROR, 'async:service "%s": %s',
                         declaration.name, absence.NOWHERE)])
    # Services of another class look after themselves.
    if not isinstance(service, TaskService):
        return Ensured([])
    said = []
    complaint = database.misplaced(
        service, declaration.find_site(root), declaration)
    if complaint is not None:
        said.append((logging.ERROR, '%s', complaint))
    is_old = service.schema < SCHEMA
    if is_old and is_read_only:
        said.append(_cannot_be_written(declaration))
    return Ensured(said, is_old and not is_read_only)


def _bring_up_to_date(db, declaration):
    done = bring_up_to_date(
        db, lambda connection: database.find(
            server().root(connection), declaration))
    log.info('async:service "%s": brought up to date, with %s jobs',
             declaration.name, done.number)


def _cannot_be_written(declaration):
    return (logging.ERROR,
            'async:service "%s": it cannot be created, nor brought up to '
            'date, because the database is read-only. Start a process that '
            'can write to the database first, or leave out the directive '
            'here.', declaration.name)


def _no_site(root, declaration):
    """Return what to log of a service whose site is not there."""
    reason, advice = absence.no_site(root, declaration)
    found = [] if root is None else elsewhere(root, declaration.name)
    if not found:
        return (logging.ERROR,
                'async:service "%s": there is no site %s (%s), and no service '
                'of that name was found in another one; its functions are '
                'called synchronously. %s',
                declaration.name, declaration.site, reason, advice)
    return (logging.ERROR,
            'async:service "%s": there is no site %s, but %s. Calls there '
            'are stored, and nobody is started who runs them. If the site '
            'was renamed, correct the attribute "site", or give it back its '
            'name, and restart.',
            declaration.name, declaration.site, _where(found))


def _create(root, site, declaration):
    said = []
    with_jobs = [(path, waiting) for path, waiting
                 in elsewhere(root, declaration.name) if waiting]
    if with_jobs:
        said.append((
            logging.WARNING,
            'async:service "%s": a new one is created in %s, but %s, and '
            'nobody is started who runs them. If the site was renamed, '
            'correct the attribute "site", and restart.',
            declaration.name, declaration.site, _where(with_jobs)))
    folder = server().folder(site)
    name = database.free_name(folder, declaration.name or 'TaskService')
    service = TaskService()
    zope.event.notify(zope.lifecycleevent.ObjectCreatedEvent(service))
    database.store(service, name, folder, declaration)
    folder[name] = service
    # The service itself is registered: a folder may give out a proxy for what
    # it contains.
    server().register(site, service, declaration.name)
    stored = declaration.database or database.name_of(folder)
    # The only <zodb> of a zope.conf needs no name, and has none.
    where = f', in the database "{stored}"' if stored else ''
    return [*said, (
        logging.INFO, 'async:service "%s": created in %s%s',
        declaration.name, declaration.site, where)]


def _where(found):
    """Return a text for services that were found elsewhere."""
    return ', and '.join(
        f'the site {path} has a service of that name, where '
        f'{"an unknown number of" if waiting is None else waiting} jobs wait'
        for path, waiting in found)
