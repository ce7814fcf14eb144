"""What teams work on, and how fast they do."""

import random
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import transaction

import cpu
from stamps import Stamps


# Seconds an idle service is left alone before latency is measured.
REST = 1.5


class Measured(NamedTuple):
    """One run of a team, or of who adds.

    rate -- per second.
    costs -- seconds of processor time for each, by kind of process.
    busy -- how many cores these processes have used.
    others -- how many cores other programs have used meanwhile.
    """

    rate: float
    costs: dict
    busy: float
    others: float


class Scene:
    """Stages, each of a storage of its own, and a file of stamps.

    broker -- process id, or None.
    """

    def __init__(self, stack, *stages):
        self.stages = stages
        self.folder = Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix='benchmark-')))
        self.stamps = Stamps(self.folder / 'stamps')
        self.broker = None

    @property
    def stage(self):
        return self.stages[0]

    def adding(self, add, number):
        """Call something with each number.  Return a Measured."""
        transaction.begin()
        meter = self._meter()
        begin = time.monotonic()
        for each in range(number):
            add(each)
        seconds = time.monotonic() - begin
        used = meter.read()
        used['adder'] = used['benchmark']
        return _measured(number, seconds, used)

    def running(self, team, number):
        """Let a team go, until it has done so many.  Return a Measured."""
        self.stamps.forget()
        meter = self._meter(worker=team.pids)
        begin = time.monotonic()
        team.go()
        called = self.stamps.wait(number).values()
        used = meter.read()
        return _measured(number, max(called) - begin, used)

    def _meter(self, **groups):
        groups['storage server'] = [
            stage.storage.server.pid for stage in self.stages]
        if self.broker is not None:
            groups['broker'] = [self.broker]
        return cpu.Meter(groups)

    def delays(self, add, number):
        """Add jobs one by one to idle workers.  Return seconds of each.

        add -- called with a number; returns when commit was called.
        """
        found = []
        time.sleep(REST)
        for each in range(number):
            self.stamps.forget()
            called = add(each)
            found.append(self.stamps.wait(1, 0.002)[each] - called)
            time.sleep(random.uniform(0.005, 0.05))
        return found


def _measured(number, seconds, used):
    benchmark = used.pop('benchmark')
    everything = used.pop('machine')
    ours = sum(used.values())
    if 'adder' not in used:
        everything -= benchmark
    return Measured(
        number / seconds,
        {kind: value / number for kind, value in used.items()},
        ours / seconds, max(0.0, everything - ours) / seconds)
