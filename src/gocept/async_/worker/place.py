"""Where one process of a worker runs after the other: start, bury, replace."""

import logging
import math

from gocept.async_.recurring import Complaint
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import Pauses
from lovely.remotetask.retry import doubled


log = journal(__name__)


# A process that has never been ready, or dies within so many seconds, is
# started again after a pause: the first and the longest one, in seconds.
QUICK = 10.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0

# A process that is not ready, though its database answers, is replaced after
# so many times the patience; after twice as long if that has not helped, and
# so on until it has doubled so often.
IDLENESS = 10
DOUBLINGS = 4

# How a process may be, as Place.describe has it.
STATES = ('starting', 'ready', 'waiting', 'late', 'stuck', 'stopping',
          'pausing')


class Place:
    """Where one child after the other runs.

    pool -- the Pool; asked whether a child may be started, and for one.  It
        takes the child away that has ended.
    number -- int, from 1: that of the place in the pool.
    child -- the Child that runs there, or None.
    problem -- why there is no child, or None.
    """

    def __init__(self, pool, number):
        self._pool = pool
        self.number = number
        self.child = None
        self.problem = None
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._complaint = Complaint(log.error)
        self._given_up = 0
        # When to start the next child; 0 before there was a reason to wait.
        self._start_at = 0.0
        self._replaced = None

    def step(self, now):
        """Start, bury, replace or kill the child if it is time."""
        if self.child is not None and self.child.poll() is not None:
            self._bury(now)
        if self.child is None:
            if now >= self._start_at and self._pool.may_start(self):
                self._start(now)
        elif self.child.stopping_since is None:
            self._look_after(now)
        else:
            self.child.kill_if_overdue(now, self._pool.options['grace'])

    def _start(self, now):
        """Start a child, or try it later: there may be no room for one."""
        outcome = outcome_of(self._pool.start_child)
        if outcome.failed:
            self.problem = outcome.error
            self._start_at = now + self._pauses.next()
            self._complaint.say('no process can be started: %s', self.problem)
            return
        self.child = outcome.value
        self.problem = None
        self._complaint.end()

    def _look_after(self, now):
        if self.child.ready:
            self._given_up = 0
            return
        patience = self._pool.options['patience']
        why = self.child.hopeless(
            now, patience, doubled(
                patience * IDLENESS, math.inf, self._given_up))
        if why is not None:
            self._given_up = min(self._given_up + 1, DOUBLINGS)
            self.child.give_up(why)

    def _bury(self, now):
        child = self.child
        self._pool.forget(self)
        self._start_at = now + self._pause(child, now)
        if not self._pool.stopping:
            log.log(logging.WARNING if child.poll() else logging.INFO,
                    'process %s has ended with %s; the next one starts in '
                    '%.1f s', child.pid, _how(child.poll()),
                    self._start_at - now)

    def _pause(self, child, now):
        """Return seconds to wait before the next child."""
        planned = child is self._replaced or (
            child.poll() == 0 and child.jobs)
        if planned or (child.was_ready and now - child.began > QUICK):
            self._pauses.reset()
            return 0.0
        return self._pauses.next()

    def replace(self):
        """Let the child stop, so that another one starts."""
        self._replaced = self.child
        if self.child is not None:
            self.child.stop()

    @property
    def renewed(self):
        """Whether the child after that which `replace` stopped is ready."""
        return (self.child is not None and self.child.ready
                and self.child is not self._replaced)

    def describe(self):
        """Return a dict of what there is to know; any thread may ask."""
        child = self.child
        found = {'state': self._absence, 'problem': self.problem} \
            if child is None else child.describe()
        return {'number': self.number, **found}

    @property
    def _absence(self):
        """How the place is without a child."""
        if self._pool.stopping:
            return 'stopping'
        # A place that has not had its turn yet is held back by the pool;
        # nothing is wrong with it.
        return 'pausing' if self._start_at else 'starting'


def _how(code):
    return f'signal {-code}' if code < 0 else f'exit code {code}'
