"""What everything is compared with: raw ZODB commits of a small object."""

import statistics
import time
from typing import NamedTuple

import transaction


class Cost(NamedTuple):
    """What one of many took: seconds by the clock, and of the processor."""

    wall: float
    cpu: float


class Rate(NamedTuple):
    """Medians of several rounds.

    rate -- per second.
    ratio -- to the raw commits of the same round.
    raw -- raw commits per second.
    loop -- the time, as a multiple of that of the loop; None without one.
    cpu -- seconds of processor time for one.
    cpu_loop -- that, as a multiple of that of the loop; None without one.
    """

    rate: float
    ratio: float
    raw: float
    loop: float | None
    cpu: float
    cpu_loop: float | None


def commit(stage, number):
    """Change one small object so many times, each in a transaction."""
    for _ in range(number):
        stage.small.number += 1
        transaction.commit()


def cost(number, call, *args):
    """Return the Cost of one, where a call does so many.

    Processor time is that of this process, with all of its threads.
    """
    begin, cpu = time.perf_counter(), time.process_time()
    call(*args)
    return Cost((time.perf_counter() - begin) / number,
                (time.process_time() - cpu) / number)


def compare(stage, rounds, number, measure, prepare=None, loop=None):
    """Measure and commit in turns: the speed of machines varies.

    measure -- called without arguments; returns a Cost.
    prepare -- called without arguments before each round, if given.
    loop -- called without arguments in each round; returns the Cost of the
        same done by the loop.
    """
    transaction.begin()
    commit(stage, min(number, 100))
    rounds_ = []
    for _ in range(rounds):
        if prepare is not None:
            prepare()
        transaction.begin()
        raw = cost(number, commit, stage, number)
        rounds_.append((measure(), raw, None if loop is None else loop()))
    return Rate(
        statistics.median(1 / found.wall for found, _, _ in rounds_),
        statistics.median(raw.wall / found.wall for found, raw, _ in rounds_),
        statistics.median(1 / raw.wall for _, raw, _ in rounds_),
        loop and statistics.median(
            found.wall / other.wall for found, _, other in rounds_),
        statistics.median(found.cpu for found, _, _ in rounds_),
        loop and statistics.median(
            found.cpu / other.cpu for found, _, other in rounds_))
