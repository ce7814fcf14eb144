"""Whether the processes of a prefork pool could open the database."""

import mmap
import time


class Entrance:
    """Tells a worker what becomes of the processes that it forks.

    In memory that all of them share.
    """

    def __init__(self):
        self._shared = mmap.mmap(-1, 2)

    def note(self, has_entered):
        """Note whether a process could enter."""
        self._shared[0 if has_entered else 1] = 1

    @property
    def is_open(self):
        """Whether one of them could."""
        return bool(self._shared[0])

    def wait(self, look):
        """Wait until one of them has entered, or one could not.

        look -- called again and again; may raise.

        Return whether one has entered.
        """
        while not any(self._shared[:]):
            look()
            time.sleep(0.02)
        return self.is_open


# That of this worker.
entrance = Entrance()
