"""The jobs that run again and again: which there are, and which are paused.

Storage only.  They are in the schedule, too, behind any number of others that
wait for a time.
"""

import BTrees

from lovely.remotetask.interfaces import CRONJOB


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


def is_paused(store, job):
    """Return whether a job is kept from running, as somebody has paused it.

    That is said of its schedule: a job that was cancelled, or held, and
    requeued is run once before it is paused again.
    """
    return job.stored_status == CRONJOB and has_pause(store, job.id)


def has_pause(store, jobid):
    """Return whether somebody has paused a job, whatever it is now."""
    return bool(store.pauses) and jobid in store.pauses


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
