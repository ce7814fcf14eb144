"""What Celery needs to run jobs is there after each of them."""

import logging
import os
import signal
import threading
import unittest
import unittest.mock

import celery

from gocept.async_.celery import application
from gocept.async_.celery import declared
from gocept.async_.celery import handlers
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


class EnvironmentTest(unittest.TestCase):
    """Celery prefers variables of the environment; this application does not.
    """

    def test_application(self):
        """It is one of those that connect to the declared broker."""
        self.assertIsInstance(application.app, declared.Celery)

    def test_ignored(self):
        """The log says so, without the value, which may have a password."""
        name, *others = declared.IGNORED
        with unittest.mock.patch.dict(os.environ, {
                name: 'redis://:s3cret@h', **dict.fromkeys(others, '')}), \
                self.assertLogs(application.log, 'WARNING') as logs:
            application._tell_of_ignored()
        line, = logs.output
        self.assertIn(f'{name}, of the environment', line)
        self.assertNotIn('s3cret', line)


class CancelledTest(unittest.TestCase):

    def test_by_celery(self):
        """A lost connection may be a reason; there is no traceback then."""
        application.Run.on_retry(
            None, celery.exceptions.Retry(), 'id', (), {}, None)


class Odd(Exception):
    """Does not like to be asked for its class."""

    @property
    def __class__(self):
        raise SystemExit('class')


class NewsTest(unittest.TestCase):
    """What Celery says of tasks, also of those of others."""

    def is_news(self, exception):
        info = exception and (type(exception), exception, None)
        return application._is_news(
            logging.LogRecord('task', logging.INFO, '', 1, '', (), info))

    def test_news(self):
        self.assertTrue(self.is_news(None))
        self.assertTrue(self.is_news(ValueError()))
        self.assertFalse(self.is_news(celery.exceptions.Reject()))

    def test_any_exception(self):
        """It is not asked what it is."""
        self.assertTrue(self.is_news(Odd()))


class HandlersTest(unittest.TestCase):
    """A process of a pool runs jobs in its main thread: they set handlers."""

    def handlers(self):
        return {number: signal.getsignal(number)
                for number in handlers.HANDLED}

    def setUp(self):
        before = self.handlers()
        self.addCleanup(lambda: [
            signal.signal(number, handler)
            for number, handler in before.items()])

    def test_set_back(self):
        """Whether they ignore it, call something, or were set back."""
        for number in handlers.HANDLED:
            for handler in signal.SIG_IGN, signal.SIG_DFL, lambda *args: 1/0:
                with self.subTest(number=number):
                    before = self.handlers()
                    with handlers.kept():
                        signal.signal(number, handler)
                    self.assertEqual(before, self.handlers())

    def test_odd_handlers(self):
        """Whatever they say of themselves."""
        class Odd:
            def __call__(self, *args):
                return None

            def __eq__(self, other):
                if isinstance(other, int):
                    raise SystemExit
                return True

            __hash__ = None
        before = self.handlers()
        with handlers.kept():
            for number in handlers.HANDLED:
                signal.signal(number, Odd())
        self.assertEqual(
            [True] * len(before),
            [signal.getsignal(number) is handler
             for number, handler in before.items()])

    def test_failed(self):
        """Also after what was raised."""
        before = self.handlers()
        with self.assertRaises(KeyboardInterrupt), \
                handlers.kept():
            signal.signal(signal.SIGALRM, lambda *args: None)
            raise KeyboardInterrupt
        self.assertEqual(before, self.handlers())

    def test_other_thread(self):
        """One of a pool of threads sets none, and is not disturbed."""
        def act():
            with handlers.kept():
                done.append(True)
        done = []
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
        self.assertEqual([True], done)
