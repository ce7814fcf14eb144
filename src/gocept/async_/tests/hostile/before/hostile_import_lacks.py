"""Can be imported, yesterday."""

from gocept.async_ import function


class Order:
    """An argument."""


@function('events')
def send(name):
    """Cannot be found today."""
