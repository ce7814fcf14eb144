"""The tasks of the jobs: they do nothing, but tell that they were called."""

import threading
import time

import zope.component
import zope.component.hooks

import gocept.async_
import stamps
from gocept.async_.task import TASK_NAME
from gocept.async_.task import AsyncFunction
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.task import SimpleTask


# Seconds to wait for calls, besides those that they take at this rate.
PATIENCE = 30
SLOWEST = 50


class Calls:
    """Waits for a number of calls, and notes when each began."""

    def __init__(self):
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self.expect(0)

    def expect(self, number):
        """Begin to count anew."""
        self._left = self._number = number
        self._arrived.clear()
        self.begun = {}

    def __call__(self, key=None):
        """Count a call; return when it was made, by a clock of the machine.
        """
        now = time.monotonic()
        with self._lock:
            if key is not None:
                self.begun[key] = now
            self._left -= 1
            if self._left == 0:
                self._arrived.set()
        return now

    def wait(self):
        """Wait for the calls; RuntimeError if they do not come."""
        if not self._arrived.wait(PATIENCE + self._number / SLOWEST):
            raise RuntimeError(
                f'{self._left} of {self._number} jobs were not run.')


calls = Calls()


def noop(input):
    calls()


def stamp(input):
    """Return when the job began, as its result."""
    return calls(input)


@gocept.async_.function('tasks')
def decorated(number):
    calls()


@gocept.async_.function('tasks')
def quiet(number):
    """Do nothing at all."""


@gocept.async_.function('tasks')
def failing(number):
    raise ValueError(f'no way with {number}')


@gocept.async_.function('tasks')
def stamped(number):
    """Note the call for other processes."""
    stamps.put(number)


@gocept.async_.function('messages')
def stamped_by_celery(number):
    stamps.put(number)


def register():
    """Offer the tasks to all services of this process."""
    zope.component.hooks.setHooks()
    for name, task in (
            ('noop', SimpleTask(noop)),
            ('stamp', SimpleTask(stamp)),
            (TASK_NAME, AsyncFunction())):
        zope.component.provideUtility(task, ITask, name)
