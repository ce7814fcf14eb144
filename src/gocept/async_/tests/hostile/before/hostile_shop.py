"""Code of yesterday; `after` has that of today."""

from typing import NamedTuple

from gocept.async_ import function


class Item(NamedTuple):
    """Gets a field more."""

    name: str


class Moody:
    """Will not take its state."""

    def __init__(self):
        self.value = 1


class Leaver(Moody):
    """Will end whoever loads it."""


class Interrupter(Moody):
    """Will interrupt whoever loads it."""


class Interloper(Moody):
    """Will be a function."""


@function('events')
def other_signature(name):
    """Takes something else today."""


@function('events')
def not_decorated(name):
    """Is not decorated any more."""


@function('events')
def no_function(name):
    """Is something else today."""


@function('events')
def coroutine(name):
    """Is a coroutine today."""
