"""An application server in a process of its own, which can be killed."""

import os
import subprocess
import sys
import tempfile
from unittest import mock

from gocept.async_.tests.browser import scenes
from gocept.async_.tests.browser.stage import Stage


# So that there are many slices.
SLICE = 20


class Process:
    """The server, its data, and a port that it keeps.

    zone -- the time zone of the process.
    """

    def __init__(self, zone='UTC'):
        self._folder = tempfile.TemporaryDirectory()
        self._zone = zone
        self._process = None
        self.port = 0

    @property
    def url(self):
        """The address of the root folder, without a slash at its end."""
        return f'http://127.0.0.1:{self.port}'

    def start(self, scene='', number=0):
        """Start it; return when it answers.

        scene, number -- what is made of `scenes` before, and how many.
        """
        self._process = subprocess.Popen(
            [sys.executable, '-m', __name__, self._folder.name,
             str(self.port), scene, str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, 'TZ': self._zone})
        self.port = int(self._process.stdout.readline())

    def kill(self):
        """Let it end at once, whatever it does."""
        self._process.kill()
        self._wait()

    def close(self):
        """End it, and remove its data."""
        if self._process.poll() is None:
            self._process.stdin.close()
        self._wait()
        self._folder.cleanup()

    def _wait(self):
        self._process.wait(30)
        self._process.stdin.close()
        self._process.stdout.close()


def main(folder, port, scene, number):
    """Serve until whoever has started this ends, or closes its end."""
    stage = Stage(folder=folder, port=int(port))
    if scene:
        getattr(scenes, scene)(stage, int(number))
    print(stage.server.port, flush=True)
    with mock.patch('lovely.remotetask.browser.bulkpage.SLICE', SLICE):
        sys.stdin.read()
    stage.close()


if __name__ == '__main__':
    main(*sys.argv[1:])
