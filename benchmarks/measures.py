"""Rates, latency, size and commits of adding and running jobs."""

import random
import time

import transaction

import counting
import tasks
from children import Child
from loop import Loop
from loop import Records
from raw import commit
from raw import compare
from raw import cost
from stage import in_site
from stage import opened
from stage import policy
from stage import processing
from table import Row


GROUP = 50


def rates(stage, options):
    """Return rows: how fast jobs are added and run."""
    yield _row('raw commits', compare(
        stage, options.rounds, options.jobs,
        lambda: cost(options.jobs, commit, stage, options.jobs)))
    yield from _adding(stage, options)
    yield from _draining(stage, options)
    yield from _records_alone(stage, options)


def _row(name, rate, aim='', cpu_aim=''):
    return Row(name, rate.rate, 'a second', rate.ratio, aim, rate.loop,
               rate.cpu * 1e6, rate.cpu_loop, cpu_aim)


def _adding(stage, options):
    def add_to_loop():
        return _add_to(Loop(stage), options.jobs)
    for name, add, size, aim, cpu_aim in (
            ('add, 1 job a commit', _add_plain, 1, '0.8', ''),
            ('add, 10 jobs a commit', _add_plain, 10, '', ''),
            ('add, decorated function', _add_decorated, 1, '', '1.25')):
        def measure(add=add, size=size):
            with in_site(stage):
                found = cost(
                    options.jobs, _add, stage, add, options.jobs, size)
            _empty(stage, options.jobs)
            return found
        yield _row(name, compare(
            stage, options.rounds, options.jobs, measure, loop=add_to_loop),
            aim, cpu_aim)


def _add_to(loop, jobs):
    """Add jobs to an empty Loop.  Return what that has cost."""
    loop.clear()
    return cost(jobs, loop.add, jobs)


def _add_plain(stage, number):
    stage.service.add('noop', number)


def _add_decorated(stage, number):
    tasks.decorated(number)


def _add(stage, add, jobs, size):
    for number in range(jobs):
        add(stage, number)
        if number % size == size - 1:
            transaction.commit()
    transaction.commit()


def _empty(stage, jobs, threads=1):
    """Let a processor run all jobs, and see that it does."""
    tasks.calls.expect(jobs)
    with processing(stage, threads):
        tasks.calls.wait()


def _draining(stage, options):
    yield _drained('run, 1 thread', stage, options, aim='0.8')
    yield _drained('run, 4 threads', stage, options, threads=4)
    for add, name in ((_add_plain, ''), (_add_decorated, ', decorated')):
        with policy(commit_every=GROUP):
            # More, for a processor begins carefully.
            yield _drained(f'run, commit_every {GROUP}{name}', stage, options,
                           jobs=5 * options.jobs, add=add,
                           aim='5' if stage.storage.shared else '3',
                           cpu_aim='0.45')
    yield _drained('run, decorated function', stage, options,
                   add=_add_decorated, cpu_aim='1.6')
    if stage.storage.shared:
        with opened(stage.storage) as other:
            yield _drained('run, added elsewhere', stage, options,
                           adder=other)


def _drained(name, stage, options, threads=1, add=_add_plain, adder=None,
             jobs=None, aim='', cpu_aim=''):
    """Return a row: how fast jobs are run.

    adder -- the client that adds them, if not the one that runs them: then
        they are not in its cache.
    """
    adder = adder or stage
    jobs = jobs or options.jobs

    def prepare():
        with in_site(adder):
            _add(adder, add, jobs, 100)
        _add_to(Loop(stage), options.jobs)

    def measure():
        return cost(jobs, _empty, stage, jobs, threads)

    def run_loop():
        return cost(options.jobs, Loop(stage).run, options.jobs)
    return _row(name, compare(
        stage, options.rounds, options.jobs, measure, prepare, run_loop),
        aim, cpu_aim)


def _records_alone(stage, options):
    """Return rows: what the records of a decorated call cost by themselves."""
    records, jobs = Records(stage), options.jobs

    yield _row('records alone, add', compare(
        stage, options.rounds, jobs, lambda: _add_to(records, jobs),
        loop=lambda: _add_to(Loop(stage), jobs)))
    for name, size in ('run', 1), (f'run, {GROUP} a commit', GROUP):
        def prepare():
            _add_to(records, jobs)
            _add_to(Loop(stage), jobs)

        def measure(size=size):
            return cost(jobs, records.run, jobs, size)
        yield _row(f'records alone, {name}', compare(
            stage, options.rounds, jobs, measure, prepare,
            lambda: cost(jobs, Loop(stage).run, jobs)))


def latency(stage, options):
    """Return rows: the time from the call of commit to that of a function.

    The commit itself is included.
    """
    with processing(stage):
        delays = _delays(stage, options)
    yield from _quantiles('latency', delays, 10)
    if stage.storage.shared:
        with Child('worker', stage.storage):
            delays = _delays(stage, options)
        yield from _quantiles('latency, another process', delays, 50)


def _delays(stage, options):
    """Add jobs one by one to an idle service; return seconds, sorted."""
    _warm_up(stage)
    committed = {}
    for _ in range(options.samples):
        transaction.begin()
        jobid = stage.service.add('stamp')
        committed[jobid] = time.monotonic()
        transaction.commit()
        _wait_for(stage, jobid)
        time.sleep(random.uniform(0.005, 0.05))
    return sorted(stage.service.getResult(jobid) - moment
                  for jobid, moment in committed.items())


def _warm_up(stage):
    _wait_for(stage, stage.service.add('stamp'))


def _wait_for(stage, jobid):
    transaction.commit()
    while stage.service.getStatus(jobid) != 'completed':
        time.sleep(0.01)
        transaction.begin()


def _quantiles(name, delays, aim):
    for percent in (50, 95):
        value = delays[int(len(delays) * percent / 100)]
        yield Row(f'{name}, p{percent}', value * 1000, 'ms', None,
                  f'< {aim}' if percent == 95 else '')


def sizes(stage, options):
    """Return rows: bytes and commits for each job."""
    jobs = options.jobs
    before, commits = stage.storage.size(), counting.commits()
    _add(stage, _add_plain, jobs, 1)
    added = stage.storage.size()
    yield Row('bytes, add 1 job a commit', (added - before) / jobs, 'a job')
    yield Row('commits, add', (counting.commits() - commits) / jobs, 'a job')
    commits = counting.commits()
    _empty(stage, jobs)
    yield Row('bytes, run', (stage.storage.size() - added) / jobs, 'a job')
    yield Row('commits, run', (counting.commits() - commits) / jobs, 'a job',
              None, '1 + claims')
    before = stage.storage.size()
    commit(stage, jobs)
    yield Row('bytes, raw commit',
              (stage.storage.size() - before) / jobs, 'a commit')


def idle(stage, options):
    """Return rows: what a processor costs that has nothing to do."""
    before = stage.storage.size()
    with processing(stage):
        time.sleep(1)
        begin, cpu = time.monotonic(), time.process_time()
        time.sleep(options.idle)
        share = (time.process_time() - cpu) / (time.monotonic() - begin)
    yield Row('idle', share * 100, '% of a core', None, '< 0.5')
    yield Row('idle, bytes stored', stage.storage.size() - before, 'in all')


