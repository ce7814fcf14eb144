"""Numbers that callers give, or that were stored: checked, and made exact.

What is stored must not need a class of the application: a member of an
IntEnum is pickled by the name of its class, which may move.
"""

import math
import operator
import reprlib
from collections.abc import Callable
from typing import Any


# 9999-12-31 00:00 UTC in POSIX seconds.  Dates end with that year; the last
# day is left out, for in some time zones the year has ended then.
LAST = 253402214400
# The first time, for the same reason a day after the first: 0001-01-02 00:00
# UTC.
FIRST = -62135510400


# A value is converted by the methods of the types themselves: those of a
# subclass are the application's, and may return anything.
EXACT: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__int__), (float, float.__float__), (str, str.__str__))


class _Short(reprlib.Repr):

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 100
        self.maxtuple = self.maxlist = self.maxset = 10

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write numbers of thousands of digits.
        if value.bit_length() > 128:
            return f'a number of {value.bit_length()} bits'
        return repr(value)


def shown(value: object) -> str:
    """Return what to show of any value in a message, in few characters."""
    return _Short().repr(value)


def exact(value: Any) -> Any:
    """Return a number or a text as one of int, float or str itself.

    Whatever is of another type is returned as it is.  Never fails.
    """
    if isinstance(value, bool):
        return value
    for kind, convert in EXACT:
        if isinstance(value, kind):
            return convert(value)
    return value


def whole(value: Any) -> int | None:
    """Return the int that a value is, None if it is none.

    Numbers of numpy are taken; a bool is probably a mistake, and so is 2.0.
    """
    if isinstance(value, bool):
        return None
    try:
        return exact(operator.index(value))
    except TypeError:
        return None


def real(value: Any) -> float | None:
    """Return the int or float that a value is, None if it is none (or nan).
    """
    value = exact(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return whole(value)


def check_whole(name: str, value: object, low: int,
                high: float = math.inf) -> int:
    """Return an int from `low` to `high`; ValueError for anything else."""
    number = whole(value)
    if number is None or not low <= number <= high:
        wanted = f'{low} to {high}' if high < math.inf else f'{low} or more'
        raise ValueError(
            f'{name} must be a whole number, {wanted}, not {shown(value)}.')
    return number


def check_seconds(name: str, value: object) -> float:
    """Return a number of seconds, 0 or more; ValueError for others."""
    number = real(value)
    if number is None or number < 0:
        raise ValueError(
            f'{name} must be a number of seconds, 0 or more, '
            f'not {shown(value)}.')
    return number


def check_time(now: object) -> float:
    """Return a time in POSIX seconds, int or float.

    ValueError for what is no time of the years 1 to 9999.
    """
    number = real(now)
    if number is None or not FIRST <= number <= LAST:
        raise ValueError(
            f'A time must be a number of POSIX seconds, {FIRST} to {LAST} '
            f'(the years 1 to 9999), not {shown(now)}.')
    return number


def check_priority(priority: object) -> int:
    """Return a priority as an int; ValueError for what is none."""
    number = whole(priority)
    if number is None or not 0 <= number <= 9:
        raise ValueError(
            f'priority must be 0 to 9, the highest, not {shown(priority)}.')
    return number


def check_flag(name: str, value: object) -> bool:
    """Return True or False; ValueError for what is neither, nor 1 or 0.

    Everything else is true, or not, by mistake.
    """
    number = value if isinstance(value, bool) else whole(value)
    if number not in (0, 1):
        raise ValueError(f'{name} must be True or False, not {shown(value)}.')
    return bool(number)
