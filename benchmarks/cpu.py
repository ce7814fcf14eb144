"""How much processor time processes have used, from Linux's /proc."""

import os
import time
from pathlib import Path

from storages import Missing


TICK = os.sysconf('SC_CLK_TCK')

# Of /proc/<pid>/stat, counted after the name: who started it, and the time
# of itself and of its ended children, each in user and system mode.
PARENT = 1
TIMES = slice(11, 15)


def check():
    """Raise Missing where there is no /proc."""
    if not Path('/proc/self/stat').exists():
        raise Missing('processor time is read from /proc, as Linux has it.')


def seconds(pids):
    """Return what processes and all that they have started have used."""
    found = dict(_all())
    wanted = set(pids)
    while more := {pid for pid, (parent, _) in found.items()
                   if parent in wanted} - wanted:
        wanted |= more
    return sum(found[pid][1] for pid in wanted if pid in found)


def _all():
    """Yield a process id, and a pair: that of its parent, seconds."""
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                text = Path('/proc', name, 'stat').read_text()
            except OSError:
                # It has just ended.
                continue
            fields = text.rpartition(')')[2].split()
            ticks = sum(map(int, fields[TIMES]))
            yield int(name), (int(fields[PARENT]), ticks / TICK)


def machine():
    """Return the seconds that all programs have used, on all cores."""
    with open('/proc/stat') as source:
        user, nice, system, _, _, irq, softirq = map(
            int, source.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICK


class Meter:
    """Counts from its making on.

    groups -- lists of process ids by the name of their kind.
    """

    def __init__(self, groups):
        self._groups = groups
        self._began = self._look()

    def read(self):
        """Return seconds by kind."""
        now = self._look()
        return {kind: now[kind] - self._began[kind] for kind in now}

    def _look(self):
        found = {kind: seconds(pids) for kind, pids in self._groups.items()}
        return {**found, 'benchmark': time.process_time(),
                'machine': machine()}
