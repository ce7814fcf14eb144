"""Loggers that never keep anybody from work.

The handlers and filters of a logger belong to the application: one may raise
anything, on a full disk or when a job has taken its stream away.  Then a line
is lost, and not the thread that has said it.
"""

import functools
import logging

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.outcome import undescribed


# Those that were made here.
_loggers = set()


def is_silenced():
    """Return whether loggers were disabled, as a new configuration does."""
    # That disables all loggers there are; so one tells of the others.
    return _own.disabled


def silence(silenced):
    """Disable all loggers that were made here, or enable them."""
    for logger in _loggers:
        logger.disabled = silenced


def journal(name):
    """Return the logger of a name; what it does with a line never raises."""
    logger = logging.getLogger(name)
    # This logger alone is changed, whatever class the application has chosen
    # for it.
    logger.handle = functools.partial(_handle, logger)
    _loggers.add(logger)
    return logger


def _handle(logger, record):
    outcome_of(type(logger).handle, logger, record, describe=undescribed)


_own = journal(__name__)
