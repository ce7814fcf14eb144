"""A look at a job of earlier code, before it is brought up to date.

What zodbupdate has written and ZODB cannot read is repaired for that, in the
transaction of the one who looks.
"""

from typing import NamedTuple

import persistent

from lovely.remotetask.foreign import reference
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.unreadable import UnreadableRecord
from lovely.remotetask.foreign.unreadable import reason_of
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.storage.fate import MENDED
from lovely.remotetask.storage.fate import REPAIRED
from lovely.remotetask.storage.fate import UNREADABLE
from lovely.remotetask.storage.fate import Fate
from lovely.remotetask.storage.fate import Finding
from lovely.remotetask.storage.fate import fate_of


NOT_STORABLE = (
    'it could not be stored again; install or correct the code that it '
    'needs, and requeue it: {}')


class Look(NamedTuple):
    """What is seen of a job.

    fate -- Fate; None if the job cannot be brought up to date.
    failure -- the Outcome of `read` then; of a job, too, that can be read,
        and could not be stored again.
    findings -- list of Finding.
    """

    fate: Fate | None
    failure: object
    findings: list


def look_at(job, jobid, earlier, read, now):
    """Return a Look at a job.

    earlier -- Earlier.
    read -- see Earlier.
    now -- POSIX seconds.
    """
    mended = mend(job)
    found = read(_storable_fate_of, job, jobid, earlier, now)
    if found.failed:
        return Look(None, found, [unreadable(jobid, found)])
    told = found.value.findings(jobid)
    if mend(input_of(job)) or mended:
        told.append(Finding(jobid, REPAIRED, MENDED))
    return Look(found.value, None, told)


def unreadable(jobid, failure):
    """Return the Finding of a job that cannot be brought up to date.

    failure -- the Outcome of `read`.
    """
    return Finding(
        jobid, UNREADABLE, f'It cannot be read: {reason_of(failure)}.')


def _storable_fate_of(job, *args):
    """See `fate_of`; the job will be written.

    One that could not be would let the commit fail that has all others in it.
    """
    fate = fate_of(job, *args)
    reason = value.unstorable(fate.kept(vars(job)), job._p_jar)
    if reason is not None:
        raise UnreadableRecord(NOT_STORABLE.format(reason))
    return fate


def input_of(job):
    """Return the input of a job that may be run; None for others."""
    job._p_activate()
    state = vars(job)
    # What has completed is not run again.
    return None if state.get('status') == COMPLETED else state.get('input')


def mend(record):
    """Load a persistent object.  Return whether it was repaired for that.

    Whoever uses the object meets anything else that keeps it from being
    loaded.
    """
    if (not issubclass(type(record), persistent.Persistent)
            or record._p_changed is not None):
        return False
    loaded = outcome_of(record._p_activate)
    if loaded.failed and value.is_of_database(loaded):
        raise loaded.exception
    return (loaded.failed and reference.repair(record)
            and bool(record._p_changed))
