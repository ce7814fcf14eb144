"""What pages cost, for few jobs and for many."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import webtest

from gocept.async_.tests.browser import scenes


PAGES = ('', 'events/', 'events/jobs', 'events/jobs?status=completed',
         'events/jobs?status=queued', 'events/jobs?status=error',
         'events/jobs?function=shop.mail.deliver', 'events/crons',
         'events/workers', 'events/audit',
         'events/bulk?action=requeue&status=error')

# How often each page is asked for, and by how many at the same time.
TIMES = 20
READERS = 10


class Cost(NamedTuple):
    """Of one page.

    loads, size -- how many objects are loaded, with nothing in a cache, and
        how many bytes these are.
    cold, warm -- milliseconds: of that, and the 95th percentile of others.
    cpu -- milliseconds of the processor that others take.
    """

    loads: int
    size: int
    cold: float
    warm: float
    cpu: float


def measure(stage, numbers, add=scenes.mixed):
    """Print, and return, what the pages cost with so many jobs.

    numbers -- ints, growing.
    add -- of `scenes`: adds so many jobs.

    Return a list of dicts: page to Cost.
    """
    stage.clear()
    scenes.few(stage)
    found, have = [], 0
    for number in numbers:
        add(stage, number - have)
        have = number
        found.append({page: _cost(stage, page) for page in PAGES})
        _print(number, found)
        print(f'{READERS} readers at once, all pages:'.ljust(39),
              f'{_at_once(stage):.0f} ms', flush=True)
    return found


def _at_once(stage):
    """Return the 95th percentile of what many readers wait for a page, ms."""
    def read(_number):
        app = _reader(stage)
        return [_seconds(app, page) for page in PAGES]

    with ThreadPoolExecutor(READERS) as pool:
        times = [each for found in pool.map(read, range(READERS))
                 for each in found]
    return 1000 * statistics.quantiles(times, n=20)[-1]


def _reader(stage):
    app = webtest.TestApp(stage.application)
    app.authorization = 'Basic', ('manager', 'manager')
    return app


def _print(number, found):
    """Print the last costs; behind them, how many times the first ones."""
    print(f'{number:,} jobs'.ljust(39),
          '  loads            kB     cold   warm    cpu, ms')
    for page, cost in found[-1].items():
        first = found[0][page]
        print(f'{page or "(overview)":40}'
              f'{cost.loads:6} {cost.loads / first.loads:5.2f}x'
              f'{cost.size / 1000:6.0f} {cost.size / first.size:5.2f}x'
              f'{cost.cold:6.0f} {cost.warm:6.0f} {cost.cpu:6.1f}',
              flush=True)


def _cost(stage, page):
    began = time.perf_counter()
    loads = stage.loads(page)
    cold = time.perf_counter() - began
    app = _reader(stage)
    began = time.process_time()
    warm = [_seconds(app, page) for _ in range(TIMES)]
    cpu = (time.process_time() - began) / TIMES
    return Cost(len(loads), sum(loads), 1000 * cold,
                1000 * statistics.quantiles(warm, n=20)[-1], 1000 * cpu)


def _seconds(app, page):
    began = time.perf_counter()
    app.get(f'/@@async/{page}')
    return time.perf_counter() - began
