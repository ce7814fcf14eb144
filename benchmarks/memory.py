"""Whether a worker process grows with the jobs that it has run.

    bin/python benchmarks/memory.py
    bin/python benchmarks/memory.py --jobs 20000 200000 --commit-every 1

Over ZEO, for a FileStorage keeps an index of all objects in memory; with a
client's cache of 1 MB, whose index is in memory, too.  Before each look the
worker empties its object caches, collects garbage, and gives free memory back.
*objects* are those that the garbage collector knows.
"""

import argparse
import logging
import sys
import time

import transaction

import heading
import storages
import tasks
from children import Child
from stage import in_site
from stage import opened


# Jobs that are added at a time, and in one transaction.
AT_ONCE = 2000
IN_ONE = 500

# How many classes are shown whose objects have become more.
CLASSES = 8


def _run(stage, jobs, functions):
    """Add so many jobs, and wait until a worker has run them."""
    for begin in range(0, jobs, AT_ONCE):
        number = min(AT_ONCE, jobs - begin)
        with in_site(stage):
            for each in range(number):
                functions[each % len(functions)](each)
                if each % IN_ONE == IN_ONE - 1:
                    transaction.commit()
            transaction.commit()
        _wait(stage)


def _wait(stage):
    while True:
        transaction.begin()
        counts = stage.service.counts()
        if not counts['queued'] + counts['processing']:
            return
        time.sleep(0.05)


def measure(options):
    """Yield, after each of the numbers of jobs: that and what `look` tells."""
    with storages.started('zeo') as storage, opened(storage) as stage, Child(
            'measured_worker', storage,
            commit_every=options.commit_every) as worker:
        done = 0
        for number in options.jobs:
            _run(stage, number - done, [tasks.quiet, tasks.failing]
                 if options.failing else [tasks.quiet])
            done = number
            worker.go()
            yield number, worker.read()


def lines(found):
    """Yield lines: each look, and what has become more since the first."""
    for number, (size, objects, _) in found:
        yield (f'after {number} jobs: {size / 2 ** 20:.1f} MB, '
               f'{objects} objects')
    (_, (_, _, before)), *_, (_, (_, _, after)) = found
    more = {name: number - before.get(name, 0)
            for name, number in after.items()}
    for name in sorted(more, key=more.get, reverse=True)[:CLASSES]:
        if more[name] > 0:
            yield f'  {more[name]:+} {name}'


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--jobs', type=int, nargs='+',
                        default=[20_000, 200_000])
    parser.add_argument('--commit-every', type=int, default=50)
    parser.add_argument('--failing', action='store_true',
                        help='let every second job fail')
    options = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    tasks.register()
    heading.show('memory.py', sys.argv[1:])
    for line in lines(list(measure(options))):
        print(line)


if __name__ == '__main__':
    main()
