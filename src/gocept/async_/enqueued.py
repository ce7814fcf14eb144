"""Which jobs a test has enqueued, and with which arguments."""

import inspect
from typing import Any

from gocept.async_ import lookup
from gocept.async_.argument import resolve
from gocept.async_.declaration import declarations
from gocept.async_.elsewhere import services
from gocept.async_.task import TaskDescription
from lovely.remotetask.interfaces import IJobTexts


class EnqueuedJobs:
    """The jobs that were enqueued since this object was made.

    root -- the root folder of the application.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        # By service, which stays the same object as long as it is kept here.
        self._before = {service: set(service.jobs)
                        for service in _services(root)}

    def jobs(self, function: Any = None) -> list[Any]:
        """See AsyncServices.enqueued."""
        return [job for _, job in self._found(function)]

    def find(self, function: Any, args: Any, kwargs: Any) -> Any:
        """See AsyncServices.assert_enqueued."""
        __tracebackhide__ = True
        name = _name(function)
        expected = _bound(function, args, kwargs)
        for service, job in self._found(function):
            if _bound(function, *_arguments(job, service)) == expected:
                return job
        raise AssertionError(
            f'{_call(name, args, kwargs)} was not enqueued; '
            f'{self._said()}')

    def check_none(self, function: Any) -> None:
        """See AsyncServices.assert_not_enqueued."""
        __tracebackhide__ = True
        if self.jobs(function):
            what = 'Something' if function is None else _name(function)
            raise AssertionError(f'{what} was enqueued; {self._said()}')

    def _found(self, function: Any = None) -> list[tuple[Any, Any]]:
        """Return pairs of service and job, in the order of the calls."""
        name = None if function is None else _name(function)
        found = [(service, job) for service in _services(self._root)
                 for jobid, job in service.jobs.items()
                 if jobid not in self._before.get(service, ())
                 and name in (None, _name_of(job))]
        return sorted(found, key=lambda pair: pair[1].created)

    def _said(self) -> str:
        """Return a text: what was enqueued."""
        lines = [f'{_name_of(job)}({_texts(job)})' for job in self.jobs()]
        return '\n  '.join(['enqueued were:', *lines]) if lines \
            else 'nothing was enqueued.'


def _services(root: Any) -> list[Any]:
    declared = [declaration.find(root) for declaration in declarations()]
    found: list[Any] = []
    for service in (*declared, *(service for _, service in services(root))):
        if service is not None and service not in found:
            found.append(service)
    return found


def _name(function: Any) -> str:
    """Return the name under which jobs of a function, or a task, are known.
    """
    if isinstance(function, str):
        return function
    return lookup.dotted_name(_undecorated(function))


def _undecorated(function: Any) -> Any:
    """Return what a job calls; raise TypeError if none calls a function."""
    found = inspect.unwrap(function, stop=lookup.is_decorated) \
        if callable(function) else function
    if not lookup.is_decorated(found):
        raise TypeError(
            f'{function!r} is no asynchronous function; decorate it with '
            f'gocept.async_.function, or give the name of a task.')
    return found.undecorated


def _name_of(job: Any) -> str:
    call = job.input
    return str(lookup.current_name(call.function_name)
               if type(call) is TaskDescription else job.task)


def _arguments(job: Any, service: Any) -> Any:
    """Return the args and kwargs of a job; the input of one without a call.
    """
    call = job.input
    if type(call) is not TaskDescription:
        return (call,), {}
    return resolve(call.args, call.kwargs, service)


def _bound(function: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the arguments by their names, with the defaults."""
    # Decorators above may take other arguments than those that are stored.
    signature = inspect.signature(
        _takes_input if isinstance(function, str) else _undecorated(function))
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _takes_input(input: Any = None) -> None:
    """What a task takes."""


def _call(name: str, args: Any, kwargs: Any) -> str:
    given = [*map(repr, args),
             *(f'{key}={each!r}' for key, each in kwargs.items())]
    return f'{name}({", ".join(given)})'


def _texts(job: Any) -> str:
    return ', '.join(
        text if name.isdigit() else f'{name}={text}'
        for name, text in IJobTexts(job).arguments)
