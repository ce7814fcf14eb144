"""What jobs leave in a Data.fs before it is packed, in bytes.

    bin/python benchmarks/growth.py
    bin/python benchmarks/growth.py --jobs 2000 --detail

A small call is added, claimed, run, settled and pruned, in batches as a
processor does it.  A cron job fails again and again, each time with another
message.  ``--detail`` tells the classes of the records, too.
"""

import argparse
import collections
import contextlib
import itertools
import logging
import sys

import transaction
import zope.component
from ZODB.FileStorage import FileIterator
from ZODB.utils import get_pickle_metadata

import heading
import storages
import tasks
from depth import BATCH
from depth import WORKER
from lovely.remotetask.history import MAX_HISTORY
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.running import execution
from lovely.remotetask.task import SimpleTask
from stage import PATH
from stage import in_site
from stage import opened
from table import Row
from table import lines


# Of the header of a record in a Data.fs.
HEADER = 42

# Long after all that is done here.
LATER = 10 ** 11


class Growth:
    """How a Data.fs grows.

    records -- by phase: bytes for each job, by class.
    """

    def __init__(self, stage):
        self.stage = stage
        self.records = {}

    def of(self, phase, number, call, *args):
        """Return how many bytes a call stores, for each of so many."""
        size = self.stage.storage.size()
        begin = self.stage.db.storage.lastTransaction()
        call(*args)
        found = collections.Counter()
        with contextlib.closing(FileIterator(
                self.stage.db.storage._file_name,
                start=begin)) as transactions:
            for each in transactions:
                for record in each if each.tid > begin else ():
                    name = get_pickle_metadata(record.data)[1]
                    found[name] += HEADER + len(record.data)
        self.records[phase] = {
            name: round(bytes_ / number) for name, bytes_
            in found.most_common() if bytes_ >= number}
        return (self.stage.storage.size() - size) / number


def rows(growth, jobs):
    """Return rows: bytes of each phase of a job, and in all."""
    for kind, add, aim in (('', _add_plain, ''),
                           (', decorated', _add_decorated, '1200')):
        found = [
            (f'add{kind}', growth.of(
                f'add{kind}', jobs, add, growth.stage, jobs)),
            (f'claim, run, settle{kind}', growth.of(
                f'claim, run, settle{kind}', jobs, _run, growth.stage)),
            (f'prune{kind}', growth.of(
                f'prune{kind}', jobs, _prune, growth.stage))]
        for name, value in found:
            yield Row(name, value, 'bytes a job')
        yield Row(f'in all{kind}', sum(value for _, value in found),
                  'bytes a job', None, aim)


def cron_rows(growth):
    """Return rows: bytes of each run of a cron job that fails."""
    growth.stage.service.addCronJob('fail', 'x', minute=(0,))
    transaction.commit()
    _bookkeep(growth.stage, _turn, ())
    for name, runs in (('first run', 1), ('of the first', MAX_HISTORY),
                       ('history is full', MAX_HISTORY + 1)):
        yield Row(f'failing cron job, {name}', growth.of(
            f'cron, {name}', runs, _fail, growth.stage, runs),
            'bytes a run')


_numbers = itertools.count()


def fail(input):
    raise ValueError(f'order {next(_numbers)} cannot be sent')


def _add_plain(stage, jobs):
    for number in range(jobs):
        stage.service.add('noop', number)
        transaction.commit()


def _add_decorated(stage, jobs):
    with in_site(stage):
        for number in range(jobs):
            tasks.decorated(number)
            transaction.commit()


def _run(stage):
    claims = _bookkeep(stage, _turn, ())
    while claims:
        for claim in claims:
            execution.run_claimed(stage.db, PATH, claim, transaction.commit)
        claims = _bookkeep(stage, _turn, [claim.job for claim in claims])


def _turn(engine, run, now=None):
    engine.settle(WORKER, run, now=now)
    return engine.claim(WORKER, BATCH, now)


def _prune(stage):
    def once(engine):
        return engine.upkeep.prune(100, LATER)
    while _bookkeep(stage, once) == 100:
        pass


def _fail(stage, runs):
    """Let the cron job fail so many times, each in its hour."""
    for _ in range(runs):
        transaction.begin()
        due = stage.service.store.schedule.minKey()[0]
        claims = _bookkeep(stage, _turn, (), due)
        for claim in claims:
            execution.run_claimed(stage.db, PATH, claim, transaction.commit)
        _bookkeep(stage, _settle, [claim.job for claim in claims], due)


def _settle(engine, run, now):
    engine.settle(WORKER, run, now=now)


def _bookkeep(stage, call, *args):
    return execution.in_transaction(
        stage.db, PATH, transaction.commit, call, *args)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--jobs', type=int, default=1000)
    parser.add_argument('--detail', action='store_true',
                        help='tell the classes of the records, too')
    options = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    tasks.register()
    heading.show('growth.py', sys.argv[1:])
    zope.component.provideUtility(SimpleTask(fail), ITask, 'fail')
    with storages.started('filestorage') as storage, opened(storage) as stage:
        growth = Growth(stage)
        found = [*rows(growth, options.jobs), *cron_rows(growth)]
    for line in lines('growth of a Data.fs', found):
        print(line)
    for phase, records in growth.records.items() if options.detail else ():
        print(phase, records)


if __name__ == '__main__':
    main()
