"""Which jobs are meant: the options of a command, as ITaskService.find has it.
"""

import argparse
import datetime
import re
import time
from typing import Any

from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.number import check_time


# The names of the options, and those of the arguments of `find`.
ARGUMENTS = {'status': 'status', 'task': 'task', 'function': 'function',
             'principal': 'principal', 'error_class': 'errorClass',
             'since': 'since', 'until': 'until'}

# Seconds of the units in which an age is given.
UNITS = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400}
AGE = re.compile(r'(\d{1,9})([smhd])')


def add_to(parser: Any) -> None:
    """Let a parser know the options."""
    group = parser.add_argument_group(
        'which jobs', 'Each narrows the others. A TIME is 2026-11-26, '
        '2026-11-26T14:03 (UTC), the same with an offset, or how long ago '
        'that is: 90s, 15m, 2h, 3d. Of a job that has ended it is when it '
        'ended, of any other, and where no --status is given, when it was '
        'added.')
    add = group.add_argument
    add('--status', choices=STATUSES, metavar='STATUS',
        help=f'one of {", ".join(STATUSES)}')
    add('--function', type=_name, metavar='NAME',
        help='the dotted name of a function')
    add('--task', type=_name, metavar='NAME', help='the name of a task')
    add('--principal', type=_name, metavar='ID', help='who has made the call')
    add('--error-class', type=_name, metavar='NAME',
        help='the dotted name of the class of the last error')
    add('--since', type=time_of, metavar='TIME', help='from then on')
    add('--until', type=time_of, metavar='TIME', help='before that')


def _name(text: str) -> str:
    """Return a name; raise argparse.ArgumentTypeError for one that is blank.

    The variable of a script may have been empty; that must not mean all jobs.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(
            'it is blank; give a name, or leave the option out')
    return text


def selection(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the options select, as arguments of ITaskService.find."""
    found = {argument: getattr(options, name)
             for name, argument in ARGUMENTS.items()}
    return {name: value for name, value in found.items() if value is not None}


def time_of(text: str) -> float:
    """Return the time that somebody has written, in POSIX seconds.

    Raise argparse.ArgumentTypeError if it is none.
    """
    age = AGE.fullmatch(text)
    try:
        if age is not None:
            return check_time(time.time() - int(age[1]) * UNITS[age[2]])
        found = datetime.datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=datetime.UTC)
        return check_time(found.timestamp())
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no time; write 2026-11-26, 2026-11-26T14:03+01:00 '
            f'or 2h.') from error
