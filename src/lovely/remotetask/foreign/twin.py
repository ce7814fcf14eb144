"""Plain exceptions in the place of others, for who formats tracebacks.

Python's formatter asks an exception, its causes and the members of groups for
whatever it likes, and goes on for as long as it is answered: by a new cause
each time, or by groups that hold one another many times over.  The twin of an
exception runs no code of its class, and has a limited number of causes and
members.
"""

import traceback
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple
from typing import TypeGuard

from lovely.remotetask.foreign.texts import PART_SIZE
from lovely.remotetask.foreign.texts import plain


# What an exception is given when it is raised; and those that a group holds.
# The class of one may have anything else under these names.
TRACEBACK, CAUSE, CONTEXT, IS_SUPPRESSED = (
    vars(BaseException)[name] for name in (
        '__traceback__', '__cause__', '__context__', '__suppress_context__'))
MEMBERS = vars(BaseExceptionGroup)['exceptions']

# How many exceptions are told of in all; how many members of a group; and how
# deep groups in groups are.  The formatter shows no more of the last two.
MOST = 100
WIDTH = 15
DEPTH = 10

# What a SyntaxError says of the error and its place: texts, and numbers that
# are to be less than these.  As many signs as a column says are shown below
# the line.
_TEXTS = 'msg', 'filename', 'text'
_NUMBERS = {'lineno': 10 ** 9, 'end_lineno': 10 ** 9,
            'offset': PART_SIZE, 'end_offset': PART_SIZE}


class Told(NamedTuple):
    """What an exception says of itself, in plain texts.

    name -- of its class.
    message -- see Description.error.
    notes -- list of str.
    stack -- its frames, which its twin has as an attribute; the twin itself
        has no traceback.
    """

    name: str
    message: str
    notes: list[str]
    stack: traceback.StackSummary


def twin_of(exception: BaseException,
            tell: Callable[[BaseException], Told]) -> BaseException:
    """Return a twin of an exception, with twins of what hangs on it."""
    return _Twins(tell).of(exception)


def following(
        exception: BaseException) -> tuple[BaseException | None, Any]:
    """Return what an exception was raised from, and the slot of that."""
    cause = CAUSE.__get__(exception)
    if cause is not None or IS_SUPPRESSED.__get__(exception):
        return cause, CAUSE
    return CONTEXT.__get__(exception), CONTEXT


class _Twins:
    """Makes the twins of one exception and of what hangs on it."""

    def __init__(self, tell: Callable[[BaseException], Told]) -> None:
        self._tell = tell
        # By id: a class may have made others equal, or refuse a hash.
        self._seen: dict[int, BaseException] = {}

    def of(self, exception: BaseException, depth: int = 0) -> BaseException:
        """Return the twin of an exception; depth -- see DEPTH."""
        first = twin = self._alone(exception, depth)
        found, slot = following(exception)
        while self._is_new(found):
            cause = self._alone(found, depth)
            slot.__set__(twin, cause)
            twin = cause
            found, slot = following(found)
        return first

    def _is_new(self, exception: BaseException | None
                ) -> TypeGuard[BaseException]:
        return (exception is not None and id(exception) not in self._seen
                and len(self._seen) < MOST)

    def _alone(self, exception: BaseException, depth: int) -> BaseException:
        self._seen[id(exception)] = exception
        told = self._tell(exception)
        made = self._made(exception, told, depth)
        made.stack = told.stack
        for note in told.notes:
            made.add_note(note)
        return made

    def _made(self, exception: BaseException, told: Told,
              depth: int) -> Any:
        class_ = type(exception)
        if issubclass(class_, SyntaxError):
            return _place_like(exception, _class(SyntaxError, told)())
        members = list(self._members(exception, depth + 1)) if issubclass(
            class_, BaseExceptionGroup) and depth < DEPTH else []
        if members:
            return _class(BaseExceptionGroup, told)('', members)
        return _class(Exception, told)()

    def _members(self, group: BaseException,
                 depth: int) -> Iterator[BaseException]:
        for member in MEMBERS.__get__(group)[:WIDTH]:
            if self._is_new(member):
                yield self.of(member, depth)


def _class(base: type, told: Told) -> Any:
    """Return a class of exceptions that says what was told."""
    return type('Twin', (base,), {
        '__module__': 'builtins',
        '__qualname__': told.name.removeprefix('builtins.'),
        '__str__': lambda self: told.message})


def _place_like(exception: BaseException, twin: Any) -> BaseException:
    """Tell a SyntaxError where another one was."""
    twin.msg = str(twin)
    for name in _TEXTS:
        found = vars(SyntaxError)[name].__get__(exception)
        if type(found) is str:
            setattr(twin, name, plain(found, PART_SIZE))
    for name, limit in _NUMBERS.items():
        found = vars(SyntaxError)[name].__get__(exception)
        if type(found) is int and abs(found) < limit:
            setattr(twin, name, found)
    return twin
