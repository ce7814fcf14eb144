"""Tests of lovely.remotetask.part."""

import copy
import pickle
import unittest
from typing import NamedTuple

import zodbpickle.pickle
from zope.interface.verify import verifyObject

from lovely.remotetask.interfaces import IClaim
from lovely.remotetask.job import Attempt
from lovely.remotetask.job import Claim
from lovely.remotetask.part import part


@part
class Point(NamedTuple):
    """Two numbers."""

    x: int
    y: int = 0


class PartTest(unittest.TestCase):

    def setUp(self):
        self.parent = object()
        self.point = Point(1).part_of(self.parent)

    def test_has_a_parent(self):
        """It is told, and None before."""
        self.assertIs(self.parent, self.point.__parent__)
        self.assertIsNone(Point(1).__parent__)

    def test_is_a_copy(self):
        """The one it is made of belongs to nobody yet, or to another."""
        other = self.point.part_of('other')
        self.assertIs(self.parent, self.point.__parent__)
        self.assertEqual('other', other.__parent__)

    def test_is_the_same_tuple(self):
        """A parent makes no difference."""
        self.assertEqual((1, 0), self.point)
        self.assertEqual(Point(1), self.point)
        self.assertEqual(hash(Point(1)), hash(self.point))
        self.assertEqual('Point(x=1, y=0)', repr(self.point))
        self.assertEqual(Point(1, 5), self.point._replace(y=5))

    def test_name(self):
        """The class is found where it is defined."""
        self.assertEqual(
            (__name__, 'Point', 'Point', 'Two numbers.'),
            (Point.__module__, Point.__name__, Point.__qualname__,
             Point.__doc__))

    def test_parent_is_not_stored(self):
        """It would come from the connection of somebody else."""
        for copied in (
                pickle.loads(pickle.dumps(self.point)),
                zodbpickle.pickle.loads(zodbpickle.pickle.dumps(
                    self.point, 3)),
                copy.copy(self.point)):
            self.assertIs(Point, type(copied))
            self.assertEqual(self.point, copied)
            self.assertIsNone(copied.__parent__)

    def test_claims_and_attempts(self):
        """Are parts, and still what they are."""
        verifyObject(IClaim, Claim(1, '', '').part_of(self))
        self.assertIs(
            self, Attempt(1.0, 2.0, 'here').part_of(self).__parent__)
