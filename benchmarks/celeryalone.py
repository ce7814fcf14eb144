"""Celery without this package: the same messages, a task that does nothing.

    CELERY_BROKER_URL=... celery -A celeryalone worker
"""

import os

import celery

import celeryready  # noqa: F401
import stamps
from gocept.async_.celery.broker import TASK
from gocept.async_.celery.broker import Broker
from gocept.async_.celery.broker import settings


app = celery.Celery('alone', changes={
    **settings(Broker(os.environ['CELERY_BROKER_URL'], {}, 1.0, 10.0)),
    # No service declares its queue.
    'task_create_missing_queues': True})


@app.task(name=TASK)
def tell(database, service, job, attempt, tid):
    stamps.put(job)
