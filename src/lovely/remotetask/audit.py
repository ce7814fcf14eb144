"""What processors look after now and then: undone, copied, lost jobs.

Storage only.
"""

import logging
import random

from lovely.remotetask import aside
from lovely.remotetask import books
from lovely.remotetask import crew
from lovely.remotetask import lane
from lovely.remotetask import lookup
from lovely.remotetask import passing
from lovely.remotetask import settlement
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.job import CronJob
from lovely.remotetask.ledger import LISTED
from lovely.remotetask.ledger import first
from lovely.remotetask.lookup import checked
from lovely.remotetask.removal import belongs


log = logging.getLogger(__name__)

# How many jobs of each status are looked at, of the newest and of the others;
# and how many entries in a search for jobs that nobody has.
NEWEST = 50
OTHERS = 50
SEARCHED = 500


def look(store, now):
    """Look at some jobs at rest, whether they are what the ledger says.

    Somebody may have undone the transaction that had ended them.
    """
    for status in LISTED:
        found = store.read(_some, store.ledger, status)
        for key, job in dict(found.value or ()).items():
            failure = store.read(_check, store, status, key, job, now)
            if failure.failed:
                store.ledger.take_out(status, key)
                aside.put(store, key[1], status, failure, now)


def _some(ledger, status):
    """Return some keys and jobs of a status."""
    jobs = ledger.jobs[status]
    found = first(ledger.newest(status), NEWEST)
    if len(found) == NEWEST:
        # Anywhere before: over time, each one is looked at.
        oldest, newest = jobs.minKey(), found[-1][0]
        key = (random.uniform(oldest[0], newest[0]),
               random.randint(*sorted((oldest[1], newest[1]))))
        found += first(ledger.newest(status, key), OTHERS)
    return found


def _check(store, status, key, job, now):
    checked(job, key[1])
    if not belongs(job, status, key) and not lookup.is_pending(store, job):
        store.ledger.take_out(status, key)
        _correct(store, job, status, now)


def _correct(store, job, status, now):
    """See to a job that the ledger had under a status that it has not."""
    if not (job.removed or books.is_booked(store, job)
            or crew.has_claim(store, job)):
        passing.undone(store, job, status, now)
        return
    # It was changed once more after the transaction was undone, and counted
    # from what it was then.
    before = QUEUED
    if isinstance(job, CronJob):
        before = job.waiting_status if 'delay' in vars(job) else DELAYED
    store.ledger.count(status, before)


def search(store, now):
    """Look for jobs that wait and that nobody has, some entries at a time.

    Forgets that, once all were looked at.
    """
    if store.searched is None:
        return
    key, sequence = store.searched
    for strand_key, begin, end in _ranges(store, key, sequence):
        upto = min(end, begin + SEARCHED)
        for number in range(begin, upto):
            store.read(_search, store, lane.place(number, strand_key), now)
        if upto < end:
            store.searched = strand_key, upto
            return
    for jobid in store.legacy or ():
        store.read(_search, store, jobid, now)
    store.searched = None


def _ranges(store, key, sequence):
    """Iterate over keys of strands, and what is to be searched of each."""
    keys = sorted(key for _, key in lookup.strands(store))
    for found in keys:
        if found >= key:
            begin = sequence if found == key else store.start
            yield found, begin, lookup.sequence_at_cursor(store, found)


def _search(store, jobid, now):
    job = lookup.raw(store, jobid)
    if (job is not None and job.stored_status in WAITING
            and not job.removed and not lookup.is_pending(store, job)
            and not crew.has_claim(store, job)):
        books.book(store, job, now)


def correct_schedule(store, now):
    """Let no recurring job wait longer than its pattern says.

    Somebody had a wrong clock for a moment, perhaps.
    """
    for jobid, found in list(store.crons.items()):
        store.read(_correct_time, store, jobid, found[0], now)


def _correct_time(store, jobid, job, now):
    checked(job, jobid)
    if (not job.recurring or not books.is_booked(store, job)
            or job.stored_status not in WAITING):
        return
    found = store.read(job.corrected_due, now)
    if found.failed:
        books.hold(store, job, books.NO_TIME.format(found.error), now)
    elif found.value is not None:
        books.set_time(store, job, found.value)


def _path(location):
    """Return the names from the root folder to a location."""
    names = []
    while location is not None:
        names.append(location.__name__)
        location = location.__parent__
    return [name for name in reversed(names) if name]


def adopt(store):
    """Take the jobs of a store that was copied; return whether it was.

    The copies of those that wait are held, when they are met: their records
    were written with that of the store.
    """
    if store.oid in (None, store._p_oid):
        return False
    log.warning('%s: a copy of another service; jobs that wait in both are '
                'held here', '/'.join(_path(store.service)))
    store.copied_at = store._p_serial
    store.oid = store._p_oid
    for worker_id in list(store.workers):
        for claim in crew.drop_worker(store, worker_id):
            settlement.settle(store, claim)
    return True
