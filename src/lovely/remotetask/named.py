"""Cron jobs with names: of each name a service has exactly one.

Whoever adds, changes or retires one at the same moment as somebody else meets
him at the commit, and tries again: then he finds what the other one has done.
"""

from typing import NamedTuple

import BTrees

from lovely.remotetask import moment
from lovely.remotetask.foreign.unreadable import UnreadableJob
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.storage import audit
from lovely.remotetask.storage import crons
from lovely.remotetask.storage.current import current


# A job with one of these will run again.
GOES_ON = (CRONJOB, QUEUED, PROCESSING)


class Entry(NamedTuple):
    """What is stored under a name.

    job -- the id of the job.
    terms -- a tuple of plain values: what somebody has wanted of it last.
    paused -- of one that was to be retired and was running: whether somebody
        had paused it before.  None: it is not to be retired.
    """

    job: int
    terms: tuple
    paused: bool | None = None


class Wanted(NamedTuple):
    """What somebody wants of a cron job.

    task, input -- see `ITaskService.addCronJob`.
    pattern -- keyword arguments of `ICronJob.update`.
    terms -- a tuple of plain values that differs whenever one of these does.
    obstacle -- str, why it must not be run; None: it may be.
    """

    task: str
    input: object
    pattern: dict
    terms: tuple
    obstacle: str | None = None


def names(service):
    """Return the names there are, a sorted list."""
    return list(service.store.named or ())


def job_of(service, name):
    """Return the job of a name, None if there is none."""
    entry = _entry(service, name)
    return None if entry is None else service.jobs.get(entry.job)


def _entry(service, name):
    found = (service.store.named or {}).get(name)
    return None if found is None else Entry(*found)


def _keep(service, name, entry):
    store = service.store
    if store.named is None:
        store.named = BTrees.family64.OO.BTree()
    store.named[name] = tuple(entry)


def put(service, name, wanted):
    """Let there be one job of a name, as it is Wanted.

    One that was cancelled, held or removed is added anew; what runs, or is
    paused, goes on like that.  Where all is as wanted, nothing is written: the
    database may be read-only.

    Return what was done (str): 'added', 'changed', 'held'; None: nothing.
    """
    # The application starts before a processor has met the service.
    audit.adopt(service.store)
    entry = _entry(service, name)
    job = None if entry is None else service.jobs.get(entry.job)
    is_good = _is_good(service, job)
    is_same = is_good and entry[1:] == (wanted.terms, None)
    if (is_same and wanted.obstacle is None
            or _is_held_already(job, entry, wanted)):
        return None
    current(service)
    done = None
    if not is_good:
        done = _replace(service, name, entry, job, wanted)
    elif not is_same:
        done = _change(service, name, entry, job, wanted)
    if wanted.obstacle is not None:
        return _hold(service, name, wanted.obstacle) or done
    return done


def _is_held_already(job, entry, wanted):
    return (job is not None and wanted.obstacle is not None
            and job.status == HELD and entry.terms == wanted.terms)


def _is_good(service, job):
    return (job is not None and not isinstance(job, UnreadableJob)
            and job.status in GOES_ON and not service.store.is_copied(job))


def _replace(service, name, entry, job, wanted):
    paused = False
    if entry is not None:
        paused = (crons.has_pause(service.store, entry.job)
                  if entry.paused is None else entry.paused)
    if job is not None:
        service.remove(job.id)
    jobid = service.addCronJob(wanted.task, wanted.input, **wanted.pattern)
    service.jobs[jobid].name = name
    if paused:
        service.pause_job(jobid)
    _keep(service, name, Entry(jobid, wanted.terms))
    return 'added'


def _change(service, name, entry, job, wanted):
    job.update(**wanted.pattern)
    job.input = wanted.input
    if entry.paused is False:
        crons.resume(service.store, job.id)
    service.reschedule(job.id)
    _keep(service, name, Entry(job.id, wanted.terms))
    return 'changed'


def _hold(service, name, obstacle):
    """Let the job of a name be held, unless it runs.  Return 'held' or None.
    """
    job = job_of(service, name)
    if job.status == PROCESSING:
        return None
    service.store.change(job, job.hold, obstacle, moment.now())
    return 'held'


def retire(service, name):
    """Remove the job of a name, which nobody wants any more.

    One that runs comes to its end, and is paused: it does not run again, and
    is removed when this is called the next time.

    Return what was done: 'removed', 'paused'; None: nothing, it still runs.
    """
    current(service)
    entry = _entry(service, name)
    job = service.jobs.get(entry.job)
    if job is None or service.remove(job.id):
        del service.store.named[name]
        return 'removed'
    if entry.paused is not None:
        return None
    paused = crons.has_pause(service.store, job.id)
    crons.pause(service.store, job.id)
    _keep(service, name, entry._replace(paused=paused))
    return 'paused'
