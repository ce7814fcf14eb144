"""What is written down of an exception.

The class of an exception belongs to the application.  Whatever it is asked
for may fail, be endless, or be an object that cannot be stored: so each
question is asked by `outcome_of`, and each answer is made a plain str of a
limited length.
"""

import functools
import traceback
import types
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from lovely.remotetask.foreign.twin import TRACEBACK
from lovely.remotetask.foreign.twin import Told
from lovely.remotetask.foreign.twin import following
from lovely.remotetask.foreign.twin import twin_of


# What is kept of a message and of a traceback, in characters.
MESSAGE_SIZE = 4 * 1024
TRACEBACK_SIZE = 16 * 1024

# A part of a traceback: a line of a program, or the message in it.
PART_SIZE = 2 * MESSAGE_SIZE

# How many notes of an exception are told.
NOTES = 20

# How many exceptions of a chain of causes are shown to the log.
CAUSES = 8

# Modules through which a job is called; their lines tell nothing of it.
RUNNERS = frozenset(
    f'lovely.remotetask.{name}' for name in (
        'foreign.outcome', 'running.execution', 'running.group',
        'running.surroundings', 'task'))

UNDESCRIBED = 'The job failed, and the exception could not be described.'


class Description(NamedTuple):
    """What is known of an exception, in plain texts.

    error -- its message.
    errorClass -- dotted name of its class.
    traceback -- its end, of TRACEBACK_SIZE characters at most.
    place -- where it was raised: ``file:line, function``; '' if unknown.
    frames -- lines of the traceback without any message: for logs.
    """

    error: str = UNDESCRIBED
    errorClass: str = 'builtins.BaseException'
    traceback: str = UNDESCRIBED + '\n'
    place: str = ''
    frames: str = ''


def describe(exception: BaseException,
             ask: Callable[..., Any]) -> Description:
    """Return the Description of an exception.

    ask -- called with a function, its default value and arguments: returns
        what the function returns, the default if it fails in any way.
    """
    class_ = type(exception)
    name = ask(dotted, Description().errorClass, class_)
    error = _asked_message(exception, name, ask)
    stack = ask(_stack, '', exception)
    return Description(
        error, name,
        ask(_formatted, f'{stack}{name}: {error}\n', exception, ask)[
            -TRACEBACK_SIZE:],
        ask(_place, '', exception), ask(_frames, stack, exception))


def plain(text: str, size: int = MESSAGE_SIZE) -> str:
    """Return a text as an exact str of limited length.

    The methods of a subclass of str are the application's.
    """
    if type(text) is str and len(text) <= size:
        return text
    length = str.__len__(text)
    # str itself is asked: the method of a subclass may return anything.
    start = str.__getitem__(text, slice(0, size))
    if length > size:
        end = str.__getitem__(text, slice(length - size // 4, length))
        start = (f'{str.__getitem__(text, slice(0, size - size // 4 - 40))}'
                 f' ... ({length} characters) ... {end}')
    # A slice of everything may be the text itself.
    return str.encode(start, 'utf-8', 'surrogatepass').decode(
        'utf-8', 'surrogatepass')


def escaped(text: str) -> str:
    """Return a text on one line, without control characters and surrogates.
    """
    if text.isprintable():
        return text
    return ''.join(
        char if char.isprintable() or char == ' '
        else char.encode('unicode_escape', 'backslashreplace').decode('ascii')
        for char in text)


def message(exception: BaseException) -> str:
    """Return the message of an exception."""
    return plain(str(exception))


def dotted(class_: type) -> str:
    """Return the dotted name of a class.

    By `type` itself: a metaclass may answer anything else.
    """
    module = type.__getattribute__(class_, '__module__')
    name = type.__getattribute__(class_, '__qualname__')
    return plain(f'{module}.{name}', 500)


def class_names(class_: type) -> frozenset[str]:
    """Return the dotted names of a class and of all its base classes."""
    return frozenset(
        dotted(each) for each in type.__getattribute__(class_, '__mro__'))


def _formatted(exception: BaseException, ask: Callable[..., Any]) -> str:
    twin = twin_of(exception, functools.partial(_told, ask))
    # traceback.format_exception is not used, for zope.testrunner replaces it
    # by one that leaves out causes.
    parts = traceback.TracebackException(
        type(twin), twin, _own_traceback(exception)).format()
    return ''.join(plain(part, PART_SIZE) for part in parts)


def _told(ask: Callable[..., Any], exception: BaseException) -> Told:
    name = ask(dotted, Description().errorClass, type(exception))
    return Told(name, _asked_message(exception, name, ask),
                ask(_notes, [], exception))


def _asked_message(exception: BaseException, name: str,
                   ask: Callable[..., Any]) -> str:
    return ask(message, f'<unprintable {name.rpartition(".")[2]} object>',
               exception)


def _notes(exception: BaseException) -> list[str]:
    return [plain(str(note))
            for note in getattr(exception, '__notes__', ())[:NOTES]]


def _stack(exception: BaseException) -> str:
    """Return the traceback without asking the exception anything else."""
    lines = traceback.format_tb(_own_traceback(exception))
    return 'Traceback (most recent call last):\n' + ''.join(
        plain(line, PART_SIZE) for line in lines)


def _own_traceback(
        exception: BaseException) -> types.TracebackType | None:
    """Return the traceback from where it has left this package.

    All of it where it was raised in here.
    """
    whole = entry = TRACEBACK.__get__(exception)
    while entry is not None and entry.tb_frame.f_globals.get(
            '__name__') in RUNNERS:
        entry = entry.tb_next
    return whole if entry is None else entry


def _place(exception: BaseException) -> str:
    *_, (frame, line) = traceback.walk_tb(TRACEBACK.__get__(exception))
    code = frame.f_code
    return plain(f'{code.co_filename}:{line}, {code.co_qualname}', 500)


def _frames(exception: BaseException | None) -> str:
    """Return the frames of an exception and its causes, the cause first."""
    found: list[str] = []
    while exception is not None and len(found) < CAUSES:
        found.append(f'{_stack(exception)}{dotted(type(exception))}\n')
        exception, _ = following(exception)
    return '\n'.join(reversed(found))[-TRACEBACK_SIZE:]
