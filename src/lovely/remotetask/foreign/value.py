"""Values as the database gives them back, or the reason why it does not.

To pickle a value and to read it back runs code of any class, which may do and
raise anything; so all of that is done by `outcome_of`.
"""

import itertools

import persistent
import persistent.wref
import zodbpickle.pickle
from transaction.interfaces import TransientError
from ZODB import POSException
from ZODB.broken import Broken
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask.foreign.copier import ATOM_IDS
from lovely.remotetask.foreign.copier import OPCODES
from lovely.remotetask.foreign.copier import PLAIN_IDS
from lovely.remotetask.foreign.copier import Copier
from lovely.remotetask.foreign.copier import Refused
from lovely.remotetask.foreign.copier import TooLarge
from lovely.remotetask.foreign.copier import check_class
from lovely.remotetask.foreign.outcome import failure_of
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.texts import one_line
from lovely.remotetask.foreign.twin import CAUSE


# Whoever copies values finds all of these here.
__all__ = ['TooLarge', 'broken', 'class_name', 'copy', 'function_name',
           'is_of_database', 'is_small', 'reason', 'unstorable']


# Bytes that an input or a result may take whatever the limit of a service is.
SMALL = 100

# How much of a foreign message is shown, in characters.
_MESSAGE_SIZE = 500

# Early versions of ZODB raise what the class has raised.
_STATE_ERRORS = (POSException.POSKeyError, getattr(
    POSException, 'StateLoadError', POSException.POSKeyError))


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
    copied = outcome_of(Copier(connection, limit).copy, value, found)
    if copied.failed:
        _complain(copied, value, what, limit)
    return copied.value


def unstorable(state, connection):
    """Return why a state cannot be stored again (str), None if it can.

    state -- of a persistent object that is stored.
    connection -- that of the object; None if it is in no database.

    So it is where a class or a function is gone that the state refers to, or
    refuses to be pickled by now: the commit would fail.
    """
    copied = outcome_of(Copier(connection, None).copy, state, None)
    if not copied.failed:
        return None
    if is_of_database(copied):
        raise copied.exception
    return reason(copied)


def is_small(value, limit=None):
    """Return whether a value is its own copy, and surely within a limit.

    Cheap: runs no code of a class, and makes no pickle.
    """
    class_ = type(value)
    if id(class_) not in ATOM_IDS:
        return False
    if limit is None:
        return True
    if class_ is int:
        return value.bit_length() < 8 * limit - OPCODES
    if class_ is str or class_ is bytes:
        # UTF-8 has four bytes for a character at most.
        return 4 * len(value) < limit - OPCODES
    return limit > OPCODES


def class_name(class_):
    """Return module and name of a class, whatever it says of them.

    A str, on one line.
    """
    # The names are joined, not formatted: formatting would call methods of a
    # subclass of str.
    named = outcome_of(lambda: '.'.join((class_.__module__,
                                      class_.__qualname__)))
    return one_line(
        type.__repr__(class_) if named.failed else named.value)


def broken(value):
    """Return the names of the classes whose objects in a value are broken.

    A sorted list of str: classes that were there when the value was stored,
    and that the code of today does not have.

    Looks into plain objects, not into persistent ones.
    """
    finder = _BrokenFinder()
    # A value that cannot be pickled any more has shown up to there what is
    # broken in it.
    looked = outcome_of(finder.dump, value)
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
    if type(exception) is Refused:
        return failure.error[:_MESSAGE_SIZE]
    if issubclass(type(exception), _STATE_ERRORS):
        # The database says that it has failed, and nothing else.
        cause = CAUSE.__get__(exception)
        failure = failure if cause is None else failure_of(cause)
    return f'{failure.errorClass}: {failure.error}'[:_MESSAGE_SIZE]


def function_name(input):
    """Return the name of the function of a stored call (str).

    input -- that of any job.

    None if it is no stored call, or does not say a name.
    """
    found = outcome_of(getattr, input, 'function_name', None)
    if found.failed and is_of_database(found):
        raise found.exception
    return found.value if type(found.value) is str else None


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


def _short_name(class_):
    # The slot of `type` is asked, for a metaclass may have an attribute of its
    # own.  The name is joined for the reason that `class_name` has.
    return ''.join(('', type.__dict__['__name__'].__get__(class_)))


class _Nowhere:
    """A file that forgets what is written to it."""

    def write(self, data):
        return len(data)


class _BrokenFinder(zodbpickle.pickle.Pickler):
    """Goes through a value, and finds the classes that are gone."""

    def __init__(self):
        super().__init__(_Nowhere(), 3)
        self.names = set()
        self._numbers = itertools.count()

    def persistent_id(self, value):
        class_ = type(value)
        if id(class_) in PLAIN_IDS:
            return None
        check_class(value)
        if issubclass(class_, persistent.wref.WeakRef):
            self._look_at_target(value)
        elif issubclass(class_, type):
            # A class that is gone, given as a value.
            return self._look_at(value)
        elif not issubclass(class_, persistent.Persistent):
            return self._look_at(class_)
        self._look_at(class_)
        return next(self._numbers)

    def _look_at_target(self, reference):
        target = outcome_of(reference)
        if not target.failed:
            self._look_at(type(target.value))
        elif is_of_database(target):
            raise target.exception

    def _look_at(self, class_):
        """Return an id for a class if it is gone, else None."""
        if not issubclass(class_, Broken):
            return None
        self.names.add(class_name(class_))
        return next(self._numbers)


