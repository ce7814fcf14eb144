"""Stand-ins for tests of code that uses task services."""

import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.service import TaskService


@zope.interface.implementer(interfaces.ITask)
class ExceptionTask:
    """Raises ZeroDivisionError when it is called."""

    inputSchema = None
    outputSchema = None

    def __call__(self, service, jobid, input):
        return 1 / 0

    def __repr__(self):
        return f'<{type(self).__name__}>'


class ITaskStub(interfaces.ITask):
    """The tasks of a TaskServiceStub."""


class TaskServiceStub(TaskService):
    """A task service that needs no database and no processor.

    Its tasks are utilities for ITaskStub, so a test's tasks do not mix with
    those of the application.  Job ids are 1, 2, 3.
    """

    taskInterface = ITaskStub

    _last_id = 0

    def _generateId(self):
        self._last_id += 1
        return self._last_id

    def startProcessing(self):
        """A stub has no processor: call `process`."""
        raise NotImplementedError('A stub has no processor; call process().')

    stopProcessing = startProcessing
