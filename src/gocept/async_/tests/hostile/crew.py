"""A stage and who runs its jobs; what ends is started again."""

import contextlib
import random
import signal
import time

from gocept.async_.tests.hostile.kinds import THREADS
from gocept.async_.tests.hostile.slots import start_slots
from gocept.async_.tests.hostile.stage import NoAnswer
from gocept.async_.tests.hostile.stage import Stage
from gocept.async_.tests.hostile.verdict import Verdict
from gocept.async_.tests.hostile.verdict import calls
from gocept.async_.tests.hostile.verdict import found_wrong


# Seconds until jobs have ended.
PATIENCE = 25.0

# Seconds until the counts of a service say what has become of its jobs: a
# processor notes it with its next batch.
SETTLING = 10.0

PRINCIPALS = 'zope.user', 'zope.manager'


class Crew:
    """A stage, and who runs its jobs; both go on whatever happens.

    place, options -- see Stage.
    """

    def __init__(self, place, **options):
        self.stack = contextlib.ExitStack()
        self.place = place
        self.stage = Stage(self.stack, place, **options)
        self.slots = []
        self.began = time.monotonic()
        self.deaths = 0
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stack.close()

    def prepare(self, kinds=(), clock=None):
        """Add what yesterday's code adds, then start those that run jobs."""
        host = self.stage.start_host('before', 'old')
        host.ask('prepare')
        for kind in kinds:
            if kind.old:
                host.ask('add', *self.bad(kind))
        self.stage.stop_host()
        if self.place == THREADS:
            self.stage.clock = clock
        self.stage.start_host()
        self.slots = start_slots(self.stage, self.stack, clock)

    def name(self, kind):
        self.number += 1
        return f'{kind}-{self.number}'

    def bad(self, kind, number=1, service='events', **options):
        """Return what to ask a host for so many jobs of a kind."""
        return [[self.name(kind.name), kind.name, service, options]
                for _ in range(number)]

    def seers(self, number):
        """Return what to ask a host for jobs that look around; see jobs.see.
        """
        return [[self.name('seer'), 'seer', 'events', {}]
                for _ in range(number)]

    def good(self, number, service='events', seconds=0.0, **options):
        """Return what to ask a host for good jobs."""
        principal = random.choice(PRINCIPALS)
        return [[self.name('good'), None, service, {
            'principal': principal, 'arguments': [principal, seconds],
            **options}] for _ in range(number)]

    def keep_slots(self):
        """Start workers again that have ended."""
        for slot in self.slots:
            slot.keep()

    def keep_host(self):
        """Start the host again if it has ended."""
        host = self.stage.host
        if host is None or host.process.poll() is not None:
            self.deaths += 1
            self.stage.start_host()

    def ask(self, *request, patience=PATIENCE):
        """Ask the host, another one if it has ended meanwhile."""
        end = time.monotonic() + patience
        while True:
            try:
                self.keep_host()
                return self.stage.host.ask(*request)
            except NoAnswer:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def wait(self, patience=PATIENCE, but=()):
        """Wait until all has ended.  Return what has not.

        but -- names of jobs that nobody waits for any more.
        """
        end = time.monotonic() + patience
        while (left := self.ask('restless')).keys() - but \
                and time.monotonic() < end:
            self.keep_slots()
            time.sleep(0.2)
        return {name: left[name] for name in left.keys() - but}

    def judge(self, slack=0, undone=()):
        """Return the Verdict on what has become of the jobs."""
        end = time.monotonic() + SETTLING
        while (report := self.ask('report'))['wrong'] \
                and time.monotonic() < end:
            time.sleep(0.5)
        verdict = Verdict(report, calls(self.stage.folder), slack,
                          undone)
        verdict.judge()
        verdict.violations += found_wrong(self.stage.folder)
        return verdict

    def stop(self):
        """End all regularly.  Return sentences on what did not."""
        wrong = []
        for slot in self.slots:
            code = slot.stop()
            if code != 0:
                wrong.append(f'a worker ended with {code}')
        code = self.stage.stop_host()
        if self.place == THREADS and code not in (0, -signal.SIGTERM):
            wrong.append(f'the host ended with {code}')
        left = self.stage.processes_left()
        return wrong + [f'left behind: {pid} {command}'
                        for pid, command in left.items()]
