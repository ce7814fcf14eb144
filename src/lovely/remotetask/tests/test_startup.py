"""The product configuration starts services."""

import types
import unittest.mock

import transaction
import ZODB.POSException
import zope.app.appsetup.product
import zope.event
import zope.processlifetime
from zope.app.wsgi import WSGIPublisherApplication
from zope.app.wsgi.interfaces import WSGIPublisherApplicationCreated
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

from gocept.async_.testing import FUNCTIONAL_LAYER
from lovely.remotetask import TaskService
from lovely.remotetask import processor
from lovely.remotetask import startup
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.running import registry
from lovely.remotetask.service import bootStrapSubscriber
from lovely.remotetask.service import getAutostartServiceNames
from lovely.remotetask.tests.fixture import QuietProcessor
from lovely.remotetask.tests.fixture import TaskCase
from lovely.remotetask.tests.fixture import logged


class NamesTest(TaskCase):

    def setUp(self):
        super().setUp()
        saved = zope.app.appsetup.product.saveConfiguration()
        self.addCleanup(
            zope.app.appsetup.product.restoreConfiguration, saved)

    def configure(self, **mapping):
        zope.app.appsetup.product.setProductConfiguration(
            'lovely.remotetask', mapping)

    def test_names(self):
        """The names are a list of strings, without the blanks."""
        self.configure(autostart='site1@Name, site2@Name,@Root,  *@* ')
        self.assertEqual(['site1@Name', 'site2@Name', '@Root', '*@*'],
                         getAutostartServiceNames())

    def test_no_names(self):
        """Without a configuration there are none."""
        zope.app.appsetup.product.setProductConfigurations([])
        self.assertEqual([], getAutostartServiceNames())
        self.configure()
        self.assertEqual([], getAutostartServiceNames())
        self.configure(autostart=' , ')
        self.assertEqual([], getAutostartServiceNames())


class AutostartTest(NamesTest):
    """In the root folder and two sites; one more folder is no site."""

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        super().setUp()
        patch = unittest.mock.patch.object(
            TaskService, 'processorFactory', QuietProcessor)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(processor.stop_all, 0)
        root = self.layer.getRootFolder()
        self.services = {}
        self.put(root, 'Root')
        for name in ('site1', 'site2'):
            root[name] = site = Folder()
            site.setSiteManager(LocalSiteManager(site))
            self.put(site, 'Name', name)
        self.put(root['site1'], 'Other', 'site1')
        root['folder'] = Folder()
        transaction.commit()

    def put(self, site, name, site_name=''):
        manager = site.getSiteManager()
        service = manager['default'][name] = TaskService()
        manager.registerUtility(service, ITaskService, name)
        self.services[f'{site_name}@{name}'] = service

    def start(self, names):
        """Return which services were started by a configuration."""
        self.configure(autostart=names)
        event = zope.processlifetime.DatabaseOpenedWithRoot(self.layer.db)
        with logged('lovely.remotetask') as self.lines:
            bootStrapSubscriber(event)
        return self.started()

    def started(self):
        return sorted(name for name, service in self.services.items()
                      if service.isProcessing())

    def test_site_and_name(self):
        """site@name starts one service."""
        self.assertEqual(['site1@Name'], self.start('site1@Name'))
        self.assertEqual(
            ['INFO service Name on site site1 started'], self.lines)

    def test_root(self):
        """@name starts one of the root folder."""
        self.assertEqual(['@Root'], self.start('@Root'))
        self.assertEqual(
            ['INFO service Root on site root started'], self.lines)

    def test_all(self):
        """*@* starts all services of all sites."""
        self.assertEqual(sorted(self.services), self.start('*@*'))

    def test_all_of_a_site(self):
        """site@* starts those of the site, not those it sees of the root."""
        self.assertEqual(['site1@Name', 'site1@Other'], self.start('site1@*'))

    def test_all_of_the_root(self):
        """@* starts those of the root folder."""
        self.assertEqual(['@Root'], self.start('@*'))

    def test_name_in_all_sites(self):
        """*@name starts the services of that name in all sites."""
        self.assertEqual(['site1@Name', 'site2@Name'], self.start('*@Name'))

    def test_several(self):
        """Names between commas are all started."""
        self.assertEqual(
            ['@Root', 'site2@Name'], self.start('site2@Name, @Root'))

    def test_unknown_site(self):
        """A site that is not there is an error in the log; others start."""
        self.assertEqual(
            ['@Root'], self.start('nowhere@Name, folder@Name, @Root'))
        self.assertIn('ERROR site nowhere not found', self.lines)
        self.assertIn('ERROR site folder not found', self.lines)

    def test_nothing_started(self):
        """A name that matches nothing is a warning."""
        for name in ('*@Foo', 'site1@Foo', '@Foo', 'site2@Other'):
            with self.subTest(name):
                self.assertEqual([], self.start(name))
                self.assertIn(
                    f'WARNING no services started by directive {name}',
                    self.lines)

    def test_not_understood(self):
        """A name without @ is an error in the log; others start."""
        self.assertEqual(['@Root'], self.start('Name, @Root'))
        self.assertEqual('ERROR', self.lines[0].split(' ')[0])
        self.assertIn("'Name'", self.lines[0])

    def test_one_that_fails(self):
        """It is an error in the log; others start."""
        start = registry.start

        def fail(service):
            if service._p_oid == self.services['site1@Name']._p_oid:
                raise SystemExit('no')
            start(service)
        with unittest.mock.patch.object(registry, 'start', fail):
            self.assertEqual(['@Root', 'site1@Other', 'site2@Name'],
                             self.start('*@*'))
        self.assertIn(
            'ERROR autostart: service Name: builtins.SystemExit: no',
            self.lines)

    def test_content_that_cannot_be_read(self):
        """It is no reason to start nothing, either."""
        get = Folder.get

        def fail(folder, name, default=None):
            if name in ('folder', 'site1'):
                raise ZODB.POSException.POSKeyError(b'\0' * 8)
            return get(folder, name, default)
        with unittest.mock.patch.object(Folder, 'get', fail):
            self.assertEqual(['@Root', 'site2@Name'], self.start('*@*'))
            self.assertEqual(
                ['@Root', 'site2@Name'], self.start('site1@*, site2@Name'))
        self.assertIn('ERROR autostart: site1@*: '
                      'ZODB.POSException.POSKeyError: 0x00', self.lines)

    def test_storage_that_is_away(self):
        """Then nothing can be started."""
        error = ZODB.POSException.StorageError('away')
        with unittest.mock.patch.object(Folder, 'get', side_effect=error), \
                self.assertRaises(ZODB.POSException.StorageError):
            self.start('site1@*')

    def test_twice(self):
        """What is processing is not started again."""
        self.start('@Root')
        before = list(registry._processors.values())
        self.start('@Root, *@*')
        self.assertIn(before[0], registry._processors.values())
        self.assertEqual(4, len(registry._processors))

    def test_without_names(self):
        """Without names nothing is started, and nothing opened."""
        self.assertEqual([], self.start(''))
        self.assertEqual([], self.lines)

    def test_the_transaction_of_the_caller(self):
        """To start services does not touch the caller's transaction."""
        self.layer.getRootFolder()['new'] = Folder()
        self.start('*@*')
        self.assertIn('new', self.layer.getRootFolder())

    def test_the_application_starts_them(self):
        """A web application that is created starts the services."""
        self.configure(autostart='@Root')
        startup.rememberDatabase(types.SimpleNamespace(
            database=self.layer.db))
        application = WSGIPublisherApplication(self.layer.db)
        zope.event.notify(WSGIPublisherApplicationCreated(application))
        self.assertEqual(['@Root'], self.started())

    def test_an_opened_database_does_not(self):
        """A script that opens the database starts nothing."""
        self.configure(autostart='@Root')
        zope.event.notify(
            zope.processlifetime.DatabaseOpenedWithRoot(self.layer.db))
        self.assertEqual([], self.started())
        self.assertIs(self.layer.db, startup.openedDatabase())

    def test_without_a_database(self):
        """An event that names no database, before one is opened, does nothing.
        """
        self.configure(autostart='@Root')
        with unittest.mock.patch.object(startup, '_opened', None):
            bootStrapSubscriber(object())
        self.assertEqual([], self.started())
