"""Let a process end in time, whatever its threads wait for."""

import faulthandler
import os
import sys
import threading

from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of


log = journal(__name__)

# Seconds after which the process ends even if nothing can be logged.
LAST = 1.0


class Ending:
    """Ends this process, once it was asked to, within some seconds.

    Threads that wait for a server which does not answer cannot be told to
    stop; what they were about to commit is not committed.
    """

    def __init__(self) -> None:
        # This is opened in advance: there may be no descriptor left when it is
        # needed.
        self._nowhere = os.open(os.devnull, os.O_WRONLY)

    def within(self, seconds: float) -> None:
        """Let the process end after so many seconds, with exit code 1."""
        # This watchdog needs neither the interpreter's lock nor a log that
        # takes lines.
        outcome_of(self._watch, seconds + LAST)
        timer = threading.Timer(seconds, self._end, [seconds])
        timer.daemon = True
        outcome_of(timer.start)

    def _watch(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(
            seconds, exit=True, file=self._nowhere)

    def _end(self, seconds: float) -> None:
        outcome_of(log.error, 'process %s has not ended within %.0f s and is '
                'cut off; its threads wait at %s', os.getpid(), seconds,
                '; '.join(where_threads_are()))
        os._exit(1)


def where_threads_are() -> list[str]:
    """Return a text for each other thread: its name, file and line."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        f'{names.get(ident, ident)}: {frame.f_code.co_filename}:'
        f'{frame.f_lineno}'
        for ident, frame in sys._current_frames().items()
        if ident != threading.get_ident()]
