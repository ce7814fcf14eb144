"""Numbers that callers give, or that were stored."""

import datetime
import decimal
import enum
import fractions
import math
import unittest

from lovely.remotetask import number


class Level(enum.IntEnum):
    HIGH = 9


class Share(float, enum.Enum):
    HALF = 0.5


class Text(enum.StrEnum):
    NAME = 'name'


class NumpyLike:
    """An integer as numpy has it: no int, but an index."""

    def __index__(self):
        return 7


class Rude:

    def __repr__(self):
        raise ZeroDivisionError


NO_NUMBERS = ('5', '', b'5', None, True, False, (), (5,), [], {}, object(),
              decimal.Decimal(5), fractions.Fraction(1, 2), 5j,
              datetime.timedelta(5), datetime.datetime.now(), int)


def nested(depth):
    value = ()
    for _ in range(depth):
        value = (value,)
    return value


class ShownTest(unittest.TestCase):

    def test_whatever_it_is(self):
        """Any value is shown, in few characters."""
        cyclic = []
        cyclic.append(cyclic)
        for value in (10 ** 5000, -10 ** 5000, (10 ** 5000,), 'x' * 10 ** 6,
                      b'x' * 10 ** 6, nested(100_000), cyclic, Rude(),
                      [Rude()], range(10 ** 9), list(range(10 ** 5)),
                      fractions.Fraction(10 ** 5000), math.nan,
                      {Rude(): Rude()}):
            with self.subTest(type(value)):
                self.assertLess(len(number.shown(value)), 1000)

    def test_usual_ones(self):
        """What is short is shown as it is written."""
        for value in (5, -0.5, 'Europe/Berlin', (1, 2), None, True,
                      datetime.timedelta(1)):
            self.assertEqual(repr(value), number.shown(value))


class ExactTest(unittest.TestCase):

    def test_classes_of_others(self):
        """They are left behind: they may move."""
        for value, expected in ((Level.HIGH, 9), (Share.HALF, 0.5),
                                (Text.NAME, 'name'), (5, 5), (0.5, 0.5),
                                ('text', 'text')):
            found = number.exact(value)
            self.assertEqual(expected, found)
            self.assertIs(type(expected), type(found))

    def test_methods_are_not_asked(self):
        """A class cannot choose what number it is."""
        class Liar(int):
            def __int__(self):
                return 1

            def __index__(self):
                return 1
        self.assertEqual(5, number.exact(Liar(5)))

    def test_others(self):
        """What is no number and no text stays as it is."""
        for value in (None, True, (), object):
            self.assertIs(value, number.exact(value))


class WholeTest(unittest.TestCase):

    def test_whole(self):
        """An int in the range; those of numpy and of an IntEnum, too."""
        for value, expected in ((1, 1), (9, 9), (Level.HIGH, 9),
                                (NumpyLike(), 7)):
            found = number.check_whole('number', value, 1, 9)
            self.assertEqual(expected, found)
            self.assertIs(int, type(found))

    def test_without_an_end(self):
        """Python has no greatest int."""
        self.assertEqual(10 ** 400, number.check_whole('n', 10 ** 400, 1))
        with self.assertRaisesRegex(ValueError, r'n must .*1 or more, not 0'):
            number.check_whole('n', 0, 1)

    def test_wrong(self):
        """The message says which, what is right, and what it is."""
        for value in (*NO_NUMBERS, 0, 10, -1, 5.0, math.nan, math.inf,
                      10 ** 5000, Share.HALF):
            with self.subTest(value=number.shown(value)), \
                    self.assertRaisesRegex(
                        ValueError, 'size must be a whole number, 1 to 9, '):
                number.check_whole('size', value, 1, 9)


class SecondsTest(unittest.TestCase):

    def test_seconds(self):
        """Whole ones, and fractions."""
        for value, expected in ((0, 0), (5, 5), (0.5, 0.5), (math.inf,) * 2,
                                (10 ** 400,) * 2, (Level.HIGH, 9),
                                (Share.HALF, 0.5), (NumpyLike(), 7)):
            found = number.check_seconds('wait', value)
            self.assertEqual(expected, found)
            self.assertIs(type(expected), type(found))

    def test_wrong(self):
        """Not a number, or a number that is none."""
        for value in (*NO_NUMBERS, math.nan, -1, -0.1, -math.inf,
                      -10 ** 5000):
            with self.subTest(value=number.shown(value)), \
                    self.assertRaisesRegex(
                        ValueError, 'wait must be a number of seconds, 0 or'):
                number.check_seconds('wait', value)


class TimeTest(unittest.TestCase):

    def test_the_calendar(self):
        """Times are those of the years that dates have."""
        for seconds, text in ((number.FIRST, '0001-01-02T00:00:00+00:00'),
                              (0, '1970-01-01T00:00:00+00:00'),
                              (number.LAST, '9999-12-31T00:00:00+00:00')):
            self.assertEqual(text, datetime.datetime.fromtimestamp(
                number.check_time(seconds), datetime.UTC).isoformat())

    def test_wrong(self):
        """No time at all, or none that a date could tell."""
        for value in (*NO_NUMBERS, math.nan, math.inf, -math.inf, 1e300,
                      number.FIRST - 1, number.LAST + 1, 10 ** 5000):
            with self.subTest(value=number.shown(value)), \
                    self.assertRaisesRegex(ValueError, 'POSIX seconds'):
                number.check_time(value)


class PriorityTest(unittest.TestCase):

    def test_priority(self):
        """0 to 9; of an IntEnum the number is kept."""
        self.assertEqual([0, 5, 9, 7], [
            number.check_priority(value)
            for value in (0, 5, Level.HIGH, NumpyLike())])
        self.assertIs(int, type(number.check_priority(Level.HIGH)))

    def test_wrong(self):
        """Everything else is refused, with the range."""
        for value in (*NO_NUMBERS, -1, 10, 5.0, math.nan, 10 ** 5000):
            with self.subTest(value=number.shown(value)), \
                    self.assertRaisesRegex(
                        ValueError, 'priority must be 0 to 9, the highest'):
                number.check_priority(value)


class FlagTest(unittest.TestCase):

    def test_flag(self):
        """A bool; 0 and 1 are taken for one."""
        for value, expected in ((True, True), (False, False), (1, True),
                                (0, False)):
            self.assertIs(expected, number.check_flag('paused', value))

    def test_wrong(self):
        """Everything else is refused, whatever Python takes for true."""
        others = [value for value in NO_NUMBERS
                  if not isinstance(value, bool)]
        for value in (*others, 2, -1, 1.0, math.nan, 10 ** 5000, 'no'):
            with self.subTest(value=number.shown(value)), \
                    self.assertRaisesRegex(
                        ValueError, 'paused must be True or False, not '):
                number.check_flag('paused', value)
