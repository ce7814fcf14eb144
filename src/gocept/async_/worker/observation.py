"""What a worker process sees of its databases and services."""

import os
import threading
import time

from gocept.async_.worker.report import STARTING
from gocept.async_.worker.report import shorten
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import Pauses


# Seconds between two looks; and the most, while they show nothing good.
LOOK = 2.0
LONGEST_LOOK = 5.0

# Seconds without an answer after which a database is not relied on.
PATIENCE = 5.0

# Seconds between two reports after which the whole process has stood still.
STALL = 5.0


class Observation:
    """Looks at databases and services again and again, in a thread.

    A database that does not answer must not keep the process from being
    heard: what waits is the thread.

    look -- called with a function `doubt`; returns what there is to be seen:
        a mapping of service name to dict, or to None while there is no such
        service.  Before something that may not return, it calls `doubt` with
        a text: what is the matter then.
    troubles -- called by who reports; returns a mapping of service name to
        the reason why its jobs cannot be run.
    changed -- called after each look.
    """

    def __init__(self, look, troubles, changed=lambda: None,
                 clock=time.monotonic):
        self._look = look
        self._troubles = troubles
        self._changed = changed
        self._clock = clock
        self._seen = None
        self._asked_since = None
        self._reported = clock()
        self._doubt = 'nothing was seen of the services'
        self._pauses = Pauses(LOOK, LONGEST_LOOK)
        self._services = {}
        self._problem = STARTING

    def start(self):
        """Begin to look."""
        threading.Thread(
            target=self._loop, name='observation', daemon=True).start()

    def _loop(self):
        while True:
            time.sleep(self.step())

    def step(self):
        """Look once.  Return for how many seconds to wait then."""
        self._set_doubt(self._doubt)
        outcome = outcome_of(self._look, self._set_doubt)
        if outcome.failed:
            self._problem = describe(outcome)
        else:
            self._pauses.reset()
            self._problem = None
            self._services = outcome.value
            self._seen = self._clock()
        self._asked_since = None
        self._changed()
        return self._pauses.next() if outcome.failed else LOOK

    def _set_doubt(self, text):
        self._doubt = text
        self._asked_since = self._clock()

    def report(self):
        """Return what Report.send is to tell of all this; any thread may ask.

        `services` is a dict: service name to None, or a dict with `counts`,
        `oldest_queued_age` and `problem`.
        """
        now = self._clock()
        silent = self._find_silence(now)
        services = self._services_and_troubles()
        problem = self._find_problem(silent, services)
        age = None if self._seen is None else now - self._seen
        return {'ready': problem is None, 'problem': problem, 'age': age,
                'silent': silent, 'services': services}

    def _find_silence(self, now):
        since = self._asked_since
        stalled, self._reported = now - self._reported, now
        if since is None:
            return 0.0
        if stalled > STALL:
            # This process has stood still; it could not take an answer that
            # came meanwhile, so that time does not count.
            self._asked_since = since = min(now, since + stalled)
        return now - since

    def _services_and_troubles(self):
        services = dict(self._services)
        for name, trouble in self._troubles().items():
            if trouble is not None:
                services[name] = {**(services.get(name) or {}),
                                  'problem': shorten(trouble)}
        return services

    def _find_problem(self, silent, services):
        if silent > PATIENCE:
            return f'{self._doubt} ({silent:.0f} s)'
        if self._problem is not None:
            return self._problem
        return '; '.join(
            f'service "{name}": {service["problem"]}'
            for name, service in services.items()
            if service is not None and service['problem']) or None


def describe(outcome):
    """Return a text for people: what went wrong in a call that failed."""
    return shorten(outcome.error or outcome.errorClass)


def check_descriptors():
    """Raise OSError if this process can open nothing any more."""
    os.close(os.open(os.devnull, os.O_RDONLY))
