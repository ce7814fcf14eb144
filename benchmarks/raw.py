"""What everything is compared with: raw ZODB commits of a small object."""

import statistics
import time
from typing import NamedTuple

import transaction


class Rate(NamedTuple):
    """Medians of several rounds.

    rate -- per second.
    ratio -- to the raw commits of the same round.
    raw -- raw commits per second.
    """

    rate: float
    ratio: float
    raw: float


def commit(stage, number):
    """Change one small object so many times, each in a transaction."""
    for _ in range(number):
        stage.small.number += 1
        transaction.commit()


def per_second(number, call, *args):
    """Return how many there are per second of what a call does."""
    begin = time.perf_counter()
    call(*args)
    return number / (time.perf_counter() - begin)


def compare(stage, rounds, number, measure, prepare=None):
    """Measure and commit in turns: the speed of machines varies.

    measure -- called without arguments; returns a number per second.
    prepare -- called without arguments before each round, if given.
    """
    transaction.begin()
    commit(stage, min(number, 100))
    pairs = []
    for _ in range(rounds):
        if prepare is not None:
            prepare()
        transaction.begin()
        raw = per_second(number, commit, stage, number)
        pairs.append((measure(), raw))
    return Rate(
        statistics.median(rate for rate, _ in pairs),
        statistics.median(rate / raw for rate, raw in pairs),
        statistics.median(raw for _, raw in pairs))
