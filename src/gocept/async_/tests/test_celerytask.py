"""The task of Celery that runs jobs is there after each of them."""

import unittest

import celery

from gocept.async_.celery import application
from gocept.async_.celery.settings import TASK


def run():
    """Stand for what runs jobs."""


class TaskTest(unittest.TestCase):

    def setUp(self):
        # That of workers needs an application to be configured.
        self.app = celery.Celery('test', set_as_current=False)
        self.task = self.app.task(run, name=TASK, lazy=False)

    def run_job(self, act):
        """Run a job that does something to the tasks that Celery knows."""
        with application._registered(self.task):
            act(self.app.tasks)

    def check(self):
        """Check that Celery finds the task: it looks with each message."""
        self.assertIs(self.task, self.app.tasks.get(TASK))

    def test_forgotten(self):
        """A job makes Celery forget all tasks."""
        self.run_job(lambda tasks: tasks.clear())
        self.check()

    def test_unregistered(self):
        """Or this one."""
        self.run_job(lambda tasks: tasks.unregister(TASK))
        self.check()

    def test_replaced(self):
        """Or puts another one in its place."""
        self.run_job(lambda tasks: tasks.update({TASK: len}))
        self.check()

    def test_interrupted(self):
        """Also if the run is interrupted."""
        def act(tasks):
            tasks.clear()
            raise KeyboardInterrupt
        with self.assertRaises(KeyboardInterrupt):
            self.run_job(act)
        self.check()
