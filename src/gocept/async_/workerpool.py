"""The processes of a worker: start them, listen to them, replace them."""

import contextlib
import datetime
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time


log = logging.getLogger(__name__)

# Seconds without a report after which a process is taken for stuck.
LATE = 15.0

# Seconds that a process has beyond the grace of its jobs.
MARGIN = 10.0

# A process that dies within so many seconds is started again after a pause:
# the first and the longest one, in seconds.
QUICK = 10.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0


class Child:
    """A process of the pool, and what it has reported."""

    def __init__(self, options):
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        try:
            self._process = subprocess.Popen(
                _command(write, options), stdin=subprocess.DEVNULL,
                pass_fds=[write], env=_environment(),
                # Ctrl-C in a terminal is meant for the main process.
                start_new_session=True)
        finally:
            os.close(write)
        self.pid = self._process.pid
        self.began = self.heard = time.monotonic()
        self.stopping_since = None
        self.said = {}
        self.jobs = 0
        self._unread = b''

    def fileno(self):
        return self._read

    def listen(self):
        """Read what was reported.  Return whether there may be more."""
        try:
            data = os.read(self._read, 2 ** 16)
        except BlockingIOError:
            return False
        *lines, self._unread = (self._unread + data).split(b'\n')
        for line in lines:
            self._hear(json.loads(line))
        return bool(data)

    def _hear(self, message):
        self.heard = time.monotonic()
        self.said = message
        self.jobs = message.get('jobs', 0)
        if 'stopping' in message and self.stopping_since is None:
            log.info('process %s stops: %s', self.pid, message['stopping'])
            self.stopping_since = self.heard

    @property
    def refusal(self):
        """Why it will never run, or None."""
        return self.said.get('refused')

    @property
    def late(self):
        # None is expected while it opens the database, or waits for jobs.
        return (self.stopping_since is None and bool(self.said)
                and time.monotonic() - self.heard > LATE)

    @property
    def ready(self):
        return (self.stopping_since is None and not self.late
                and self.said.get('ready', False))

    @property
    def state(self):
        if self.stopping_since is not None:
            return 'stopping'
        if not self.said:
            return 'starting'
        if self.late:
            return 'late'
        return 'ready' if self.ready else 'waiting'

    def poll(self):
        """Return the exit code, None while it lives."""
        return self._process.poll()

    def stop(self):
        """Ask it to finish its jobs and end."""
        if self.stopping_since is None:
            self.stopping_since = time.monotonic()
            self._process.terminate()

    def kill(self):
        """End it, and what its jobs have started, wherever they are."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self):
        """Wait for the end after `kill`: a zombie would be taken for alive.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(MARGIN)

    def close(self):
        while self.listen():
            pass
        os.close(self._read)

    def describe(self):
        age = time.monotonic() - self.heard
        heard = datetime.datetime.fromtimestamp(
            time.time() - age, datetime.UTC)
        return {'pid': self.pid, 'state': self.state,
                'last_heartbeat': heard.isoformat(timespec='seconds'),
                'heartbeat_age': round(age, 1), 'jobs': self.jobs,
                'memory_mb': round(self.said.get('memory', 0)),
                'problem': self.said.get('problem')}


def _command(descriptor, options):
    arguments = [descriptor, options, os.environ.get('PYTHONPATH')]
    # -P: no module of the current folder is imported by accident.
    return [sys.executable, '-P', '-m', 'gocept.async_.workerprocess',
            json.dumps(arguments)]


def _environment():
    # Scripts made by buildout have put their packages there themselves.
    path = os.pathsep.join(filter(None, sys.path))
    return dict(os.environ, PYTHONPATH=path)


class Place:
    """Where one child after the other runs."""

    def __init__(self, pool, number):
        self._pool = pool
        self.number = number
        self.child = None
        self._failures = 0
        self._start_at = 0.0
        self._replaced = None

    def step(self, now):
        """Start, bury or kill the child if it is time."""
        if self.child is not None and self.child.poll() is not None:
            self._bury(now)
        if self.child is None:
            if now >= self._start_at and self._pool.may_start(self):
                self.child = self._pool.start_child()
        elif self._is_overdue(now):
            log.error('process %s does not stop; it is killed',
                      self.child.pid)
            self.child.kill()

    def _is_overdue(self, now):
        since = self.child.stopping_since
        grace = self._pool.options['grace'] + MARGIN
        return since is not None and now > since + grace

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
        if planned or now - child.began > QUICK:
            self._failures = 0
            return 0.0
        self._failures += 1
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._failures - 1))

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
        found = {'state': 'pausing'} if self.child is None \
            else self.child.describe()
        return {'number': self.number, **found}


def _how(code):
    return f'signal {-code}' if code < 0 else f'exit code {code}'


class Pool:
    """A fixed number of worker processes.

    options -- those of WorkerProcess.
    wakeup -- Wakeup; its selector gets what there is to read.
    """

    def __init__(self, options, wakeup):
        self.options = options
        self.stopping = False
        self.refusal = None
        self._wakeup = wakeup
        self._was_ready = False
        self._to_replace = []
        self._replacing = None
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
        child = Child(self.options)
        self._wakeup.selector.register(
            child, selectors.EVENT_READ, child.listen)
        log.info('process %s started', child.pid)
        return child

    def forget(self, child):
        """Take leave of a child that has ended."""
        self._wakeup.selector.unregister(child)
        child.close()
        if child.refusal is None:
            return
        if self._was_ready:
            # Others run; this may be half of a deployment.
            log.error('process %s: %s', child.pid, child.refusal)
        else:
            self.refusal = child.refusal
            self.stopping = True

    # For the command

    def step(self):
        """Do what there is to do."""
        now = time.monotonic()
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
        return [place.child for place in self._places
                if place.child is not None]

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
        children = [place.describe() for place in list(self._places)]
        states = {child['state'] for child in children}
        return {'ready': states == {'ready'} and not self.stopping,
                'live': not states & {'late', 'pausing'},
                'services': self._services(), 'children': children}

    def _services(self):
        """Return what the child has seen that looked last."""
        seen = [child.said for child in self._children
                if child.said.get('age') is not None]
        newest = min(seen, key=lambda said: said['age'], default={})
        return newest.get('services', {})
