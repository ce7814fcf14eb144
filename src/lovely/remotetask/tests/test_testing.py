"""The stand-ins for tests of applications."""

from zope.interface.verify import verifyObject

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.operations import Operations
from lovely.remotetask.task import SimpleTask
from lovely.remotetask.task import TaskError
from lovely.remotetask.testing import ExceptionTask
from lovely.remotetask.testing import ITaskStub
from lovely.remotetask.testing import TaskServiceStub
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import TaskCase


class StubTest(TaskCase):

    def setUp(self):
        super().setUp()
        self.stub = TaskServiceStub()
        self.echo = SimpleTask(lambda input: input)

    def offer_echo(self):
        self.register(self.echo, ITaskStub, 'test.echo')

    def test_interface(self):
        """The stub is a whole ITaskService."""
        self.assertTrue(verifyObject(ITaskService, self.stub))

    def test_has_no_tasks_of_the_application(self):
        """Tasks that are registered for ITask are not the stub's."""
        self.task(Calls(), 'test.real')
        self.assertEqual({}, self.stub.getAvailableTasks())
        with self.assertRaisesRegex(ValueError, '^Task does not exist$'):
            self.stub.add('test.real')

    def test_has_the_stub_tasks(self):
        """Tasks that are registered for ITaskStub are available."""
        self.offer_echo()
        self.assertEqual(
            {'test.echo': self.echo}, self.stub.getAvailableTasks())

    def test_ids(self):
        """The ids of the jobs are 1, 2, 3."""
        self.offer_echo()
        ids = [self.stub.add('test.echo') for _ in range(3)]
        self.assertEqual([1, 2, 3], ids)
        self.assertEqual([1, 2, 3], list(self.stub.jobs))

    def test_ids_are_given_once(self):
        """Also where jobs are removed."""
        self.offer_echo()
        first = self.stub.add('test.echo')
        second = self.stub.add('test.echo')
        for jobid in first, second:
            self.stub.remove(jobid)
            self.stub.process()
            self.assertNotIn(self.stub.add('test.echo'), (first, second))

    def test_found(self):
        """They are on pages, copied and operated on like others."""
        self.offer_echo()
        ids = [self.stub.add('test.echo') for _ in range(3)]
        self.assertEqual(ids[::-1], [job.id for job in self.stub.find().jobs])
        self.assertEqual(
            3, len(self.stub.find(status=QUEUED, since=0).jobs))
        self.assertEqual(4, self.stub.copy(1))
        operations = Operations(self.stub)
        self.assertTrue(operations.cancel(1))
        self.assertEqual(
            ['cancel'], [action.what for action in operations.actions()])

    def test_process(self):
        """The stub runs its jobs when it is told to."""
        self.offer_echo()
        jobid = self.stub.add('test.echo', {'foo': 'bar'})
        self.assertEqual(QUEUED, self.stub.getStatus(jobid))
        self.stub.process()
        self.assertEqual(COMPLETED, self.stub.getStatus(jobid))
        self.assertEqual({'foo': 'bar'}, self.stub.getResult(jobid))

    def test_cancel(self):
        """A job of the stub can be cancelled; of an unknown one, nothing."""
        self.offer_echo()
        jobid = self.stub.add('test.echo')
        self.stub.cancel(jobid)
        self.stub.cancel('undefined')
        self.assertEqual(CANCELLED, self.stub.getStatus(jobid))

    def test_error(self):
        """The message of a task's error is kept."""
        def fail(input):
            raise TaskError('An error occurred.')
        self.task(fail, 'test.error', ITaskStub)
        jobid = self.stub.add('test.error')
        self.stub.process()
        self.assertEqual(ERROR, self.stub.getStatus(jobid))
        self.assertEqual('An error occurred.', self.stub.getError(jobid))

    def test_has_no_processor(self):
        """A stub neither starts nor stops anything."""
        self.assertRaises(NotImplementedError, self.stub.startProcessing)
        self.assertRaises(NotImplementedError, self.stub.stopProcessing)
        self.assertFalse(self.stub.isProcessing())


class ExceptionTaskTest(TaskCase):

    def test_interface(self):
        """The exception task is an ITask."""
        self.assertTrue(verifyObject(ITask, ExceptionTask()))

    def test_raises(self):
        """It raises ZeroDivisionError when it is called."""
        with self.assertRaises(ZeroDivisionError):
            ExceptionTask()(None, 1, None)
