"""Loggers that never keep anybody from work.

The handlers and filters of a logger belong to the application: one may raise
anything, on a full disk or when a job has taken its stream away.  Then a line
is lost, and not the thread that has said it.
"""

import functools
import logging

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.outcome import undescribed


def journal(name):
    """Return the logger of a name; what it does with a line never raises."""
    logger = logging.getLogger(name)
    # This logger alone is changed, whatever class the application has chosen
    # for it.
    logger.handle = functools.partial(_handle, logger)
    return logger


def _handle(logger, record):
    outcome_of(type(logger).handle, logger, record, describe=undescribed)
