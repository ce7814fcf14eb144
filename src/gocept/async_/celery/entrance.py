"""What the processes of a worker tell each other: who can work, and the end.
"""

import mmap
import time
from collections.abc import Callable


class Entrance:
    """Tells a worker whether the processes that it forks can open the
    database, and them that it is to end.

    In memory that all of them share.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 3)

    def report(self, has_entered: bool) -> None:
        """Report whether a process could enter."""
        self._shared[0 if has_entered else 1] = 1

    @property
    def is_open(self) -> bool:
        """Whether one of them could."""
        return bool(self._shared[0])

    def wait(self, look: Callable[[], object]) -> bool:
        """Wait until one of them has entered, or one could not.

        look -- called again and again; may raise.

        Return whether one has entered.
        """
        while not any(self._shared[:2]):
            look()
            time.sleep(0.02)
        return self.is_open

    def close(self) -> None:
        """Remember that the worker is to end."""
        self._shared[2] = 1

    @property
    def is_closed(self) -> bool:
        """Whether the worker is to end."""
        return bool(self._shared[2])


# The entrance of this worker, which the processes of its pool inherit.
entrance = Entrance()
