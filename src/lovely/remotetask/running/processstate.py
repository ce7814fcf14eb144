"""What belongs to the process, and a run might change: set back afterwards.

Several runs at a time have one state among them: a change lasts until the
first of them ends.
"""

import decimal
import functools
import gc
import locale
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import NamedTuple

from lovely.remotetask.foreign.journal import is_silenced
from lovely.remotetask.foreign.journal import silence
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.outcome import undescribed
from lovely.remotetask.forking import of_process


# The greatest of the numbers of files that each process has.
STANDARD_ERROR = 2

# The arithmetic that each thread begins with; decimal may name another one by
# now, but does not use that.
DECIMALS = decimal.DefaultContext
DECIMAL_SETTINGS = ('prec', 'rounding', 'Emin', 'Emax', 'capitals', 'clamp',
                    'flags', 'traps')

# Where the current folder is, say, when it was removed.
UNKNOWN = object()

# They send a signal when they go off.
TIMERS = signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF


class _State(NamedTuple):
    """What the process is like."""

    locale: str
    time_zone: tuple
    current_folder: str
    umask: int
    socket_timeout: float | None
    recursion_limit: int
    integer_digits: int
    decimal_context: tuple
    switch_interval: float
    garbage_collection: tuple
    lost_hooks: tuple
    logging_disabled: tuple
    closed_files: tuple
    timers: tuple


def _time_zone():
    return os.environb.get(b'TZ'), time.tzname, time.timezone


# The umask that was found last.  At first, files of other threads are open to
# nobody else for a moment.
_umask_before = 0o077


def _umask():
    """Return the umask; there is no way to ask for it but to set it.

    To what it was before: so others notice nothing, unless it was changed.
    """
    global _umask_before
    mask = os.umask(_umask_before)
    if mask != _umask_before:
        os.umask(mask)
        _umask_before = mask
    return mask


def _decimal_context():
    # What makes an equal one.
    return DECIMALS.__reduce__()[1]


def _garbage_collection():
    return gc.isenabled(), gc.get_threshold()


def _lost_hooks():
    # Without these no thread can be started.
    return sys.excepthook is None, threading.excepthook is None


def _logging_disabled():
    return logging.root.manager.disable, is_silenced()


def _closed_files():
    return tuple(filter(_is_closed, range(STANDARD_ERROR + 1)))


def _is_closed(descriptor):
    try:
        os.get_inheritable(descriptor)
    except OSError:
        return True
    return False


def _timers():
    return tuple([timer for timer in TIMERS if signal.getitimer(timer)[0]])


_GETTERS = _State(
    functools.partial(locale.setlocale, locale.LC_ALL), _time_zone, os.getcwd,
    _umask, socket.getdefaulttimeout, sys.getrecursionlimit,
    sys.get_int_max_str_digits, _decimal_context, sys.getswitchinterval,
    _garbage_collection, _lost_hooks, _logging_disabled, _closed_files,
    _timers)


def _look():
    """Return the _State; UNKNOWN for a part that nobody can tell."""
    found = outcome_of(_look_at_all, describe=undescribed)
    if not found.failed:
        return found.value
    return _State(*map(_look_at, _GETTERS))


def _look_at_all():
    return _State(*[get() for get in _GETTERS])


def _look_at(get):
    found = outcome_of(get, describe=undescribed)
    return UNKNOWN if found.failed else found.value


def _set_time_zone(found):
    if found[0] is None:
        os.environb.pop(b'TZ', None)
    else:
        os.environb[b'TZ'] = found[0]
    time.tzset()


def _set_decimal_context(found):
    context = decimal.Context(*found)
    for name in DECIMAL_SETTINGS:
        setattr(DECIMALS, name, getattr(context, name))


def _set_garbage_collection(found):
    enabled, threshold = found
    gc.set_threshold(*threshold)
    if enabled:
        gc.enable()
    else:
        gc.disable()


def _set_lost_hooks(found):
    for module, lost in zip((sys, threading), found, strict=True):
        module.excepthook = None if lost else module.__excepthook__


def _set_logging(found):
    level, silenced = found
    logging.disable(level)
    silence(silenced)


def open_standard_files():
    """Open what is closed of standard input, output and error.

    A file that is opened later would have its number, and what is written
    there, also by the processes that are started from here, would get into
    that.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _set_closed_files(found):
    # One that is not closed any more is in use: by a connection, say.
    open_standard_files()


def _set_timers(found):
    # It would go off in another job, or end the process with all of them.
    for timer in TIMERS:
        if timer not in found:
            signal.setitimer(timer, 0)


_SETTERS = _State(
    functools.partial(locale.setlocale, locale.LC_ALL), _set_time_zone,
    os.chdir, os.umask, socket.setdefaulttimeout, sys.setrecursionlimit,
    sys.set_int_max_str_digits, _set_decimal_context, sys.setswitchinterval,
    _set_garbage_collection, _set_lost_hooks, _set_logging,
    _set_closed_files, _set_timers)


class _Process:
    """The state of the process among all the runs that are under way."""

    def __init__(self):
        self._lock = threading.Lock()
        self._runs = 0
        self._before = None

    def begin(self):
        """See `begin`."""
        with self._lock:
            if not self._runs:
                self._before = _look()
            self._runs += 1

    def end(self):
        """See `end`."""
        with self._lock:
            self._runs -= 1
            now = _look()
            if now == self._before:
                return []
            return [name for name in _State._fields
                    if self._has_set_back(name, now)]

    def _has_set_back(self, name, now):
        before = getattr(self._before, name)
        if before is UNKNOWN or before == getattr(now, name):
            return False
        outcome_of(getattr(_SETTERS, name), before)
        return True


class SameProcess:
    """A context manager for several runs that follow each other at once.

    What the process is like is looked at once between two of them.
    """

    def __enter__(self):
        begin()

    def __exit__(self, *exc_info):
        end()


def begin():
    """Remember how things are, unless other runs are under way."""
    _process.begin()


def end():
    """Set back what was changed.  Return the names of these parts."""
    return _process.end()


@of_process
def _begin():
    global _process
    _process = _Process()
