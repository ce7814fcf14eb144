"""A file in which the functions of many processes note their calls."""

import functools
import os
import struct
import time


# Names the file for the processes that are started; they inherit it.
VARIABLE = 'BENCHMARK_STAMPS'

PATIENCE = 120

# A number, and when it was called, by a clock of the machine.
_STAMP = struct.Struct('qd')


def put(number, variable=VARIABLE):
    """Note a call.  One system call, so that it costs next to nothing."""
    os.write(_opened(variable), _STAMP.pack(number, time.monotonic()))


@functools.cache
def _opened(variable):
    return os.open(os.environ[variable], os.O_WRONLY | os.O_APPEND)


class Stamps:
    """The file, for who waits for the calls."""

    def __init__(self, path, variable=VARIABLE):
        self._path = path
        path.touch()
        os.environ[variable] = str(path)

    def forget(self):
        """Begin anew."""
        os.truncate(self._path, 0)

    def count(self):
        """Return how many calls were noted."""
        return self._path.stat().st_size // _STAMP.size

    def wait(self, number, interval=0.01):
        """Wait for so many different numbers.  Return their times.

        interval -- seconds between two looks.

        Raise RuntimeError if they do not come.
        """
        end = time.monotonic() + PATIENCE
        found = {}
        while time.monotonic() < end:
            if self.count() >= number:
                # A call that is made again is noted again.
                found = dict(_STAMP.iter_unpack(self._path.read_bytes()))
                if len(found) >= number:
                    return found
            time.sleep(interval)
        raise RuntimeError(f'{len(found)} of {number} calls were made.')
