"""Rows of results, as text."""

from typing import NamedTuple


class Row(NamedTuple):
    """One result.

    ratio -- to raw commits of the same storage, or None.
    aim -- what the project wants, as text.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    aim: str = ''


def as_text(row):
    return (row.name, _number(row.value), row.unit,
            '' if row.ratio is None else f'{row.ratio:.2f}', row.aim)


def _number(value):
    if isinstance(value, int) or abs(value) >= 100:
        return f'{value:.0f}'
    return f'{value:.3g}'


def lines(title, rows):
    """Yield the lines of a table."""
    cells = [('', 'value', 'unit', 'x raw', 'aim'), *map(as_text, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    yield title
    yield '-' * len(title)
    for name, value, unit, ratio, aim in cells:
        yield (f'{name:<{widths[0]}}  {value:>{widths[1]}}  '
               f'{unit:<{widths[2]}}  {ratio:>{widths[3]}}  {aim}').rstrip()
    yield ''
