"""What becomes of claims in a processor."""

import unittest
import unittest.mock

from lovely.remotetask.running.claims import Claims


def claim(jobid):
    return unittest.mock.Mock(job=jobid)


class ClaimsTest(unittest.TestCase):

    def setUp(self):
        self.claims = Claims()
        self.made = [claim(jobid) for jobid in (1, 2, 3)]
        self.claims.add(self.made)

    def test_in_order(self):
        """They are taken in the order in which they were claimed."""
        self.assertEqual(self.made[0], self.claims.take())
        self.assertEqual(self.made[1:], [
            self.claims.take_another() for _ in range(2)])
        self.assertIsNone(self.claims.take_another())

    def test_twice(self):
        """A job that is in line already is not put there again."""
        self.claims.add([claim(2)])
        self.assertEqual(3, self.claims.waiting)

    def test_settle(self):
        """What was run is settled, and those that come meanwhile later."""
        for _ in range(3):
            self.claims.take()
        self.claims.mark_run(self.made[:2])
        run, late = self.claims.to_settle()
        self.assertEqual(([1, 2], []), (run, late))
        self.claims.mark_run(self.made[2:])
        self.claims.mark_settled(run, late)
        self.assertEqual(({3}, [3]), (self.claims.ids, self.claims.run))

    def test_late(self):
        """What no runner takes is handed back."""
        self.claims.take()
        self.claims.give_up_waiting()
        self.assertEqual(([], [2, 3]), self.claims.to_settle())
        self.assertEqual(0, self.claims.waiting)

    def test_set_aside(self):
        """One that cannot be settled is not in the way of others."""
        for _ in range(2):
            self.claims.take()
        self.claims.mark_run(self.made[:2])
        self.claims.set_aside(1, begun=True)
        self.claims.give_up_waiting()
        self.claims.set_aside(3, begun=False)
        self.assertEqual(([2], []), self.claims.to_settle())
        self.assertEqual({1: True, 3: False}, self.claims.unsettled)
        self.assertEqual([2, 1], self.claims.run)
        self.claims.mark_unsettled(1)
        self.assertEqual({2, 3}, self.claims.ids)

    def test_end(self):
        """At the end runners take nothing any more, all of them."""
        self.claims.end(2)
        self.assertEqual([None, None],
                         [self.claims.take() for _ in range(2)])

    def test_end_is_seen_by_all(self):
        """Who looks for another one leaves the end to the next turn."""
        self.claims.end(1)
        self.assertIsNone(self.claims.take_another())
        self.assertIsNone(self.claims.take())

    def test_missed(self):
        """What no runner has at two looks was lost on the way."""
        for _ in range(3):
            self.claims.take()
        self.claims.mark_run(self.made[:1])
        self.assertEqual([], self.claims.missed([2]))
        self.assertEqual([3], self.claims.missed([2]))
        self.claims.mark_missed([3])
        self.assertEqual([1, 3], self.claims.run)
        self.assertEqual([], self.claims.missed([2]))

    def test_missed_in_between(self):
        """What was on its way at one look is not lost."""
        for _ in range(3):
            self.claims.take()
        self.assertEqual([], self.claims.missed([1, 2]))
        self.assertEqual([], self.claims.missed([1, 2, 3]))
        self.assertEqual([], self.claims.missed([1, 2]))

    def test_waiting_is_not_missed(self):
        """While some wait, it is not known which."""
        for _ in range(2):
            self.assertEqual([], self.claims.missed([]))

    def test_forget(self):
        """Of another service nothing is claimed."""
        self.claims.take()
        self.claims.mark_run(self.made[:1])
        self.claims.forget()
        self.assertEqual((set(), 0, ([], [])), (
            self.claims.ids, self.claims.waiting, self.claims.to_settle()))
