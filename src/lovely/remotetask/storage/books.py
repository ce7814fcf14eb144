"""The processors' books: where each job is kept, and how it is counted.

Storage only.  Callers write none of this: they leave a note in a lane, and
processors keep the books when they pass it.  docs/explanation/engine.rst tells
why.
"""

from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.job import CronJob
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import crons
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.ledger import key_of


# For jobs with these statuses the schedule tells when they are due, not the
# job.
TIMED = (CRONJOB, DELAYED)

NO_TIME = 'It cannot be told when to run the job: {}'


def due_time(job):
    """Return when a job is due, in POSIX seconds; 0.0: at once."""
    return 0.0 if job.due is None else job.due


def has_no_time_yet(job):
    """Whether the time of a cron job is still to be counted."""
    return job.stored_status in TIMED and job.due is None


def time_of(store, job, own):
    """Return when a cron job is due, in POSIX seconds; None: no time yet.

    own -- what the job says.
    """
    if job.stored_status in TIMED:
        found = entry_of_now(store, job)
        if found is not None:
            return found[1]
    return own


def entry_of_now(store, job):
    """Return what the schedule tells of a cron job as it is now, or None.

    Under a fence other than that of the job it tells of it as it was before
    somebody has changed it.
    """
    found = store.crons.get(job.id)
    return found if found is not None and found[2] == job.fence else None


def next_due(store):
    """Return when the first job of the schedule is due, or None."""
    found = store.read(_first_in_schedule, store.schedule)
    return None if found.failed else found.value


def _first_in_schedule(schedule):
    return schedule.minKey()[0] if schedule else None


def place_of(job):
    """Return where the books have a job: a status and a time."""
    status = job.stored_status
    return status, key_of(job)[0] if status in LISTED else due_time(job)


def is_booked(store, job):
    """Return whether a job is listed, or waits, where it belongs."""
    if job.stored_status in LISTED:
        return store.ledger.has(job)
    return (due_time(job), job.id) in store.schedule or (
        job.stored_status == CRONJOB and _is_parked(store, job))


def _is_parked(store, job):
    """Return whether the books have a cron job without a time."""
    found = entry_of_now(store, job)
    return found is not None and found[1] is None


def book(store, job, now=None, timed=True):
    """Put a job where its status belongs; it may be there.

    timed -- whether the clock is good enough to tell when a job is due.
    """
    if job.stored_status in LISTED:
        if isinstance(job, CronJob):
            forget_time(store, job.id)
        if not store.ledger.has(job):
            store.ledger.add(job)
    elif job.stored_status in TIMED:
        _schedule(store, job, now, timed)
    elif not is_booked(store, job):
        store.schedule[due_time(job), job.id] = job


def _schedule(store, job, now, timed):
    due = job.due
    now = store.now(now)
    since = now if due is None else crons.missed_until(store, job, due, now)
    if since is None or not timed or crons.is_paused(store, job):
        set_time(store, job, due)
    else:
        tell_time(store, job, since)


def tell_time(store, job, now):
    """Let a cron job be due at its next time, or be held if it has none."""
    found = crons.tell(store, job, job.timeOfNextCall, now)
    if found.failed:
        hold(store, job, NO_TIME.format(found.error), now)
    elif found.value is None:
        _park(store, job)
    else:
        set_time(store, job, found.value)


def set_time(store, job, due):
    """Let a cron job be due at a time (POSIX seconds, None: no time yet).

    One that is paused has none.
    """
    if crons.is_paused(store, job):
        _park(store, job)
    else:
        _enter(store, job, due)
        store.schedule[due or 0.0, job.id] = job


def _park(store, job):
    """Let a cron job have no time, and no place in the schedule.

    Those who look after the schedule come by now and then.
    """
    if _is_parked(store, job):
        # Nothing is written where it was so before.
        store.schedule.pop((0.0, job.id), None)
    else:
        _enter(store, job, None)


def _enter(store, job, due):
    _leave_schedule(store, job.id)
    crons.enter(store, job)
    store.crons[job.id] = job, due, job.fence, job.stored_status


def forget_time(store, jobid):
    """Take a cron job out of the schedule."""
    _leave_schedule(store, jobid)
    crons.leave(store, jobid)


def _leave_schedule(store, jobid):
    found = store.crons.pop(jobid, None)
    if found is not None:
        store.schedule.pop((found[1] or 0.0, jobid), None)


def take_out(store, jobid, status, time):
    """Take a job off the books where they may have it."""
    if status in LISTED:
        store.ledger.take_out(status, (time, jobid))
        return
    if status in TIMED:
        forget_time(store, jobid)
    store.schedule.pop((time, jobid), None)


def take_out_anywhere(store, jobid):
    """Take a job off the books, wherever they have it.

    Return the status under which they had it, None if they had not.  Takes
    long: it looks through all trees.
    """
    listed = ((status, tree) for status in LISTED
              for tree in store.ledger.trees(status))
    for status, tree in ((None, store.schedule), *listed):
        for key in store.read(list, tree).value or ():
            if key[1] == jobid:
                status = status or counted_in_schedule(store, jobid)
                take_out(store, jobid, status, key[0])
                return status
    # A cron job that is paused is in none of them.
    status = None
    if jobid in store.crons:
        status = counted_in_schedule(store, jobid)
        forget_time(store, jobid)
    return status


def hold(store, job, reason, now):
    """Let a job that waits be held."""
    old = job.stored_status
    job.hold(reason, store.now(now))
    store.ledger.count(job.id, old, HELD)
    book(store, job, now)


def counted_in_schedule(store, jobid):
    """Return the status under which a job in the schedule is counted."""
    found = store.crons.get(jobid)
    return QUEUED if found is None else found[3]


def book_if_missing(store, job, counted, now, timed=True):
    """Put a job into the books, unless they have it.

    counted -- the status under which it is counted.
    """
    if is_booked(store, job) or crew.has_claim(store, job):
        return
    store.ledger.count(job.id, counted, job.stored_status)
    book(store, job, now, timed)
