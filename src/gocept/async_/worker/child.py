"""A process of the pool, as the main process knows it."""

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time

from gocept.async_.recurring import Complaint
from gocept.async_.worker.report import LONGEST
from gocept.async_.worker.report import STARTING
from gocept.async_.worker.report import parse
from gocept.async_.worker.report import pipe
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of


log = journal(__name__)

# Seconds without a report after which a process is taken for stuck.
LATE = 10.0

# Seconds that a process has beyond the grace of its jobs.
MARGIN = 10.0

# How many pieces of what a process has left in its pipe are read: what it has
# started may have the pipe, too, and write without end.
PIECES = 100


class Child:
    """A process of the pool, and what it has reported.

    said -- dict: its last report, see `report`; empty before the first one.
    refusal -- why it will never run, or None.
    counted -- what it has told of its runs, see counted.Plain.
    stopping_since -- monotonic time, or None.
    given_up -- whether it stops because it could not work.
    was_ready -- whether it has been ready.
    at_end -- whether it cannot report any more.
    """

    def __init__(self, options, clock=time.monotonic):
        with contextlib.ExitStack() as stack:
            self._read, write = pipe()
            stack.callback(os.close, self._read)
            os.set_blocking(self._read, False)
            try:
                self._process = _start(write, options)
            finally:
                os.close(write)
            stack.pop_all()
        self.pid = self._process.pid
        self._clock = clock
        self.began = self.heard = self.worked = clock()
        self.stopping_since = None
        self.given_up = self.was_ready = self.at_end = False
        self.said = {}
        self.refusal = None
        self.counted = {}
        self.jobs = 0
        self._killed = False
        self._unread = b''
        self._complaint = Complaint(log.warning)

    def fileno(self):
        """The descriptor to read from, for a selector."""
        return self._read

    def listen(self):
        """Read what was reported.  Return whether there may be more."""
        try:
            data = os.read(self._read, 2 ** 16)
        except BlockingIOError:
            return False
        self.at_end = not data
        *lines, self._unread = (self._unread + data).split(b'\n')
        for line in lines:
            self._hear(line)
        if len(self._unread) > LONGEST:
            self._unread = b''
        return bool(data)

    def _hear(self, line):
        # Jobs run in that process, and may write anything anywhere.
        outcome = outcome_of(parse, line)
        if outcome.failed:
            self._complaint.say(
                'process %s: what it reports cannot be understood: %s',
                self.pid, outcome.error)
            return
        self.heard = self._clock()
        self.said = outcome.value
        # It may report more before it ends.
        self.refusal = self.said.get('refused', self.refusal)
        self.jobs = self.said.get('jobs', 0)
        self.counted = self.said.pop('counted', self.counted)
        if self.said.get('ready'):
            self.was_ready = True
            self.worked = self.heard
        if 'stopping' in self.said and self.stopping_since is None:
            log.info('process %s stops: %s', self.pid, self.said['stopping'])
            self.stopping_since = self.heard

    def forgive(self, seconds, now):
        """Do not count the last seconds, in which nobody has listened."""
        self.heard = min(now, self.heard + seconds)
        self.worked = min(now, self.worked + seconds)

    @property
    def late(self):
        """Whether nothing was heard of it for LATE seconds, since it spoke."""
        # No report is expected before the process has imported the
        # application.
        return (self.stopping_since is None and bool(self.said)
                and self._clock() - self.heard > LATE)

    @property
    def ready(self):
        """Whether it can run jobs, as it has said in time."""
        return (self.stopping_since is None and not self.late
                and self.said.get('ready', False))

    @property
    def seen_age(self):
        """Seconds since it has seen its databases well; None: never."""
        age = self.said.get('age')
        # What it has told last gets older, also while it tells nothing.
        return None if age is None else age + self._clock() - self.heard

    @property
    def state(self):
        """One of `place.STATES`, but pausing: there is a process."""
        if self.given_up:
            return 'stuck'
        if self.stopping_since is not None:
            return 'stopping'
        if self.late:
            return 'late'
        if self.said.get('problem', STARTING) == STARTING:
            return 'starting'
        return 'ready' if self.ready else 'waiting'

    def hopeless(self, now, patience, idleness):
        """Return since when and why it cannot work, None if there is hope.

        now -- monotonic time.
        patience -- seconds for which it may wait for an answer of a database,
            or say nothing itself.
        idleness -- seconds for which it may be unable to work.
        """
        unheard = now - self.heard
        silent = unheard + self.said.get('silent', 0.0)
        problem = 'nothing is heard of it' if unheard > LATE \
            else self.said.get('problem') or STARTING
        if self.said and silent > patience:
            return f'after {silent:.0f} s: {problem}'
        if now - self.worked > idleness:
            return f'after {now - self.worked:.0f} s: {problem}'
        return None

    def poll(self):
        """Return the exit code, None while it lives."""
        return self._process.poll()

    def stop(self):
        """Ask it to finish its jobs and end."""
        if self.stopping_since is None:
            self.stopping_since = self._clock()
            # The process may have got another user's rights, and cannot be
            # killed.
            with contextlib.suppress(OSError):
                self._process.terminate()

    def give_up(self, why):
        """Let it end because it will not work any more."""
        log.error('process %s is replaced %s', self.pid, why)
        self.given_up = True
        self.stop()

    def kill(self):
        """End it, and what its jobs have started, wherever they are."""
        if self.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    def kill_if_overdue(self, now, grace):
        """Kill it if it was to have stopped by now."""
        if (self.stopping_since is None or self._killed
                or now <= self.stopping_since + grace + MARGIN):
            return
        log.error('process %s does not stop; it is killed', self.pid)
        self._killed = True
        self.kill()

    def wait(self):
        """Wait for the end after `kill`: a zombie would be taken for alive.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(MARGIN)

    def close(self):
        """Read what it has reported last, after its end; read no more."""
        for _ in range(PIECES):
            if not self.listen():
                break
        os.close(self._read)

    def describe(self):
        """Return a dict of plain values for people and monitors.

        heartbeat_age -- seconds since the last report.
        memory_mb -- MB, 0 before the first report.
        problem -- why it cannot work (str), or None.
        """
        said = self.said
        age = self._clock() - self.heard
        heard = datetime.datetime.fromtimestamp(
            time.time() - age, datetime.UTC)
        return {'pid': self.pid, 'state': self.state,
                'last_heartbeat': heard.isoformat(timespec='seconds'),
                'heartbeat_age': round(age, 1), 'jobs': self.jobs,
                'memory_mb': round(said.get('memory', 0)),
                'problem': said.get('problem')}


def _start(descriptor, options):
    return subprocess.Popen(
        _command(descriptor, options), stdin=subprocess.DEVNULL,
        pass_fds=[descriptor], env=_environment(),
        # Ctrl-C in a terminal is meant for the main process.
        start_new_session=True)


def _command(descriptor, options):
    arguments = [descriptor, options, os.environ.get('PYTHONPATH')]
    # -P: no module of the current folder is imported by accident.
    return [sys.executable, '-P', '-m', 'gocept.async_.worker.process',
            json.dumps(arguments)]


def _environment():
    # Scripts made by buildout have put their packages there themselves.
    path = os.pathsep.join(filter(None, sys.path))
    return dict(os.environ, PYTHONPATH=path)
