"""Let signals and threads wake a main loop that waits in `select`."""

import contextlib
import os
import selectors
import signal
from typing import Any

from lovely.remotetask.forking import of_process


# How signals were handled that are handled here now, by their numbers.
_before: dict[int, Any] = {}


@of_process
def _begin() -> None:
    """Handle signals as before; a child has nobody to look for them."""
    if _before:
        signal.set_wakeup_fd(-1)
    while _before:
        signal.signal(*_before.popitem())


def _handle(number: int, handler: Any) -> None:
    """Have a signal handled in this process, and in no other.

    handler -- a function: programs that are started from here handle the
        signal by default.  What ignores it they would inherit.
    """
    # None stands for a handler that is not Python's; it cannot be set.
    before = signal.signal(number, handler) or signal.SIG_DFL
    _before.setdefault(number, before)


def disregard(*numbers: int) -> None:
    """Let these signals do nothing; call it in the main thread."""
    for number in numbers:
        _handle(number, _do_nothing)


def _do_nothing(number: int, frame: object) -> None:
    pass


class Wakeup:
    """A pipe to oneself: who writes to it ends the wait.

    Not a threading.Event: a signal handler that sets one can meet the lock
    of the very wait that it interrupts.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self.received: list[int] = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(self._read, selectors.EVENT_READ, self._drain)

    def fileno(self) -> int:
        """Return the descriptor that can be read when there is something."""
        return self._read

    def catch(self, *numbers: int) -> None:
        """Collect these signals in `received`; call it in the main thread.

        Only one Wakeup of a process can; a process that is forked does not.
        """
        # The system may hand a signal to any thread, or between the last
        # look at signals and the wait: then nothing interrupts the wait, and
        # Python calls no handler before it ends.  So the pipe is written by
        # Python's own handler, which runs at once, wherever that is.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in numbers:
            _handle(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        self.received.append(number)

    def wake(self) -> None:
        """End the wait; may be called anywhere."""
        # A pipe that is full is as good: it will be read.  And where a job has
        # closed the pipe, waits only last a bit longer.
        with contextlib.suppress(OSError):
            os.write(self._write, b'.')

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._read, 4096)

    def wait(self, seconds: float) -> None:
        """Wait until there is something, and let it be read."""
        for key, _ in self.selector.select(seconds):
            key.data()
