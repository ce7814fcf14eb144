"""What became of the jobs, as anybody can see who asks the service."""

import collections
from typing import NamedTuple

from gocept.async_.tests.hostile.everything import KINDS
from gocept.async_.tests.hostile.kinds import ELSEWHERE
from gocept.async_.tests.hostile.kinds import REFUSED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STATUSES


# Jobs of these kinds wait on purpose.
PATIENT = 'cron', 'delayed_for_days'

# How often a job was run that may wait, before nobody waits for it.
TRIED = 4

# Those of a job of which not even the status can be told, and of one that is
# not there any more.
UNREADABLE = 'unreadable'
NO_JOB = REFUSED, ELSEWHERE
GONE = 'gone'


class Fate(NamedTuple):
    """What became of one job.

    value -- how often it has had its effect.
    due -- POSIX seconds; of a cron job.
    """

    kind: str | None
    service: str
    value: int
    status: str
    attempts: int = 0
    error: str | None = None
    due: float | None = None


def status_of(service, jobid):
    try:
        return service.getStatus(jobid)
    except KeyError:
        return GONE
    except BaseException:
        return UNREADABLE


class report:
    """Looks at all jobs of a run.

    services -- by name.
    """

    def __init__(self, root, services):
        self._root = root
        self._services = services

    def restless(self):
        """Return the jobs that are to end, and have not: {name: status}."""
        found = {}
        for name, effect in self._root.effects.items():
            if effect.jobid in (None, *NO_JOB):
                continue
            status = status_of(self._services[effect.service], effect.jobid)
            if status in (QUEUED, DELAYED, PROCESSING, CRONJOB) \
                    and not self._waits(effect, status):
                found[name] = status
        return found

    def _waits(self, effect, status):
        """Return whether nobody has to wait for a job that waits."""
        if status not in (QUEUED, CRONJOB) or effect.kind is None:
            return False
        if effect.kind.startswith(PATIENT):
            return True
        job = self._services[effect.service].jobs[effect.jobid]
        return KINDS[effect.kind].waits and job.attempts >= TRIED

    def as_dict(self):
        """Return all that is known, for JSON."""
        return {
            'fates': {name: self._fate(effect)._asdict()
                      for name, effect in self._root.effects.items()
                      if effect.jobid is not None},
            'wrong': [wrong for name, service in self._services.items()
                      for wrong in disagreements(name, service)]}

    def _fate(self, effect):
        fate = Fate(effect.kind, effect.service, effect.value, effect.jobid)
        if effect.jobid in NO_JOB:
            return fate
        service = self._services[effect.service]
        fate = fate._replace(status=status_of(service, effect.jobid))
        try:
            job = service.jobs[effect.jobid]
            due = getattr(job, 'scheduledFor', None)
            return fate._replace(
                attempts=job.attempts, error=str(job.error)[:300],
                due=None if due is None else due.timestamp())
        except BaseException as error:
            return fate._replace(error=f'unreadable: {error!r}'[:300])


def disagreements(name, service):
    """Return sentences on where a service contradicts itself."""
    try:
        counts = dict(service.counts())
    except BaseException as error:
        return [f'{name}: counts() raises {error!r}']
    wrong = [f'{name}: {status}: counts() says {number}'
             for status, number in counts.items() if number < 0]
    walks = {'jobs.values()': walked, 'find()': found}
    for what, walk in walks.items():
        try:
            statuses = walk(service)
        except BaseException as error:
            wrong.append(f'{name}: {what} raises {error!r}')
            continue
        wrong += [
            f'{name}: {status}: counts() says {counts.get(status, 0)}, '
            f'{what} {statuses[status]}'
            for status in sorted({*counts, *statuses})
            if counts.get(status, 0) != statuses[status]]
    return wrong


def walked(service):
    return collections.Counter(
        job.status for job in service.jobs.values())


def found(service):
    """Find the jobs of each status, page by page."""
    statuses = collections.Counter()
    for status in STATUSES:
        after = None
        while True:
            page = service.find(status=status, after=after)
            statuses[status] += len(page.jobs)
            after = page.after
            if after is None:
                break
    return statuses
