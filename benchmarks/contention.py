"""Who meets conflicts when many add jobs while processors run them."""

import contextlib
import threading
import time

import transaction

import children
import counting
import stage
import storages
from adding import Added
from table import Row


ADDERS = 4


def rows(name, options, depth):
    """Return rows for adders and processors at a queue of some depth."""
    with storages.started(name) as storage, stage.opened(storage) as opened:
        opened.fill(depth)
        place = f'{ADDERS} x {options.adds} adds at depth {depth}'
        yield from _threads(opened, options, depth, place)
        if storage.shared:
            yield from _processes(opened, options, depth, place)


def _threads(opened, options, depth, place):
    before = counting.complaints.number
    with contextlib.ExitStack() as stack:
        stack.enter_context(stage.processing(opened, 4))
        workers = [stack.enter_context(
            children.Child('worker', opened.storage, threads=2))
            for _ in range(1 if opened.storage.shared else 0)]
        added = [Added() for _ in range(ADDERS)]
        threads = [threading.Thread(
            target=_in_thread, args=(opened.db, one, options.adds))
            for one in added]
        begin = time.monotonic()
        _run_all(threads)
        seconds = time.monotonic() - begin
        yield from _result(opened, f'{place}, threads', added, depth, seconds)
    yield from _complaints(workers, counting.complaints.number - before)


def _complaints(workers, number):
    """Return a row: how often processors met too many conflicts."""
    number += sum(worker.result['complaints'] for worker in workers)
    yield Row('... batches given up by processors', number, 'in all')


def _run_all(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _in_thread(db, added, jobs):
    connection = db.open()
    try:
        added.add(stage.service_of(connection), jobs)
    finally:
        transaction.abort()
        connection.close()


def _processes(opened, options, depth, place):
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(
            children.Child('worker', opened.storage, threads=threads))
            for threads in (1, 4)]
        adders = [stack.enter_context(
            children.Child('adder', opened.storage, jobs=options.adds))
            for _ in range(ADDERS)]
        begin = time.monotonic()
        added = _added_by(adders)
        seconds = time.monotonic() - begin
        yield from _result(
            opened, f'{place}, processes', added, depth, seconds)
    yield from _complaints(workers, 0)
    memory = max(worker.result['memory'] for worker in workers)
    yield Row(f'memory of a worker process at depth {depth}', memory // 1024,
              'MB')


def _added_by(adders):
    for child in adders:
        child.go()
    added = []
    for child in adders:
        one = Added()
        vars(one).update(child.end())
        added.append(one)
    return added


def _result(opened, place, added, depth, seconds):
    aim = '0'
    conflicts = sum(one.conflicts for one in added)
    committed = {jobid: moment for one in added
                 for jobid, moment in one.committed}
    yield Row(f'conflicts, {place}', conflicts, 'in all', None, aim)
    yield Row('... added', len(committed) / seconds, 'a second')
    if not depth:
        lost, overtaken = _order(opened, committed)
        yield Row('... jobs lost', lost, 'in all', None, '0')
        yield Row('... overtaken by one committed later', overtaken, 's',
                  None, '< 1')


def _order(opened, committed):
    """Return how many jobs are missing, and the largest overtaking.

    That is the time between the commits of two jobs, of which the later one
    began first.
    """
    _wait_until_ended(opened)
    begun = {}
    for jobid in committed:
        result = opened.service.getResult(jobid)
        if result is not None:
            begun[jobid] = result
    latest = overtaken = 0.0
    for jobid in sorted(begun, key=begun.get):
        overtaken = max(overtaken, latest - committed[jobid])
        latest = max(latest, committed[jobid])
    return len(committed) - len(begun), overtaken


def _wait_until_ended(opened):
    deadline = time.monotonic() + stage.PATIENCE
    while time.monotonic() < deadline:
        transaction.begin()
        counts = opened.service.counts()
        if not counts['queued'] + counts['processing']:
            return
        time.sleep(0.05)
