"""The decorator that makes a function asynchronous."""

import functools
import inspect
import types
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Protocol
from typing import cast

import zope.interface

from gocept.async_ import absence
from gocept.async_ import fit
from gocept.async_ import task
from gocept.async_.argument import MAX_SIZE
from gocept.async_.argument import are_small
from gocept.async_.argument import copy_arguments
from gocept.async_.argument import refer
from gocept.async_.database import place
from gocept.async_.declaration import declarations
from lovely.remotetask.foreign.copier import SCRIPTS
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.interfaces import DEFAULT_PRIORITY
from lovely.remotetask.interfaces import IJobSource
from lovely.remotetask.number import exact
from lovely.remotetask.policy import policy_of
from lovely.remotetask.running.execution import is_running
from lovely.remotetask.running.server import server


log = journal(__name__)


class Decorated(Protocol):
    """A decorated function; see `function`."""

    undecorated: Callable[..., Any]
    enqueue: Callable[..., int]
    enqueue_with: Callable[..., Callable[..., int]]
    describe: Callable[..., tuple[str, Any, Callable[[], None]]]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Store the call, or make it at once in a running job."""


def is_async() -> bool:
    """Return whether the caller is part of a running job."""
    return is_running()


def function(
        service: str = '') -> Callable[[Callable[..., Any]], Decorated]:
    """Make a function asynchronous.

    service -- str, the name of the ITaskService utility that is to run it.

    The decorated function returns None; the call is stored in the service
    with the current transaction.  In a running job, and (with a warning) if
    there is no such service, the function is called at once and what it
    returns is returned.  The original function is its `undecorated`.

    Its `enqueue`, called with the same arguments, stores the call in any case
    and returns the id of the job (int), or raises LookupError if there is no
    such service.  ``enqueue_with(priority=5, delay=None)`` returns an
    `enqueue` with these options, see ITaskService.add.

    A call raises TypeError if the arguments do not fit the function or
    cannot be stored, and LookupError if the function could not be found
    again by its module and name.
    """
    if not isinstance(service, str):
        raise TypeError(
            f'The decorator takes the name of a task service, not '
            f'{service!r}; write @function() or @function("name").')
    return functools.partial(_decorate, service)


def _decorate(service_name: str,
              undecorated: Callable[..., Any]) -> Decorated:
    _check_callable(undecorated)
    calls = _Calls(service_name, undecorated)

    @functools.wraps(undecorated)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return calls.call(args, kwargs)

    result = calls.decorated = cast(Decorated, decorated)
    result.undecorated = undecorated
    result.enqueue = calls.enqueue_with()
    result.enqueue_with = calls.enqueue_with
    result.describe = calls.describe_job
    zope.interface.directlyProvides(
        result, IJobSource, zope.interface.directlyProvidedBy(undecorated))
    task.mark_decorated(result, service_name)
    return result


class _Calls:
    """What becomes of the calls of a decorated function.

    service_name -- str, see `function`.
    undecorated -- the function itself.
    decorated -- what callers call instead: it is found under the name of the
        function, and what is stored has to lead to it.
    """

    decorated: Decorated

    def __init__(self, service_name: str,
                 undecorated: Callable[..., Any]) -> None:
        self.service_name = service_name
        self.undecorated = undecorated
        self._signature = inspect.signature(undecorated)

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Store a call; make it at once where that is what `function` says.
        """
        if is_async():
            return self.undecorated(*args, **kwargs)
        service = server().visible_service(self.service_name)
        if service is None:
            log.warning(
                '%s is called synchronously: %s',
                task.dotted_name(self.undecorated),
                absence.unseen(self.service_name, declarations()))
            return self.undecorated(*args, **kwargs)
        self._add(service, args, kwargs)
        return None

    def enqueue_with(self, *, priority: int = DEFAULT_PRIORITY,
                     delay: float | None = None) -> Callable[..., int]:
        """Return an `enqueue`, see `function`."""
        def enqueue(*args: Any, **kwargs: Any) -> int:
            return self._add(_find_service(self.service_name), args, kwargs,
                             priority=priority, delay=delay)
        return enqueue

    def _add(self, service: Any, args: tuple[Any, ...],
             kwargs: Mapping[str, Any], **options: Any) -> int:
        """Store a call as a job; return the id of that.

        options -- see ITaskService.add.
        """
        call, placed = self._describe(service, args, kwargs)
        jobid: int = service.add(task.TASK_NAME, call, **options)
        # A call that was refused has changed nothing.
        placed()
        return jobid

    def _describe(
            self, service: Any, args: tuple[Any, ...],
            kwargs: Mapping[str, Any]) -> tuple[Any, Callable[[], None]]:
        """Return a call, and what is to be called once it is stored."""
        # A call is stored with just these types, and the caller may go on to
        # change a dict that is his.
        args = tuple(args)
        kwargs = {exact(name): each for name, each in kwargs.items()}
        if not fit.surely_takes(self.undecorated, args, kwargs):
            self._signature.bind(*args, **kwargs)
        _check_findable(self.decorated)
        found: list[Any] = []
        # Most are so small that no service has to be asked for its limit.
        if not are_small(args, kwargs):
            args, kwargs = refer(args, kwargs)
            args, kwargs = copy_arguments(
                service._p_jar, args, kwargs, _max_size(service),
                found.append)
        call = task.TaskDescription(self.decorated, args, kwargs)
        return call, functools.partial(
            _place, [call.site, *found], service._p_jar)

    def describe_job(
            self, service: Any,
            input: Any) -> tuple[str, Any, Callable[[], None]]:
        """See IJobSource."""
        return task.TASK_NAME, *self._describe(service, *_arguments(input))


def _arguments(given: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments that are given to ITaskService.addCronJob."""
    if given is None:
        return (), {}
    if isinstance(given, tuple):
        return given, {}
    if isinstance(given, dict):
        return (), given
    raise TypeError(
        f'The input of a decorated function is its arguments, a tuple or a '
        f'dict, not {type(given).__name__}; write (argument,).')


def _place(objects: list[Any], connection: Any) -> None:
    for each in objects:
        place(each, connection)


def _find_service(name: str) -> Any:
    service = server().visible_service(name)
    if service is None:
        raise LookupError(absence.unseen(name, declarations()))
    return service


def _max_size(service: Any) -> int:
    """Return how many bytes the arguments of a call may take."""
    # A stand-in for tests, say, need not have a policy.
    return (policy_of(service).max_size if hasattr(service, 'policy')
            else MAX_SIZE)


def _check_callable(undecorated: Any) -> None:
    # Other callables have no name under which they could be found again.
    if not callable(undecorated) or not hasattr(undecorated, '__qualname__'):
        raise TypeError(
            f'{undecorated!r} is not a function; decorate a plain function.')
    if isinstance(undecorated, type | types.GenericAlias):
        raise TypeError(
            f'{undecorated!r} is a class; decorate a plain function that '
            f'makes an object of it.')
    if (inspect.iscoroutinefunction(undecorated)
            or inspect.isgeneratorfunction(undecorated)
            or inspect.isasyncgenfunction(undecorated)):
        raise TypeError(
            f'{undecorated!r} is a coroutine or a generator; a call of it '
            f'does not run it. Decorate a plain function that does.')


def _check_findable(decorated: Any) -> None:
    """Raise LookupError unless the function is found under its name."""
    function = decorated.undecorated
    name = task.dotted_name(function)
    advice = (
        'put it at the top of an importable module, under its own name; '
        'decorators above must use functools.wraps.')
    if function.__module__ in SCRIPTS:
        raise LookupError(
            f'{name!r} is defined in a script, where no other process finds '
            f'it; {advice}')
    if '.' in function.__qualname__ or function.__name__ == '<lambda>':
        raise LookupError(
            f'{name!r} is a lambda, a method or a nested function; {advice}')
    try:
        found = task.find_function(name)
    except LookupError as error:
        reason = ('something else has that name' if error.__cause__ is None
                  else error)
        raise LookupError(
            f'{name!r} cannot be found again ({reason}); {advice}') from error
    if found is not decorated:
        raise LookupError(
            f'{name!r} is another function than the one called; {advice}')
