"""What each IApplicationServer has to do.

For the tests of an implementation: mix `ServerContract` into a test case.
"""

import contextlib
import pickle
import tempfile
from pathlib import Path

import transaction
import ZConfig
import ZODB
import ZODB.MappingStorage
import zope.event
from zope.interface.verify import verifyObject

from lovely.remotetask import TaskService
from lovely.remotetask import interfaces
from lovely.remotetask.task import TaskError


class ServerScene:
    """What the tests stand on.  A test case has these:

    server -- the IApplicationServer.
    user -- str, the id of somebody who is known.
    """

    def make_content(self, db):
        """Make a root folder, a site called "shop" in it, and commit."""
        raise NotImplementedError

    def calling(self, user, site):
        """Return a context manager: somebody (str or None) calls in a site.
        """
        raise NotImplementedError

    def take_away(self, user):
        """See to it that somebody is not known any more, for this test."""
        raise NotImplementedError

    def configuration(self):
        """Return the text of a configuration file.

        With a database in memory, and ``{'colour': 'red'}`` for the product
        "paint".
        """
        raise NotImplementedError

    def open(self):
        """Return a connection to a database with content, and its root."""
        db = ZODB.DB(ZODB.MappingStorage.MappingStorage())
        self.addCleanup(db.close)
        self.addCleanup(transaction.abort)
        self.make_content(db)
        connection = db.open()
        return connection, self.server.root(connection)

    def shop(self):
        """Return a site that is not the root folder."""
        _, root = self.open()
        return self.server.find(root, ['shop'])

    def add_service(self, site, name='events'):
        """Store a service as `async:service` does."""
        service = TaskService()
        folder = self.server.folder(site)
        folder[f'service-{name}'] = service
        self.server.register(site, service, name)
        transaction.commit()
        return service

    def file(self, text):
        """Return the path of a file."""
        path = Path(tempfile.mkstemp()[1])
        self.addCleanup(path.unlink)
        path.write_text(text)
        return str(path)


class ServerContract(ServerScene):
    """The tests."""

    # The content

    def test_interface(self):
        verifyObject(interfaces.IApplicationServer, self.server)

    def test_no_root(self):
        """An empty database has none."""
        db = ZODB.DB(ZODB.MappingStorage.MappingStorage())
        self.addCleanup(db.close)
        with db.transaction() as connection:
            self.assertIsNone(self.server.root(connection))

    def test_path_and_back(self):
        """Also that of a service, which is found without its name."""
        _, root = self.open()
        shop = self.server.find(root, ['shop'])
        self.assertEqual([], self.server.path(root))
        self.assertEqual(['shop'], self.server.path(shop))
        service = self.add_service(shop)
        path = self.server.path(service)
        self.assertEqual(['shop'], path[:1])
        self.assertEqual(service._p_oid, self.server.find(root, path)._p_oid)
        self.assertIs(type(path), list)

    def test_nothing_there(self):
        _, root = self.open()
        self.assertIsNone(self.server.find(root, ['shop', 'gone', 'x']))
        self.assertIsNone(self.server.find(None, ['shop']))

    def test_root_database(self):
        """None for what is not stored."""
        shop = self.shop()
        service = self.add_service(shop)
        self.assertIs(shop._p_jar.db(), self.server.root_database(service))
        self.assertIsNone(self.server.root_database(TaskService()))

    def test_names(self):
        """None for what is no container."""
        _, root = self.open()
        self.assertEqual(['shop'], list(self.server.names(root)))
        self.assertIsNone(self.server.names(TaskService()))

    def test_sites(self):
        _, root = self.open()
        self.assertTrue(self.server.is_site(root))
        self.assertTrue(self.server.is_site(self.server.find(root, ['shop'])))
        self.assertFalse(self.server.is_site(TaskService()))

    # Services

    def test_service_of_a_site(self):
        """Only of those that the site has registered itself."""
        _, root = self.open()
        shop = self.server.find(root, ['shop'])
        self.assertIsNone(self.server.service_of(root, 'events'))
        service = self.add_service(root)
        self.assertIs(service, self.server.service_of(root, 'events'))
        self.assertIsNone(self.server.service_of(shop, 'events'))
        self.assertIsNone(self.server.service_of(root, 'mail'))

    def test_services_of_a_site(self):
        """All of its own."""
        _, root = self.open()
        shop = self.server.find(root, ['shop'])
        self.assertEqual([], self.server.services(shop))
        self.add_service(root, 'visible')
        expected = {name: self.add_service(shop, name)
                    for name in ('events', '')}
        self.assertEqual(expected, dict(self.server.services(shop)))

    def test_folder_is_made_once(self):
        shop = self.shop()
        self.add_service(shop)
        folder = self.server.folder(shop)
        self.assertIn('service-events', folder)
        self.assertIs(folder, self.server.folder(shop))

    def test_visible_service(self):
        """Below its site, too; nobody sees it elsewhere."""
        _, root = self.open()
        shop = self.server.find(root, ['shop'])
        service, own = self.add_service(root), self.add_service(shop, 'mail')
        with self.calling(None, shop):
            self.assertEqual(
                service._p_oid, self.server.visible_service('events')._p_oid)
            self.assertEqual(
                own._p_oid, self.server.visible_service('mail')._p_oid)
        with self.calling(None, root):
            self.assertIsNone(self.server.visible_service('mail'))
        self.assertIsNone(self.server.visible_service('events'))
        service.__parent__ = None
        with self.calling(None, root):
            self.assertIsNone(self.server.visible_service('events'))

    # Who calls, and where

    def test_somebody(self):
        """They are stored, and make the call again later."""
        shop = self.shop()
        service = self.add_service(shop)
        with self.calling(self.user, shop):
            callers, site = self.server.principals(), self.server.site()
            self.assertEqual(self.user, self.server.user_id())
        hash(callers)
        self.assertEqual(callers, pickle.loads(pickle.dumps(callers)))
        self.assertEqual(self.user, self.server.principal_id(callers))
        self.assertEqual(callers, self.server.principals_of(self.user))
        self.assertTrue(self.server.is_reachable(site, service))
        with self.server.acting(callers, site, service):
            self.assertEqual(callers, self.server.principals())
            self.assertEqual(site, self.server.site())
            self.assertEqual(self.user, self.server.user_id())
            self.assertTrue(self.server.is_in_job())
        self.assertIsNone(self.server.user_id())
        self.assertIsNone(self.server.site())
        self.assertFalse(self.server.is_in_job())

    def test_nobody(self):
        """Somebody who is not logged in may call, too."""
        service = self.add_service(self.shop())
        callers = self.server.principals()
        self.assertFalse(callers)
        self.assertIsNone(self.server.principal_id(callers))
        self.assertFalse(self.server.principals_of(None))
        with self.server.acting(callers, None, service):
            self.assertIsNone(self.server.user_id())
            self.assertTrue(self.server.is_in_job())

    def test_gone(self):
        """The call is not made as anybody else."""
        shop = self.shop()
        service = self.add_service(shop)
        with self.calling(self.user, shop):
            callers = self.server.principals()
        self.take_away(self.user)
        with self.assertRaises(TaskError), \
                self.server.acting(callers, None, service):
            self.fail('acts')
        self.assertFalse(self.server.is_in_job())

    def test_site_that_is_gone(self):
        _, root = self.open()
        shop = self.server.find(root, ['shop'])
        service = self.add_service(root)
        with self.calling(self.user, shop):
            site = self.server.site()
        del root['shop']
        transaction.commit()
        with contextlib.suppress(AttributeError):
            self.assertFalse(self.server.is_reachable(site, service))

    def test_around_a_job(self):
        """Nobody works there; the caller is the caller again afterwards."""
        shop = self.shop()
        service = self.add_service(shop)
        with self.calling(self.user, shop):
            for error in (None, ValueError):
                with contextlib.suppress(ValueError), \
                        self.server.around_job(service):
                    self.assertIsNone(self.server.user_id())
                    self.assertTrue(self.server.is_in_job())
                    self.assertIsNotNone(
                        self.server.visible_service('events'))
                    if error is not None:
                        raise error
                self.assertFalse(self.server.is_in_job())
                self.assertEqual(self.user, self.server.user_id())

    # Arguments

    def test_stored_as_they_are(self):
        for value in (object(), [1], TaskService()):
            self.assertIsNone(self.server.reference(value))

    # Processes

    def test_settings(self):
        """They are known once a configuration is."""
        self.assertEqual({}, dict(self.server.settings('nothing')))
        self.server.read(self.file(self.configuration())).configure()
        self.assertEqual({'colour': 'red'},
                         dict(self.server.settings('paint')))

    def test_open(self):
        """There is a root folder, and who asks is told."""
        events = []
        zope.event.subscribers.append(events.append)
        self.addCleanup(zope.event.subscribers.remove, events.append)
        found = self.server.read(self.file(self.configuration()))
        verifyObject(interfaces.IConfiguration, found)
        self.assertIs(False, found.uses_file_storage)
        db = found.open()
        self.addCleanup(db.close)
        with db.transaction() as connection:
            self.assertIsNotNone(self.server.root(connection))
        event, = filter(interfaces.IDatabasesOpened.providedBy, events)
        self.assertIs(db, event.database)

    def test_connect(self):
        """Nothing is made, nobody is told."""
        events = []
        zope.event.subscribers.append(events.append)
        self.addCleanup(zope.event.subscribers.remove, events.append)
        for read_only in (True, False):
            found = self.server.read(self.file(self.configuration()))
            db = found.connect(read_only)
            self.addCleanup(db.close)
            with db.transaction() as connection:
                self.assertIsNone(self.server.root(connection))
        self.assertEqual([], list(filter(
            interfaces.IDatabasesOpened.providedBy, events)))

    def test_unreadable_configuration(self):
        for path in ('/nowhere/at.all', self.file('<<<')):
            with self.subTest(path), self.assertRaises(
                    (ZConfig.ConfigurationError, OSError)):
                self.server.read(path)
