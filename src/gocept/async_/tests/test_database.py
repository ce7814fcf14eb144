"""Tests of gocept.async_.database: a database for the jobs."""

import tempfile
import time
import unittest
import unittest.mock

import persistent
import transaction
import ZODB
import zope.component
import zope.component.hooks
import zope.event
import zope.processlifetime
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import InvalidObjectReference
from zope.app.publication.zopepublication import ZopePublication
from zope.configuration.exceptions import ConfigurationError
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

import gocept.async_.startup
from gocept.async_.celery import worker as celeryworker
from gocept.async_.database import KEY
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests import test_argument
from gocept.async_.tests import test_celeryprocessor
from gocept.async_.tests import test_decorator
from gocept.async_.tests import test_held
from gocept.async_.tests import test_policy
from gocept.async_.tests import test_principal
from gocept.async_.tests import test_renamed
from gocept.async_.tests import test_task
from gocept.async_.tests import test_testing
from gocept.async_.tests.configuration import declare
from gocept.async_.tests.databases import TwoDatabases
from gocept.async_.tests.functional import FunctionalTestCase
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.processor import stop_all
from lovely.remotetask.running.registry import service_path
from lovely.remotetask.tests import databases
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine


# Whatever is tested of asynchronous functions holds with two databases.
MODULES = {
    FunctionalTestCase: (
        TwoDatabases, (test_argument, test_decorator, test_held, test_policy,
                       test_principal, test_renamed, test_task,
                       test_testing)),
    DatabaseCase: (databases.TwoDatabases, (test_celeryprocessor,))}

# But for these: their records refer to content without naming its database.
OF_ONE_DATABASE = ['TaskOldRecordTest']


def _again(module, base, addition):
    """Make the test cases of a module anew, with two databases."""
    for name, case in vars(module).items():
        if (isinstance(case, type) and issubclass(case, base)
                and case.__module__ == module.__name__):
            again = f'{module.__name__.rpartition("_")[2].title()}{name}'
            if again not in OF_ONE_DATABASE:
                globals()[again] = type(again, (addition, case), {
                    '__module__': __name__, '__doc__': case.__doc__})


for _base, (_addition, _modules) in MODULES.items():
    for _module in _modules:
        _again(_module, _base, _addition)


class CeleryTest(databases.TwoDatabases, test_celeryprocessor.CeleryCase):

    def setUp(self):
        super().setUp()
        self.attendant = self.start(celeryworker.Attendant)

    def test_content_is_seen(self):
        """A job is claimed first; then the content must not lag behind."""
        jobid = self.add('test.task')
        statuses = []

        def ping():
            statuses.append(self.job(jobid).status)
        with unittest.mock.patch.object(
                self.db.storage, 'ping', ping, create=True):
            self.assertTrue(self.attendant.run_job(jobid, bytes(8)))
        self.assertEqual([PROCESSING], statuses)

    def test_address_of_a_lost_job(self):
        """It waits for the transaction that has taken the job back."""
        jobid = self.add('test.task')
        engine(self.service).claim('host:1:gone:token', 1)
        transaction.commit()
        sent = []
        self.attendant.send = sent.extend
        with unittest.mock.patch.object(
                self.attendant.membership, 'is_alive', lambda worker: False):
            self.assertEqual([jobid], self.attendant.release())
        tid = self.jobs_db.lastTransaction()
        self.assertNotEqual(tid, self.db.lastTransaction())
        self.assertEqual([('', tid.hex())], [
            (address['database'], address['tid']) for address in sent])

    def test_attendance(self):
        """A message names the database of the root folder."""
        attendance = celeryworker.Attendance(self.db)
        declared = unittest.mock.Mock(find=lambda root: root['tasks'])
        declared.name = 'events'
        with unittest.mock.patch.multiple(
                celeryworker, declarations=lambda: [declared],
                is_for_celery=lambda each: True):
            found = attendance.of('', ['tasks'])
        self.assertIs(self.db, found.db)
        self.assertEqual(
            (self.jobs_db, self.service._p_oid),
            (found.service_db, found.service_oid))


class NewObjectTest(TwoDatabases, FunctionalTestCase):
    """Objects that are stored together with the call that refers to them."""

    def where(self, value):
        return value._p_jar.db().database_name

    def test_argument(self):
        """It is stored with its container, whenever it is put there."""
        before, after = sample.Content(), sample.Content()
        self.root['before'] = before
        sample.record(before, [after])
        self.root['after'] = after
        process()
        (first, (second,)), _ = sample.calls[0]
        self.assertEqual(
            [before._p_oid, after._p_oid], [first._p_oid, second._p_oid])
        self.assertEqual(
            ['main', 'main'], [self.where(before), self.where(after)])

    def test_below_new_containers(self):
        """The next one that is stored tells where."""
        self.root['folder'] = folder = Folder()
        folder['content'] = content = sample.Content()
        sample.record(content)
        process()
        self.assertEqual(
            ['main', 'main'], [self.where(folder), self.where(content)])

    def test_savepoint(self):
        """One that is made in between does no harm."""
        self.root['content'] = content = sample.Content()
        sample.record(content)
        transaction.savepoint()
        content.value = 'later'
        process()
        (found,), _ = sample.calls[0]
        self.assertEqual(content._p_oid, found._p_oid)
        self.assertEqual('later', content.value)

    def test_of_the_call_alone(self):
        """What is put nowhere is stored with the job."""
        sample.record(content := sample.Content())
        process()
        self.assertEqual('jobs', self.where(content))

    def test_without_a_location(self):
        """Where there is no telling, the commit fails, as a whole."""
        self.root.content = content = persistent.Persistent()
        sample.record(content)
        with self.assertRaises(InvalidObjectReference):
            transaction.commit()
        transaction.abort()
        self.assertEqual([], self.jobs())
        self.root.content = content = persistent.Persistent()
        self.root._p_jar.add(content)
        sample.record(content)
        process()
        self.assertEqual('main', self.where(content))

    def test_site(self):
        """A call may be made in a site that is new."""
        self.root['site'] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        with zope.component.hooks.site(site):
            sample.record()
        process()
        self.assertEqual('main', self.where(site))

    def test_result(self):
        """A job may return what it has put into a container."""
        job = sample.add_content.enqueue('new')
        process()
        result = self.service.getResult(job)
        self.assertEqual('new', result.__name__)
        self.assertEqual('main', self.where(result))


class StartupCase(unittest.TestCase):
    """Opens an application with the databases "" and "jobs"."""

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        sample.calls.clear()
        self.addCleanup(transaction.abort)

    def storages(self):
        return (databases.demo_storage('content'),
                databases.demo_storage('jobs'))

    def open(self, *storages):
        """Open the databases; return what createServices has logged."""
        self.db = databases.open_databases(*storages or self.storages())
        self.addCleanup(databases.close_databases, self.db.databases)
        self.addCleanup(transaction.abort)
        self.start()

    def start(self):
        zope.event.notify(zope.processlifetime.DatabaseOpened(self.db))

    def connect(self):
        """Return the root folder, in a new connection."""
        transaction.abort()
        connection = self.db.open()
        self.addCleanup(connection.close)
        self.addCleanup(transaction.abort)
        root = connection.root()[ZopePublication.root_name]
        zope.component.hooks.setSite(root)
        self.addCleanup(zope.component.hooks.setSite, None)
        return root

    def service(self, root, name='events'):
        return zope.component.getUtility(ITaskService, name, context=root)

    def where(self, service):
        return service._p_jar.db().database_name

    def refused(self, sentence, *storages):
        with self.assertRaisesRegex(ConfigurationError, sentence):
            self.open(*storages)


class CreateTest(StartupCase):
    """Where a service is created."""

    def test_in_the_jobs(self):
        """The service is there, what it belongs to is with the content."""
        declare(self, 'events', database='jobs')
        self.open()
        root = self.connect()
        service = self.service(root)
        self.assertEqual('jobs', self.where(service))
        self.assertEqual('jobs', self.where(service.store))
        self.assertEqual('', self.where(service.__parent__))
        self.assertEqual(
            ['++etc++site', 'default', 'events'], service_path(service))
        kept = service._p_jar.root()[KEY]
        self.assertEqual(
            [('++etc++site/default/events', service)], list(kept.items()))

    def test_with_the_content(self):
        """Without a name, and with that of the content."""
        declare(self, 'events')
        declare(self, 'mails', database='')
        self.open()
        root = self.connect()
        self.assertEqual('', self.where(self.service(root)))
        self.assertEqual('', self.where(self.service(root, 'mails')))
        self.assertNotIn(KEY, root._p_jar.get_connection('jobs').root())

    def test_new_folder(self):
        """The folder is made together with the service, and holds it."""
        self.open()
        root = self.connect()
        root['site'] = site = Folder()
        site.setSiteManager(LocalSiteManager(site, default_folder=False))
        transaction.commit()
        declare(self, 'events', database='jobs', site='/site')
        self.start()
        service = self.service(self.connect()['site'])
        self.assertEqual('jobs', self.where(service))
        self.assertEqual('', self.where(service.__parent__))
        self.assertIs(service, service.__parent__['events'])

    def test_two_services(self):
        """Each has its own place in the jobs."""
        declare(self, 'events', database='jobs')
        declare(self, 'mails', database='jobs')
        self.open()
        kept = self.service(self.connect())._p_jar.root()[KEY]
        self.assertEqual(2, len(kept))

    def test_second_time(self):
        """It is found again, and nothing is written."""
        declare(self, 'events', database='jobs')
        self.open()
        before = [db.lastTransaction() for db in self.db.databases.values()]
        with self.assertNoLogs(gocept.async_.startup.log, 'WARNING'):
            self.start()
        self.assertEqual(before, [
            db.lastTransaction() for db in self.db.databases.values()])

    def test_jobs_of_another_application(self):
        """What the database keeps under that path is not replaced."""
        declare(self, 'events', database='jobs')
        jobs = MappingStorage('jobs')
        jobs.close = lambda: None
        self.open(MappingStorage('content'), jobs)
        databases.close_databases(dict(self.db.databases))
        self.open(MappingStorage('content'), jobs)
        kept = self.service(self.connect())._p_jar.root()[KEY]
        self.assertEqual(
            ['++etc++site/default/events', '++etc++site/default/events-2'],
            sorted(kept))

    def test_jobs_run(self):
        """A function with content as an argument is run by a processor."""
        declare(self, 'events', database='jobs')
        self.open()
        root = self.connect()
        root['content'] = content = sample.Content()
        sample.change(content, 'by the function')
        before = self.db.lastTransaction()
        transaction.commit()
        self.assertLess(before, self.db.lastTransaction())
        service = self.service(root)
        processor = SimpleProcessor(self.db, service_path(service))
        while processor.processNext():
            pass
        transaction.begin()
        self.assertEqual('by the function', content.value)
        job, = service.jobs.values()
        self.assertEqual(COMPLETED, job.status)

    def test_start(self):
        """Its processor is started with the web application, and woken."""
        declare(self, 'events', database='jobs', wait_time=300)
        self.open()
        root = self.connect()
        self.addCleanup(stop_all, 5)
        gocept.async_.startup.startProcessors(None)
        self.assertTrue(self.service(root).isProcessing())
        sample.called.clear()
        sample.record()
        transaction.commit()
        self.assertTrue(sample.called.wait(60))


class PackTest(StartupCase):

    def storages(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        return (FileStorage(f'{folder}/content.fs'),
                FileStorage(f'{folder}/jobs.fs'))

    def test_pack(self):
        """Packs of both databases, with garbage collection, keep all."""
        declare(self, 'events', database='jobs')
        self.open()
        root = self.connect()
        sample.record('packed')
        transaction.commit()
        for db in self.db.databases.values():
            db.pack(time.time() + 1)
        root = self.connect()
        job, = self.service(root).jobs.values()
        self.assertEqual(('packed',), job.input.args)

    def test_lost(self):
        """Another file in the place of that of the jobs ends the start."""
        declare(self, 'events', database='jobs')
        content, jobs = self.storages()
        self.open(content, jobs)
        databases.close_databases(dict(self.db.databases))
        path = content.getName()
        self.refused(
            'the site / refers to a service that the database "jobs" does '
            'not have .*bring back',
            FileStorage(path), FileStorage(path.replace('content', 'new')))


class RefusedTest(StartupCase):
    """Declarations that end the start of the application."""

    def test_unknown(self):
        """A database that zope.conf does not have; nothing is created."""
        declare(self, 'events', database='jobs')
        declare(self, 'mails', database='job')
        self.refused(
            'async:service "mails": there is no database "job" in zope.conf, '
            'only "", "jobs"; add a section <zodb job>, or correct')
        self.assertIsNone(zope.component.queryUtility(
            ITaskService, 'events', context=self.connect()))

    def test_order(self):
        """Jobs that would be seen before the content."""
        declare(self, 'events', database='jobs')
        for content, jobs in (('main', 'jobs'), ('same', 'same'),
                              ('Data.fs', 'Data.fs-jobs')):
            with self.subTest(content):
                self.refused(
                    f'"jobs" must be committed after "", but its storage, '
                    f'"{jobs}", is not sorted after "{content}"; rename',
                    MappingStorage(content), MappingStorage(jobs))

    def test_order_of_a_mounted_site(self):
        """The jobs of a site are compared with the database of the site."""
        known = {}
        for name, storage in ('', '1main'), ('jobs', '5jobs'), ('b', '9b'):
            ZODB.DB(MappingStorage(storage), database_name=name,
                    databases=known)
        self.addCleanup(databases.close_databases, known)
        self.db = known['']
        self.start()
        root = self.connect()
        root['site'] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        # Both databases refer to the manager.
        for each in site, site.getSiteManager():
            root._p_jar.get_connection('b').add(each)
        transaction.commit()
        declare(self, 'events', database='jobs', site='/site')
        for _ in range(2):
            with self.assertRaisesRegex(
                    ConfigurationError, '"jobs" must be committed after "b"'):
                self.start()
        self.assertIsNone(zope.component.queryUtility(
            ITaskService, 'events', context=self.connect()['site']))

    def test_order_of_commits(self):
        """What is asked for is what a transaction does."""
        for name in ('jobs', 'Data.fs-jobs', 'A'):
            db = databases.open_databases(
                MappingStorage('Data.fs'), MappingStorage(name))
            self.addCleanup(databases.close_databases, db.databases)
            connection = db.open()
            jobs = connection.get_connection('jobs')
            self.assertEqual(
                connection.sortKey() < jobs.sortKey(),
                f'{db.storage.sortKey()}:' <
                f'{db.databases["jobs"].storage.sortKey()}:')
            connection.close()

    def test_relstorage_without_a_name(self):
        """It goes by an address in memory, another one in each process."""
        declare(self, 'events', database='jobs')
        self.refused(
            'give each <relstorage> in zope.conf a "name"',
            MappingStorage('RelStorage: <PostgreSQLAdapter at 7f00>'),
            MappingStorage('zjobs'))

    def test_no_references(self):
        """A database that does not allow what this needs."""
        for name in ('', 'jobs'):
            with self.subTest(name):
                declare(self, 'events', database='jobs')
                db = databases.open_databases(*self.storages())
                self.addCleanup(databases.close_databases, db.databases)
                db.databases[name].xrefs = False
                self.db = db
                with self.assertRaisesRegex(
                        ConfigurationError,
                        f'"{name}" does not allow references to others; '
                        f'take allow-implicit-cross-references out'):
                    self.start()


class MovedTest(StartupCase):
    """The declaration says something else than what is stored."""

    def check(self, before, after):
        declare(self, 'events', database=before)
        self.open()
        sample_job = self.add()
        declare(self, 'events', database=after)
        with self.assertLogs(gocept.async_.startup.log, 'ERROR') as logs:
            self.start()
        line, = logs.output
        self.assertIn(f'its jobs are in the database "{before}", not in '
                      f'"{after}" as declared, and stay there', line)
        service = self.service(self.connect())
        self.assertEqual(before, self.where(service))
        self.assertIn(sample_job, service.jobs)

    def add(self):
        self.connect()
        jobid = sample.record.enqueue()
        transaction.commit()
        return jobid

    def test_to_the_jobs(self):
        """The service stays with the content; the log says so."""
        self.check('', 'jobs')

    def test_to_the_content(self):
        """The service stays with the jobs."""
        self.check('jobs', '')


    def test_without_a_place(self):
        """One that was only registered, in no folder: the log says it."""
        self.open()
        root = self.connect()
        root.getSiteManager().registerUtility(
            TaskService(), ITaskService, name='events')
        transaction.commit()
        declare(self, 'events')
        with self.assertLogs(gocept.async_.startup.log, 'WARNING') as logged:
            self.start()
        line, = logged.output
        self.assertIn('lies in no folder', line)
        self.assertEqual('', self.where(self.service(self.connect())))


class OverrideTest(unittest.TestCase):

    layer = FUNCTIONAL_LAYER

    def test_in_tests(self):
        """A layer with one database is for declarations without another."""
        declare(self, 'events', database='jobs')
        event = zope.processlifetime.DatabaseOpenedWithRoot(self.layer.db)
        with self.assertRaisesRegex(ConfigurationError, 'only "main"'):
            zope.event.notify(event)
        declare(self, 'events')
        zope.event.notify(event)
