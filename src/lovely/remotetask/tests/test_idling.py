"""How an idle processor waits: when it looks, and what it hears."""

import time
import unittest.mock

from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import idling
from lovely.remotetask.running import quirks
from lovely.remotetask.running import suspects
from lovely.remotetask.running import wire
from lovely.remotetask.running.channel import word_for
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase


class StandIn:
    """Instead of a wire: remembers who listens."""

    is_listening = True

    def __init__(self):
        self.calls = {}
        self.sent = []

    def listen(self, word, call, interval):
        is_new = word not in self.calls
        self.calls[word] = call, interval
        return is_new

    def forget(self, word, call):
        if self.calls[word][0] == call:
            del self.calls[word]

    def send(self, word):
        self.sent.append(word)


class IdlingCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.task(Calls())
        self.made = self.processor()
        self.idling = self.made.idling
        self.made.membership.clock.trusted = True

    def step(self):
        # The threads that it starts.
        self.addCleanup(self.made.team.join, int)
        self.addCleanup(self.made.team.end)
        # Or one that cannot begin its job would try again for ever.
        self.addCleanup(self.made.stop)
        self.idling.look()
        self.made.step()

    def have_wire(self):
        """Give the database a channel; return the stand-in."""
        wire._wires[self.db] = found = StandIn()
        self.addCleanup(wire._wires.pop, self.db)
        return found

    def pauses(self, number):
        """Return so many of those that follow each other."""
        found = []
        for _ in range(number):
            self.idling._compare_claims()
            found.append(self.idling.longest())
        return found


class PauseTest(IdlingCase):
    """Where nobody tells of commits."""

    def polled(self, is_polled=True):
        self.enterContext(unittest.mock.patch.object(
            quirks, 'is_polled', return_value=is_polled))

    def test_growing(self):
        """It looks soon after a job, and ever more seldom."""
        self.polled()
        self.assertEqual(
            [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0], self.pauses(8))

    def test_after_a_job(self):
        """Whatever it claims or settles, it begins anew."""
        self.polled()
        self.pauses(5)
        self.made.claims.ids.add(1)
        self.assertEqual([0.02, 0.04], self.pauses(2))
        self.made.claims.ids.clear()
        self.assertEqual([0.02, 0.04], self.pauses(2))

    def test_wait_time(self):
        """That is the longest one, whatever it is."""
        self.polled()
        self.made = self.processor(waitTime=0.03)
        self.idling = self.made.idling
        self.made.membership.clock.trusted = True
        self.assertEqual(
            [0.02, 0.04, idling.LEAST_WAIT, idling.LEAST_WAIT],
            self.pauses(4))
        self.made = self.processor(waitTime=600)
        self.idling = self.made.idling
        self.made.membership.clock.trusted = True
        self.assertEqual(600, self.pauses(20)[-1])

    def test_nobody_else_commits(self):
        """A storage of this process alone is looked at as before."""
        self.polled(False)
        self.assertEqual([1.0, 1.0], self.pauses(2))

    def test_storages(self):
        """Those whose commits others do, and nobody is told of."""
        self.assertFalse(quirks.is_polled(self.db))
        self.assertFalse(quirks.is_polled(None))
        served = type('ClientStorage', (), {'__module__': 'ZEO.x'})
        polled = type('RelStorage', (), {'__module__': 'relstorage.x'})
        for storage, expected in ((served(), False), (polled(), True)):
            self.assertEqual(expected, quirks.is_polled(
                unittest.mock.Mock(storage=storage)))

    def test_channel(self):
        """Who listens need not look."""
        self.polled()
        found = self.have_wire()
        self.step()
        self.idling._listen()
        self.assertEqual([1.0, 1.0], self.pauses(2))
        found.is_listening = False
        self.assertEqual([0.02, 0.04], self.pauses(2))

    def test_storage_that_cannot_be_asked(self):
        """It is no reason to die."""
        with unittest.mock.patch.object(
                quirks, 'is_polled', side_effect=SystemExit):
            self.assertEqual([1.0, 1.0], self.pauses(2))


class ListenTest(IdlingCase):

    def setUp(self):
        super().setUp()
        self.wire = self.have_wire()
        self.word = word_for(self.service._p_oid)
        self.step()
        self.idling._listen()

    def test_listens(self):
        """Under the word of its service, as often as it is to look."""
        self.assertEqual(
            {self.word: (self.idling.hear, 1.0)}, self.wire.calls)

    def test_not_before_the_service_is_known(self):
        """Nor is anything opened."""
        other = SimpleProcessor(self.db, ['tasks'])
        other.idling._listen()
        self.assertEqual([self.word], list(self.wire.calls))

    def test_ends(self):
        """A processor that has stopped listens no more."""
        self.made.stop()
        self.made._finish()
        self.assertEqual({}, self.wire.calls)

    def test_service_that_has_moved(self):
        """Where it was before, it listens no more."""
        self.made.place = self.db, b'87654321'
        self.idling._listen()
        self.assertEqual([word_for(b'87654321')], list(self.wire.calls))

    def test_before_it_listened(self):
        """What was told since its last step it has not heard; so it looks."""
        self.assertTrue(self.idling._told)
        self.idling.look()
        self.idling._listen()
        self.assertFalse(self.idling._told)
        # The process has stopped listening, and goes on.
        self.wire.calls.clear()
        self.idling._listen()
        self.assertTrue(self.idling._told)

    def test_hear(self):
        """It looks at once; once for each word that comes before."""
        self.idling.look()
        self.idling._compare_claims()
        self.assertFalse(self.idling.has_news())
        self.idling.hear()
        self.idling.hear()
        self.assertTrue(self.idling.has_news())
        self.idling.wait()
        self.idling.look()
        self.assertFalse(self.idling.has_news())

    def test_during_a_step(self):
        """What is told while it looks is looked at, too."""
        self.idling.look()
        self.idling.hear()
        self.made.step()
        self.idling._compare_claims()
        self.assertTrue(self.idling._is_called(60.0))

    def test_told_for_nothing(self):
        """Whoever says so all the time does not keep it at work."""
        self.idling._compare_claims()
        self.idling._compare_claims()
        self.idling.look()
        self.idling.hear()
        self.assertFalse(self.idling.has_news())
        self.idling._looked -= idling.LOOK
        self.assertTrue(self.idling.has_news())

    def test_told_after_a_job(self):
        """Where there was one there may be another: at once."""
        # There is room for many.
        self.made.team.tempo.learn(0.001)
        self.idling._compare_claims()
        self.made.claims.ids.add(1)
        self.idling._compare_claims()
        self.idling.look()
        self.idling.hear()
        self.assertTrue(self.idling.has_news())

    def test_enough_to_run(self):
        """It would meet the steps of other processors all the time."""
        self.idling.hear()
        with self.waiting(self.made.team.low_water() + 1):
            self.assertFalse(self.idling.has_news())
        self.idling.wake()
        self.assertTrue(self.idling._is_called(60.0))

    def test_nothing_else_can_be_run(self):
        """What others commit can wait until a runner has room."""
        team = self.made.team
        team.tempo.learn(0.001)
        self.enterContext(unittest.mock.patch.object(
            team, 'runners', [unittest.mock.Mock(
                is_busy_since=lambda moment: False)]))
        self.made.claims.ids.update(range(team.batch()))
        self.idling._seen = b'before'
        self.idling._is_concerned = True
        with unittest.mock.patch.object(
                quirks, 'last_transaction_heard_of', return_value=b'after'):
            self.assertFalse(self.idling.has_news())
            self.assertFalse(self.idling._has_to_look())
            self.made.claims.mark_run([unittest.mock.Mock(job=0)])
            self.assertTrue(self.idling.has_news())
            self.assertTrue(self.idling._has_to_look())

    def waiting(self, number):
        """Let so many claims wait to be run."""
        # Real ones would be taken by the threads meanwhile.
        return unittest.mock.patch.object(
            type(self.made.claims), 'waiting', number)

    def test_little_to_run(self):
        """A runner says so; that calls for a step as long as it is true."""
        # One thread is idle, and takes one of them.
        few = self.made.team.low_water() + 1
        with self.waiting(few):
            self.made.team.replenish()
            self.assertTrue(self.idling._is_called(60.0))
        with self.waiting(few + 1):
            self.made.team.replenish()
            self.assertFalse(self.idling._is_called(0.01))

    def test_little_to_run_before_a_step(self):
        """It has claimed others since: there is no other step at once."""
        with self.waiting(self.made.team.low_water()):
            self.made.team.replenish()
        with self.waiting(self.made.team.low_water() + 40):
            self.assertFalse(self.idling._is_called(0.01))
            self.idling.wake()
            self.assertTrue(self.idling._is_called(60.0))

    def test_woken(self):
        """What is added here needs no channel."""
        self.made.added([])
        began = time.monotonic()
        self.idling.look()
        self.idling.wait()
        self.assertLess(time.monotonic() - began, 1.0)
        self.assertFalse(self.idling._is_called(0.0))

    def test_handed_back(self):
        """Others are told of jobs for which nobody here has time."""
        busy = self.processor(MultiProcessor, maxThreads=1)
        busy.place = self.made.place
        self.add('test.task')
        del self.wire.sent[:]
        claim_id = busy.claimNextJob()
        busy.claims.add([busy._stepwise.pop(claim_id)])
        busy.claims.give_up_waiting()
        with unittest.mock.patch.object(busy.team, 'look_after'):
            busy.step()
        self.assertEqual([self.word], self.wire.sent)


class RestTest(IdlingCase):
    """When a step would tell nothing new."""

    def setUp(self):
        super().setUp()
        self.wire = self.have_wire()
        self.step()
        self.idling._listen()
        self.addCleanup(suspects.end_turn, 'any')

    def test_rests(self):
        self.assertTrue(self.idling._may_rest())

    def test_does_not(self):
        """Whatever may have to be done in time is."""
        made = self.made
        clock = made.membership.clock
        for what, owner, name, value in (
                ('does not listen', self.wire, 'is_listening', False),
                ('claims', made.claims, 'ids', {1}),
                ('a job is due', made.claimer, 'next_due', clock.now() - 1),
                ('the clock was set', type(clock), 'is_good', False),
                ('others wait for a sign', made, '_beaten', 0.0),
                ('others may be dead', made.duties['release'], 'due', 0.0),
                ('old jobs are left', made.duties['prune'], 'due', 0.0),
                ('stopped', made.idling._stopped, 'is_set', lambda: True)):
            with self.subTest(what), \
                    unittest.mock.patch.object(owner, name, value):
                self.assertFalse(self.idling._may_rest())
            self.assertTrue(self.idling._may_rest())

    def test_later(self):
        """A job that is due later is waited for."""
        self.made.claimer.next_due = self.made.membership.clock.now() + 100
        self.assertTrue(self.idling._may_rest())

    def test_trouble(self):
        """Something is tried again."""
        self.made.duties.mark_ill('prune', 'any', time.monotonic())
        self.assertFalse(self.idling._may_rest())

    def test_turn(self):
        """What others of this process run keeps jobs from being claimed."""
        suspects.take_turn('any')
        self.assertFalse(self.idling._may_rest())

    def test_without_channel(self):
        """It has to look."""
        self.idling.end()
        self.assertFalse(self.idling._may_rest())

    def test_child(self):
        """A processor that was forked listens in its own process."""
        self.idling.become_another()
        # The wire of the parent is left alone.
        self.assertTrue(self.wire.calls)
        self.assertFalse(self.idling._may_rest())
