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

from gocept.async_.tests import celerygarbage
from gocept.async_.tests import leftovers
from gocept.async_.tests import workerfaults
from gocept.async_.tests.celerystage import ImpatientRabbitMQ
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
            self.lose_messages, self.send_again, self.restart_database,
            self.throw_garbage, self.command))
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

    def throw_garbage(self):
        """Bring what is no message of ours."""
        self.stage.broker.throw_garbage(
            lambda items: self._random.sample(items, 20))

    def command(self):
        """Tell workers to end, and whatever else Celery can tell them."""
        self.stage.broadcast(*celerygarbage.COMMANDS)

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


def celery_garbage(say):
    """Celery: brokers bring all that is no message, to each kind of pool."""
    for make_broker in Valkey, RabbitMQ:
        for pool in (*POOLS, 'solo'):
            with contextlib.ExitStack() as stack:
                stage = Stage(stack, make_broker)
                worker = stage.worker(stack, pool, 2).wait_until_ready()
                for number in range(3):
                    stage.broker.throw_garbage(list)
                    stage.broadcast(*celerygarbage.COMMANDS)
                    _check(stage, worker, stage.add(20, f'more{number}'))
                say(f'{make_broker.__name__}, {pool}: '
                    f'{len(worker.log().splitlines())} lines of log, '
                    f'{worker.peak_memory()} MB')
                # A bomb among the messages has fifty.
                assert worker.peak_memory() < 200


def _check(stage, worker, expected):
    """Check that jobs have one effect each, and that a worker lives."""
    prefix = next(iter(expected)).rpartition('-')[0]
    stage.adder.wait_until_done(PATIENCE)
    assert stage.effects(prefix) == expected, worker.log()[-4000:]
    assert worker.process.poll() is None, worker.log()[-4000:]


def celery_impatient_rabbitmq(say):
    """Celery: RabbitMQ closes the channel of a job that takes too long."""
    for pool in (*POOLS, 'solo'):
        with contextlib.ExitStack() as stack:
            stage = Stage(stack, ImpatientRabbitMQ)
            worker = stage.worker(stack, pool, 1).wait_until_ready()
            gate = Path(stage.folder, 'gate')
            stage.adder.ask('add', 'wait_for', str(gate), 'long-0')
            until(Path(f'{gate}.begun').exists, 'a long job')
            expected = stage.add(10, 'short')
            time.sleep(8)
            gate.touch()
            _check(stage, worker, expected)
            _check(stage, worker, {'long-0': 1})
            lost = worker.log().count('PRECONDITION_FAILED')
            say(f'{pool}: {lost} connections were closed')
            assert lost


def celery_without_database(say):
    """Celery: the database is away for a minute, and messages come."""
    for pool in POOLS:
        with contextlib.ExitStack() as stack:
            stage = Stage(stack)
            worker = stage.worker(stack, pool, 2).wait_until_ready()
            gate = Path(stage.folder, 'gate')
            for name in 'a', 'b':
                stage.adder.ask('add', 'wait_for', f'{gate}{name}',
                                f'long-{name}')
                until(Path(f'{gate}{name}.begun').exists, 'a long job')
            expected = stage.add(100, 'short')
            waiting = stage.broker.messages()
            stage.server.stop()
            before = _records(worker), worker.seconds()
            for name in 'a', 'b':
                Path(f'{gate}{name}').touch()
            time.sleep(60)
            records = _records(worker) - before[0]
            seconds = worker.seconds() - before[1]
            say(f'{pool}: {waiting} messages before, '
                f'{stage.broker.messages()} after it; {records} log records, '
                f'{seconds:.1f} s of processor time')
            assert stage.broker.messages() > waiting - 10
            assert records < 40
            assert seconds < 10
            stage.server.start()
            stage.restart_adder()
            _check(stage, worker, expected)
            _check(stage, worker, {'long-a': 1, 'long-b': 1})
            stage.server.stop()
            began = time.monotonic()
            worker.signal(signal.SIGTERM)
            worker.wait()
            say(f'  ended within {time.monotonic() - began:.0f} s')


def celery_database_closed(say):
    """Celery: a job closes the database of its process."""
    for pool in POOLS:
        with contextlib.ExitStack() as stack:
            attempts = _close_database(stack, pool)
        say(f'{pool}: others were run; attempts of this one: {attempts}')


def _close_database(stack, pool):
    """Let a job do that.  Return how many attempts are counted at last."""
    stage = Stage(stack)
    worker = stage.worker(stack, pool, 1).wait_until_ready()
    jobid = stage.adder.ask('add', 'close_database')
    expected = stage.add(20, 'after')
    until(lambda: stage.effects('after') == expected, 'other jobs',
          patience=30)
    attempts = until(lambda: stage.adder.ask('job', jobid)['attempts'],
                     'a counted attempt')
    assert worker.process.poll() is None
    return attempts


def _records(worker):
    """Return how many records a log has, without those of ZEO's client.

    It says each time when it cannot connect.
    """
    return sum(line.startswith('[2') and 'onnect' not in line
               for line in worker.log().splitlines())


SCENARIOS = (*faulty.SCENARIOS, celery_on_valkey, celery_on_rabbitmq,
             celery_garbage, celery_impatient_rabbitmq,
             celery_without_database, celery_database_closed,
             *workerfaults.SCENARIOS, *hostile.SCENARIOS)


def main():
    """Run these, and those of the engine and of async-worker."""
    leftovers.begin()
    sys.exit(faulty.main(scenarios=SCENARIOS))


if __name__ == '__main__':
    main()
