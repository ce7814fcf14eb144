"""Find functions by the names that are stored with their calls."""

import importlib
import inspect
import sys
import types
import weakref

import zope.component
import zope.interface

from gocept.async_ import interfaces
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CannotRun


# What the decorator made.  Only these may be called by a stored name: being
# in a module that can be imported does not make a function a task.
# By function: the name of its service.
_decorated = weakref.WeakKeyDictionary()


def mark_decorated(function, service_name=''):
    """Allow a function to be called by its stored name."""
    _decorated[function] = service_name


def decorated_functions():
    """Return pairs: what was decorated, by its dotted name; its service."""
    # One step: threads may import modules meanwhile.
    functions = [reference() for reference in _decorated.keyrefs()]
    return sorted({(dotted_name(each.undecorated), _decorated[each])
                   for each in functions if each is not None})


def decorated_for(service_name):
    """Return the functions that were decorated for a service, a list."""
    functions = [reference() for reference in _decorated.keyrefs()]
    return [each for each in functions
            if each is not None and _decorated[each] == service_name]


def is_decorated(function):
    """Return whether a function was made by the decorator."""
    # Objects of other classes may say that they are equal to anything.
    return type(function) is types.FunctionType and function in _decorated


def dotted_name(function):
    """Return ``module.name`` of an undecorated function."""
    return f'{function.__module__}.{function.__qualname__}'


@zope.interface.implementer(interfaces.IRenamedFunction)
class RenamedFunction:
    """See IRenamedFunction."""

    def __init__(self, name):
        self.name = name


def find_function(name):
    """Return the decorated function of a dotted name.

    Other decorators may have been put around it.  Raise LookupError if it
    cannot be found or is not decorated.
    """
    module_name, _, function_name = name.rpartition('.')
    known, decorated = _known.get(name, (None, None))
    if known is not None and known is _loaded(module_name, function_name):
        return decorated
    # A module may do, and raise, anything when it is imported.
    found = outcome_of(_import, name)
    if found.failed and value.is_of_database(found):
        raise found.exception
    if found.failed:
        raise LookupError(
            f'There is no function {name!r}: {value.reason(found)}'
        ) from found.exception
    if not is_decorated(found.value):
        raise LookupError(
            f'{name!r} is not an asynchronous function; decorate it with '
            f'gocept.async_.function.')
    _known[name] = _loaded(module_name, function_name), found.value
    return found.value


# By name: what has it in its module, and the decorated function in that.  To
# compare is faster than to import once more.
_known = {}


def _loaded(module_name, name):
    """Return what has a name in a module that is imported, or None."""
    module = sys.modules.get(module_name)
    # A module of another class may make its attributes when it is asked.
    return (vars(module).get(name) if type(module) is types.ModuleType
            else None)


def _import(name):
    """Return what has a name, as the decorator has made it."""
    module_name, _, function_name = name.rpartition('.')
    found = getattr(importlib.import_module(module_name), function_name)
    return inspect.unwrap(found, stop=is_decorated) \
        if callable(found) else found


def current_name(name):
    """Return the name that the function of a stored name has now.

    Raise CannotRun if it cannot be told.
    """
    seen = set()
    while name not in seen:
        seen.add(name)
        renamed = zope.component.queryUtility(
            interfaces.IRenamedFunction, name)
        if renamed is None:
            return name
        name = renamed.name
    raise CannotRun(
        f'The functions {", ".join(sorted(seen))} are declared as renamed to '
        f'one another; correct async:renamed.')
