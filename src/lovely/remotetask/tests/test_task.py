"""The ready-made tasks."""

import unittest

from zope.interface.verify import verifyObject

from lovely.remotetask.interfaces import ITask
from lovely.remotetask.task import EchoTask
from lovely.remotetask.task import SimpleTask
from lovely.remotetask.task import TaskError


def double(input):
    return 2 * input


class SimpleTaskTest(unittest.TestCase):

    def test_interface(self):
        """A simple task is an ITask."""
        self.assertTrue(verifyObject(ITask, SimpleTask(double)))

    def test_calls_its_function_with_the_input_alone(self):
        """The function gets neither the service nor the job id."""
        self.assertEqual(42, SimpleTask(double)('service', 1, 21))

    def test_input_by_keyword(self):
        """The names of the arguments are those of ITask."""
        task = SimpleTask(double)
        self.assertEqual(42, task(service=None, jobid=1, input=21))

    def test_repr(self):
        """The representation shows the function."""
        self.assertRegex(
            repr(SimpleTask(double)), r'^<SimpleTask <function double .*>>$')


class EchoTaskTest(unittest.TestCase):

    def test_interface(self):
        """The echo task is an ITask."""
        self.assertTrue(verifyObject(ITask, EchoTask()))

    def test_returns_its_input(self):
        """Echo takes what ITask says and returns the very input."""
        input = {'foo': 'bar'}
        self.assertIs(input, EchoTask()(None, 1, input))


class TaskErrorTest(unittest.TestCase):

    def test_is_an_ordinary_exception(self):
        """Code that catches Exception catches a TaskError."""
        self.assertTrue(issubclass(TaskError, Exception))
