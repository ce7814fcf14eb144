"""Run Python code in a process of its own."""

import os
import subprocess
import sys


def environment():
    """Return an environment in which the same packages are importable."""
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, 'PYTHONPATH': path, 'PYTHONWARNINGS': 'ignore'}


def run(code, *arguments):
    """Return what the code prints; AssertionError if it fails."""
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments],
        env=environment(), capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.strip()
