"""What the log is told of runs.

Never an argument, nor a result.  A message of an exception may hold some: it
is shown where the service allows that (`log_messages`), on one line.  The
fields of the records, for formatters: `service` (its path), `job` (its id),
`function` and `outcome_of`.
"""

import logging
from typing import NamedTuple

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.journal import lines_of_failure
from lovely.remotetask.foreign.texts import lines_of
from lovely.remotetask.job import Rest
from lovely.remotetask.running import events


# Everything about runs is said by one logger.
log = journal('lovely.remotetask.running.execution')


class End(NamedTuple):
    """How a job stands after a run.

    status -- None: somebody else has the job.
    function -- the name of the function, or of the task.
    messages -- whether messages of exceptions may be shown.
    completed -- whether the run is committed although an error came back.
    retried -- whether the run is tried again.
    rest -- see IJobExecution.complete.
    aborted -- whether the function has aborted its transaction.
    waited -- see IJobRun.
    """

    status: str | None
    function: str | None
    messages: bool = True
    completed: bool = False
    retried: bool = False
    rest: Rest | None = None
    aborted: bool = False
    waited: float | None = None


def name(path, run):
    """Return service and job: ``path/id``."""
    return f'{"/".join(path)}/{run.claim.job}'


def write(event):
    """Say how a run has ended: a JobEnded or a JobRetried."""
    took = event.duration, event.function, event.attempt
    if event.failure is None:
        _write(logging.INFO, event,
               'completed in %.3f s (%s, attempt %s)', *took)
        if event.aborted:
            _write(logging.WARNING, event,
                   'its function has aborted the transaction, or begun '
                   'another one: what it had changed before is not stored '
                   '(%s, attempt %s). Raise an exception instead, or take a '
                   'savepoint.', *took[1:])
    elif event.committed:
        _write(logging.ERROR, event,
               '%s, but something failed after its commit, and may be lost: '
               'a hook or a data manager (%s, attempt %s)\n%s', event.status,
               *took[1:], _lines(event.failure))
    elif event.status == interfaces.ERROR or _is_cron_job_failed(event):
        _write(logging.ERROR, event,
               'failed after %.3f s (%s, attempt %s)\n%s', *took,
               _lines(event.failure))
    else:
        _write(logging.WARNING, event,
               '%s after %.3f s (%s, attempt %s), now %s: %s',
               event.failure.errorClass, *took, event.status,
               _reason(event.failure))


def _is_cron_job_failed(event):
    """Return whether a cron job has failed, and waits for its next time."""
    return (type(event) is events.JobEnded
            and event.status == interfaces.CRONJOB)


events.Observer(write, events.JobEnded, events.JobRetried).subscribe()


def left_alone(path, run, failure):
    """Say that a run was given up, as its claim is lost."""
    _log(logging.WARNING, path, run, None,
         'left alone, somebody else has the job: %s', failure.errorClass)


def not_begun(path, run, failure):
    """Say that the function was not called; it is tried again."""
    _log(logging.DEBUG, path, run, None, 'cannot be begun: %s at %s',
         failure.errorClass, failure.place)


def interrupted(path, run, failure):
    """Say that what the job stands on has failed; it is tried again."""
    _log(logging.DEBUG, path, run, None,
         'was interrupted, and that cannot be stored: %s at %s',
         failure.errorClass, failure.place)


def not_stored(path, run, failure, reason):
    """Say that nobody could store how a run has failed.

    reason -- the IFailure of storing it.
    """
    _log(logging.ERROR, path, run, None,
         'failed with %s at %s, and that could not be stored:\n%s',
         failure.errorClass, failure.place, lines_of(reason.frames))


def one_by_one(path, number, failure):
    """Say that a group could not be committed; its jobs are run apart.

    number -- int, how many jobs these are.
    """
    log.warning('%s: %s jobs are run again one by one: %s at %s',
                '/'.join(path), number, failure.errorClass, failure.place)


def _reason(failure):
    where = f'at {failure.place}' if failure.place else ''
    return where if failure.is_private else f'{failure.error} {where}'


def _lines(failure):
    return lines_of_failure(failure, failure.is_private)


def _log(level, path, run, function, text, *args):
    _say(level, path, run.claim.job, function, run.claim.attempt, text, args)


def _write(level, event, text, *args):
    _say(level, event.path, event.job, event.function, event.attempt, text,
         args)


def _say(level, path, job, function, number, text, args):
    if not log.isEnabledFor(level):
        return
    service = '/'.join(path)
    log.log(level, f'%s/%s: {text}', service, job, *args, extra={
        'service': service, 'job': job, 'function': function,
        'attempt': number})
