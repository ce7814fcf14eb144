"""What fails in a storm, one after the other, at random."""

import collections
import contextlib
import random
import time

from gocept.async_.tests.hostile import outages
from gocept.async_.tests.hostile.jobs import SERVICES
from gocept.async_.tests.hostile.kinds import CELERY
from gocept.async_.tests.hostile.kinds import THREADS
from gocept.async_.tests.hostile.stage import NoAnswer
from gocept.async_.tests.hostile.verdict import calls
from gocept.async_.tests.hostile.watch import FROZEN
from gocept.async_.tests.hostile.watch import GRACE
from gocept.async_.tests.hostile.watch import Outage


# How far clocks jump, in seconds.
JUMPS = 70, -70, -86400, 8 * 86400, 1000 * 86400
# Where the same process has the database: what it plans stays so long.
SMALL_JUMPS = 70, -70, 20


class Failures:
    """Lets things fail; knows which, and what that excuses.

    crew -- see Crew.
    disk -- where the database is.
    clock -- path of the file by which a clock jumps.
    seed -- of what is drawn.
    outage -- seconds for which a server is away at most.
    prepare -- called before an outage.
    asking -- a lock: only one thread may ask the host at a time.

    counts -- how often what has failed.
    slack -- see Verdict; `undone`, too.
    jumped -- how often the clock has jumped.
    outages -- times in which nothing could be done.
    trouble -- sentences on what could not be made to fail.
    """

    def __init__(self, crew, disk, clock, seed, outage, prepare, asking):
        self._crew = crew
        self._stage = crew.stage
        self._disk = disk
        self._clock = clock
        self._random = random.Random(seed)
        self._outage = outage
        self._prepare = prepare
        self._asking = asking
        self._deck = []
        self.counts = collections.Counter()
        self.slack = 0
        self.undone = []
        self.jumped = 0
        self.outages = []
        self.trouble = []

    def next(self):
        """Let the next thing fail; come back when it works again."""
        if not self._deck:
            # Each before one comes again.
            self._deck = self._all()
            self._random.shuffle(self._deck)
        failure = self._deck.pop()
        self.counts[failure.__name__.strip('_')] += 1
        try:
            failure()
        except Exception as error:
            self.trouble.append(f'{failure.__name__} failed: {error!r}')

    def _all(self):
        found = [self._jump, self._fill_disk]
        if not isinstance(self._stage.server, outages.PostgreSQL):
            found.append(self._undo)
        if self._crew.place == THREADS:
            return [*found, self._kill_host, self._freeze_host]
        found += [self._kill_worker, self._kill_child, self._kill_child,
                  self._restart_server, self._lose_server]
        if self._outage > FROZEN:
            found.append(self._freeze_server)
        found.append(self._take_descriptors)
        if self._crew.place == CELERY:
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
            self.outages.append(
                Outage(name, begin, time.monotonic() - 0.5, grace))

    def end(self):
        """Set right what stays wrong."""
        outages.set_clock(self._clock, 0)

    def _jump(self):
        self.jumped += 1
        self.slack += 1
        outages.set_clock(self._clock, self._random.choice(
            SMALL_JUMPS if self._crew.place == THREADS else JUMPS))

    def _fill_disk(self):
        if self._disk.is_small:
            full = self._disk.full()
        elif isinstance(self._stage.server, outages.ZeoServer):
            server = self._stage.server
            full = outages.files_full(server.processes()[0], server.data())
        else:
            return
        self._prepare()
        with full, self._nothing_works('a full disk'):
            pass
        if self._crew.place != THREADS:
            self._start_server()

    def _start_server(self):
        if not self._stage.server.is_there():
            self._stage.server.start()

    def _restart_server(self):
        self.slack += 2
        self._stage.server.stop()
        self._stage.server.start()

    def _lose_server(self):
        self._prepare()
        self._stage.server.stop()
        with self._nothing_works('a lost server'):
            pass
        self._start_server()

    def _freeze_server(self):
        self._prepare()
        with outages.frozen(*self._stage.server.processes()), \
                self._nothing_works('a frozen server', FROZEN):
            pass

    def _kill_host(self):
        host = self._stage.host
        if host is not None:
            host.process.kill()

    def _freeze_host(self):
        host = self._stage.host
        if host is not None:
            with outages.frozen(host.pid):
                time.sleep(self._random.uniform(0.5, 5))

    def _kill_worker(self):
        self._random.choice(self._crew.slots).kill()

    def _kill_child(self):
        children = self._random.choice(self._crew.slots).children()
        if children:
            outages.kill(self._random.choice(children))

    def _take_descriptors(self):
        """Let a worker open no file for a while."""
        slot = self._random.choice(self._crew.slots)
        self.slack += 3
        with outages.without_descriptors(slot.worker.pid, *slot.children()):
            time.sleep(self._random.uniform(2, self._outage / 2))

    def _undo(self):
        """Undo a transaction in which jobs have ended."""
        names = sorted(calls(self._stage.folder))
        good = [name for name in names if name.startswith('good-')]
        with contextlib.suppress(NoAnswer), self._asking:
            # Somebody may have written the same since.
            self.undone += self._stage.host.ask(
                'undo', self._random.choice(good))

    def _restart_broker(self):
        self._stage.broker.stop()
        self._stage.broker.start()

    def _lose_broker(self):
        self._stage.broker.stop()
        time.sleep(self._random.uniform(2, self._outage / 2))
        self._stage.broker.start()

    def _freeze_broker(self):
        with self._stage.broker.frozen():
            time.sleep(self._random.uniform(2, self._outage / 2))

    def _lose_messages(self):
        outages.purge(self._stage.environment(), SERVICES)

    def _send_garbage(self):
        outages.send_garbage(self._stage.broker.url,
                             self._random.choice(SERVICES), self._random)
