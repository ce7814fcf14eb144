"""What is around a run, and may be changed by it: of its thread and process.

Each run begins as the first one did.  What belongs to the thread is replaced
for the length of a run: site, interaction, context variables, transaction
manager (see `session`).  What belongs to the process is compared afterwards,
and set back.
"""

import contextlib
import contextvars
import decimal
import gc
import locale
import logging
import os
import socket
import sys
import threading
import time

import zope.component.hooks
import zope.security.management

from lovely.remotetask.outcome import attempt


log = logging.getLogger(__name__)


def in_context(call, *args):
    """Call something with context variables of its own."""
    return contextvars.copy_context().run(_in_own_context, call, *args)


def _in_own_context(call, *args):
    # The one of the thread is an object that would be shared by the copies.
    decimal.setcontext(decimal.DefaultContext)
    return call(*args)


@contextlib.contextmanager
def interaction(*participations):
    """Replace the current interaction for a while, and all that goes with it.
    """
    # Not by endInteraction and restoreInteraction: these cannot be nested,
    # and the second one would bring back that of another run.
    state = vars(zope.security.management.thread_local)
    previous = dict(state)
    state.clear()
    try:
        zope.security.management.newInteraction(*participations)
        yield
    finally:
        state.clear()
        state.update(previous)


@contextlib.contextmanager
def site(found):
    """Make a site the current one for a while."""
    info = zope.component.hooks.siteinfo
    previous = info.site, info.sm
    try:
        zope.component.hooks.setSite(found)
        yield
    finally:
        # Not by setSite: that asks the site, which may be unreadable by now.
        info.site, info.sm = previous


class _ProcessState:
    """What belongs to the process.  Each part has a name, and two functions:
    one that returns it, one that sets it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.runs = 0
        self.before = {}
        self.parts = {
            'locale': (_locale, _set_locale),
            'time zone': (_time_zone, _set_time_zone),
            'current folder': (_folder, os.chdir),
            'umask': (_umask, os.umask),
            'socket timeout':
                (socket.getdefaulttimeout, socket.setdefaulttimeout),
            'recursion limit': (sys.getrecursionlimit, sys.setrecursionlimit),
            'garbage collection': (gc.isenabled, _set_garbage_collection),
            'logging.disable': (_logging_disabled, logging.disable),
        }

    def begin(self):
        """Note how things are, unless other runs are under way."""
        with self.lock:
            if not self.runs:
                self.before = self._look()
            self.runs += 1

    def end(self):
        """Set back what was changed.  Return the names of these parts."""
        with self.lock:
            self.runs -= 1
            now = self._look()
            changed = [name for name, value in self.before.items()
                       if now.get(name) != value]
            for name in changed:
                attempt(self.parts[name][1], self.before[name])
            return changed

    def _look(self):
        found = {name: attempt(get) for name, (get, _) in self.parts.items()}
        return {name: outcome.value for name, outcome in found.items()
                if not outcome.failed}


def _locale():
    return locale.setlocale(locale.LC_ALL)


def _set_locale(found):
    locale.setlocale(locale.LC_ALL, found)


def _time_zone():
    return os.environ.get('TZ'), time.tzname, time.timezone


def _set_time_zone(found):
    if found[0] is None:
        os.environ.pop('TZ', None)
    else:
        os.environ['TZ'] = found[0]
    time.tzset()


_folder = os.getcwd


def _umask():
    # There is no other way to ask; nobody reads this file meanwhile.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _set_garbage_collection(enabled):
    (gc.enable if enabled else gc.disable)()


def _logging_disabled():
    return logging.root.manager.disable


_process = _ProcessState()


def _forked():
    global _process
    _process = _ProcessState()


os.register_at_fork(after_in_child=_forked)


@contextlib.contextmanager
def process_state(name):
    """Set back what is changed of the process meanwhile, and say so.

    name -- called without arguments; str, who has changed it, for the log.

    Several runs at a time have one state of the process among them: a change
    lasts until the first of them ends.
    """
    _process.begin()
    try:
        yield
    finally:
        changed = _process.end()
        if changed:
            log.warning('%s has changed of the process: %s; set back',
                        name(), ', '.join(changed))
