"""Whether the installed code can make the calls that are stored."""

from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

from gocept.async_ import fit
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.value import is_of_database
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING


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


def problems(service: Any, looked_at: Any) -> Iterator[Problem]:
    """Iterate over what is wrong with the jobs that are to be run.

    looked_at -- called with the number of jobs that were looked at.

    Loads the arguments, as a run does; calls nothing.
    """
    tasks = service.getAvailableTasks()
    number = 0
    for status in TO_RUN:
        after, more = None, True
        while more:
            page = service.find(status=status, after=after, limit=BATCH)
            for job in page.jobs:
                reason = _reason(service, job, tasks)
                if reason is not None:
                    yield Problem(job.id, job.function or job.task, reason)
            number += len(page.jobs)
            looked_at(number)
            after = page.after
            more = after is not None
            if service._p_jar is not None:
                service._p_jar.cacheMinimize()


def _reason(service: Any, job: Any, tasks: Any) -> str | None:
    """Return why a job cannot be run, or None."""
    found = outcome_of(_check, service, job, tasks)
    if found.exception is not None and is_of_database(found):
        raise found.exception
    return found.error if found.failed else found.value


def _check(service: Any, job: Any, tasks: Any) -> str | None:
    if job.task not in tasks:
        return job.error or f'There is no task {job.task!r}.'
    if job.function is not None:
        # Both raise if they cannot be had.
        fit.find_call(job.input, service)
        fit.find_site(job.input, service)
    return None
