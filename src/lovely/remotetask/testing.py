"""Stand-ins for tests of code that uses task services."""

import BTrees
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.service import TaskService
from lovely.remotetask.storage import settlement
from lovely.remotetask.storage.store import JobStore


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


class _CountingStore(JobStore):
    """Gives jobs the ids 1, 2, 3, and none a second time.

    last_id -- int, the last one it has given.
    """

    last_id = 0

    def __init__(self):
        super().__init__()
        self.legacy = BTrees.family64.IO.BTree()

    def add(self, job, place, status):
        self.last_id += 1
        job.id = self.last_id
        job.store = self
        job.change_status(status)
        self.legacy[job.id] = job
        settlement.put_back(self, job, None)


class TaskServiceStub(TaskService):
    """A task service that needs no database and no processor.

    Its tasks are utilities for ITaskStub, so a test's tasks do not mix with
    those of the application.  Job ids are 1, 2, 3.
    """

    taskInterface = ITaskStub

    def __init__(self):
        super().__init__()
        self._store = _CountingStore()

    def startProcessing(self):
        """A stub has no processor: call `process`."""
        raise NotImplementedError('A stub has no processor; call process().')

    stopProcessing = startProcessing
