"""What the processes of a worker count, told by each to the main process."""

import threading
from typing import Any

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.measure import Functions
from lovely.remotetask.running.events import JobEnded
from lovely.remotetask.running.events import JobLost
from lovely.remotetask.running.events import JobRetried
from lovely.remotetask.running.events import Observer
from lovely.remotetask.running.tally import outcome_of_run


# Plain values: for each service by name what Functions.stored returns, with
# bins as lists of pairs.
Plain = dict[str, dict[str, list[Any]]]


class Counter:
    """Counts the runs of one process, by the paths of services."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple, Functions] = {}
        self._observer = Observer(self._count, JobEnded, JobRetried, JobLost)
        # Whether there was anything since `tell` was called.
        self._is_new = False

    def subscribe(self) -> None:
        """Begin."""
        self._observer.subscribe()

    def unsubscribe(self) -> None:
        """End."""
        self._observer.unsubscribe()

    def _count(self, event: Any) -> None:
        with self._lock:
            self._is_new = True
            functions = self._found.setdefault(event.path, Functions())
            counts = functions.of(event.function)
            if isinstance(event, JobLost):
                counts.count('lost')
            else:
                counts.count(outcome_of_run(event), event.duration,
                             event.waited)

    def tell(self, names: dict[tuple, str]) -> Plain | None:
        """Return all that was counted; None if that was told before.

        names -- of services, by their paths; others are left out.
        """
        with self._lock:
            if not self._is_new:
                return None
            self._is_new = False
            found: dict[str, Functions] = {}
            for path, functions in self._found.items():
                if path in names:
                    found.setdefault(names[path], Functions()).add(functions)
        return {name: _plain(functions)
                for name, functions in found.items()}

    def tell_again(self) -> None:
        """What `tell` has returned was not heard."""
        self._is_new = True


def _plain(functions: Functions) -> dict[str, list[Any]]:
    # JSON has no numbers as keys.
    return {name: [*values[:-2], *(list(bins.items())
                                   for bins in values[-2:])]
            for name, values in functions.stored().items()}


class Sums:
    """What all processes of a worker have counted, also those that ended."""

    def __init__(self) -> None:
        self._ended: dict[str, Functions] = {}

    def keep(self, plain: Any) -> None:
        """Remember what a process has told that has ended."""
        _add(self._ended, _read(plain))

    def of(self, plains: list[Any]) -> dict[str, Functions]:
        """Return Functions by the name of a service.

        plains -- what the processes have told that run.
        """
        told = [_read(plain) for plain in plains]
        for each in told:
            for name, functions in each.items():
                # So it is told by its name, or among the others, whichever
                # process ends first: no number falls.
                self._ended.setdefault(name, Functions()).reserve(functions)
        found: dict[str, Functions] = {}
        for each in [self._ended, *told]:
            _add(found, each)
        return found


def _add(found: dict[str, Functions], others: dict[str, Functions]) -> None:
    for name, functions in others.items():
        found.setdefault(name, Functions()).add(functions)


def _read(plain: Any) -> dict[str, Functions]:
    # Jobs run in that process, and may write anything into its reports.
    return outcome_of(_checked, plain).value or {}


def _checked(plain: Any) -> dict[str, Functions]:
    return {str(name): Functions.of_stored({
        function: _checked_values(values)
        for function, values in functions.items()})
        for name, functions in plain.items()}


def _checked_values(values: list[Any]) -> list[Any]:
    *numbers, runs, waits = values
    return [*(0 + number for number in numbers),
            *({int(bin): int(number) for bin, number in pairs}
              for pairs in (runs, waits))]
