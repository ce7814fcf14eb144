"""A second application server, the smallest one: content, users, requests.

No site manager, no interaction, no zope.conf.  What runs here runs on
whatever implements IApplicationServer.
"""

import contextlib
import contextvars
import json
from pathlib import Path
from typing import NamedTuple

import persistent.mapping
import ZConfig
import ZODB
import ZODB.MappingStorage
import zope.event
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.running.server import DatabasesOpened
from lovely.remotetask.task import TaskError


class Node(persistent.mapping.PersistentMapping):
    """Content: names to objects, and services by their names."""

    __name__ = __parent__ = None

    def __init__(self):
        super().__init__()
        self.services = persistent.mapping.PersistentMapping()

    def __setitem__(self, name, value):
        value.__name__, value.__parent__ = name, self
        super().__setitem__(name, value)


class Handle:
    """What the application passes around for a node: it cannot be stored."""

    def __init__(self, node):
        self.node = node

    def __reduce__(self):
        raise TypeError('A handle cannot be pickled.')


class Request(NamedTuple):
    """What a thread works on: who, at which path, and whether in a job."""

    user: str | None = None
    path: tuple | None = None
    in_job: bool = False


NOBODY = Request()

request = contextvars.ContextVar('request', default=NOBODY)
# The root of the connection that the thread has open.
current_root = contextvars.ContextVar('current_root', default=None)

users = {'ann', 'joe'}


@zope.interface.implementer(interfaces.IApplicationServer)
class OtherServer:
    """See IApplicationServer."""

    product_settings = {}

    def root(self, connection):
        return connection.root().get('everything')

    def find(self, root, path):
        for name in path:
            root = None if root is None else root.get(name)
        return root

    def path(self, location):
        names = []
        while location.__parent__ is not None:
            names.insert(0, location.__name__)
            location = location.__parent__
        return names

    def root_database(self, location):
        while location.__parent__ is not None:
            location = location.__parent__
        return None if location._p_jar is None else location._p_jar.db()

    def names(self, location):
        return list(location) if isinstance(location, Node) else None

    def is_site(self, location):
        return isinstance(location, Node)

    def visible_service(self, name):
        site = self.find(current_root.get(), request.get().path or ())
        while site is not None and name not in site.services:
            site = site.__parent__
        found = None if site is None else site.services[name]
        return None if is_nowhere(found) else found

    def service_of(self, site, name):
        return site.services.get(name)

    def services(self, site):
        return list(site.services.items())

    def folder(self, site):
        if 'services' not in site:
            site['services'] = Node()
        return site['services']

    def register(self, site, service, name):
        site.services[name] = service

    def principals(self):
        return request.get().user

    def principal_id(self, principals):
        return principals

    principals_of = principal_id

    def user_id(self):
        return request.get().user

    def site(self):
        return request.get().path

    def is_reachable(self, site, service):
        return self._from(service, site) is not None

    def _from(self, service, path):
        return self.find(self.root(service._p_jar), path)

    @contextlib.contextmanager
    def acting(self, principals, site, service):
        if principals is not None and principals not in users:
            raise TaskError(f'There is no user {principals!r}.')
        with self.calling(principals, site, service._p_jar, True):
            yield

    def around_job(self, service):
        return self.calling(
            None, tuple(self.path(service)[:-1]), service._p_jar, True)

    @contextlib.contextmanager
    def calling(self, user, path, connection, in_job=False):
        """Be somebody at a path, as in a request."""
        tokens = (request.set(Request(user, path, in_job)),
                  current_root.set(self.root(connection)))
        try:
            yield
        finally:
            request.reset(tokens[0])
            current_root.reset(tokens[1])

    def is_in_job(self):
        return request.get().in_job

    def reference(self, value):
        return self.path(value.node) if type(value) is Handle else None

    def referred(self, reference, service):
        found = self._from(service, reference)
        if found is None:
            raise LookupError(f'There is nothing at {reference}.')
        return Handle(found)

    def settings(self, product):
        return self.product_settings.get(product, {})

    def read(self, path):
        try:
            return OtherConfiguration(json.loads(Path(path).read_text()))
        except ValueError as error:
            raise ZConfig.ConfigurationError(str(error)) from error


@zope.interface.implementer(interfaces.IConfiguration)
class OtherConfiguration:
    """See IConfiguration; that of a JSON file."""

    uses_file_storage = False

    def __init__(self, said):
        self._said = said

    def configure(self):
        OtherServer.product_settings = self._said['settings']

    def open(self):
        db = ZODB.DB(ZODB.MappingStorage.MappingStorage(self._said['name']))
        make_root(db)
        zope.event.notify(DatabasesOpened(db))
        return db

    def connect(self, read_only):
        return ZODB.DB(ZODB.MappingStorage.MappingStorage(self._said['name']))

    def start(self):
        self.configure()
        return self.open()


def make_root(db):
    """Give a database a root."""
    with db.transaction() as connection:
        connection.root()['everything'] = Node()
