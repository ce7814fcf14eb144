"""How the jobs that a thread runs have ended: what Celery is to be told."""

import contextlib
import contextvars
from typing import NamedTuple

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.running import events


# What the current thread collects: a list, or None.
_collected = contextvars.ContextVar('collected', default=None)


class Found(NamedTuple):
    """A job that a message has found, and nothing of it was run.

    It may have been lost before: no run has ended then.

    is_retried -- whether it was run before, and waits to be run once more.
    """

    job: int
    status: str
    is_retried: bool


def note(end):
    """Note how a run has ended, for who wants to know in this thread.

    end -- JobEnded, JobRetried or Found; None: that could not be stored.
    """
    found = _collected.get()
    if found is not None:
        found.append(end)


events.Observer(note, events.JobEnded, events.JobRetried).subscribe()


@contextlib.contextmanager
def collected():
    """Collect the ends of runs of this thread; the value is a list."""
    found = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def problem(end):
    """Return in few words what is wrong with an end; None for a good one.

    Nothing is wrong with a conflict: the job is tried again soon.

    Never a message of an exception: it may hold what is not to leave the
    worker.
    """
    if end is None:
        return 'how the job ended could not be stored'
    if type(end) is Found:
        if end.is_retried or end.status in (interfaces.ERROR, interfaces.HELD):
            return f'job {end.job} was not run, and is {end.status}'
        return None
    if end.failure is None or end.committed or (
            type(end) is events.JobRetried and end.failure.is_transient):
        return None
    where = f' at {end.failure.place}' if end.failure.place else ''
    return escaped(f'job {end.job}, attempt {end.attempt}, is now '
                   f'{end.status}: {end.failure.errorClass}{where}')


def is_retried(end):
    """Return whether the service is going to run the job of an end again."""
    return type(end) is events.JobRetried or (
        type(end) is Found and end.is_retried)
