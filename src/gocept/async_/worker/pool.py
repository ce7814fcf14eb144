"""The processes of a worker: all of them, and what they tell."""

import collections
import contextlib
import selectors
import threading
import time

from gocept.async_.openmetrics import Told
from gocept.async_.worker.child import Child
from gocept.async_.worker.counted import Sums
from gocept.async_.worker.place import STATES
from gocept.async_.worker.place import Place
from lovely.remotetask.foreign.journal import journal


log = journal(__name__)


# Seconds between two rounds after which this process itself has stood still.
STALL = 5.0


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
        # Held while what was counted goes from a child to the sums.
        self._lock = threading.Lock()
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

    def forget(self, place):
        """Take leave of the child of a place: it has ended."""
        child = place.child
        # Who asks meanwhile would miss what it has counted.
        with self._lock:
            place.child = None
            self._leave(child)
        if child.refusal is None:
            return
        if self._was_ready:
            # Others run, so this may be the middle of a deployment: the main
            # process goes on.
            log.error('process %s: %s', child.pid, child.refusal)
        else:
            self.refusal = child.refusal
            self.stopping = True

    def _leave(self, child):
        if not child.at_end:
            self._wakeup.selector.unregister(child)
        child.close()
        self._sums.keep(child.counted)

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
        """Whether some children are still to be replaced."""
        return bool(self._to_replace) or self._replacing is not None

    @property
    def ended(self):
        """Whether it is being stopped, and no child is left."""
        return self.stopping and not self._children

    def reload(self):
        """Replace the children, one by one; begin anew if that goes on."""
        # A child that is never ready may be why this is asked for again, so
        # nobody waits for it.  Its place comes first: otherwise a second
        # child would be stopped while the first one is still missing.
        self._to_replace = sorted(
            self._places, key=lambda place: place is not self._replacing)
        self._replacing = None

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
        with self._lock:
            counted = self._sums.of(
                [child.counted for child in self._children])
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
        children = [(child.seen_age, child.said) for child in self._children]
        _, newest = min(((age, said) for age, said in children
                         if age is not None),
                        key=lambda child: child[0], default=(None, {}))
        found = dict(newest.get('services', {}))
        for _, each in children:
            for name, service in each.get('services', {}).items():
                if isinstance(service, dict) and service.get('problem'):
                    found[name] = {**(found.get(name) or {}),
                                   'problem': service['problem']}
        return found
