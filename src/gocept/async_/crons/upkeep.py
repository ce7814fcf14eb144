"""Services get the cron jobs that are declared, and lose those that are not.
"""

import logging

from ZODB.POSException import ReadOnlyError

from gocept.async_.crons.declaration import declarations_of
from lovely.remotetask import TaskService
from lovely.remotetask import named
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import in_private_transaction
from lovely.remotetask.running.server import server
from lovely.remotetask.storage.upgrade import SCHEMA


log = journal(__name__)

# How often it is tried, while other processes that are starting do the same.
ATTEMPTS = 10

DONE = {
    'added': 'added',
    'changed': 'changed, as it is declared now',
    'removed': 'removed, as nothing declares it any more',
    'paused': 'paused: nothing declares it any more, but it runs at the '
              'moment; the next start removes it'}


def look_after(db, declaration):
    """Let a service have the cron jobs that are declared for it.

    In one transaction of its own, which is tried again when another process
    that is starting does the same.  Where all is as declared, nothing is
    written.

    db -- the ZODB.DB with the root folder.
    declaration -- that of the service.
    """
    try:
        said = in_private_transaction(
            db, lambda connection: _look_after(
                declaration, server().root(connection)), ATTEMPTS)
    except ReadOnlyError:
        said = [(logging.ERROR,
                 'async:service "%s": its cron jobs are not as declared, and '
                 'the database is read-only. Start a process that can write '
                 'to it.', declaration.name)]
    # What is told has happened, as it is committed now.
    for level, *message in said:
        log.log(level, *message)


def _look_after(declaration, root):
    """Return what is to be logged: tuples of level, message, arguments."""
    service = declaration.find(root)
    if not isinstance(service, TaskService) or service.schema < SCHEMA:
        # The log says already why there is no such service.
        return []
    wanted = {each.name: each for each in declarations_of(declaration.name)}
    with server().around_job(service):
        site = server().site()
    said = []
    for cron in wanted.values():
        said += _put(service, site, cron)
    for name in named.names(service):
        if name not in wanted:
            said += _done(service, name, declaration.name,
                          named.retire(service, name))
    return said


def _put(service, site, cron):
    obstacle = _obstacle(service, site, cron)
    done = named.put(service, cron.name, cron.wanted(site, obstacle))
    if obstacle is None:
        return _done(service, cron.name, cron.service, done)
    return [(logging.ERROR, 'async:cron "%s" of service "%s" is held: %s',
             cron.name, cron.service, obstacle)]


def _done(service, name, service_name, done):
    if done is None:
        return []
    return [(logging.INFO, 'async:cron "%s" of service "%s": %s',
             name, service_name, DONE[done])]


def _obstacle(service, site, cron):
    """Return why a job cannot be run as its principal, None if it can."""
    principals = server().principals_of(cron.principal)
    found = outcome_of(_act, principals, site, service)
    if not found.failed:
        return None
    if value.is_of_database(found):
        raise found.exception
    return (f'{value.reason(found)} Add the principal "{cron.principal}" '
            f'where the site of the service finds it, or correct the '
            f'attribute "principal", and restart.')


def _act(principals, site, service):
    with server().acting(principals, site, service):
        pass
