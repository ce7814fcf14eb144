"""Make a store of what earlier versions have stored.

Two layouts are read: that of lovely.remotetask 0.5, and that of the first
development versions of 1.0.  Both keep all jobs in the BTree `jobs` of the
service; the job objects stay where they are.
"""

from lovely.remotetask.foreign.unreadable import opened
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Details
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import books
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.store import JobStore


# Job ids were below 2 ** 31, so new ones begin there.
FIRST_SEQUENCE = 1 << 17

OLD_ATTRIBUTES = ('jobs', '_queue', '_scheduledJobs', '_scheduledQueue',
                  '_jobs_to_run')
OLD_JOB_ATTRIBUTES = ('position', 'claim', 'scheduledFor')


# That of the services of today.  Whoever raises it adds a step to `upgrade`.
SCHEMA = 2


def upgrade(service):
    """Bring a service that earlier code has stored up to date."""
    if service._store is None:
        service._store = make_store(service)
    elif 'crons' not in service._store.__dict__:
        extend(service._store)
    service.schema = SCHEMA


def extend(store):
    """Bring a store of the first development versions up to date."""
    store.extend()
    for key, job in store.schedule.items():
        # Its class is known, whether it can be read or not.
        if isinstance(job, CronJob):
            store.read(_enter, store, key, job)


def _enter(store, key, job):
    if job.stored_status in books.TIMED:
        store.crons[key[1]] = job, key[0], job.fence, job.stored_status


def make_store(service):
    """Return a JobStore with the jobs of a service; it loses the old ones."""
    service._p_activate()
    jobs = service.__dict__['jobs']
    store = JobStore(service, FIRST_SEQUENCE)
    store.legacy = jobs
    created = {}
    for jobid, job in jobs.items():
        found = store.read(_created, job)
        if found.failed:
            aside.put(store, jobid, None, found, None)
        else:
            created[jobid] = found.value
    for number, jobid in enumerate(sorted(created, key=created.get)):
        found = store.read(_upgrade_job, store, jobs[jobid], number)
        if found.failed:
            aside.put(store, jobid, None, found, None)
    for name in OLD_ATTRIBUTES:
        service.__dict__.pop(name, None)
    return store


def _created(job):
    return opened(job).created


def _upgrade_job(store, job, number):
    """Bring a job up to date; `number` is its place among all."""
    status = job.stored_status
    if status == PROCESSING:
        # Whoever ran it ran an earlier version of this.
        status = job.__dict__['status'] = QUEUED
    if status in WAITING:
        try:
            job.due = _due(job, number)
        except ValueError as error:
            # No day matches the pattern; lovely.remotetask 0.5 took it.
            status = job.__dict__['status'] = ERROR
            job.details = Details(str(error))
    if status in LISTED and job.completed is None:
        job.completed = job.created.timestamp()
    error = job.__dict__.pop('error', None)
    if error is not None:
        job.details = Details(str(error))
    job.store = store
    for name in OLD_JOB_ATTRIBUTES:
        job.__dict__.pop(name, None)
    job._p_changed = True
    store.ledger.count(None, job.stored_status)
    books.book(store, job)


def _due(job, number):
    if job.stored_status == QUEUED:
        # Long ago, and in order.
        return number * 1e-6
    scheduled = job.__dict__.get('scheduledFor')
    if scheduled is None or job.recurring:
        return job.timeOfNextCall()
    return scheduled.timestamp()
