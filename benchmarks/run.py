"""Measure the task service, each time next to raw ZODB commits.

    bin/python benchmarks/run.py
    bin/python benchmarks/run.py --quick
    bin/python benchmarks/run.py --storage filestorage --depth 100 1000000
    bin/python benchmarks/run.py --profile

docs/explanation/performance.rst tells what was measured, and how to read it.
"""

import argparse
import contextlib
import json
import logging
import sys
import time

import children
import contention
import counting
import depth
import heading
import measures
import scaling
import storages
import table
import tasks
from hotspots import profiles
from stage import opened


QUICK = {'jobs': 100, 'rounds': 1, 'samples': 5, 'adds': 10, 'idle': 1.0,
         'depth': [100], 'contention': [0], 'workers': [1]}


def sections(name, options):
    """Yield the results for a storage: a title, and an iterable of rows.

    Each section has a database of its own.
    """
    for title, rows in (
            ('rates', measures.rates),
            ('sizes', measures.sizes),
            ('latency', measures.latency),
            ('idle', measures.idle)):
        if _wanted(title, options):
            with started(name) as stage:
                yield title, rows(stage, options)
    if _wanted('cost', options):
        with started(name) as small, started(name) as large:
            yield 'cost by depth', depth.rows(small, large, options)
    if _wanted('conflicts', options):
        for number in options.contention:
            yield 'conflicts', contention.rows(name, options, number)
    if _wanted('workers', options) and storages.STORAGES[name].shared:
        yield 'workers', scaling.rows(name, options)


@contextlib.contextmanager
def started(name):
    """Start a storage and open it.  Return the Stage."""
    with storages.started(name) as storage, opened(storage) as stage:
        yield stage


def _wanted(title, options):
    return not options.only or title.split()[0] in options.only


def measure(name, options):
    """Measure a storage and print that.  Return the results, for JSON."""
    results = []
    for title, rows in sections(name, options):
        begin = time.monotonic()
        rows = list(rows)
        for line in table.lines(f'{name}: {title}', rows):
            print(line, flush=True)
        results.append({
            'section': title, 'seconds': time.monotonic() - begin,
            'rows': [row._asdict() for row in rows]})
    return results


def show_profiles(name, options):
    with started(name) as stage:
        for line in profiles(stage, options):
            print(line, flush=True)


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        '--storage', nargs='+', choices=storages.STORAGES,
        default=list(storages.STORAGES), help='which storages')
    parser.add_argument(
        '--only', nargs='+', default=[], metavar='SECTION',
        choices=['rates', 'sizes', 'latency', 'idle', 'cost', 'conflicts',
                 'workers'],
        help='which sections of results; all, if not said')
    parser.add_argument(
        '--jobs', type=int, default=1000, help='jobs in one round')
    parser.add_argument(
        '--rounds', type=int, default=7,
        help='rounds of which the median is told')
    parser.add_argument(
        '--depth', type=int, nargs='+', default=[100, 10_000],
        help='depths of the queue at which costs are compared')
    parser.add_argument(
        '--contention', type=int, nargs='+', default=[0, 100_000],
        metavar='DEPTH',
        help='depths of the queue at which conflicts are counted')
    parser.add_argument(
        '--adds', type=int, default=500, help='jobs that each adder adds')
    parser.add_argument(
        '--samples', type=int, default=100, help='jobs timed for latency')
    parser.add_argument(
        '--idle', type=float, default=20.0, help='seconds of being idle')
    parser.add_argument(
        '--workers', type=int, nargs='+', default=[1, 2, 4],
        metavar='PROCESSES', help='how many processes run jobs at a time')
    parser.add_argument('--json', metavar='FILE', help='also write JSON')
    parser.add_argument(
        '--quick', action='store_true',
        help='few jobs, to see that it works; the numbers mean nothing')
    parser.add_argument(
        '--profile', action='store_true',
        help='tell instead which functions take how long')
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**QUICK)
    return parser.parse_args(arguments)


def main(arguments):
    # What RelStorage and ZEO say about conflicts is no news here.
    logging.basicConfig(level=logging.CRITICAL)
    counting.count_complaints()
    if arguments[:1] == ['--child']:
        children.run(arguments[1])
        return
    options = parse(arguments)
    tasks.register()
    found = heading.machine()
    heading.show('run.py', arguments, found)
    report = {'machine': found, 'options': vars(options), 'storages': {}}
    for name in options.storage:
        try:
            if options.profile:
                show_profiles(name, options)
            else:
                report['storages'][name] = measure(name, options)
        except storages.Missing as missing:
            print(f'{name} is not measured: {missing}\n', flush=True)
    if options.json:
        with open(options.json, 'w') as target:
            json.dump(report, target, indent=1)


if __name__ == '__main__':
    main(sys.argv[1:])
