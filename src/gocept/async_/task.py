"""Stored function calls, and the one task that makes them."""

import contextlib
import functools
import importlib
import inspect
import weakref

import persistent
import zope.authentication.interfaces
import zope.component
import zope.component.hooks
import zope.interface
import zope.location.interfaces
import zope.security.management
from zope.security.management import system_user

from gocept.async_ import interfaces
from gocept.async_.database import place
from lovely.remotetask.execution import ProcessorRequest
from lovely.remotetask.execution import interaction
from lovely.remotetask.interfaces import CannotRun
from lovely.remotetask.interfaces import IInputCheck
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.interfaces import ITaskContext
from lovely.remotetask.task import TaskError


TASK_NAME = 'gocept.async.function'

# What the decorator made.  Only these may be called by a stored name: being
# in a module that can be imported does not make a function a task.
_decorated = weakref.WeakSet()


def mark_decorated(function):
    """Allow a function to be called by its stored name."""
    _decorated.add(function)


def is_decorated(function):
    """Return whether a function was made by the decorator."""
    try:
        return function in _decorated
    except TypeError:
        # Cannot be referred to weakly, so it is not one of ours.
        return False


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
    try:
        module = importlib.import_module(module_name)
        found = getattr(module, function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(
            f'There is no function {name!r}: {error}') from error
    found = inspect.unwrap(found, stop=is_decorated) \
        if callable(found) else found
    if not is_decorated(found):
        raise LookupError(
            f'{name!r} is not an asynchronous function; decorate it with '
            f'gocept.async_.function.')
    return found


@zope.interface.implementer(interfaces.ITaskDescription)
class TaskDescription(persistent.Persistent):
    """See ITaskDescription.

    The attributes and the name of the class are those of gocept.async 0.3;
    its pickles are read as they are.
    """

    site = None
    principal = None

    def __init__(self, f, args, kwargs):
        self.f = f
        self.args = args
        self.kwargs = kwargs
        self.principal = self.get_principal()
        self.site = zope.component.hooks.getSite()

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
        """The dotted name of the function, as it was stored."""
        return self._f

    @staticmethod
    def get_principal():
        """Return the id of the current principal, or None."""
        current = zope.security.management.queryInteraction()
        if current is None:
            return None
        for participation in current.participations:
            if participation.principal is not None:
                return participation.principal.id
        return None


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
        with _site(input.site), _principal(input.principal):
            yield functools.partial(_call_and_place, call, service)


def _call_and_place(call, service):
    result = call()
    place(result, getattr(service, '_p_jar', None))
    return result


def _find_call(description):
    """Return the call that is described; CannotRun if there is no such."""
    name = current_name(description._f)
    try:
        function = find_function(name).undecorated
        _signature(function).bind(*description.args, **description.kwargs)
    except LookupError as error:
        raise CannotRun(str(error)) from error
    except TypeError as error:
        raise CannotRun(
            f'{name!r} does not take the stored arguments any more: '
            f'{error}.') from error
    return functools.partial(
        function, *description.args, **description.kwargs)


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
    if site is None:
        return contextlib.nullcontext()
    if not _is_reachable(site):
        raise TaskError(
            'The site in which the function was called is gone; it is not '
            'run in another one.')
    return zope.component.hooks.site(site)


def _is_reachable(location):
    """Return whether a location still hangs below a root."""
    while not zope.location.interfaces.IRoot.providedBy(location):
        parent = location.__parent__
        if parent is None:
            return False
        location = parent
    return True


def _principal(principal_id):
    return interaction(ProcessorRequest(find_principal(principal_id)))


def find_principal(principal_id):
    """Return the principal who made a call, None if there was none.

    Raise TaskError if it no longer exists.
    """
    if principal_id is None:
        return None
    for special in _unlisted_principals():
        if principal_id == special.id:
            return special
    authentication = zope.component.queryUtility(
        zope.authentication.interfaces.IAuthentication)
    if authentication is None:
        raise TaskError(
            f'Principal {principal_id!r} cannot be looked up: there is no '
            f'IAuthentication utility.')
    try:
        return authentication.getPrincipal(principal_id)
    except zope.authentication.interfaces.PrincipalLookupError as error:
        raise TaskError(
            f'Principal {principal_id!r} no longer exists; the function is '
            f'not run as somebody else.') from error


def _unlisted_principals():
    """Return the principals that an authentication need not know."""
    # The publication takes it where no unauthenticated one is defined.
    fallback = zope.component.queryUtility(
        zope.authentication.interfaces.IFallbackUnauthenticatedPrincipal)
    return [system_user] if fallback is None else [system_user, fallback]
