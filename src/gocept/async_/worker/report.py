"""What a worker process tells the main process: lines of JSON in a pipe."""

import contextlib
import fcntl
import json
import math
import os
import threading
from typing import Any

from lovely.remotetask.foreign.journal import journal


log = journal(__name__)

# Bytes of a line; more is no report.
LONGEST = 2 ** 22

# Bytes that a pipe is to take at once: a process tells of a hundred functions
# of each service, and its last report has no other turn.  Linux gives nobody
# more by default.
PIPE_SIZE = 2 ** 20

# Characters of a text: some messages of exceptions are books.
LONGEST_TEXT = 1000

# The problem of a process that has not looked at its database yet.
STARTING = 'starting'

_number = (int, float)
_text = (str, type(None))

# What a report may hold, and of which type it is:
#
# ready -- whether all services can run jobs
# problem -- why not, or None
# age -- seconds since the databases were last seen well; None: never
# silent -- seconds for which they have been asked in vain, without an answer
# services -- see Observation.report
# jobs -- how many the process has run
# memory -- megabytes that it uses
# counted -- see counted.Plain; missing: the same as before
# stopping -- why it stops
# refused -- why it cannot be run at all
FIELDS: dict[str, Any] = {
    'ready': bool,
    'problem': _text,
    'age': (*_number, type(None)),
    'silent': _number,
    'services': dict,
    'jobs': int,
    'memory': _number,
    'counted': dict,
    'stopping': str,
    'refused': str,
}


def pipe() -> tuple[int, int]:
    """Return the two ends of a pipe for reports, to read and to write."""
    ends = os.pipe()
    # Only Linux can do that; without it, long reports come in pieces.
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return ends


class Report:
    """Writes lines for the process that has started this one.

    gone -- whether nobody reads them any more.
    """

    def __init__(self, descriptor: int) -> None:
        self.gone = False
        self._pending = b''
        self._lock = threading.Lock()
        self._descriptor = descriptor
        self._pipe = _identify(descriptor)
        os.set_blocking(descriptor, False)
        # What jobs start must not keep it open.
        os.set_inheritable(descriptor, False)

    def send(self, **content: Any) -> bool:
        """Write a line; not if the one before could not be written yet.

        Return whether it is going to be read, if anybody reads.
        """
        with self._lock:
            is_taken = not self._pending
            if is_taken:
                self._pending = json.dumps(content).encode() + b'\n'
            try:
                self._write()
            except BlockingIOError:
                pass
            except OSError:
                # Nobody reads, or a job has closed all there was to close.
                self.gone = True
        return is_taken

    def _write(self) -> None:
        # The number may be that of a file or a socket by now, if a job has
        # closed what it had not opened.
        if _identify(self._descriptor) != self._pipe:
            self.gone = True
            return
        written = os.write(self._descriptor, self._pending)
        self._pending = self._pending[written:]


def _identify(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def shorten(text: str) -> str:
    """Return a text of somebody else's, cut where it gets too long."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f'{text[:LONGEST_TEXT]} [...]'


def parse(line: bytes | str) -> dict[str, Any]:
    """Return the dict that a line tells.

    Raise ValueError, or RecursionError, if it is no report.
    """
    said = json.loads(line, parse_constant=_finite, parse_float=_finite)
    if not isinstance(said, dict):
        raise ValueError(f'A report is a JSON object, not {said!r:.40}.')
    if not FIELDS.keys() & said.keys():
        raise ValueError(f'Nothing is known in {said!r:.40}.')
    for name, type_ in FIELDS.items():
        if name in said and not isinstance(said[name], type_):
            raise ValueError(f'"{name}" cannot be {said[name]!r:.40}.')
        if isinstance(said.get(name), _number) and not (
                0 <= said[name] < 2 ** 53):
            raise ValueError(f'"{name}" cannot be {said[name]!r:.40}.')
    return said


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f'{text} is no number.')
    return number
