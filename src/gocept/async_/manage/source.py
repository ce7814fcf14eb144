"""What the subcommands ask of an application, wherever that is."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import Protocol

from gocept.async_.worker.application import Refused
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import WAITING


# To jobs of which statuses these can be done.
MANY = {'requeue': (HELD, ERROR, CANCELLED),
        'cancel': (*WAITING, STARTLATER, HELD),
        'remove': tuple(
            status for status in STATUSES if status != PROCESSING)}

Row = dict[str, Any]


class Rows(NamedTuple):
    """Some jobs, newest first.

    rows -- what `described.row` tells of each.
    after -- where to go on; None at the end.
    looked_at -- how many were looked at to find them.
    """

    rows: list[Row]
    after: str | None
    looked_at: int


class Slice(NamedTuple):
    """What was done to some jobs of many; see Rows for `after`."""

    done: int
    skipped: int
    after: str | None


class Bulk(NamedTuple):
    """Something that is done to many jobs.

    total -- how many there may be at most; None: not known.
    some -- called with where to go on, does a slice of it.
    """

    total: int | None
    some: Callable[[str | None], Slice]


class Source(Protocol):
    """An application: Desk, if it is opened here; Remote, by its JSON.

    Raises Refused for what makes no sense to try again.
    """

    where: str
    """What the services were looked for in, for messages."""

    def names(self) -> list[str]:
        """Return the names of the services."""

    def status(self, name: str) -> Row:
        """Return `counts`, `oldest_waiting`, its age, and `paused`."""

    def page(self, name: str, selection: Row, after: str | None,
             limit: int) -> Rows:
        """Return some jobs; `selection` is as ITaskService.find takes it."""

    def job(self, name: str, jobid: int) -> Row | None:
        """Return what `described.details` tells of a job; None: no job."""

    def crons(self, name: str) -> list[Row]:
        """Return what is told of the jobs that run again and again."""

    def workers(self, name: str) -> list[Row]:
        """Return what is told of those who run jobs."""

    def change(self, name: str, what: str, jobid: int) -> bool | None:
        """Do something of MANY to a job.

        Return whether it was done; None if there is no such job.
        """

    def bulk(self, name: str, what: str, selection: Row) -> Bulk:
        """Return how to do something of MANY to many jobs."""

    def run_now(self, name: str, jobid: int) -> str:
        """Add a copy of a cron job, to be run at once; return its id."""

    def set_paused(self, name: str, what: str, jobid: int | None) -> None:
        """Pause or resume a service; or one cron job."""


def the_name(source: Source, name: str | None) -> str:
    """Return the name of a service, by default that of the only one.

    Raise Refused if there is none of that name, or there are several.
    """
    known = source.names()
    if name in known or len(known) == 1 and name is None:
        return known[0] if name is None else name
    if not known:
        raise Refused(f'{source.where} no service; add '
                      f'<async:service name="..." />.')
    which = 'several services' if name is None else f'no service "{name}"'
    raise Refused(f'{source.where} {which}; choose one with --service: '
                  f'{", ".join(known)}.')
