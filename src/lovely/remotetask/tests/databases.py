"""Two databases in one application: the content, and a service with its jobs.
"""

import persistent.list
import transaction
import ZODB
import zope.site.folder
from ZODB.DemoStorage import DemoStorage
from ZODB.MappingStorage import MappingStorage
from zope.app.publication.zopepublication import ZopePublication

from lovely.remotetask import TaskService


def demo_storage(name):
    """Return a storage that resolves conflicts and is sorted by its name."""
    return DemoStorage(changes=MappingStorage(name))


def open_databases(content, jobs):
    """Return the ZODB.DB of the content; that of the jobs is called so.

    content, jobs -- storages.
    """
    db = ZODB.DB(content, databases={}, database_name='')
    ZODB.DB(jobs, databases=db.databases, database_name='jobs')
    return db


def close_databases(databases):
    """Close what is in the mapping `databases` of a ZODB.DB.

    That itself forgets the others when it is closed.
    """
    for each in databases.values():
        each.close()


def fill(db):
    """Put a root folder into a database, its service into that of jobs."""
    connection = db.open()
    root = zope.site.folder.rootFolder()
    connection.root()[ZopePublication.root_name] = root
    root.effects = persistent.list.PersistentList()
    service = TaskService()
    # What both databases refer to is not stored by itself.
    connection.add(root)
    jobs = connection.get_connection('jobs')
    jobs.add(service)
    jobs.root()['kept'] = service
    root['tasks'] = service
    transaction.commit()
    connection.close()


class TwoDatabases:
    """Makes the database of a DatabaseCase two."""

    def open_database(self):
        db = open_databases(demo_storage('content'), demo_storage('jobs'))
        self.addCleanup(close_databases, db.databases)
        return db

    def fill(self, db):
        fill(db)

    @property
    def jobs_db(self):
        return self.db.databases['jobs']
