"""What it costs that each job refers to its store: bytes and time.

Run as ``bin/python benchmarks/reference.py``.  Compares a job as it is with
one whose record has no such reference.
"""

import statistics
import time

import transaction
import ZODB
import ZODB.DemoStorage
from ZODB.serialize import ObjectWriter

from lovely.remotetask import TaskService
from lovely.remotetask.job import Job


ROUNDS = 15
TIMES = 5000


def main():
    connection = ZODB.DB(ZODB.DemoStorage.DemoStorage()).open()
    connection.root()['service'] = service = TaskService()
    transaction.commit()
    jobs = {}
    for name, store in ('with', service.store), ('without', None):
        jobs[name] = connection.root()[name] = job = Job(
            123456789, 'gocept.async.function', 'input', 5)
        job.store = store
        job.change_status('queued')
    transaction.commit()
    times = {name: {'write': [], 'read': []} for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            times[name]['write'].append(_time(_write, connection, job))
            times[name]['read'].append(_time(_read, connection, job))
    sizes = {name: len(connection._storage.load(job._p_oid)[0])
             for name, job in jobs.items()}
    print(f'record: {sizes["with"]} bytes, '
          f'{sizes["with"] - sizes["without"]} for the reference')
    for what in 'write', 'read':
        best = {name: min(found[what]) for name, found in times.items()}
        print(f'{what}: {best["with"]:.2f} us, '
              f'{best["with"] - best["without"]:+.2f} for the reference '
              f'(median of {ROUNDS}: '
              f'{statistics.median(times["with"][what]):.2f})')
    transaction.abort()


def _time(call, *args):
    begin = time.process_time()
    for _ in range(TIMES):
        call(*args)
    return (time.process_time() - begin) / TIMES * 1e6


def _write(connection, job):
    ObjectWriter(job).serialize(job)


def _read(connection, job):
    job._p_deactivate()
    job._p_activate()


if __name__ == '__main__':
    main()
