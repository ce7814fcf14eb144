"""What is told of a job: plain values, the same for people and as JSON."""

import datetime
from typing import Any

from gocept.async_.manage.arguments import arguments_of
from gocept.async_.manage.arguments import result_of
from lovely.remotetask.browser import rows
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import ICronJob


FIELDS = ('minute', 'hour', 'dayOfMonth', 'month', 'dayOfWeek')


def row(job: Any) -> dict[str, Any]:
    """Return what a list tells of a job, as the pages do.

    Loads no texts and no arguments.
    """
    return {name: instant(value) if isinstance(value, datetime.datetime)
            else value for name, value in rows.row(job).items()}


def details(job: Any) -> dict[str, Any]:
    """Return all that can be told of a job."""
    cron = cron_row(job) if getattr(job, 'recurring', False) else {}
    return {**row(job), **cron,
            'arguments': arguments_of(job),
            'result': result_of(job),
            'error': job.error,
            'traceback': job.traceback,
            'attempts_made': [_attempt(each) for each in job.history]}


def _attempt(attempt: Any) -> dict[str, Any]:
    return {'started': instant(attempt.started),
            'duration': attempt.duration,
            'worker': attempt.processor,
            'error_class': attempt.errorClass,
            'error': attempt.error,
            'traceback': attempt.traceback}


def cron_row(job: Any) -> dict[str, Any]:
    """Return what is told of a job that runs again and again."""
    assert ICronJob.providedBy(job)
    return {'name': job.name,
            'pattern': ' '.join(
                f'{name}={",".join(map(str, getattr(job, name)))}'
                for name in FIELDS if getattr(job, name)) or 'every minute',
            'timezone': job.timezone or 'UTC',
            'paused': job.paused}


def instant(time: Any) -> str | None:
    """Return a time as ISO 8601 has it, in UTC.

    time -- a datetime, or POSIX seconds; None is none.
    """
    if isinstance(time, int | float):
        found = outcome_of(
            datetime.datetime.fromtimestamp, time, datetime.UTC)
        time = found.value
    return (None if time is None
            else time.isoformat(timespec='milliseconds').replace(
                '+00:00', 'Z'))
