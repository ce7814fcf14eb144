"""Gives a process another wall clock, one that jumps.

A stage copies this file as ``sitecustomize.py`` to a folder on PYTHONPATH; so
it stands on the standard library alone.  The file that HOSTILE_CLOCK names
has the seconds by which the clock goes wrong, and may change at any time.
"""

import os
import time


def jump(path):
    """Let this process read its wall clock through the file."""
    true_time, true_time_ns = time.time, time.time_ns
    seen = [0.0, 0.0]

    def offset():
        now = time.monotonic()
        if now - seen[0] > 0.1:
            seen[0] = now
            try:
                with open(path) as source:
                    seen[1] = float(source.read() or 0)
            except (OSError, ValueError):
                # It is just being written.
                pass
        return seen[1]

    def wrong_time():
        return true_time() + offset()

    def wrong_time_ns():
        return true_time_ns() + int(offset() * 10 ** 9)

    time.time, time.time_ns = wrong_time, wrong_time_ns


if os.environ.get('HOSTILE_CLOCK'):
    jump(os.environ['HOSTILE_CLOCK'])
