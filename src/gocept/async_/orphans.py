"""Asynchronous functions whose service nobody declares."""

from gocept.async_ import absence
from gocept.async_.declaration import declarations
from gocept.async_.elsewhere import lost
from gocept.async_.elsewhere import registered
from gocept.async_.lookup import decorated_functions
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.running.server import server
from lovely.remotetask.startup import opened_root


log = journal(__name__)

# How many functions of a service a line of the log names.
SHOWN = 10


def tell_of_orphans(db=None):
    """Log, once for each service, which functions name one that is not there.

    db -- the ZODB.DB with the root folder; None if nobody has told of one.

    A service that was registered by hand, in any site, is there.
    """
    known = {declaration.name for declaration in declarations()}
    orphans = {}
    for function, service in decorated_functions():
        if service not in known and server().visible_service(service) is None:
            orphans.setdefault(service, []).append(function)
    if not orphans:
        return
    by_hand = set() if db is None else _registered(db, orphans)
    for service in sorted(set(orphans) - by_hand):
        _tell(service, orphans[service], sorted(known))


def _registered(db, orphans):
    """Return the names of services by hand; tell of those that are lost."""
    with opened_root(db) as root:
        found = set() if root is None else registered(root)
        for name in sorted(lost(root).intersection(orphans) if found else ()):
            log.error('The task service "%s": %s', name, absence.NOWHERE)
        return found


def _tell(service, functions, known):
    more = len(functions) - SHOWN
    names = ', '.join(functions[:SHOWN])
    log.warning(
        'There is no task service "%s": nobody declares it, and calls of %s%s '
        'are made synchronously. Declare it in ZCML, <async:service '
        'name="%s" />, or correct the name in the decorator%s.',
        service, names, f' and {more} more' if more > 0 else '', service,
        f' (in ZCML there is {", ".join(map(repr, known))})' if known else '')
