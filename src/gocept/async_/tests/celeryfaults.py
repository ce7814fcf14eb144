"""Celery workers, broker and database that go away while jobs are added.

`test_celery` runs single failures; here they come at random.  Part of::

    python3 bootstrap.py faults
"""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

from gocept.async_.tests import leftovers
from gocept.async_.tests import workerfaults
from gocept.async_.tests.celerystage import RabbitMQ
from gocept.async_.tests.celerystage import Stage
from gocept.async_.tests.celerystage import Valkey
from gocept.async_.tests.hostile import scenarios as hostile
from gocept.async_.tests.workerstage import is_listening
from gocept.async_.tests.workerstage import until
from lovely.remotetask.tests import faulty


# Seconds until all is done, when nothing fails any more: the jobs of a worker
# that was killed wait for its heartbeat, further attempts for their time.
PATIENCE = 240.0

# Seconds between two failures.
PAUSE = 0.5, 3.0

POOLS = ('prefork', 'threads')


class Storm:
    """Adds jobs, lets something fail now and then, and checks the effects."""

    def __init__(self, stack, say, make_broker, seed):
        self._stack = stack
        self._random = random.Random(seed)
        self.say = say
        self.stage = Stage(stack, make_broker)
        self.workers = [self._start_worker(pool) for pool in POOLS]
        for worker in self.workers:
            worker.wait_until_ready()
        self.sure = []
        self.unsure = []
        self.failures = []

    def _start_worker(self, pool):
        return self.stage.worker(self._stack, pool, 2)

    def run(self, seconds):
        """Let things fail for so long, then check that nothing is wrong."""
        end = time.monotonic() + seconds
        due = 0.0
        while time.monotonic() < end:
            self.add()
            if time.monotonic() >= due:
                self.fail()
                due = time.monotonic() + self._random.uniform(*PAUSE)
        self.wait()
        self.check()

    def add(self):
        """Add a job.  If the database goes away, nobody knows whether."""
        name = f'storm-{len(self.sure) + len(self.unsure)}'
        try:
            self.stage.adder.ask('add', 'count', name)
        except (AssertionError, OSError):
            self.unsure.append(name)
            self.stage.restart_adder()
        else:
            self.sure.append(name)

    def fail(self):
        failure = self._random.choice((
            self.kill_worker, self.kill_child, self.restart_broker,
            self.lose_messages, self.send_again, self.restart_database))
        self.failures.append(failure.__name__)
        failure()

    def kill_worker(self):
        """Kill a worker with all its processes; start another one."""
        number = self._random.randrange(len(self.workers))
        self.workers[number].kill_all()
        self.workers[number] = self._start_worker(POOLS[number])

    def kill_child(self):
        """Kill one process of a pool."""
        pid = self.workers[0].pid
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text()
        for child in children.split()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

    def restart_broker(self):
        """What is not on its disk is gone."""
        self.stage.broker.stop()
        self.stage.broker.start()

    def lose_messages(self):
        """Delete all that wait in the broker."""
        self.stage.celery('purge', '-f', '-Q', 'events')

    def send_again(self):
        """Send a second message for each job that waits."""
        with contextlib.suppress(AssertionError):
            self.stage.adder.ask('send_again')

    def restart_database(self):
        self.stage.server.stop()
        self.stage.server.start()

    def wait(self):
        """Wait until all jobs have ended, with workers that live."""
        until(lambda: is_listening(self.stage.broker.port), 'the broker')
        self.stage.restart_adder()
        try:
            self.stage.adder.wait_until_done(PATIENCE)
        except AssertionError as error:
            logs = '\n'.join(worker.log()[-4000:] for worker in self.workers)
            raise AssertionError(f'{error} {self.failures}\n{logs}') from error

    def check(self):
        """Check that each job has had one effect."""
        effects = self.stage.effects('storm')
        for name in self.unsure:
            # Stored or not; never with two effects.
            assert effects.pop(name, 1) == 1, name
        wrong = {name: effects.get(name, 0) for name in self.sure
                 if effects.get(name, 0) != 1}
        assert not wrong, f'{wrong} {self.failures}'
        assert len(effects) == len(self.sure)
        self.say(f'{len(self.sure)} jobs, {len(self.failures)} failures '
                 f'({", ".join(sorted(set(self.failures)))}): each one effect')


def _storm(say, make_broker, seconds, seed):
    seed = random.randrange(10 ** 6) if seed is None else seed
    say(f'seed {seed}')
    with contextlib.ExitStack() as stack:
        Storm(stack, say, make_broker, seed).run(seconds)


def celery_on_valkey(say, seconds=60.0, seed=None):
    """Celery: workers, Valkey and the ZEO server fail at random."""
    _storm(say, Valkey, seconds, seed)


def celery_on_rabbitmq(say, seconds=60.0, seed=None):
    """Celery: workers, RabbitMQ and the ZEO server fail at random."""
    _storm(say, RabbitMQ, seconds, seed)


SCENARIOS = (*faulty.SCENARIOS, celery_on_valkey, celery_on_rabbitmq,
             *workerfaults.SCENARIOS, *hostile.SCENARIOS)


def main():
    """Run these, and those of the engine and of async-worker."""
    leftovers.begin()
    sys.exit(faulty.main(scenarios=SCENARIOS))


if __name__ == '__main__':
    main()
