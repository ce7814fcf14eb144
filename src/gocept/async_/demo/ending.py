"""How a signal ends the web server: between two requests.

A signal handler that raised, in the middle of the server, could be swallowed
by what it interrupts.
"""

from waitress.wasyncore import file_dispatcher


class Ending(file_dispatcher):
    """A channel of waitress that ends its loop when it can be read.

    wakeup -- a Wakeup that catches signals.
    channels -- the dict of waitress' channels; this one is added.
    """

    def __init__(self, wakeup, channels):
        super().__init__(wakeup, channels)

    def writable(self):
        return False

    def handle_read(self):
        raise SystemExit
