"""When a failed job is tried again, and how long jobs are kept."""

import types
import unittest
import unittest.mock

from lovely.remotetask import policy
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.outcome import Outcome
from lovely.remotetask.policy import Policy


NOW = 1000.0


def job(failures=0, transients=0):
    return types.SimpleNamespace(failures=failures, transients=transients)


class DueTest(unittest.TestCase):

    def due(self, settings, exception=None, jitter=1.0, retryable=False, **kw):
        """Return the wait that was chosen, with the greatest jitter."""
        failure = Outcome(
            exception=exception or OSError(), retryable=retryable)
        with unittest.mock.patch(
                'random.uniform', lambda low, high: low + jitter * high):
            due = settings.due_after_failure(job(**kw), failure, NOW)
        return None if due is None else round(due - NOW, 6)

    def test_not_said(self):
        """An error that `retry_on` does not name is final."""
        self.assertIsNone(self.due(Policy()))
        self.assertIsNone(self.due(Policy(retry_on=('builtins.KeyError',))))

    def test_retry_on(self):
        """One that it names, or whose base class it names, is not."""
        for name in ('builtins.ConnectionResetError', 'builtins.OSError',
                     'builtins.Exception'):
            with self.subTest(name):
                self.assertEqual(1, self.due(
                    Policy(retry_on=(name,)), ConnectionResetError()))

    def test_attempts(self):
        """There are as many attempts as said, the waits double."""
        settings = Policy(attempts=5, retry_wait=3, retry_on=(
            'builtins.OSError',))
        self.assertEqual(
            [3, 6, 12, 24, None],
            [self.due(settings, failures=number) for number in range(5)])

    def test_one_attempt(self):
        """With one attempt the first error is final."""
        self.assertIsNone(self.due(Policy(
            attempts=1, retry_on=('builtins.OSError',))))

    def test_at_most_an_hour(self):
        """No wait is longer than an hour."""
        settings = Policy(attempts=100, retry_on=('builtins.OSError',))
        self.assertEqual(3600, self.due(settings, failures=50))

    def test_full_jitter(self):
        """A wait is anything between 0 and its limit."""
        settings = Policy(retry_wait=8, retry_on=('builtins.OSError',))
        self.assertEqual(
            [0, 4, 8],
            [self.due(settings, jitter=jitter) for jitter in (0, .5, 1)])

    def test_transient_errors(self):
        """They are tried again in any case: ten times, from 50 ms."""
        waits = [self.due(Policy(attempts=1), retryable=True,
                          transients=number, failures=7)
                 for number in range(11)]
        self.assertEqual([.05, .1, .2, .4, .8, 1.6, 3.2, 6.4, 12.8, 25.6,
                          None], waits)

    def test_transient_errors_are_no_attempts(self):
        """Nor do they count against the attempts."""
        settings = Policy(retry_on=('builtins.OSError',))
        self.assertEqual(1, self.due(settings, transients=9, failures=0))


class RetentionTest(unittest.TestCase):

    def test_retention(self):
        """Good ends are kept a week, bad ones a month, or as said."""
        self.assertEqual(
            [7, 7, 30, 30],
            [Policy().retention_of(status) / policy.DAY
             for status in (COMPLETED, CANCELLED, ERROR, HELD)])
        settings = Policy(retention=1, error_retention=2)
        self.assertEqual(
            [1, 1, 2, 2],
            [settings.retention_of(status)
             for status in (COMPLETED, CANCELLED, ERROR, HELD)])
