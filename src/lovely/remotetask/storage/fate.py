"""What becomes of a job that lovely.remotetask 0.2 to 0.5 have stored.

It is only told here; nothing is changed.
"""

import datetime
import math
from typing import NamedTuple

from lovely.remotetask import cron
from lovely.remotetask.foreign.unreadable import UnreadableRecord
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import seconds_of
from lovely.remotetask.number import exact
from lovely.remotetask.number import real
from lovely.remotetask.number import shown
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.lookup import checked_but_status


# A queued job is due at the time at which it was added, divided by this: so
# the order is kept, and each one is due at once, whatever time zone its time
# was told in.
LONG_AGO = 1e10

RUN_ALREADY = (
    'The process that ran the job before the upgrade has died, and what the '
    'function did may be stored: gocept.async 0.3 committed that before '
    'lovely.remotetask 0.5 stored that the job had ended. Look whether it '
    'is; requeue the job to run it once more.')
NO_VALUE = ('No time matches the pattern any more: {}. Give the job another '
            'pattern, and requeue it; or remove it.')
NO_TASK = ('Its task is {}, which is no name of one. Remove the job, and add '
           'one for the task that was meant.')
NO_TIME = 'It cannot be told when to run the job: {}'

# A job with one of these is to be run.  PROCESSING: the process that ran it
# has ended.
BEFORE_RUNS = (QUEUED, PROCESSING, DELAYED, CRONJOB)

# The attributes of jobs that are times.
TIMES = ('created', 'started', 'completed')

# What is written anew of each job, or dropped, whatever was stored.
REPLACED = (*TIMES, 'status', 'error', 'scheduledFor')

# Stands in the pattern of a job that is held for what is no number: no time
# matches it.
NEVER = -1

# Kinds of findings, and what each says.
HOLDS = 'held'
LOST = 'lost'
PATTERN = 'pattern'
UNREADABLE = 'unreadable'
REPAIRED = 'repaired'
FOUND = 'found'

NEVER_RUN = ('It waited in no queue, as the process that had it died before '
             'it ran; it is queued.')
ONLY_QUEUED = ('It waited in a queue, and was not among the jobs that can be '
               'read; it is among them now.')
DROPPED = ('Of its pattern is left out what no time ever matches, and '
           'lovely.remotetask 0.5 never met: {}.')
MENDED = ('It, or its input, has a reference as zodbupdate 3.0 writes it, '
          'which could not be read; that is repaired.')


class Finding(NamedTuple):
    """Something that is to be told of a job.

    kind -- one of the kinds above.
    text -- str, whole sentences.
    """

    jobid: int
    kind: str
    text: str


class Fate(NamedTuple):
    """What a job is to be.

    status -- str.
    due -- POSIX seconds, for one that waits.
    reason -- str, why it is held.
    pattern -- the fields of a cron job as they are to be, by name: tuples of
        int, whatever was stored.
    dropped -- str, what of its pattern is left out, '' for nothing.
    was_lost -- whether it was in no queue, and would never have been run.
    """

    status: str
    due: float | None = None
    reason: str | None = None
    pattern: dict[str, tuple[int, ...]] | None = None
    dropped: str = ''
    was_lost: bool = False

    def kept(self, state):
        """Return what stays as it is of what was stored of the job: a dict.

        state -- a mapping.
        """
        replaced = {*REPLACED, *(self.pattern or ())}
        if not isinstance(state.get('task'), str):
            replaced.add('task')
        return {name: value for name, value in state.items()
                if name not in replaced and not name.startswith('_v_')}

    def findings(self, jobid):
        """Return what is to be told of the job: a list of Finding."""
        if self.status == HELD and self.reason is not None:
            return [Finding(jobid, HOLDS, self.reason)]
        found = []
        if self.was_lost:
            found.append(Finding(jobid, LOST, NEVER_RUN))
        if self.dropped:
            found.append(Finding(jobid, PATTERN, DROPPED.format(
                self.dropped)))
        return found


def fate_of(job, jobid, earlier, now):
    """Return the Fate of a job.

    earlier -- Earlier.
    now -- POSIX seconds.

    Raise whatever is raised by a record that cannot be read.
    """
    found = _fate_of(checked_but_status(job, jobid), earlier, now)
    if found.pattern is None and isinstance(job, CronJob):
        return found._replace(pattern=possible(vars(job))[0])
    return found


def _fate_of(job, earlier, now):
    status = job.stored_status
    if status in BEFORE_RUNS and not isinstance(vars(job).get('task'), str):
        return Fate(HELD, reason=NO_TASK.format(shown(vars(job).get('task'))))
    if status in (QUEUED, PROCESSING):
        return _waiting(job, earlier.is_queued(job), Fate(
            QUEUED, _long_ago(job)))
    if status == DELAYED:
        return _waiting(job, earlier.is_scheduled(job),
                        _timed(job, status, earlier, now))
    if status == CRONJOB:
        return _timed(job, status, earlier, now)
    if status not in LISTED:
        raise UnreadableRecord(f'its status is {shown(status)}')
    return Fate(status)


def _waiting(job, is_there, fate):
    """Return the Fate of a job that is run once.

    is_there -- whether it is where jobs wait; None if nobody knows.
    """
    if is_there:
        return fate
    if vars(job).get('started') is not None:
        return Fate(HELD, reason=RUN_ALREADY, was_lost=True)
    return fate._replace(was_lost=is_there is False)


def _long_ago(job):
    created = vars(job).get('created')
    if isinstance(created, datetime.datetime):
        # In which time zone does not matter.
        created = created.replace(tzinfo=datetime.UTC).timestamp()
    created = real(created)
    return max(0.0, created or 0.0) / LONG_AGO


# Times

def _timed(job, status, earlier, now):
    """Return the Fate of a job that has a pattern or a delay."""
    if not isinstance(job, CronJob):
        return Fate(HELD, reason=NO_TIME.format('it has no pattern'))
    stored = earlier.time_of(job)
    if status == DELAYED:
        return _delayed(job, stored, now, earlier.is_new(job))
    if not job.recurring:
        return _at(status, lambda: job.timeOfNextCall(now), stored)
    fields, dropped, impossible = possible(vars(job))
    if impossible:
        return Fate(HELD, reason=NO_VALUE.format(dropped), pattern=fields,
                    dropped=dropped)
    pattern = cron.Pattern(**fields)
    return _at(status, lambda: pattern.after(now), stored)._replace(
        pattern=fields, dropped=dropped)


def _delayed(job, stored, now, is_new):
    due = stored
    scheduled = None if is_new else vars(job).get('scheduledFor')
    if due is None and isinstance(scheduled, datetime.datetime):
        due = seconds_of(scheduled)
    if due is not None:
        return Fate(DELAYED, due)
    return _at(DELAYED, lambda: job.timeOfNextCall(now), None)


def _at(status, next_time, stored):
    """Return the Fate of a job that is due at the next time.

    stored -- when it was due; that counts if it is earlier.  So what has
        passed while nothing ran is made up for, once.
    """
    try:
        due = next_time()
    except ValueError as error:
        return Fate(HELD, reason=NO_TIME.format(error))
    return Fate(status, due if stored is None else min(stored, due))


def possible(state):
    """Return what can match of a pattern, see ICronJob.

    state -- of the job, a mapping; lovely.remotetask 0.5 took any values, and
        never met those that are none.

    Return the fields, a text of what is left out, and whether nothing can
    match, as no value of a field is left: that one keeps what it had.
    """
    fields, dropped, impossible = {}, [], False
    for name, allowed in cron.RANGES.items():
        values = _values(state.get(name))
        found = [_number(value) for value in values]
        fields[name] = tuple(dict.fromkeys(
            number for number in found if number in allowed))
        out = [shown(value) for value, number in zip(
            values, found, strict=True) if number not in allowed]
        if out:
            dropped.append(f'{name}={", ".join(out)}')
            if not fields[name]:
                impossible = True
                fields[name] = tuple(
                    NEVER if number is None else number for number in found)
    return fields, '; '.join(dropped), impossible


def _values(stored):
    """Return the values of a field as a tuple, whatever was stored."""
    if stored is None:
        return ()
    if isinstance(stored, tuple | list | set | frozenset):
        return tuple(stored)
    return (stored,)


def _number(value):
    """Return the int that a value was equal to, None if there is none."""
    value = exact(value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else None
