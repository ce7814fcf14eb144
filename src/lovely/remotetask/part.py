"""What objects are part of: named tuples too, and all their parents.

Where untrusted code reads one, a permission is asked of it and then of its
parents: so what is granted on a service alone holds for its parts.
"""

from collections.abc import Iterator
from typing import Any

from zope.security.proxy import removeSecurityProxy


# No object lies deeper; but the parents of a broken one may be in one another,
# without end.
DEPTH = 1000


def parents(location: Any) -> Iterator[Any]:
    """Yield an object, its parent, the parent of that, and so on.

    Without security proxies.
    """
    for _ in range(DEPTH):
        location = removeSecurityProxy(location)
        if location is None:
            return
        yield location
        location = getattr(location, '__parent__', None)


def path(location: Any) -> list[str]:
    """Return the names (list of str) from the root folder to a location.

    Raise ValueError for one that is within itself.
    """
    found = list(parents(location))
    if len(found) == DEPTH:
        raise ValueError(
            f'{getattr(location, "__name__", None)!r} has parents without '
            f'end: one of them was put into itself; take it out of there.')
    names = [getattr(each, '__name__', None) for each in found]
    return [name for name in reversed(names) if name]


def home(location: Any) -> Any:
    """Return the connection of the nearest parent that is stored, or None."""
    connections = (getattr(each, '_p_jar', None) for each in parents(location))
    return next((each for each in connections if each is not None), None)


def is_nowhere(location: Any) -> bool:
    """Return whether an object is stored, but lies in no folder.

    No path leads to it: it was taken out of its folder, or never put into
    one, and something refers to it still.
    """
    location = removeSecurityProxy(location)
    # A stand-in of a test need not know of parents.
    return (getattr(location, '_p_jar', None) is not None
            and getattr(location, '__parent__', location) is None)


def part(class_: Any) -> Any:
    """Let the instances of a named tuple be parts of other objects.

    They have `__parent__`, None at first.  It is neither compared nor
    stored: a part that is pickled is a value like any other.
    """
    class Part(class_):
        __doc__ = class_.__doc__
        __parent__ = None

        def part_of(self, parent: object) -> 'Part':
            """Return an equal tuple that is part of an object."""
            copied = self._make(self)
            copied.__parent__ = parent
            return copied

        def __getstate__(self) -> None:
            # Its parent is an object of one connection.
            return None

    for name in ('__module__', '__name__', '__qualname__'):
        setattr(Part, name, getattr(class_, name))
    return Part
