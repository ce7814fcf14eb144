"""The services of an application that is opened for a command."""

import contextlib
import getpass
import socket
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from gocept.async_ import absence
from gocept.async_.declaration import declarations
from gocept.async_.manage.described import cron_row
from gocept.async_.manage.described import details
from gocept.async_.manage.described import instant
from gocept.async_.manage.described import row
from gocept.async_.manage.source import Bulk
from gocept.async_.manage.source import Row
from gocept.async_.manage.source import Rows
from gocept.async_.manage.source import Slice
from gocept.async_.worker.application import Refused
from gocept.async_.worker.application import open_database
from lovely.remotetask import bulk
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import IManagement
from lovely.remotetask.operations import Operations
from lovely.remotetask.running import quirks
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
        quirks.close(db)


def who() -> str:
    """Return the name of who has started this command."""
    # A user without an entry in the system's files has none.
    user = outcome_of(getpass.getuser).value or 'somebody'
    return f'{user}@{socket.gethostname()} (async-jobs)'


class Desk:
    """Reads and changes the declared services of a database; see Source.

    db -- the ZODB.DB with the root folder.
    path -- of the zope.conf, for messages.
    """

    def __init__(self, db: Any, path: str) -> None:
        self.db = db
        self.path = path
        self.where = f'the ZCML of {path} declares'

    def names(self) -> list[str]:
        """Return the names of the declared services."""
        return [declaration.name for declaration in declarations()]

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

    # See Source

    def status(self, name: str) -> Row:
        """See Source."""
        with self.service(name) as service:
            oldest = service.oldest_waiting()
            return {'counts': service.counts(),
                    'oldest_waiting': instant(oldest),
                    'oldest_waiting_age': (
                        None if oldest is None
                        else max(0.0, time.time() - oldest)),
                    'paused': service.paused}

    def page(self, name: str, selection: Row, after: str | None,
             limit: int) -> Rows:
        """See Source."""
        with self.service(name) as service:
            page = service.find(**selection, after=after, limit=limit)
            return Rows(list(map(row, page.jobs)), page.after, page.looked_at)

    def job(self, name: str, jobid: int) -> Row | None:
        """See Source."""
        with self.service(name) as service:
            job = service.jobs.get(jobid)
            return None if job is None else details(job)

    def crons(self, name: str) -> list[Row]:
        """See Source."""
        with self.service(name) as service:
            return [{**row(job), **cron_row(job)}
                    for job in service.cron_jobs()]

    def workers(self, name: str) -> list[Row]:
        """See Source."""
        now = time.time()
        with self.service(name) as service:
            management: Any = IManagement(service)
            return [_worker(each, now) for each in management.workers()]

    def change(self, name: str, what: str, jobid: int) -> bool | None:
        """See Source."""
        def act(operations: Any) -> bool | None:
            if jobid not in operations.service.jobs:
                return None
            # A pattern that never matches, say, is refused.
            found = outcome_of(getattr(operations, what), jobid)
            if found.exception is not None and not found.is_a(ValueError):
                raise found.exception
            return bool(found.value)
        return self.act(name, act)

    def bulk(self, name: str, what: str, selection: Row) -> Bulk:
        """See Source."""
        with self.service(name) as service:
            # What fails from now on, or is added, is not meant.
            as_of = service.find(limit=1).as_of
            total = _total(service, selection)

        def some(after: str | None) -> Slice:
            found = self.act(name, lambda operations: getattr(
                operations, f'{what}_some')(
                    after=after, as_of=as_of, **selection))
            return Slice(found.done, found.skipped, found.after)
        return Bulk(total, some)

    def run_now(self, name: str, jobid: int) -> str:
        """See Source."""
        return str(self.act(
            name, lambda operations: operations.run_now(jobid)))

    def set_paused(self, name: str, what: str, jobid: int | None) -> None:
        """See Source."""
        self.act(name, lambda operations: (
            getattr(operations, what)() if jobid is None
            else getattr(operations, f'{what}_job')(jobid)))


def _total(service: Any, selection: Row) -> int | None:
    """Return how many jobs there are, where the counts tell."""
    if not set(selection) <= {'status'}:
        return None
    return sum(number for status, number in service.counts().items()
               if selection.get('status') in (None, status))


def _worker(worker: Row, now: float) -> Row:
    heartbeat, claims = worker['heartbeat'], worker['claims']
    return {'id': worker['id'],
            'processor': worker['processor'],
            'silent': (None if heartbeat is None
                       else max(0.0, now - heartbeat)),
            'claimed': len(claims),
            'claims': [{'job': str(jobid), 'since': instant(time)}
                       for jobid, time in claims]}


def _find(root: Any, name: str) -> Any:
    declaration, = (each for each in declarations() if each.name == name)
    service = declaration.find(root)
    if service is None:
        raise Refused(f'the service "{name}" is not there: '
                      f'{absence.missing(declaration, root)}')
    return service
