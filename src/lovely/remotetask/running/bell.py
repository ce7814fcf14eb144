"""What wakes a thread that waits for a descriptor."""

import contextlib
import selectors
import socket


# Seconds that it is waited for at most.
LONGEST = 3600.0

# Without state in the kernel: a descriptor may be closed, and be another one.
Selector = getattr(selectors, 'PollSelector', selectors.SelectSelector)


class Bell:
    """Any thread may ring; one waits, until it rings or a descriptor is
    readable.
    """

    def __init__(self) -> None:
        self._outside, self._inside = socket.socketpair()
        for end in self._outside, self._inside:
            end.setblocking(False)
        self._selector = Selector()
        self._selector.register(self._inside, selectors.EVENT_READ)
        # The descriptor that was waited for last.
        self._descriptor: int | None = None

    def ring(self) -> None:
        """Let who waits go on, at once or the next time."""
        # Each ring is a byte, and nothing else remembers that there was one:
        # a mark and the bytes do not change together, so the mark might tell
        # of a ring when no byte is left, and the bell be deaf from then on.
        # If no more bytes fit in, there are enough to be read; and who waits
        # may have died meanwhile.
        with contextlib.suppress(OSError):
            self._outside.send(b'.')

    def wait(self, seconds: float, descriptor: int | None = None) -> bool:
        """Wait that long at most, for a ring or for the descriptor.

        Return whether the descriptor is readable.
        """
        self._wait_for(descriptor)
        ready = [key.fd for key, _ in self._selector.select(
            min(seconds, LONGEST))]
        if self._inside.fileno() in ready:
            # Also those that ring in between are heard: who waits looks for
            # what they mean after this.
            with contextlib.suppress(BlockingIOError):
                self._inside.recv(4096)
        return descriptor in ready

    def _wait_for(self, descriptor: int | None) -> None:
        if descriptor == self._descriptor:
            return
        if self._descriptor is not None:
            self._selector.unregister(self._descriptor)
        if descriptor is not None:
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._descriptor = descriptor

    def close(self) -> None:
        """Give both ends up."""
        self._selector.close()
        self._outside.close()
        self._inside.close()
