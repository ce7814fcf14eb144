"""Make a copy of a value as the database would: pickled, and read back.

That runs code of any class, which may do and raise anything.
"""

import io
import types
import zoneinfo

import persistent
import persistent.wref
import zodbpickle.pickle
from zope.security.proxy import Proxy

from lovely.remotetask.part import home


_ATOMS = (type(None), bool, int, float, complex, str, bytes)

# Values of these classes are immutable all the way down: there is nothing to
# copy or to check.  The ids of the classes are compared, for a metaclass may
# have made a class one that cannot be hashed.
ATOM_IDS = frozenset(map(id, _ATOMS))

# What is read back of a value of these classes is of the same class, and can
# be stored again.
PLAIN_IDS = ATOM_IDS | frozenset(map(id, (list, tuple, dict, set,
                                          frozenset)))

# The modules of a script: no other process finds what is defined there.
SCRIPTS = ('__main__', '__mp_main__')

# A pickle holds of these only the name.
_NAMED = (type, types.FunctionType)

# What a pickle adds to an atom, in bytes, at most.
OPCODES = 32

# How long a text has to be for it to pay to remember that it was counted.
_SHORT = 64


class TooLarge(ValueError):
    """A value takes more bytes than its service allows."""


class Refused(TypeError):
    """A value cannot be stored, for a reason that is known here."""


class Copier:
    """Pickles one value as the database does, and reads it back."""

    def __init__(self, connection, limit):
        self._connection = connection
        self._limit = limit
        self._size = 0
        # The persistent objects that were met, by their ids; and those whose
        # state is still to be checked.
        self._objects = {}
        self._new = []

    def copy(self, value, found):
        """Return the copy.  Raise anything; TooLarge with the size."""
        pickled, is_plain = self._dump(value)
        copied = self._load(pickled)
        if not is_plain:
            # A class may make something else of its pickle; so the copy is
            # pickled once more.
            self._size = 0
            self._dump(copied)
        self._check_new()
        for each in self._objects.values() if found else ():
            found(each)
        return copied

    def _dump(self, value):
        """Return a pickle, and whether only plain objects are in it."""
        pickler = _Pickler(self._refer, _Counter(self._limit, self._size))
        pickler.dump(value)
        pickled = pickler.stream.getvalue()
        self._size += len(pickled)
        if self._limit is not None and self._size > self._limit:
            raise TooLarge(str(self._size))
        return pickled, pickler.is_plain

    def _load(self, pickled):
        return _Unpickler(pickled, self._objects).load()

    def _check_new(self):
        """Check the state of persistent objects that are not stored yet."""
        located = []
        while self._new:
            found = self._new.pop()
            if home(found) is None:
                self._check_state(found)
            else:
                located.append(found)
        # New objects that are part of the content are stored whether there is
        # a job or not, so their size does not count.
        self._limit = None
        self._new = located
        while self._new:
            self._check_state(self._new.pop())

    def _check_state(self, found):
        new_args = getattr(found, '__getnewargs__', tuple)()
        pickled, _ = self._dump((type(found), new_args, found.__getstate__()))
        _check_loading(*self._load(pickled))

    def _refer(self, value):
        """Return the reference of a persistent object, None for others."""
        # isinstance believes what a proxy says of its class.
        class_ = type(value)
        if issubclass(class_, Proxy):
            raise Refused(
                'a security proxy cannot be stored; pass the object itself '
                '(zope.security.proxy.removeSecurityProxy)')
        if issubclass(class_, persistent.wref.WeakRef):
            self._remember(value)
            if value.oid is None and value() is not None:
                # A commit stores the target of the weak reference, too.
                self._remember_object(value())
            return id(value)
        if issubclass(class_, persistent.Persistent):
            self._remember_object(value)
            return id(value)
        if issubclass(class_, zoneinfo.ZoneInfo):
            raise Refused(
                'ZODB cannot store a zoneinfo.ZoneInfo, nor a time with one; '
                'hand over the time in UTC, value.astimezone(datetime.UTC), '
                'and the name of the zone if you need it')
        if issubclass(class_, _NAMED):
            _check_findable(value.__module__, value.__qualname__)
            _check_top_level(value.__module__, value.__qualname__)
        return None

    def _remember(self, value):
        is_new = id(value) not in self._objects
        self._objects[id(value)] = value
        return is_new

    def _remember_object(self, value):
        if not self._remember(value):
            return
        class_ = type(value)
        _check_findable(class_.__module__, class_.__qualname__)
        jar = value._p_jar
        if jar is None:
            self._new.append(value)
        elif self._connection is not None:
            _check_connections(self._connection, jar)


class _Counter:
    """Adds up what a pickle takes at least, to stop before it is made."""

    def __init__(self, limit, size):
        self._limit = limit
        self._size = size
        # The objects are kept here, so that no other one gets the same id.
        self._counted = {}

    def count(self, value):
        """Count an object.  Raise TooLarge if that is one too many."""
        if self._limit is None:
            return
        self._size += 1 + self._length(value)
        if self._size > self._limit:
            raise TooLarge(str(self._size))

    def _length(self, value):
        class_ = type(value)
        if class_ is int:
            return value.bit_length() // 8
        if class_ is bytearray and len(value) > self._limit:
            # The pickler makes a copy of a bytearray and counts that; this
            # stops before so large a copy is made.
            return len(value)
        if class_ is not str and class_ is not bytes:
            return 0
        if len(value) > _SHORT:
            # A pickle holds an object once, however often it is referred to.
            if id(value) in self._counted:
                return 0
            self._counted[id(value)] = value
        return len(value)


class _Pickler(zodbpickle.pickle.Pickler):
    """Pickles as ZODB does, and asks for references to some objects."""

    def __init__(self, refer, counter):
        self.stream = io.BytesIO()
        super().__init__(self.stream, 3)
        self.is_plain = True
        self._refer = refer
        self._counter = counter

    def persistent_id(self, value):
        self._counter.count(value)
        if id(type(value)) in PLAIN_IDS:
            return None
        check_class(value)
        reference = self._refer(value)
        self.is_plain = self.is_plain and reference is not None
        return reference


def check_class(value):
    """Raise what an object raises when it is asked for its class.

    zodbpickle asks, too, and does not look whether that has failed: it crashes
    with the whole process.
    """
    value.__class__  # noqa: B018


class _Unpickler(zodbpickle.pickle.Unpickler):
    """Takes what was left out from a mapping, and knows no script."""

    def __init__(self, pickled, objects):
        super().__init__(io.BytesIO(pickled))
        self._objects = objects

    def persistent_load(self, reference):
        return self._objects[reference]

    def find_class(self, module, name):
        _check_findable(module, name)
        return super().find_class(module, name)


def _check_loading(class_, new_args, state):
    """Raise what a class raises when the database makes its object."""
    made = class_.__new__(class_, *new_args)
    # Others only take what they are given.
    if isinstance(class_.__setstate__, types.FunctionType):
        made.__setstate__(state)


def _check_findable(module, name):
    """Raise Refused for what no other process could import."""
    # Lambdas and what is local have signs in their names.
    if module in SCRIPTS or '<' in name:
        raise Refused(
            f'{module}.{name} is defined in a script or a function, where no '
            f'other process finds it; put it at the top of an importable '
            f'module')


def _check_top_level(module, name):
    """Raise Refused for what ZODB would look for in its module in vain."""
    if '.' in name:
        raise Refused(
            f'{module}.{name} is defined in a class, where ZODB does not find '
            f'it; put it at the top of its module')


def _check_connections(connection, jar):
    """Raise Refused unless one database may refer to the other."""
    # The databases of one application share this mapping.
    if jar is connection:
        return
    if jar.connections is not connection.connections:
        raise Refused(
            'it was loaded by another database connection; load it by '
            'the one of the current request')
    if not connection.db().xrefs:
        raise Refused(
            f'it is in another database, and '
            f'"{connection.db().database_name}" does not allow references '
            f'to others')
