"""Finding all services of an application, wherever their sites are."""

from typing import NamedTuple

from lovely.remotetask import TaskService
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.part import DEPTH
from lovely.remotetask.running.server import server


# After so many objects, those that nobody uses leave the cache.
AT_ONCE = 1000


class Found(NamedTuple):
    """A service, or why something cannot be looked at.

    site -- str, the path of the site.
    name -- str, that of the service; None where there is only trouble.
    service -- ITaskService.
    trouble -- str or None.
    """

    site: str
    name: str | None = None
    service: object = None
    trouble: str | None = None


def services(root):
    """Yield what is Found in a root folder, and in all that lies in it."""
    seen = set()
    for path, location in _locations(root):
        site = _asked(server().is_site, location)
        if site.failed:
            yield Found(path, trouble=value.reason(site))
        elif site.value:
            for found in _services_of(path, location):
                # The same one may be registered in several sites.
                identity = getattr(found.service, '_p_oid', None)
                if identity is None or identity not in seen:
                    seen.add(identity)
                    yield found


def _services_of(path, site):
    registered = _asked(server().services, site)
    if registered.failed:
        yield Found(path, trouble=value.reason(registered))
    for name, service in sorted(registered.value or (),
                                key=lambda pair: str(pair[0])):
        if isinstance(service, TaskService):
            yield Found(path, name, service)
        else:
            yield Found(path, trouble=(
                f'the service "{name}" is of the class '
                f'{value.class_name(type(service))}; that one is left alone'))


def _locations(root):
    """Yield paths and objects: the root folder, and all that lies in it."""
    yield '/', root
    todo = [_children('', root)]
    number = 0
    while todo:
        path, location = next(todo[-1], (None, None))
        if path is None:
            todo.pop()
            continue
        yield path, location
        if len(todo) < DEPTH:
            todo.append(_children(path, location))
        number += 1
        if number % AT_ONCE == 0:
            root._p_jar.cacheGC()


def _children(path, location):
    for name in _asked(lambda: iter(server().names(location) or ())).value or (
            ):
        found = _asked(server().find, location, [name])
        if found.value is not None:
            yield f'{path}/{name}', found.value


def _asked(call, *args):
    """Return the Outcome of a call; raise what is the database's fault."""
    found = outcome_of(call, *args)
    if found.failed and value.is_of_database(found):
        raise found.exception
    return found
