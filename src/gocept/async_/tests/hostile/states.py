"""Jobs that leave something behind: in their thread, or their process."""

import asyncio
import contextvars
import decimal
import gc
import io
import locale
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings

import zope.component.hooks
import zope.security.management
import zope.security.testing

from gocept.async_.tests.hostile.kinds import TRANSIENT_CALLS
from gocept.async_.tests.hostile.kinds import kind
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR


tenant = contextvars.ContextVar('tenant', default=None)

KEPT = []

# Seconds that something is left behind, where it ends by itself.
WHILE = 3.0


# Of the thread

@kind(COMPLETED)
def no_site(call):
    zope.component.hooks.setSite(None)


@kind(COMPLETED)
def other_site(call):
    zope.component.hooks.setSite(call.root['third'])


@kind(COMPLETED)
def other_site_as_admin(call):
    zope.component.hooks.setSite(call.root['third'])
    as_admin(call)


@kind(COMPLETED)
def ends_interaction(call):
    zope.security.management.endInteraction()


@kind(COMPLETED)
def as_admin(call):
    zope.security.management.endInteraction()
    zope.security.management.newInteraction(
        zope.security.testing.Participation(
            zope.security.testing.Principal('zope.manager')))


@kind(COMPLETED)
def adds_participation(call):
    zope.security.management.getInteraction().add(
        zope.security.testing.Participation(zope.security.management.
                                            system_user))


@kind(COMPLETED)
def changes_participation(call):
    interaction = zope.security.management.getInteraction()
    interaction.participations[0].principal.groups = ['zope.Manager']


@kind()
def fails_as_admin(call):
    other_site_as_admin(call)
    raise ValueError('as admin')


@kind(COMPLETED)
def sets_context_variable(call):
    tenant.set('acme')


@kind(COMPLETED)
def decimal_context(call):
    decimal.getcontext().prec = 3
    decimal.getcontext().traps[decimal.Inexact] = True


@kind(COMPLETED)
def trace_function(call):
    sys.setprofile(lambda *args: None)


@kind(COMPLETED)
def event_loop(call):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.close()


@kind(COMPLETED)
def renames_thread(call):
    threading.current_thread().name = 'x' * 1000 + '\n'


# Of the process

@kind(COMPLETED)
def sets_locale(call):
    locale.setlocale(locale.LC_ALL, 'C.UTF-8')


@kind(COMPLETED)
def sets_time_zone(call):
    os.environ['TZ'] = 'Asia/Kathmandu'
    time.tzset()


@kind(COMPLETED)
def changes_directory(call):
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)


@kind(COMPLETED)
def sets_umask(call):
    os.umask(0o777)


@kind(COMPLETED)
def changes_environment(call):
    os.environ['PATH'] = '/nowhere'
    os.environ['PYTHONPATH'] = '/nowhere'
    os.environ.pop('HOME', None)


@kind(COMPLETED)
def replaces_output(call):
    sys.stdout = sys.stderr = io.StringIO()
    sys.stdout.close()


@kind(COMPLETED)
def no_output(call):
    sys.stdout = sys.stderr = sys.stdin = None


@kind(COMPLETED)
def socket_timeout(call):
    socket.setdefaulttimeout(0.001)


@kind(COMPLETED)
def disables_logging(call):
    logging.disable(logging.CRITICAL)


class FailingHandler(logging.Handler):
    """A log handler that raises what it is not expected to."""

    def emit(self, record):
        raise RuntimeError('the log')


@kind(COMPLETED, loud=True)
def failing_log_handler(call):
    handler = FailingHandler()
    logging.getLogger('lovely').addHandler(handler)
    threading.Timer(
        WHILE, logging.getLogger('lovely').removeHandler, [handler]).start()


@kind(COMPLETED)
def disables_collector(call):
    gc.disable()


@kind(COMPLETED)
def recursion_limit(call):
    sys.setrecursionlimit(100_000)


@kind(COMPLETED, loud=True)
def low_recursion_limit(call):
    sys.setrecursionlimit(150)


@kind(COMPLETED, loud=True)
def warnings_are_errors(call):
    warnings.simplefilter('error')


@kind(COMPLETED)
def seeds_random(call):
    random.seed(0)


@kind(COMPLETED)
def replaces_hooks(call):
    sys.excepthook = threading.excepthook = sys.unraisablehook = sys.exit


@kind(COMPLETED, loud=True)
def removes_hooks(call):
    """No thread can be started then."""
    sys.excepthook = threading.excepthook = None


@kind(COMPLETED, ERROR)
def handles_signal(call):
    """Only possible in the main thread, as in a process of a pool."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


@kind(COMPLETED)
def blocks_signals(call):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])


# What goes on afterwards

@kind(COMPLETED)
def leaves_thread(call):
    threading.Thread(target=time.sleep, args=(WHILE,), daemon=True).start()


@kind(COMPLETED, most=1)
def leaves_many_threads(call):
    for _ in range(100):
        threading.Thread(target=time.sleep, args=(WHILE,)).start()


@kind(COMPLETED)
def leaves_failing_thread(call):
    threading.Timer(0.1, sys.exit, ['in a thread']).start()
    threading.Timer(0.1, int, ['x']).start()


@kind(COMPLETED, most=2)
def leaks_descriptors(call):
    KEPT.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(100))


@kind(COMPLETED, ERROR, calls=TRANSIENT_CALLS, most=1)
def takes_all_descriptors(call):
    """For a while; who needs one then has to wait."""
    taken = []
    threading.Timer(WHILE, free, [taken]).start()
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass


def free(descriptors):
    while descriptors:
        os.close(descriptors.pop())
