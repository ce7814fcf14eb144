"""The jobs that run again and again: which there are, and which are paused.

Storage only.  They are in the schedule, too, behind any number of others that
wait for a time.
"""

import BTrees

from lovely.remotetask import zone
from lovely.remotetask.foreign.journal import Once
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import NoTimeZone


log = journal(__name__)

# Why times were left to other processes.
said = Once()


def enter(store, job):
    """Remember a job with a time, if it runs again and again."""
    if job.stored_status != CRONJOB:
        leave(store, job.id)
        return
    if store.recurring is None:
        # A store of before; processors alone write this.
        store.recurring = _all(store)
    if job.id not in store.recurring:
        store.recurring[job.id] = job


def _all(store):
    return BTrees.family64.IO.BTree({
        jobid: found[0] for jobid, found in store.crons.items()
        if found[3] == CRONJOB})


def leave(store, jobid):
    """Remember a job no longer."""
    if store.recurring is not None and jobid in store.recurring:
        del store.recurring[jobid]


def newest(store, after=None):
    """Iterate over ids and jobs, those first that were added last.

    after -- an id: only what is beyond it.
    """
    found = _all(store) if store.recurring is None else store.recurring
    # A copy: there are few of them.
    for jobid in reversed(list(found.keys(max=after))):
        if jobid != after:
            yield jobid, found[jobid]


def tell(store, job, call, now):
    """Return the Outcome of a call that tells when a cron job is due.

    call -- called with a time; returns another one.

    Its value is None, too, where this process alone cannot tell: then the
    time is left as it is, and to other processes.  That the zone is in no
    data here may be the fault of these data: all who give a job a zone know
    it.  So a name is taken for a wrong one only if there are data, and the
    job never had a time.
    """
    return store.read(_tell, job, call, now)


def _tell(job, call, now):
    try:
        return call(now)
    except NoTimeZone as error:
        if (job.due is None and job.started is None
                and zone.is_in_no_data(job.timezone)):
            raise
        reason = str(error)
        if said.is_new(reason, reason):
            log.warning('the next times of cron jobs are left to other '
                        'processes: %s', reason)
        return None


def is_paused(store, job):
    """Return whether a job is kept from running, as somebody has paused it.

    That is said of its schedule: a job that was cancelled, or held, and
    requeued is run once before it is paused again.
    """
    return job.stored_status == CRONJOB and has_pause(store, job.id)


def has_pause(store, jobid):
    """Return whether somebody has paused a job, whatever it is now."""
    return bool(store.pauses) and jobid in store.pauses


def resume_running(store, jobid, now):
    """Resume a job while it runs; its next time counts from now.

    The job is not written, so what runs comes to its end.
    """
    resume(store, jobid)
    if store.resumed is None:
        store.resumed = BTrees.family64.IO.BTree()
    store.resumed[jobid] = now


def missed_until(store, job, due, now):
    """Return when a job was resumed while it ran, if it was due before.

    None otherwise, and for one that is to be tried again: it misses nothing.
    At the latest it is `now`, whatever the clock of that caller was.
    """
    found = store.resumed.get(job.id) if store.resumed else None
    if found is None or job.attempts or not job.recurring or due > found:
        return None
    return min(found, now)


def forget(store, jobid):
    """Forget that a job was paused, and when it was resumed."""
    resume(store, jobid)
    if store.resumed and jobid in store.resumed:
        del store.resumed[jobid]


def pause(store, jobid):
    """Let a job have no time; processors see that when it would be due.

    They do not meet whoever pauses it: the job itself is not written, so what
    runs at the moment comes to its end.
    """
    if store.pauses is None:
        store.pauses = BTrees.family64.II.TreeSet()
    store.pauses.add(jobid)


def resume(store, jobid):
    """Forget that a job was paused; its next time is still to be told."""
    if has_pause(store, jobid):
        store.pauses.remove(jobid)
