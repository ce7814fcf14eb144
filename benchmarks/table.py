"""Rows of results, as text."""

from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """One result.

    ratio -- to raw commits of the same storage, or None.
    aim -- what the project wants of the ratio, as text.
    loop -- the time, as a multiple of that of the loop, or None.
    cpu -- microseconds of processor time, or None.
    cpu_loop -- that, as a multiple of that of the loop, or None.
    cpu_aim -- what the project wants of that, as text.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    aim: str = ''
    loop: float | None = None
    cpu: float | None = None
    cpu_loop: float | None = None
    cpu_aim: str = ''


class Column(NamedTuple):
    """What a column shows of each row.

    always -- whether it is there although no row has anything in it.
    side -- to which its cells are aligned, as in format strings.
    """

    title: str
    text: Callable[[Row], str]
    side: str = '>'
    always: bool = True


def _ratio(value):
    return '' if value is None else f'{value:.2f}'


def _number(value):
    if isinstance(value, int) or abs(value) >= 100:
        return f'{value:.0f}'
    return f'{value:.3g}'


COLUMNS = (
    Column('', lambda row: row.name, '<'),
    Column('value', lambda row: _number(row.value)),
    Column('unit', lambda row: row.unit, '<'),
    Column('x raw', lambda row: _ratio(row.ratio)),
    Column('aim', lambda row: row.aim, '<'),
    Column('x loop', lambda row: _ratio(row.loop), always=False),
    Column('cpu us', lambda row: '' if row.cpu is None else f'{row.cpu:.0f}',
           always=False),
    Column('cpu x loop', lambda row: _ratio(row.cpu_loop), always=False),
    Column('aim', lambda row: row.cpu_aim, '<', always=False))


def lines(title, rows):
    """Yield the lines of a table."""
    yield title
    yield '-' * len(title)
    columns = [cells for column in COLUMNS if (cells := _cells(column, rows))]
    for line in zip(*columns, strict=True):
        yield '  '.join(line).rstrip()
    yield ''


def _cells(column, rows):
    """Return the cells of a column, all of one width; none if it is empty."""
    texts = list(map(column.text, rows))
    if not (column.always or any(texts)):
        return []
    width = max(map(len, (column.title, *texts)))
    return [f'{text:{column.side}{width}}' for text in (column.title, *texts)]
