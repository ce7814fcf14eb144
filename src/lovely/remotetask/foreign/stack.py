"""The frames of exceptions, as lines of a traceback.

They are as Python shows them, within limits: a function may say of any file
that it is its source, of a pipe too that nobody writes to; it may have
thousands of lines, and call itself thousands of times.
"""

import collections
import itertools
import linecache
import os
import stat
import sys
import traceback
import types
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

from lovely.remotetask.foreign.texts import MESSAGE_SIZE
from lovely.remotetask.foreign.texts import PART_SIZE
from lovely.remotetask.foreign.texts import one_line
from lovely.remotetask.foreign.texts import plain
from lovely.remotetask.foreign.twin import TRACEBACK


# Modules through which a job is called; their lines tell nothing of it.
RUNNERS = frozenset((
    'gocept.async_.task',
    'lovely.remotetask.foreign.outcome',
    'lovely.remotetask.running.child',
    'lovely.remotetask.running.direct',
    'lovely.remotetask.running.execution',
    'lovely.remotetask.running.group',
    'lovely.remotetask.running.surroundings',
    'lovely.remotetask.task'))

# How often the same line is shown, if it is repeated.
REPEATS = 3

# How many lines of a program are shown at the begin of a traceback, and at
# its end.
FIRST = 100
LAST = 200

# What is read of a source, in bytes; and what is shown of one of its lines, in
# characters.
SOURCE_SIZE = 10 * 2 ** 20
LINE_SIZE = 1000

# From Python 3.13 on, all lines are shown of what spans some; so many at most.
SHOWS_ALL = sys.version_info >= (3, 13)
LINES = 20

# In larger code, in bytes, it is not looked for the part of the line.
CODE_SIZE = 64 * 1024

_Entry = types.TracebackType


class Stack(traceback.StackSummary):
    """The lines of a traceback, for Python's formatter."""

    def format(self, **_: Any) -> list[str]:
        return list(map(str, self))


class _Run(NamedTuple):
    """The same line of a program, one or several times in a row.

    entries -- the first ones.
    more -- how many others there are.
    """

    entries: list[_Entry]
    more: int


class Stacks:
    """Formats the frames of exceptions, those of each one once.

    ask -- see `describe`.
    """

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask
        # By the ids of exceptions; and of code, with the instruction.
        self._stacks: dict[int, Stack] = {}
        self._parts: dict[tuple[int, int], Any] = {}

    def of(self, exception: BaseException) -> Stack:
        """Return the Stack of an exception, from where a job was called."""
        found = self._stacks.get(id(exception))
        if found is None:
            found = self._stacks[id(exception)] = self._ask(
                self._formatted, Stack(), exception)
        return found

    def _formatted(self, exception: BaseException) -> Stack:
        entry = _own_traceback(exception)
        runs = _runs(entry)
        first = list(itertools.islice(runs, FIRST))
        last = collections.deque(runs, maxlen=LAST)
        left_out = sum(1 for _ in _entries(entry)) - sum(
            len(run.entries) + run.more for run in (*first, *last))
        gap = [f'  [{left_out} frames are left out]\n'] if left_out else []
        made: Any = (*self._lines(first), *gap, *self._lines(last))
        return Stack(made)

    def _lines(self, runs: Iterable[_Run]) -> Iterator[str]:
        for run in runs:
            for entry in run.entries:
                yield self._line(entry)
            if run.more:
                yield (f'  [Previous line repeated {run.more} more '
                       f'time{"s" if run.more > 1 else ""}]\n')

    def _line(self, entry: _Entry) -> str:
        code = entry.tb_frame.f_code
        place = (one_line(code.co_filename, MESSAGE_SIZE), entry.tb_lineno,
                 one_line(code.co_name))
        return self._ask(
            self._with_source, '  File "{}", line {}, in {}\n'.format(*place),
            entry, place)

    def _with_source(self, entry: _Entry, place: tuple[str, int, str]) -> str:
        filename, number, name = place
        start, end, column, end_column = self._part(entry)
        number = number if start is None else start
        last = end if SHOWS_ALL and end is not None else number
        lines = self._ask(
            _source, [''], entry.tb_frame, number, min(last, number + LINES))
        if last > number + LINES or max(map(len, lines)) > LINE_SIZE:
            lines, column = [lines[0][:LINE_SIZE]], None
        line, = traceback.format_list([traceback.FrameSummary(
            filename, number, name, lookup_line=False,
            line='\n'.join([*lines, '']), end_lineno=end, colno=column,
            end_colno=end_column)])
        return plain(line, PART_SIZE)

    def _part(self, entry: _Entry) -> Any:
        """Return the part of the source that is run: lines and columns."""
        code = entry.tb_frame.f_code
        key = id(code), entry.tb_lasti
        if key not in self._parts:
            parts = code.co_positions() if entry.tb_lasti >= 0 and len(
                code.co_code) <= CODE_SIZE else iter(())
            # An instruction is two bytes.
            self._parts[key] = next(itertools.islice(
                parts, entry.tb_lasti // 2, None), (None,) * 4)
        return self._parts[key]


def module_of(frame: types.FrameType) -> str | None:
    """Return the name of the module of a frame; None if it has no plain one.
    """
    # What code is run with may be a subclass of dict.
    name = dict.get(frame.f_globals, '__name__')
    return name if type(name) is str else None


def _own_traceback(exception: BaseException) -> _Entry | None:
    """Return the traceback from where it has left this package.

    All of it where it was raised in here.
    """
    whole = entry = TRACEBACK.__get__(exception)
    while entry is not None and module_of(entry.tb_frame) in RUNNERS:
        entry = entry.tb_next
    return whole if entry is None else entry


def _entries(entry: _Entry | None) -> Iterator[_Entry]:
    while entry is not None:
        yield entry
        entry = entry.tb_next


def _runs(entry: _Entry | None) -> Iterator[_Run]:
    for _, group in itertools.groupby(_entries(entry), _line_of):
        entries = list(group)
        yield _Run(entries[:REPEATS], len(entries[REPEATS:]))


def _line_of(entry: _Entry) -> tuple[int, int]:
    return id(entry.tb_frame.f_code), entry.tb_lineno


def _source(frame: types.FrameType, first: int, last: int) -> list[str]:
    """Return lines of the source of a frame; '' for what cannot be had.

    first, last -- their numbers.
    """
    name = frame.f_code.co_filename
    linecache.checkcache(name)
    linecache.lazycache(name, frame.f_globals)
    if not _may_be_opened(name):
        return ['']
    return [linecache.getline(name, number).rstrip()
            for number in range(first, last + 1)]


def _may_be_opened(name: str) -> bool:
    """Return whether what linecache opens for a name can be read in no time.

    It opens whatever there is: also a pipe, or a device that has no end.
    """
    if name[:1] + name[-1:] == '<>':
        # It looks for nothing then.
        return True
    folders = [] if os.path.isabs(name) else sys.path
    for parts in ((name,), *((folder, name) for folder in folders)):
        found = _stat(*parts)
        if found is not None:
            # The system has files that seem to be empty, and block.
            return (stat.S_ISREG(found.st_mode)
                    and 0 < found.st_size <= SOURCE_SIZE)
    return True


def _stat(*parts: str) -> os.stat_result | None:
    try:
        return os.stat(os.path.join(*parts))
    except (AttributeError, OSError, TypeError, ValueError):
        # sys.path may hold anything.
        return None
