"""Draw the states of a job, its way, and how it is stored, as SVG.

    bin/python docs/drawings.py

The states are drawn from ``lovely.remotetask.job.STATUS_CHANGES``: a change
that has no line here is an error, and so is a line without a change.  A test
compares the files with what this would write.
"""

import pathlib
from typing import NamedTuple
from xml.sax.saxutils import escape

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.job import STATUS_CHANGES


HERE = pathlib.Path(__file__).parent

# Black on white also where the page around is dark.
PAGE = '''\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"
     font-family="sans-serif" font-size="13">
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8"
  markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>
<rect width="{width}" height="{height}" rx="8" fill="white"/>
{parts}
</svg>
'''


class Box(NamedTuple):
    """A rectangle with a text; x and y are its upper left corner."""

    x: int
    y: int
    width: int
    height: int
    text: str
    fill: str = '#eef4fb'

    def svg(self):
        middle, lines = self.x + self.width // 2, self.text.split('\n')
        first = self.y + self.height // 2 + 5 - 8 * (len(lines) - 1)
        return '\n'.join([
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" '
            f'height="{self.height}" rx="6" fill="{self.fill}" '
            'stroke="#456"/>',
            *(f'<text x="{middle}" y="{first + 16 * number}" '
              f'text-anchor="middle">{escape(line)}</text>'
              for number, line in enumerate(lines))])


class Line(NamedTuple):
    """An arrow along some points, and a text that begins at another one."""

    points: str
    text: str = ''
    place: tuple[int, int] = (0, 0)

    def svg(self):
        return (
            f'<polyline points="{self.points}" fill="none" stroke="#234" '
            'stroke-linejoin="round" marker-end="url(#tip)"/>'
            + self.label())

    def label(self):
        return self.text and (
            f'\n<text x="{self.place[0]}" y="{self.place[1]}" '
            f'font-size="11" fill="#345">{escape(self.text)}</text>')


def page(width, height, *parts):
    return PAGE.format(width=width, height=height, parts='\n'.join(
        part.svg() for part in parts))


# The states

# Those that wait are drawn as one: they change in the same way.
FRAME = 'waiting'

BOXES = {
    None: Box(8, 130, 50, 36, 'new', '#fff'),
    FRAME: Box(165, 65, 150, 165, '', '#f8f8f0'),
    QUEUED: Box(185, 80, 110, 36, QUEUED),
    DELAYED: Box(185, 130, 110, 36, DELAYED),
    CRONJOB: Box(185, 180, 110, 36, CRONJOB),
    STARTLATER: Box(185, 290, 110, 36, STARTLATER),
    PROCESSING: Box(445, 130, 110, 36, PROCESSING, '#fdf3dc'),
    COMPLETED: Box(655, 130, 110, 36, COMPLETED, '#e6f5e6'),
    ERROR: Box(655, 65, 110, 36, ERROR, '#fbe6e6'),
    HELD: Box(655, 205, 110, 36, HELD, '#fbe6e6'),
    CANCELLED: Box(445, 290, 110, 36, CANCELLED, '#eee'),
}

LINES = {
    (None, FRAME): Line('58,148 165,148', 'added', (64, 142)),
    (None, STARTLATER): Line('33,166 33,308 185,308'),
    (STARTLATER, QUEUED): Line('185,298 125,298 125,106 185,106',
                               'started', (130, 290)),
    (STARTLATER, CANCELLED): Line('295,308 445,308', 'cancelled', (340, 302)),
    # Rescheduled, with a pattern or a delay: too short a way for words.
    (DELAYED, CRONJOB): Line('225,166 225,180'),
    (CRONJOB, DELAYED): Line('255,180 255,166'),
    (FRAME, PROCESSING): Line('315,138 445,138', 'claimed', (355, 132)),
    (PROCESSING, FRAME): Line('445,158 315,158', 'again, or next time',
                              (328, 173)),
    (FRAME, CANCELLED): Line('315,215 480,290', 'cancelled', (345, 260)),
    (FRAME, HELD): Line('315,205 655,223', 'cannot be run', (425, 207)),
    (PROCESSING, COMPLETED): Line('555,148 655,148', 'returned', (580, 142)),
    (PROCESSING, ERROR): Line('555,138 655,88', 'raised', (612, 122)),
    (PROCESSING, HELD): Line('555,158 655,212', 'cannot be run', (610, 178)),
    (HELD, CANCELLED): Line('690,241 555,300', 'cancelled', (632, 285)),
    (HELD, QUEUED): Line('765,223 785,223 785,22 225,22 225,80',
                         'requeued', (560, 17)),
    (ERROR, QUEUED): Line('710,65 710,44 255,44 255,80', 'requeued',
                          (560, 39)),
    (CANCELLED, QUEUED): Line('500,326 500,348 105,348 105,92 185,92',
                              'requeued', (340, 343)),
}


def changes():
    """Return the changes of STATUS_CHANGES as pairs, those that wait as one.
    """
    pairs = {(old, new) for old, all_ in STATUS_CHANGES.items()
             for new in all_}
    for other in STATUS_CHANGES:
        for group, merged in (
                ({(each, other) for each in WAITING}, (FRAME, other)),
                ({(other, each) for each in WAITING}, (other, FRAME))):
            if group <= pairs:
                pairs = pairs - group | {merged}
    return pairs


def states():
    """Return the drawing of the states of a job."""
    if changes() ^ set(LINES):
        raise ValueError(
            'Not both in STATUS_CHANGES and drawn; correct LINES: '
            f'{sorted(changes() ^ set(LINES), key=str)}.')
    return page(800, 365, *BOXES.values(), *LINES.values())


# The way of a job

ROWS = (('the caller', 20), ('the database', 140), ('a processor', 260))

WAY = (
    Box(130, 30, 170, 60, 'a decorated call;\narguments are copied'),
    Box(130, 150, 170, 60, 'the job, queued:\npart of the commit'),
    Box(325, 270, 150, 60, 'claims jobs'),
    Box(325, 150, 150, 60, 'a claim: processing'),
    Box(500, 270, 150, 60, 'calls the function\nas the caller'),
    Box(500, 150, 150, 60, 'effects, result\nand completed,\nor nothing'),
    Box(675, 270, 110, 60, 'settles the\nclaim'),
    Box(675, 150, 110, 60, 'counted and\nlisted', '#e6f5e6'),
    Line('215,90 215,150', 'commit', (221, 125)),
    Line('300,200 345,270', 'wakes', (282, 245)),
    Line('400,270 400,210', 'commit', (406, 245)),
    Line('455,210 520,270', 'reads', (496, 240)),
    Line('570,270 570,210', 'commit', (576, 245)),
    Line('650,300 675,300'),
    Line('730,270 730,210', 'commit', (736, 245)),
)


class Row(NamedTuple):
    """A row of the drawing, with whose it is at its begin."""

    name: str
    y: int

    def svg(self):
        return (f'<rect x="10" y="{self.y}" width="780" height="80" '
                f'fill="#fafafa"/>\n<text x="20" y="{self.y + 45}" '
                f'font-weight="bold">{escape(self.name)}</text>')


def way():
    """Return the drawing of the way of a job."""
    return page(800, 360, *(Row(*row) for row in ROWS), *WAY)


# What is stored of jobs, in the row of whoever writes it

WRITERS = (('callers', 20), ('processors', 140), ('the run', 260))

STORED = (
    Box(130, 30, 150, 60, 'a lane: entries of\nnew jobs, in order'),
    Box(490, 30, 150, 60, 'notes: entries of\nchanged jobs'),
    Box(130, 150, 150, 60, 'a cursor: how far\nthe lane is claimed'),
    Box(320, 150, 130, 60, 'claims, on the\nworker record'),
    Box(490, 150, 120, 60, 'the schedule:\nwhat has a time'),
    Box(650, 150, 130, 60, 'a shelf: jobs at\nrest, and counts', '#e6f5e6'),
    Box(320, 270, 130, 60, 'the job: effects,\nresult, status'),
    Line('205,90 205,150', 'passed', (211, 125)),
    Line('280,180 320,180'),
    Line('490,180 450,180', 'due', (458, 174)),
    Line('385,210 385,270', 'is run', (391, 245)),
    Line('450,300 715,300 715,210', 'ended, and settled', (560, 294)),
    Line('640,60 715,60 715,150', 'passed', (664, 125)),
)


def stored():
    """Return the drawing of what is stored of jobs, and who writes it."""
    return page(800, 360, *(Row(*row) for row in WRITERS), *STORED)


DRAWINGS = {'states.svg': states, 'way.svg': way, 'stored.svg': stored}


if __name__ == '__main__':
    for name, draw in DRAWINGS.items():
        HERE.joinpath(name).write_text(draw(), encoding='utf-8')
