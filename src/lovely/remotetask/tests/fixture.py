"""What the tests stand on: tasks, a service, a database, a quiet processor."""

import contextlib
import logging
import unittest
import unittest.mock

import persistent.list
import transaction
import ZODB
import ZODB.Connection
import ZODB.DemoStorage
import zope.component
import zope.security.management
import zope.site.folder
from zope.app.publication.zopepublication import ZopePublication

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import IJobExecution
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.task import SimpleTask


# Seconds a test waits for another thread or process before it fails.
PATIENCE = 10


class ServiceTask(SimpleTask):
    """Calls a function with the service and the job's input."""

    def __call__(self, service, jobid, input):
        return self.func(service, input)


class QuietProcessor(SimpleProcessor):
    """Has no thread; counts how often it was woken."""

    woken = 0

    def start(self):
        pass

    def wake(self):
        self.woken += 1


class Calls(list):
    """Records the inputs of its calls and returns how many there were."""

    def __call__(self, input):
        self.append(input)
        return len(self)


class TaskCase(unittest.TestCase):
    """Offers tasks to a service; cleans up after itself.

    A layer may have filled the global registry, and will need it again: so
    tasks are registered one by one, under names that begin with "test.".
    """

    def setUp(self):
        transaction.abort()
        self.addCleanup(zope.security.management.endInteraction)
        self.addCleanup(transaction.abort)

    def register(self, component, provided, name):
        registry = zope.component.getGlobalSiteManager()
        registry.registerUtility(component, provided, name)
        self.addCleanup(
            registry.unregisterUtility, component, provided, name)

    def task(self, func, name='test.task', provided=ITask, factory=SimpleTask):
        """Offer a function of the input as a task.  Return its name."""
        self.register(factory(func), provided, name)
        return name

    def service_task(self, func, name='test.task'):
        """Offer a function of the service and the input as a task."""
        return self.task(func, name, factory=ServiceTask)


def fill(db):
    """Put a root folder with a service and a list of effects into a db."""
    connection = db.open()
    root = zope.site.folder.rootFolder()
    connection.root()[ZopePublication.root_name] = root
    root.effects = persistent.list.PersistentList()
    root['tasks'] = TaskService()
    transaction.commit()
    connection.close()


def engine(service):
    """Return what processors ask of a service, for this transaction."""
    return IJobExecution(service)


def workers(service):
    """Return the IWorkerRecords of a service."""
    return engine(service).workers


def upkeep(service):
    """Return the IUpkeep of a service."""
    return engine(service).upkeep



def effect(service, input):
    """Leave a trace in the database; made a task by `service_task`."""
    service.__parent__.effects.append(input)


class DatabaseCase(TaskCase):
    """Has a service in a database."""

    def setUp(self):
        super().setUp()
        self.db = self.open_database()
        # A test may close it, too; that replaces the method.
        self.addCleanup(lambda: self.db.close())
        self.addCleanup(transaction.abort)
        self.fill(self.db)
        self.connection = self.db.open()
        self.root = self.connection.root()[ZopePublication.root_name]
        self.service = self.root['tasks']

    def fill(self, db):
        fill(db)

    def open_database(self):
        return ZODB.DB(ZODB.DemoStorage.DemoStorage())

    @property
    def jobs_db(self):
        """The database in which the service itself is."""
        return self.db

    def processor(self, factory=SimpleProcessor, **arguments):
        return factory(self.db, ['tasks'], **arguments)

    def add(self, *args, **kw):
        """Add a job and commit that.  Return its id."""
        jobid = self.service.add(*args, **kw)
        transaction.commit()
        return jobid

    def job(self, jobid):
        """Return a job as it was committed last."""
        transaction.begin()
        return self.service.jobs[jobid]

    def unreadable(self, oid):
        """Let a record raise whatever it is asked for; a context manager."""
        setstate = ZODB.Connection.Connection.setstate

        def refuse(connection, found):
            if found._p_oid == oid:
                raise OSError('unreadable')
            return setstate(connection, found)
        self.db.cacheMinimize()
        for db in self.db.databases.values():
            db.cacheMinimize()
        return unittest.mock.patch.object(
            ZODB.Connection.Connection, 'setstate', refuse)

    @property
    def effects(self):
        """The effects that were committed."""
        transaction.begin()
        return list(self.root.effects)

    @contextlib.contextmanager
    def elsewhere(self):
        """Work on the service in a transaction of another manager."""
        manager = transaction.TransactionManager()
        connection = self.db.open(manager)
        try:
            yield connection.root()[ZopePublication.root_name]['tasks']
            manager.commit()
        finally:
            manager.abort()
            connection.close()


    def take_away(self):
        """Take all claims away, as if whoever made them were dead."""
        with self.elsewhere() as service:
            engine(service).workers.release(lambda claim: False)


class Opened:
    """The service of a case in a connection of its own, until the end."""

    def __init__(self, case):
        self.manager = transaction.TransactionManager()
        self.connection = case.db.open(self.manager)
        case.addCleanup(self.connection.close)
        case.addCleanup(self.manager.abort)
        root = self.connection.root()[ZopePublication.root_name]
        self.service = root['tasks']

    def add(self, *args, **kw):
        """Add a job and commit that.  Return its id."""
        jobid = self.service.add(*args, **kw)
        self.commit()
        return jobid

    def commit(self):
        self.manager.commit()

    def abort(self):
        self.manager.abort()


class _Collector(logging.Handler):

    def __init__(self):
        super().__init__(logging.NOTSET)
        self.setFormatter(logging.Formatter('%(levelname)s %(message)s'))
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record))


@contextlib.contextmanager
def logged(name=None, level=1):
    """Collect the texts, tracebacks included, that a logger is given."""
    logger = logging.getLogger(name)
    collector = _Collector()
    previous = logger.level
    logger.addHandler(collector)
    logger.setLevel(level)
    try:
        yield collector.lines
    finally:
        logger.setLevel(previous)
        logger.removeHandler(collector)
