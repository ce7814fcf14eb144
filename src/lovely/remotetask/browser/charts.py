"""Charts: SVG in the page, with a title on each bar; nothing is loaded.

Colours are those of the style sheet, in the light and in the dark.  What a
chart shows is also told by a table, see `metricspage`.
"""

import math
from typing import NamedTuple

from lovely.remotetask.browser.markup import Markup
from lovely.remotetask.browser.markup import tag


# The inner size of a chart; it is stretched to the room there is.
WIDTH = 600
HEIGHT = 100

# How much of its place a bar leaves free.
GAP = 0.15


class Bar(NamedTuple):
    """What is drawn at one place of a chart.

    title -- a text, shown by the pointer.
    parts -- pairs from below: the class that has the colour, and a number;
        None in place of all: nobody was there who counts.
    """

    title: str
    parts: tuple | None


def chart(title, bars, height=HEIGHT):
    """Return the Markup of a chart.

    title -- what it shows, in a sentence, for those who do not see it.
    """
    top = ceiling(greatest(bars))
    width = WIDTH / max(len(bars), 1)
    return tag('svg', [
        tag('title', title),
        *(_bar(bar, number * width, width, top, height)
          for number, bar in enumerate(bars))],
        role='img', class_='chart', viewBox=f'0 0 {WIDTH} {height}',
        preserveAspectRatio='none')


def spark(title, bars):
    """Return the Markup of a small chart, for a cell of a table."""
    return tag('span', chart(title, bars, HEIGHT), class_='spark')


def greatest(bars):
    """Return the greatest number that is drawn."""
    return max((sum(number for _, number in bar.parts or ())
                for bar in bars), default=0)


def _bar(bar, left, width, top, height):
    if bar.parts is None:
        drawn = [_rect('away', left, 0, width, height)]
    else:
        drawn = []
        bottom = height
        for name, number in bar.parts:
            if number:
                size = max(height * number / top, 1.5)
                bottom -= size
                drawn.append(_rect(name, left + width * GAP / 2, bottom,
                                   width * (1 - GAP), size))
    # The pointer finds it wherever it is in the column.
    drawn.append(_rect('place', left, 0, width, height))
    return tag('g', [tag('title', bar.title), *drawn])


def _rect(name, x, y, width, height):
    # There are hundreds of them, and nothing in them to be escaped.
    return Markup(
        f'<rect class="{name}" x="{_short(x)}" y="{_short(y)}" '
        f'width="{_short(width)}" height="{_short(height)}"></rect>')


def _short(number):
    return f'{number:.2f}'.rstrip('0').rstrip('.')


def ceiling(number):
    """Return a round number that is not less: 1, 2 or 5 times a power of ten.
    """
    if not number > 0:
        return 1
    power = 10.0 ** math.floor(math.log10(number))
    for step in 1, 2, 5, 10:
        if number <= step * power * (1 + 1e-9):
            return step * power if power < 1 else int(step * power)
    return int(10 * power)
