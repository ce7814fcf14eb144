"""What there is to know of services, as OpenMetrics: for Prometheus.

Needs the extra ``metrics``.  Labels have few values: services are declared,
of each at most a hundred functions are told apart, and times are in few
buckets.
"""

import importlib.util
import math
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from lovely.remotetask.interfaces import IManagement
from lovely.remotetask.measure import FIRST
from lovely.remotetask.measure import LAST
from lovely.remotetask.measure import OTHERS
from lovely.remotetask.measure import OUTCOMES
from lovely.remotetask.measure import Counts
from lovely.remotetask.measure import Functions
from lovely.remotetask.measure import limit_of


CONTENT_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

# What was there before; there are programs that read nothing else.
PLAIN = 'text/plain; version=0.0.4; charset=utf-8'

MISSING = ('prometheus-client is not installed; pip install '
           '"gocept.async[metrics]"')

# The bins of which one bucket is made: two for each power of ten.
BINS = 6

# What all functions are called that have no label of their own.
OTHERS_LABEL = '(others)'


class Told(NamedTuple):
    """What there is to know of a service; None: that is not known.

    counts -- how many jobs there are, by status.
    oldest -- for how many seconds the oldest job waits; 0.0 if none does.
    workers -- how many there are.
    paused -- whether no jobs are claimed.
    works -- whether it can work.
    functions -- what was counted of its runs: measure.Functions.
    """

    counts: Mapping[str, int] | None = None
    oldest: float | None = None
    workers: int | None = None
    paused: bool | None = None
    works: bool | None = None
    functions: Functions | None = None


def is_installed() -> bool:
    """Return whether `exposition` can be called."""
    return importlib.util.find_spec('prometheus_client') is not None


def of_service(service: Any, now: float) -> Told:
    """Return what a service itself tells.

    now -- POSIX seconds.
    """
    management: Any = IManagement(service)
    oldest = service.oldest_waiting(now)
    return Told(
        service.counts(), 0.0 if oldest is None else max(0.0, now - oldest),
        management.living_workers(now), bool(service.paused),
        functions=management.total())


def content_type(accept: str | None) -> str:
    """Return the content type for those who accept some.

    accept -- that header.
    """
    accept = (accept or '').lower()
    names = ('application/openmetrics-text', 'text/plain')
    return PLAIN if [name in accept for name in names] == [
        False, True] else CONTENT_TYPE


def exposition(services: Mapping[str, Told],
               processes: Mapping[str, int] | None = None,
               content_type: str = CONTENT_TYPE) -> bytes:
    """Return the text, encoded.

    processes -- how many a worker has, by their state.
    content_type -- CONTENT_TYPE or PLAIN.
    """
    from prometheus_client.exposition import generate_latest as plain
    from prometheus_client.openmetrics.exposition import generate_latest

    generate = plain if content_type == PLAIN else generate_latest
    return bytes(generate(_Collected(services, processes or {})))


class _Collected:
    """What a registry of prometheus_client is: something to collect from."""

    def __init__(self, services: Mapping[str, Told],
                 processes: Mapping[str, int]) -> None:
        self._services = {_encodable(name): told
                          for name, told in services.items()}
        self._processes = processes

    def collect(self) -> Iterator[Any]:
        """Yield families of metrics."""
        yield from self._gauges()
        yield self._runs()
        yield self._lost()
        yield self._histogram(
            'async_job_run_seconds', 'How long runs took.', 'runs')
        yield self._histogram(
            'async_job_wait_seconds',
            'How long jobs waited from when they were due to their run.',
            'waits')

    def _gauges(self) -> Iterator[Any]:
        yield self._gauge('async_jobs_stored', 'Jobs, by their status.', (
            'status',), lambda told: [
                ((status,), number)
                for status, number in sorted((told.counts or {}).items())])
        for name, text, value_of in (
                ('async_oldest_waiting_seconds',
                 'For how long the oldest job waits that is due.',
                 lambda told: told.oldest),
                ('async_workers', 'Who is there to run jobs.',
                 lambda told: told.workers),
                ('async_paused', 'Whether no jobs are claimed.',
                 lambda told: told.paused),
                ('async_works', 'Whether the service can run jobs.',
                 lambda told: told.works)):
            yield self._gauge(name, text, (), lambda told, of=value_of: [
                ((), of(told))] if of(told) is not None else [])
        if self._processes:
            family = _new('Gauge', 'async_processes',
                          'Processes of this worker, by their state.',
                          ('state',))
            for state, number in sorted(self._processes.items()):
                family.add_metric((state,), number)
            yield family

    def _gauge(self, name: str, text: str, labels: tuple[str, ...],
               samples_of: Any) -> Any:
        family = _new('Gauge', name, text, ('service', *labels))
        for service, told in self._services.items():
            for values, number in samples_of(told):
                family.add_metric((service, *values), float(number))
        return family

    def _runs(self) -> Any:
        family = _new('Counter', 'async_runs', 'Runs of jobs, by outcome.',
                      ('service', 'function', 'outcome'))
        for service, function, counts in self._functions():
            for outcome in OUTCOMES:
                family.add_metric((service, function, outcome),
                                  float(getattr(counts, outcome)))
        return family

    def _lost(self) -> Any:
        # Those of a function are there when it has run.  Here the first one
        # is an increase, too: nobody sees one from nothing.
        family = _new('Counter', 'async_lost',
                      'Runs that were lost with their process.', ('service',))
        for service, told in self._services.items():
            if told.functions is not None:
                family.add_metric(
                    (service,), float(told.functions.number('lost')))
        return family

    def _histogram(self, name: str, text: str, kind: str) -> Any:
        family = _new('Histogram', name, text, ('service', 'function'))
        for service, function, counts in self._functions():
            # Nobody has added up the waits, so there is no sum of them.
            total = counts.seconds if kind == 'runs' else None
            family.add_metric(
                (service, function), buckets(getattr(counts, kind)), total)
        return family

    def _functions(self) -> Iterator[tuple[str, str, Any]]:
        for service, told in self._services.items():
            for label, counts in sorted(_labelled(told.functions).items()):
                yield service, label, counts


def _labelled(functions: Functions | None) -> dict[str, Counts]:
    """Return what was counted, by label.

    Names that no encoding has may have the same label; a series that is told
    twice would make the whole text unreadable.
    """
    found: dict[str, Counts] = {}
    for name, counts in (functions or {}).items():
        label = _encodable(name) if name != OTHERS else OTHERS_LABEL
        found.setdefault(label, Counts()).add(counts)
    return found


def _new(kind: str, name: str, text: str, labels: tuple[str, ...]) -> Any:
    from prometheus_client import core

    return getattr(core, f'{kind}MetricFamily')(name, text, labels=labels)


def buckets(bins: Mapping[int, int]) -> list[tuple[str, float]]:
    """Return pairs: the limit of a bucket, and how many are not above it."""
    found = []
    for limit in range(FIRST, LAST, BINS):
        number = sum(count for bin, count in bins.items() if bin <= limit)
        found.append((f'{_rounded(limit_of(limit)):g}', float(number)))
    return [*found, ('+Inf', float(sum(bins.values())))]


def _rounded(seconds: float) -> float:
    """Return a number with three digits: 0.00316."""
    return round(seconds, 2 - math.floor(math.log10(seconds)))


def _encodable(text: str) -> str:
    # A lone surrogate is no UTF-8.
    return text.encode('utf-8', 'replace').decode()
