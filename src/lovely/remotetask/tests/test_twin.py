"""Exceptions in the place of others, for who formats tracebacks."""

import traceback
import tracemalloc
import unittest

from lovely.remotetask.foreign.outcome import failure_of
from lovely.remotetask.tests.test_misbehaviour import NewCauses
from lovely.remotetask.tests.test_misbehaviour import NewContexts
from lovely.remotetask.tests.test_misbehaviour import chain
from lovely.remotetask.tests.test_misbehaviour import nested


def caught(call, *args):
    """Return the exception that a call raises."""
    try:
        call(*args)
    except BaseException as error:
        return error
    raise AssertionError('nothing was raised')


def raise_from_cause():
    try:
        int('one')
    except ValueError as error:
        error.add_note('a note\nof two lines')
        raise KeyError('two') from error


def raise_in_handler():
    try:
        int('one')
    except ValueError:
        raise KeyError('two')  # noqa: B904


def raise_without_context():
    try:
        int('one')
    except ValueError:
        raise KeyError('two') from None


def raise_group():
    raise BaseExceptionGroup('all', [
        caught(raise_from_cause), ExceptionGroup('inner', [OSError(2, 'no')]),
        SystemExit(3)])


def raise_syntax_error():
    compile('a = 1\nb = = 2', 'file.py', 'exec')


class Local(Exception):
    """Is of a module."""


def raise_local():
    raise Local


class TwinTest(unittest.TestCase):

    maxDiff = None

    def test_it_is_formatted_as_the_other_one_is(self):
        for call in (raise_from_cause, raise_in_handler, raise_group,
                     raise_without_context, raise_syntax_error, raise_local):
            with self.subTest(call.__name__):
                error = caught(call)
                # zope.testrunner replaces format_exception.
                expected = ''.join(traceback.TracebackException(
                    type(error), error, error.__traceback__).format())
                self.assertEqual(expected, failure_of(error).traceback)

    def test_there_is_an_end(self):
        """However many exceptions there are, or are made when asked for."""
        for error in (NewCauses(), NewContexts(), nested(2, 60),
                      nested(100_000, 3), chain(10_000)):
            failure = failure_of(error)
            self.assertLessEqual(len(failure.traceback), 16 * 1024)
            self.assertIn(type(error).__name__, failure.traceback)
            self.assertLess(failure.frames.count('Traceback'), 20)

    def test_many_notes(self):
        error = ValueError('x')
        error.__notes__ = ['n' * 10_000, 5, *['more'] * 100_000]
        told = failure_of(error).traceback
        self.assertIn('n' * 100, told)
        self.assertLess(told.count('more'), 50)

    def test_a_syntax_error_of_anything(self):
        """What it says of its place is limited."""
        large = 300_000_000
        for place in (('f', 1, 5, 'abcdefg', 1, large),
                      ('f', 1, large, 'abcdefg', 1, large + 5),
                      ('f', -large, -large, 'abcdefg', -large, -large),
                      ('f', 10 ** 1000, 10 ** 1000, 'abcdefg'),
                      ('f' * 10 ** 6, 1, 5, 'x' * 10 ** 6, 1, 10 ** 6)):
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            failure = failure_of(SyntaxError('wrong', place))
            _, most = tracemalloc.get_traced_memory()
            self.assertLess(most, 5_000_000)
            self.assertIn('SyntaxError: wrong', failure.traceback)
            self.assertRegex(failure.traceback, '    (abcdefg|xxx)')
