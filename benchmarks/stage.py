"""A database with a service and a small object, and processors for it."""

import contextlib
import time

import persistent
import transaction
import zope.component.hooks
import zope.site.folder
import zope.site.site
from persistent.list import PersistentList
from zope.app.publication.zopepublication import ZopePublication

from lovely.remotetask import TaskService
from lovely.remotetask import processor
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.policy import Policy
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.processor import SimpleProcessor


PATH = ['tasks']

# The name of another service: its jobs are for Celery.
CELERY = 'messages'

SERVICES = (*PATH, CELERY)

# How many processes may commit at a time, each a small object of its own.
MAX_PROCESSES = 64

# Seconds a processor has to stop, and to run what was added.
PATIENCE = 120


class Small(persistent.Persistent):
    """What the raw commits change."""

    number = 0


class Stage:
    """One storage as a client sees it.

    service, services, small, smalls -- as the connection of this thread loads
        them.
    """

    def __init__(self, storage):
        self.storage = storage
        self.db = storage.open()
        self.connection = self.db.open()
        if ZopePublication.root_name not in self.connection.root():
            self._fill()
        self.root = self.connection.root()[ZopePublication.root_name]
        self.service = service_of(self.connection)
        self.services = {name: self.root[name] for name in SERVICES}
        self.smalls = self.connection.root()['smalls']
        self.small = self.smalls[0]

    def _fill(self):
        root = zope.site.folder.rootFolder()
        self.connection.root()[ZopePublication.root_name] = root
        self.connection.root()['smalls'] = PersistentList(
            Small() for _ in range(MAX_PROCESSES))
        manager = zope.site.site.LocalSiteManager(root)
        root.setSiteManager(manager)
        for name in SERVICES:
            root[name] = TaskService()
            manager.registerUtility(root[name], ITaskService, name)
        transaction.commit()

    def fill(self, jobs, task='noop'):
        """Add many jobs in few transactions.  Return their ids."""
        jobids = []
        for number in range(jobs):
            jobids.append(self.service.add(task, number))
            if number % 1000 == 999:
                transaction.commit()
        transaction.commit()
        return jobids

    def close(self):
        transaction.abort()
        self.connection.close()
        self.db.close()


def service_of(connection):
    return connection.root()[ZopePublication.root_name][PATH[0]]


@contextlib.contextmanager
def opened(storage):
    stage = Stage(storage)
    try:
        yield stage
    finally:
        stage.close()


@contextlib.contextmanager
def processing(stage, threads=1):
    """Run a processor in this process."""
    made = (SimpleProcessor(stage.db, PATH) if threads == 1
            else MultiProcessor(stage.db, PATH, maxThreads=threads))
    # So that commits of this process wake it.
    processor.start_processor(made)
    try:
        yield made
    finally:
        made.stop()
        made.join(time.monotonic() + PATIENCE)


@contextlib.contextmanager
def policy(**values):
    """Give the services of this process another policy for a while."""
    TaskService.policy = Policy(**values)
    try:
        yield
    finally:
        TaskService.policy = Policy()


@contextlib.contextmanager
def in_site(stage):
    """Be in the site of the service, as a request would be."""
    with zope.component.hooks.site(stage.root):
        yield
