"""Values as the database gives them back, or the reason why it does not.

To pickle a value and to read it back runs code of any class, which may do and
raise anything; so all of that is done by `attempt`.
"""

import io
import itertools
import types

import persistent
import persistent.wref
import zodbpickle.pickle
from transaction.interfaces import TransientError
from ZODB import POSException
from ZODB.broken import Broken
from zope.security.proxy import Proxy
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask.outcome import attempt
from lovely.remotetask.part import parents


_ATOMS = (type(None), bool, int, float, complex, str, bytes)

# Immutable all the way down: nothing to copy, nothing to check.  By their
# ids: a metaclass may have made any other class one that cannot be hashed.
_ATOM_IDS = frozenset(map(id, _ATOMS))

# What of these is read back is of the same class, and can be stored again.
_PLAIN_IDS = _ATOM_IDS | frozenset(map(id, (list, tuple, dict, set,
                                            frozenset)))

# The modules of a script: no other process finds what is defined there.
_SCRIPTS = ('__main__', '__mp_main__')

# A pickle has the names of these, and nothing else.
_NAMED = (type, types.FunctionType)

# What a pickle adds to an atom, in bytes, at most.
_OPCODES = 32

# Shorter texts are not worth remembering that they were counted.
_SHORT = 64

# How much of a foreign message is shown, in characters.
_MESSAGE_SIZE = 500

# Early versions of ZODB raise what the class has raised.
_STATE_ERRORS = (POSException.POSKeyError, getattr(
    POSException, 'StateLoadError', POSException.POSKeyError))


class TooLarge(ValueError):
    """A value takes more bytes than its service allows."""


class _Refused(TypeError):
    """A value cannot be stored, for a reason that is known here."""


def copy(value, connection, limit=None, what='the value', found=None):
    """Return a value as it is going to be read back from the database.

    value -- anything.  Persistent objects are not copied: they are stored by
        reference.
    connection -- of the object that will hold the value; None for one that
        is not stored.
    limit -- int, how many bytes the value may take; None for any number.
        New persistent objects count, but those that are located in stored
        ones: these are stored there.
    what -- str, what messages call the value.
    found -- called with each persistent object that is referred to, once all
        of them are checked.

    Raise TypeError if the value cannot be stored or read back, and TooLarge,
    a ValueError.  What a database raises (a conflict, a lost connection) is
    raised as it is: it says nothing of the value.
    """
    if is_small(value, limit):
        return value
    copied = attempt(_Copier(connection, limit).copy, value, found)
    if copied.failed:
        _complain(copied, value, what, limit)
    return copied.value


def is_small(value, limit=None):
    """Return whether a value is its own copy, and surely within a limit.

    Cheap: runs no code of a class, and makes no pickle.
    """
    class_ = type(value)
    if id(class_) not in _ATOM_IDS:
        return False
    if limit is None:
        return True
    if class_ is int:
        return value.bit_length() < 8 * limit - _OPCODES
    if class_ is str or class_ is bytes:
        # UTF-8 has four bytes for a character at most.
        return 4 * len(value) < limit - _OPCODES
    return limit > _OPCODES


def class_name(class_):
    """Return module and name of a class (str), whatever it says of them."""
    # Joined and not formatted: that would call what a subclass of str has.
    named = attempt(lambda: '.'.join((class_.__module__,
                                      class_.__qualname__)))
    return type.__repr__(class_) if named.failed else named.value


def broken(value):
    """Return the names of the classes whose objects in a value are broken.

    A sorted list of str: classes that were there when the value was stored,
    and that the code of today does not have.

    Looks into plain objects, not into persistent ones.
    """
    finder = _BrokenFinder()
    # What cannot be pickled any more has shown so far what is broken in it.
    looked = attempt(finder.dump, value)
    if looked.failed and is_of_database(looked):
        raise looked.exception
    return sorted(finder.names)


def is_of_database(failure):
    """Return whether a database has failed, and not what is stored in it.

    failure -- an Outcome.
    """
    class_ = type(failure.exception)
    return failure.retryable or issubclass(class_, TransientError) or (
        issubclass(class_, POSException.POSError)
        and not issubclass(class_, _STATE_ERRORS))


def reason(failure):
    """Return what to say of a failure to load or store something (str).

    failure -- an Outcome.
    """
    exception = failure.exception
    if type(exception) is _Refused:
        return failure.error[:_MESSAGE_SIZE]
    if (issubclass(type(exception), _STATE_ERRORS)
            and exception.__cause__ is not None):
        # The database says that it has failed, and nothing else.
        failure = attempt(_raise, exception.__cause__)
    return f'{failure.errorClass}: {failure.error}'[:_MESSAGE_SIZE]


def function_name(input):
    """Return the name of the function of a stored call (str).

    input -- that of any job.

    None if it is no stored call, or does not say a name.
    """
    found = attempt(getattr, input, 'function_name', None)
    if found.failed and is_of_database(found):
        raise found.exception
    return found.value if type(found.value) is str else None


def home(location):
    """Return the connection of the nearest parent that is stored, or None."""
    connections = (getattr(each, '_p_jar', None) for each in parents(location))
    return next((each for each in connections if each is not None), None)


def _complain(copied, value, what, limit):
    """Raise the error of a failed copy."""
    if is_of_database(copied):
        raise copied.exception
    subject = f'{what} ({_short_name(type(removeSecurityProxy(value)))})'
    if type(copied.exception) is TooLarge:
        raise TooLarge(
            f'{subject} takes at least {copied.error} bytes, and {limit} are '
            f'allowed (max_size of the service); hand over an object that '
            f'the application stores, or the key under which it is found.')
    raise TypeError(
        f'{subject} cannot be stored: {reason(copied)}.') from copied.exception


def _raise(exception):
    raise exception


def _short_name(class_):
    # Not by the attribute: a metaclass may have one of its own.  Joined, as
    # in `class_name`.
    return ''.join(('', type.__dict__['__name__'].__get__(class_)))


class _Copier:
    """Pickles one value as the database does, and reads it back."""

    def __init__(self, connection, limit):
        self._connection = connection
        self._limit = limit
        self._size = 0
        # Persistent objects by their ids; and those not looked into yet.
        self._objects = {}
        self._new = []

    def copy(self, value, found):
        """Return the copy.  Raise anything; TooLarge with the size."""
        pickled, is_plain = self._dump(value)
        copied = self._load(pickled)
        if not is_plain:
            # What a class makes of its pickle may be something else.
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
        # These are stored, with what they hold, whether there is a job or
        # not.
        self._limit = None
        self._new = located
        while self._new:
            self._check_state(self._new.pop())

    def _check_state(self, found):
        new_args = getattr(found, '__getnewargs__', tuple)()
        pickled, _ = self._dump((type(found), new_args, found.__getstate__()))
        self._load(pickled)

    def _refer(self, value):
        """Return the reference of a persistent object, None for others."""
        # isinstance believes what a proxy says of its class.
        class_ = type(value)
        if issubclass(class_, Proxy):
            raise _Refused(
                'a security proxy cannot be stored; pass the object itself '
                '(zope.security.proxy.removeSecurityProxy)')
        if issubclass(class_, persistent.wref.WeakRef):
            self._note(value)
            if value.oid is None and value() is not None:
                # A commit stores this one, too.
                self._note_object(value())
            return id(value)
        if issubclass(class_, persistent.Persistent):
            self._note_object(value)
            return id(value)
        if issubclass(class_, _NAMED):
            _check_findable(value.__module__, value.__qualname__)
        return None

    def _note(self, value):
        is_new = id(value) not in self._objects
        self._objects[id(value)] = value
        return is_new

    def _note_object(self, value):
        if not self._note(value):
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
        # Kept, so that no other object has the same id.
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
            # Before it is pickled as a copy, which is then counted.
            return len(value)
        if class_ is not str and class_ is not bytes:
            return 0
        if len(value) > _SHORT:
            # A pickle has each object once.
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
        if id(type(value)) in _PLAIN_IDS:
            return None
        reference = self._refer(value)
        self.is_plain = self.is_plain and reference is not None
        return reference


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


class _Nowhere:
    """A file that forgets what is written to it."""

    def write(self, data):
        return len(data)


class _BrokenFinder(zodbpickle.pickle.Pickler):
    """Goes through a value, and notes the classes that are gone."""

    def __init__(self):
        super().__init__(_Nowhere(), 3)
        self.names = set()
        self._numbers = itertools.count()

    def persistent_id(self, value):
        class_ = type(value)
        if id(class_) in _PLAIN_IDS:
            return None
        if issubclass(class_, persistent.wref.WeakRef):
            self._note_target(value)
        elif issubclass(class_, type):
            # A class that is gone, given as a value.
            return self._note(value)
        elif not issubclass(class_, persistent.Persistent):
            return self._note(class_)
        self._note(class_)
        return next(self._numbers)

    def _note_target(self, reference):
        target = attempt(reference)
        if not target.failed:
            self._note(type(target.value))
        elif is_of_database(target):
            raise target.exception

    def _note(self, class_):
        """Note a class; return an id for it if it is gone, else None."""
        if not issubclass(class_, Broken):
            return None
        self.names.add(class_name(class_))
        return next(self._numbers)


def _check_findable(module, name):
    """Raise _Refused for what no other process could import."""
    # Lambdas and what is local have signs in their names.
    if module in _SCRIPTS or '<' in name:
        raise _Refused(
            f'{module}.{name} is defined in a script or a function, where no '
            f'other process finds it; put it at the top of an importable '
            f'module')


def _check_connections(connection, jar):
    """Raise _Refused unless one database may refer to the other."""
    # The databases of one application share this mapping.
    if jar is connection:
        return
    if jar.connections is not connection.connections:
        raise _Refused(
            'it was loaded by another database connection; load it by '
            'the one of the current request')
    if not connection.db().xrefs:
        raise _Refused(
            f'it is in another database, and '
            f'"{connection.db().database_name}" does not allow references '
            f'to others')
