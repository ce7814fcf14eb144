"""Many good jobs, bad ones at random among them, and things that fail."""

import random
import threading
import time
from pathlib import Path

from gocept.async_.tests.hostile import aftermath
from gocept.async_.tests.hostile.crew import Crew
from gocept.async_.tests.hostile.failures import Failures
from gocept.async_.tests.hostile.jobs import SERVICES
from gocept.async_.tests.hostile.kinds import WORKER
from gocept.async_.tests.hostile.outages import Disk
from gocept.async_.tests.hostile.plan import Plan
from gocept.async_.tests.hostile.stage import NoAnswer
from gocept.async_.tests.hostile.verdict import found_wrong
from gocept.async_.tests.hostile.watch import HealthWatch
from gocept.async_.tests.hostile.watch import LogWatch
from gocept.async_.tests.hostile.watch import Watch


# Seconds until all has ended, once nothing fails any more; and what is added
# then.
PATIENCE = 240.0
SHORT_PATIENCE = 60.0

# Seconds between two failures.
PAUSE = 1.0, 5.0

# How many jobs of a third of a second wait in a service when an outage begins.
BACKLOG = 20

# How many jobs look for what others have left, at the end.
SEERS = 10


class Storm:
    """Runs a plan while things fail.

    place -- where jobs are run.
    good, kinds, without -- see Plan.
    seconds -- for how long jobs are added and things fail.
    outage -- seconds that a server is away at most.
    options -- see Stage.
    """

    def __init__(self, stack, place, seed, good=2000, kinds=120,
                 seconds=120.0, outage=25.0, without=(), **options):
        disk = Disk(stack)
        self.crew = stack.enter_context(
            Crew(place, data=disk.path, **options))
        self.stage = self.crew.stage
        self._random = random.Random(seed)
        self._seconds = seconds
        self._clock = Path(self.stage.folder, 'clock')
        self._clock.write_text('0')
        self._plan = Plan(self.crew, seed, good, kinds, without)
        self._asking = threading.Lock()
        self._failures = Failures(
            self.crew, disk, self._clock, seed, outage, self._add_backlog,
            self._asking)
        self._trouble = []
        self._fates = 'no report'

    def run(self):
        """Return a summary, and sentences on what is wrong."""
        began = time.monotonic()
        self.crew.prepare(self._plan.kinds, self._clock)
        self._logs = LogWatch(
            Path(self.stage.folder, 'event.log'),
            *Path(self.stage.folder).glob('celery-*.log'))
        self._health = HealthWatch(
            self.crew.slots if self.crew.place == WORKER else [],
            self._failures.outages, self._logs.completed)
        with Watch(self._logs, self._health):
            self._rage()
            wrong = self._calm_safely()
        wrong += [*self._trouble, *self._failures.trouble, *self.crew.stop(),
                  *self._logs.wrong(), *self._health.wrong()]
        return self._summary(time.monotonic() - began, wrong), wrong

    def _rage(self):
        """Let things fail while jobs are added."""
        adder = threading.Thread(target=self._add)
        adder.start()
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            time.sleep(self._random.uniform(*PAUSE))
            self._failures.next()
            self.crew.keep_slots()
        self._failures.end()
        while adder.is_alive():
            self.crew.keep_slots()
            adder.join(0.2)

    def _add(self):
        """Add the jobs of the plan, evenly."""
        requests = self._plan.requests
        pause = 0.9 * self._seconds / len(requests)
        due = time.monotonic()
        for request in requests:
            due += pause
            time.sleep(max(0, due - time.monotonic()))
            if not self._has_added(request):
                return

    def _add_backlog(self):
        """Add enough to do: who has nothing to do may not see an outage."""
        self._has_added([
            request for service in SERVICES
            for request in self.crew.good(BACKLOG, service, seconds=0.3)])

    def _has_added(self, requests):
        """Add jobs.  Return whether that can be done at all."""
        try:
            with self._asking:
                self.crew.ask('add', *requests, patience=PATIENCE)
        except NoAnswer as error:
            self._trouble.append(f'nobody can add jobs: {error}')
            return False
        return True

    def _calm_safely(self):
        try:
            return self._calm()
        except NoAnswer as error:
            return [f'nobody can look at the jobs any more: {error}']

    def _calm(self):
        """Wait until all has ended.  Return sentences on what is wrong."""
        left = self.crew.wait(PATIENCE)
        wrong = [f'{name} is still {status}' for name, status in left.items()]
        for service in SERVICES:
            self.crew.ask('add', *self.crew.good(3, service))
        late = self.crew.wait(SHORT_PATIENCE, left)
        wrong += [f'{name}, which was added when nothing failed any more, is '
                  f'{status}' for name, status in late.items()]
        wrong += aftermath.wrong_health(self.crew)
        for _ in range(SEERS):
            self.crew.ask('add', *self.crew.seers(1))
            self.crew.wait(10, {*left, *late})
        verdict = self.crew.judge(
            self._failures.slack, self._failures.undone)
        self._fates = verdict.summary()
        wrong += verdict.violations
        wrong += aftermath.wrong_ticks(
            self.crew, verdict.fates, self._failures.jumped)
        return wrong + aftermath.wrong_clean(self.crew)

    def _summary(self, seconds, wrong):
        failures = ', '.join(
            f'{number} {name}' if number > 1 else name
            for name, number in sorted(self._failures.counts.items()))
        deaths = self.crew.deaths + sum(
            slot.deaths for slot in self.crew.slots)
        traces = len(found_wrong(self.stage.folder, 'traces'))
        return '; '.join([
            self._fates, failures, f'{deaths} commands started again',
            f'{traces} traces left in processes',
            f'/ready asked {self._health.asked} times in outages',
            f'{self._logs.most():.1f} lines a second at most',
            f'{self._logs.size / 2 ** 20:.1f} MB of log',
            f'{len(wrong)} violations', f'{seconds:.0f} s'])
