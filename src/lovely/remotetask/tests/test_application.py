"""The application server is one room; another one can be in its place."""

import contextlib
import tempfile
import unittest
import unittest.mock
from pathlib import Path

import persistent.mapping
import transaction
import ZODB
import ZODB.interfaces
import ZODB.MappingStorage
import zope.app.appsetup.product
import zope.authentication.interfaces
import zope.component
import zope.component.hooks
import zope.security.management
import zope.security.testing
from zope.site.folder import Folder
from zope.site.folder import rootFolder
from zope.site.site import LocalSiteManager

from gocept.async_ import function
from gocept.async_ import service as find_service
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.tests.configuration import declare
from lovely.remotetask import TaskService
from lovely.remotetask import interfaces
from lovely.remotetask import startup
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import application
from lovely.remotetask.running import registry
from lovely.remotetask.running.server import server
from lovely.remotetask.tests import otherserver
from lovely.remotetask.tests.otherserver import Handle
from lovely.remotetask.tests.otherserver import Node
from lovely.remotetask.tests.otherserver import OtherServer
from lovely.remotetask.tests.servercontract import ServerContract
from lovely.remotetask.tests.servercontract import ServerScene


class ToolkitTest(ServerContract, unittest.TestCase):
    """The one of the Zope Toolkit."""

    layer = FUNCTIONAL_LAYER
    server = application.toolkit
    user = 'zope.user'

    def setUp(self):
        self.addCleanup(zope.component.hooks.setSite, None)
        self.addCleanup(zope.security.management.endInteraction)
        self.addCleanup(
            zope.app.appsetup.product.restoreConfiguration,
            zope.app.appsetup.product.saveConfiguration())
        patched = unittest.mock.patch.object(startup, '_opened', None)
        patched.start()
        self.addCleanup(patched.stop)
        components = zope.component.getGlobalSiteManager()
        known = components.queryUtility(ZODB.interfaces.IDatabase, '')
        self.addCleanup(
            components.registerUtility, known, ZODB.interfaces.IDatabase, '')

    def make_content(self, db):
        with db.transaction() as connection:
            connection.root()['Application'] = root = rootFolder()
            root.setSiteManager(LocalSiteManager(root))
            root['shop'] = shop = Folder()
            shop.setSiteManager(LocalSiteManager(shop))

    @contextlib.contextmanager
    def calling(self, user, site):
        zope.component.hooks.setSite(site)
        if user is not None:
            authentication = zope.component.getUtility(
                zope.authentication.interfaces.IAuthentication)
            zope.security.management.newInteraction(
                zope.security.testing.Participation(
                    authentication.getPrincipal(user)))
        yield
        zope.security.management.endInteraction()
        zope.component.hooks.setSite(None)

    def take_away(self, user):
        authentication = zope.component.getUtility(
            zope.authentication.interfaces.IAuthentication)
        patched = unittest.mock.patch.object(
            authentication, 'getPrincipal', side_effect=zope.authentication
            .interfaces.PrincipalLookupError(user))
        patched.start()
        self.addCleanup(patched.stop)

    def configuration(self):
        folder = Path(tempfile.mkdtemp())
        zcml = folder / 'site.zcml'
        zcml.write_text(
            '<configure xmlns="http://namespaces.zope.org/zope" />')
        self.addCleanup(folder.rmdir)
        self.addCleanup(zcml.unlink)
        return f'''
            site-definition {zcml}
            <zodb>
              <mappingstorage />
            </zodb>
            <eventlog>
            </eventlog>
            <product-config paint>
              colour red
            </product-config>'''

    def test_it_is_the_usual_one(self):
        """ZCML registers it; without ZCML it is there as well."""
        components = zope.component.getGlobalSiteManager()
        self.assertIs(application.toolkit, components.queryUtility(
            interfaces.IApplicationServer))
        components.unregisterUtility(application.toolkit)
        self.addCleanup(components.registerUtility, application.toolkit)
        self.assertIs(application.toolkit, server())


class ConnectTest(unittest.TestCase):
    """The databases of a zope.conf are opened, and nothing is done."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def connect(self, storage, read_only):
        """Open a database; return it."""
        path = self.folder / 'zope.conf'
        path.write_text(
            f'site-definition none.zcml\n<zodb>\n{storage}\n</zodb>\n'
            f'<eventlog>\n</eventlog>\n')
        db = application.toolkit.read(str(path)).connect(read_only)
        self.addCleanup(db.close)
        return db

    def storage(self):
        return f'<filestorage>\npath {self.folder}/Data.fs\n</filestorage>'

    def files(self):
        return sorted(path.name for path in self.folder.iterdir())

    def test_no_file(self):
        """None is made: the path is wrong, most likely."""
        for read_only in (True, False):
            with self.assertRaises(FileNotFoundError):
                self.connect(self.storage(), read_only)
        self.assertEqual(['zope.conf'], self.files())

    def test_read_only(self):
        """Not even an index, or a lock, is written; also for a part."""
        ZODB.DB(str(self.folder / 'Data.fs')).close()
        for path in self.folder.glob('Data.fs.*'):
            path.unlink()
        for storage in (self.storage(), f'<demostorage>\n{self.storage()}\n'
                        f'</demostorage>'):
            self.connect(storage, True)
            self.assertEqual(['Data.fs', 'zope.conf'], self.files())

    def test_writable(self):
        """A database that is there is opened as it is."""
        ZODB.DB(str(self.folder / 'Data.fs')).close()
        db = self.connect(self.storage(), False)
        with db.transaction() as connection:
            connection.root()['changed'] = 1


class OtherCase(ServerScene, unittest.TestCase):
    """Has another server, and what it stands on."""

    server = OtherServer()
    user = 'ann'

    def setUp(self):
        self.addCleanup(setattr, OtherServer, 'product_settings', {})
        self.addCleanup(otherserver.users.add, self.user)
        self.addCleanup(transaction.abort)

    def make_content(self, db):
        otherserver.make_root(db)
        with db.transaction() as connection:
            connection.root()['everything']['shop'] = Node()

    def take_away(self, user):
        otherserver.users.remove(user)

    def calling(self, user, site):
        return self.server.calling(
            user, tuple(self.server.path(site)), site._p_jar)


class OtherServerTest(OtherCase, ServerContract):
    """The small one of the tests does what each has to do."""

    def configuration(self):
        return '{"name": "test", "settings": {"paint": {"colour": "red"}}}'

    def test_reference(self):
        """What cannot be stored is found again by its path."""
        shop = self.shop()
        service = self.add_service(shop)
        reference = self.server.reference(Handle(shop))
        self.assertIs(
            shop, self.server.referred(reference, service).node)
        self.assertRaises(
            LookupError, self.server.referred, ['gone'], service)


# What `look` was called with, and as whom and where that was.
seen = []


@function('events')
def look(*args, **kw):
    """Note how things are."""
    seen.append((server().user_id(), server().site(), args, kw))


class OnAnotherServerTest(OtherCase):
    """Nothing has to be touched for it but the utility."""

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        super().setUp()
        seen.clear()
        components = zope.component.getGlobalSiteManager()
        components.registerUtility(self.server)
        self.addCleanup(components.registerUtility, application.toolkit)
        self.connection, self.root = self.open()
        self.shop = self.root['shop']
        self.service = self.add_service(self.shop)
        self.path = registry.service_path(self.service)

    def run_jobs(self):
        """Run the jobs as a processor does.  Return their statuses."""
        transaction.commit()
        processor = SimpleProcessor(self.connection.db(), self.path)
        while processor.processNext():
            pass
        transaction.begin()
        return [job.status for job in self.service.jobs.values()]

    def test_where_a_service_is(self):
        self.assertEqual(['shop', 'services', 'service-events'], self.path)
        self.assertIs(self.connection.db(),
                      registry.root_database(self.service))

    def test_job_without_a_caller(self):
        """A task that is no function is run, too."""
        self.service.add('echo', 'something')
        self.assertEqual(['completed'], self.run_jobs())

    def test_function(self):
        """It is run as the caller, in the caller's place."""
        with self.calling('ann', self.shop):
            self.assertIsNone(look(1))
        self.assertEqual([], seen)
        self.assertEqual(['completed'], self.run_jobs())
        self.assertEqual([('ann', ('shop',), (1,), {})], seen)

    def test_function_of_nobody(self):
        with self.calling(None, self.shop):
            look()
        self.assertEqual(['completed'], self.run_jobs())
        self.assertEqual([(None, ('shop',), (), {})], seen)

    def test_caller_who_is_gone(self):
        """It is run as nobody else."""
        with self.calling('ann', self.shop):
            look()
        self.take_away('ann')
        self.assertEqual(['error'], self.run_jobs())
        self.assertEqual([], seen)

    def test_place_that_is_gone(self):
        with self.calling('ann', self.shop):
            self.root['shop']['corner'] = corner = Node()
            transaction.commit()
            with self.calling('ann', corner):
                look()
        del self.shop['corner']
        self.assertEqual(['error'], self.run_jobs())
        job, = self.service.jobs.values()
        self.assertIn('is gone', job.error)

    def test_arguments_with_references(self):
        """What cannot be stored comes back as what it was."""
        with self.calling('ann', self.shop):
            look(Handle(self.shop), 1, again=Handle(self.root))
        self.assertEqual(['completed'], self.run_jobs())
        (_, _, (handle, number), named), = seen
        self.assertEqual(
            [self.shop._p_oid, 1, self.root._p_oid],
            [handle.node._p_oid, number, named['again'].node._p_oid])

    def test_argument_that_is_gone(self):
        self.shop['corner'] = Node()
        with self.calling('ann', self.shop):
            look(Handle(self.shop['corner']))
        del self.shop['corner']
        self.assertEqual(['error'], self.run_jobs())
        job, = self.service.jobs.values()
        self.assertIn("nothing at ['shop', 'corner']", job.error)

    def test_no_service_is_seen(self):
        """Then the function is called at once, as on the Toolkit."""
        with self.calling('ann', self.root):
            look()
        self.assertEqual([('ann', (), (), {})], seen)

    def test_autostart(self):
        """Services that the settings name are started with the server."""
        self.addCleanup(registry.stop_all)
        OtherServer.product_settings = {
            'lovely.remotetask': {'autostart': 'shop@events'}}
        names = startup.getAutostartServiceNames()
        self.assertEqual(['shop@events'], names)
        with startup.root_folder(self.connection.db()) as root:
            self.assertEqual([root['shop']], startup._sites(root, 'shop'))


class ServiceTest(unittest.TestCase):
    """Who has no current site finds a service, too."""

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        self.addCleanup(zope.component.hooks.setSite, None)
        self.root = self.layer.getRootFolder()
        self.addCleanup(transaction.abort)

    def test_of_the_site(self):
        """The one that the current site sees."""
        zope.component.hooks.setSite(self.root)
        self.root['tasks'] = service = TaskService()
        self.root.getSiteManager().registerUtility(
            service, interfaces.ITaskService, 'events')
        self.assertIs(service, find_service('events'))

    def test_without_a_site(self):
        """The one that is declared, in the connection of an object."""
        self.root['tasks'] = service = TaskService()
        self.root.getSiteManager().registerUtility(
            service, interfaces.ITaskService, 'events')
        transaction.commit()
        self.assertRaises(LookupError, find_service, 'events', self.root)
        declare(self, 'events')
        self.assertIs(service, find_service('events', self.root))
        self.assertIs(service, find_service('events', service))

    def test_none(self):
        """The message says what to do."""
        for context in (None, self.root, TaskService(),
                        persistent.mapping.PersistentMapping()):
            with self.assertRaisesRegex(LookupError, 'declare it in ZCML'):
                find_service('nothing', context)
