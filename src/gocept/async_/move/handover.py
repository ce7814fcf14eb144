"""One service takes the place of another one, of which it is the copy.

The copy arrives in its database first; then one transaction puts it where the
other one was.  Killed before that, nothing has changed; after it, nothing is
left to do but to throw the other one away.
"""

from typing import Any

import persistent.list
import persistent.mapping
import zope.event
import zope.interface
import zope.lifecycleevent
from transaction.interfaces import IDataManager

from gocept.async_ import database
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.value import is_of_database
from lovely.remotetask.interfaces import IJobExecution
from lovely.remotetask.part import path
from lovely.remotetask.retry import private_connection
from lovely.remotetask.running.server import server
from lovely.remotetask.snapshot import last_shown


# Where a database refers to objects of the application that nothing in it
# refers to any more, but jobs in other databases do.
LEFT = 'gocept.async.left'


class Meddled(Exception):
    """Somebody has changed the database of before in the meantime."""


@zope.interface.implementer(IDataManager)
class Unchanged:
    """Lets a transaction fail if a database was changed since a snapshot.

    It votes last, when nobody else can commit any more to the databases that
    the transaction changes.
    """

    def __init__(self, db: Any, snapshot: bytes | None, manager: Any) -> None:
        self._db = db
        self._snapshot = snapshot
        self.transaction_manager = manager

    def sortKey(self) -> str:
        """See IDataManager: behind all databases."""
        return '~~~'

    def tpc_vote(self, transaction: Any) -> None:
        """See IDataManager."""
        with private_connection(self._db) as connection:
            connection.transaction_manager.begin()
            if last_shown(connection) != self._snapshot:
                raise Meddled()

    def _nothing(self, transaction: Any) -> None:
        pass

    abort = tpc_begin = commit = tpc_finish = tpc_abort = _nothing


def hold_copies(content: Any, declaration: Any) -> None:
    """Hold what a service must not run, as it is the copy of another one.

    content -- the ZODB.DB with the root folder.
    """
    with private_connection(content) as connection:
        connection.transaction_manager.begin()
        service = declaration.find(server().root(connection))
        engine: Any = IJobExecution(service)
        engine.upkeep.hold_copies()
        connection.transaction_manager.commit()


def arrive(content: Any, target: str, oid: bytes, origin: tuple[str, bytes],
           where: list[str]) -> dict[str, int]:
    """Let a copy be at home in its database, and be referred to there.

    content -- the ZODB.DB with the root folder; it is opened first, and the
        others with it: ZODB mixes connections up that were opened otherwise.
    target, oid -- the name of the database of the copy, and its oid there.
    origin -- the name of the database of the other one, and its oid.
    where -- the path of the service.

    Copies that were made before of the same one are given up.

    Return what the copy counts: status to number of jobs.
    """
    with private_connection(content) as opened:
        opened.transaction_manager.begin()
        connection = opened.get_connection(target)
        service = connection.get(oid)
        service.moved_from = origin
        store = vars(service)['_store']
        # Else it would take itself for a copy of a service that goes on.
        store.oid = store._p_oid
        if connection is not opened:
            kept = connection.root().setdefault(
                database.KEY, persistent.mapping.PersistentMapping())
            _forget(kept, lambda each: each.moved_from == origin)
            kept[database.free_name(kept, '/'.join(where))] = service
        counts: dict[str, int] = service.counts()
        opened.transaction_manager.commit()
        return counts


def _forget(kept: Any, is_meant: Any) -> int:
    """Refer no longer to some services; return how many there were."""
    names = [name for name, each in kept.items()
             if outcome_of(is_meant, each).value]
    for name in names:
        del kept[name]
    return len(names)


def switch(content: Any, declaration: Any, target: str, oid: bytes,
           snapshot: bytes | None, left: set[bytes]) -> int:
    """Put a copy where its original was, in one transaction.

    content -- the ZODB.DB with the root folder.
    target, oid -- the name of the database of the copy, and its oid there.
    snapshot -- as of which the copy was made.
    left -- the oids of objects that jobs refer to, beside the original.

    Return how many of them are kept for that alone.  Raise Meddled, with
    nothing changed, if somebody has changed the original since.
    """
    with private_connection(content) as connection:
        manager = connection.transaction_manager
        txn = manager.begin()
        root = server().root(connection)
        old = declaration.find(root)
        source = old._p_jar
        txn.join(Unchanged(source.db(), snapshot, manager))
        txn.note(f'{"/".join(path(old))}: moved to the database {target}')
        kept = _keep(source, root, left, '/'.join(path(old)))
        new = connection.get_connection(target).get(oid)
        _meet_adders(vars(old)['_store'])
        if source is not connection:
            _forget(source.root().get(database.KEY, {}),
                    lambda each: each is old)
        _replace(declaration.find_site(root), old, new)
        manager.commit()
        return kept


def _meet_adders(store: Any) -> None:
    """Let whoever is about to add a job to a store meet this transaction.

    He tries again, and adds the job to the copy.  Each adder writes the last
    segment of his lane, or the lane itself.
    """
    for lane in store.lanes.values():
        for each in (lane, *(outcome_of(_tails, lane).value or ())):
            outcome_of(_touch, each)


def _tails(lane: Any) -> list[Any]:
    return [strand.tail for strand in lane.strands.values()]


def _touch(record: Any) -> None:
    # A ghost would not notice.
    record._p_activate()
    record._p_changed = True


def _replace(site: Any, old: Any, new: Any) -> None:
    for name, service in server().services(site):
        if service is old:
            server().register(site, new, name)
    container, name = old.__parent__, old.__name__
    if container is not None and outcome_of(
            lambda: container[name] is old).value:
        del container[name]
        container[name] = new
        zope.event.notify(zope.lifecycleevent.ObjectAddedEvent(
            new, container, name))


def _keep(connection: Any, root: Any, oids: set[bytes], name: str) -> int:
    """Let a database refer to objects that nothing else in it refers to.

    Those that are not in the content: of others it takes care.
    """
    objects = _loadable(connection, oids)
    # What cannot be asked where it is may be nowhere.
    alone = [each for each in objects
             if not outcome_of(_is_content, root, each).value]
    if alone:
        kept = connection.root().setdefault(
            LEFT, persistent.mapping.PersistentMapping())
        kept[database.free_name(kept, name)] = (
            persistent.list.PersistentList(alone))
    return len(alone)


def _loadable(connection: Any, oids: set[bytes]) -> list[Any]:
    """Return the objects of some oids, but for those that are lost."""
    loaded = [outcome_of(connection.get, oid) for oid in sorted(oids)]
    for each in loaded:
        if each.exception is not None and is_of_database(each):
            raise each.exception
    return [each.value for each in loaded if not each.failed]


def _is_content(root: Any, located: Any) -> bool:
    """Return whether an object is found from the root folder."""
    # What was removed with its folder, and what was located only, has a
    # parent, too: but that does not lead to it.
    found = server().find(root, server().path(located))
    return found is located


def tidy(content: Any, declaration: Any) -> bool:
    """Give up the original of a service that was moved.

    Return whether there was anything to do: whoever has moved it was
    interrupted.
    """
    with private_connection(content) as connection:
        connection.transaction_manager.begin()
        service = declaration.find(server().root(connection))
        name, oid = service.moved_from or (None, None)
        if name not in content.databases:
            return False
        kept = connection.get_connection(name).root().get(database.KEY, {})
        found = _forget(kept, lambda each: each._p_oid == oid)
        connection.transaction_manager.commit()
        return bool(found)
