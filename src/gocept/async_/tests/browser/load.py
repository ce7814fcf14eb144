"""What pages cost, for few jobs and for many."""

import statistics
import time
from typing import NamedTuple

import webtest

from gocept.async_.tests.browser import scenes


PAGES = ('', 'events/', 'events/jobs', 'events/jobs?status=completed',
         'events/jobs?status=queued', 'events/jobs?status=error',
         'events/jobs?function=shop.mail.deliver', 'events/crons',
         'events/workers', 'events/audit',
         'events/bulk?action=requeue&status=error')

# How often each page is asked for.
TIMES = 20


class Cost(NamedTuple):
    """Of one page.

    loads -- how many objects are loaded, with nothing in a cache.
    cold, warm -- milliseconds: of that, and the 95th percentile of others.
    """

    loads: int
    cold: float
    warm: float


def measure(stage, numbers):
    """Print, and return, what the pages cost with so many jobs.

    numbers -- ints, growing.

    Return a list of dicts: page to Cost.
    """
    stage.clear()
    scenes.few(stage)
    found, have = [], 0
    for number in numbers:
        scenes.more(stage, number - have)
        have = number
        found.append({page: _cost(stage, page) for page in PAGES})
        print(f'{number:,} jobs'.ljust(40), '  loads   cold   warm, ms')
        for page, cost in found[-1].items():
            print(f'{page or "(overview)":40} {cost.loads:7} {cost.cold:6.0f}'
                  f' {cost.warm:6.0f}', flush=True)
    return found


def _cost(stage, page):
    began = time.perf_counter()
    loads = stage.loads(page)
    cold = time.perf_counter() - began
    app = webtest.TestApp(stage.application)
    app.authorization = 'Basic', ('manager', 'manager')
    warm = [_seconds(app, page) for _ in range(TIMES)]
    return Cost(loads, 1000 * cold,
                1000 * statistics.quantiles(warm, n=20)[-1])


def _seconds(app, page):
    began = time.perf_counter()
    app.get(f'/@@async/{page}')
    return time.perf_counter() - began
