"""How long others have given no sign of life, by the clock of this process.

Clocks of machines differ and jump, so the times that others write are never
compared with the one of this machine.  A sign of life is that something has
changed.
"""

import threading
from collections.abc import Hashable
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
        # In a process of Celery several threads look.
        self._lock = threading.Lock()
        self._looked: float | None = None
        # The last sign of each, and for how many seconds it was looked at.
        self._seen: dict[Hashable, tuple[object, float]] = {}

    def look(self, signs: Mapping[Any, object], now: float) -> None:
        """Take in what was seen.

        signs -- a mapping: who, and what changes with each sign of life.
        now -- when that was looked up, in seconds of a monotonic clock.
        """
        with self._lock:
            if self._looked is not None and now < self._looked:
                # Another thread has seen what came later.
                return
            # A longer gap is an outage or a stall of this process, in which
            # it has missed the signs of those that live.
            gap = (0.0 if self._looked is None
                   else min(now - self._looked, self.interval))
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

    def signs(self) -> dict[Hashable, Any]:
        """Return what was seen at the last look: who, and the sign of life.
        """
        return {who: sign for who, (sign, _) in self._seen.items()}

    def __len__(self) -> int:
        """Return how many were seen at the last look."""
        return len(self._seen)
