"""One of those that look after the jobs of a service.

What it does besides running jobs, and what it says when it cannot.
"""

import time

from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running import quirks
from lovely.remotetask.running.duties import Duties
from lovely.remotetask.running.duty import Duty
from lovely.remotetask.running.membership import REPLACED
from lovely.remotetask.running.membership import Membership


# Whatever a processor says is said by one logger.
log = journal('lovely.remotetask.processor')

# Who has nothing to do gives one sign of life in place of so many: less than
# may be missed.  What was counted is stored as seldom.
IDLE_HEARTBEATS = 3

# Seconds between two looks at what is kept long enough, and how many jobs
# are removed in one transaction.
PRUNE_INTERVAL = 60.0
PRUNE_AT_ONCE = 100
# Seconds until it does something else in between.
PRUNE_FOR = 1.0


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
    place = _of_membership('place')
    service_db = _of_membership('service_db')
    service_oid = _of_membership('service_oid')

    # See IProcessor.
    counts_cut_off = False

    def __init__(self, db, path, heartbeat, missed):
        self.heartbeat = heartbeat
        self.membership = Membership(
            db, path, lambda: self.thread_name, heartbeat, missed, self.facts)
        self.membership.become_another()
        self.duties = Duties(self, _duties(heartbeat))
        self._beaten = self._measured = float('-inf')

    def facts(self):
        """Return what people are told of it, besides where it runs."""
        return {'kind': type(self).__name__, 'threads': 1}

    @property
    def thread_name(self):
        return '.'.join(['remotetasks', *self.servicePath])

    @property
    def trouble(self):
        """See IProcessor."""
        return self.duties.trouble

    def stop(self):
        """See IProcessor."""
        raise NotImplementedError

    def release(self):
        """Queue the jobs of workers again that are gone."""
        released = self.membership.release()
        self._tell_of_lost(released)
        return released

    def _tell_of_lost(self, jobids):
        for jobid in jobids:
            log.warning('%s/%s: whoever ran it is gone',
                        '/'.join(self.servicePath), jobid)

    def prune(self, now=None):
        """Remove some jobs that were kept long enough.  Return how many."""
        return self.membership.prune(PRUNE_AT_ONCE, now)

    def is_silent(self, now):
        """Return whether others wait for a sign of life."""
        pause = self.heartbeat * (IDLE_HEARTBEATS if self.is_idle() else 1)
        return now - self._beaten >= pause

    def may_measure(self, now):
        """Return whether what was counted was stored long enough ago."""
        return now - self._measured >= self.heartbeat * IDLE_HEARTBEATS

    def is_idle(self):
        """Return whether it has nothing to do."""
        return False

    def refresh_idle(self):
        """Let idle connections forget what they have heard of."""
        for each in list(self.db.databases.values()):
            quirks.refresh_idle(each)

    def forget_claims(self):
        """Forget what was claimed: the service is another one."""

    # Duties

    def look_after_others(self, now):
        """Do what is to be done now and then, each by itself.

        now -- seconds of the monotonic clock.
        """
        clock = self.membership.clock
        self.duties.do('clock', now, self.membership.look_at_clock)
        if self.is_silent(now) or clock.wants_comparison():
            self.duties.do('sign', now, self._sign, now)
        self.duties.do('release', now, self.release)
        self.duties.do('refresh', now, self.refresh_idle)
        if clock.was_set_back():
            self.duties['correct'].due = now
        if not self._may_schedule(now):
            return
        self.duties.do('correct', now, self.membership.correct_schedule)
        if self.duties.do('prune', now, self._prune_for_a_while):
            # What else this thread does comes in between.
            self.duties['prune'].due = now

    def _sign(self, now):
        # What was counted is not written at each sign: it is more.
        measures = self.may_measure(now)
        self.membership.sign(measures)
        self._beaten = now
        if measures:
            self._measured = now

    def knows_time(self):
        """Return whether the clock is good enough to say when jobs are due.
        """
        self.membership.look_at_clock()
        return self.membership.clock.is_good

    def _may_schedule(self, now):
        """Return whether the clock is good enough; say if it is far off."""
        clock = self.membership.clock
        if clock.is_far:
            how = 'ahead of' if clock.ahead > 0 else 'behind'
            self.duties.mark_ill('schedule', (
                f'the clock of this machine is {abs(clock.ahead):.0f} s {how} '
                f'that of the database; correct it'), now)
        elif clock.is_good:
            self.duties.mark_well('schedule', now)
        return clock.is_good

    def _prune_for_a_while(self):
        """Return whether there may be more to remove."""
        end = time.monotonic() + PRUNE_FOR
        while self.prune() == PRUNE_AT_ONCE:
            if time.monotonic() >= end:
                return True
        return False

    # See Duties

    def find_again(self):
        """Look for a service that is not where it was.  Return success."""
        found = outcome_of(self.membership.find_again).value
        if found == REPLACED:
            self.forget_claims()
        return found is not None

    def is_closed(self):
        """Return whether one of its databases was closed."""
        return quirks.is_closed(self.db) or quirks.is_closed(self.service_db)

    def stop_as_closed(self):
        """Stop, since a database was closed."""
        if self.running:
            log.info('%s: the database was closed', self.thread_name)
        self.stop()


def _duties(heartbeat):
    """Return all duties: what it cannot do while one fails."""
    return {
        'find': Duty('find its service'),
        # To look whether the disk takes changes costs nothing, so the pauses
        # are short.
        'write': Duty('run any job', most=1.0),
        'threads': Duty('start the threads that run jobs'),
        'run': Duty('run jobs'),
        'take': Duty('take jobs'),
        'settle': Duty('settle jobs that were run'),
        'clock': Duty('look at the clock'),
        'sign': Duty('tell others that it lives'),
        'release': Duty('take over from workers that are gone', heartbeat),
        'refresh': Duty('look after idle connections', heartbeat),
        'schedule': Duty('run jobs at their times, nor remove old ones'),
        'correct': Duty('correct the times of jobs', PRUNE_INTERVAL),
        'prune': Duty('remove jobs that were kept long enough',
                      PRUNE_INTERVAL)}
