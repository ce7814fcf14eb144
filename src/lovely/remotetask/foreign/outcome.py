"""How a call went that may fail in any way."""

import contextvars
import threading
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import transaction
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.foreign import twin
from lovely.remotetask.foreign.description import Description
from lovely.remotetask.foreign.description import class_names
from lovely.remotetask.foreign.description import describe
from lovely.remotetask.task import TaskError


# Whether the main thread runs jobs, and whoever wants to end it does not use
# the keyboard: a KeyboardInterrupt is raised by a job, and ends that alone.
in_runner = contextvars.ContextVar('in_runner', default=False)


@zope.interface.implementer(interfaces.IFailure)
class Outcome(NamedTuple):
    """How a call went: either its value, or what the exception was.

    All texts are plain, see Description.
    """

    value: Any = None
    exception: BaseException | None = None
    error: str | None = None
    errorClass: str | None = None
    traceback: str | None = None
    retryable: bool = False
    # See IFailure.
    interrupted: bool = False
    exhausts: bool = False
    # See Description.
    place: str = ''
    frames: str = ''

    @property
    def failed(self) -> bool:
        return self.exception is not None

    @property
    def errorClasses(self) -> frozenset[str]:
        """See IFailure."""
        return _ask(
            class_names, frozenset({self.errorClass}), type(self.exception))

    @property
    def holds(self) -> bool:
        """See IFailure."""
        return self.is_a(interfaces.CannotRun)

    def is_a(self, class_: type) -> bool:
        """Return whether the exception is of a class.

        The exception itself is not asked: isinstance would.
        """
        return issubclass(type(self.exception), class_)


# A job is run through twenty calls that go well: most of them share an Outcome
# that says so, and those of the others are made without their class being
# called.
_NOTHING = Outcome()
_WELL = tuple(_NOTHING)[1:]
_new_tuple = tuple.__new__

# A function that makes the Outcome of a call that has failed.
Describing = Callable[[BaseException], Outcome]


def outcome_of(call: Callable[..., Any], *args: Any,
            describe: Describing | None = None) -> Outcome:
    """Call something that may fail in any way.  Return an Outcome.

    describe -- called with the exception, returns the Outcome of a failure;
        by default one that tells all of it.

    The one place that catches everything.  SystemExit too: a function that
    calls ``sys.exit()`` ends itself, not the thread that runs it.
    """
    try:
        value = call(*args)
        return _NOTHING if value is None else _new_tuple(
            Outcome, (value,) + _WELL)
    except BaseException as exception:
        if (issubclass(type(exception), KeyboardInterrupt)
                and _may_be_interrupted()):
            raise
        return (_failure if describe is None else describe)(exception)


def _may_be_interrupted() -> bool:
    """Return whether a keyboard may interrupt this thread."""
    # In any other thread somebody else has raised the exception.
    return (threading.get_ident() == threading.main_thread().ident
            and not in_runner.get())


def let_go(exception: BaseException) -> None:
    """Cut what an exception has kept of the calls that it was raised in.

    One that a module raises again and again would keep the frames of each
    run, and all that was in them: objects, jobs, connections.
    """
    # The ids are compared: a class may have made others equal, or refuse a
    # hash.
    seen: dict[int, BaseException] = {}
    left: list[BaseException | None] = [exception]
    while left:
        found = left.pop()
        if found is None or id(found) in seen:
            continue
        seen[id(found)] = found
        left += [twin.CAUSE.__get__(found), twin.CONTEXT.__get__(found)]
        if issubclass(type(found), BaseExceptionGroup):
            left += twin.MEMBERS.__get__(found)
        for slot in twin.TRACEBACK, twin.CAUSE, twin.CONTEXT:
            slot.__set__(found, None)
        # Setting a cause has suppressed the context; that is taken back.
        twin.IS_SUPPRESSED.__set__(found, False)


def let_frames_go(exception: BaseException) -> None:
    """Cut the frames alone that an exception and its causes have kept.

    Its context may be an exception that a caller is handling.
    """
    seen: dict[int, BaseException] = {}
    found: BaseException | None = exception
    while found is not None and id(found) not in seen:
        seen[id(found)] = found
        twin.TRACEBACK.__set__(found, None)
        found = twin.CAUSE.__get__(found)


def failure_of(exception: BaseException) -> Outcome:
    """Return the Outcome of a call that has raised an exception."""
    return _failure(exception)


def undescribed(exception: BaseException) -> Outcome:
    """Return an Outcome that asks the exception nothing at all."""
    return _outcome(exception, Description(), False)


def lost_run(reason: str) -> Outcome:
    """Return the failure of a run of which nobody has stored the end.

    reason -- str, a sentence.
    """
    return _failure(TaskError(reason))


def _failure(exception: BaseException) -> Outcome:
    # The transaction is asked first: an abort would drop the data managers
    # that know the answer.
    retryable = _ask(_is_retryable, False, exception)
    found = _ask(describe, Description(), exception, _ask)
    return _outcome(exception, found, retryable)


def _outcome(exception: BaseException, found: Description,
             retryable: bool) -> Outcome:
    return Outcome(
        None, exception, found.error, found.errorClass, found.traceback,
        retryable, place=found.place, frames=found.frames)


def _is_retryable(exception: BaseException) -> bool:
    return bool(transaction.get().isRetryableError(exception))


def _ask(call: Callable[..., Any], default: Any, *args: Any) -> Any:
    """Return what a function returns; the default if that fails."""
    outcome = outcome_of(call, *args, describe=undescribed)
    return default if outcome.failed else outcome.value
