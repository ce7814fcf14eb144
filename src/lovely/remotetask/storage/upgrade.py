"""Make a store of what lovely.remotetask 0.2 to 0.5 have stored.

The job objects stay where they are; each of them is written once.  That may
be done in several transactions: whoever uses the service in between does the
rest in the one of its own.
"""

import datetime
import itertools
from typing import NamedTuple

import BTrees

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.storederror import text_of
from lovely.remotetask.foreign.unreadable import opened
from lovely.remotetask.history import Details
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.job import seconds_of
from lovely.remotetask.number import real
from lovely.remotetask.number import shown
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import books
from lovely.remotetask.storage import counting
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import telling
from lovely.remotetask.storage.earlier import ATTRIBUTES
from lovely.remotetask.storage.earlier import Earlier
from lovely.remotetask.storage.earlier import Forgotten
from lovely.remotetask.storage.fate import TIMES
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.look import input_of
from lovely.remotetask.storage.look import look_at
from lovely.remotetask.storage.look import mend
from lovely.remotetask.storage.look import unreadable
from lovely.remotetask.storage.store import JobStore
from lovely.remotetask.storage.strays import gather


# Old job ids are below 2 ** 31; the first new one is just there.
FIRST_SEQUENCE = 1 << 17

# Attributes of the service: how far its jobs were brought up to date (the id
# of the last one); the tree that could not be read; and jobs that have no id.
REACHED = '_reached'
UNREADABLE = '_unreadable'
HOMELESS = '_homeless'

# The schema of the services of today.  Whoever raises it adds a step to
# `upgrade`.
SCHEMA = 1

# How many jobs are brought up to date before the next ones are looked for, and
# how many are asked for in one request, where they come from a server.
SLICE = 2000
AT_ONCE = 100


def upgrade(service):
    """Bring a service that earlier code has stored up to date."""
    progress = telling.Progress()
    earlier = None
    while service.schema < SCHEMA:
        earlier = upgrade_some(service, SLICE, earlier).earlier
        progress.tell(service)
    telling.all_jobs(service)


class Slice(NamedTuple):
    """What was done of a service.

    findings -- list of Finding, of which the log tells after the commit.
    trouble -- texts, of which it tells, too: what else cannot be read.
    earlier -- Earlier, for what is to be done next.
    """

    findings: list
    trouble: list
    earlier: Earlier


def upgrade_some(service, limit, earlier=None):
    """Bring up to `limit` jobs of a service up to date.  Return a Slice.

    earlier -- that of a Slice before, in this process; so the queue is read
        once, which may be long.
    """
    service._p_activate()
    is_begun = service._store is not None
    store = _begun(service)
    findings, trouble = [], []
    if earlier is None:
        earlier = Earlier(service, store.read)
        trouble += earlier.trouble
    ids = _next_ids(service, store, limit)
    if ids.failed or not is_begun:
        gathered = _complete(service, store, earlier)
        findings += gathered.findings
        trouble += gathered.trouble
        ids = _next_ids(service, store, limit)
    for jobid, job in _loaded(store, ids.value):
        findings += _upgrade_job(store, earlier, jobid, job)
    telling.trouble(service, trouble)
    telling.findings(service, findings)
    service._p_changed = True
    if len(ids.value) < limit:
        _finish(service)
    else:
        vars(service)[REACHED] = ids.value[-1]
    return Slice(findings, trouble, earlier)


def _begun(service):
    """Return the store of a service, made now unless it is there."""
    if service._store is None:
        service._p_changed = True
        store = service._store = JobStore(service, FIRST_SEQUENCE)
        store.since = store.now()
        store.legacy = vars(service).get('jobs')
        if store.legacy is None:
            store.legacy = BTrees.family32.IO.BTree()
    return service._store


def _finish(service):
    for name in (*ATTRIBUTES, REACHED):
        vars(service).pop(name, None)
    service.schema = SCHEMA


def _complete(service, store, earlier):
    """Let all jobs be where they are looked for.  Return what is Gathered."""
    found = gather(service, store.legacy, earlier, store.read)
    # What nothing refers to would be thrown away when the database is packed.
    if found.tree is not store.legacy:
        vars(service)[UNREADABLE] = store.legacy
    if found.homeless:
        vars(service)[HOMELESS] = tuple(found.homeless)
    store.legacy = found.tree
    for key in found.odd:
        del found.tree[key]
    found.tree.update(found.jobs)
    return found


def _next_ids(service, store, limit):
    """Return the Outcome of reading them."""
    return store.read(
        _ids, store.legacy, vars(service).get(REACHED), limit)


def _ids(tree, after, limit):
    return list(itertools.islice(
        tree.keys(after, None, after is not None), limit))


def _loaded(store, ids):
    """Yield ids and jobs; they and their inputs are asked for together."""
    for number in range(0, len(ids), AT_ONCE):
        pairs = [(jobid, store.legacy[jobid])
                 for jobid in ids[number:number + AT_ONCE]]
        store.prefetch([job for _, job in pairs])
        store.prefetch([outcome_of(input_of, job).value for _, job in pairs])
        yield from pairs


def _upgrade_job(store, earlier, jobid, job):
    """Bring a job up to date.  Return a list of Finding."""
    look = look_at(job, jobid, earlier, store.read, store.since)
    failure = look.failure or _apply(store, job, look.fate, store.since)
    if failure is None:
        return look.findings
    aside.put(store, jobid, None, failure, store.since)
    return [unreadable(jobid, failure)]


def restore(service, jobid):
    """Bring a job up to date that was left out; see `is_left_out`.

    Return whether that is possible by now.
    """
    store = service._store
    job, now = lookup.record(store, jobid), store.now()
    look = look_at(job, jobid, Forgotten(), store.read, now)
    if (look.failure or _apply(store, job, look.fate, now, HELD)) is not None:
        return False
    del store.aside[jobid]
    telling.findings(service, look.findings)
    return True


def is_left_out(store, jobid):
    """Return whether a job is still as earlier code has stored it.

    It could not be read, or not be stored again, when the others were brought
    up to date.  One that cannot be read now is none.
    """
    if jobid not in store.aside or not lookup.is_apart(store, jobid):
        return False
    job = lookup.record(store, jobid)
    mend(job)
    found = store.read(opened, job)
    return not found.failed and vars(found.value).get('store') is None


def _apply(store, job, found, now, counted=None):
    """Make a job what its Fate says, and put it into the books.

    now -- POSIX seconds, for a job that is held.
    counted -- the status under which it is counted, None for none.

    Return None; or the Outcome of what has failed, and the job is not changed.
    """
    written = store.read(_write, store, job, found, now)
    if written.failed:
        job._p_invalidate()
        return written
    store.ledger.count(job.id, counted, job.stored_status)
    books.book(store, job)
    return None


def _write(store, job, found, now):
    """Make a job what its Fate says; see `_apply`."""
    state = vars(job)
    # Registered first: this may raise, and then nothing is changed.
    job._p_changed = True
    _tell_error(job, state.pop('error', None))
    _tell_times(state, now)
    if not isinstance(state.get('task'), str):
        # Pages, and whoever looks for a task, expect a text.
        state['task'] = shown(state.get('task'))
    state.pop('scheduledFor', None)
    state.update(found.pattern or {})
    if found.status == HELD and found.reason is not None:
        job.hold(found.reason, now)
    else:
        state['status'] = found.status
    if found.due is not None:
        job.due = found.due
    if found.status in LISTED and state['completed'] is None:
        state['completed'] = state['created']
    job.store = store


def _tell_times(state, now):
    """Keep the times of a job as POSIX seconds.

    Naive ones would be others in a process of another time zone: it would
    not find the job in the list under its time, nor remove it from there.

    now -- for jobs of which nobody knows when they were added.
    """
    for name in TIMES:
        stored = state.get(name)
        state[name] = (seconds_of(stored) if isinstance(
            stored, datetime.datetime) else real(stored))
    if state['created'] is None:
        state['created'] = now


def _tell_error(job, stored):
    """Keep texts of the exception that was stored of a job, or None."""
    if stored is not None:
        told = text_of(stored)
        job.details = Details(told.error)
        job.errorClass = told.errorClass


class Left(NamedTuple):
    """What there is to be done of a service.

    done -- status to the number of jobs that are brought up to date.
    jobs -- iterator over ids and jobs that are not.
    findings -- list of Finding, of where jobs were found.
    trouble -- texts: what cannot be read.
    """

    done: dict
    jobs: object
    findings: list
    trouble: list


def left(service, earlier, read):
    """Return what is Left to be done of a service; change nothing.

    earlier -- Earlier.
    read -- see Earlier.
    """
    state, store = vars(service), service._store
    tree = state.get('jobs') if store is None else store.legacy
    found = gather(service, BTrees.family32.IO.BTree() if tree is None
                   else tree, earlier, read)
    ids = [jobid for jobid in _ids(found.tree, state.get(REACHED), None)
           if jobid not in found.odd]
    done = {} if store is None else counting.counts(store)
    return Left(done, itertools.chain(
        ((jobid, found.tree[jobid]) for jobid in ids), found.jobs.items()),
        found.findings, found.trouble)
