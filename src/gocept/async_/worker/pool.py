"""The processes of a worker: start them, listen to them, replace them."""

import collections
import contextlib
import logging
import math
import selectors
import time

from gocept.async_.openmetrics import Told
from gocept.async_.recurring import Complaint
from gocept.async_.worker.child import Child
from gocept.async_.worker.counted import Sums
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

# Seconds between two rounds after which this process itself has stood still.
STALL = 5.0


# How a process may be, as Place.describe has it.
STATES = ('starting', 'ready', 'waiting', 'late', 'stuck', 'stopping',
          'pausing')


class Place:
    """Where one child after the other runs.

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
        child, self.child = self.child, None
        self._pool.forget(child)
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
        found = {'state': 'pausing', 'problem': self.problem} \
            if child is None else child.describe()
        return {'number': self.number, **found}


def _how(code):
    return f'signal {-code}' if code < 0 else f'exit code {code}'


class Pool:
    """A fixed number of worker processes.

    options -- those of WorkerProcess, and `patience`, in seconds.
    wakeup -- Wakeup; its selector gets what there is to read.
    """

    def __init__(self, options, wakeup, clock=time.monotonic):
        self.options = options
        self.stopping = False
        self.refusal = None
        self._wakeup = wakeup
        self._clock = clock
        self._stepped = clock()
        self._was_ready = False
        self._to_replace = []
        self._replacing = None
        self._sums = Sums()
        self._places = [Place(self, number + 1)
                        for number in range(options['processes'])]

    # For the places

    def may_start(self, place):
        """Return whether a child may be started.

        The first one alone: if it has to be created, two processes would
        both create what is missing in the database.
        """
        return not self.stopping and (
            self._was_ready or place is self._places[0])

    def start_child(self):
        """Return a new child; OSError if the system has none to give."""
        child = Child(self.options, self._clock)
        with contextlib.ExitStack() as stack:
            stack.callback(child.close)
            stack.callback(child.wait)
            stack.callback(child.kill)
            self._wakeup.selector.register(
                child, selectors.EVENT_READ, lambda: self._listen(child))
            stack.pop_all()
        log.info('process %s started', child.pid)
        return child

    def _listen(self, child):
        child.listen()
        if child.at_end:
            # A pipe without a writer is always ready, with nothing to read:
            # the wait would never wait.
            self._wakeup.selector.unregister(child)

    def forget(self, child):
        """Take leave of a child that has ended."""
        if not child.at_end:
            self._wakeup.selector.unregister(child)
        child.close()
        self._sums.keep(child.counted)
        if child.refusal is None:
            return
        if self._was_ready:
            # Others run, so this may be the middle of a deployment: the main
            # process goes on.
            log.error('process %s: %s', child.pid, child.refusal)
        else:
            self.refusal = child.refusal
            self.stopping = True

    # For the command

    def step(self):
        """Do what there is to do."""
        now = self._clock()
        if now - self._stepped > STALL:
            # This process has stood still, so it has listened to nobody; the
            # silence is no fault of the children.
            for child in self._children:
                child.forgive(now - self._stepped, now)
        self._stepped = now
        for place in self._places:
            place.step(now)
        self._was_ready = self._was_ready or self.ready
        self._go_on_reloading()

    def _go_on_reloading(self):
        if self._replacing is not None and self._replacing.renewed:
            self._replacing = None
        if self._replacing is None and self._to_replace and not self.stopping:
            self._replacing = self._to_replace.pop(0)
            self._replacing.replace()

    @property
    def _children(self):
        # Other threads call this, too, while children come and go; so each
        # place is read once.
        return [child for child in [place.child for place in self._places]
                if child is not None]

    @property
    def ready(self):
        """Whether some child is ready."""
        return any(child.ready for child in self._children)

    @property
    def reloading(self):
        return bool(self._to_replace) or self._replacing is not None

    @property
    def ended(self):
        return self.stopping and not self._children

    def reload(self):
        """Replace the children, one by one."""
        self._to_replace = list(self._places)

    def stop(self):
        """Let the children finish their jobs and end."""
        self.stopping = True
        for child in self._children:
            child.stop()

    def kill(self):
        """End the children at once."""
        self.stopping = True
        children = self._children
        for child in children:
            child.kill()
        for child in children:
            child.wait()

    def status(self):
        """Return a dict for people and monitors; called in any thread."""
        children = [place.describe() for place in self._places]
        states = {child['state'] for child in children}
        services = self._services()
        problem = self._problem(children, services)
        return {'ready': problem is None,
                'live': not states & {'late', 'pausing', 'stuck'},
                'problem': problem,
                'services': services, 'children': children}

    def _problem(self, children, services):
        """Return why some service cannot work, None if all can."""
        found = ['the worker is being stopped'] if self.stopping else []
        found += [child.get('problem') or child['state']
                  for child in children if child['state'] != 'ready']
        found += [f'service "{name}": there is none; its site is missing'
                  for name, service in services.items() if service is None]
        # What all have in common is said once.
        return '; '.join(dict.fromkeys(found)) or None

    @property
    def all_ready(self):
        """Whether all processes can work for what services there are."""
        return not self.stopping and all(
            place.child is not None and place.child.ready
            for place in self._places)

    def told(self):
        """Return what there is to know of each service: Told by name.

        Any thread may call it.
        """
        counted = self._sums.of([child.counted for child in self._children])
        found = {}
        for name, service in self._services().items():
            service = service if isinstance(service, dict) else {
                'problem': 'there is no such service'}
            age = service.get('oldest_queued_age')
            found[name] = Told(
                service.get('counts'),
                (age or 0.0) if 'oldest_queued_age' in service else None,
                service.get('workers'), service.get('paused'),
                not service.get('problem'), counted.get(name))
        return found

    def states(self):
        """Return how many processes there are, by their state."""
        found = collections.Counter(dict.fromkeys(STATES, 0))
        found.update(place.describe()['state'] for place in self._places)
        return found

    def _services(self):
        """Return what the child has seen that looked last.

        With the problems that any of them has.
        """
        said = [child.said for child in self._children]
        newest = min((each for each in said if each.get('age') is not None),
                     key=lambda each: each['age'], default={})
        found = dict(newest.get('services', {}))
        for each in said:
            for name, service in each.get('services', {}).items():
                if isinstance(service, dict) and service.get('problem'):
                    found[name] = {**(found.get(name) or {}),
                                   'problem': service['problem']}
        return found
