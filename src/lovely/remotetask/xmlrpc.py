"""The remote methods of a task service."""

import re
from xmlrpc.client import MAXINT

import zope.security
from zope.publisher.xmlrpc import XMLRPCView
from zope.security.interfaces import Unauthorized


VIEW = 'lovely.remotetask.View'

# What no XML document may hold: whoever gets one cannot read any of it.
NOT_OF_XML = re.compile(
    '[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')


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
        self.context.cancel(_id(jobid))
        return True

    def getStatus(self, jobid):
        """Return the status of a job."""
        return self.context.getStatus(_id(jobid))

    def getResult(self, jobid):
        """Return the result of a job."""
        self._check_view()
        return self.context.getResult(_id(jobid))

    def getError(self, jobid):
        """Return the message of the error of a job, 'None' without one.

        Characters that XML has not are escaped.
        """
        self._check_view()
        return NOT_OF_XML.sub(_escaped, self.context.getError(_id(jobid)))

    def _check_view(self):
        """Raise Unauthorized for those who may not see jobs at all.

        A view has one permission in ZCML: here that is the other one.
        """
        if not zope.security.checkPermission(VIEW, self.context):
            raise Unauthorized(self.context, 'jobs', VIEW)


def _escaped(found):
    return found[0].encode('unicode_escape', 'backslashreplace').decode()


def _id(jobid):
    """Return the id that was sent for a job; ValueError if it is none."""
    if type(jobid) is int:
        return jobid
    if not (isinstance(jobid, str) and jobid.isascii() and jobid.isdecimal()):
        raise ValueError(
            f'{jobid!r:.100} is not the id of a job, a whole number.')
    return int(jobid)
