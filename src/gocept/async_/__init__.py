"""Make function calls asynchronous, by one decorator.

::

    from gocept.async_ import function

    @function(service='events')
    def heavy_computing(a, b): ...

The documents are in docs/ of the source distribution, and at
https://github.com/gocept/gocept.async/tree/HEAD/docs
"""

# First: it looks whether what all others stand on is there.
from gocept.async_ import installed  # noqa: F401
from gocept.async_ import task
from gocept.async_.declaration import service
from gocept.async_.decorator import function
from gocept.async_.decorator import is_async


__all__ = ['function', 'is_async', 'service', 'task']
