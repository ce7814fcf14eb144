"""An application with two databases: the content, and its jobs."""

import ZODB
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITaskService


class TwoDatabases:
    """Gives a functional test case a database for its service."""

    def make_service(self):
        db = self.layer.db
        # The name of the storage puts it behind that of the layer.
        jobs = ZODB.DB(MappingStorage('jobs'), database_name='jobs',
                       databases=db.databases)
        self.addCleanup(jobs.close)
        self.addCleanup(self.layer._close_db)
        service = TaskService()
        self.root._p_jar.get_connection('jobs').add(service)
        self.root['tasks'] = service
        self.root.getSiteManager().registerUtility(
            service, ITaskService, name='events')
        return service
