"""Words that are to be sent to other processes.

The first one is sent at once; what comes soon after it waits a moment, and is
sent together.
"""

import threading


# Seconds from one sending to the next.
SPACING = 0.01


class Outbox:
    """Any thread may put words there; one sends them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._words: set[str] = set()
        # When others may be sent, by the monotonic clock.
        self._next = float('-inf')

    def __bool__(self) -> bool:
        return bool(self._words)

    def put(self, word: str) -> bool:
        """Have a word sent; once, however often it is put there meanwhile.

        Return whether there was none before.
        """
        with self._lock:
            was_empty = not self._words
            self._words.add(word)
            return was_empty

    def wait(self, now: float) -> float:
        """Return for how many seconds there is nothing to send."""
        return max(0.0, self._next - now) if self._words else float('inf')

    def take(self, now: float) -> list[str]:
        """Return the words that are to be sent now: all or none."""
        with self._lock:
            if self.wait(now) > 0:
                return []
            self._next = now + SPACING
            words, self._words = self._words, set()
            return sorted(words)
