"""The functions that are called: good ones, and those that misbehave."""

import decimal
import gc
import locale
import logging
import os
import socket
import sys
import threading
import time
import warnings

import persistent
import transaction
import zope.component.hooks
import zope.interface
import zope.security.management

from gocept.async_ import function
from gocept.async_.tests.hostile import states
from gocept.async_.tests.hostile.kinds import Call
from gocept.async_.tests.hostile.kinds import note
from gocept.async_.tests.hostile.kinds import root_of
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import ITask


SERVICES = 'events', 'grouped'


class Effect(persistent.Persistent):
    """What becomes of one job, by its name.

    value -- how often it has had its effect.
    kind -- None for a good job.
    """

    value = 0
    jobid = None
    ticks = ()

    def __init__(self, kind=None, service='events'):
        self.kind = kind
        self.service = service


class Number(persistent.Persistent):
    """One of very many."""

    value = 1


def work(name, principal, seconds=0, hot=False, site=None):
    """Do what good jobs do, and see that nobody has left a trace."""
    note('calls', name)
    witness(name, principal, site)
    root = root_of(zope.component.hooks.getSite())
    root.effects[name].value += 1
    if hot:
        # Some meet conflicts.
        root.hot.value += 1
    if seconds:
        time.sleep(seconds)
    return name


def witness(name, principal, site):
    """Note what others have left in this thread."""
    if principal == 'unknown':
        site = zope.component.hooks.getSite().__name__
    if principal != 'unknown':
        interaction = zope.security.management.queryInteraction()
        found = [each.principal.id for each in interaction.participations]
        if found != [principal]:
            note('lies', f'{name}: runs as {found}, not as {principal}')
    for what, found, right in (
            ('site', zope.component.hooks.getSite().__name__, site),
            ('contextvar', states.tenant.get(), None),
            ('decimal', decimal.getcontext().prec, 28),
            ('explicit', transaction.manager.explicit, False),
            ('profile', sys.getprofile(), None),
            ('thread name', len(threading.current_thread().name) < 500,
             True)):
        if found != right:
            book = 'traces' if what in ('profile', 'thread name') else 'lies'
            note(book, f'{name}: {what} is {found!r}, left by another job')


def misbehave(name, kind, service='events'):
    """Have an effect, then do what the kind does."""
    # Its modules import this one.
    from gocept.async_.tests.hostile.everything import KINDS
    note('calls', name)
    call = Call(name, service)
    call.effect()
    return KINDS[kind].act(call)


@function('events')
def take(name, argument=None):
    """Have an effect, whatever the argument is; but it has to be there."""
    note('calls', name)
    if isinstance(argument, persistent.Persistent):
        argument._p_activate()
    Call(name).effect()


@function('events')
def good(name, *args):
    return work(name, *args)


@function('grouped')
def good_grouped(name, *args):
    return work(name, *args)


@function('events')
def bad(name, kind):
    return misbehave(name, kind)


@function('grouped')
def bad_grouped(name, kind):
    return misbehave(name, kind, 'grouped')


@function('own')
def remove_site(name):
    """Remove the site that holds the service of this job."""
    note('calls', name)
    site = zope.component.hooks.getSite()
    site.__parent__.effects[name].value += 1
    del site.__parent__[site.__name__]


@function('events')
def victim(name):
    """Has an effect, where it is not cancelled in time."""
    work(name, 'unknown')


@function('events')
def again(name, times):
    """Has an effect, and adds itself so many times."""
    work(name, 'unknown')
    if times:
        add_child(name, 'again', again, times - 1)


@function('events')
def see(name):
    """See what others have left in this process; nothing else runs."""
    note('calls', name)
    for what, found in process_state().items():
        if found != STATE[what]:
            book = 'lies' if what in ('locale', 'time zone') else 'traces'
            note(book, f'{name}: {what} is {found!r}, and was {STATE[what]!r}')
    root_of(zope.component.hooks.getSite()).effects[name].value += 1


def process_state():
    """Return what jobs had better leave alone."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        'locale': locale.setlocale(locale.LC_ALL),
        'time zone': (time.timezone, os.environ.get('TZ')),
        'folder': outcome_of(os.getcwd).value,
        'umask': mask,
        'environment': os.environ.get('PATH'),
        'output': sys.stdout is None or sys.stdout.closed,
        'socket timeout': socket.getdefaulttimeout(),
        'logging': logging.root.manager.disable,
        'collector': gc.isenabled(),
        'recursion limit': sys.getrecursionlimit(),
        'hooks': sys.excepthook is sys.exit,
        'warnings': len(warnings.filters)}


# In each process before its first job.
STATE = process_state()


def add_child(name, suffix='child', function=None, *args):
    """Add a good job in another one, which is counted as any other."""
    child = f'{name}/{suffix}'
    effects = root_of(zope.component.hooks.getSite()).effects
    effects[child] = Effect('victim' if function is victim else None)
    if function is None:
        function, args = good, ('unknown',)
    delay = {'delay': 3600} if function is victim else {}
    effects[child].jobid = function.enqueue_with(**delay)(child, *args)


@zope.interface.implementer(ITask)
class Task:
    """A plain task.  Its input begins with the name of the job."""

    inputSchema = outputSchema = None

    def __init__(self, call):
        self._call = call

    def __call__(self, service, jobid, input):
        note('calls', input[0])
        return self._call(service, *input)


def raw(service, name, argument=None):
    root_of(service).effects[name].value += 1


def cron(service, name, act=None):
    effect = root_of(service).effects[name]
    effect.value += 1
    if act == 'exit':
        sys.exit('cron')
    if act is not None:
        raise ValueError('cron')


raw_task = Task(raw)
cron_task = Task(cron)
