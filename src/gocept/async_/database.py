"""The database that a service is stored in, and the objects it refers to."""

import persistent
import persistent.mapping
from ZODB.POSException import POSKeyError
from zope.configuration.exceptions import ConfigurationError

from lovely.remotetask.part import home
from lovely.remotetask.running import quirks
from lovely.remotetask.running.registry import service_path


# Where a database refers to the services in it, in its own root: what is
# only referred to by another database is thrown away when this one is packed.
KEY = 'gocept.async'

# What names a storage in the order of commits, for each kind.
WHAT_NAMES = (
    'the path of a FileStorage, the `storage` and then the server of a ZEO '
    'client, the `name` of a RelStorage or MappingStorage')


def check(content, declaration):
    """Raise ConfigurationError unless a service can be stored as declared.

    content -- the ZODB.DB with the root folder.
    """
    name = declaration.database
    if name and name not in content.databases:
        raise ConfigurationError(
            f'async:service "{declaration.name}": there is no database '
            f'"{name}" in zope.conf, only {_names(content.databases)}; add a '
            f'section <zodb {name}>, or correct the attribute "database".')
    jobs = content.databases[name] if name else content
    if jobs is not content:
        check_pair(content, jobs, declaration)


def check_pair(content, jobs, declaration):
    """Raise ConfigurationError unless two databases fit each other.

    jobs -- the ZODB.DB in which the service is to be, or is.
    """
    for each in (content, jobs):
        if not each.xrefs:
            raise ConfigurationError(
                f'async:service "{declaration.name}": the database '
                f'"{each.database_name}" does not allow references to '
                f'others; take allow-implicit-cross-references out of its '
                f'section in zope.conf.')
    _check_order(content, jobs, declaration)


def _check_order(content, jobs, declaration):
    """Raise ConfigurationError if jobs are committed before the content.

    A transaction commits to one storage after the other, in the order of
    their sort keys.  A job that is seen before the content would be run
    without it.
    """
    keys = quirks.order_of_commit(content), quirks.order_of_commit(jobs)
    where = (f'async:service "{declaration.name}": the database '
             f'"{jobs.database_name}" must be committed after '
             f'"{content.database_name}"')
    if None in keys:
        raise ConfigurationError(
            f'{where}, which goes by their names; give each '
            f'<relstorage> in zope.conf a "name".')
    # As Connection.sortKey() does it: a colon follows.
    if not f'{keys[0]}:' < f'{keys[1]}:':
        raise ConfigurationError(
            f'{where}, but its storage, "{keys[1]}", is not sorted after '
            f'"{keys[0]}"; rename one of them in zope.conf ({WHAT_NAMES}).')


def is_read_only(content, declaration):
    """Return whether nothing can be stored where a service is declared.

    content -- the ZODB.DB with the root folder.
    """
    jobs = content.databases.get(declaration.database, content)
    return quirks.is_read_only(content) or quirks.is_read_only(jobs)


def find(root, declaration):
    """Return the service of a declaration, loaded; None if there is none.

    Raise ConfigurationError if its database does not have it any more.
    """
    service = declaration.find(root)
    try:
        if isinstance(service, persistent.Persistent):
            service._p_activate()
    except POSKeyError as error:
        raise ConfigurationError(
            f'async:service "{declaration.name}": the site '
            f'{declaration.site} refers to a service that the database '
            f'"{service._p_jar.db().database_name}" does not have ({error}); '
            f'bring back the one that goes with this content, say from a '
            f'backup.') from error
    return service


def misplaced(service, site, declaration):
    """Return what to log of a service that is not where it is declared.

    site -- that has registered it.

    None if all is well.  Raise ConfigurationError if it must not be there.
    """
    content, jobs = site._p_jar.db(), service._p_jar.db()
    declared = declaration.database or content.database_name
    if jobs is not content:
        check_pair(content, jobs, declaration)
    if jobs.database_name == declared:
        return None
    return (
        f'async:service "{declaration.name}": its jobs are in the database '
        f'"{jobs.database_name}", not in "{declared}" as declared, and stay '
        f'there; correct the attribute "database", or stop the application '
        f'and move them: async-jobs ZOPE.CONF move.')


def store(service, name, folder, declaration):
    """Store a new service where it is declared to be.

    name -- str, that it is about to get in the folder.
    folder -- that is stored, or is about to be, with the content.

    Raise ConfigurationError if it cannot be there: the site may be in another
    database than the root folder.
    """
    content = home(folder)
    jobs = content.get_connection(
        declaration.database or content.db().database_name)
    if jobs is content:
        return
    check_pair(content.db(), jobs.db(), declaration)
    # An object that both databases refer to is not stored by itself.
    content.add(folder)
    jobs.add(service)
    kept = jobs.root().setdefault(KEY, persistent.mapping.PersistentMapping())
    path = '/'.join([*service_path(folder), name])
    # Entries of an application that had this database before are left alone.
    kept[free_name(kept, path)] = service


def name_of(content):
    """Return the name of the database that content is, or will be, in."""
    return home(content).db().database_name


def free_name(container, name):
    """Return a name that is not used in a container."""
    number = 1
    free = name
    while free in container:
        number += 1
        free = f'{name}-{number}'
    return free


def place(value, connection):
    """Store a new object where it is located, not where it is referred to.

    Two databases that refer to the same new object cannot be committed.

    value -- anything; only what is persistent and new is placed.
    connection -- of the service that is going to refer to it.
    """
    # There is nothing to choose from; also for a service not stored yet.
    if connection is None or len(connection.db().databases) == 1:
        return
    if getattr(value, '_p_jar', connection) is not None:
        return
    if not _place_now(value, connection):
        # The caller may put the object into its container after this.
        connection.transaction_manager.get().addBeforeCommitHook(
            _place_now, (value, connection))


def _place_now(value, connection):
    """Return whether the object has a database by now."""
    found = home(value)
    if found not in (None, connection):
        found.add(value)
    return found is not None


def _names(databases):
    return ', '.join(f'"{name}"' for name in sorted(databases))
