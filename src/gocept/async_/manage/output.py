"""What the command writes: tables and texts for people, or JSON."""

import contextlib
import io
import json
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from gocept.async_.worker.application import Refused
from gocept.async_.worker.messages import prepare_standard_files
from lovely.remotetask.foreign.description import escaped


class Unwritable(Refused):
    """Standard output takes nothing more: its disk is full, say."""


def prepare() -> None:
    """Let standard output be there, and error, and take any character."""
    prepare_standard_files()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')


def finish() -> None:
    """Let all be written."""
    with _told():
        sys.stdout.flush()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Raise Unwritable if standard output cannot be written.

    Whoever has seen enough has ended the pipe: that is BrokenPipeError.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unwritable(f'the answer cannot be written: '
                         f'{error.strerror}; what was to be done is done'
                         ) from error


def as_json(value: Any) -> None:
    """Write a value as one JSON document."""
    with _told():
        # Lone surrogates, which no encoding has, are written as escapes.
        sys.stdout.write(f'{json.dumps(value, indent=2)}\n')


def table(columns: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as a table; nothing if there are none.

    columns -- the headings, by the keys of the rows.
    """
    lines = [[cell(row[key]) for key in columns] for row in rows]
    if not lines:
        return
    lines = [list(columns.values()), *lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        text(*(value.ljust(width)
               for value, width in zip(line, widths, strict=True)))


def fields(values: dict[str, Any]) -> None:
    """Write names and values, one in a line; those without a value not."""
    shown = {name: cell(value) for name, value in values.items()
             if value not in (None, [], '')}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        text(f'{name.ljust(width)}  {value}')


def cell(value: Any) -> str:
    """Return a value on one line, without control characters."""
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.3f}'
    if isinstance(value, list):
        return ', '.join(map(cell, value))
    return escaped(str(value))


def block(value: str | None) -> None:
    """Write a text of several lines, like a traceback."""
    for line in (value or '').splitlines():
        text(f'    {escaped(line)}')


def text(*parts: str) -> None:
    """Write a line."""
    with _told():
        print('  '.join(parts).rstrip())
