"""Services that are not there: at start-up, and when they are called."""

import gc
import logging
import unittest.mock

import transaction
import zope.component
import zope.component.hooks
import zope.event
from ZODB.POSException import POSKeyError
from ZODB.POSException import StorageError
from zope.app.publication.zopepublication import ZopePublication
from zope.app.wsgi.interfaces import WSGIPublisherApplicationCreated
from zope.configuration.exceptions import ConfigurationError
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

import gocept.async_
from gocept.async_ import function
from gocept.async_ import startup
from gocept.async_ import zcml
from gocept.async_.celery import application as celery_application
from gocept.async_.manage import desk
from gocept.async_.testing import process
from gocept.async_.tests import sample
from gocept.async_.tests.configuration import declare
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.worker import application as worker_application
from gocept.async_.worker.application import Refused
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.running.server import DatabasesOpened
from lovely.remotetask.startup import NoRootFolder
from lovely.remotetask.startup import bootStrapSubscriber
from lovely.remotetask.startup import root_folder


APPSETUP = '<include package="zope.app.appsetup" />'


@function('mial')
def misspelt():
    """Names a service that nobody declares."""


@function('mial')
def misspelt_too():
    """And another one."""


class AbsenceTestCase(FunctionalTestCase):

    def make_service(self):
        """There is none."""

    def open(self):
        # Zope's own subscribers need a root folder that is a site.
        zope.event.notify(DatabasesOpened(self.layer.db))
        transaction.begin()

    def start(self):
        zope.event.notify(WSGIPublisherApplicationCreated(object()))

    def said(self, call, level='ERROR'):
        """Return the lines of the log that a call has left at a level."""
        with self.assertLogs('gocept.async_', 'DEBUG') as logged:
            logging.getLogger('gocept.async_').debug('something')
            call()
        return [record.getMessage() for record in logged.records
                if record.levelname == level]

    def said_of(self, name, call):
        line, = (line for line in self.said(call) if f'"{name}"' in line)
        return line

    def without_root(self):
        """Take the root folder away until the end of the test."""
        root = self.root._p_jar.root()
        found = root.pop(ZopePublication.root_name)
        transaction.commit()

        def bring_back():
            root[ZopePublication.root_name] = found
            transaction.commit()
        self.addCleanup(bring_back)

    def untold(self):
        """Nobody has told of a database."""
        patch = unittest.mock.patch('lovely.remotetask.startup._opened', None)
        patch.start()
        self.addCleanup(patch.stop)

    def add_site(self, name):
        self.root[name] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        transaction.commit()
        return site


class StartTest(AbsenceTestCase):
    """The log of a start says which service is missing, and why."""

    def test_no_root_folder(self):
        """Nobody makes it: what is missing in the ZCML is said."""
        declare(self, 'events')
        self.without_root()
        line = self.said_of('events', self.open)
        self.assertIn('the database has no root folder', line)
        self.assertIn(APPSETUP, line)

    def test_no_root_folder_when_the_server_starts(self):
        """That is no reason to start no application."""
        declare(self, 'events')
        self.without_root()
        with self.assertLogs('lovely.remotetask', 'ERROR') as logged:
            self.start()
        self.assertIn(APPSETUP, logged.output[0])

    def test_no_root_folder_and_no_service(self):
        """Who declares none need not have one."""
        self.without_root()
        with self.assertNoLogs('lovely.remotetask', 'ERROR'):
            self.assertEqual([], self.said(self.open))
            self.assertEqual([], self.said(self.start))

    def test_nobody_tells_of_a_database(self):
        """Without zope.app.appsetup no event asks to create services."""
        declare(self, 'events')
        declare(self, 'mail')
        self.untold()
        for name in ('events', 'mail'):
            self.assertIn(APPSETUP, self.said_of(name, self.start))

    def test_nobody_tells_of_a_database_and_no_service(self):
        """Who declares none need not have one."""
        self.untold()
        self.assertEqual([], self.said(self.start))

    def test_the_root_folder_is_no_site(self):
        """It is there, but nothing can be registered in it."""
        declare(self, 'events')
        root = self.root._p_jar.root()
        self.without_root()
        root[ZopePublication.root_name] = Folder()
        transaction.commit()
        line = self.said_of('events', self.open)
        self.assertIn('the root folder has no site manager', line)
        self.assertNotIn(APPSETUP, line)

    def test_the_site_is_a_folder_only(self):
        """The object is there; it is to be made a site."""
        declare(self, 'events', site='/shop')
        self.root['shop'] = Folder()
        transaction.commit()
        line = self.said_of('events', self.open)
        self.assertIn('/shop has no site manager', line)
        self.assertIn('Make /shop a site', line)

    def test_the_site_is_missing(self):
        """The first name that leads nowhere is told."""
        declare(self, 'events', site='/shops/berlin/new')
        self.root['shops'] = Folder()
        transaction.commit()
        line = self.said_of('events', self.open)
        self.assertIn('there is no site /shops/berlin/new', line)
        self.assertIn('there is no /shops/berlin)', line)

    def test_the_way_to_the_site_leads_through_content(self):
        """What contains nothing is named."""
        declare(self, 'events', site='/page/shop')
        self.root['page'] = sample.Content()
        transaction.commit()
        self.assertIn('/page is no folder',
                      self.said_of('events', self.open))

    def test_autostart_of_the_product_configuration(self):
        """It says it, too."""
        self.untold()
        with unittest.mock.patch(
                'lovely.remotetask.startup.getAutostartServiceNames',
                return_value=['@events']), \
                self.assertLogs('lovely.remotetask', 'ERROR') as logged:
            bootStrapSubscriber(object())
        self.assertIn(APPSETUP, logged.output[0])

    def test_autostart_without_a_root_folder(self):
        """The application starts nevertheless."""
        self.without_root()
        with unittest.mock.patch(
                'lovely.remotetask.startup.getAutostartServiceNames',
                return_value=['*@*']), \
                self.assertLogs('lovely.remotetask', 'ERROR') as logged:
            bootStrapSubscriber(DatabasesOpened(self.layer.db))
        self.assertIn(APPSETUP, logged.output[0])

    def test_no_processor_is_registered(self):
        """Of the package only meta.zcml is included."""
        declaration = declare(self, 'events')
        manager = zope.component.getGlobalSiteManager()
        for name, each in list(manager.getUtilitiesFor(IProcessorFactory)):
            manager.unregisterUtility(each, IProcessorFactory, name)
            self.addCleanup(
                manager.registerUtility, each, IProcessorFactory, name)
        with self.assertRaisesRegex(
                ConfigurationError, '<include package="gocept.async_" />'):
            zcml._check_processor(declaration)


class CommandTest(AbsenceTestCase):
    """Commands open a database by themselves."""

    def setUp(self):
        super().setUp()
        declare(self, 'events')

    def configuration(self):
        return unittest.mock.Mock(**{
            'start.return_value': self.layer.db,
            'open.return_value': self.layer.db})

    def test_worker(self):
        """It says what is missing."""
        self.untold()
        with unittest.mock.patch('gocept.async_.zopeconf.read',
                                 return_value=self.configuration()):
            self.assertIn(APPSETUP, self.said_of(
                'events',
                lambda: worker_application.open_database('zope.conf', 1)))

    def test_celery(self):
        """As the worker does."""
        self.untold()
        with unittest.mock.patch.object(
                celery_application, 'configuration', self.configuration):
            self.assertIn(APPSETUP, self.said_of(
                'events', celery_application._open))

    def test_service_that_exists(self):
        """An earlier start has created it; a worker runs it."""
        self.open()
        self.untold()
        self.assertEqual([], self.said(
            lambda: startup.tell_of_missing(self.layer.db)))

    def test_nothing_is_said_twice(self):
        """Who was told of the database has said it."""
        self.without_root()
        self.said(self.open)
        self.assertEqual([], self.said(
            lambda: startup.tell_of_missing(self.layer.db)))

    def test_async_jobs(self):
        """It refuses, and says why."""
        declare(self, 'mail', site='/shop')
        opened = desk.Desk(self.layer.db, 'zope.conf')
        with self.assertRaisesRegex(Refused, 'there is no /shop'), \
                opened.service('mail'):
            pass
        self.without_root()
        with self.assertRaisesRegex(NoRootFolder, APPSETUP), \
                opened.service('events'):
            pass

    def test_root_folder(self):
        """Whoever asks for it is told what makes it."""
        self.without_root()
        with self.assertRaisesRegex(NoRootFolder, APPSETUP), \
                root_folder(self.layer.db):
            pass


class EnqueueTest(AbsenceTestCase):
    """Who calls is told why no service is seen."""

    def message(self, call=sample.record.enqueue):
        with self.assertRaises(LookupError) as raised:
            call()
        return str(raised.exception)

    def test_without_a_current_site(self):
        """That is it, and not a directive that is missing."""
        declare(self, 'events')
        self.open()
        zope.component.hooks.setSite(None)
        message = self.message()
        self.assertIn('There is no current site', message)
        self.assertIn("'events'", message)
        self.assertIn('setSite', message)
        self.assertNotIn('declare it', message)

    def test_without_a_current_site_and_declared_in_one(self):
        """The site to set is named."""
        self.add_site('shop')
        declare(self, 'events', site='/shop')
        self.open()
        zope.component.hooks.setSite(None)
        self.assertIn('/shop', self.message())

    def test_without_a_current_site_and_registered_by_hand(self):
        """Nobody knows that it is not declared: the site is missing."""
        zope.component.hooks.setSite(None)
        message = self.message()
        self.assertIn('no current site', message)
        self.assertNotIn('declare it', message)

    def test_not_declared(self):
        """What is declared is named: it may be a slip."""
        declare(self, 'event')
        message = self.message()
        self.assertIn('declare it in ZCML: <async:service name="events" />',
                      message)
        self.assertIn('only "event"', message)

    def test_in_another_site(self):
        """Both sites are named."""
        self.add_site('shop')
        other = self.add_site('other')
        declare(self, 'events', site='/shop')
        self.open()
        zope.component.hooks.setSite(other)
        message = self.message()
        self.assertIn('/shop', message)
        self.assertIn('/other', message)
        self.assertNotIn('declare it', message)

    def test_site_that_lies_nowhere(self):
        """It has no path, and no connection."""
        declare(self, 'events')
        self.open()
        site = Folder()
        site.setSiteManager(LocalSiteManager(None))
        zope.component.hooks.setSite(site)
        self.assertIn('not seen from the current one', self.message())

    def test_content_that_cannot_be_read(self):
        """It is no reason for another error."""
        declare(self, 'events', site='/shop/inner')
        self.add_site('shop')
        self.open()
        with unittest.mock.patch.object(
                Folder, 'get', side_effect=POSKeyError(b'8' * 8)):
            self.assertIn('cannot be read', self.message())
        with unittest.mock.patch.object(
                Folder, 'get', side_effect=StorageError('away')), \
                self.assertRaises(StorageError):
            sample.record.enqueue()

    def test_never_created(self):
        """It is declared, and the application was not told to create it."""
        declare(self, 'events')
        self.untold()
        message = self.message()
        self.assertIn('has not created it', message)
        self.assertIn(APPSETUP, message)

    def test_its_site_is_missing(self):
        """That is said; also to those who hand over content."""
        declare(self, 'events', site='/shop')
        self.open()
        for call in (sample.record.enqueue, lambda: gocept.async_.service(
                'events', self.root)):
            self.assertIn('there is no /shop', self.message(call))

    def test_service_without_a_current_site(self):
        """A script may hand over content instead."""
        declare(self, 'events')
        self.open()
        zope.component.hooks.setSite(None)
        message = self.message(lambda: gocept.async_.service('events'))
        self.assertIn('no current site', message)
        self.assertIn('`context`', message)

    def test_call(self):
        """One that is made synchronously says the same in the log."""
        declare(self, 'events')
        self.open()
        zope.component.hooks.setSite(None)
        line, = self.said(sample.record, 'WARNING')
        self.assertIn('sample.record is called synchronously: There is no '
                      'current site', line)


class OrphansTest(AbsenceTestCase):
    """A function whose service nobody declares is named at start-up."""

    def lines(self, name='mial'):
        return [line for line in self.said(self.open, 'WARNING')
                if f'"{name}"' in line]

    def test_named_once(self):
        """With its service, and what there is."""
        declare(self, 'mail')
        line, = self.lines()
        self.assertEqual(1, line.count(f'{__name__}.misspelt,'))
        self.assertIn(f'{__name__}.misspelt_too', line)
        self.assertIn("'mail'", line)

    def test_declared(self):
        """Then there is nothing to say."""
        declare(self, 'mial')
        self.assertEqual([], self.lines())

    def test_registered_by_hand(self):
        """In any site: calls are stored there."""
        site = self.add_site('shop')
        site['tasks'] = service = TaskService()
        site.getSiteManager().registerUtility(service, ITaskService, 'mial')
        transaction.commit()
        self.assertEqual([], self.lines())

    def test_registered_globally(self):
        """A stand-in of a test, say."""
        manager = zope.component.getGlobalSiteManager()
        service = TaskService()
        manager.registerUtility(service, ITaskService, 'mial')
        self.addCleanup(
            manager.unregisterUtility, service, ITaskService, 'mial')
        zope.component.hooks.setSite(None)
        self.assertEqual([], self.lines())

    def test_without_a_root_folder(self):
        """It is said nevertheless."""
        self.without_root()
        self.assertEqual(1, len(self.lines()))

    def test_nobody_tells_of_a_database(self):
        """Not even then."""
        self.untold()
        line, = (line for line in self.said(self.start, 'WARNING')
                 if '"mial"' in line)
        self.assertIn(f'{__name__}.misspelt,', line)

    def test_many(self):
        """The line stays readable."""
        kept = []
        for number in range(30):
            def many():
                pass
            many.__qualname__ = f'many{number:02}'
            kept.append(function('crowd')(many))
        line, = self.lines('crowd')
        self.assertIn('many09 and 20 more', line)
        self.assertNotIn('many10', line)

    def test_function_that_is_gone(self):
        """A module that was reloaded, say."""
        def once():
            pass
        decorated = function('gone')(once)
        self.assertEqual(1, len(self.lines('gone')))
        del decorated
        gc.collect()
        self.assertEqual([], self.lines('gone'))


class LostTest(FunctionalTestCase):
    """A service is registered, but lies in no folder: nobody runs its jobs."""

    def setUp(self):
        super().setUp()
        del self.root['tasks']
        transaction.commit()

    def start(self):
        """Return the errors that the log of a start has."""
        with self.assertLogs('gocept.async_', 'ERROR') as logged:
            zope.event.notify(DatabasesOpened(self.layer.db))
        transaction.begin()
        return [record.getMessage() for record in logged.records]

    def test_enqueue(self):
        """It is treated as absent; the reason is told, and what to do."""
        for declared in (False, True):
            if declared:
                declare(self, 'events')
            for call in (sample.record.enqueue,
                         lambda: gocept.async_.service('events')):
                with self.subTest(declared), self.assertRaisesRegex(
                        LookupError, 'in no folder.* Put it'):
                    call()
        self.assertEqual([], self.jobs())

    def test_call(self):
        """It is made at once, as without a service."""
        with self.assertLogs('gocept.async_', 'WARNING') as logged:
            self.assertEqual(3, sample.add(1, 2))
        self.assertIn('lies in no folder', logged.output[0])
        self.assertEqual([], self.jobs())

    def test_from_a_site_below(self):
        """The reason is the same."""
        self.root['shop'] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        zope.component.hooks.setSite(site)
        with self.assertRaisesRegex(LookupError, 'lies in no folder'):
            sample.record.enqueue()

    def test_looked_up(self):
        """By scripts, and by the helper of tests."""
        declare(self, 'events')
        for site in (self.root, None):
            zope.component.hooks.setSite(site)
            for call in (lambda: gocept.async_.service('events', self.root),
                         lambda: process('events')):
                with self.subTest(site), self.assertRaisesRegex(
                        LookupError, 'lies in no folder'):
                    call()

    def test_start_of_a_declared_one(self):
        """The log says it; no other service is created instead."""
        declare(self, 'events')
        line, = self.start()
        self.assertIn('"events": it is only registered', line)
        self.assertEqual(self.service, self.root.getSiteManager().getUtility(
            ITaskService, 'events'))

    def test_start_of_one_that_nobody_declares(self):
        """The log says it, if there are functions for it."""
        other = TaskService()
        self.root.getSiteManager().registerUtility(
            other, ITaskService, 'never put into a folder')
        transaction.commit()
        line, = self.start()
        self.assertIn('"events": it is only registered', line)

    def test_put_back(self):
        """Under any name: then all is well."""
        self.root['again'] = self.service
        transaction.commit()
        jobid = sample.record.enqueue()
        process()
        self.assertEqual('completed', self.service.getStatus(jobid))

    def test_never_stored(self):
        """What a test registers, or what is not committed yet, is called."""
        for manager in (self.root.getSiteManager(),
                        zope.component.getGlobalSiteManager()):
            service = TaskService()
            manager.registerUtility(service, ITaskService, 'mial')
            self.addCleanup(
                manager.unregisterUtility, service, ITaskService, 'mial')
            misspelt()
            self.assertEqual(1, len(service.jobs))
            zope.component.hooks.setSite(None)
