"""The parts of the worker, without processes."""

import os
import signal
import socket
import subprocess
import threading
import time
import unittest

from gocept.async_.worker.process import memory
from gocept.async_.worker.systemd import Notifier
from gocept.async_.worker.wakeup import Wakeup
from gocept.async_.worker.wakeup import disregard


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
        wakeup = self.catching()
        os.kill(os.getpid(), signal.SIGUSR1)
        began = time.monotonic()
        wakeup.wait(120)
        self.assertLess(time.monotonic() - began, 60)
        self.assertEqual([signal.SIGUSR1], wakeup.received)

    def catching(self):
        """Return a Wakeup that catches SIGUSR1."""
        self.addCleanup(
            signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        self.addCleanup(signal.set_wakeup_fd, signal.set_wakeup_fd(-1))
        wakeup = Wakeup()
        wakeup.catch(signal.SIGUSR1)
        return wakeup

    def test_signal_to_another_thread(self):
        """It ends the wait, too: the system may choose the thread."""
        wakeup = self.catching()
        thread = threading.Thread(target=lambda: signal.pthread_kill(
            threading.get_ident(), signal.SIGUSR1))
        # The main thread has nothing to interrupt: it waits already.
        timer = threading.Timer(0.1, thread.start)
        timer.start()
        self.addCleanup(timer.join)
        self.assertTrue(wakeup.selector.select(20))
        self.assertEqual([signal.SIGUSR1], wakeup.received)

    def test_child(self):
        """What was forked handles signals as this process did before."""
        wakeup = self.catching()
        pid = os.fork()
        if not pid:
            os.kill(os.getpid(), signal.SIGUSR1)
            # It goes on if it was not ended.
            os._exit(0)
        self.assertEqual(
            -signal.SIGUSR1,
            os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        self.assertEqual([], wakeup.received)
        self.assertFalse(wakeup.selector.select(0))

    def test_disregarded(self):
        """A signal does nothing here, but in programs that are started."""
        self.addCleanup(
            signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        disregard(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        ended = subprocess.run(['sh', '-c', 'kill -USR1 $$'], timeout=60)
        self.assertEqual(-signal.SIGUSR1, ended.returncode)

    def test_closed(self):
        """Whoever has closed its pipe stops nobody."""
        wakeup = Wakeup()
        for descriptor in wakeup._read, wakeup._write:
            os.close(descriptor)
        wakeup.wake()
        wakeup.wait(0)


class MemoryTest(unittest.TestCase):

    def test_megabytes(self):
        """A Python process has tens of them."""
        self.assertTrue(5 < memory() < 50000, memory())
