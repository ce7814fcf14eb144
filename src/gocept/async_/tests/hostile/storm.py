"""Many good jobs, bad ones at random among them, and things that fail."""

import collections
import contextlib
import random
import threading
import time
from pathlib import Path

from gocept.async_.tests.hostile import outages
from gocept.async_.tests.hostile.each import PRINCIPALS
from gocept.async_.tests.hostile.each import Crew
from gocept.async_.tests.hostile.everything import KINDS
from gocept.async_.tests.hostile.jobs import SERVICES
from gocept.async_.tests.hostile.kinds import CELERY
from gocept.async_.tests.hostile.kinds import THREADS
from gocept.async_.tests.hostile.kinds import WORKER
from gocept.async_.tests.hostile.outages import Disk
from gocept.async_.tests.hostile.stage import NoAnswer
from gocept.async_.tests.hostile.verdict import calls
from gocept.async_.tests.hostile.verdict import found_wrong
from gocept.async_.tests.hostile.watch import FROZEN
from gocept.async_.tests.hostile.watch import GRACE
from gocept.async_.tests.hostile.watch import HealthWatch
from gocept.async_.tests.hostile.watch import LogWatch
from gocept.async_.tests.hostile.watch import Outage
from gocept.async_.tests.hostile.watch import Watch
from lovely.remotetask.interfaces import CRONJOB


# Seconds until all has ended, once nothing fails any more.
PATIENCE = 240.0

# Seconds between two failures, and how far clocks jump.
PAUSE = 1.0, 5.0
JUMPS = 70, -70, -86400, 8 * 86400, 1000 * 86400
# Where the same process has the database: what it plans stays so long.
SMALL_JUMPS = 70, -70, 20

# How many jobs of a third of a second wait in a service when an outage begins.
BACKLOG = 20

# A process that dies early is only replaced after a pause: jobs that end
# their process each time take minutes.
DEADLY = 5


class Plan:
    """What is added: kinds, and in which order with good jobs.

    place -- where the jobs are run.
    kinds -- how many kinds.
    without -- names of kinds that are left out.
    """

    def __init__(self, crew, seed, good, kinds, without=()):
        self._crew = crew
        self._random = random.Random(seed)
        self.kinds = [kind for kind in self._draw(kinds)
                      if kind.name not in without]
        self.requests = self._requests(good)

    def _draw(self, number):
        possible = [kind for kind in KINDS.values()
                    if self._crew.place in kind.places and kind.most
                    and not kind.loud]
        self._random.shuffle(possible)
        deadly = [kind for kind in possible if kind.family == 'deaths']
        # One is always among them.
        segfault = KINDS['segfault']
        drawn = [segfault, *(kind for kind in possible
                             if kind not in deadly[DEADLY:]
                             and kind is not segfault)]
        return drawn[:number]

    def _requests(self, good):
        single = [request for kind in self.kinds if not kind.old
                  for request in self._bad(kind)]
        single += [request for _ in range(good) for request in self._good()]
        self._random.shuffle(single)
        requests = []
        while single:
            size = self._random.choice((1, 1, 1, 5, 20))
            requests.append(single[:size])
            del single[:size]
        return requests

    def _bad(self, kind):
        number = self._random.randint(1, kind.most)
        service = 'events' if kind.add else self._random.choice(SERVICES)
        return self._crew.bad(
            kind, number, service, site=self._random.choice((None, 'other')),
            principal=self._random.choice(PRINCIPALS))

    def _good(self):
        principal = self._random.choice(PRINCIPALS)
        seconds = self._random.choice((0, 0, 0, 0.01, 0.05))
        hot = self._random.random() < 0.03
        options = {}
        if self._random.random() < 0.2:
            options['priority'] = self._random.randrange(10)
        if self._random.random() < 0.1:
            options['delay'] = self._random.uniform(0.1, 3)
        if self._random.random() < 0.3:
            options['site'] = 'other'
        return self._crew.good(
            1, self._random.choice(SERVICES), **options, principal=principal,
            arguments=[principal, seconds, hot, options.get('site')])


class Storm:
    """Runs a plan while things fail.

    place -- where jobs are run.
    server -- see Stage.
    good, kinds, without -- see Plan.
    seconds -- for how long jobs are added and things fail.
    outage -- seconds that a server is away.
    """

    def __init__(self, stack, place, seed, good=2000, kinds=120,
                 seconds=120.0, outage=25.0, without=(), **options):
        self.seed = seed
        self._random = random.Random(seed)
        self._seconds = seconds
        self._outage = outage
        self._disk = Disk(stack)
        self.crew = stack.enter_context(
            Crew(place, data=self._disk.path, **options))
        self.stage = self.crew.stage
        self._clock = Path(self.stage.folder, 'clock')
        self._clock.write_text('0')
        self._plan = Plan(self.crew, seed, good, kinds, without)
        self.failures = collections.Counter()
        self.slack = 0
        self._jumped = 0
        self._trouble = []
        self._deck = []
        self._undone = []
        # Only one thread may ask the host at a time.
        self._adding = threading.Lock()
        self._fates = 'no report'

    # The whole

    def run(self):
        """Return a summary, and sentences on what is wrong."""
        began = time.monotonic()
        self.crew.prepare(self._plan.kinds, self._clock)
        self.logs = LogWatch(
            Path(self.stage.folder, 'event.log'),
            *Path(self.stage.folder).glob('celery-*.log'))
        self.health = HealthWatch(
            self.crew.slots if self.crew.place == WORKER else [])
        with Watch(self.logs, self.health):
            self._rage()
            wrong = self._calm_safely()
        left = self.crew.stop()
        wrong += left + self.logs.wrong() + self.health.wrong()
        return self._summary(time.monotonic() - began, wrong), wrong

    def _rage(self):
        """Let things fail while jobs are added."""
        adder = threading.Thread(target=self._add)
        adder.start()
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            time.sleep(self._random.uniform(*PAUSE))
            self._fail()
            self.crew.keep_slots()
        self._jump(0)
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

    def _has_added(self, requests):
        """Add jobs.  Return whether that can be done at all."""
        try:
            with self._adding:
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
        late = self.crew.wait(60, left)
        wrong += [f'{name}, which was added when nothing failed any more, is '
                  f'{status}' for name, status in late.items()]
        wrong += self._wrong_health()
        for _ in range(10):
            self.crew.ask('add', *self.crew.seers(1))
            self.crew.wait(10, {*left, *late})
        verdict = self.crew.judge(self.slack, self._undone)
        self._fates = verdict.summary()
        wrong += verdict.violations + self._wrong_ticks(verdict.fates)
        return wrong + self._trouble + self._wrong_clean()

    def _wrong_health(self):
        if self.crew.place != WORKER:
            return []
        end = time.monotonic() + 60
        while time.monotonic() < end:
            self.crew.keep_slots()
            statuses = [slot.ready() for slot in self.crew.slots]
            if all(status == 200 for status in statuses):
                return []
            time.sleep(0.5)
        return [f'/ready is {statuses} though nothing fails any more']

    def _wrong_ticks(self, fates):
        wrong = []
        most = self._seconds_so_far() / 60 + 3 + self._jumped
        for name, fate in fates.items():
            if fate['status'] != CRONJOB or name.startswith(
                    ('cron_in_summer', 'cron_on_leap_day', 'cron_of_gone')):
                continue
            if fate['value'] > most:
                wrong.append(f'{name}: {fate["value"]} runs, more than '
                             f'{most:.0f} minutes')
            if fate['due'] and fate['due'] > time.time() + 120:
                wrong.append(f'{name}: waits until {fate["due"]:.0f}, now is '
                             f'{time.time():.0f}')
        return wrong

    def _seconds_so_far(self):
        return time.monotonic() - self.crew.began

    def _wrong_clean(self):
        try:
            left = self.crew.ask('clean')
        except Exception as error:
            return [f'clean() raises {str(error)[-500:]}']
        return [f'{name}: {counts[status]} {status} jobs after clean()'
                for name, counts in left.items()
                for status in ('completed', 'error', 'cancelled')
                if counts.get(status)]

    def _summary(self, seconds, wrong):
        failures = ', '.join(
            f'{number} {name}' if number > 1 else name
            for name, number in sorted(self.failures.items()))
        deaths = self.crew.deaths + sum(
            slot.deaths for slot in self.crew.slots)
        traces = len(found_wrong(self.stage.folder, 'traces'))
        parts = [
            self._fates, failures, f'{deaths} processes started again',
            f'{traces} traces left in processes',
            f'/ready asked {self.health.asked} times in outages',
            f'{self.logs.most():.1f} lines a second at most',
            f'{self.logs.size / 2 ** 20:.1f} MB of log',
            f'{len(wrong)} violations', f'{seconds:.0f} s']
        return '; '.join(parts)

    # What fails

    def _fail(self):
        if not self._deck:
            # Each before one comes again.
            self._deck = self._failures()
            self._random.shuffle(self._deck)
        failure = self._deck.pop()
        self.failures[failure.__name__.strip('_')] += 1
        try:
            failure()
        except Exception as error:
            self._trouble.append(f'{failure.__name__} failed: {error!r}')

    def _failures(self):
        found = [self._jump, self._fill_disk]
        if not isinstance(self.stage.server, outages.PostgreSQL):
            found.append(self._undo)
        if self.crew.place == THREADS:
            return [*found, self._kill_host, self._freeze_host]
        found += [self._kill_worker, self._kill_child, self._kill_child,
                  self._restart_server, self._lose_server]
        if self._outage > FROZEN:
            found.append(self._freeze_server)
        found.append(self._take_descriptors)
        if self.crew.place == CELERY:
            found += [self._restart_broker, self._lose_broker,
                      self._lose_messages, self._send_garbage,
                      self._freeze_broker]
        return found

    @contextlib.contextmanager
    def _nothing_works(self, name, grace=GRACE):
        """Wait while nothing can be done, and note when that was."""
        begin = time.monotonic()
        self.slack += 3
        try:
            yield
            time.sleep(max(grace + 3, self._random.uniform(
                self._outage / 2, self._outage)))
        finally:
            self.health.outages.append(
                Outage(name, begin, time.monotonic() - 0.5, grace))

    def _add_backlog(self):
        """Add enough to do: who has nothing to do may not see an outage."""
        self._has_added([
            request for service in SERVICES
            for request in self.crew.good(BACKLOG, service, seconds=0.3)])

    def _jump(self, seconds=None):
        if seconds is None:
            seconds = self._random.choice(
                SMALL_JUMPS if self.crew.place == THREADS else JUMPS)
            self._jumped += 1
            self.slack += 1
        outages.set_clock(self._clock, seconds)

    def _fill_disk(self):
        if self._disk.is_small:
            full = self._disk.full()
        elif isinstance(self.stage.server, outages.ZeoServer):
            server = self.stage.server
            full = outages.files_full(server.processes()[0], server.data())
        else:
            return
        self._add_backlog()
        with self._nothing_works('a full disk'), full:
            pass
        if self.crew.place != THREADS:
            self._start_server()

    def _start_server(self):
        if not self.stage.server.is_there():
            self.stage.server.start()

    def _restart_server(self):
        self.slack += 2
        self.stage.server.stop()
        self.stage.server.start()

    def _lose_server(self):
        self._add_backlog()
        self.stage.server.stop()
        with self._nothing_works('a lost server'):
            pass
        self._start_server()

    def _freeze_server(self):
        self._add_backlog()
        with outages.frozen(*self.stage.server.processes()), \
                self._nothing_works('a frozen server', FROZEN):
            pass

    def _kill_host(self):
        host = self.stage.host
        if host is not None:
            host.process.kill()

    def _freeze_host(self):
        host = self.stage.host
        if host is not None:
            with outages.frozen(host.pid):
                time.sleep(self._random.uniform(0.5, 5))

    def _kill_worker(self):
        self._random.choice(self.crew.slots).kill()

    def _kill_child(self):
        children = self._random.choice(self.crew.slots).children()
        if children:
            outages.kill(self._random.choice(children))

    def _take_descriptors(self):
        """Let a worker open no file for a while."""
        slot = self._random.choice(self.crew.slots)
        self.slack += 3
        with outages.without_descriptors(slot.worker.pid, *slot.children()):
            time.sleep(self._random.uniform(2, self._outage / 2))

    def _undo(self):
        """Undo a transaction in which jobs have ended."""
        names = sorted(calls(self.stage.folder))
        good = [name for name in names if name.startswith('good-')]
        with contextlib.suppress(NoAnswer), self._adding:
            # Somebody may have written the same since.
            self._undone += self.stage.host.ask(
                'undo', self._random.choice(good))

    def _restart_broker(self):
        self.stage.broker.stop()
        self.stage.broker.start()

    def _lose_broker(self):
        self.stage.broker.stop()
        time.sleep(self._random.uniform(2, self._outage / 2))
        self.stage.broker.start()

    def _freeze_broker(self):
        with self.stage.broker.frozen():
            time.sleep(self._random.uniform(2, self._outage / 2))

    def _lose_messages(self):
        outages.purge(self.stage.environment(), SERVICES)

    def _send_garbage(self):
        outages.send_garbage(self.stage.broker.url,
                             self._random.choice(SERVICES), self._random)
