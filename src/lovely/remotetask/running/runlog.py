"""What the log is told of runs.

Never an argument, nor a result.  A message of an exception may hold some: it
is shown where the service allows that (`log_messages`), on one line.  The
fields of the records, for formatters: `service` (its path), `job` (its id),
`function` and `attempt`.
"""

import logging
from typing import NamedTuple

from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask.foreign.description import escaped
from lovely.remotetask.foreign.journal import journal


# Everything about runs is said by one logger.
log = journal('lovely.remotetask.running.execution')


class End(NamedTuple):
    """How a job stands after a run.

    status -- None: somebody else has the job.
    function -- the name of the function, or of the task.
    messages -- whether messages of exceptions may be logged.
    completed -- whether the run is committed although an error came back.
    """

    status: str | None
    function: str | None
    messages: bool = True
    completed: bool = False


def name(path, run):
    """Return service and job: ``path/id``."""
    return f'{"/".join(path)}/{run.claim.job}'


def completed(path, run, function):
    _log(logging.INFO, path, run, function,
         'completed in %.3f s (%s, attempt %s)',
         moment.now() - run.started, function, run.claim.attempt)


def failed(path, run, end, failure):
    """Say that a run failed, and what becomes of the job."""
    took = moment.now() - run.started, end.function, run.claim.attempt
    if end.status == interfaces.ERROR:
        _log(logging.ERROR, path, run, end.function,
             'failed after %.3f s (%s, attempt %s)\n%s',
             *took, _traceback(failure, end.messages))
    else:
        _log(logging.WARNING, path, run, end.function,
             '%s after %.3f s (%s, attempt %s), now %s: %s',
             failure.errorClass, *took, end.status,
             _reason(failure, end.messages))


def committed(path, run, end, failure):
    """Say that an error came back after the commit."""
    _log(logging.ERROR, path, run, end.function,
         '%s, but something failed after its commit, and may be lost: a hook '
         'or a data manager (%s, attempt %s)\n%s',
         end.status, end.function, run.claim.attempt,
         _traceback(failure, end.messages))


def left_alone(path, run, failure):
    _log(logging.WARNING, path, run, None,
         'left alone, somebody else has the job: %s', failure.errorClass)


def not_begun(path, run, failure):
    _log(logging.DEBUG, path, run, None, 'cannot be begun: %s at %s',
         failure.errorClass, failure.place)


def interrupted(path, run, failure):
    _log(logging.DEBUG, path, run, None,
         'was interrupted, and that cannot be stored: %s at %s',
         failure.errorClass, failure.place)


def not_stored(path, run, failure, reason):
    _log(logging.ERROR, path, run, None,
         'failed with %s at %s, and that could not be stored:\n%s',
         failure.errorClass, failure.place, _lines(reason.frames))


def one_by_one(path, number, failure):
    log.warning('%s: %s jobs are run again one by one: %s at %s',
                '/'.join(path), number, failure.errorClass, failure.place)


def _reason(failure, messages):
    where = f'at {escaped(failure.place)}' if failure.place else ''
    return f'{escaped(failure.error)} {where}' if messages else where


def _traceback(failure, messages):
    text = _lines(failure.frames) or escaped(failure.errorClass)
    return f'{text}: {escaped(failure.error)}' if messages else text


def _lines(text):
    return '\n'.join(map(escaped, text.rstrip('\n').split('\n')))


def _log(level, path, run, function, text, *args):
    # The arguments may be names that the application has chosen.
    log.log(level, f'%s: {text}', escaped(name(path, run)), *args, extra={
        'service': '/'.join(path), 'job': run.claim.job,
        'function': function, 'attempt': run.claim.attempt})
