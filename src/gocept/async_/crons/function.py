"""Functions that can be called again and again: without arguments."""

import inspect

import zope.component
import zope.interface

from gocept.async_ import lookup
from gocept.async_.declaration import name_of
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import IJobSources
from lovely.remotetask.interfaces import ITaskService


@zope.component.adapter(ITaskService)
@zope.interface.implementer(IJobSources)
class Functions:
    """See IJobSources: the decorated functions that are imported."""

    def __init__(self, service):
        self._service = service

    def sources(self):
        """See IJobSources."""
        found = {lookup.dotted_name(each.undecorated): each
                 for each in lookup.decorated_for(name_of(self._service))}
        return {name: each for name, each in found.items()
                if not outcome_of(check, each).failed}


def check(decorated):
    """Return the name of a decorated function that needs no arguments.

    Raise ValueError for one that needs some, or is not found by its name.
    """
    name = lookup.dotted_name(decorated.undecorated)
    try:
        is_found = lookup.find_function(name) is decorated
    except LookupError as error:
        raise ValueError(str(error)) from error
    if not is_found:
        raise ValueError(f'{name!r} is another function than the one named.')
    try:
        inspect.signature(decorated.undecorated).bind()
    except TypeError as error:
        raise ValueError(
            f'{name!r} is called without arguments, but: {error}; give them '
            f'defaults, or declare a function that calls it.') from error
    return name
