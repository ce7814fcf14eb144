"""Which process this is, and whether another one still lives."""

import hashlib
import os
import resource
import socket
import sys
import uuid
from pathlib import Path
from typing import NamedTuple


# No process has a greater id; the system must not be asked about a number that
# is none.
MAX_PID = 2 ** 31 - 1

# Of /proc/<pid>/stat, counted after the name: the state of the process, and
# when it was started, in ticks since the machine was.
STATE = 0
BIRTH = 19

# States of a process that has ended, while nobody has asked for its end.
ENDED = ('Z', 'X')


def _machine() -> str:
    """Return what all processes have in common that see each other's pids.

    Host names are not enough: many machines are called "localhost".
    """
    facts = [str(uuid.getnode())]
    try:
        facts.append(Path('/proc/sys/kernel/random/boot_id').read_text())
        facts.append(os.readlink('/proc/self/ns/pid'))
    except OSError:
        if sys.platform.startswith('linux'):
            # This may be a container that cannot be told from others of the
            # machine; then every process is taken for one of another machine.
            facts.append(uuid.uuid4().hex)
    return hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:12]


MACHINE = _machine()


def identity(name: str) -> str:
    """Return ``host:pid:name`` of this process, for people."""
    return f'{socket.gethostname()}:{os.getpid()}:{name}'


def memory() -> float:
    """Return how much memory this process uses, in MB."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        # Systems without /proc tell only the most that the process ever used;
        # macOS in bytes.
        unit = 2 ** 20 if sys.platform == 'darwin' else 2 ** 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return pages * resource.getpagesize() / 2 ** 20


def new_worker_id(name: str) -> str:
    """Return an id for a worker record; see IJobExecution.

    Its token says on which machine the process runs, when that was started,
    and is like no other.
    """
    # /proc may show the processes of another container; then it tells nothing
    # of this one.
    own = os.readlink('/proc/self') if os.path.islink('/proc/self') else ''
    birth = _birth(own) if own == str(os.getpid()) else ''
    return f'{identity(name)}:{MACHINE}-{birth}-{uuid.uuid4().hex}'


class _Process(NamedTuple):
    machine: str
    pid: int
    # When the process was started, as the system tells it; '' if it does not.
    birth: str


def is_gone(worker_id: object) -> bool:
    """Return whether the process of a worker is known to be gone.

    False for one on another machine, or in another container, of which
    nothing is known here; and for what no worker is called: others may write
    records, too.
    """
    process = _parse(worker_id)
    if process is None or process.machine != MACHINE:
        return False
    if not _exists(process.pid):
        return True
    if not process.birth:
        return False
    # The system gives the id of a process that has ended to another one.
    return (_birth(process.pid) not in ('', process.birth)
            or _fact(process.pid, STATE) in ENDED)


def _parse(worker_id: object) -> _Process | None:
    """Return the _Process of a worker's id, None if it is none."""
    if not isinstance(worker_id, str):
        return None
    _, _, rest = worker_id.partition(':')
    pid, _, rest = rest.partition(':')
    token = rest.rpartition(':')[2].split('-')
    if len(token) != 3:
        return None
    if not (pid.isascii() and pid.isdigit()) or len(pid) > 10:
        return None
    if not 0 < int(pid) <= MAX_PID:
        return None
    return _Process(token[0], int(pid), token[1])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _birth(pid: int | str) -> str:
    """Return when a process was started, as str; '' if that is not told."""
    return _fact(pid, BIRTH)


def _fact(pid: int | str, number: int) -> str:
    """Return a field of what the system tells of a process; '' if it does
    not."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text(errors='replace')
    except OSError:
        return ''
    # The name of the program stands in brackets, and may contain brackets
    # itself.
    fields = text.rpartition(')')[2].split()
    return fields[number] if len(fields) > number else ''
