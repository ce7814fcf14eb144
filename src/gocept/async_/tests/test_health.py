"""What the outside is shown: an HTTP answer, the age of a file."""

import contextlib
import http.client
import json
import os
import select
import socket
import tempfile
import threading
import time
import unittest
import unittest.mock
from pathlib import Path

from gocept.async_ import openmetrics
from gocept.async_.worker import health
from gocept.async_.worker.ownfile import NotOurs


# Seconds until what does not happen has failed.
PATIENCE = 30


def is_open(client):
    """Return whether the other end of a socket, which is silent, is there."""
    # The end of a connection can be read, as an error can.
    readable, _, _ = select.select([client], [], [], 0)
    return not readable


class ServerTest(unittest.TestCase):

    def setUp(self):
        self.status = {'ready': False, 'live': True}
        self.server = health.serve('127.0.0.1', 0, lambda: self.status)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def ask(self, path, method='GET', port=None):
        """Return the HTTP status and what was answered."""
        connection = http.client.HTTPConnection(
            '127.0.0.1', port or self.server.server_port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()

    def connect(self):
        return self.enterContext(socket.create_connection(
            ('127.0.0.1', self.server.server_port), timeout=PATIENCE))

    def test_live_but_not_ready(self):
        """The two questions have two answers, with the same content."""
        for path, status in (
                ('/live', 200), ('/ready', 503), ('/', 503),
                ('/live?verbose=1', 200)):
            with self.subTest(path):
                code, body = self.ask(path)
                self.assertEqual(
                    (status, self.status), (code, json.loads(body)))

    def test_head(self):
        """Who wants no content gets none."""
        self.assertEqual((200, b''), self.ask('/live', 'HEAD'))

    def test_metrics(self):
        """They are plain text; what fails there is said."""
        made = unittest.mock.Mock(return_value=b'# EOF\n')
        self.server._metrics = made
        self.assertEqual((200, b'# EOF\n'), self.ask('/metrics'))
        self.assertEqual((200, b''), self.ask('/metrics', 'HEAD'))
        made.side_effect = KeyError('gone')
        code, body = self.ask('/metrics')
        self.assertEqual(503, code)
        self.assertIn('gone', json.loads(body)['error'])

    def test_metrics_as_they_are_accepted(self):
        """Who names the older format alone gets that."""
        self.server._metrics = lambda kind: kind.encode()
        for accept, kind in (
                (None, openmetrics.CONTENT_TYPE),
                ('', openmetrics.CONTENT_TYPE),
                ('*/*', openmetrics.CONTENT_TYPE),
                ('text/plain;version=0.0.4', openmetrics.PLAIN),
                ('Text/Plain, */*;q=0.1', openmetrics.PLAIN),
                ('application/openmetrics-text;version=1.0.0;q=0.5,'
                 'text/plain;version=0.0.4;q=0.3', openmetrics.CONTENT_TYPE)):
            with self.subTest(accept):
                client = self.connect()
                head = '' if accept is None else f'aCCept: {accept}\r\n'
                client.sendall(
                    f'GET /metrics HTTP/1.1\r\n{head}\r\n'.encode())
                found = client.makefile('rb').read()
                self.assertIn(f'Content-Type: {kind}\r\n'.encode(), found)
                self.assertTrue(found.endswith(kind.encode()))

    def test_metrics_without_the_extra(self):
        """What to install is said; the rest is answered."""
        self.server._metrics = unittest.mock.Mock()
        with unittest.mock.patch.object(
                openmetrics, 'is_installed', return_value=False):
            code, body = self.ask('/metrics')
        self.assertEqual(501, code)
        self.assertIn('gocept.async[metrics]', json.loads(body)['error'])

    def test_other_requests(self):
        """What is no question has no answer, and says what would be one."""
        self.assertEqual(404, self.ask('/else')[0])
        self.assertEqual(400, self.ask('/live', 'POST')[0])
        for request in b'\r\n\r\n', b'\xff\xfe\r\n\r\n', b'GET\r\n\r\n':
            with self.subTest(request):
                client = self.connect()
                client.sendall(request)
                self.assertIn(b' 400 ', client.recv(1000))

    def test_status_that_fails(self):
        """A fault in here is no good sign, and ends nothing."""
        self.status = None
        self.assertEqual(503, self.ask('/live')[0])
        self.status = {'ready': True, 'live': True}
        self.assertEqual(200, self.ask('/live')[0])

    def test_long_request(self):
        """A request has a limit."""
        client = self.connect()
        client.sendall(b'GET /live HTTP/1.1\r\n')
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.sendall(b'x: ' + b'y' * 1000 + b'\r\n')
            self.assertIn(b' 400 ', client.recv(1000))
        self.assertEqual(200, self.ask('/live')[0])

    def test_slow_clients(self):
        """Those who send a byte now and then do not keep others out."""
        patience = 120
        self.enterContext(
            unittest.mock.patch.object(health, 'PATIENCE', patience))
        clients = [self.connect() for _ in range(health.CLIENTS * 3)]
        for client in clients:
            with contextlib.suppress(ConnectionError):
                client.sendall(b'G')
        began = time.monotonic()
        self.assertEqual(200, self.ask('/live')[0])
        self.assertLess(time.monotonic() - began, patience / 2)
        # Those who came first have been left.
        with contextlib.suppress(ConnectionError):
            self.assertEqual(b'', clients[0].recv(1))

    def test_slow_clients_at_once(self):
        """Nor do those who come together, before any of them is looked at.
        """
        self.enterContext(
            unittest.mock.patch.object(health, 'PATIENCE', 120))
        with self.server_held_up():
            # As many as the system keeps for asyncio.
            clients = [self.connect() for _ in range(health.CLIENTS * 2)]
        end = time.monotonic() + PATIENCE
        while sum(map(is_open, clients)) > health.CLIENTS:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        self.assertTrue(is_open(clients[-1]))

    @contextlib.contextmanager
    def server_held_up(self):
        """Let the thread of the server do nothing for a while."""
        go_on = threading.Event()
        self.server._loop.call_soon_threadsafe(go_on.wait, PATIENCE)
        try:
            yield
        finally:
            go_on.set()

    def test_request_that_takes_too_long(self):
        """The time is that of the whole request, not of each byte."""
        with unittest.mock.patch.object(health, 'PATIENCE', 0.2):
            client = self.connect()
            end = time.monotonic() + PATIENCE
            with contextlib.suppress(ConnectionError):
                client.settimeout(0.05)
                while time.monotonic() < end:
                    client.sendall(b'x')
                    with contextlib.suppress(TimeoutError):
                        self.assertEqual(b'', client.recv(1))
                        break
            self.assertLess(time.monotonic(), end)

    def test_client_that_does_not_read(self):
        """Nor is one waited for that takes no answer."""
        self.status = {'live': True, 'text': 'x' * 10 ** 7}
        with unittest.mock.patch.object(health, 'PATIENCE', 0.2):
            client = self.connect()
            client.sendall(b'GET /live HTTP/1.1\r\n\r\n')
            end = time.monotonic() + PATIENCE
            # Touched by one thread only; here it is but looked at.
            while not self.server._tasks and time.monotonic() < end:
                os.sched_yield()
            while self.server._tasks and time.monotonic() < end:
                os.sched_yield()
            self.assertLess(time.monotonic(), end)

    def test_address_in_use(self):
        """A port that is taken is an OSError, and no server."""
        with self.assertRaises(OSError):
            health.serve(
                '127.0.0.1', self.server.server_port, lambda: self.status)

    def test_ipv6(self):
        """An address of IPv6 has colons."""
        if not socket.has_ipv6:
            self.skipTest('This machine has no IPv6.')
        try:
            server = health.serve('::1', 0, lambda: self.status)
        except OSError as error:
            self.skipTest(f'This machine has no IPv6: {error}')
        server.shutdown()
        server.server_close()


class AddressTest(unittest.TestCase):

    def test_address(self):
        """A port alone is one of this machine."""
        for text, address in (
                ('8080', ('127.0.0.1', 8080)),
                ('0.0.0.0:80', ('0.0.0.0', 80)),
                ('[::1]:80', ('::1', 80))):
            self.assertEqual(address, health.parse_address(text))
        for text in ('', 'x', 'host:', '65536', '-1', '.ö:80', 'ö..b:80'):
            with self.assertRaises(ValueError):
                health.parse_address(text)


class HeartbeatFileTest(unittest.TestCase):

    def setUp(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = folder / 'heartbeat'
        self.heartbeat = health.HeartbeatFile(str(self.path))

    def test_beat(self):
        """Each beat sets its time."""
        self.heartbeat.check()
        self.heartbeat.beat()
        os.utime(self.path, (0, 0))
        self.heartbeat.beat()
        self.assertGreater(self.path.stat().st_mtime, time.time() - 60)

    def test_content(self):
        """What is in it stays."""
        self.path.write_text('kept')
        self.heartbeat.beat()
        self.assertEqual('kept', self.path.read_text())

    def test_symbolic_link(self):
        """What one leads to is not touched, nor created."""
        other = self.path.with_name('other')
        self.path.symlink_to(other)
        for call in self.heartbeat.check, self.heartbeat.beat:
            with self.assertRaisesRegex(NotOurs, 'symbolic link'):
                call()
        self.assertFalse(other.exists())

    def test_no_folder(self):
        """Any other error is that of the system."""
        self.path.parent.joinpath('x').touch()
        heartbeat = health.HeartbeatFile(str(self.path / 'x'))
        heartbeat.check()
        with self.assertRaises(OSError):
            heartbeat.beat()
