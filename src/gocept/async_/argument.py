"""Take the arguments of a call as they are, or say why that cannot be."""

import io
import pickle

import persistent
import persistent.wref
from zope.security.proxy import Proxy
from zope.security.proxy import removeSecurityProxy

from gocept.async_.database import place
from lovely.remotetask.outcome import attempt


# Immutable all the way down: nothing to copy, nothing to check.
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})

_BY_REFERENCE = (persistent.Persistent, persistent.wref.WeakRef)


def copy_arguments(service, args, kwargs):
    """Return copies of the arguments, as they would be read back.

    service -- the persistent object they will be stored under.

    A copy, because the caller may change a list after the call.  Persistent
    objects are not copied: they are stored by reference.

    Raise TypeError if an argument cannot be stored.
    """
    named = [(f'argument {number}', value)
             for number, value in enumerate(args, 1)]
    named += [(f'argument {name!r}', value) for name, value in kwargs.items()]
    if all(type(value) in _ATOMS for _, value in named):
        return args, kwargs
    # All at once, so that what they share is shared by the copies.
    copied = _copy(service._p_jar, (args, kwargs))
    if copied.failed:
        _raise_for_one(service._p_jar, copied, named)
    return copied.value


def _copy(connection, value):
    """Return an Outcome with a copy of the value."""
    # Pickling runs code of any class: it may fail in any way.
    return attempt(_References(connection).copy, value)


def _raise_for_one(connection, failed, named):
    """Raise the error of a failed copy, naming the argument that failed."""
    if failed.retryable:
        raise failed.exception
    for name, value in named:
        if _copy(connection, value).failed:
            class_name = type(removeSecurityProxy(value)).__name__
            raise TypeError(
                f'{name} ({class_name}) cannot be stored with an '
                f'asynchronous call: {failed.error}.') from failed.exception
    raise failed.exception


class _References:
    """Keeps persistent objects out of the pickles of a call."""

    def __init__(self, connection):
        self._connection = connection
        self._objects = {}

    def copy(self, value):
        """Return what is read back once the value is stored."""
        copied = _Unpickler(self._dump(value), self._objects).load()
        self._check_new()
        for found in self._objects.values():
            place(found, self._connection)
        return copied

    def _check_new(self):
        """Pickle the state of persistent objects that are not stored yet."""
        checked = set()
        while unchecked := self._objects.keys() - checked:
            for key in unchecked:
                found = self._objects[key]
                if getattr(found, '_p_jar', self) is None:
                    self._dump((type(found), found.__getstate__()))
            checked |= unchecked

    def _dump(self, value):
        stream = io.BytesIO()
        _Pickler(stream, self._reference).dump(value)
        return stream.getvalue()

    def _reference(self, value):
        # isinstance believes what a proxy says of its class.
        if type(value) is Proxy:
            raise TypeError(
                'a security proxy cannot be stored; pass the object itself '
                '(zope.security.proxy.removeSecurityProxy)')
        if not issubclass(type(value), _BY_REFERENCE):
            return None
        self._check_connection(value)
        self._objects[id(value)] = value
        return id(value)

    def _check_connection(self, value):
        jar = getattr(value, '_p_jar', None)
        if None in (jar, self._connection):
            return
        # The databases of one application share this mapping.
        if (jar is not self._connection
                and jar.connections is not self._connection.connections):
            raise TypeError(
                'it was loaded by another database connection; load it by '
                'the one of the current request')


class _Pickler(pickle.Pickler):
    """Leaves out what a function gives a reference for."""

    # Not an attribute of a plain Pickler: Python 3.13.0 makes it read-only.

    def __init__(self, stream, reference):
        super().__init__(stream, protocol=3)
        self._reference = reference

    def persistent_id(self, value):
        return self._reference(value)


class _Unpickler(pickle.Unpickler):
    """Takes what was left out from a mapping."""

    def __init__(self, pickled, objects):
        super().__init__(io.BytesIO(pickled))
        self._objects = objects

    def persistent_load(self, reference):
        return self._objects[reference]
