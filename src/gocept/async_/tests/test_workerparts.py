"""The parts of the worker, without processes."""

import json
import os
import pathlib
import signal
import socket
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from gocept.async_ import health
from gocept.async_.systemd import Notifier
from gocept.async_.wakeup import Wakeup
from gocept.async_.workerprocess import Observation
from gocept.async_.workerprocess import Report
from gocept.async_.workerprocess import memory


class NotifierTest(unittest.TestCase):

    def test_without_systemd(self):
        """Nothing is sent if nobody is there to be told."""
        Notifier({}).send('READY=1')
        Notifier({'NOTIFY_SOCKET': '/no/such/socket'}).send('READY=1')

    def test_abstract_address(self):
        """An address that begins with @ is no file."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            name = f'gocept-async-{os.getpid()}'
            systemd.bind('\0' + name)
            systemd.settimeout(5)
            Notifier({'NOTIFY_SOCKET': f'@{name}'}).send('A=1', 'B=2')
            self.assertEqual(b'A=1\nB=2', systemd.recv(100))

    def test_environment(self):
        """What is started from here does not talk to systemd."""
        environ = {'NOTIFY_SOCKET': '@x', 'WATCHDOG_USEC': '1',
                   'WATCHDOG_PID': '1', 'HOME': '/'}
        Notifier(environ)
        self.assertEqual({'HOME': '/'}, environ)

    def test_watchdog_of_another_process(self):
        """The watchdog is fed by the process that is watched."""
        sent = []
        notifier = Notifier({'WATCHDOG_USEC': '1', 'WATCHDOG_PID': '1'})
        notifier.send = sent.append
        notifier.feed_watchdog()
        self.assertEqual([], sent)


class WakeupTest(unittest.TestCase):

    def test_signal(self):
        """A signal ends the wait, and is remembered."""
        wakeup = Wakeup()
        self.addCleanup(
            signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        wakeup.catch(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        began = time.monotonic()
        wakeup.wait(30)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual([signal.SIGUSR1], wakeup.received)


class ReportTest(unittest.TestCase):

    def setUp(self):
        self.read, write = os.pipe()
        self.addCleanup(os.close, write)
        self.report = Report(write)

    def test_line(self):
        """A report is a line of JSON."""
        self.addCleanup(os.close, self.read)
        self.report.send(jobs=3)
        self.assertEqual({'jobs': 3}, json.loads(os.read(self.read, 100)))

    def test_nobody_reads(self):
        """A full pipe stops nobody, and no line is torn."""
        self.addCleanup(os.close, self.read)
        for number in range(100):
            self.report.send(number=number, text='x' * 5000)
        data = os.read(self.read, 10 ** 6)
        self.report.send(number=-1)
        data += os.read(self.read, 10 ** 6)
        lines = [json.loads(line) for line in data.splitlines()]
        self.assertEqual(list(range(len(lines))),
                         [line['number'] for line in lines])

    def test_reader_is_gone(self):
        """Who reports learns that nobody listens any more."""
        os.close(self.read)
        self.report.send(jobs=3)
        self.assertTrue(self.report.gone)


class ObservationTest(unittest.TestCase):

    def observed(self, look):
        wakeup = Wakeup()
        observation = Observation(look, wakeup.wake)
        wakeup.wait(10)
        return observation.report()

    def test_well(self):
        """What was seen is told, and that all is well."""
        report = self.observed(lambda: {'events': None})
        self.assertTrue(report['ready'])
        self.assertEqual({'events': None}, report['services'])

    def test_trouble(self):
        """What went wrong is told."""
        def look():
            raise OSError('no database')
        report = self.observed(look)
        self.assertEqual((False, 'no database', None), (
            report['ready'], report['problem'], report['age']))


class HealthTest(unittest.TestCase):

    def test_address(self):
        """A port alone is one of this machine."""
        for text, address in (
                ('8080', ('127.0.0.1', 8080)),
                ('0.0.0.0:80', ('0.0.0.0', 80)),
                ('[::1]:80', ('::1', 80))):
            self.assertEqual(address, health.parse_address(text))
        for text in ('', 'x', 'host:', '65536', '-1'):
            with self.assertRaises(ValueError):
                health.parse_address(text)

    def test_live_but_not_ready(self):
        """The two questions have two answers."""
        server = health.serve(
            '127.0.0.1', 0, lambda: {'ready': False, 'live': True})
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = f'http://127.0.0.1:{server.server_port}'
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f'{url}/live', timeout=10) as live:
            self.assertEqual(200, live.status)
        with self.assertRaises(urllib.error.HTTPError) as raised:
            opener.open(f'{url}/ready', timeout=10)
        with raised.exception as answer:
            self.assertEqual(503, answer.code)

    def test_heartbeat_file(self):
        """Each beat sets its time."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'heartbeat')
            heartbeat = health.HeartbeatFile(path)
            heartbeat.beat()
            os.utime(path, (0, 0))
            heartbeat.beat()
            self.assertGreater(path.stat().st_mtime, time.time() - 60)


class MemoryTest(unittest.TestCase):

    def test_megabytes(self):
        """A Python process has tens of them."""
        self.assertTrue(5 < memory() < 50000, memory())
