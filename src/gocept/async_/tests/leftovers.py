"""The tests fail if they leave a process behind.

All that they start, and what that starts in turn, is told by the folder for
temporary files that a run of the tests has for itself: it is in the
environment of each process, and in the arguments or the current folder of
those that overwrite that.

Begun by `bin/test` (see buildout.cfg) and `bin/pytest` (see pyproject.toml).
At the end of a longer run::

    python -m gocept.async_.tests.leftovers FOLDER
"""

import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path


PROCESSES = Path('/proc')

# Python starts it for pools of processes, and it ends when all have ended that
# use it: the runner of the tests, too, which is looking here.
TRACKER = b'from multiprocessing.resource_tracker import main'

# Seconds that those have which are about to end.
PATIENCE = 10.0


def begin():
    """Let this process, the runner of the tests, look at its end."""
    # A runner that was started by another one is looked after by that.
    if '--resume-layer' in sys.argv or not PROCESSES.joinpath('self').exists():
        return
    folder = tempfile.mkdtemp(prefix='tests-')
    # A server that runs as another user has its folder there, too.
    os.chmod(folder, 0o755)
    os.environ['TMPDIR'] = folder
    tempfile.tempdir = None
    # Registered first, so that it is called last.
    atexit.register(_end, folder)


def _end(folder):
    found = wait_for(folder, PATIENCE)
    shutil.rmtree(folder, ignore_errors=True)
    if found:
        complain(found)
        sys.stdout.flush()
        # The only way to change the exit code from here.
        os._exit(1)


def wait_for(folder, patience):
    """Return a dict of those that do not end: command line by process id."""
    end = time.monotonic() + patience
    while (found := find(folder)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def find(folder):
    """Return a dict of the processes that a run of the tests has started.

    folder -- str, that for the temporary files of the run.
    """
    mark = os.fsencode(folder)
    found = {}
    for each in PROCESSES.iterdir():
        if each.name.isdigit() and int(each.name) not in (
                os.getpid(), os.getppid()):
            with contextlib.suppress(OSError):
                command = (each / 'cmdline').read_bytes()
                if TRACKER in command:
                    continue
                if mark in command + (each / 'environ').read_bytes() \
                        + os.fsencode(os.readlink(each / 'cwd')):
                    found[int(each.name)] = command.replace(
                        b'\0', b' ').decode(errors='replace').strip()
    return found


def complain(found):
    """Say which processes were left behind, and end them."""
    for pid, command in found.items():
        print(f'The tests have left process {pid} behind: {command}',
              file=sys.stderr, flush=True)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pytest_configure(config):
    """Begin; pytest calls this."""
    begin()


def main():
    """Exit with 1 if the run that had this folder has left a process."""
    found = wait_for(sys.argv[1], PATIENCE)
    complain(found)
    sys.exit(bool(found))


if __name__ == '__main__':
    main()
