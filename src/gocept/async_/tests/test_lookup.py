"""Finding functions again, and whether they take what is stored.

What was found once is compared with what its module has today.
"""

import sys
import types
import unittest
import unittest.mock

from gocept.async_ import fit
from gocept.async_ import lookup
from gocept.async_.decorator import function


def one(a):
    """Take one argument."""


def some(a, b=None, *others):
    """Take one argument, or more."""


def named(a, *, b):
    """Take one that has to be named."""


class FoundAgainTest(unittest.TestCase):

    NAME = 'found_again_test'

    def setUp(self):
        self.module = sys.modules[self.NAME] = types.ModuleType(self.NAME)
        self.addCleanup(sys.modules.pop, self.NAME, None)
        self.first = self.put()
        self.assertIs(self.first, self.find())

    def put(self):
        """Put a decorated function into the module.  Return it."""
        def work():
            """Do nothing."""
        self.module.work = function('events')(work)
        return self.module.work

    def find(self):
        return lookup.find_function(f'{self.NAME}.work')

    def test_without_importing(self):
        with unittest.mock.patch.object(lookup, '_import') as imported:
            self.assertIs(self.first, self.find())
        self.assertEqual([], imported.mock_calls)

    def test_another_one(self):
        """The module was loaded anew."""
        second = self.put()
        self.assertIs(second, self.find())
        self.assertIs(second, self.find())

    def test_wrapped(self):
        """Another decorator was put around it; the same is found in that."""
        def around():
            """Do more."""
        around.__wrapped__ = self.first
        self.module.work = around
        self.assertIs(self.first, self.find())
        self.assertIs(self.first, self.find())

    def test_gone(self):
        del self.module.work
        with self.assertRaises(LookupError):
            self.find()

    def test_no_task_any_more(self):
        """Being found once does not make it one for ever."""
        self.module.work = len
        with self.assertRaisesRegex(LookupError, 'not an asynchronous'):
            self.find()


class TakesTest(unittest.TestCase):
    """What is told fast is what the signature says."""

    def test_positional(self):
        for func, numbers in ((one, {1}), (some, {1, 2, 3, 9}), (named, ())):
            for number in (0, 1, 2, 3, 9):
                with self.subTest(func.__name__, number=number):
                    self.assertIs(
                        number in numbers,
                        fit.surely_takes(func, (None,) * number, {}))

    def test_by_name(self):
        """The signature has to be asked."""
        self.assertFalse(fit.surely_takes(one, (), {'a': 1}))
        self.assertFalse(fit.surely_takes(named, (1,), {'b': 2}))
