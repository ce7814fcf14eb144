"""Where pages belong, and what is the same for all of them."""

import re
from typing import Any
from typing import NamedTuple
from urllib.parse import quote
from urllib.parse import unquote


# The characters that a name in an address is not to have as they are: those
# that divide it, begin something else, are the sign of the escape, or are in
# no encoding.
_AWKWARD = re.compile('[%/\ud800-\udfff]|^[+@.]')

# How those are encoded that are in no encoding.
_ANY = 'surrogatepass'

# A name without a character has this one in an address.
_EMPTY = '%'

# In a layout of our own: nothing but what comes from our own address, and
# nothing in the document.
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; "
          "connect-src 'self'; img-src 'self' data:; form-action 'self'; "
          "base-uri 'none'")


class Settings(NamedTuple):
    """What the configuration says of the pages.

    layout -- path of a foreign macro: the name of a view, and of what it
        has; '' for a layout of our own.
    frame_ancestors -- who may show the pages in a frame.
    """

    layout: str = ''
    frame_ancestors: str = "'none'"

    @property
    def policy(self) -> str:
        """The Content-Security-Policy of a page.

        What a foreign layout has, and needs, is not known here.
        """
        framed = f'frame-ancestors {self.frame_ancestors}'
        return framed if self.layout else f'{POLICY}; {framed}'


class Place:
    """The pages of one service.

    service -- the ITaskService, security proxied.
    parent -- what the pages are found in: the site, or the service.
    title -- what the service is called, for people.
    in_overview -- whether an overview of services is one level above.
    """

    def __init__(self, service: Any, parent: Any, settings: Settings,
                 title: str, in_overview: bool = False) -> None:
        self.service = service
        self.__parent__ = parent
        self.__name__ = ''
        self.layout = settings.layout
        self.policy = settings.policy
        self.title = title
        self.in_overview = in_overview

    @property
    def subject(self) -> Any:
        """What the pages tell of: the service, or the site."""
        return self.__parent__ if self.service is None else self.service


def segment(name: str) -> str:
    """Return the part of an address that stands for a name."""
    escaped = _AWKWARD.sub(
        lambda found: ''.join(
            f'%{byte:02X}' for byte in found.group().encode('utf-8', _ANY)),
        name) or _EMPTY
    return quote(escaped, safe='')


def name_of(segment: str) -> str:
    """Return the name of a part of an address, after the server's decoding.
    """
    if segment == _EMPTY:
        return ''
    try:
        return unquote(segment, errors=_ANY)
    except UnicodeDecodeError:
        return unquote(segment)


def jobid_of(segment: str) -> int | None:
    """Return the id of a job that a part of an address is, or None."""
    is_one = segment.isascii() and segment.isdecimal() and len(segment) < 20
    return int(segment) if is_one else None
