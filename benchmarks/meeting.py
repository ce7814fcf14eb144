"""What it costs workers of one service that there are others.

    bin/python benchmarks/meeting.py --storage zeo relstorage
    bin/python benchmarks/meeting.py --workers 1 2 4 --jobs 1000 --rounds 5

Raw commits and workers take turns, with each number of processes.  *met* is
how many commits in a hundred of the processors' own (claims and settling)
failed, because another processor had written the same, and were tried again;
*given up* is how many batches met so many that they were put off.
"""

import argparse
import contextlib
import logging
import sys
from collections import defaultdict
from statistics import median
from typing import NamedTuple

import heading
import storages
import tasks
import teams
from scene import Measured
from scene import Scene
from stage import opened


class Run(NamedTuple):
    """One round with one number of processes.

    raw, ran -- Measured, of raw commits and of workers.
    batches, met -- commits of the processors' own, and how many failed.
    given_up -- how many batches met so many that they were put off.
    """

    raw: Measured
    ran: Measured
    batches: int
    met: int
    given_up: int

    @property
    def cpu(self):
        """Seconds of processor time of the workers for a job."""
        return self.ran.costs['worker']


def rounds(name, options):
    """Yield a mapping for each round: Run by number of processes."""
    with contextlib.ExitStack() as stack:
        scene = Scene(stack, stack.enter_context(opened(
            stack.enter_context(storages.started(name)))))
        for _ in range(options.rounds):
            yield {number: _run(scene, number, options.jobs)
                   for number in options.workers}


def _run(scene, processes, jobs):
    with contextlib.ExitStack() as stack:
        team = teams.Committers(stack, scene, processes, jobs)
        raw = scene.running(team, team.number)
    scene.adding(lambda number: teams.add(scene.stage, number), jobs)
    with contextlib.ExitStack() as stack:
        team = teams.Workers(stack, [scene.stage] * processes)
        ran = scene.running(team, jobs)
    commits, failed, given_up = team.commits()
    return Run(raw, ran, commits - jobs, failed, given_up)


COLUMNS = ('processes', 'a second', 'x raw', 'cpu us', 'x 1 process',
           'raw cpu us', 'batches', 'met',
           'given up')


def lines(name, found):
    """Yield lines of a table: medians over the rounds."""
    by_number = defaultdict(list)
    for each in found:
        for number, run in each.items():
            by_number[number].append(run)
    first = by_number[min(by_number)]
    yield f'{name}, {len(first)} rounds'
    yield '  '.join(COLUMNS)
    for number, runs in by_number.items():
        batches = sum(run.batches for run in runs)
        met = sum(run.met for run in runs)
        cells = (
            f'{number}', f'{median(run.ran.rate for run in runs):.0f}',
            f'{median(run.ran.rate / run.raw.rate for run in runs):.2f}',
            f'{median(run.cpu for run in runs) * 1e6:.0f}',
            f'{_ratio(runs, first):.2f}',
            f'{_raw_cpu(runs) * 1e6:.0f}', f'{batches}',
            f'{100 * met / batches:.1f} %',
            f'{100 * sum(run.given_up for run in runs) / batches:.1f} %')
        yield '  '.join(cell.rjust(len(column)) for cell, column
                        in zip(cells, COLUMNS, strict=True))
    yield ''


def _ratio(runs, first):
    return median(run.cpu / one.cpu
                  for run, one in zip(runs, first, strict=True))


def _raw_cpu(runs):
    return median(run.raw.costs['worker'] for run in runs)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--storage', nargs='+', default=['zeo'],
                        choices=['zeo', 'relstorage'])
    parser.add_argument('--workers', type=int, nargs='+', default=[1, 2, 4])
    parser.add_argument('--jobs', type=int, default=1000)
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    tasks.register()
    heading.show('meeting.py', sys.argv[1:])
    for name in options.storage:
        for line in lines(name, list(rounds(name, options))):
            print(line, flush=True)


if __name__ == '__main__':
    main()
