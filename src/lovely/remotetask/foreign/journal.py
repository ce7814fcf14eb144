"""Loggers that never keep anybody from work.

The handlers and filters of a logger belong to the application: one may raise
anything, on a full disk or when a job has taken its stream away.  Then a line
is lost, and not the thread that has said it.  What makes the records may be
the application's, too: where that fails, they are made without it.

A line is one: texts that are given for it are escaped, but for those that are
Lines.
"""

import collections
import functools
import logging
import re

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.outcome import undescribed
from lovely.remotetask.foreign.texts import Lines
from lovely.remotetask.foreign.texts import escaped
from lovely.remotetask.foreign.texts import lines_of
from lovely.remotetask.foreign.texts import plain


# How many lines are written that are alike; how many about one thing; and how
# many are remembered.
ALIKE = 5
MOST = 20
TEXTS = 1000

# Also hexadecimal ones.
_NUMBER = re.compile('(0x)?[0-9a-fA-F]*[0-9][0-9a-fA-F]*')

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
    logger.makeRecord = functools.partial(_make_record, logger)
    _loggers.add(logger)
    return logger


class Once:
    """Knows which lines were written, so that each is written once.

    Of lines that differ in numbers alone, as in addresses and times, ALIKE
    are written; and MOST about one thing.
    """

    def __init__(self):
        self._written = set()
        # How many were written: that are alike, and about one thing.
        self._numbers = collections.Counter()

    def is_new(self, about, text):
        """Return whether a text about something is to be written now.

        Two threads that ask at the same time may both be told so.
        """
        if (about, text) in self._written:
            return False
        alike = about, _NUMBER.sub('0', text)
        if self._numbers[alike] >= ALIKE or self._numbers[about] >= MOST:
            return False
        if len(self._written) >= TEXTS:
            self.clear()
        self._written.add((about, text))
        self._numbers.update((about, alike))
        return True

    def clear(self):
        """Forget all that was written."""
        self._written.clear()
        self._numbers.clear()


def _handle(logger, record):
    outcome_of(type(logger).handle, logger, record, describe=undescribed)


def _make_record(logger, name, level, path, line, message, args, exc_info,
                 func=None, extra=None, sinfo=None):
    """Return the record of a line, in any case; see Logger.makeRecord."""
    args = tuple(map(_said, args))
    facts = name, level, path, line, message, args, exc_info, func
    extra = {name: _said(value) for name, value in (extra or {}).items()}
    make = functools.partial(type(logger).makeRecord, logger, *facts)
    record = _record(make, extra, sinfo)
    if record is None:
        # The application may have fields of the same names.
        record = _record(_with_others, make, extra, sinfo)
    if record is None:
        record = logging.LogRecord(*facts, sinfo)
        vars(record).update(extra)
    return record


def _said(value):
    class_ = type(value)
    if class_ is Lines or not issubclass(class_, str):
        return value
    return escaped(value if class_ is str else plain(value))


def lines_of_failure(failure, is_private=False):
    """Return what to say of a failure where there is room (Lines).

    failure -- an Outcome, or an IFailureTexts.
    is_private -- whether the message of the exception is not shown.
    """
    frames = lines_of(failure.frames or failure.errorClass)
    return frames if is_private \
        else Lines(f'{frames}: {escaped(failure.error)}')


def _record(make, *args):
    """Return the record that something makes; None if it makes none."""
    made = outcome_of(make, *args, describe=undescribed).value
    return made if issubclass(type(made), logging.LogRecord) else None


def _with_others(make, extra, sinfo):
    """Return a record, with those extra fields that it has not itself."""
    record = make(None, sinfo)
    vars(record).update({
        name: extra[name] for name in extra if name not in vars(record)})
    return record


_own = journal(__name__)
