"""What is told of a job in a list: the same as JSON and in a table."""

from zope.security import canAccess
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask import interfaces
from lovely.remotetask.browser.cells import as_datetime


def row(job):
    """Return what a list tells of a job: a dict.

    Loads neither its texts nor its arguments.

    Raise Unauthorized if the state of the job may not be seen.
    """
    job = bare(job)
    status = job.status
    claim = job.claim
    history = job.history
    last = history[-1] if history else None
    started = job.started if claim is None else as_datetime(claim.time)
    return {
        'id': str(job.id),
        'task': job.task,
        'function': job.function or job.task,
        'status': status,
        'principal': job.principal,
        'priority': job.priority,
        'created': job.created,
        'due': job.scheduledFor if status in interfaces.WAITING else None,
        'started': started,
        'completed': job.completed,
        'wait': wait(job, started),
        'run': None if last is None else last.duration,
        'attempts': job.attempts,
        'worker': worker(claim, last),
        'error_class': job.errorClass,
    }


def bare(job):
    """Return a job without its proxy, for whoever may see its state.

    Raise Unauthorized for others.
    """
    # All of the state is guarded by the permission of this.  To ask for that
    # with each attribute was a third of what a page of jobs costs.
    job.id  # noqa: B018
    return removeSecurityProxy(job)


def seen(jobs):
    """Return those of some jobs whose state may be seen, without proxies.

    It may be denied on a single job; that is no reason to show no other one.
    """
    # See `bare`.
    return [removeSecurityProxy(job) for job in jobs if canAccess(job, 'id')]


def wait(job, started):
    """Return how long a job has waited for its first run, in seconds.

    None if it has not begun, or ran more than once: then it waited for
    something else, too.
    """
    if started is None or job.attempts > 1 or (
            interfaces.ICronJob.providedBy(job)):
        return None
    return max(0.0, (started - job.created).total_seconds())


def worker(claim, last):
    """Return who runs a job, or ran it last: ``host:pid:thread``, or None."""
    if claim is not None:
        return claim.processor
    return None if last is None else last.processor


def when(row):
    """Return the time that a list shows of a row, and of what it is."""
    if row['completed'] is not None:
        return row['completed']
    return row['due'] or row['started'] or row['created']
