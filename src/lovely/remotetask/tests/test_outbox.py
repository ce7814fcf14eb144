"""When words are sent: with an explicit clock."""

import unittest

from lovely.remotetask.running.outbox import SPACING
from lovely.remotetask.running.outbox import Outbox


class OutboxTest(unittest.TestCase):

    def setUp(self):
        self.outbox = Outbox()

    def test_nothing(self):
        """There is nothing to wait for."""
        self.assertFalse(self.outbox)
        self.assertEqual(float('inf'), self.outbox.wait(0.0))
        self.assertEqual([], self.outbox.take(0.0))

    def test_at_once(self):
        """The first word does not wait."""
        self.assertTrue(self.outbox.put('one'))
        self.assertTrue(self.outbox)
        self.assertEqual(0.0, self.outbox.wait(5.0))
        self.assertEqual(['one'], self.outbox.take(5.0))
        self.assertFalse(self.outbox)

    def test_together(self):
        """What comes soon after is sent together, each word once."""
        self.outbox.put('one')
        self.outbox.take(5.0)
        for word in ('two', 'one', 'two'):
            self.outbox.put(word)
        soon = 5.0 + SPACING / 2
        self.assertAlmostEqual(SPACING / 2, self.outbox.wait(soon))
        self.assertEqual([], self.outbox.take(soon))
        self.assertEqual(['one', 'two'], self.outbox.take(5.0 + SPACING))

    def test_a_stream(self):
        """However many come, they are sent once in a while."""
        sent = 0
        for number in range(1000):
            self.outbox.put('one')
            sent += len(self.outbox.take(number * SPACING / 100))
        self.assertEqual(10, sent)

    def test_put_tells_the_first(self):
        """Who puts the first word there is to wake who sends."""
        self.assertTrue(self.outbox.put('one'))
        self.assertFalse(self.outbox.put('two'))
        self.outbox.take(0.0)
        self.assertTrue(self.outbox.put('one'))
