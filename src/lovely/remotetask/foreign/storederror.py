"""Exceptions that lovely.remotetask 0.5 has stored as objects, as texts.

Their classes may be gone, and what Python 2 had as text in them may be bytes.
"""

from typing import NamedTuple

from ZODB.broken import Broken

from lovely.remotetask.foreign.description import dotted
from lovely.remotetask.foreign.description import message
from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.outcome import undescribed


# These make the message of the arguments alone, the second one of a single one
# by `repr`.
_OF_ARGUMENTS = BaseException.__str__, KeyError.__str__

_ARGUMENTS = vars(BaseException)['args']


class Text(NamedTuple):
    """What is told of a stored exception.

    error -- its message.
    errorClass -- dotted name of its class; None for what is no exception.
    """

    error: str
    errorClass: str | None


def text_of(stored):
    """Return the Text of whatever was stored as the error of a job."""
    if issubclass(type(stored), str | bytes):
        # Python 2 could raise texts.
        return Text(plain(_decoded(stored)), None)
    told = outcome_of(_message, stored, describe=undescribed)
    name = outcome_of(dotted, type(stored), describe=undescribed).value
    if told.failed:
        short = (name or 'unknown').rpartition('.')[2]
        return Text(f'<unprintable {short} object>', name)
    return Text(told.value, name)


def _message(stored):
    class_ = type(stored)
    if issubclass(class_, Broken):
        arguments = vars(stored).get('__Broken_newargs__') or ()
        return plain(_of_arguments(arguments))
    arguments = _ARGUMENTS.__get__(stored)
    how = class_.__str__
    if how not in _OF_ARGUMENTS or not _has_bytes(arguments):
        return message(stored)
    if how is KeyError.__str__ and len(arguments) == 1:
        return plain(repr(_decoded(arguments[0])))
    return plain(_of_arguments(arguments))


def _of_arguments(arguments):
    """Return the message of an exception with some arguments (a tuple)."""
    found = tuple(_decoded(each) for each in arguments)
    return str(found[0]) if len(found) == 1 else str(found) if found else ''


def _has_bytes(arguments):
    return any(type(each) is bytes for each in arguments)


def _decoded(value):
    """Return bytes as the text that they were; anything else as it is."""
    if not issubclass(type(value), bytes):
        return value
    try:
        return bytes.decode(value, 'utf-8')
    except UnicodeDecodeError:
        # Any bytes are text in this encoding.
        return bytes.decode(value, 'latin-1')
