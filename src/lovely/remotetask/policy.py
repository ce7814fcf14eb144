"""What becomes of a job whose run failed, and how long ended ones stay."""

import builtins
import functools
import math
import sys
from collections.abc import Callable
from collections.abc import Iterable
from types import ModuleType
from typing import Any
from typing import NamedTuple
from typing import Self

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.description import dotted
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.number import LAST
from lovely.remotetask.number import check_seconds
from lovely.remotetask.number import check_whole
from lovely.remotetask.number import exact
from lovely.remotetask.number import shown
from lovely.remotetask.retry import doubled


log = journal(__name__)


DAY = 24 * 3600.0

# The longest wait before another attempt after a failure, in seconds.
MAX_WAIT = 3600.0

# Transient errors: how many, and the wait after the first, in seconds.
TRANSIENTS = 10
TRANSIENT_WAIT = 0.05

# Databases or a process that have failed: the wait after the first time that
# a job met that, and the longest one, in seconds.
INTERRUPTION_WAIT = 1.0
INTERRUPTION_LIMIT = 300.0

# How often that does not count as a failed attempt where it may be what the
# job does: it could be begun, and counted afterwards, but neither was there
# anything left then, nor could its end be stored.
INTERRUPTIONS = 6

# The least wait, in seconds, after a run whose end could not be stored.
LOSS_WAIT = 1.0


class Settings(NamedTuple):
    """What a Policy is made of; see there."""

    attempts: int = 3
    retry_wait: float = 1.0
    retry_on: tuple[str, ...] = ()
    retention: float = 7 * DAY
    error_retention: float = 30 * DAY
    keep_result: bool = True
    commit_every: int = 1
    max_size: int = 10_000_000
    log_messages: bool = True


class Policy(Settings):
    """The rules of one service.

    attempts -- how many runs may fail, by an exception of `retry_on` or by
        the death of their process, before the error is final.
    retry_wait -- limit of the pause before the second attempt, in seconds:
        the pause is a random time up to it; doubled for each further one, up
        to an hour.
    retry_on -- dotted names of exceptions, or their classes, after which a
        job is tried again; a name that another module has given to an
        exception counts, too, where that module is imported. Besides, a lost
        process always counts as a failed attempt, and transient errors are
        tried again apart from this.
    retention, error_retention -- seconds a completed or cancelled job, and
        one in error or held, is kept; infinite: for ever, like a cron job
        that is held.
    keep_result -- False: a completed job is removed at once.
    commit_every -- how many short jobs are run in one transaction at most,
        1 to 1000.
    max_size -- how many bytes the pickle of an input or a result may have.
    log_messages -- whether the log line of a failure has the message of the
        exception, which may hold arguments; False: class and place alone.

    Values that make no sense raise ValueError.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kw: Any) -> Self:
        # A stored policy is made by this alone, without `__init__`: what makes
        # no sense stays, so that the service can be loaded; see `sound`.
        settings = Settings(*args, **kw)
        return super().__new__(cls, *(
            _checked(name, value, value)
            for name, value in settings._asdict().items()))

    def __init__(self, *args: Any, **kw: Any) -> None:
        for name, check in CHECKS.items():
            check(name, getattr(self, name))

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:  # type: ignore[override]
        # `_replace` makes new policies by this method; so they are checked,
        # too.
        return cls(*values)

    def due_after_failure(self, job: Any, failure: Any,
                          now: float) -> float | None:
        """Return when to run a failed job again, None for never."""
        if failure.retryable:
            return _due(now, TRANSIENT_WAIT, job.transients, TRANSIENTS)
        if not self.retry_on:
            return None
        names = {*self.retry_on, *map(_name_of_definition, self.retry_on)}
        if failure.errorClasses.isdisjoint(names):
            return None
        return _due(now, self.retry_wait, job.failures, self.attempts - 1)

    def due_after_interruption(self, job: Any, now: float) -> float:
        """Return when to run a job again that could not be run to its end.

        Because what it stands on has failed: there is no last time.
        """
        return now + doubled(INTERRUPTION_WAIT, INTERRUPTION_LIMIT,
                             job.interruptions, 0.5)

    def excuses(self, job: Any) -> bool:
        """Return whether another interruption does not count against a job.

        See INTERRUPTIONS.
        """
        return job.interruptions < INTERRUPTIONS

    def due_after_loss(self, job: Any, now: float) -> float | None:
        """Return when to run a job again whose end could not be stored."""
        return _due(now, max(self.retry_wait, LOSS_WAIT), job.failures,
                    self.attempts)

    def retention_of(self, status: str) -> float:
        """Return how many seconds a job is kept with a status."""
        return {COMPLETED: self.retention, CANCELLED: self.retention,
                ERROR: self.error_retention, HELD: self.error_retention,
                }[status]


def policy_of(service: Any) -> Policy:
    """Return the Policy of an ITaskService; see `sound`."""
    return sound(interfaces.IProcessorSettings(service, service).policy,
                 service.__name__)


def sound(policy: Any, service: object) -> Policy:
    """Return a policy that can be worked with, whatever was stored.

    service -- the name of the service that it belongs to.

    Instead of what makes no sense, the default is used, and the log says so,
    once in a process.
    """
    if not isinstance(policy, Policy):
        _warn(f'Service {shown(service)}: its policy is no Policy, but '
              f'{shown(policy)}; the default one is used.')
        return Policy()
    values = tuple(policy)
    try:
        # True and 1 are equal, but not both a number of attempts.
        mended = _mended(values, tuple(map(type, values)), service)
    except TypeError:
        # The policy holds something that cannot be a key of the cache.
        mended = _mend(values, service)
    return policy if mended is None else mended


# The cache knows values alone: equal policies may be of classes with other
# rules.
@functools.lru_cache(maxsize=1000)
def _mended(values: tuple[Any, ...], types: tuple[type, ...],
            service: object) -> Policy | None:
    return _mend(values, service)


def _mend(values: tuple[Any, ...], service: object) -> Policy | None:
    """Return a Policy for values that make no sense; None if all do."""
    given = dict(zip(Policy._fields, values, strict=False))
    wrong = [name for name in CHECKS
             if _checked(name, given.get(name), None) is None]
    if not wrong:
        return None
    default = Policy()._asdict()
    for name in wrong:
        _warn(f'Service {shown(service)}: {name} of its policy is '
              f'{shown(given.get(name))}; {default[name]!r} is used instead.')
    return Policy(**{**given, **{name: default[name] for name in wrong}})


@functools.lru_cache(maxsize=1000)
def _warn(text: str) -> None:
    # The cache remembers what was said, so that it is said once.
    log.warning('%s', text)


def _checked(name: str, value: object, otherwise: Any) -> Any:
    try:
        return CHECKS[name](name, value)
    except ValueError:
        return otherwise


def _check_count(name: str, value: object) -> int:
    return check_whole(name, value, 1)


def _check_wait(name: str, value: object) -> float:
    seconds = check_seconds(name, value)
    if seconds > LAST:
        raise ValueError(
            f'{name} must be a finite time, not {shown(value)} seconds.')
    return seconds


def _check_retention(name: str, value: object) -> float:
    seconds = check_seconds(name, value)
    # What is longer than the calendar stands for ever.
    return seconds if seconds <= LAST else math.inf


def _check_bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f'{name} must be True or False, not {shown(value)}.')
    return value


def _check_commit_every(name: str, value: object) -> int:
    return check_whole(name, value, 1, 1000)


def _check_exceptions(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, tuple | list | set):
        raise ValueError(
            f'{name} must be a tuple of exceptions, or of their names, like '
            f'(OSError,), not {shown(value)}.')
    names = dict.fromkeys(_exception_name(name, member) for member in value)
    return tuple(sorted(names) if isinstance(value, set) else names)


def _exception_name(name: str, value: object) -> str:
    if not isinstance(value, str):
        return _defined_name(name, value, shown(value))
    value = str(exact(value))
    if '.' in value and all(value.split('.')):
        # The exception is not imported here: its module may be the one that is
        # just being imported.
        return value
    said = f'"{shown(value)[1:-1]}"'
    try:
        found = getattr(builtins, value)
    except (AttributeError, UnicodeError) as error:
        raise ValueError(
            f'{name}: there is no exception {said} ({error}).') from error
    return _defined_name(name, found, said)


def _defined_name(name: str, found: object, said: str) -> str:
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise ValueError(
            f'{name}: {said} is no exception; write a class, or its module '
            f'and name.')
    return f'{found.__module__}.{found.__qualname__}'


def _name_of_definition(name: str) -> str:
    """Return the name with which an exception was defined.

    ``socket.error``, say, is OSError.  Nothing is imported for that: the name
    stays as it is where its module is not there.
    """
    module_name, _, attribute = name.rpartition('.')
    module = sys.modules.get(module_name)
    # A module of another class may do anything when it is asked.
    found: Any = (vars(module).get(attribute)
                  if type(module) is ModuleType else None)
    if issubclass(type(found), type) and issubclass(found, BaseException):
        return dotted(found)
    return name


# Called with the name and the value of a setting: what checks it, and returns
# the value as it is stored, or raises ValueError.
CHECKS: dict[str, Callable[[str, object], Any]] = {
    'attempts': _check_count,
    'retry_wait': _check_wait,
    'retry_on': _check_exceptions,
    'retention': _check_retention,
    'error_retention': _check_retention,
    'keep_result': _check_bool,
    'commit_every': _check_commit_every,
    'max_size': _check_count,
    'log_messages': _check_bool,
}


def _due(now: float, wait: float, number: int,
         maximum: int) -> float | None:
    """Return the time of the next attempt, None after the last one.

    Full jitter: anything up to a limit that doubles.
    """
    if number >= maximum:
        return None
    return now + doubled(wait, MAX_WAIT, number, 1.0)
