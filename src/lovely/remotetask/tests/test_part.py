"""Tests of lovely.remotetask.part."""

import copy
import pickle
import unittest
import unittest.mock
from typing import NamedTuple

import zodbpickle.pickle
from zope.interface.verify import verifyObject
from zope.security.checker import Checker
from zope.security.proxy import Proxy
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask.history import Attempt
from lovely.remotetask.interfaces import IClaim
from lovely.remotetask.job import Claim
from lovely.remotetask.part import DEPTH
from lovely.remotetask.part import home
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.part import parents
from lovely.remotetask.part import part
from lovely.remotetask.part import path


@part
class Point(NamedTuple):
    """Two numbers."""

    x: int
    y: int = 0


class Location:

    def __init__(self, parent=None):
        self.__parent__ = parent


class ParentsTest(unittest.TestCase):
    """What an object is part of."""

    def test_up_to_the_outermost(self):
        """Without security proxies; the object itself comes first."""
        root = Location()
        folder = Location(Proxy(root, Checker({})))
        proxied = Proxy(Location(folder), Checker({}))
        found = list(parents(proxied))
        self.assertEqual([removeSecurityProxy(proxied), folder, root], found)
        self.assertNotIn(Proxy, map(type, found))
        self.assertEqual([5], list(parents(5)))
        self.assertEqual([], list(parents(None)))

    def test_without_end(self):
        """Parents that are in one another come to an end."""
        one, other = Location(), Location()
        one.__parent__, other.__parent__ = other, one
        self.assertEqual(DEPTH, len(list(parents(one))))
        self.assertIsNone(home(one))

    def test_path(self):
        """The names of all that have one, but for those without end."""
        root, folder, found = Location(), Location(), Location()
        folder.__name__, found.__name__ = 'folder', 'found'
        found.__parent__, folder.__parent__ = folder, root
        self.assertEqual(['folder', 'found'], path(found))
        root.__parent__ = folder
        with self.assertRaisesRegex(ValueError, "'found' has parents without"):
            path(found)

    def test_home(self):
        """The database of the nearest parent that is stored in one."""
        stored = Location()
        stored._p_jar = 'connection'
        new = Location(Location(Proxy(stored, Checker({}))))
        self.assertEqual('connection', home(new))
        self.assertEqual('connection', home(stored))
        self.assertIsNone(home(Location()))
        self.assertIsNone(home(5))

    def test_is_nowhere(self):
        """Stored without a parent; others may know nothing of parents."""
        lost, found = Location(), Location(Location())
        lost._p_jar = found._p_jar = 'connection'
        self.assertTrue(is_nowhere(lost))
        self.assertTrue(is_nowhere(Proxy(lost, Checker({}))))
        orphan = object.__new__(Location)
        orphan._p_jar = 'connection'
        for other in (found, Proxy(found, Checker({})), Location(), orphan,
                      unittest.mock.MagicMock(), None, 5):
            with self.subTest(type(other)):
                self.assertFalse(is_nowhere(other))


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
        verifyObject(IClaim, Claim(1, '', '', 0.0, 1, 0, 'queued').part_of(
            self))
        self.assertIs(
            self, Attempt(1.0, 2.0, 'here', None, None, 0,
                          'completed').part_of(self).__parent__)
