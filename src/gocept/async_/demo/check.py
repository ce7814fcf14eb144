"""``async-demo --check``: start the demo, use it over HTTP, stop it."""

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import NamedTuple


# Seconds until a step that does not come to an end has failed.
PATIENCE = 30.0

LIMIT = 100_000


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    text: str


class CheckFailed(Exception):
    """The demo did not do what it should; the message says what."""


def check():
    """Check the demo.  Exit with one sentence if something is wrong."""
    try:
        with tempfile.TemporaryDirectory() as var:
            _check(var)
    except CheckFailed as failure:
        sys.exit(f'async-demo --check: {failure}')


def _check(var):
    with Server(var) as server:
        nobody, alice = Client(server.url), Client(server.url, 'alice')
        _expect(401, nobody.get(''), 'an anonymous request')
        _expect(403, alice.post('start', limit=LIMIT),
                'a form without a token')
        alice.start(LIMIT)
        [found] = alice.wait_until_ended()
        if found['state'] != 'completed':
            raise CheckFailed(f'the computation failed: {found["error"]}.')
        print(f'The sum of the primes below {LIMIT:,} is '
              f'{found["result"]:,}, computed as {found["principal"]}.')
        server.stop()


def _expect(status, answer, what):
    if answer.status != status:
        raise CheckFailed(f'{what} was answered with {answer.status} '
                          f'instead of {status}.')


def environment():
    """Return os.environ for a Python that imports what this one does."""
    path = os.pathsep.join(filter(None, sys.path))
    return dict(os.environ, PYTHONPATH=path)


class Server:
    """The demo in a process of its own, on a free port.

    var -- path of its folder.
    stderr -- file that gets what it complains about; default: our own.
    """

    def __init__(self, var, stderr=None):
        self.process = subprocess.Popen(
            [sys.executable, '-X', 'faulthandler',
             '-m', 'gocept.async_.demo.run',
             '--var', str(var), '--port', '0'],
            env=environment(),
            stdout=subprocess.PIPE, stderr=stderr, text=True)
        self.url = self._read_url()

    def _read_url(self):
        with self._bounded():
            line = self.process.stdout.readline()
        found = re.search(r'http://\S+', line)
        if found is None:
            self.kill()
            raise CheckFailed(f'the demo did not start; it said {line!r}.')
        return found.group()

    @contextlib.contextmanager
    def _bounded(self):
        # With this signal it says where it is.
        timer = threading.Timer(
            PATIENCE, self.process.send_signal, [signal.SIGABRT])
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def stop(self, number=signal.SIGTERM):
        """Stop it as an init system does; it has to end well."""
        self.process.send_signal(number)
        with self._bounded():
            code = self.process.wait()
        if code == -signal.SIGABRT:
            raise CheckFailed(f'the demo did not stop in {PATIENCE:.0f} s.')
        if code != 0:
            raise CheckFailed(f'the demo stopped with exit code {code}.')

    def kill(self):
        """End it, wherever it is."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.kill()


class Client:
    """A user with a browser."""

    def __init__(self, url, login=None):
        self.url = url
        # No proxy: it could not reach this machine's loopback.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}))
        if login is not None:
            # The users of the demo have simple passwords.
            credentials = base64.b64encode(f'{login}:{login}'.encode())
            self._opener.addheaders = [
                ('Authorization', f'Basic {credentials.decode()}')]

    def get(self, path, data=None):
        """Return an Answer."""
        try:
            with self._opener.open(
                    self.url + path, data, timeout=PATIENCE) as response:
                return Answer(response.status, response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())
        except OSError as error:
            raise CheckFailed(
                f'no answer from {self.url}{path}: {error}.') from error

    def post(self, path, **fields):
        """Send a form.  Return an Answer: of the page one is led to."""
        return self.get(path, urllib.parse.urlencode(fields).encode())

    def start(self, limit):
        """Start a computation, as the form on the page does."""
        _expect(200, self.post('start', limit=limit, token=self.token()),
                'the form')

    def token(self):
        """Return the token on the page."""
        page = self.get('')
        _expect(200, page, 'the page')
        found = re.search(r'name="token" value="(\w+)"', page.text)
        if found is None:
            raise CheckFailed('there is no token on the page.')
        return found.group(1)

    def computations(self):
        """Return a list of dicts, see `browser.describe`."""
        answer = self.get('computations.json')
        _expect(200, answer, 'computations.json')
        return json.loads(answer.text)['computations']

    def wait_until_ended(self):
        """Return the computations as soon as nothing is left to do."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.computations()
            if not any(each['state'] in ('queued', 'processing')
                       for each in found):
                return found
            time.sleep(0.05)
        raise CheckFailed(f'not ended after {PATIENCE:.0f} s: {found}.')
