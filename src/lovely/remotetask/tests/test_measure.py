"""What is counted of runs adds up, and stays small."""

import math
import unittest

from lovely.remotetask import measure
from lovely.remotetask.measure import Counts
from lovely.remotetask.measure import Functions
from lovely.remotetask.measure import Slice
from lovely.remotetask.measure import bin_of
from lovely.remotetask.measure import joined
from lovely.remotetask.measure import limit_of
from lovely.remotetask.measure import quantile


class BinTest(unittest.TestCase):

    def test_limits(self):
        """A duration is at most the limit of its bin, and no fifth below."""
        for seconds in (0.0011, 0.01, 0.5, 1.0, 59.9, 3600.0, 86400.0):
            with self.subTest(seconds):
                limit = limit_of(bin_of(seconds))
                self.assertLessEqual(seconds, limit * (1 + 1e-6))
                self.assertGreater(seconds, limit / 1.22)

    def test_powers_of_ten(self):
        """Round durations are limits themselves."""
        for power in range(-3, 6):
            self.assertEqual(12 * power, bin_of(10.0 ** power))

    def test_anything(self):
        """Whatever a clock says has one of a few bins."""
        for seconds in (0.0, -5.0, 1e-9, -math.inf, math.nan):
            self.assertEqual(measure.FIRST, bin_of(seconds))
        for seconds in (1e6, 1e300, math.inf):
            self.assertEqual(measure.LAST, bin_of(seconds))

    def test_quantile(self):
        bins = {0: 90, 12: 9, 24: 1}
        self.assertEqual(1.0, quantile(bins, 0.5))
        self.assertEqual(10.0, quantile(bins, 0.95))
        self.assertEqual(100.0, quantile(bins, 1.0))
        self.assertEqual(1.0, quantile(bins, 0.0))
        self.assertIsNone(quantile({}, 0.5))


class CountsTest(unittest.TestCase):

    def test_adds_up(self):
        """The sum is that of what was counted, also after it was stored."""
        one, other = Counts(), Counts()
        one.count('completed', 1.0, 0.5)
        other.count('failed', 10.0)
        other.count('lost')
        one.add(Counts(*other.stored()))
        self.assertEqual((1, 1, 1), (one.completed, one.failed, one.lost))
        self.assertEqual(2, one.ended)
        self.assertEqual(11.0, one.seconds)
        self.assertEqual({0: 1, 12: 1}, one.runs)
        self.assertEqual(1, sum(one.waits.values()))

    def test_what_is_no_number(self):
        """It spoils no sum."""
        found = Counts()
        for seconds in (math.nan, math.inf, -1.0):
            found.count('completed', seconds, seconds)
        self.assertEqual(3, found.completed)
        self.assertEqual(0.0, found.seconds)

    def test_own_bins(self):
        """What is stored does not change any more."""
        found = Counts()
        found.count('completed', 1.0)
        stored = found.stored()
        Counts(*stored).count('completed', 1.0)
        self.assertEqual({0: 1}, stored[-2])


class FunctionsTest(unittest.TestCase):

    def test_few(self):
        """Beyond a hundred, all functions are one, and nothing gets lost."""
        found = Functions()
        for number in range(1000):
            found.of(f'shop.f{number}').count('completed', 1.0)
        self.assertEqual(measure.MOST_FUNCTIONS + 1, len(found))
        self.assertEqual(1000, found.total().completed)
        self.assertEqual(1000 - measure.MOST_FUNCTIONS,
                         found[measure.OTHERS].completed)

    def test_names(self):
        """No name, and one without an end."""
        found = Functions()
        found.of(None).count('lost')
        found.of('x' * 100_000).count('lost')
        self.assertEqual({'', 'x' * measure.LONGEST_NAME}, set(found))

    def test_others_take_no_place(self):
        """All have their own counts, also after those without a name."""
        found = Functions()
        found.of('')
        for number in range(measure.MOST_FUNCTIONS + 1):
            found.of(str(number))
        self.assertEqual(measure.MOST_FUNCTIONS + 1, len(found))

    def test_reserve(self):
        """Who has a place keeps it, whoever is counted first."""
        found = Functions()
        found.reserve(['f'])
        for number in range(2 * measure.MOST_FUNCTIONS):
            found.of(str(number)).count('failed')
        found.of('f').count('failed')
        self.assertEqual(1, found['f'].failed)


class SliceTest(unittest.TestCase):

    def test_joined(self):
        """Minutes become ten of them; of what waits the most counts."""
        slices = [Slice(0, 3, 2.5), Slice(60, 9, None), Slice(600, None, 1.0)]
        slices[0].functions.of('f').count('failed')
        slices[1].functions.of('f').count('failed')
        first, second = joined(reversed(slices), 600)
        self.assertEqual((0, 9, 2.5), (first.start, first.depth, first.age))
        self.assertEqual(2, first.functions['f'].failed)
        self.assertEqual((600, None), (second.start, second.depth))

    def test_joined_are_left_alone(self):
        """What was joined once can be joined again, or be added elsewhere."""
        slices = [Slice(0), Slice(0), Slice(60), Slice(600)]
        for each in slices:
            each.functions.of('f').count('completed', 1.0)
        first = [each.stored() for each in joined(slices, 600)]
        self.assertEqual(first, [
            each.stored() for each in joined(slices, 600)])
        self.assertEqual([1] * 4, [
            each.functions.number('completed') for each in slices])

    def test_ages_that_are_none(self):
        """What is stored of a job may be anything."""
        found = Slice(0, 1, 2.0)
        for age in math.inf, -math.inf, math.nan, None:
            found.see(1, age)
            self.assertIsNone(Slice(0, 1, age).age)
        self.assertEqual(2.0, found.age)

    def test_stored(self):
        """Nothing but plain values, and the same again."""
        found = Slice(120, 1, 2.0)
        found.functions.of('f').count('conflicts', 0.1, 0.2)
        again = Slice(*found.stored())
        self.assertEqual(found.stored(), again.stored())

    def test_stored_functions(self):
        """Fewer are told apart there, and nothing gets lost."""
        found = Slice(120)
        for number in range(measure.MOST_FUNCTIONS):
            found.functions.of(str(number)).count('completed', 1.0)
        functions = Slice(*found.stored()).functions
        self.assertEqual(measure.MOST_IN_SLICE + 1, len(functions))
        self.assertEqual(
            measure.MOST_FUNCTIONS, functions.number('completed'))
        self.assertEqual(1, functions['0'].completed)
