"""Tell systemd how the service does; see sd_notify(3)."""

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


# Seconds that systemd may take to read what it was sent before.
PATIENCE = 1.0


class Notifier:
    """Sends messages to the socket that systemd has named, if it has.

    It and its time limit are removed from the environment: the processes
    that are started from here are not meant.
    """

    def __init__(
            self,
            environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop('NOTIFY_SOCKET', '')
        limit = environ.pop('WATCHDOG_USEC', '')
        pid = environ.pop('WATCHDOG_PID', '')
        meant = pid in ('', str(os.getpid()))
        # The watchdog is fed twice as often as it has to be, as
        # sd_watchdog_enabled(3) advises.
        self._interval = int(limit) / 2e6 \
            if limit.isdecimal() and meant else None
        self._fed = float('-inf')

    def send(self, *lines: str) -> None:
        """Send some assignments; nothing happens without systemd."""
        if not self._address:
            return
        # An @ stands for the zero byte of an abstract address.
        address = '\0' + self._address[1:] \
            if self._address.startswith('@') else self._address
        # Without a systemd that listens there is nobody to tell of it.
        with contextlib.suppress(OSError), socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(PATIENCE)
            sender.sendto('\n'.join(lines).encode(), address)

    def feed_watchdog(self) -> None:
        """Send WATCHDOG=1 if it is time."""
        now = time.monotonic()
        if self._interval is not None and now - self._fed >= self._interval:
            self._fed = now
            self.send('WATCHDOG=1')
