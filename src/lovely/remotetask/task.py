"""Ready-made tasks and the error they raise."""

import zope.interface

from lovely.remotetask import interfaces


class TaskError(Exception):
    """A task could not do its work."""


class Tasks(dict):
    """The tasks of a service by their names.

    Untrusted code that may view the service sees the names.  The tasks are
    for those who may manage it: who has one could call it.
    """

    def __init__(self, service, tasks):
        super().__init__(tasks)
        # So that local grants on it hold.
        self.__parent__ = service


@zope.interface.implementer(interfaces.ITask)
class SimpleTask:
    """Calls a function with the job's input."""

    inputSchema = None
    outputSchema = None

    def __init__(self, func):
        self.func = func

    def __call__(self, service, jobid, input):
        return self.func(input)

    def __repr__(self):
        return f'<{type(self).__name__} {self.func!r}>'


@zope.interface.implementer(interfaces.ITask)
class EchoTask:
    """Returns the job's input."""

    inputSchema = None
    outputSchema = None

    def __call__(self, service, jobid, input):
        return input

    def __repr__(self):
        return f'<{type(self).__name__}>'
