"""Which process this is, and whether another one still lives."""

import contextlib
import hashlib
import os
import socket
import uuid
from pathlib import Path


def _machine():
    """Return what all processes have in common that see each other's pids.

    Host names are not enough: many machines are called "localhost".
    """
    facts = [str(uuid.getnode())]
    with contextlib.suppress(OSError):
        facts.append(Path('/proc/sys/kernel/random/boot_id').read_text())
        facts.append(os.readlink('/proc/self/ns/pid'))
    return hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:12]


MACHINE = _machine()


def new_worker_id(name):
    """Return an id for a worker record; see IJobExecution."""
    host, pid = socket.gethostname(), os.getpid()
    return f'{host}:{pid}:{name}:{MACHINE}-{uuid.uuid4().hex}'


def is_gone(worker_id):
    """Return whether the process of a worker is known to be gone.

    False for one on another machine, of which nothing is known here.
    """
    machine = worker_id.rpartition(':')[2].partition('-')[0]
    pid = int(worker_id.split(':')[1])
    return machine == MACHINE and not _exists(pid)


def _exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
