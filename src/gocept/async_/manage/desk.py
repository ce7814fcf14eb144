"""The services of an application that is opened for a command."""

import contextlib
import getpass
import socket
import sys
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from gocept.async_ import absence
from gocept.async_.declaration import declarations
from gocept.async_.worker.application import Refused
from gocept.async_.worker.application import open_database
from lovely.remotetask import bulk
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.operations import Operations
from lovely.remotetask.startup import root_folder


@contextlib.contextmanager
def opened(path: str) -> Iterator['Desk']:
    """Open the application of a zope.conf.

    Raise Refused if that cannot be done; the message says what to do.
    """
    # A log that goes to standard output is no part of what is written there.
    with contextlib.redirect_stdout(sys.stderr):
        db = open_database(path, 1)
    try:
        yield Desk(db, path)
    finally:
        for each in list(db.databases.values()):
            each.close()


def who() -> str:
    """Return the name of who has started this command."""
    # A user without an entry in the system's files has none.
    user = outcome_of(getpass.getuser).value or 'somebody'
    return f'{user}@{socket.gethostname()} (async-jobs)'


class Desk:
    """Reads and changes the declared services of a database.

    db -- the ZODB.DB with the root folder.
    path -- of the zope.conf, for messages.
    """

    def __init__(self, db: Any, path: str) -> None:
        self.db = db
        self.path = path

    def names(self) -> list[str]:
        """Return the names of the declared services."""
        return [declaration.name for declaration in declarations()]

    def the_name(self, name: str | None) -> str:
        """Return the name of a service, by default that of the only one.

        Raise Refused if it is not declared, or there is none, or several.
        """
        known = self.names()
        if name in known or len(known) == 1 and name is None:
            return known[0] if name is None else name
        if not known:
            raise Refused(f'the ZCML of {self.path} declares no service; add '
                          f'<async:service name="..." />.')
        which = ('several services' if name is None
                 else f'no service "{name}"')
        raise Refused(f'the ZCML of {self.path} declares {which}; choose one '
                      f'with --service: {", ".join(known)}.')

    @contextlib.contextmanager
    def service(self, name: str) -> Iterator[Any]:
        """Open a service for reading."""
        with root_folder(self.db) as root:
            yield _find(root, name)

    def act(self, name: str, call: Callable[[Operations], Any]) -> Any:
        """Return what ``call(operations)`` returns, and commit that.

        Tried again, with others, when it meets a conflict.
        """
        with self.service(name) as service:
            return bulk.in_own_transaction(
                service, lambda found: call(Operations(found, who())))


def _find(root: Any, name: str) -> Any:
    declaration, = (each for each in declarations() if each.name == name)
    service = declaration.find(root)
    if service is None:
        raise Refused(f'the service "{name}" is not there: '
                      f'{absence.missing(declaration, root)}')
    return service
