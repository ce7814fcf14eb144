"""Which application server this is: nobody else asks.

The utility that ZCML registers.  Before ZCML is executed, and in tests without
it, it is what an installed distribution announces, and else the Zope
Toolkit.
"""

import functools
import importlib
import importlib.metadata
from typing import Any
from typing import NamedTuple

import zope.component
import zope.interface

from lovely.remotetask import interfaces


# Under this group a distribution announces, as an entry point, its
# IApplicationServer: a command that executes ZCML needs it before.
GROUP = 'lovely.remotetask.application_server'

TOOLKIT = 'lovely.remotetask.running.application'

_registry = zope.component.getGlobalSiteManager()


def server():
    """Return the IApplicationServer of this process."""
    # The current site is not asked: it may be in a connection that is closed.
    found = _registry.queryUtility(interfaces.IApplicationServer)
    return _announced() if found is None else found


@functools.cache
def _announced():
    for each in importlib.metadata.entry_points(group=GROUP):
        return each.load()
    # By its name: where there is another one, the Toolkit is not installed.
    return importlib.import_module(TOOLKIT).toolkit


# What an IApplicationServer sends

@zope.interface.implementer(interfaces.IDatabasesOpened)
class DatabasesOpened(NamedTuple):
    """See IDatabasesOpened."""

    database: Any


@zope.interface.implementer(interfaces.IServerStarted)
class ServerStarted(NamedTuple):
    """See IServerStarted."""

    database: Any = None
