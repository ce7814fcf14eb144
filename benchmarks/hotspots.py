"""Where the time goes: profiles of adding and of running jobs."""

import cProfile
import pstats
import time

import transaction

from depth import claim_batch
from depth import run_batch
from raw import commit


LINES = 25


def profiles(stage, options):
    """Yield lines: the functions that take longest, by operation.

    All in one thread: what a processor does, without the threads.
    """
    for name, call in (
            ('raw commits', lambda jobs: commit(stage, jobs)),
            ('add, 1 job a commit', lambda jobs: _add(stage, jobs)),
            ('run, 1 thread', lambda jobs: _run(stage, jobs))):
        transaction.begin()
        profile = cProfile.Profile()
        begin = time.perf_counter()
        profile.runcall(call, options.jobs)
        seconds = time.perf_counter() - begin
        yield from _lines(name, profile, options.jobs, seconds)


def _add(stage, jobs):
    for number in range(jobs):
        stage.service.add('noop', number)
        transaction.commit()


def _run(stage, jobs):
    while claims := claim_batch(stage):
        run_batch(stage, claims)


def _lines(name, profile, jobs, seconds):
    each = 1e6 / jobs
    title = f'{name}: {seconds * each:.0f} us each while profiled'
    yield title
    yield '-' * len(title)
    yield f'{"own us":>8} {"all us":>8} {"calls":>8}'
    stats = pstats.Stats(profile).stats
    hottest = sorted(stats.items(), key=lambda item: -item[1][2])
    for (path, line, function), (_, calls, own, total, _) in hottest[:LINES]:
        place = '/'.join(path.split('/')[-2:])
        yield (f'{own * each:8.1f} {total * each:8.1f} {calls / jobs:8.2f} '
               f' {place}:{line} {function}')
    yield ''
