"""What a rate of jobs needs, calculated from what one job was measured to.

Only processor time is counted: the functions do nothing, and the network
costs nothing.
"""

import math
from statistics import median

from table import Row


RATES = (100, 10_000)

# How much of a core is to be used at most, so that nothing waits long.
SHARE = 0.7

# These work in one thread, so one of them has one core at most.
SINGLE = {'zeo': {'storage server': 'database', 'broker': 'broker'},
          'relstorage': {'broker': 'broker'}}


def rows(name, kind, processes, added, ran):
    """Return rows for one kind of workers.

    name -- of the storage.
    processes -- names of those that take part.
    added, ran -- Measureds.
    """
    costs = {process: _cost(added, process) + _cost(ran, process)
             for process in processes}
    for process, service in SINGLE[name].items():
        if costs.get(process):
            yield Row(f'{kind}: one {service}, at most',
                      SHARE / costs[process], 'a second')
    for rate in RATES:
        for process, cost in costs.items():
            yield from _needs(
                f'{kind}: {rate} a second', process, rate * cost,
                SINGLE[name].get(process))


def _cost(found, process):
    """Return seconds of processor time for a job."""
    return median(each.costs.get(process, 0.0) for each in found)


def _needs(title, process, cores, service):
    yield Row(f'{title}, {process}', cores, 'cores')
    if service is not None:
        yield Row(f'{title}, {service}s', math.ceil(cores / SHARE), 'in all')
