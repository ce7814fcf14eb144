"""How a call went that may fail in any way."""

import contextlib
import contextvars
import traceback
from typing import Any
from typing import NamedTuple

import transaction
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.task import TaskError


# Whether this thread only runs jobs.  Nobody interrupts it from a keyboard:
# a KeyboardInterrupt is raised by a job, and ends that alone.
in_runner = contextvars.ContextVar('in_runner', default=False)


@zope.interface.implementer(interfaces.IFailure)
class Outcome(NamedTuple):
    """How a call went: either its value, or what the exception was."""

    value: Any = None
    exception: BaseException | None = None
    error: str | None = None
    errorClass: str | None = None
    traceback: str | None = None
    retryable: bool = False

    @property
    def failed(self):
        return self.exception is not None

    @property
    def errorClasses(self):
        """See IFailure."""
        return {_dotted(class_) for class_ in type(self.exception).__mro__}

    @property
    def holds(self):
        """See IFailure."""
        return isinstance(self.exception, interfaces.CannotRun)


def attempt(call, *args):
    """Call something that may fail in any way.  Return an Outcome.

    The one place that catches everything.  SystemExit too: a function that
    calls ``sys.exit()`` ends itself, not the thread that runs it.
    """
    try:
        return Outcome(call(*args))
    except BaseException as exception:
        if isinstance(exception, KeyboardInterrupt) and not in_runner.get():
            raise
        return _failure(exception)


def _failure(exception):
    return Outcome(
        exception=exception,
        error=_message(exception),
        errorClass=_dotted(type(exception)),
        # Not format_exception: zope.testrunner replaces it by one that
        # leaves out causes.
        traceback=''.join(
            traceback.TracebackException.from_exception(exception).format()),
        # Ask first: abort drops the data managers that know the answer.
        retryable=transaction.get().isRetryableError(exception))


def _dotted(class_):
    return f'{class_.__module__}.{class_.__qualname__}'


def lost_run(reason):
    """Return the failure of a run of which nobody has stored the end.

    reason -- str, a sentence.
    """
    return _failure(TaskError(reason))


def _message(exception):
    # Not by `attempt`: what that catches is shown by this.
    with contextlib.suppress(Exception):
        return str(exception)
    return f'<unprintable {type(exception).__name__} object>'
