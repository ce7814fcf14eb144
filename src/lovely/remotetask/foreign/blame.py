"""Whose failure an exception is: that of a job, or of what it stands on.

A storage that is away, a full disk, a process without descriptors or threads:
the job waits for that to end, and it does not count against it.  The class
of an exception does not tell: a job may ask a database server of its own.  So
what decides is who has raised it, and whether the process can still do what
it failed to do.

To judge an exception never fails: one that cannot be judged is the job's.
"""

import builtins
import contextlib
import inspect
import os
from concurrent.futures import ThreadPoolExecutor

from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.POSException import POSKeyError
from ZODB.POSException import ReadOnlyError
from ZODB.POSException import StorageError
from ZODB.POSException import StorageSystemError

from lovely.remotetask.foreign.description import dotted
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.outcome import undescribed
from lovely.remotetask.foreign.stack import module_of
from lovely.remotetask.foreign.twin import TRACEBACK


# Attributes by which a storage refers to the ones that it stands on.
INNER = ('storage', 'base', 'changes', '_storage', '_mvcc_storage',
         '_normal_storage', '_server', '_storage_wrapper')

# How often it is looked which connections there are, while they change.
LOOKS = 1000

# Packages that raise what a database has to say.
RAISING = {'BTrees', 'ZEO', 'ZODB', 'persistent', 'relstorage', 'transaction'}

# A process that cannot have so many bytes has no memory for its work.
ROOM = 64 * 2 ** 20

# What is raised where no thread can be started.  From Python 3.13 on there is
# a class of its own for that, if it is because the interpreter ends.
THREADLESS = (RuntimeError, getattr(
    builtins, 'PythonFinalizationError', RuntimeError))


def is_interrupted(exception, db):
    """Return whether the databases or the process have failed.

    db -- any of the databases of the application; all of them count.
    """
    return (is_closed(db) or _is_so(_comes_from_storage, exception, db)
            or is_exhausted(exception))


def is_able():
    """Return whether this process can open files, and start threads."""
    return not outcome_of(_open_something).failed \
        and not outcome_of(_start_something).failed


def is_exhausted(exception):
    """Return whether what this process can have is used up."""
    return (_is_so(_lacks_descriptors, exception)
            or _is_so(_lacks_threads, exception))


def lacks_memory(exception, db):
    """Return whether there was no memory, and whoever asked is not to blame.

    db -- as in `is_interrupted`; None if no database was asked.
    """
    return issubclass(type(exception), MemoryError) and (
        outcome_of(_take_memory).failed or db is not None
        and _is_so(lambda: _is_raised_by(exception, storages(db))))


def is_of_code(exception, db):
    """Return whether neither ZODB nor one of its storages has raised it.

    The code of a record may raise what they do, each time it is loaded.
    """
    return _is_so(_is_of_code, exception, db)


def _is_of_code(exception, db):
    # A conflict is raised by ZODB itself; what a server says of itself, by a
    # storage's driver or wrapper.
    *_, last = _frames(exception)
    package = _package(module_of(last) or '')
    return package not in RAISING and not _is_raised_by(
        exception, storages(db))


def number_of(exception):
    """Return the errno of an OSError; None if that is no plain number."""
    if not issubclass(type(exception), OSError):
        return None
    number = outcome_of(
        OSError.errno.__get__, exception, describe=undescribed).value
    return number if type(number) is int else None


def _is_so(judge, *args):
    """Return whether something is true of an exception; False if unknown."""
    return outcome_of(judge, *args, describe=undescribed).value is True


def is_closed(db):
    """Return whether a ZODB.DB was closed, or its storage has given up.

    FileStorage closes itself where it cannot tell what the disk has taken.
    """
    # A ZODB.DB has no flag for that; `close` begins by replacing itself on the
    # instance.
    return 'close' in vars(db) or any(
        isinstance(storage, FileStorage) and storage._file.closed
        for storage in parts(db.storage))


def parts(storage):
    """Iterate over a storage and those that it is made of."""
    yield storage
    for name in ('base', 'changes'):
        part = getattr(storage, name, None)
        if part is not None:
            yield from parts(part)


def _comes_from_storage(exception, db):
    """Return whether one of our storages does not work.

    One that works, and says that it has no such object or that there is a
    conflict, has not failed.
    """
    found = storages(db)
    return (_may_be_outage(type(exception), found)
            and _is_raised_by(exception, found))


def _is_raised_by(exception, storages):
    """Return whether one of some storages has raised an exception."""
    ids = {id(storage) for storage in storages}
    packages = {_package(type(storage).__module__)
                for storage in storages} & {'ZEO', 'relstorage'}
    return any(_is_of(frame, ids, packages)
               for frame in _frames(exception))


def _may_be_outage(class_, storages):
    if issubclass(class_, (ConflictError, POSKeyError)):
        return False
    known = (OSError, ReadOnlyError, StorageSystemError)
    return issubclass(class_, known) or (
        issubclass(class_, StorageError) and _is_of_zeo(class_)) or any(
        issubclass(class_, _driver_exceptions(storage))
        for storage in storages)


def _is_of_zeo(class_):
    # What a class says of its module may be anything.
    name = outcome_of(dotted, class_)
    return not name.failed and _package(name.value) == 'ZEO'


def _driver_exceptions(storage):
    """Return the classes by which RelStorage's driver tells of outages."""
    driver = getattr(getattr(storage, '_adapter', None), 'driver', None)
    return (*getattr(driver, 'disconnected_exceptions', ()),
            *getattr(driver, 'close_exceptions', ()))


def storages(db):
    """Return the storages of all databases, and those below them."""
    found = {}
    waiting = [each.storage for each in db.databases.values()]
    waiting += [each._mvcc_storage for each in db.databases.values()]
    for each in db.databases.values():
        waiting += [connection._storage for connection in _connections(each)]
    while waiting:
        storage = waiting.pop()
        if storage is not None and id(storage) not in found:
            found[id(storage)] = storage
            waiting += [vars(storage).get(name) for name in INNER
                        if hasattr(storage, '__dict__')]
    return list(found.values())


def _connections(db):
    """Return all connections of a database, whatever other threads do.

    Without its lock: whoever opens a connection has that while a server does
    not answer.
    """
    for _ in range(LOOKS):
        with contextlib.suppress(RuntimeError):
            return list(db.pool.all)
        # Another thread has opened one in this moment.
    return []


def _frames(exception):
    entry = TRACEBACK.__get__(exception)
    while entry is not None:
        yield entry.tb_frame
        entry = entry.tb_next


def _is_of(frame, ids, packages):
    """Return whether a frame belongs to one of our storages.

    ids -- of the storages.
    packages -- those whose storages consist of many objects.
    """
    # What is no function, as the body of a class, may have names of any kind.
    if (frame.f_code.co_flags & inspect.CO_OPTIMIZED
            and id(frame.f_locals.get('self')) in ids):
        return True
    module = module_of(frame)
    return module is not None and _package(module) in packages


def _package(name):
    return name.partition('.')[0]


def _lacks_descriptors(exception):
    """Return whether this process cannot open anything any more."""
    # Not by its number: others have looked for a file in vain, and say that
    # there is none.
    return (issubclass(type(exception), OSError)
            and outcome_of(_open_something).failed)


def _open_something():
    os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _take_memory():
    # No page of it is used, so that the limit of the process alone counts.
    bytes(ROOM)


def _lacks_threads(exception):
    """Return whether this process cannot start any thread any more."""
    # No subclass: those of others tell of what is theirs.
    return (any(type(exception) is each for each in THREADLESS)
            and outcome_of(_start_something).failed)


def _start_something():
    # While the interpreter ends, and jobs have their grace, executors take no
    # work any more; threads are still started by some versions of Python.
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int)
