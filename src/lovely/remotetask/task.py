"""Ready-made tasks and the error they raise."""

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import zope.interface

from lovely.remotetask import interfaces


class TaskError(Exception):
    """A task could not do its work."""


class Tasks(dict):
    """The tasks of a service by their names.

    Untrusted code that may view the service sees the names.  The tasks are
    for those who may manage it: who has one could call it.
    """

    def __init__(self, service: Any, tasks: Iterable[tuple[str, Any]]) -> None:
        super().__init__(tasks)
        # The parent is set so that local grants on the service hold.
        self.__parent__ = service


@zope.interface.implementer(interfaces.ITask)
class SimpleTask:
    """Calls a function with the job's input."""

    inputSchema = None
    outputSchema = None

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.func = func

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return self.func(input)

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.func!r}>'


@zope.interface.implementer(interfaces.ITask)
class EchoTask:
    """Returns the job's input."""

    inputSchema = None
    outputSchema = None

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return input

    def __repr__(self) -> str:
        return f'<{type(self).__name__}>'
