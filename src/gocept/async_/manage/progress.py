"""How far long work has come, for people who watch."""

import contextlib
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any


# Seconds between two lines, where there is no bar.
PAUSE = 2.0


@contextlib.contextmanager
def shown(what: str, total: int | None = None,
          stream: Any = None) -> Iterator[Callable[[int], None]]:
    """Show progress while the block runs.

    what -- what is being done.
    total -- how many jobs there may be at most, if that is known.

    The value is to be called with the number of jobs done.  Nothing is shown
    where nobody watches: on a stream that is no terminal.
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield lambda number: None
        return
    bar = _bar(what, total)
    if bar is None:
        yield _Lines(what, stream)
        return
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.update(task, completed=number)


def _bar(what: str, total: int | None) -> Any:
    """Return the bar of `rich`; None where that is not installed."""
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        return None
    return Progress(console=Console(stderr=True), transient=True)


class _Lines:
    """Writes a line now and then."""

    def __init__(self, what: str, stream: Any) -> None:
        self._what = what
        self._stream = stream
        self._told = time.monotonic()

    def __call__(self, number: int) -> None:
        now = time.monotonic()
        if now - self._told >= PAUSE:
            self._told = now
            print(f'{self._what}: {number} jobs ...', file=self._stream,
                  flush=True)
