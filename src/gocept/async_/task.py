"""Stored function calls, and the one task that makes them."""

import contextlib
import functools
import importlib
import inspect
import types
import weakref

import persistent
import zope.component
import zope.component.hooks
import zope.interface
import zope.location.interfaces

from gocept.async_ import interfaces
from gocept.async_ import principal
from gocept.async_.argument import check_arguments
from gocept.async_.argument import complaint
from gocept.async_.database import place
from lovely.remotetask import record
from lovely.remotetask import value
from lovely.remotetask.execution import interaction
from lovely.remotetask.interfaces import CannotRun
from lovely.remotetask.interfaces import IInputCheck
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.interfaces import ITaskContext
from lovely.remotetask.outcome import attempt
from lovely.remotetask.task import TaskError


TASK_NAME = 'gocept.async.function'

# Sites do not lie deeper, but parents may be in one another without end.
DEPTH = 1000

# What the decorator made.  Only these may be called by a stored name: being
# in a module that can be imported does not make a function a task.
_decorated = weakref.WeakSet()


def mark_decorated(function):
    """Allow a function to be called by its stored name."""
    _decorated.add(function)


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
    # A module may do, and raise, anything when it is imported.
    found = attempt(_import, name)
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
    return found.value


def _import(name):
    """Return what has a name, as the decorator has made it."""
    module_name, _, function_name = name.rpartition('.')
    found = getattr(importlib.import_module(module_name), function_name)
    return inspect.unwrap(found, stop=is_decorated) \
        if callable(found) else found


@zope.interface.implementer(interfaces.ITaskDescription)
class TaskDescription(persistent.Persistent):
    """See ITaskDescription.

    The attributes and the name of the class are those of gocept.async 0.3;
    its pickles are read as they are.
    """

    site = None
    principal = None
    # See `gocept.async_.principal`.  None: there is only the id, or none.
    principals = None

    def __init__(self, f, args, kwargs):
        self.f = f
        self.args = args
        self.kwargs = kwargs
        self._set_principals(principal.current())
        self.site = zope.component.hooks.getSite()

    def _set_principals(self, found):
        self.principal = principal.first_id(found)
        # The usual ones need not be stored.
        if found not in ((), ((principal.LISTED, self.principal),)):
            self.principals = found

    def callers(self):
        """Return the principals of the call, see `principal.requests`."""
        if self.principals is not None:
            return self.principals
        if self.principal is None:
            return ()
        return (principal.LISTED, self.principal),

    @property
    def f(self):
        return find_function(current_name(self._f))

    @f.setter
    def f(self, function):
        self._f = dotted_name(inspect.unwrap(function, stop=is_decorated)
                              if not is_decorated(function)
                              else function.undecorated)

    @property
    def function_name(self):
        """See ITaskDescription."""
        # Where it is not loaded, it need not be: the arguments may be of
        # classes that cannot.
        is_ghost = self._p_changed is None
        state = record.state(self) if is_ghost else vars(self)
        name = state.get('_f') if type(state) is dict else None
        return name if type(name) is str else None

    @staticmethod
    def get_principal():
        """Return the id of the current principal, or None."""
        return principal.first_id(principal.current())


@zope.interface.implementer(ITask, IInputCheck, ITaskContext)
class AsyncFunction:
    """Makes a stored call: as its principal, in its site."""

    inputSchema = None
    outputSchema = None

    def checkInput(self, input):
        """See IInputCheck."""
        # The class itself: an interface can be declared on anything.
        if type(input) is not TaskDescription:
            raise TypeError(
                f'{TASK_NAME} takes only calls that were stored by a '
                f'decorated function, not {type(input).__name__}.')

    def __call__(self, service, jobid, input):
        """See ITask."""
        with self.context(service, jobid, input) as call:
            return call()

    @contextlib.contextmanager
    def context(self, service, jobid, input):
        """See ITaskContext."""
        self.checkInput(input)
        call = _find_call(input)
        with _site(input.site), interaction(
                *principal.requests(input.callers())):
            yield functools.partial(_call_and_place, call, service)


def _call_and_place(call, service):
    result = call()
    place(result, getattr(service, '_p_jar', None))
    return result


def _find_call(description):
    """Return the call that is described; CannotRun if there is no such."""
    loaded = attempt(description._p_activate)
    if loaded.failed:
        _raise_unloadable(description, loaded)
    name = current_name(description._f)
    function, signature = _find_function(name)
    args, kwargs = description.args, description.kwargs
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise CannotRun(
            f'{name!r} does not take the stored arguments any more: '
            f'{error}.') from error
    check_arguments(signature, args, kwargs)
    return functools.partial(function, *args, **kwargs)


def _find_function(name):
    """Return a function and its signature; CannotRun if there is no such."""
    try:
        function = find_function(name).undecorated
    except LookupError as error:
        raise CannotRun(str(error)) from error
    return function, _signature(function)


def _raise_unloadable(description, failure):
    """Raise why a call cannot be loaded."""
    if value.is_of_database(failure):
        raise failure.exception
    name = description.function_name
    found = attempt(lambda: _find_function(current_name(name)))
    signature = None if found.failed else found.value[1]
    raise CannotRun(
        f'The call of {name!r} cannot be loaded: '
        f'{complaint(description, signature)} ({value.reason(failure)}).'
    ) from failure.exception


_signature = functools.lru_cache(inspect.signature)


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


def _site(site):
    """Return a context manager for the site of a call."""
    if site is None:
        return contextlib.nullcontext()
    gone = value.broken(site)
    if gone:
        raise CannotRun(
            f'The site in which the function was called is of the class '
            f'{gone[0]}, which is gone.')
    reached = attempt(_is_reachable, site)
    if reached.failed:
        if value.is_of_database(reached):
            raise reached.exception
        raise CannotRun(
            f'The site in which the function was called cannot be loaded: '
            f'{value.reason(reached)}.') from reached.exception
    if not reached.value:
        raise TaskError(
            'The site in which the function was called is gone; it is not '
            'run in another one.')
    return zope.component.hooks.site(site)


def _is_reachable(site):
    """Return whether a site still hangs below a root.  Raise anything."""
    site.getSiteManager()
    location = site
    for _ in range(DEPTH):
        if zope.location.interfaces.IRoot.providedBy(location):
            return True
        location = location.__parent__
        if location is None:
            return False
    return False
