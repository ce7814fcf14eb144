"""Code of yesterday; no worker has it any more."""

import enum

import persistent

from gocept.async_ import function


class Order:
    """An argument."""

    number = 1


class Level(enum.IntEnum):
    """An argument, or a priority."""

    LOW = 1
    HIGH = 9


class Text(str):
    """A text, like one that a framework makes."""


class Document(persistent.Persistent):
    """An argument that is stored by reference."""


class Odd(Exception):
    """An argument, for once."""


@function('events')
def send(name):
    """Is gone."""
