"""Can be imported, yesterday."""

import persistent

from gocept.async_ import function


class Order:
    """An argument."""


class Document(persistent.Persistent):
    """An argument that is stored by reference."""


@function('events')
def send(name):
    """Cannot be found today."""
