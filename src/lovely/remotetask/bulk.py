"""Do something with many jobs, in small transactions."""

import time
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.number import check_whole
from lovely.remotetask.retry import in_private_transaction
from lovely.remotetask.running.registry import root_database
from lovely.remotetask.storage.selection import Selection


# How many jobs `apply` changes in one transaction, and how often it is tried.
BATCH = 100
ATTEMPTS = 10

# To how many jobs something is done in a slice, and in how many seconds.
SLICE = 500
SECONDS = 2.0

# How many jobs are looked for at a time: so often the time is asked for.
PAGE = 50

ACTIONS = ('requeue', 'cancel', 'remove')


@zope.interface.implementer(interfaces.ISlice)
class Slice(NamedTuple):
    """See ISlice."""

    done: int
    skipped: int
    after: str | None


def some(service: Any, action: str, after: str | None = None,
         as_of: str | None = None, deadline: float | None = None,
         limit: int = SLICE, **selection: Any) -> Slice:
    """Requeue, cancel or remove some of the jobs that are selected.

    service -- an ITaskService.
    action -- ``'requeue'``, ``'cancel'`` or ``'remove'``.
    The others -- see IOperations.requeue_some.

    Works in the transaction of the service: commit it, and go on with
    `after`.
    """
    _check(action, selection)
    check_whole('limit', limit, 1)
    if deadline is None:
        deadline = time.monotonic() + SECONDS
    act = getattr(service, action)
    done = skipped = 0
    while True:
        page = service.find(
            **selection, after=after, as_of=as_of, deadline=deadline,
            limit=min(PAGE, limit - done))
        results = [_was_done(act, job.id) for job in page.jobs]
        done += sum(results)
        skipped += len(results) - sum(results)
        after = page.after
        if after is None or done >= limit or time.monotonic() > deadline:
            return Slice(done, skipped, after)


def _check(action: str, selection: dict[str, Any]) -> None:
    if action not in ACTIONS:
        raise ValueError(
            f'There is no action {action!r}; choose one of '
            f'{", ".join(ACTIONS)}.')
    Selection(**selection).check()


def _was_done(act: Callable[[int], object], jobid: int) -> bool:
    try:
        return bool(act(jobid))
    except (ValueError, KeyError):
        # A job that cannot be changed, as its pattern never matches, say, is
        # no reason to leave the others alone.
        return False


def apply(service: Any, action: str,
          progress: Callable[[int], object] | None = None,
          **selection: Any) -> int:
    """Requeue, cancel or remove all jobs that are selected.

    service -- an ITaskService that is stored in a database.
    action -- ``'requeue'``, ``'cancel'`` or ``'remove'``.
    progress -- called with the number of jobs done, after each transaction.
    selection -- see ITaskService.find.

    Works in transactions of its own.  Jobs for which the action means
    nothing, like one that runs, are left alone.  Return how many jobs it
    was done to.
    """
    _check(action, selection)
    done, after, more = 0, None, True
    while more:
        found = in_own_transaction(
            service, _slice_of, action, after, selection)
        done += found.done
        after = found.after
        more = after is not None
        if progress is not None:
            progress(done)
    return done


def _slice_of(service: Any, action: str, after: str | None,
              selection: dict[str, Any]) -> Slice:
    return some(service, action, after, limit=BATCH, **selection)


def in_own_transaction(service: Any, call: Callable[..., Any],
                       *args: Any) -> Any:
    """Return ``call(service, *args)``, of a transaction of its own.

    service -- an ITaskService that is stored in a database; that of another
        connection is handed over.
    """
    # Not the database of the service, if it is another one: its connections
    # must not lead from there to the content, once they are to serve one that
    # does.
    db = root_database(service)
    name, oid = service._p_jar.db().database_name, service._p_oid

    def act(connection: Any) -> Any:
        return call(connection.get_connection(name).get(oid), *args)
    return in_private_transaction(db, act, ATTEMPTS)
