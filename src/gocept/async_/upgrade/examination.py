"""What there is to be told of the jobs of a service; nothing is changed."""

import functools
from typing import NamedTuple

from gocept.async_.upgrade.slices import SLICE
from lovely.remotetask import moment
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.unreadable import UnreadableJob
from lovely.remotetask.foreign.unreadable import read
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.interfaces import CannotRun
from lovely.remotetask.running.execution import Work
from lovely.remotetask.storage.earlier import Earlier
from lovely.remotetask.storage.fate import HOLDS
from lovely.remotetask.storage.fate import UNREADABLE
from lovely.remotetask.storage.fate import Finding
from lovely.remotetask.storage.look import look_at
from lovely.remotetask.storage.upgrade import SCHEMA
from lovely.remotetask.storage.upgrade import left
from lovely.remotetask.task import TaskError


class Examination(NamedTuple):
    """What was seen of a service.

    is_old -- whether it is still to be brought up to date.
    counts -- status to the number of jobs, as they are to be.
    findings -- list of Finding, of the jobs that are to be brought up to date.
    unfit -- text to job ids: why the installed code cannot run jobs that wait.
    trouble -- texts: what else cannot be read.
    """

    is_old: bool
    counts: dict
    findings: list
    unfit: dict
    trouble: list


def examine(service):
    """Return the Examination of a service."""
    service._p_activate()
    if service.schema < SCHEMA:
        return _examine_old(service)
    found = Examination(False, service.counts(), [], {}, [
        f'{each} cannot be read' for each in service.unreadable()
        if isinstance(each, str)])
    for number, job in enumerate(service.jobs.values(), 1):
        if isinstance(job, UnreadableJob):
            found.findings.append(Finding(job.id, UNREADABLE, job.error))
        elif job.status == HELD:
            found.findings.append(Finding(job.id, HOLDS, str(job.error)))
        else:
            _try(service, job, job.status, found.unfit)
        _make_room(service, number)
    return found


def _examine_old(service):
    reading = functools.partial(read, service._p_jar.db())
    earlier = Earlier(service, reading)
    todo = left(service, earlier, reading)
    found = Examination(True, dict(todo.done), list(todo.findings), {}, [
        *earlier.trouble, *todo.trouble])
    now = moment.now()
    for number, (jobid, job) in enumerate(todo.jobs, 1):
        look = look_at(job, jobid, earlier, reading, now)
        status = HELD if look.fate is None else look.fate.status
        found.counts[status] = found.counts.get(status, 0) + 1
        found.findings.extend(look.findings)
        if look.fate is not None:
            _try(service, job, status, found.unfit)
        _make_room(service, number)
    return found


def _make_room(service, number):
    if number % SLICE == 0:
        service._p_jar.cacheGC()


def _try(service, job, status, unfit):
    """Note why the installed code cannot run a job that may be run."""
    if status not in (*WAITING, STARTLATER):
        return
    begun = outcome_of(_begin, service, job)
    if begun.failed and value.is_of_database(begun):
        raise begun.exception
    if begun.failed:
        text = (begun.error if begun.is_a((CannotRun, TaskError))
                else value.reason(begun))
        unfit.setdefault(text, []).append(job.id)


def _begin(service, job):
    """Do all that comes before the call of a task."""
    with Work(service, job).context():
        pass
