"""What people are told of a job: texts, made without its application's code.

An input or a result is never loaded: its record is read with stand-ins in
place of all objects, so no page runs code of their classes.
"""

import datetime
import decimal
import functools
import reprlib
import uuid

import persistent
import zope.component
import zope.interface
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask import interfaces
from lovely.remotetask.foreign import record
from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.job import Value
from lovely.remotetask.job import is_call


# How long a name and the text of a value may be, in characters.
NAME_SIZE = 500
VALUE_SIZE = 2000

# What the records of applications are full of; they cannot be subclassed by
# their name, and their repr says all.
KNOWN = {(class_.__module__, class_.__name__): class_ for class_ in (
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
    datetime.timezone, decimal.Decimal, uuid.UUID, set, frozenset, complex,
    bytearray)}

UNREADABLE = '<unreadable>'


class _Repr(reprlib.Repr):
    """The repr of plain values and of stand-ins, within limits."""

    def __init__(self):
        super().__init__()
        self.maxlevel = 6
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 20
        self.maxfrozenset = self.maxdeque = 20
        self.maxstring = self.maxother = 300
        self.maxlong = 100


_repr = _Repr()


@zope.component.adapter(interfaces.IJob)
@zope.interface.implementer(interfaces.IJobTexts)
class JobTexts:
    """See IJobTexts."""

    def __init__(self, job):
        self._job = removeSecurityProxy(job)

    @property
    def arguments(self):
        """See IJobTexts."""
        call = self._call
        if '_f' not in call:
            return [('input', text_of(self._payload('input')))]
        args, kwargs = call.get('args') or (), call.get('kwargs') or {}
        if not (isinstance(args, tuple | list) and isinstance(kwargs, dict)):
            return [('arguments', UNREADABLE)]
        return [*((str(number), text_of(each))
                  for number, each in enumerate(args, 1)),
                *((plain(str(name), NAME_SIZE), text_of(each))
                  for name, each in kwargs.items())]

    @property
    def result(self):
        """See IJobTexts."""
        return text_of(self._payload('output'))

    @functools.cached_property
    def _call(self):
        """The state of a stored call, {} if there is none."""
        stored = self._stored('input')
        return (_state(stored) or {}) if is_call(stored) else {}

    def _stored(self, name):
        """Return what the record of the job has of a payload."""
        # A stand-in for a job that cannot be read has no such record.
        if isinstance(self._job, persistent.Persistent):
            self._job._p_activate()
        return vars(self._job).get(name)

    def _payload(self, name):
        """Return a value, with stand-ins for all that is not plain."""
        stored = self._stored(name)
        if type(stored) is Value:
            return (_state(stored) or {}).get('value', _Unreadable())
        return (_state(stored) or _Unreadable()) if is_call(stored) \
            else stored


class _Unreadable:

    def __repr__(self):
        return UNREADABLE


def _state(stored):
    """Return the state of a persistent object, without loading it.

    None if it cannot be read.
    """
    if stored._p_jar is None or stored._p_changed:
        # The job is not stored yet, or was changed: whoever has done that
        # looks at it.
        return dict(vars(stored))
    found = record.state(stored, KNOWN)
    return found if type(found) is dict else None


def text_of(found):
    """Return the text of a value: plain ones and stand-ins alone."""
    made = outcome_of(_repr.repr, found)
    return UNREADABLE if made.failed else plain(made.value, VALUE_SIZE)
