"""What processors can be told: the arguments they are made with."""

import inspect
import numbers
import threading
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from lovely.remotetask.foreign.outcome import outcome_of


# More threads of one process do not run more jobs.
MAX_THREADS = 1000

# Python's locks wait no longer, in seconds: some centuries.
MAX_WAIT_TIME = threading.TIMEOUT_MAX


def check_wait_time(seconds: Any) -> None:
    """Raise ValueError unless an idle processor can wait that long."""
    is_number = (isinstance(seconds, numbers.Real)
                 and not isinstance(seconds, bool))
    if not is_number or not 0 <= seconds <= MAX_WAIT_TIME:
        raise ValueError(
            f'waitTime must be the seconds to wait at most before looking '
            f'for jobs again, a number like 1.0, not {_shown(seconds)}; leave '
            f'it out for the usual one.')


def check_max_threads(number: Any) -> None:
    """Raise ValueError unless that many jobs can be run at a time."""
    if (isinstance(number, bool) or not isinstance(number, int)
            or not 1 <= number <= MAX_THREADS):
        raise ValueError(
            f'maxThreads must be how many jobs may run at a time, an integer '
            f'from 1 to {MAX_THREADS}, not {_shown(number)}; leave it out for '
            f'the usual one.')


def make(name: str, factory: Any, db: Any, path: Any, arguments: Any) -> Any:
    """Return the processor that a factory makes.

    name -- str, that of the service, for messages.
    factory, arguments -- see IProcessorSettings.

    Raise ValueError if there is no factory, or the arguments do not fit.
    """
    if not callable(factory):
        raise ValueError(
            f'Task service {name!r}: processorFactory must be what makes a '
            f'processor, like lovely.remotetask.processor.MultiProcessor, '
            f'not {_shown(factory)}.')
    where = f'Task service {name!r}: processorArguments'
    if not isinstance(arguments, Mapping):
        raise ValueError(
            f'{where} must be a mapping of names to values, like '
            f'{{"waitTime": 1.0}}, not {_shown(arguments)}.')
    known = _names(factory)
    unknown = [] if known is None else [
        name for name in arguments if name not in known]
    if known is not None and unknown:
        raise ValueError(
            f'{where} must not have {", ".join(map(_shown, unknown))}, which '
            f'the processorFactory does not take; choose from '
            f'{", ".join(known) or "none"}.')
    try:
        return factory(db, path, **arguments)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


def _names(factory: Callable[..., Any]) -> list[str] | None:
    """Return the names of arguments after database and path.

    None if the factory takes any, or does not tell.
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind == each.VAR_KEYWORD for each in parameters):
        return None
    return [each.name for each in parameters
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
            ][2:]


def _shown(value: object) -> str:
    """Return a value for a message; not all of a long one."""
    text = outcome_of(repr, value).value or f'a {type(value).__name__}'
    return text if len(text) <= 60 else f'{text[:60]}...'
