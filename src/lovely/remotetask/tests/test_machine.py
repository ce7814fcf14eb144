"""Which process a worker's id tells of, and whether that is gone."""

import os
import subprocess
import sys
import unittest
import unittest.mock

from lovely.remotetask import machine


def ended():
    """Return the id of a process that has ended."""
    child = subprocess.Popen([sys.executable, '-S', '-c', ''])
    child.wait()
    return child.pid


class IdTest(unittest.TestCase):

    def test_new(self):
        """It names host, process and thread, and is like no other."""
        one, two = (machine.new_worker_id('a thread') for _ in range(2))
        self.assertNotEqual(one, two)
        self.assertEqual([str(os.getpid()), 'a thread'], one.split(':')[1:3])
        self.assertEqual(one.rpartition(':')[0],
                         machine.identity('a thread'))

    def test_colons(self):
        """A service may have a colon in its name."""
        found = machine.new_worker_id('remotetasks.a:b:c')
        self.assertFalse(machine.is_gone(found))
        pid = str(os.getpid())
        self.assertTrue(machine.is_gone(
            found.replace(f':{pid}:', f':{ended()}:')))


class GoneTest(unittest.TestCase):

    def id(self, pid, birth='', where=machine.MACHINE):
        return f'host:{pid}:thread:{where}-{birth}-token'

    def test_own(self):
        """This process lives, and so does the one that has started it."""
        self.assertFalse(machine.is_gone(machine.new_worker_id('thread')))
        self.assertFalse(machine.is_gone(self.id(os.getppid())))

    def test_ended(self):
        """One that has ended on this machine is gone."""
        self.assertTrue(machine.is_gone(self.id(ended())))

    def test_ended_and_not_asked_for(self):
        """One that was killed is gone, though its parent has not noticed."""
        child = subprocess.Popen(
            [sys.executable, '-S', '-c', 'input()'], stdin=subprocess.PIPE)
        self.addCleanup(child.wait)
        self.addCleanup(child.stdin.close)
        birth = machine._birth(child.pid)
        self.assertFalse(machine.is_gone(self.id(child.pid, birth)))
        child.kill()
        # Waits without asking for its end.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assertTrue(machine.is_gone(self.id(child.pid, birth)))

    def test_other_processes_are_shown(self):
        """Where /proc is that of another container, it tells nothing."""
        with unittest.mock.patch.object(os, 'readlink', return_value='1'):
            found = machine.new_worker_id('thread')
        self.assertEqual('', found.split('-')[-2])
        self.assertFalse(machine.is_gone(found))

    def test_its_id_is_used_again(self):
        """Another process with its id is another process."""
        own = machine.new_worker_id('thread').rpartition('-')[0]
        birth = own.rpartition('-')[2]
        self.assertFalse(machine.is_gone(self.id(os.getpid(), birth)))
        self.assertTrue(machine.is_gone(self.id(os.getpid(), '1')))

    def test_birth_that_is_not_told(self):
        """Where the system does not say when it was started, it lives."""
        with unittest.mock.patch.object(machine, '_birth', return_value=''):
            self.assertFalse(machine.is_gone(self.id(os.getpid(), '1')))
        self.assertFalse(machine.is_gone(self.id(os.getpid(), '')))

    def test_token_of_others(self):
        """A token of other parts is none, and nothing is known of its worker.
        """
        pid = ended()
        for token in ('', machine.MACHINE, f'{machine.MACHINE}-1',
                      f'{machine.MACHINE}--2-3'):
            with self.subTest(token):
                self.assertFalse(machine.is_gone(f'host:{pid}:x:{token}'))

    def test_elsewhere(self):
        """Of another machine or container nothing is known here."""
        pid = ended()
        with unittest.mock.patch.object(
                os, 'kill', side_effect=AssertionError):
            self.assertFalse(machine.is_gone(self.id(pid, where='other')))
            self.assertFalse(machine.is_gone(self.id(pid, '5', 'other')))

    def test_container_that_cannot_be_told(self):
        """Where there is no name for the container, each process is alone."""
        with unittest.mock.patch.object(
                os, 'readlink', side_effect=PermissionError):
            self.assertNotEqual(machine._machine(), machine._machine())

    def test_of_another_user(self):
        """One that may not be asked lives."""
        with unittest.mock.patch.object(
                os, 'kill', side_effect=PermissionError):
            self.assertFalse(machine.is_gone(self.id(ended())))

    def test_what_is_no_id(self):
        """What others have written never raises, and is left alone."""
        here = machine.MACHINE
        for found in ('', ':', ':::', 'a', 'a:b', 'a:b:c:d', 'host::t:x-y',
                      f'h:-1:t:{here}--x', f'h:0:t:{here}--x', 'h:1',
                      f'h:{10 ** 30}:t:{here}--x', f'h:²:t:{here}--x',
                      f'h:٣:t:{here}--x', f'h: 1:t:{here}--x',
                      f'h:1.5:t:{here}--x', f'h:None:t:{here}', '\0:\0:\0',
                      None, 7, b'h:1:t:m-x', object(), ['h', '1'],
                      f'h:{2 ** 31}:t:{here}--x', f'h::t:{here}--x-y-z'):
            with self.subTest(found):
                self.assertFalse(machine.is_gone(found))
