"""How long to wait for a transaction that a message tells of.

Nobody has to wait for one that was committed: the server of the database has
told of it before it answers the next question.  But not all databases have
such a server, and a message may tell of what never was.
"""

import threading
import time
from collections.abc import Callable

from persistent.timestamp import TimeStamp


# Seconds to wait at most, at least, and between two looks.
LONGEST = 1.0
SHORTEST = 0.1
LOOK = 0.01

# Seconds that all threads together may wait in vain, and how many of them
# come back in a second.
IN_VAIN = 5.0
RECOVERY = 0.1

# Seconds by which a clock may be ahead of this one.
SKEW = 1.0


class Patience:
    """Lets threads wait for transactions, but not often in vain.

    clock -- returns monotonic seconds.
    """

    def __init__(self,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left = IN_VAIN
        self._updated = clock()

    def wait(self, has_seen: Callable[[], bool], tid: bytes,
             ask: Callable[[], object]) -> bool:
        """Wait until a transaction is seen.  Return whether it is.

        has_seen -- returns whether it is.
        tid -- bytes, its id.
        ask -- called once, if it is not seen at once: asks the database for
            what is new.
        """
        if has_seen():
            return True
        ask()
        if has_seen():
            return True
        if TimeStamp(tid).timeTime() > time.time() + SKEW:
            # The id is of a time to come: nobody has committed such a
            # transaction.
            return False
        return self._wait(has_seen, self._take())

    def _wait(self, has_seen: Callable[[], bool], seconds: float) -> bool:
        end = self._clock() + seconds
        while self._clock() < end:
            time.sleep(LOOK)
            if has_seen():
                # The transaction was seen, so the wait was not in vain.
                self._give_back(seconds)
                return True
        return False

    def _take(self) -> float:
        """Return how many seconds may be waited now."""
        with self._lock:
            now = self._clock()
            self._left = min(
                IN_VAIN, self._left + RECOVERY * (now - self._updated))
            self._updated = now
            taken = min(LONGEST, self._left)
            if taken < SHORTEST:
                return 0.0
            self._left -= taken
            return taken

    def _give_back(self, seconds: float) -> None:
        with self._lock:
            self._left += seconds
