"""A skin of an application that extends none of others."""

from zope.publisher.interfaces.browser import IBrowserRequest


class IOurs(IBrowserRequest):
    """Its layer."""
