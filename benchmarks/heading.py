"""What results begin with: the command, and what they depend on."""

import importlib.metadata
import os
import platform
import statistics
import tempfile
import time


DISTRIBUTIONS = (
    'ZODB', 'transaction', 'persistent', 'BTrees', 'ZEO', 'RelStorage',
    'psycopg2-binary', 'celery', 'redis')


def machine():
    """Return what the results depend on."""
    return {'python': platform.python_version(),
            'system': platform.platform(),
            'cores': os.cpu_count(),
            'load': os.getloadavg(),
            'fsync us': fsync() * 1e6,
            'time': time.strftime('%Y-%m-%d %H:%M:%S'),
            'versions': dict(_versions())}


def show(script, arguments, found=None):
    """Print which command was run, and where.

    script -- str, the name of the file.
    found -- see `machine`.
    """
    for line in _lines(script, arguments, found or machine()):
        print(line, flush=True)


def _lines(script, arguments, found):
    yield ' '.join([f'benchmarks/{script}', *arguments])
    yield ('{time}, Python {python}, {cores} cores, load {load[0]:.1f}, '
           'an fsync takes {fsync us:.0f} us'.format_map(found))
    yield ', '.join(f'{name} {version}' for name, version
                    in found['versions'].items() if version)
    yield ''


def fsync():
    """Return how many seconds the disk takes to store a little (median)."""
    times = []
    with tempfile.TemporaryFile() as target:
        for _ in range(200):
            target.write(b'x' * 500)
            target.flush()
            begin = time.perf_counter()
            os.fsync(target.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _versions():
    for name in DISTRIBUTIONS:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, None
