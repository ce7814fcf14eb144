"""What the workers in the tests do."""

import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import zope.component.hooks

from gocept.async_ import function


# Seconds until a job that nobody lets go gives up.
PATIENCE = 30


@function('events')
def count(name):
    """Count in the database how often it was done."""
    counts = zope.component.hooks.getSite().counts
    counts[name] = counts.get(name, 0) + 1
    return os.getpid()


@function('events')
def count_content(content):
    """Count, and see that the content is what it was committed as."""
    if zope.component.hooks.getSite()[content.__name__] is not content:
        raise ValueError(content.__name__)
    return count.undecorated(content.__name__)


@function('mails')
def mail(name):
    """The same in the other service."""
    return count.undecorated(name)


@function('mails')
def forward(name):
    """Let a job of the other service count."""
    return count.enqueue(name)


@function('events')
def wait_for(path, name):
    """Count once there is a file; say by another one that it has begun."""
    Path(f'{path}.begun').write_text(str(os.getpid()))
    end = time.monotonic() + PATIENCE
    while not Path(path).exists() and time.monotonic() < end:
        time.sleep(0.02)
    return count.undecorated(name)


@function('events')
def close_database():
    """Take the database away from the process."""
    zope.component.hooks.getSite()._p_jar.db().close()


@function('events')
def swallow(megabytes, name):
    """Keep memory."""
    kept.append(bytearray(os.urandom(1) * (megabytes * 2 ** 20)))
    return count.undecorated(name)


@function('events')
def swallow_and_wait(megabytes):
    """Keep memory, and take too long."""
    kept.append(bytearray(os.urandom(1) * (megabytes * 2 ** 20)))
    time.sleep(PATIENCE)


kept = []


@function('events')
def compute(number):
    """Return what another process can find out: no database is used."""
    if number < 0:
        raise ValueError('below 0')
    return os.getpid(), number ** 2


@function('events')
def sleep(seconds):
    """Take a while."""
    time.sleep(seconds)


@function('events')
def kill_process(path):
    """Note the call, and be killed."""
    with Path(path).open('a') as calls:
        calls.write(f'{os.getpid()}\n')
    os.kill(os.getpid(), signal.SIGKILL)


@function('events')
def end_process():
    """End the process in which this runs."""
    os._exit(3)


@function('events')
def end_children():
    """Return how these end: what is forked by SIGTERM, a program by SIGINT."""
    context = multiprocessing.get_context('fork')
    begun, begins = context.Pipe(duplex=False)
    child = context.Process(target=_begin_and_wait, args=(begins,))
    child.start()
    begun.recv()
    child.terminate()
    child.join(PATIENCE)
    child.kill()
    program = subprocess.Popen(['sleep', str(PATIENCE)])
    program.send_signal(signal.SIGINT)
    return [child.exitcode, program.wait()]


def _begin_and_wait(begins):
    begins.send(True)
    time.sleep(PATIENCE)
