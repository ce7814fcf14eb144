"""The remote methods of a task service."""

from xmlrpc.client import MAXINT

from zope.publisher.xmlrpc import XMLRPCView


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
        return self.context.getResult(int(jobid))

    def getError(self, jobid):
        """Return the message of the error of a job, 'None' without one."""
        return self.context.getError(int(jobid))
