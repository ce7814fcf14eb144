"""Whether the installed code can make the calls that are stored."""

from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.value import is_of_database
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.running.execution import Work
from lovely.remotetask.running.server import server


# The statuses of jobs that are still to be run.
TO_RUN = (*WAITING, STARTLATER)

# How many jobs are looked at before the cache of the connection is trimmed.
BATCH = 200


class Problem(NamedTuple):
    """A job that cannot be run.

    id -- int.
    function -- what it would call, for people.
    reason -- why not.
    """

    id: int
    function: str
    reason: str


def problems(service: Any, looked_at: Any) -> list[Problem]:
    """Return what is wrong with the jobs that are to be run.

    looked_at -- called with the number of jobs that were looked at.

    Loads the arguments, as a run does; calls nothing.
    """
    # Where its jobs run: tasks may be registered in its site alone.
    with server().around_job(service):
        return list(_problems(service, looked_at))


def _problems(service: Any, looked_at: Any) -> Iterator[Problem]:
    number = 0
    for status in TO_RUN:
        after, more = None, True
        while more:
            page = service.find(status=status, after=after, limit=BATCH)
            for job in page.jobs:
                reason = _reason(service, job)
                if reason is not None:
                    yield Problem(job.id, job.function or job.task, reason)
            number += len(page.jobs)
            looked_at(number)
            after = page.after
            more = after is not None
            if service._p_jar is not None:
                service._p_jar.cacheMinimize()


def _reason(service: Any, job: Any) -> str | None:
    """Return why a job cannot be run, or None."""
    found = outcome_of(_enter, service, job)
    if found.exception is not None and is_of_database(found):
        raise found.exception
    return found.error


def _enter(service: Any, job: Any) -> None:
    """Do all that comes before a call; raise what would be raised then."""
    with Work(service, job).context():
        pass
