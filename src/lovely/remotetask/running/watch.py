"""How long others have given no sign of life, by the clock of this process.

Clocks of machines differ and jump, so the times that others write are never
compared with the one of this machine.  A sign of life is that something has
changed.
"""

from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any


class Watch:
    """What was last seen of the others, and for how long it is the same.

    interval -- seconds between two signs of one that lives.
    missed -- so many of them may be missed.
    """

    def __init__(self, interval: float, missed: int) -> None:
        self.interval = interval
        self.missed = missed
        self._looked: float | None = None
        # The last sign of each, and for how many seconds it was looked at.
        self._seen: dict[Hashable, tuple[object, float]] = {}

    def look(self, signs: Mapping[Any, object], now: float) -> None:
        """Take in what was seen.

        signs -- a mapping: who, and what changes with each sign of life.
        now -- when that was looked up, in seconds of a monotonic clock.
        """
        # A longer gap is an outage or a stall of this process, in which it
        # has missed the signs of those that live.
        gap = (0.0 if self._looked is None
               else min(max(0.0, now - self._looked), self.interval))
        self._seen = {
            who: (sign, self._silence_before(who, sign, gap))
            for who, sign in signs.items()}
        self._looked = now

    def _silence_before(self, who: Hashable, sign: object,
                        gap: float) -> float:
        before, silence = self._seen.get(who, (None, 0.0))
        return silence + gap if sign == before else 0.0

    def is_silent(self, who: Hashable) -> bool:
        """Return whether somebody has missed all of the signs."""
        silence = self._seen.get(who, (None, 0.0))[1]
        return silence >= self.interval * self.missed

    def sign_of(self, who: Hashable) -> Any:
        """Return the last sign of life that was seen of somebody."""
        return self._seen[who][0]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over who was seen at the last look."""
        return iter(self._seen)
