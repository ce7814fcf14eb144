"""Do something with many jobs, in small transactions."""

from collections.abc import Callable
from typing import Any

from lovely.remotetask.retry import in_private_transaction
from lovely.remotetask.running.registry import root_database
from lovely.remotetask.storage.selection import Selection


# How many jobs are changed in one transaction, and how often it is tried.
BATCH = 100
ATTEMPTS = 10

ACTIONS = ('requeue', 'cancel', 'remove')


def apply(service: Any, action: str,
          progress: Callable[[int], object] | None = None,
          **selection: Any) -> int:
    """Requeue, cancel or remove all jobs that are selected.

    service -- an ITaskService that is stored in a database.
    action -- ``'requeue'``, ``'cancel'`` or ``'remove'``.
    progress -- called with the number of jobs done, after each transaction.
    selection -- status, task and function, see ITaskService.find.

    Works in transactions of its own.  Jobs for which the action means
    nothing, like one that runs, are left alone.  Return how many jobs it
    was done to.
    """
    if action not in ACTIONS:
        raise ValueError(
            f'There is no action {action!r}; choose one of '
            f'{", ".join(ACTIONS)}.')
    Selection(**selection).check()
    # Not that of the service, if it is another one: its connections must not
    # lead from there to the content, once they are to serve one that does.
    db = root_database(service)
    name, oid = service._p_jar.db().database_name, service._p_oid
    done, after, more = 0, None, True
    while more:
        def batch(connection: Any, after: str | None = after) -> tuple[
                int, str | None]:
            found = connection.get_connection(name).get(oid)
            return _batch(found, action, selection, after)
        number, after = in_private_transaction(db, batch, ATTEMPTS)
        done += number
        more = after is not None
        if progress is not None:
            progress(done)
    return done


def _batch(service: Any, action: str, selection: dict[str, str | None],
           after: str | None) -> tuple[int, str | None]:
    """Return how many jobs it was done to, and `after` of the next page."""
    page = service.find(**selection, after=after, limit=BATCH)
    done = sum(bool(getattr(service, action)(job.id)) for job in page.jobs)
    return done, page.after
