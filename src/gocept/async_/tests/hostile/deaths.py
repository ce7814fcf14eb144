"""Jobs that end, or stop, the process that runs them."""

import ctypes
import faulthandler
import os
import signal
import subprocess
from pathlib import Path

from gocept.async_.tests.hostile.kinds import ATTEMPTS
from gocept.async_.tests.hostile.kinds import CELERY
from gocept.async_.tests.hostile.kinds import WORKER
from gocept.async_.tests.hostile.kinds import kind
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR


# What runs the hostile jobs and looks at what they do, by its command.
WATCHING = b'.hostile', b'bin/faults', b'bin/test', b'bin/pytest'


def deadly(*ends, calls=ATTEMPTS, **settings):
    return kind(*ends, calls=calls, most=1, **settings)


@deadly()
def kills_process(call):
    os.kill(os.getpid(), signal.SIGKILL)


@deadly()
def leaves_process(call):
    os._exit(3)


@deadly()
def leaves_process_well(call):
    os._exit(0)


@deadly()
def segfault(call):
    faulthandler._sigsegv()


@deadly()
def reads_null(call):
    ctypes.string_at(0)


@deadly()
def abort(call):
    os.abort()


@deadly(COMPLETED, calls=2)
def dies_once(call):
    if call.once():
        os._exit(3)


@deadly(COMPLETED, calls=2)
def segfault_once(call):
    if call.once():
        faulthandler._sigsegv()


# What is run by then may be completed, handed back, or lost.
@deadly(COMPLETED, ERROR, calls=ATTEMPTS + 1)
def terminates_process(call):
    if call.once():
        os.kill(os.getpid(), signal.SIGTERM)


@deadly(COMPLETED)
def stops_process(call):
    """It stands still for a while."""
    pid = os.getpid()
    # By its path: a job before may have emptied the environment.
    subprocess.Popen(
        ['/bin/sh', '-c', f'kill -STOP {pid}; sleep 2; kill -CONT {pid}'])


@deadly(COMPLETED, ERROR, places=(WORKER, CELERY), calls=ATTEMPTS + 1)
def kills_parent(call):
    parent = os.getppid()
    command = Path(f'/proc/{parent}/cmdline').read_bytes()
    # Celery's main process was started by whoever watches all this.
    if not any(name in command for name in WATCHING) and call.once():
        os.kill(parent, signal.SIGKILL)


@deadly(COMPLETED)
def alarm_later(call):
    """Ends the process when this job has ended."""
    signal.setitimer(signal.ITIMER_REAL, 0.3)
