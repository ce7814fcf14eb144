"""Ids lead to lanes, strands and places in them."""

import unittest

from lovely.remotetask.storage import numbering


class IdTest(unittest.TestCase):

    def test_there_and_back(self):
        """An id leads back to what it was made of."""
        for place in ((0, 0, 0), (0, 0, 5), (1, 0, 0), (0, 1, 0),
                      (7, numbering.MAX_LANES - 1, 9), (2 ** 40, 3, 9)):
            with self.subTest(place):
                self.assertEqual(
                    place, numbering.split_id(numbering.make_id(*place)))

    def test_ids_differ(self):
        """Different places have different ids."""
        ids = {numbering.make_id(sequence, number, priority)
               for sequence in range(5) for number in range(20)
               for priority in range(10)}
        self.assertEqual(5 * 20 * 10, len(ids))

    def test_ids_grow(self):
        """In a strand, later ids are greater."""
        ids = [numbering.make_id(sequence, 3, 5) for sequence in range(100)]
        self.assertEqual(sorted(ids), ids)

    def test_63_bits(self):
        """After ten thousand million jobs an id still fits."""
        self.assertLess(
            numbering.make_id(10 ** 10, numbering.MAX_LANES - 1, 9), 2 ** 63)
