"""What is written down of an exception.

The class of an exception belongs to the application.  Whatever it is asked
for may fail, be endless, or be an object that cannot be stored: so each
question is asked by `outcome_of`, and each answer is made a plain str of a
limited length.
"""

import functools
import traceback
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from lovely.remotetask.foreign.stack import Stacks
from lovely.remotetask.foreign.texts import MESSAGE_SIZE
from lovely.remotetask.foreign.texts import PART_SIZE
from lovely.remotetask.foreign.texts import escaped
from lovely.remotetask.foreign.texts import one_line
from lovely.remotetask.foreign.texts import plain
from lovely.remotetask.foreign.twin import CAUSE
from lovely.remotetask.foreign.twin import CONTEXT
from lovely.remotetask.foreign.twin import TRACEBACK
from lovely.remotetask.foreign.twin import Told
from lovely.remotetask.foreign.twin import following
from lovely.remotetask.foreign.twin import twin_of


# Whoever asks for descriptions finds all of these here.
__all__ = ['MESSAGE_SIZE', 'TRACEBACK_SIZE', 'Description', 'class_names',
           'describe', 'dotted', 'escaped', 'message', 'plain']

# What is kept of a traceback, in characters.
TRACEBACK_SIZE = 16 * 1024

# How many notes of an exception are told.
NOTES = 20

# How many exceptions of a chain of causes are shown to the log.
CAUSES = 8

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
    stacks = Stacks(ask)
    name = ask(dotted, Description().errorClass, type(exception))
    error = _asked_message(exception, name, ask)
    stack = ask(_stack, '', exception, stacks)
    return Description(
        error, name,
        ask(_formatted, f'{stack}{name}: {error}\n', exception, stacks, ask)[
            -TRACEBACK_SIZE:],
        ask(_place, '', exception), ask(_frames, stack, exception, stacks))


def message(exception: BaseException) -> str:
    """Return the message of an exception."""
    return plain(str(exception))


def dotted(class_: type) -> str:
    """Return the dotted name of a class, on one line.

    By `type` itself: a metaclass may answer anything else.
    """
    module = type.__getattribute__(class_, '__module__')
    name = type.__getattribute__(class_, '__qualname__')
    return one_line(f'{module}.{name}')


def class_names(class_: type) -> frozenset[str]:
    """Return the dotted names of a class and of all its base classes."""
    return frozenset(
        dotted(each) for each in type.__getattribute__(class_, '__mro__'))


def _formatted(exception: BaseException, stacks: Stacks,
               ask: Callable[..., Any]) -> str:
    twin = twin_of(exception, functools.partial(_told, stacks, ask))
    # traceback.format_exception is not used, for zope.testrunner replaces it
    # by one that leaves out causes.
    shown = traceback.TracebackException(type(twin), twin, None)
    _put_stacks(shown, twin)
    return ''.join(plain(part, PART_SIZE) for part in shown.format())


def _put_stacks(shown: Any, twin: Any) -> None:
    """Let a formatter show the stacks of a twin and of what hangs on it."""
    left = [(shown, twin)]
    while left:
        shown, twin = left.pop()
        shown.stack = twin.stack
        if shown.exceptions:
            left += zip(shown.exceptions, twin.exceptions, strict=True)
        for found, slot in ((shown.__cause__, CAUSE),
                            (shown.__context__, CONTEXT)):
            if found is not None:
                left.append((found, slot.__get__(twin)))


def _told(stacks: Stacks, ask: Callable[..., Any],
          exception: BaseException) -> Told:
    name = ask(dotted, Description().errorClass, type(exception))
    return Told(name, _asked_message(exception, name, ask),
                ask(_notes, [], exception), stacks.of(exception))


def _asked_message(exception: BaseException, name: str,
                   ask: Callable[..., Any]) -> str:
    return ask(message, f'<unprintable {name.rpartition(".")[2]} object>',
               exception)


def _notes(exception: BaseException) -> list[str]:
    return [plain(str(note))
            for note in getattr(exception, '__notes__', ())[:NOTES]]


def _stack(exception: BaseException, stacks: Stacks) -> str:
    """Return the traceback without asking the exception anything else."""
    lines = stacks.of(exception).format()
    return 'Traceback (most recent call last):\n' + ''.join(lines)


def _place(exception: BaseException) -> str:
    *_, (frame, line) = traceback.walk_tb(TRACEBACK.__get__(exception))
    code = frame.f_code
    return one_line(f'{code.co_filename}:{line}, {code.co_qualname}')


def _frames(exception: BaseException | None, stacks: Stacks) -> str:
    """Return the frames of an exception and its causes, the cause first."""
    found: list[str] = []
    while exception is not None and len(found) < CAUSES:
        stack = _stack(exception, stacks)
        found.append(f'{stack}{dotted(type(exception))}\n')
        exception, _ = following(exception)
    return '\n'.join(reversed(found))[-TRACEBACK_SIZE:]
