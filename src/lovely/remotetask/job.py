"""Jobs, and the changes of status that are legal for them."""

import contextvars
import datetime
import time
from typing import Any
from typing import NamedTuple

import persistent
import zope.interface

from lovely.remotetask import cron
from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask import number
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.unreadable import read
from lovely.remotetask.history import Details
from lovely.remotetask.history import abbreviated
from lovely.remotetask.history import attempt_of
from lovely.remotetask.history import error_of
from lovely.remotetask.history import full
from lovely.remotetask.history import newest_first
from lovely.remotetask.history import remembered
from lovely.remotetask.history import traceback_of
from lovely.remotetask.history import without_texts
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.part import part
from lovely.remotetask.policy import MAX_WAIT


# None is the status of a job that is just being made.
STATUS_CHANGES = {
    None: {QUEUED, STARTLATER, DELAYED, CRONJOB},
    STARTLATER: {QUEUED, CANCELLED},
    # Held without a run: see Job.hold.
    QUEUED: {PROCESSING, CANCELLED, HELD},
    # Given a pattern instead of a delay, or the other way round.
    DELAYED: {PROCESSING, CANCELLED, HELD, CRONJOB},
    CRONJOB: {PROCESSING, CANCELLED, HELD, DELAYED},
    # Waiting again: for another attempt, or for the next time.
    PROCESSING: {COMPLETED, ERROR, HELD, QUEUED, DELAYED, CRONJOB},
    HELD: {QUEUED, CANCELLED},
    ERROR: {QUEUED},
    CANCELLED: {QUEUED},
    COMPLETED: set(),
}


def as_datetime(seconds):
    """Return the aware UTC datetime for POSIX seconds.

    That of an end of the calendar for what is beyond: lovely.remotetask 0.5
    took delays of any length.
    """
    return datetime.datetime.fromtimestamp(
        min(max(number.FIRST, seconds), number.LAST), datetime.UTC)


def seconds_of(moment):
    """Return the POSIX seconds of a datetime; a naive one is local time.

    At an end of the calendar, where the time zone leads beyond, in UTC.
    """
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):
        return moment.replace(tzinfo=datetime.UTC).timestamp()


class Time:
    """An attribute that is stored as POSIX seconds and read as a datetime.

    lovely.remotetask 0.5 stored naive datetimes in local time.
    """

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, job, owner=None):
        if job is None:
            return self
        job._p_activate()
        value = job.__dict__.get(self.name)
        if value is None:
            return None
        if isinstance(value, datetime.datetime):
            value = seconds_of(value)
        return as_datetime(value)

    def __set__(self, job, seconds):
        job._p_activate()
        # Registered first: this may raise, and then nothing is changed.
        job._p_changed = True
        job.__dict__[self.name] = seconds


class Value(persistent.Persistent):
    """An input or a result, in a record of its own.

    It is the application's: after a deploy it may be unreadable.  The record
    of the job holds nothing of it, so that the job stays readable.
    """

    def __init__(self, value):
        self.value = value


# What is stored in the record of the job itself: it can always be read.
ATOMS = frozenset({type(None), bool, int, float, str, bytes})


def is_call(stored):
    """Return whether an input is a stored call, which is stored as it is.

    Its class says by `canBeReferredTo` that it can be imported wherever jobs
    are read, and that `function_name` and `principal_id` (str or None) can be
    asked for without loading any arguments.
    """
    class_ = type(stored)
    return issubclass(class_, persistent.Persistent) and (
        class_.__dict__.get('canBeReferredTo') is True)


def wrap(value):
    """Return what a job stores for an input or a result.

    A record cannot be read where the classes of the objects that it refers to
    raise an error when they are imported; see `is_call`.
    """
    return value if type(value) in ATOMS or is_call(value) else Value(value)


class Payload:
    """An attribute whose value is the application's; see Value."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, job, owner=None):
        if job is None:
            return self
        job._p_activate()
        stored = job.__dict__.get(self.name)
        return stored.value if type(stored) is Value else stored

    def __set__(self, job, value):
        stored = wrap(value)
        job._p_activate()
        job._p_changed = True
        job.__dict__[self.name] = stored


class Due:
    """When a cron job is due, as the schedule of the processors says.

    They do not write the job for that: whoever reschedules or cancels it
    would meet them.
    """

    def __get__(self, job, owner=None):
        if job is None:
            return None
        job._p_activate()
        due = job.__dict__.get('due')
        return due if job.store is None else job.store.time_of(job, due)

    def __set__(self, job, seconds):
        job._p_activate()
        job._p_changed = True
        job.__dict__['due'] = seconds


@part
@zope.interface.implementer(interfaces.IClaim)
class Claim(NamedTuple):
    """See IClaim.

    counted -- the status under which the job is counted meanwhile.
    seat -- an ISeat, where the job is run without a stored claim; None: the
        claim is stored.
    """

    job: int
    worker: str
    processor: str
    time: float
    attempt: int
    fence: int
    counted: str
    seat: Any = None


class Run(NamedTuple):
    """One run of a job, as long as it lasts; only whoever runs it has it.

    Nothing of it is kept on the job: an object may leave the cache of its
    connection at any savepoint, and its volatile attributes with it.

    claim -- the Claim under which it runs.
    started -- when it began, in POSIX seconds.
    """

    claim: Claim
    started: float


class Rest(NamedTuple):
    """Where a completed job is listed.

    fence -- of the claim under which it was run.
    time -- by which it is listed, POSIX seconds.
    """

    fence: int
    time: float


# Which job is run in this context, where no worker record tells it: in the
# caller's own transaction, or by Celery without a claim.  A pair of its store
# and the Claim.
direct_run = contextvars.ContextVar('direct_run', default=(None, None))


# Attributes that nearly every job stores, in the order in which it gets them.
USUAL = ('id', 'task', 'input', 'created', 'status', 'store',
         'started', 'completed', 'attempts', 'fence', '_history')


# Attributes that have one of a few texts in nearly all jobs.
ABBREVIATED = frozenset(('task', 'status'))


@zope.interface.implementer(interfaces.IJob)
class Job(persistent.Persistent):
    """See IJob."""

    input = Payload()
    output = Payload()
    errorClass = None
    # The Details of the last run, if that failed.
    details = None
    # The JobStore; it is set when the job is added.
    store = None
    # The last attempts, and those before; see `history`.
    _history = _past = ()
    attempts = 0
    transients = 0
    interruptions = 0
    priority = interfaces.DEFAULT_PRIORITY

    created = Time()
    started = Time()
    completed = Time()

    recurring = False

    # For the store:
    # when the job may be run, in POSIX seconds; None: at once;
    due = None
    # grows by one with each run, by two if others have changed the job;
    fence = 0
    # the id of the last note that tells processors of a change;
    note = None
    # nothing is left but what the books need.
    removed = False
    # the traceparent of the caller, see running.tracing.
    trace = None

    def __init__(self, id, task, input, priority=None, due=None):
        self.id = id
        # A member of an Enum of the application becomes a text: its class may
        # move.
        self.task = number.exact(task)
        self.input = input
        self.created = time.time()
        # What is as usual need not be stored.
        if priority not in (None, self.priority):
            self.priority = priority
        if due is not None:
            self.due = due

    @property
    def __parent__(self):
        """The service, so that local grants on it hold for its jobs."""
        return None if self.store is None else self.store.service

    @property
    def __name__(self):
        return str(self.id)

    def __getstate__(self):
        # A tuple in place of most of the dictionary, without what is missing
        # at its end: ZODB is told of each single object in a pickle.
        state = super().__getstate__()
        for name in ABBREVIATED.intersection(state):
            state[name] = abbreviated(state[name])
        if self._history:
            self._abbreviate_times(state, *self._history[-1][:2])
        usual = [state.pop(name, None) for name in USUAL]
        while usual[-1] is None:
            del usual[-1]
        return (state, *usual) if state else (None, *usual)

    def __setstate__(self, state):
        if isinstance(state, tuple):
            others, *usual = state
            state = {name: value for name, value
                     in zip(USUAL, usual, strict=False) if value is not None}
            state.update(others or {})
            for name in ABBREVIATED.intersection(state):
                state[name] = full(state[name])
            if state.get('started') is True:
                started, duration, *_ = state['_history'][-1]
                state['started'] = started
                state['completed'] = started + duration
        super().__setstate__(state)

    @staticmethod
    def _abbreviate_times(state, started, duration):
        """Note that the times of a job are those of its last attempt."""
        if (duration is not None and state.get('started') == started
                and state.get('completed') == started + duration):
            state['started'], state['completed'] = True, None

    @property
    def function(self):
        """See IJob."""
        return self._of_call('function_name')

    @property
    def principal(self):
        """See IJob."""
        return self._of_call('principal_id')

    def _of_call(self, name):
        self._p_activate()
        stored = self.__dict__.get('input')
        if not is_call(stored):
            return None
        jar = stored._p_jar
        found = read(None if jar is None else jar.db(), getattr, stored, name)
        return found.value if type(found.value) is str else None

    @property
    def history(self):
        """See IJob."""
        return tuple(attempt_of(attempt).part_of(self)
                     for attempt in reversed(list(self._newest_first())))

    def _newest_first(self):
        self._p_activate()
        return newest_first(self._past, self._history)

    @property
    def error(self):
        """See IJob."""
        return error_of(self.details)

    @property
    def traceback(self):
        """See IJob."""
        return traceback_of(self.details)

    @property
    def waits_for_person(self):
        """Whether it is kept until somebody requeues, or removes it.

        Nobody would ever run a cron job again that was removed.
        """
        return self.recurring and self.stored_status == HELD

    @property
    def scheduledFor(self):
        """See IJob."""
        return None if self.due is None else as_datetime(self.due)

    @property
    def stored_status(self):
        """The status without regard to whether the job is claimed."""
        self._p_activate()
        return self.__dict__.get('status')

    @property
    def claim(self):
        """See IJob."""
        found = self._find_claim()
        return None if found is None else found.part_of(self)

    def _find_claim(self):
        if self.stored_status not in WAITING or self.store is None:
            return None
        store, claim = direct_run.get()
        if (store is self.store and claim.job == self.id
                and claim.fence == self.fence):
            return claim
        return self.store.claim_of(self)

    @property
    def status(self):
        """See IJob."""
        return (self.stored_status if self._find_claim() is None
                else PROCESSING)

    def change_status(self, status):
        """Set the status; raise IllegalStatusChange if that is not legal."""
        self._change_status(self.status, status)

    def _change_status(self, old, status):
        if status not in STATUS_CHANGES[old]:
            raise interfaces.IllegalStatusChange(
                f'Job {self.id} is {old!r} and cannot become {status!r}.')
        self._p_changed = True
        self.__dict__['status'] = status

    def succeed(self, run, output, now):
        """Store the result of a run."""
        self._end_run(run, COMPLETED, now)
        if output is not None or self.__dict__.get('output') is not None:
            self.output = output
        self._end_of_attempts()

    def fail(self, run, failure, now, status=ERROR):
        """Store the error of a run that is not tried again."""
        self._end_run(run, status, now, failure)
        self._end_of_attempts()

    def retry(self, run, failure, now, due, transient=False):
        """Store the error of a run that is tried again when it is due."""
        self._end_run(run, self.waiting_status, now, failure, due)
        if transient:
            self.transients += 1

    def interrupt(self, run, failure, now, due):
        """Store that a run failed because of what it stands on."""
        self.retry(run, failure, now, due)
        self.interruptions += 1

    @property
    def failures(self):
        """How many runs failed, and not only met a passing trouble."""
        return self.attempts - self.transients - self.interruptions

    def lose(self, claim, reason, due=None):
        """Store that nobody has stored how a run ended.

        reason -- str, why that is so.
        due -- when it is run again, in POSIX seconds; None: as before.
        """
        # Read before the fence is changed, see Due.
        due = self.due if due is None else due
        self._remember((claim.time, None, claim.processor, None,
                        Details(reason)))
        self.attempts += 1
        self.fence += 1
        self._set_due(due)

    @property
    def was_lost(self):
        """Whether nobody has stored how the last run ended."""
        return bool(self.attempts and self._history
                    and self._history[-1][1] is None)

    def end_under(self, claim):
        """Return the status in which a run under a claim ended, or None."""
        for attempt in map(attempt_of, self._newest_first()):
            if attempt.fence < claim.fence:
                # The fence only grows, so those before are none of it.
                break
            if (attempt.fence == claim.fence
                    and attempt.processor == claim.processor):
                return attempt.status
        return None

    def was_run_by(self, claim):
        """Whether what the job is now is the end of a run under a claim."""
        return (self.fence == claim.fence + 1 and not self.was_lost
                and self.end_under(claim) is not None)

    def outdate_claims(self):
        """Make claims worthless that are made on the job at this moment."""
        due = self.due
        # A run adds one; two is more, so the two can be told apart.
        self.fence += 2
        self._set_due(due)

    def _set_due(self, due):
        if due != self.__dict__.get('due'):
            self.due = due

    def wait_again(self):
        """Queue a job at rest again, as if it had never been run."""
        self.change_status(QUEUED)
        self.fence += 2
        self.due = None
        self._forget_attempts()

    def cancel(self, now):
        """Store that the job is not to be run."""
        self.change_status(CANCELLED)
        self.outdate_claims()
        self.completed = now

    def reschedule(self):
        """Forget when the job is due."""
        self.fence += 2
        self.due = None

    def hold(self, reason, now):
        """Let the job wait for somebody to requeue it.

        reason -- str, why it cannot be run.
        """
        self._change_status(self.stored_status, HELD)
        self.fence += 2
        self.completed = now
        self.errorClass = None
        self.details = Details(reason)

    def _forget_attempts(self):
        self.attempts = self.transients = self.interruptions = 0

    def _end_of_attempts(self):
        # The next time of a cron job is a new beginning.
        if self.recurring:
            self._forget_attempts()

    def _end_run(self, run, status, now, failure=None, due=None):
        # A clock that was set back meanwhile must not make the job look as if
        # it had been kept long enough already.
        now = max(now, run.started, run.claim.time)
        # Computed first: nothing of what may raise comes in the middle.
        status = self.status_after(status)
        if due is None and status in WAITING:
            found = outcome_of(self.next_due, run.claim.time, now)
            # Nobody could tell when to run it next.
            status = HELD if found.failed else status
            failure = found if found.failed else failure
            due = found.value
        self._change_status(PROCESSING if self.stored_status in WAITING
                            else self.stored_status, status)
        self.started = run.started
        self.completed = now
        self.attempts += 1
        self._set_failure(failure)
        self._remember((run.started, now - run.started, run.claim.processor,
                        self.errorClass, self.details))
        # Another run of the same job would carry another fence.
        self.fence += 1
        self._set_due(due)

    def _remember(self, attempt):
        past, self._history = remembered(
            self._past, self._history,
            (*attempt, self.fence, self.stored_status))
        if past:
            # Most jobs have none, and need not store that.
            self._past = past

    def _set_failure(self, failure):
        if failure is None:
            if self.details is not None:
                self.details = self.errorClass = None
            return
        self.errorClass = failure.errorClass
        details = Details(failure.error, failure.traceback)
        # A job that fails again and again in the same way writes it once.
        if self.details is None or not self.details.says(details):
            self.details = details

    def status_after(self, status):
        """Return the status after a run that ended with the given one."""
        return status

    def next_due(self, begun, now):
        """Return when to run again, after a run from `begun` until `now`."""

    @property
    def waiting_status(self):
        """The status while the job waits for another attempt."""
        return QUEUED

    def clear(self):
        """Forget all but what tells where the job is listed and counted."""
        # Whoever settles the claim of any run counts by how that has ended.
        history = without_texts(self._newest_first())
        self.removed = True
        for name in list(self.__dict__):
            if name not in KEPT:
                del self.__dict__[name]
        self.fence += 2
        self._history = history

    def copy(self, id):
        """Return a job that does once what this one does.

        The record of the input is that of both; it is never written again.
        """
        made = Job(id, self.task, None, self.priority)
        made.__dict__['input'] = self.__dict__.get('input')
        return made

    def __repr__(self):
        # The description of a job that cannot be read does not raise, either.
        found = outcome_of(self._described)
        return f'<{type(self).__name__} {found.value or "(unreadable)"}>'

    def _described(self):
        status = self.status
        if status is None:
            # A job without a status was not added yet.
            return f'{self.id!r}'
        attempts = self.attempts + (status == PROCESSING)
        name = escaped(plain(self.function or self.task, REPR_SIZE))
        return f'{self.id!r} {status} {name}' + (
            f', attempt {attempts}' if attempts else '')


# What is shown of a job at most, in characters.
REPR_SIZE = 300

# By how many seconds the clocks of two machines may differ: Kerberos, which
# many networks use, allows as much.
CLOCK_TOLERANCE = 300

# What a removed job keeps until the books know of it.
KEPT = ('id', 'status', 'priority', 'removed', 'store', 'fence', 'note',
        '_history', 'delay')


@zope.interface.implementer(interfaces.ICronJob)
class CronJob(Job):
    """See ICronJob."""

    # lovely.remotetask 0.2 to 0.5 has not stored all of them.
    minute = hour = dayOfMonth = month = dayOfWeek = ()
    delay = timezone = name = None
    # When it was given another pattern or delay, in POSIX seconds.
    changed = None
    due = Due()

    def __init__(self, id, task, input, minute=(), hour=(), dayOfMonth=(),
                 month=(), dayOfWeek=(), delay=None, timezone=None):
        super().__init__(id, task, input)
        self._set_pattern(minute, hour, dayOfMonth, month, dayOfWeek, delay,
                          timezone)

    def update(self, minute=(), hour=(), dayOfMonth=(), month=(),
               dayOfWeek=(), delay=None, timezone=None):
        """See ICronJob."""
        self._set_pattern(minute, hour, dayOfMonth, month, dayOfWeek, delay,
                          timezone)
        self.changed = moment.now()

    def _set_pattern(self, minute, hour, dayOfMonth, month, dayOfWeek, delay,
                     timezone):
        # As published, a delay of 0 stands for none.
        delay = cron.check_delay(delay) or None
        pattern = cron.Pattern(
            minute, hour, dayOfMonth, month, dayOfWeek, timezone).check()
        if delay is not None and pattern.says_when:
            raise ValueError(
                'A job runs again and again, by a pattern, or once after a '
                'delay; give one of the two.')
        for name, value in pattern._asdict().items():
            setattr(self, name, value)
        self.delay = delay

    @property
    def recurring(self):
        """Whether the job runs again and again, not once after a delay."""
        return self.delay is None

    @property
    def paused(self):
        """See ICronJob."""
        return self.store is not None and self.store.is_paused(self)

    @property
    def scheduledFor(self):
        """See IJob."""
        if self.due is None or self.paused:
            return None
        return as_datetime(self.due)

    def timeOfNextCall(self, now=None):
        """See ICronJob."""
        if now is None:
            now = time.time()
        if not self.recurring:
            return cron.after_delay(now, self.delay)
        return cron.Pattern(*(
            getattr(self, name) for name in cron.Pattern._fields)).after(now)

    def corrected_due(self, now):
        """See ICronJob."""
        if self.due is None:
            return None
        now = number.check_time(now)
        # The one who made it due may have had a clock that is a bit ahead.
        latest = self.timeOfNextCall(now + CLOCK_TOLERANCE)
        if self.attempts:
            # A job that was run may wait for another attempt.
            latest = max(latest, now + MAX_WAIT + CLOCK_TOLERANCE)
        due = number.real(self.due)
        if due is not None and due <= latest:
            return None
        # A time that has passed since it ran last is made up for, once.
        return self.timeOfNextCall(self._last_known_time(now))

    def _last_known_time(self, now):
        """Return when the job ran last, was added or changed.

        As far as that is past.
        """
        times = [started for started, *_ in self._newest_first()]
        times += [self.__dict__.get('created'), self.changed]
        return max((time for time in map(number.real, times)
                    if time is not None and 0 <= time <= now), default=now)

    def reschedule(self):
        # One that was requeued is queued until it has run.
        if self.stored_status not in (QUEUED, self.waiting_status):
            self._change_status(self.stored_status, self.waiting_status)
        super().reschedule()

    def status_after(self, status):
        return CRONJOB if self.recurring else status

    def next_due(self, begun, now):
        # A tick meanwhile is caught up, once; but none that was before the
        # pattern was changed.
        since = max(begun, min(now, self.changed or begun))
        try:
            return self.timeOfNextCall(since) if self.recurring else None
        except interfaces.NoTimeZone:
            # No time yet: whoever knows the zone tells it, see crons.tell.
            return None

    @property
    def waiting_status(self):
        return CRONJOB if self.recurring else DELAYED

    def wait_again(self):
        if self.stored_status != CRONJOB:
            super().wait_again()
