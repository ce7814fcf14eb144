"""What is counted of runs: how many, and how long they took.

Values that add up: those of two functions, minutes or workers.  A duration is
kept as the number of a bin, twelve for each power of ten: what was in a bin
is known to a fifth.
"""

import math
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any


# How many bins a power of ten has, and the numbers of the first and the last
# one: a millisecond and less, eleven days and more.
PER_DECADE = 12
FIRST, LAST = -3 * PER_DECADE, 6 * PER_DECADE

# How many functions are told apart, how many of these where a Slice is stored,
# and under which name all others are.
MOST_FUNCTIONS = 100
MOST_IN_SLICE = 20
OTHERS = ''
# Characters of a name.
LONGEST_NAME = 200

# How a run may end; a conflict is a run that is tried again since it met
# another transaction.
OUTCOMES = ('completed', 'failed', 'retried', 'conflicts', 'lost')


def bin_of(seconds: float) -> int:
    """Return the number of the bin of a duration; whatever it is."""
    if not seconds > 10 ** (FIRST / PER_DECADE):
        # Also what is no number.
        return FIRST
    if seconds >= 10 ** (LAST / PER_DECADE):
        return LAST
    # What is at the limit of a bin belongs to it, however it is rounded.
    return math.ceil(PER_DECADE * math.log10(seconds) - 1e-9)


def limit_of(bin: int) -> float:
    """Return the most seconds that belong to a bin."""
    return 10 ** (bin / PER_DECADE)


def add_to(bins: dict[int, int], others: Mapping[int, int]) -> None:
    """Add numbers by bin to others."""
    for bin, number in others.items():
        bins[bin] = bins.get(bin, 0) + number


def quantile(bins: Mapping[int, int], share: float) -> float | None:
    """Return the seconds that a share of the durations do not exceed.

    share -- between 0 and 1.

    None if there are none.
    """
    total = sum(bins.values())
    seen = 0
    for bin in sorted(bins):
        seen += bins[bin]
        if seen and seen >= share * total:
            return limit_of(bin)
    return None


# What `Counts.stored` returns where nothing was counted.
_NOTHING: tuple = (*[0] * len(OUTCOMES), 0.0, {}, {})


class Counts:
    """What is counted of the runs of one function.

    completed, failed, retried, conflicts, lost -- numbers, see OUTCOMES.
    seconds -- what all runs took together.
    runs, waits -- by bin: how many runs took so long, and how many jobs
        waited so long for their first run.
    """

    __slots__ = (*OUTCOMES, 'seconds', 'runs', 'waits')

    completed: int
    failed: int
    retried: int
    conflicts: int
    lost: int
    seconds: float

    def __init__(self, *stored: Any) -> None:
        """Make them from what `stored` has returned, or empty."""
        (self.completed, self.failed, self.retried, self.conflicts,
         self.lost, self.seconds, runs, waits) = stored or _NOTHING
        self.runs: dict[int, int] = dict(runs)
        self.waits: dict[int, int] = dict(waits)

    def stored(self) -> tuple:
        """Return plain values."""
        return tuple(getattr(self, name) for name in self.__slots__)

    def count(self, outcome: str, seconds: float | None = None,
              waited: float | None = None) -> None:
        """Count one run.

        outcome -- one of OUTCOMES.
        seconds -- what it took; None: nobody knows.
        waited -- for how long the job had waited for it; None as above.
        """
        setattr(self, outcome, getattr(self, outcome) + 1)
        if seconds is not None and math.isfinite(seconds):
            self.seconds += max(0.0, seconds)
            add_to(self.runs, {bin_of(seconds): 1})
        if waited is not None and math.isfinite(waited):
            add_to(self.waits, {bin_of(waited): 1})

    def add(self, other: 'Counts') -> None:
        """Add others to these."""
        # One by one: a page adds hundreds of them.
        self.completed += other.completed
        self.failed += other.failed
        self.retried += other.retried
        self.conflicts += other.conflicts
        self.lost += other.lost
        self.seconds += other.seconds
        add_to(self.runs, other.runs)
        add_to(self.waits, other.waits)

    def run_time(self, share: float) -> float | None:
        """Return the seconds that a share of the runs did not exceed."""
        return quantile(self.runs, share)

    def wait_time(self, share: float) -> float | None:
        """Return the seconds that a share of the jobs waited at most."""
        return quantile(self.waits, share)

    @property
    def ended(self) -> int:
        """How many jobs were completed, or have failed for good."""
        return self.completed + self.failed


class Functions(dict[str, Counts]):
    """Counts by the name of a function; there is one for all others.

    most -- how many functions are told apart: those that came first.
    """

    most = MOST_FUNCTIONS

    def of(self, name: str | None) -> Counts:
        """Return the Counts of a function, or of all others."""
        name = OTHERS if name is None else name[:LONGEST_NAME]
        if name not in self:
            if len(self) - (OTHERS in self) >= self.most:
                name = OTHERS
            self.setdefault(name, Counts())
        return self[name]

    def add(self, others: Mapping[str, Counts]) -> None:
        """Add others to these."""
        for name, counts in others.items():
            self.of(name).add(counts)

    def reserve(self, names: Iterable[str]) -> None:
        """Tell functions apart from now on, as long as there is room.

        Whatever is added later takes no place of theirs.
        """
        for name in names:
            self.of(name)

    def stored(self) -> dict[str, tuple]:
        """Return plain values."""
        return {name: counts.stored() for name, counts in self.items()}

    @classmethod
    def of_stored(cls, stored: Any) -> 'Functions':
        """Return what `stored` was made of."""
        found = cls()
        for name, values in dict(stored).items():
            found[name] = Counts(*values)
        return found

    def total(self) -> Counts:
        """Return the Counts of all together."""
        found = Counts()
        for counts in self.values():
            found.add(counts)
        return found

    def number(self, outcome: str) -> int:
        """Return how many runs of all together ended in one of OUTCOMES."""
        return sum(getattr(counts, outcome) for counts in self.values())


class _FewFunctions(Functions):
    """Those that are stored of a Slice: a meter has hundreds of these."""

    most = MOST_IN_SLICE


class Slice:
    """What was counted in a piece of time.

    start -- POSIX seconds, a multiple of how long it is.
    depth -- how many jobs waited to be run, at most; None: nobody looked.
    age -- for how many seconds the oldest one had waited, at most.
    functions -- Functions; they are made of what `Functions.stored` returns.
    """

    __slots__ = ('start', 'depth', 'age', 'functions')

    def __init__(self, start: int, depth: int | None = None,
                 age: float | None = None,
                 functions: Any = ()) -> None:
        self.start = start
        self.depth = depth
        self.age = _known(age)
        self.functions = Functions.of_stored(functions)

    def stored(self) -> tuple:
        """Return plain values; fewer functions are told apart there."""
        few = _FewFunctions()
        few.add(self.functions)
        return self.start, self.depth, self.age, few.stored()

    def add(self, other: 'Slice') -> None:
        """Add what was counted at the same time, or in a part of it."""
        self.see(other.depth, other.age)
        self.functions.add(other.functions)

    def see(self, depth: int | None, age: float | None) -> None:
        """Take in how many jobs wait, and for how long the oldest one."""
        self.depth = _most(self.depth, depth)
        self.age = _most(self.age, _known(age))


def _known(age: float | None) -> float | None:
    """Return an age; None for one that is none: stored times are not trusted.
    """
    return None if age is None or not math.isfinite(age) else age


def _most(one: Any, other: Any) -> Any:
    return max((each for each in (one, other) if each is not None),
               default=None)


def joined(slices: Iterable[Slice], seconds: int) -> list[Slice]:
    """Return Slices of so many seconds, the oldest first.

    slices -- shorter ones, or as long, in any order; none of them is changed,
        and one that needs no other is among those that are returned.
    """
    found: dict[int, list[Slice]] = {}
    for each in slices:
        found.setdefault(each.start // seconds * seconds, []).append(each)
    return [_together(start, found[start]) for start in sorted(found)]


def _together(start: int, slices: list[Slice]) -> Slice:
    """Return one Slice for all that begin at a time, or soon after it."""
    if len(slices) == 1 and slices[0].start == start:
        return slices[0]
    found = Slice(start)
    for each in slices:
        found.add(each)
    return found
