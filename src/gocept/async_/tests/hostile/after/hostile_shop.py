"""Code of today; `before` has that of yesterday."""

import sys
from typing import NamedTuple

from gocept.async_ import function


class Item(NamedTuple):
    """Has a field more."""

    name: str
    price: int


class Moody:
    """Does not take its state."""

    def __setstate__(self, state):
        raise ZeroDivisionError('state')


class Leaver:
    """Ends whoever loads it."""

    def __setstate__(self, state):
        sys.exit('state')


class Interrupter:
    """Interrupts whoever loads it."""

    def __setstate__(self, state):
        raise KeyboardInterrupt


def Interloper():
    """Is no class any more."""


@function('events')
def other_signature():
    """Takes nothing any more."""


def not_decorated(name):
    """Was decorated."""


no_function = 5


async def coroutine(name):
    """Was a function."""
