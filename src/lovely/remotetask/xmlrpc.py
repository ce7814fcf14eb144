"""The remote methods of a task service."""

from xmlrpc.client import MAXINT

import zope.security
from zope.publisher.xmlrpc import XMLRPCView
from zope.security.interfaces import Unauthorized


VIEW = 'lovely.remotetask.View'


class RemoteTaskServiceXMLRPCAPI(XMLRPCView):
    """Lets other programs add jobs and ask for their results.

    Input and results are what XML-RPC can express.  Job ids are ints, or
    strings of digits where XML-RPC has no int that large.
    """

    def getAvailableTasks(self):
        """Return the sorted names of the tasks."""
        return sorted(self.context.getAvailableTasks())

    def add(self, task, input=None):
        """Add a job.  Return its id."""
        jobid = self.context.add(task, input)
        return jobid if jobid <= MAXINT else str(jobid)

    def cancel(self, jobid):
        """Cancel a job that has not begun.  Always return true."""
        self.context.cancel(int(jobid))
        return True

    def getStatus(self, jobid):
        """Return the status of a job."""
        return self.context.getStatus(int(jobid))

    def getResult(self, jobid):
        """Return the result of a job."""
        self._check_view()
        return self.context.getResult(int(jobid))

    def getError(self, jobid):
        """Return the message of the error of a job, 'None' without one."""
        self._check_view()
        return self.context.getError(int(jobid))

    def _check_view(self):
        """Raise Unauthorized for those who may not see jobs at all.

        A view has one permission in ZCML: here that is the other one.
        """
        if not zope.security.checkPermission(VIEW, self.context):
            raise Unauthorized(self.context, 'jobs', VIEW)
