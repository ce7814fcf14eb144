"""Do something with many jobs, in small transactions."""

from collections.abc import Callable
from typing import Any

import transaction
from transaction.interfaces import TransientError

from lovely.remotetask.running.registry import root_database
from lovely.remotetask.storage.listing import Selection


# How many jobs are changed in one transaction, and how often it is tried.
BATCH = 100
ATTEMPTS = 10

ACTIONS = ('requeue', 'cancel', 'remove')


def apply(service: Any, action: str,
          progress: Callable[[int], object] | None = None,
          **selection: str | None) -> int:
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
    manager = transaction.TransactionManager()
    # The database of the root folder is opened, and leads to that of the
    # service.  A connection that was opened to the latter first would come
    # back from its pool to those who need one that leads to the content.
    connection = root_database(service).open(manager)
    jobs = connection.get_connection(service._p_jar.db().database_name)
    done, after, more = 0, None, True
    try:
        while more:
            number, after = _batch(
                manager, jobs, service._p_oid, action, selection, after)
            done += number
            more = after is not None
            if progress is not None:
                progress(done)
    finally:
        manager.abort()
        connection.close()
    return done


def _batch(manager: transaction.TransactionManager, connection: Any,
           oid: bytes, action: str, selection: dict[str, str | None],
           after: str | None) -> tuple[int, str | None]:
    for number in range(ATTEMPTS):
        try:
            manager.begin()
            service = connection.get(oid)
            page = service.find(**selection, after=after, limit=BATCH)
            done = sum(bool(getattr(service, action)(job.id))
                       for job in page.jobs)
            manager.commit()
            return done, page.after
        except TransientError:
            manager.abort()
            if number == ATTEMPTS - 1:
                raise
    raise AssertionError('It is tried once at least.')
