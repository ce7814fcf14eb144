"""Find services whose site is not where it is declared: it was renamed, say.
"""

import itertools

from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.running.server import server


# How many objects are looked at, from the root folder downwards: the content
# may be large, and the process that looks is about to start.
LOOKED_AT = 1000


def elsewhere(root, name):
    """Return where there are services of a declared name.

    A list of pairs: the path of the site, and how many jobs wait (None if
    they cannot be counted).  What lies deep, or behind very much content, is
    not found.
    """
    found = [(path, _asked(server().service_of, site, name))
             for path, site in _sites(root)]
    return [(path, _asked(_count, service)) for path, service in found
            if service is not None]


def registered(root):
    """Return the names of all services of all sites, as far as they are found.
    """
    return {name for name, _ in services(root)}


def lost(root):
    """Return the names of those of them that lie in no folder."""
    return {name for name, service in services(root)
            if _asked(is_nowhere, service)}


def services(root):
    """Return pairs of name and service, as `registered`."""
    return [pair for _, site in _sites(root)
            for pair in _asked(server().services, site) or ()]


def _count(service):
    counts = service.counts()
    return sum(counts.get(status, 0) for status in WAITING)


def _sites(root):
    """Yield paths and sites, those nearest to the root folder first."""
    todo = [('', root)]
    looked_at = 0
    while todo:
        path, location = todo.pop(0)
        if server().is_site(location):
            yield path or '/', location
        for name, each in _first_items(location, LOOKED_AT - looked_at):
            looked_at += 1
            todo.append((f'{path}/{name}', each))


def _first_items(location, limit):
    """Return pairs of name and object, up to a number of them."""
    names = _asked(lambda: list(itertools.islice(
        server().names(location) or (), limit))) or ()
    found = [(name, _asked(server().find, location, [name]))
             for name in names]
    return [(name, each) for name, each in found if each is not None]


def _asked(call, *args):
    """Return what a call returns, None if it fails because of the content."""
    found = outcome_of(call, *args)
    if found.failed and value.is_of_database(found):
        raise found.exception
    return found.value
