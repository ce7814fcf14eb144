"""What commands say: lines on standard error, or no more on output."""

import contextlib
import io
import logging
import os
import queue
import sys
import threading

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running.processstate import STANDARD_ERROR
from lovely.remotetask.running.processstate import open_standard_files


# Lines that wait to be written; what is more is lost.
MOST = 1000

# Seconds that the last lines have to be written in.
PATIENCE = 2.0


def prepare_standard_files() -> None:
    """Let there be standard input, output and error, whatever was closed.

    What is written to those that were is lost.
    """
    open_standard_files()
    for name in 'stdout', 'stderr':
        if getattr(sys, name) is None:
            setattr(sys, name, io.StringIO())


def give_output_up() -> None:
    """Let nothing be written to standard output any more.

    Python flushes it at the end of the process, also where nobody reads it.
    """
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class StandardError(logging.Handler):
    """Writes records to standard error, in a thread.

    So nobody waits for who reads it and has stopped to; and a full disk, or a
    pipe without an end, only loses lines.
    """

    def __init__(self, descriptor: int = STANDARD_ERROR) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(MOST)
        self._thread = threading.Thread(
            target=self._loop, name='messages', daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        # A line that cannot be made, or for which there is no room, is lost.
        outcome_of(self._put, record)

    def _put(self, record: logging.LogRecord) -> None:
        self._lines.put_nowait(self.format(record))

    def _loop(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError):
                self._write(f'{line}\n'.encode(errors='backslashreplace'))

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data):]

    def close(self) -> None:
        """See logging.Handler: called at the end of the process."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
            self._thread.join(PATIENCE)
        super().close()
