"""Tests of gocept.async_.startup."""

import contextlib
import datetime
import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest
import unittest.mock
import weakref

import BTrees.IOBTree
import persistent
import transaction
import ZEO
import ZODB
import zope.component
import zope.component.hooks
import zope.event
import zope.interface
import zope.lifecycleevent
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.POSException import POSKeyError
from ZODB.POSException import StorageError
from zope.app.publication.zopepublication import ZopePublication
from zope.app.wsgi.interfaces import WSGIPublisherApplicationCreated
from zope.component.interfaces import ISite
from zope.container.interfaces import IReadContainer
from zope.interface.verify import verifyObject
from zope.processlifetime import DatabaseOpenedWithRoot
from zope.site.folder import Folder
from zope.site.folder import rootFolder
from zope.site.site import LocalSiteManager

import gocept.async_.startup
from gocept.async_.crons import upkeep
from gocept.async_.declaration import declared_settings
from gocept.async_.task import TaskDescription
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.testing import login
from gocept.async_.testing import logout
from gocept.async_.testing import process
from gocept.async_.tests import interpreter
from gocept.async_.tests import sample
from gocept.async_.tests.configuration import declare
from gocept.async_.tests.configuration import execute
from gocept.async_.tests.test_crondirective import cron
from gocept.async_.upgrade import slices
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import IProcessorSettings
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.job import Job
from lovely.remotetask.processor import stop_all
from lovely.remotetask.storage import telling
from lovely.remotetask.storage.upgrade import SCHEMA


LOG = gocept.async_.startup.__name__

# Seconds after which something that is waited for will not happen any more.
LONG = 30


class StartupTestCase(unittest.TestCase):

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        sample.calls.clear()
        sample.called.clear()
        self.addCleanup(logout)
        self.addCleanup(transaction.abort)
        self.addCleanup(zope.component.hooks.setSite, None)
        self.addCleanup(stop_all)
        self.root = self.layer.getRootFolder()
        self.db = self.layer.db

    def open(self):
        """The application opens its database."""
        zope.event.notify(DatabaseOpenedWithRoot(self.db))
        transaction.begin()

    def start(self):
        """The web application starts."""
        zope.event.notify(WSGIPublisherApplicationCreated(object()))

    def service(self, name='events', site=None):
        return zope.component.queryUtility(
            ITaskService, name, context=self.root if site is None else site)

    def add_site(self, name):
        self.root[name] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        transaction.commit()
        return site


class CreateTest(StartupTestCase):
    """Declared services are created when the database is opened."""

    def test_creates_and_registers(self):
        """The service is a local utility of the root folder."""
        declare(self, 'events')
        self.open()
        service = self.service()
        self.assertIs(TaskService, type(service))
        verifyObject(ITaskService, service)
        self.assertEqual('events', service.__name__)
        self.assertEqual(
            self.root.getSiteManager()['default'], service.__parent__)

    def test_every_declaration(self):
        """As many as there are, the one without a name as well."""
        for name in ('events', 'mail', ''):
            declare(self, name)
        self.open()
        for name in ('events', 'mail', ''):
            self.assertIsNotNone(self.service(name))

    def test_nothing_without_declarations(self):
        """The package itself defines no service."""
        before = self.db.lastTransaction()
        self.open()
        self.assertEqual(before, self.db.lastTransaction())

    def test_second_time_changes_nothing(self):
        """The same service; no transaction is written."""
        declare(self, 'events')
        self.open()
        oid = self.service()._p_oid
        before = self.db.lastTransaction()
        self.open()
        self.assertEqual(before, self.db.lastTransaction())
        self.assertEqual(oid, self.service()._p_oid)

    def test_in_a_site(self):
        """The site that is declared, and no other one."""
        site = self.add_site('site')
        declare(self, 'events', site='/site')
        self.open()
        self.assertEqual(
            site.getSiteManager()['default'],
            self.service(site=site).__parent__)
        self.assertIsNone(self.service())

    def test_in_a_site_that_sees_another_of_that_name(self):
        """A service of the root folder does not stand in for it."""
        declare(self, 'events')
        self.open()
        site = self.add_site('site')
        declare(self, 'events', site='/site')
        self.open()
        self.assertNotEqual(self.service(), self.service(site=site))

    def test_site_that_is_missing(self):
        """It is logged what to do; other services are created."""
        declare(self, 'events', site='/no/such')
        declare(self, 'mail')
        with self.assertLogs(LOG, 'ERROR') as logged:
            self.open()
        message, = logged.output
        self.assertIn('"events"', message)
        self.assertIn('/no/such', message)
        self.assertIn('Add the site', message)
        self.assertIsNone(self.service())
        self.assertIsNotNone(self.service('mail'))

    def test_site_that_leads_through_content(self):
        """Something that contains nothing is no reason to fail."""
        self.root['content'] = sample.Content()
        transaction.commit()
        declare(self, 'events', site='/content/site')
        with self.assertLogs(LOG, 'ERROR'):
            self.open()
        self.assertIsNone(self.service())

    def test_name_that_is_taken(self):
        """What has the name already stays; the utility is found anyway."""
        folder = self.root.getSiteManager()['default']
        folder['events'] = other = sample.Content()
        transaction.commit()
        declare(self, 'events')
        self.open()
        self.assertEqual('events-2', self.service().__name__)
        self.assertEqual(other, folder['events'])

    def test_site_without_a_folder_for_utilities(self):
        """The folder is made."""
        manager = self.root.getSiteManager()
        del manager['default']
        transaction.commit()
        declare(self, 'events')
        self.open()
        self.assertEqual(manager['default'], self.service().__parent__)

    def test_service_that_was_registered_by_hand(self):
        """It is the declared one, wherever it lies."""
        self.root['tasks'] = service = TaskService()
        self.root.getSiteManager().registerUtility(
            service, ITaskService, name='events')
        transaction.commit()
        declaration = declare(self, 'events')
        self.open()
        self.assertEqual(service, self.service())
        self.assertIs(declaration, IProcessorSettings(service))

    def test_events(self):
        """Subscribers learn of the new service as of any other object."""
        seen = []

        def note(event):
            seen.append(type(event))
        manager = zope.component.getGlobalSiteManager()
        for event in (zope.lifecycleevent.IObjectCreatedEvent,
                      zope.lifecycleevent.IObjectAddedEvent):
            manager.registerHandler(note, (event,))
            self.addCleanup(manager.unregisterHandler, note, (event,))
        declare(self, 'events')
        self.open()
        self.assertEqual(
            [zope.lifecycleevent.ObjectCreatedEvent,
             zope.lifecycleevent.ObjectAddedEvent], seen)

    def test_transaction_of_the_thread_is_left_alone(self):
        """Whoever opens the database may be in the middle of something."""
        self.root['unfinished'] = sample.Content()
        declare(self, 'events')
        gocept.async_.startup.createServices(DatabaseOpenedWithRoot(self.db))
        self.assertIn('unfinished', self.root)
        transaction.abort()
        self.assertNotIn('unfinished', self.root)
        self.assertIsNotNone(self.service())

    def test_no_connection_is_left_open(self):
        """Not even after an error."""
        declare(self, 'events')
        opened = len(self.db.connectionDebugInfo())
        with unittest.mock.patch.object(
                gocept.async_.startup, 'TaskService', side_effect=MemoryError):
            for _ in range(3):
                with self.assertRaises(MemoryError):
                    self.open()
        self.open()
        in_use = [info for info in self.db.connectionDebugInfo()
                  if info['opened']]
        self.assertLessEqual(len(in_use), opened)

    def test_is_found_by_decorated_functions(self):
        """A call in the root folder's site is stored in it."""
        declare(self, 'events')
        self.open()
        zope.component.hooks.setSite(self.root)
        sample.record()
        self.assertEqual(1, len(self.service().jobs))


class UpgradeTest(StartupTestCase):
    """Services that lovely.remotetask 0.5 has stored are brought up to date.
    """

    def setUp(self):
        super().setUp()
        self.root['tasks'] = service = TaskService()
        self.root.getSiteManager().registerUtility(
            service, ITaskService, name='events')
        transaction.commit()
        self.make_old(service)
        # The state of jobs was a dictionary.
        with unittest.mock.patch.object(
                Job, '__getstate__', persistent.Persistent.__getstate__):
            transaction.commit()

    def make_old(self, service):
        """Give a service the state that lovely.remotetask 0.5 has stored.

        All jobs are in one BTree, the queue refers to them.
        """
        zope.component.hooks.setSite(self.root)
        login('zope.user')
        jobs = BTrees.IOBTree.IOBTree()
        queue = []
        for jobid, status in enumerate(
                ('completed', 'error', 'queued', 'queued', 'processing',
                 'cancelled', 'start later'), 100):
            jobs[jobid] = self.old_job(jobid, status)
            queue.append(jobs[jobid])
        service.__dict__.update(jobs=jobs, _queue=queue)
        del service.__dict__['schema'], service.__dict__['_store']
        service._p_changed = True

    def old_job(self, jobid, status):
        job = Job.__new__(Job)
        job.__dict__.update(
            id=jobid, task='gocept.async.function', status=status,
            input=TaskDescription(sample.context, (), {}),
            created=datetime.datetime(2026, 1, 1, 0, jobid - 100))
        if status in ('completed', 'error', 'processing'):
            job.__dict__.update(
                started=datetime.datetime(2026, 1, 2), output=None, error=None,
                completed=datetime.datetime(2026, 1, 2))
        job._p_changed = True
        return job

    def stored(self):
        """Return the service as another connection sees it, as a dict."""
        manager = transaction.TransactionManager()
        connection = self.db.open(manager)
        try:
            service = connection.get(self.service()._p_oid)
            service._p_activate()
            return dict(service.__dict__)
        finally:
            manager.abort()
            connection.close()

    def test_state_is_old_before(self):
        """What this test makes is what there was."""
        self.assertEqual(0, self.service().schema)
        self.assertIn('jobs', self.stored())
        self.assertNotIn('_store', self.stored())

    def test_declared_service(self):
        """In a transaction of its own, which is committed."""
        declare(self, 'events')
        with self.assertLogs(LOG, 'INFO') as logged:
            self.open()
        self.assertIn('"events": brought up to date, with 7 jobs',
                      logged.output[0])
        stored = self.stored()
        self.assertEqual(SCHEMA, stored['schema'])
        self.assertIn('_store', stored)
        self.assertNotIn('jobs', stored)
        self.assertNotIn('_queue', stored)

    def test_only_once(self):
        """The second start writes nothing."""
        declare(self, 'events')
        self.open()
        before = self.db.lastTransaction()
        self.open()
        self.assertEqual(before, self.db.lastTransaction())

    def test_service_that_is_not_declared(self):
        """It is left for its first use."""
        declare(self, 'other')
        self.open()
        self.assertEqual(0, self.service().schema)
        self.assertEqual(7, len(self.service().jobs))
        self.assertEqual(SCHEMA, self.service().schema)
        self.assertTrue(self.service()._p_changed)

    def test_transaction_of_the_thread_is_left_alone(self):
        """It neither commits nor pays for it."""
        self.root['unfinished'] = sample.Content()
        declare(self, 'events')
        gocept.async_.startup.createServices(DatabaseOpenedWithRoot(self.db))
        self.assertFalse(self.service()._p_changed)
        transaction.abort()
        self.assertNotIn('unfinished', self.root)
        self.assertEqual(SCHEMA, self.stored()['schema'])

    def test_jobs_are_kept(self):
        """Under their ids; those that wait wait still."""
        declare(self, 'events')
        self.open()
        jobs = self.service().jobs
        self.assertEqual(
            {100: 'completed', 101: 'error', 102: 'queued', 103: 'queued',
             104: 'queued', 105: 'cancelled', 106: 'start later'},
            {jobid: jobs[jobid].status for jobid in jobs})
        self.assertEqual([None] * 7, [job.claim for job in jobs.values()])

    def test_jobs_that_wait_are_run(self):
        """In their order, as the principal who called."""
        declare(self, 'events')
        self.open()
        logout()
        process('events')
        self.assertEqual(['zope.user'] * 3,
                         [principal.id for principal, _ in sample.calls])
        jobs = self.service().jobs
        started = [jobs[jobid].started for jobid in (102, 103, 104)]
        self.assertEqual(sorted(started), started)
        self.assertEqual('completed', jobs[104].status)

    def test_job_that_cannot_be_read(self):
        """It is set aside, counted, shown and told; all others are run."""
        declare(self, 'events')
        with self.assertLogs(telling.__name__, 'WARNING') as logged, \
                self.unreadable(lambda job: job.id in (102, 105)):
            self.open()
        self.assertEqual(2, len(logged.output))
        self.assertIn('tasks/102: It cannot be read', logged.output[0])
        self.assertEqual(2, self.service().counts()['held'])
        self.assertEqual([102, 105], self.service().unreadable())
        process('events')
        self.assertEqual(2, len(sample.calls))

    def test_no_job_can_be_read(self):
        """The application starts nevertheless."""
        declare(self, 'events')
        with self.unreadable(lambda job: True):
            self.open()
        self.assertEqual(7, self.service().counts()['held'])

    @contextlib.contextmanager
    def unreadable(self, is_unreadable):
        """Let some jobs not be read, as their state is none."""
        load = Job.__setstate__

        def load_or_raise(job, state):
            load(job, state)
            if is_unreadable(job):
                raise RuntimeError('That is no state.')
        with unittest.mock.patch.object(Job, '__setstate__', load_or_raise):
            self.db.cacheMinimize()
            yield
            self.db.cacheMinimize()

    def test_service_that_cannot_be(self):
        """The log names it, and all others are there."""
        declare(self, 'events')
        declare(self, 'mail')
        with unittest.mock.patch.object(
                slices, 'upgrade_some', side_effect=RuntimeError('no idea')), \
                self.assertLogs('lovely.remotetask', 'ERROR') as logged:
            self.open()
        self.assertIn('"events": it cannot be brought up to date',
                      logged.output[0])
        self.assertIn('no idea', logged.output[0])
        self.assertIsNotNone(self.service('mail'))

    def test_database_that_fails(self):
        """It does not start without one."""
        declare(self, 'events')
        with unittest.mock.patch.object(
                slices, 'upgrade_some', side_effect=StorageError('gone')), \
                self.assertRaises(StorageError):
            self.open()

    def test_new_service_has_the_schema(self):
        """There is nothing to be brought up to date."""
        declare(self, 'new')
        self.open()
        self.assertEqual(SCHEMA, self.service('new').schema)

    def test_service_of_another_class(self):
        """It looks after itself."""
        manager = self.root.getSiteManager()
        self.root['other'] = other = sample.Content()
        manager.registerUtility(other, ITaskService, name='other')
        transaction.commit()
        declare(self, 'other')
        self.open()
        self.assertFalse(other._p_changed)


class RenamedSiteTest(StartupTestCase):
    """A site with a declared service has got another name."""

    def setUp(self):
        super().setUp()
        declare(self, 'events', site='/intranet')
        self.add_site('intranet')
        self.open()

    def rename(self, *path):
        site = self.root['intranet']
        del self.root['intranet']
        container = self.root
        for name in path[:-1]:
            container[name] = container = Folder()
        container[path[-1]] = site
        transaction.commit()
        return site

    def call_in(self, site):
        with zope.component.hooks.site(site):
            self.assertIsNone(sample.record())
        transaction.commit()

    def assertSays(self, level, *parts):
        with self.assertLogs(LOG, level) as logged:
            self.open()
        for part in parts:
            self.assertIn(part, logged.output[0])

    def test_waiting_jobs(self):
        """It is said where they wait, and what to do."""
        site = self.rename('portal')
        self.call_in(site)
        self.assertSays(
            'ERROR', '"events"', 'no site /intranet',
            'site /portal has a service', '1 jobs wait',
            'correct the attribute "site"')

    def test_no_jobs_yet(self):
        """Calls there are stored, not made."""
        site = self.rename('portal')
        self.assertSays('ERROR', 'site /portal has a service', '0 jobs wait',
                        'Calls there are stored')
        self.call_in(site)
        self.assertEqual([], sample.calls)
        self.assertEqual(1, len(self.service(site=site).jobs))

    def test_moved_into_a_folder(self):
        """It is found there as well."""
        self.call_in(self.rename('old', 'sites', 'intranet'))
        self.assertSays('ERROR', 'site /old/sites/intranet', '1 jobs wait')

    def test_another_site_has_its_name(self):
        """A new service is created, and the other one not forgotten."""
        self.call_in(self.rename('portal'))
        site = self.add_site('intranet')
        self.assertSays('WARNING', 'a new one is created in /intranet',
                        'site /portal has a service', '1 jobs wait')
        self.assertEqual(0, len(self.service(site=site).jobs))

    def test_other_service_without_jobs(self):
        """It is none of our business then."""
        self.rename('portal')
        self.add_site('intranet')
        with self.assertNoLogs(LOG, 'WARNING'):
            self.open()

    def test_content_that_cannot_be_read(self):
        """The search goes on, and so does the start."""
        self.rename('portal')
        self.root['bad'] = bad = Folder()
        transaction.commit()
        getitem = Folder.__getitem__

        def fail(folder, name):
            if folder == self.root and name == 'bad':
                raise POSKeyError(bad._p_oid)
            return getitem(folder, name)
        with unittest.mock.patch.object(Folder, '__getitem__', fail):
            self.assertSays('ERROR', 'site /portal has a service')

    def test_much_content(self):
        """Not everything is looked at."""
        self.rename('portal', 'deep')
        with unittest.mock.patch('gocept.async_.elsewhere.LOOKED_AT', 1):
            self.assertSays('ERROR', 'no service of that name was found')


class ReadOnlyTest(unittest.TestCase):
    """The database is opened for reading: a replica, or a backup."""

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(pathlib.Path(folder.name) / 'Data.fs')
        self.addCleanup(stop_all)
        self.addCleanup(zope.component.hooks.setSite, None)
        declare(self, 'events')
        with self.opened() as db, self.connection(db) as connection:
            root = rootFolder()
            root.setSiteManager(LocalSiteManager(root))
            connection.root()[ZopePublication.root_name] = root
            connection.transaction_manager.commit()

    @contextlib.contextmanager
    def opened(self, **options):
        db = ZODB.DB(FileStorage(self.path, **options))
        try:
            yield db
        finally:
            db.close()

    @contextlib.contextmanager
    def connection(self, db):
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        try:
            yield connection
        finally:
            manager.abort()
            connection.close()

    def create(self, db):
        gocept.async_.startup.createServices(DatabaseOpenedWithRoot(db))

    def assertCannotCreate(self, db):
        with self.assertLogs(LOG) as logged:
            self.create(db)
        message, = logged.output
        self.assertTrue(message.startswith('ERROR'))
        self.assertIn('"events": it cannot be created', message)
        self.assertIn('the database is read-only', message)
        self.assertIn('Start a process that can write', message)

    def test_service_that_does_not_exist(self):
        """It is said that it cannot be created; the application starts."""
        with self.opened(read_only=True) as db:
            self.assertCannotCreate(db)

    def test_storage_that_does_not_know_it_before(self):
        """Nothing is said to be created that is not."""
        with self.opened(read_only=True) as db, unittest.mock.patch.object(
                FileStorage, 'isReadOnly', return_value=False):
            self.assertCannotCreate(db)

    def test_service_that_exists(self):
        """There is nothing to say."""
        with self.opened() as db:
            self.create(db)
        with self.opened(read_only=True) as db, self.assertNoLogs(LOG):
            self.create(db)

    def test_cron_jobs(self):
        """They are as declared, or it is said that they are not."""
        execute(self, cron())
        with self.opened() as db:
            self.create(db)
        with self.opened(read_only=True) as db:
            with self.assertNoLogs(upkeep.__name__):
                self.create(db)
            execute(self, cron('other'))
            with self.assertLogs(upkeep.__name__, 'ERROR') as logged:
                self.create(db)
        self.assertIn('the database is read-only', logged.output[0])

    def test_service_that_must_be_brought_up_to_date(self):
        """It stays as it is."""
        with self.opened() as db, unittest.mock.patch(
                'lovely.remotetask.storage.upgrade.SCHEMA', 0):
            self.create(db)
        with self.opened(read_only=True) as db:
            self.assertCannotCreate(db)

    def test_processors(self):
        """They could run nothing, and are not started."""
        with self.opened() as db:
            self.create(db)
        with self.opened(read_only=True) as db, unittest.mock.patch(
                'lovely.remotetask.startup._opened', weakref.ref(db)):
            with self.assertLogs(LOG, 'WARNING') as logged:
                gocept.async_.startup.startProcessors(None)
            self.assertIn('"events": the database is read-only; this process '
                          'runs no jobs', logged.output[0])
        self.assertFalse([thread for thread in threading.enumerate()
                          if thread.name.startswith('remotetasks')])

    def test_after_a_conflict(self):
        """What was done in vain is not logged."""
        commits = []
        commit = transaction.Transaction.commit

        def conflict(txn):
            commits.append(txn)
            if len(commits) == 1:
                raise ConflictError()
            return commit(txn)
        with self.opened() as db, unittest.mock.patch.object(
                transaction.Transaction, 'commit', conflict), \
                self.assertLogs(LOG, 'INFO') as logged:
            self.create(db)
        # The last one looks after cron jobs, of which there are none.
        self.assertEqual(3, len(commits))
        self.assertEqual(1, len(logged.output))
        self.assertIn('created in /, in the database "unnamed"',
                      logged.output[0])


class OddDeclarationTest(StartupTestCase):
    """One odd declaration, or site, does not disturb the others."""

    def setUp(self):
        super().setUp()
        declare(self, 'a', site='/odd/site')
        self.declaration = declare(self, 'events')
        with self.assertLogs(LOG, 'ERROR'):
            self.open()
        # So that the odd one is asked first.
        self.service().__name__ = 'another'
        transaction.commit()

    def check(self, odd):
        self.root['odd'] = odd
        transaction.commit()
        self.assertIs(self.declaration, declared_settings(self.service()))

    def test_content_of_any_kind(self):
        """It is not asked for what it has not."""
        for odd in (sample.Content(), Folder()):
            with self.subTest(type(odd)):
                self.check(odd)
                del self.root['odd']

    def test_content_that_raises_anything(self):
        """Neither is it trusted."""
        for error in (RuntimeError, SystemExit, POSKeyError, AttributeError):
            odd = Raising()
            odd.error = error
            with self.subTest(error):
                self.check(odd)
                del self.root['odd']

    def test_site_without_a_manager(self):
        """It says that it is a site, and is none."""
        self.root['odd'] = Folder()
        self.root['odd']['site'] = site = Folder()
        zope.interface.alsoProvides(site, ISite)
        transaction.commit()
        self.assertIs(self.declaration, declared_settings(self.service()))

    def test_service_without_end(self):
        """Parents may be in one another."""
        one, other = TaskService(), Folder()
        one.__parent__, other.__parent__ = other, one
        self.assertIsNone(declared_settings(one))

    def test_service_anywhere(self):
        """A service that lies nowhere, or outside, is not declared."""
        alone = TaskService()
        self.assertIsNone(declared_settings(alone))
        alone.__parent__ = object()
        self.assertIsNone(declared_settings(alone))

    def test_storage_that_is_away(self):
        """Then other settings would be wrong."""
        odd = Raising()
        odd.error = StorageError
        self.root['odd'] = odd
        with self.assertRaises(StorageError):
            declared_settings(self.service())


@zope.interface.implementer(IReadContainer)
class Raising(sample.Content):
    """A container that cannot be read."""

    def __contains__(self, name):
        raise self.error()

    def __iter__(self):
        return iter(())


class StartTest(StartupTestCase):
    """Processors are started when the web application starts."""

    def setUp(self):
        super().setUp()
        declare(self, 'events', wait_time=0.1)
        declare(self, 'by hand', autostart='no')

    def test_only_those_with_autostart(self):
        """autostart="no" leaves it to somebody else."""
        self.open()
        self.start()
        self.assertTrue(self.service('events').isProcessing())
        self.assertFalse(self.service('by hand').isProcessing())

    def test_those_that_tell_others(self):
        """Somebody else runs the jobs; autostart says nothing of that."""
        declare(self, 'sent', processor='celery', autostart='no')
        self.open()
        with self.assertLogs(
                'gocept.async_.celery.processor', 'ERROR') as logs:
            self.start()
        # Nor is there a broker here.
        self.assertIn('declare it in ZCML, <async:celery', logs.output[0])
        self.assertTrue(self.service('sent').isProcessing())

    def test_not_when_the_database_is_opened(self):
        """Scripts open it too."""
        self.open()
        self.open()
        self.assertFalse(self.service('events').isProcessing())

    def test_not_twice(self):
        """A second application in the same process changes nothing."""
        self.open()
        self.start()
        threads = self.threads()
        self.start()
        self.assertEqual(threads, self.threads())
        self.assertEqual(1, len(threads))

    def test_names_of_the_threads(self):
        """They tell what they work for."""
        declare(self, 'events', processor='multi', threads=2)
        self.open()
        self.start()
        zope.component.hooks.setSite(self.root)
        sample.record()
        transaction.commit()
        self.assertTrue(sample.called.wait(LONG))
        claimer = 'remotetasks.++etc++site.default.events'
        names = sorted(thread.name for thread in threading.enumerate()
                       if 'remotetasks' in thread.name)
        self.assertEqual(
            [claimer, f'runner-1.{claimer}', f'runner-2.{claimer}'], names)

    def test_without_the_service(self):
        """A site that is missing is no reason to fail."""
        self.start()
        self.assertEqual([], self.threads())

    def test_without_a_database(self):
        """An application need not have one."""
        with unittest.mock.patch('lovely.remotetask.startup._opened', None):
            self.start()
        self.assertEqual([], self.threads())

    def test_in_a_site(self):
        """The service of the site is started."""
        site = self.add_site('site')
        declare(self, 'mail', site='/site')
        self.open()
        self.start()
        self.assertTrue(self.service('mail', site).isProcessing())

    def test_thread_runs_the_function_as_its_principal(self):
        """The whole way: call, commit, thread; principal and site."""
        self.open()
        self.start()
        zope.component.hooks.setSite(self.root)
        login('zope.user')
        self.assertIsNone(sample.context())
        self.assertFalse(sample.called.is_set())
        transaction.commit()
        self.assertTrue(sample.called.wait(LONG))
        stop_all()
        transaction.begin()
        (principal, site), = sample.calls
        self.assertEqual('zope.user', principal.id)
        self.assertEqual(self.root._p_oid, site._p_oid)
        job, = self.service().jobs.values()
        self.assertEqual('completed', job.status)
        self.assertIsNone(job.claim)
        attempt, = job.history
        self.assertRegex(
            attempt.processor,
            r':\d+:remotetasks\.\+\+etc\+\+site\.default\.events\Z')

    def test_thread_runs_nothing_that_was_aborted(self):
        """Only the call that was committed."""
        self.open()
        self.start()
        zope.component.hooks.setSite(self.root)
        sample.record('aborted')
        transaction.abort()
        sample.record('committed')
        transaction.commit()
        self.assertTrue(sample.called.wait(LONG))
        stop_all()
        self.assertEqual([(('committed',), {})], sample.calls)

    def test_new_settings_hold_for_queued_jobs(self):
        """ZCML is edited, the application restarted; the jobs are run."""
        self.open()
        zope.component.hooks.setSite(self.root)
        sample.record()
        transaction.commit()
        oid = self.service()._p_oid
        declare(self, 'events', processor='multi', threads=7)
        self.open()
        self.assertEqual(oid, self.service()._p_oid)
        with unittest.mock.patch(
                'lovely.remotetask.running.registry.start_processor') as start:
            self.service().startProcessing()
        self.assertEqual(7, start.call_args.args[0].maxThreads)
        self.service().startProcessing()
        self.assertTrue(sample.called.wait(LONG))
        stop_all()
        transaction.begin()
        job, = self.service().jobs.values()
        self.assertEqual('completed', job.status)

    def threads(self):
        return [thread for thread in threading.enumerate()
                if thread.name.startswith('remotetasks')]


class ManyProcessesTestCase(unittest.TestCase):
    """Several processes on one ZEO server."""

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.address, stop = ZEO.server(
            path=str(pathlib.Path(folder.name) / 'Data.fs'))
        self.addCleanup(stop)
        with self.opened() as (db, connection):
            root = rootFolder()
            root.setSiteManager(LocalSiteManager(root))
            connection.root()[ZopePublication.root_name] = root
            connection.transaction_manager.commit()

    @contextlib.contextmanager
    def opened(self):
        db = ZEO.DB(self.address)
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        try:
            yield db, connection
        finally:
            manager.abort()
            connection.close()
            db.close()

    def stored_services(self):
        """Return the names of the services, and of those registered."""
        with self.opened() as (_, connection):
            manager = connection.root()[
                ZopePublication.root_name].getSiteManager()
            return (
                sorted(manager['default']),
                sorted(registration.name for registration
                       in manager.registeredUtilities()
                       if registration.provided is ITaskService))

    def test_at_the_same_moment(self):
        """Each has made its service when the first one commits."""
        declare(self, 'events')
        databases = [ZEO.DB(self.address) for _ in range(3)]
        for db in databases:
            self.addCleanup(db.close)
        barrier = threading.Barrier(len(databases))
        waited = threading.local()
        attempts = []

        def meet(event):
            attempts.append(threading.get_ident())
            if not hasattr(waited, 'once'):
                waited.once = True
                barrier.wait(LONG)

        manager = zope.component.getGlobalSiteManager()
        manager.registerHandler(
            meet, (zope.lifecycleevent.IObjectCreatedEvent,))
        self.addCleanup(
            manager.unregisterHandler, meet,
            (zope.lifecycleevent.IObjectCreatedEvent,))
        errors = []

        def create(db):
            try:
                gocept.async_.startup.createServices(
                    DatabaseOpenedWithRoot(db))
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=create, args=(db,), daemon=True)
                   for db in databases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        self.assertEqual([], errors)
        self.assertGreaterEqual(len(attempts), 3)
        self.assertEqual((['events'], ['events']), self.stored_services())

    def test_in_processes_of_their_own(self):
        """Two that start at once; every service exists once."""
        code = '''
import sys
import zope.component.event
import zope.event
import ZEO
from zope.configuration import xmlconfig
from zope.processlifetime import DatabaseOpenedWithRoot
xmlconfig.string("""
<configure xmlns="http://namespaces.zope.org/zope"
           xmlns:async="http://namespaces.gocept.com/async">
  <include package="gocept.async_" />
  <async:service name="a" />
  <async:service name="b" />
  <async:service name="c" />
</configure>""")
db = ZEO.DB((sys.argv[1], int(sys.argv[2])))
print('ready', flush=True)
sys.stdin.readline()
zope.event.notify(DatabaseOpenedWithRoot(db))
db.close()
'''
        processes = [
            subprocess.Popen(
                [sys.executable, '-c', code, *map(str, self.address)],
                env=interpreter.environment(),
                text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE)
            for _ in range(2)]
        for each in processes:
            self.addCleanup(each.__exit__, None, None, None)
            self.addCleanup(each.kill)
        for each in processes:
            self.assertEqual('ready\n', each.stdout.readline())
        for each in processes:
            each.stdin.write('go\n')
            each.stdin.flush()
        for each in processes:
            _, errors = each.communicate(timeout=LONG)
            self.assertEqual((0, ''), (each.returncode, errors))
        self.assertEqual(
            (['a', 'b', 'c'], ['a', 'b', 'c']), self.stored_services())

    def test_second_process_changes_nothing(self):
        """A process that starts later finds the services."""
        declare(self, 'events')
        last = []
        for _ in range(2):
            with self.opened() as (db, _connection):
                gocept.async_.startup.createServices(
                    DatabaseOpenedWithRoot(db))
                last.append(db.lastTransaction())
        self.assertEqual(last[0], last[1])
        self.assertEqual((['events'], ['events']), self.stored_services())


class ApplicationTest(unittest.TestCase):
    """A real application: zope.conf, site.zcml and a FileStorage."""

    ZOPE_CONF = '''
site-definition {folder}/site.zcml
<zodb>
  <filestorage>
    path {folder}/Data.fs
  </filestorage>
</zodb>
<eventlog>
  <logfile>
    path {folder}/z3.log
  </logfile>
</eventlog>
'''
    SITE_ZCML = '''
<configure xmlns="http://namespaces.zope.org/zope"
           xmlns:async="http://namespaces.gocept.com/async">
  <include package="gocept.async_" file="ftesting.zcml" />
  <async:service name="events" {} />
</configure>
'''
    BEGIN = '''
import sys, threading
import transaction
import zope.app.wsgi
import zope.component
import zope.component.hooks
from lovely.remotetask.interfaces import ITaskService
from zope.app.publication.zopepublication import ZopePublication
from gocept.async_.testing import login, logout
from gocept.async_.tests import sample

def enter(db):
    global service
    root = db.open().root()[ZopePublication.root_name]
    zope.component.hooks.setSite(root)
    service = zope.component.getUtility(ITaskService, 'events')

def threads():
    return sorted(thread.name for thread in threading.enumerate()
                  if thread.name.startswith('remotetasks'))
'''

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.conf = self.folder / 'zope.conf'
        self.conf.write_text(self.ZOPE_CONF.format(folder=folder.name))

    def run_code(self, code, settings=''):
        (self.folder / 'site.zcml').write_text(
            self.SITE_ZCML.format(settings))
        return interpreter.run(self.BEGIN + code, str(self.conf))

    def script(self):
        """A script opens the database and makes a call."""
        return self.run_code('''
db = zope.app.wsgi.config(sys.argv[1])
enter(db)
login('zope.user')
assert sample.context() is None
transaction.commit()
print(threads(), len(service.jobs), sample.calls)
''')

    def test_script_only_queues(self):
        """Opening the database starts nothing."""
        self.assertEqual('[] 1 []', self.script())

    def test_web_application_runs_what_is_queued(self):
        """It was edited in between, and runs the job as its principal."""
        self.script()
        self.assertEqual("MultiProcessor 3 zope.user", self.run_code('''
import lovely.remotetask.running.registry as registry
started = []
start_processor = registry.start_processor
registry.start_processor = lambda it: (started.append(it),
                                        start_processor(it))
zope.app.wsgi.getWSGIApplication(sys.argv[1])
assert threads()
assert sample.called.wait(30)
(principal, site), = sample.calls
print(type(started[0]).__name__, started[0].maxThreads, principal.id)
''', 'processor="multi" threads="3"'))
        # The end of the process has let the job come to its own end.
        self.assertEqual('completed 1', self.run_code('''
enter(zope.app.wsgi.config(sys.argv[1]))
job, = service.jobs.values()
print(job.status, job.attempts)
'''))

    def test_web_application_without_autostart(self):
        """The processors are somebody else's."""
        self.assertEqual('[]', self.run_code('''
zope.app.wsgi.getWSGIApplication(sys.argv[1])
print(threads())
''', 'autostart="no"'))
