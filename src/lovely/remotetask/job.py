"""Jobs, and the changes of status that are legal for them."""

import datetime
import time
from typing import NamedTuple

import cronsim
import persistent
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER


# None is the status of a job that is just being made.
STATUS_CHANGES = {
    None: {QUEUED, STARTLATER, DELAYED, CRONJOB},
    STARTLATER: {QUEUED, CANCELLED},
    QUEUED: {PROCESSING, CANCELLED},
    DELAYED: {PROCESSING, CANCELLED},
    CRONJOB: {PROCESSING, CANCELLED},
    # Back to where it came from, if whoever ran it is gone.
    PROCESSING: {COMPLETED, ERROR, QUEUED, CRONJOB},
    COMPLETED: set(),
    ERROR: set(),
    CANCELLED: set(),
}

RANGES = {
    'minute': range(60),
    'hour': range(24),
    'dayOfMonth': range(1, 32),
    'month': range(1, 13),
    'dayOfWeek': range(7),
}

# The fields of a cron expression from the finest to the coarsest, each with
# the value that stands for "not said" when nothing finer is said.
FIRST_VALUES = (
    ('minute', '0'), ('hour', '0'), ('dayOfMonth', '1'), ('month', '*'))

# A day of the month and a day of the week meet again within 28 years; leap
# days are the rarest, and a century may lack one.
DAYS_TO_TRY = 366 * 40


def as_datetime(seconds):
    """Return the aware UTC datetime for POSIX seconds."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


@zope.interface.implementer(interfaces.IClaim)
class Claim(NamedTuple):
    """See IClaim."""

    processor: str
    token: str
    time: float


@zope.interface.implementer(interfaces.IJob)
class Job(persistent.Persistent):
    """See IJob."""

    status = None
    output = None
    error = None
    errorClass = None
    traceback = None
    claim = None
    attempts = 0
    started = None
    completed = None

    # Where the job lies in the queue; the queue's own affair.
    position = None

    recurring = False

    def __init__(self, id, task, input):
        self.id = id
        self.task = task
        self.input = input
        self.created = as_datetime(time.time())

    def change_status(self, status):
        """Set the status; raise IllegalStatusChange if that is not legal."""
        if status not in STATUS_CHANGES[self.status]:
            raise interfaces.IllegalStatusChange(
                f'Job {self.id} is {self.status!r} and cannot become '
                f'{status!r}.')
        self.status = status

    def begin(self, claim):
        """Note that the job is being run under a claim."""
        self.change_status(PROCESSING)
        self.claim = claim
        self.attempts = 1
        self.started = as_datetime(claim.time)
        self.completed = None

    def succeed(self, output, now):
        """Note the result of a run."""
        self.end(self.after_run(COMPLETED), now)
        self.output = output
        self.error = self.errorClass = self.traceback = None

    def fail(self, failure, now):
        """Note why a run failed; `failure` has the fields of the job."""
        self.end(self.after_run(ERROR), now)
        self.error = failure.error
        self.errorClass = failure.errorClass
        self.traceback = failure.traceback

    def after_run(self, status):
        """Return the status after a run that ended with the given one."""
        return status

    def end(self, status, now):
        """Note that the job ended, or rests until its next run."""
        self.change_status(status)
        self.completed = as_datetime(now)

    def __repr__(self):
        return f'<{type(self).__name__} {self.id!r}>'


@zope.interface.implementer(interfaces.ICronJob)
class CronJob(Job):
    """See ICronJob."""

    scheduledFor = None

    def __init__(self, id, task, input, minute=(), hour=(), dayOfMonth=(),
                 month=(), dayOfWeek=(), delay=None):
        super().__init__(id, task, input)
        self.update(minute, hour, dayOfMonth, month, dayOfWeek, delay)

    def update(self, minute=(), hour=(), dayOfMonth=(), month=(),
               dayOfWeek=(), delay=None):
        """See ICronJob."""
        delay = delay or None  # As published, 0 stands for no delay.
        fields = {'minute': minute, 'hour': hour, 'dayOfMonth': dayOfMonth,
                  'month': month, 'dayOfWeek': dayOfWeek}
        fields = {name: tuple(values) for name, values in fields.items()}
        _check_delay(delay)
        for name, values in fields.items():
            _check_values(name, values)
        if delay is None:
            _next_match(fields, 0)
        self.__dict__.update(fields)
        self.delay = delay

    @property
    def recurring(self):
        """Whether the job runs again and again, not once after a delay."""
        return self.delay is None

    def timeOfNextCall(self, now=None):
        """See ICronJob."""
        if now is None:
            now = time.time()
        if not self.recurring:
            return int(now + self.delay)
        return _next_match({name: getattr(self, name) for name in RANGES},
                           now)

    def after_run(self, status):
        return CRONJOB if self.recurring else status


def _check_delay(delay):
    if delay is None:
        return
    if isinstance(delay, bool) or not isinstance(delay, int | float) \
            or delay < 0:
        raise ValueError(
            f'delay must be a number of seconds, 0 or more, not {delay!r}.')


def _check_values(name, values):
    allowed = RANGES[name]
    for value in values:
        if value not in allowed:
            raise ValueError(
                f'{name} must be {allowed[0]} to {allowed[-1]}, '
                f'not {value!r}.')


def _next_match(fields, now):
    """Return the first time after `now` that matches all fields.

    cronsim follows Debian's cron, where a day matches if *either* day field
    does.  Here both must, so it gets the day of the month alone, and days
    with another day of the week are skipped.
    """
    after = as_datetime(now)
    days_of_week = fields['dayOfWeek']
    expression = _expression(fields)
    for _ in range(DAYS_TO_TRY):
        try:
            found = next(cronsim.CronSim(expression, after))
        except (cronsim.CronSimError, StopIteration):
            break
        if not days_of_week or found.weekday() in days_of_week:
            return int(found.timestamp())
        after = found.replace(hour=23, minute=59)
    raise ValueError(f'No day ever matches the pattern {fields!r}.')


def _expression(fields):
    """Return the cron expression for all fields but the day of the week."""
    terms = []
    finer_only = True
    for name, first in FIRST_VALUES:
        values = fields[name]
        if values:
            terms.append(','.join(map(str, values)))
            finer_only = False
        else:
            terms.append(first if finer_only else '*')
        # A weekday is as fine as a day of the month.
        if name == 'hour' and fields['dayOfWeek']:
            finer_only = False
    if not any(fields.values()):
        terms = ['*'] * 4
    return ' '.join([*terms, '*'])
