"""What belongs to a process begins anew in a child."""

import os
import threading
import unittest

from lovely.remotetask import forking


class ForkingTest(unittest.TestCase):

    def setUp(self):
        self.addCleanup(setattr, forking, '_states', forking._states)
        forking._states = []
        self.begun = []

    def in_child(self, call):
        """Return the exit code of a child that calls something."""
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = 0 if call() else 2
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_at_once(self):
        """As a decorator; the function can be called, too."""
        @forking.of_process
        def begin():
            self.begun.append(os.getpid())
        self.assertEqual([os.getpid()], self.begun)
        begin()
        self.assertEqual(2, len(self.begun))

    def test_in_a_child(self):
        """In the order in which they are known; the parent keeps its own."""
        for name in ('one', 'other'):
            forking.of_process(
                lambda name=name: self.begun.append((name, os.getpid())))
        mine = os.getpid()
        self.assertEqual(0, self.in_child(lambda: self.begun == [
            ('one', mine), ('other', mine),
            ('one', os.getpid()), ('other', os.getpid())]))
        self.assertEqual(2, len(self.begun))

    def test_a_lock_that_is_held(self):
        """Nobody is there in the child who could release it."""
        @forking.of_process
        def begin():
            self.lock = threading.Lock()
        with self.lock:
            self.assertEqual(
                0, self.in_child(lambda: self.lock.acquire(timeout=1)))

    def test_who_is_a_child(self):
        self.assertFalse(forking.is_child())
        self.assertEqual(0, self.in_child(forking.is_child))
