"""What is told of a job: plain values, the same for people and as JSON."""

import datetime
from typing import Any

from gocept.async_.manage.arguments import arguments_of
from gocept.async_.manage.arguments import result_of
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import ICronJob


FIELDS = ('minute', 'hour', 'dayOfMonth', 'month', 'dayOfWeek')


def row(job: Any) -> dict[str, Any]:
    """Return what a list tells of a job; loads no texts and no arguments."""
    claim, history = job.claim, job.history
    last = history[-1] if history else None
    return {
        # As a text: JavaScript has no integers that large.
        'id': str(job.id),
        'status': job.status,
        'function': job.function or job.task,
        'task': job.task,
        'principal': job.principal,
        'priority': job.priority,
        'created': instant(job.created),
        'due': instant(getattr(job, 'scheduledFor', None)),
        'started': (instant(job.started) if claim is None
                    else instant(claim.time)),
        'completed': instant(job.completed),
        'run': None if last is None else last.duration,
        'attempts': job.attempts,
        'worker': _worker(claim, last),
        'error_class': job.errorClass}


def _worker(claim: Any, last: Any) -> str | None:
    if claim is not None:
        return claim.processor
    return None if last is None else last.processor


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
    return {'pattern': ' '.join(
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
