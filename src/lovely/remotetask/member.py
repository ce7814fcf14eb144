"""One of those that look after the jobs of a service.

What it does besides running jobs, and what it says when it cannot.
"""

import logging
import time

from ZODB.POSException import ConflictError

from lovely.remotetask import interfaces
from lovely.remotetask import quirks
from lovely.remotetask.description import escaped
from lovely.remotetask.duty import Duty
from lovely.remotetask.duty import reason_of
from lovely.remotetask.gate import ProcessorStopped
from lovely.remotetask.membership import REPLACED
from lovely.remotetask.membership import Membership
from lovely.remotetask.outcome import attempt


# Whatever a processor says is said by one logger.
log = logging.getLogger('lovely.remotetask.processor')

# Seconds between two looks at what is kept long enough, and how many jobs
# are removed in one transaction.
PRUNE_INTERVAL = 60.0
PRUNE_AT_ONCE = 100
# Seconds until it does something else in between.
PRUNE_FOR = 1.0

# Seconds for which it may meet conflicts only, or wait for its service to be
# committed, before others are to know.
PATIENCE = 10.0


def _of_membership(name):
    """Return an attribute that is the membership's."""
    return property(
        lambda member: getattr(member.membership, name),
        lambda member, value: setattr(member.membership, name, value))


class Member:
    """Does the bookkeeping that is due, and takes over from the dead.

    db -- the ZODB.DB that holds the root folder.
    path -- list of str, from the root folder to the service.
    heartbeat -- seconds between two signs of life.
    missed -- how many of these may be missed.
    duties -- a dict: each Duty by its name.
    """

    db = _of_membership('db')
    servicePath = _of_membership('path')
    gate = _of_membership('gate')
    worker_id = _of_membership('worker_id')
    # Where the service itself is stored: another database, perhaps.
    service_db = _of_membership('service_db')
    service_oid = _of_membership('service_oid')

    def __init__(self, db, path, heartbeat, missed):
        self.heartbeat = heartbeat
        self.membership = Membership(
            db, path, lambda: self.thread_name, heartbeat, missed)
        self.membership.become_another()
        self._duties = _duties(heartbeat)
        self._beaten = float('-inf')

    @property
    def thread_name(self):
        return '.'.join(['remotetasks', *self.servicePath])

    @property
    def trouble(self):
        """See IProcessor."""
        found = [duty.trouble for duty in list(self._duties.values())]
        return '; '.join(text for text in found if text) or None

    def stop(self):
        """Take no more jobs."""
        raise NotImplementedError

    def release(self):
        """Queue the jobs of workers again that are gone."""
        released = self.membership.release()
        for jobid in released:
            log.warning('%s/%s: whoever ran it is gone',
                        '/'.join(self.servicePath), jobid)
        return released

    def prune(self, now=None):
        """Remove some jobs that were kept long enough.  Return how many."""
        return self.membership.prune(PRUNE_AT_ONCE, now)

    def _bookkeep(self, call, *args):
        return self.membership.bookkeep(call, *args)

    def _is_alive(self, worker):
        return self.membership.is_alive(worker.id)

    def _beats(self, now):
        """Return whether to tell that this one lives."""
        if now - self._beaten < self.heartbeat:
            return False
        self._beaten = now
        return True

    def _forget_claims(self):
        """Forget what was claimed: the service is another one."""

    # Duties

    def _look_after_others(self, now):
        """Do what is to be done now and then, each by itself.

        now -- seconds of the monotonic clock.
        """
        clock = self.membership.clock
        self._do('clock', now, self.membership.look_at_clock)
        if self._beats(now) or clock.wants_comparison():
            self._do('sign', now, self._sign, now)
        self._do('release', now, self.release)
        if clock.was_set_back():
            self._duties['correct'].due = now
        if not self._may_schedule(now):
            return
        self._do('correct', now, self.membership.correct_schedule)
        if self._do('prune', now, self._prune_for_a_while):
            # What else this thread does comes in between.
            self._duties['prune'].due = now

    def _sign(self, now):
        # If it fails, again soon.
        self._beaten = float('-inf')
        self.membership.sign()
        self._beaten = now

    def _knows_time(self):
        """Return whether the clock is good enough to say when jobs are due.
        """
        self.membership.look_at_clock()
        return self.membership.clock.is_good

    def _may_schedule(self, now):
        """Return whether the clock is good enough; say if it is far off."""
        clock = self.membership.clock
        if clock.is_far:
            how = 'ahead of' if clock.ahead > 0 else 'behind'
            self._note_ill('schedule', (
                f'the clock of this machine is {abs(clock.ahead):.0f} s {how} '
                f'that of the database; correct it'), now)
        elif clock.is_good:
            self._note_well('schedule', now)
        return clock.is_good

    def _prune_for_a_while(self):
        """Return whether there may be more to remove."""
        end = time.monotonic() + PRUNE_FOR
        while self.prune() == PRUNE_AT_ONCE:
            if time.monotonic() >= end:
                return True
        return False

    def _do(self, name, now, call, *args):
        """Do a duty if it is due.

        Return what the call returns; None if it fails or is not due.
        """
        if not (self._duties[name].is_due(now)
                and self._duties['find'].is_due(now)):
            return None
        outcome = attempt(call, *args)
        if outcome.is_a(interfaces.NoSuchService) and self._find_again():
            outcome = attempt(call, *args)
        if outcome.failed:
            self._report(outcome, name, now)
        else:
            self._note_well('find', now)
            self._note_well(name, now)
        return outcome.value

    def _find_again(self):
        found = attempt(self.membership.find_again).value
        if found == REPLACED:
            self._forget_claims()
        return found is not None

    # What goes wrong

    def _report(self, outcome, name='take', now=None):
        """Note that a duty has failed, and tell the log in due time."""
        now = time.monotonic() if now is None else now
        if outcome.is_a(ProcessorStopped):
            return
        # What one meets then depends on where the thread was.
        if self._is_closed():
            self._stop_as_closed()
        elif outcome.is_a(interfaces.NoSuchService):
            # Not committed yet, or removed.
            self._note_ill('find', reason_of(outcome), now, patience=(
                PATIENCE if self.service_oid is None else 0.0))
        elif outcome.retryable:
            self._note_ill(
                name, f'conflicts, or a server that is away; trying again: '
                f'{reason_of(outcome)}', now, outcome.errorClass,
                PATIENCE if outcome.is_a(ConflictError) else 0.0)
        else:
            self._note_failure(name, outcome, now)

    def _is_closed(self):
        return quirks.is_closed(self.db) or quirks.is_closed(self.service_db)

    def _stop_as_closed(self):
        if self.running:
            log.info('%s: the database was closed', self.thread_name)
        self.stop()

    def _note_failure(self, name, outcome, now):
        duty = self._duties[name]
        was_failing = duty.is_failing
        if not duty.has_failed(now, reason_of(outcome), outcome.errorClass):
            return
        if was_failing:
            log.warning('%s: still cannot work: cannot %s: %s',
                        self.thread_name, duty.what, reason_of(outcome))
        else:
            log.error('%s: could not work, trying again: cannot %s\n%s',
                      self.thread_name, duty.what, _traceback(outcome))

    def _note_ill(self, name, reason, now, kind=None, patience=0.0):
        """Note why a duty cannot be done, where a traceback tells nothing."""
        duty = self._duties[name]
        if duty.has_failed(now, reason, kind, patience):
            log.warning('%s: cannot %s: %s',
                        self.thread_name, duty.what, reason)

    def _note_well(self, name, now):
        if self._duties[name].has_ended(now):
            log.info('%s: can %s again', self.thread_name,
                     self._duties[name].what)


def _duties(heartbeat):
    """Return all duties: what it cannot do while one fails."""
    return {
        'find': Duty('find its service'),
        'write': Duty('run any job'),
        'threads': Duty('start the threads that run jobs'),
        'run': Duty('run jobs'),
        'take': Duty('take jobs'),
        'settle': Duty('settle jobs that were run'),
        'clock': Duty('look at the clock'),
        'sign': Duty('tell others that it lives'),
        'release': Duty('take over from workers that are gone', heartbeat),
        'schedule': Duty('run jobs at their times, nor remove old ones'),
        'correct': Duty('correct the times of cron jobs', PRUNE_INTERVAL),
        'prune': Duty('remove jobs that were kept long enough',
                      PRUNE_INTERVAL)}


def _traceback(outcome):
    """Return the traceback of a failure; each line of it is a line."""
    frames = '\n'.join(map(escaped, outcome.frames.rstrip('\n').split('\n')))
    return f'{frames or outcome.errorClass}: {escaped(outcome.error)}'
