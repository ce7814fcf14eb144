"""What one operation costs when there are few jobs, or many."""

import random
import time
from statistics import median
from typing import NamedTuple

import transaction

import tasks
from lovely.remotetask.running import execution
from raw import commit
from stage import PATH
from stage import policy
from stage import processing
from table import Row


# Claims in one transaction, as a processor that has short jobs does it.
BATCH = 50

# Operations of each kind in one round.
NUMBER = 100

OPERATIONS = ('add', 'claim', 'finish', 'cancel')

WORKER = 'host:1:benchmark:token'


class Cost(NamedTuple):
    """Of one operation: seconds, and bytes stored."""

    time: float
    bytes: float


class Queue:
    """A queue of some depth, and what operations on it cost.

    waiting -- the ids of all jobs in the queue.
    """

    def __init__(self, stage):
        self.stage = stage
        self.waiting = set()

    def grow(self, depth):
        """Add jobs until there are so many."""
        self.waiting.update(self.stage.fill(depth - len(self.waiting)))

    def drain(self):
        """Run all jobs.  Return how many have been completed in all."""
        tasks.calls.expect(len(self.waiting))
        with policy(commit_every=BATCH), processing(self.stage):
            tasks.calls.wait()
        self.waiting.clear()
        transaction.begin()
        return self.stage.service.counts()['completed']

    def costs(self):
        """Return a Cost by operation; the depth is the same afterwards."""
        transaction.begin()
        self.grow(len(self.waiting) + NUMBER)
        claims = []
        costs = {'raw': self._cost(commit, self.stage, NUMBER),
                 'add': self._cost(self._add),
                 'claim': self._cost(self._claim, claims),
                 'finish': self._cost(self._finish, claims)}
        self.waiting.difference_update(claim.job for claim in claims)
        some = random.sample(sorted(self.waiting), NUMBER)
        costs['cancel'] = self._cost(self._cancel, some)
        self.waiting.difference_update(some)
        return costs

    def _cost(self, call, *args):
        """Return the Cost of one of NUMBER operations."""
        size = self.stage.storage.size()
        begin = time.perf_counter()
        call(*args)
        seconds = time.perf_counter() - begin
        grown = self.stage.storage.size() - size
        return Cost(seconds / NUMBER, grown / NUMBER)

    def _add(self):
        for number in range(NUMBER):
            self.waiting.add(self.stage.service.add('noop', number))
            transaction.commit()

    def _claim(self, claims):
        for _ in range(NUMBER // BATCH):
            claims += claim_batch(self.stage)

    def _finish(self, claims):
        for number in range(0, NUMBER, BATCH):
            run_batch(self.stage, claims[number:number + BATCH])

    def _cancel(self, jobids):
        transaction.begin()
        for jobid in jobids:
            self.stage.service.cancel(jobid)
            transaction.commit()


def rows(small, large, options):
    """Return rows: what each operation costs at each depth.

    In the end the large queue is drained, so that there are many finished
    jobs.

    small, large -- Stages of two storages of one kind.  The first queue stays
        small; both are measured in turns, for the speed of machines varies.
    """
    small, large = Queue(small), Queue(large)
    first, *others = sorted(options.depth)
    small.grow(first)
    large.grow(first)
    yield from _compare(small, large, options, f'depth {first}')
    for depth in others:
        begin, missing = time.monotonic(), depth - len(large.waiting)
        large.grow(depth)
        yield Row(f'growing to depth {depth}, 1000 a commit',
                  missing / (time.monotonic() - begin), 'a second')
        yield from _compare(small, large, options, f'depth {depth}')
    finished = large.drain()
    large.grow(first)
    yield from _compare(
        small, large, options, f'depth {first}, {finished} finished')


def _compare(small, large, options, place):
    rounds = [(small.costs(), large.costs()) for _ in range(options.rounds)]
    for name in OPERATIONS:
        yield from _operation(name, place, min(options.depth), [
            (one[name], two[name], two['raw']) for one, two in rounds])


def _operation(name, place, depth, rounds):
    """Return rows for an operation.

    rounds -- triples of Costs: in the small queue, in the large one, of a
        raw commit.
    """
    yield Row(f'{name}, {place}',
              median(large.time for _, large, _ in rounds) * 1e6, 'us',
              median(large.time / raw.time for _, large, raw in rounds))
    yield Row(f'... to depth {depth}',
              median(large.time / small.time for small, large, _ in rounds),
              'times', None, '< 1.5')
    yield Row('... stored', median(large.bytes for _, large, _ in rounds),
              'bytes')
    yield Row(f'... to depth {depth}',
              median(large.bytes / small.bytes for small, large, _ in rounds),
              'times', None, '< 1.5')


def claim_batch(stage):
    """Claim up to BATCH jobs, as a processor does.  Return the claims."""
    return _bookkeep(stage, _claim)


def run_batch(stage, claims):
    """Run claimed jobs one by one, and settle the claims."""
    ends = {claim.job: execution.run_claimed(
        stage.db, PATH, claim, transaction.commit) for claim in claims}
    _bookkeep(stage, _settle, {
        jobid: end.rest for jobid, end in ends.items()})


def _bookkeep(stage, call, *args):
    return execution.in_transaction(
        stage.db, PATH, transaction.commit, call, *args)


def _claim(engine):
    return engine.claim(WORKER, BATCH)


def _settle(engine, rests):
    engine.settle(WORKER, list(rests), list(rests), rests=rests)
