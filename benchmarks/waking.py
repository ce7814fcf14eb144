"""Measure how soon an idle processor begins what another process commits.

    bin/python benchmarks/waking.py
    bin/python benchmarks/waking.py --storage relstorage --samples 200

And what it costs to wait for that.  docs/explanation/performance.rst tells how
to read it.
"""

import argparse
import contextlib
import logging
import os
import random
import sys
import time

import transaction

import cpu
import heading
import storages
import table
import tasks
from children import Child
from stage import opened
from stage import processing
from storages import Missing


STORAGES = {**storages.STORAGES, storages.Sqlite.name: storages.Sqlite}

# Seconds from one job to the next: a service that is at work, and one that
# is idle.
SOON = 'soon'
PAUSES = {SOON: (0.005, 0.05), 'after a rest': (1.5, 3.0)}

# Seconds until an idle processor has come to rest, and PostgreSQL has counted
# what was before: a session tells of that when it has its next transaction.
REST = 20.0


def rows(name, options):
    """Yield rows for a storage."""
    with contextlib.closing(STORAGES[name]()) as storage, \
            opened(storage) as stage, _worker(stage, storage) as pid:
        for title, pauses in PAUSES.items():
            if title == SOON or not options.quick:
                # Where nobody tells, the next look may be a wait time away.
                yield from _quantiles(
                    title, _delays(stage, options.samples, pauses),
                    '< 50' if storage.tells or title == SOON else '< 1000')
        yield from _idle(storage, pid, options)


def _quantiles(title, delays, limit):
    for percent, aim in ((50, ''), (95, limit)):
        value = delays[int(len(delays) * percent / 100)]
        yield table.Row(f'{title}, p{percent}', value * 1000, 'ms', aim=aim)


@contextlib.contextmanager
def _worker(stage, storage):
    """Run jobs in another process, if there can be one.  Its id."""
    if storage.shared:
        with Child('worker', storage) as child:
            yield child.process.pid
    else:
        with processing(stage):
            yield os.getpid()


def _delays(stage, samples, pauses):
    """Return the seconds from the end of a commit to a call, sorted."""
    committed = {}
    _run(stage)
    for _ in range(samples):
        time.sleep(random.uniform(*pauses))
        jobid, moment = _run(stage)
        committed[jobid] = moment
    transaction.begin()
    return sorted(max(0.0, stage.service.getResult(jobid) - moment)
                  for jobid, moment in committed.items())


def _run(stage):
    """Let a job be run.  Return its id, and when it was committed."""
    transaction.begin()
    jobid = stage.service.add('stamp')
    transaction.commit()
    moment = time.monotonic()
    while stage.service.getStatus(jobid) != 'completed':
        time.sleep(0.01)
        transaction.begin()
    # Or the connection would keep its snapshot.
    transaction.abort()
    return jobid, moment


def _idle(storage, pid, options):
    time.sleep(0 if options.quick else REST)
    asked = getattr(storage, 'transactions', None)
    before = asked and asked()
    began, used = time.monotonic(), cpu.seconds([pid])
    time.sleep(options.idle)
    passed = time.monotonic() - began
    yield table.Row('idle', (cpu.seconds([pid]) - used) / passed * 100,
                    '% of a core', aim='< 0.5')
    if asked:
        # Without the one that counts.
        yield table.Row('idle, transactions', (asked() - before - 1) / passed,
                        'a second', aim='< 2')


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        '--storage', nargs='+', choices=STORAGES, default=list(STORAGES),
        help='which storages')
    parser.add_argument(
        '--samples', type=int, default=40,
        help='jobs timed, one by one, after each kind of pause')
    parser.add_argument(
        '--idle', type=float, default=60.0, help='seconds of being idle')
    parser.add_argument(
        '--quick', action='store_true',
        help='few jobs, to see that it works; the numbers mean nothing')
    if parser.parse_args(arguments).quick:
        parser.set_defaults(samples=2, idle=0.1)
    return parser.parse_args(arguments)


def main(arguments):
    logging.basicConfig(level=logging.CRITICAL)
    options = parse(arguments)
    tasks.register()
    heading.show('waking.py', arguments)
    for name in options.storage:
        try:
            cpu.check()
            found = list(rows(name, options))
        except Missing as missing:
            print(f'{name} is not measured: {missing}\n', flush=True)
            continue
        for line in table.lines(f'{name}: waking', found):
            print(line, flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
