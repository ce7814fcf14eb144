"""Make a store of what lovely.remotetask 0.2 to 0.5 have stored.

They keep all jobs in the BTree `jobs` of the service; the job objects stay
where they are.
"""

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.unreadable import opened
from lovely.remotetask.history import Details
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import books
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.store import JobStore


# Old job ids are below 2 ** 31; the first new one is just there.
FIRST_SEQUENCE = 1 << 17

OLD_ATTRIBUTES = ('jobs', '_queue', '_scheduledJobs', '_scheduledQueue')

# The schema of the services of today.  Whoever raises it adds a step to
# `upgrade`.
SCHEMA = 1


def upgrade(service):
    """Bring a service that lovely.remotetask 0.5 has stored up to date."""
    service._store = make_store(service)
    service.schema = SCHEMA


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
        # The process that ran the job ran lovely.remotetask 0.5, and has been
        # stopped.
        status = job.__dict__['status'] = QUEUED
    if status in WAITING:
        try:
            job.due = _due(job, number)
        except ValueError as error:
            # No day matches the pattern, or it has values that are none;
            # lovely.remotetask 0.5 took it.
            status = job.__dict__['status'] = ERROR
            job.details = Details(str(error))
    if status in LISTED and job.completed is None:
        job.completed = job.created.timestamp()
    error = job.__dict__.pop('error', None)
    if error is not None:
        job.details = Details(_message(error))
    job.store = store
    job.__dict__.pop('scheduledFor', None)
    job._p_changed = True
    store.ledger.count(job.id, None, job.stored_status)
    books.book(store, job)


def _message(error):
    """Return what an error says that was stored as it was raised."""
    found = outcome_of(str, error)
    return f'<unprintable {type(error).__name__} object>' if found.failed \
        else found.value


def _due(job, number):
    if job.stored_status == QUEUED:
        # Queued jobs get times long ago that keep their order.
        return number * 1e-6
    scheduled = job.__dict__.get('scheduledFor')
    if scheduled is None or job.recurring:
        return job.timeOfNextCall()
    return scheduled.timestamp()
