"""Notes which processes of a Celery worker are ready to run jobs."""

import os

from celery import signals

import stamps


VARIABLE = 'BENCHMARK_READY'


# After the handler of gocept.async, which opens the database: that was
# connected before.
@signals.worker_process_init.connect
def _note(**kw):
    stamps.put(os.getpid(), VARIABLE)
