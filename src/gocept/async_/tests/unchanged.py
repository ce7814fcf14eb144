"""A test fails if it leaves the process otherwise than it found it.

What it leaves is met by another one, on another machine, in another order: a
locale without UTF-8, say, by whoever opens a file.

A plugin of pytest (see pyproject.toml).
"""

import gc
import locale
import logging
import os
import signal
import socket
import sys
import time

import pytest


# pytest's own, different in each test.
CURRENT_TEST = 'PYTEST_CURRENT_TEST'


def look():
    """Return a dict of what belongs to the whole process."""
    variables = dict(os.environ)
    variables.pop(CURRENT_TEST, None)
    return {
        'locale': locale.setlocale(locale.LC_ALL),
        'time zone': time.tzname,
        'environment': variables,
        'current folder': os.getcwd(),
        'socket timeout': socket.getdefaulttimeout(),
        'recursion limit': sys.getrecursionlimit(),
        'digits of an integer': sys.get_int_max_str_digits(),
        'switch interval': sys.getswitchinterval(),
        'garbage collection': gc.isenabled(),
        'logging disabled': logging.root.manager.disable,
        'disabled loggers': {
            name for name, logger in logging.root.manager.loggerDict.items()
            if getattr(logger, 'disabled', False)},
        'signal handlers': {number: signal.getsignal(number)
                            for number in (signal.SIGINT, signal.SIGTERM,
                                           signal.SIGHUP, signal.SIGCHLD)},
        'blocked signals': signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        'descriptor for signals': _descriptor_for_signals(),
    }


def _descriptor_for_signals():
    # Python tells it only when it is set.
    descriptor = signal.set_wakeup_fd(-1)
    if descriptor != -1:
        signal.set_wakeup_fd(descriptor)
    return descriptor


@pytest.fixture(autouse=True)
def unchanged():
    """Compare before and after each test."""
    before = look()
    yield
    after = look()
    changed = {name: (before[name], after[name]) for name in before
               if before[name] != after[name]}
    assert not changed, f'the test has changed (before, after): {changed}'
