"""What several threads touch; docs/reference/writers.rst has the table.

Each test puts a second thread where it hurts most: in the middle of what the
first one does.
"""

import sys
import threading
import unittest
import unittest.mock

from lovely.remotetask.job import Claim
from lovely.remotetask.running import registry
from lovely.remotetask.running.claims import Claims
from lovely.remotetask.running.clock import FAR
from lovely.remotetask.running.clock import Clock
from lovely.remotetask.running.duty import Duty
from lovely.remotetask.running.tempo import Tempo
from lovely.remotetask.running.watch import Watch
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import DatabaseCase


# Seconds after which a thread that has not come back waits for a lock.
SHORT = 0.2


def in_the_middle(call):
    """Return a function: its first call lets another thread make a call.

    The thread has done it then, or it waits for the one who was here first.
    """
    threads = []

    def middle():
        if not threads:
            threads.append(threading.Thread(target=call, daemon=True))
            threads[0].start()
            threads[0].join(SHORT)
    middle.threads = threads
    return middle


def slow(class_, name, middle, number=1):
    """Return a class that calls something when an attribute was read.

    number -- when it was read so often.
    """
    reads = []

    def get(self):
        found = self.__dict__[name]
        reads.append(found)
        if len(reads) == number:
            middle()
        return found

    def set(self, value):
        self.__dict__[name] = value
    return type('Slow', (class_,), {name: property(get, set)})


class DutyTest(unittest.TestCase):
    """Several threads may fail at one duty."""

    def test_told_once(self):
        """The log is told of what two threads meet at once by one line."""
        middle = in_the_middle(lambda: told.append(
            duty.has_failed(1.0, 'it broke', 'OSError')))
        duty, told = slow(Duty, '_quiet_until', middle)('run jobs'), []
        told.append(duty.has_failed(1.0, 'it broke', 'OSError'))
        middle.threads[0].join(PATIENCE)
        self.assertEqual([False, True], sorted(told))


class ClockTest(unittest.TestCase):
    """Threads that run jobs read what the claimer writes."""

    def test_comparison_in_the_middle(self):
        """A reader sees the clock as it was, or as it is; it never fails."""
        class Changing(Clock):
            @property
            def ahead(self):
                return next(self.values, None)

            @ahead.setter
            def ahead(self, value):
                pass
        for name in 'correction', 'is_far', 'is_good', 'is_bad':
            for number in range(1, 4):
                clock = Changing()
                clock.compare(2 * FAR, 0)
                clock.values = iter([2 * FAR] * number)
                with self.subTest(name=name, number=number):
                    self.assertIn(
                        getattr(clock, name), (0.0, 2 * FAR, True, False))


class WatchTest(unittest.TestCase):
    """In a process of Celery several threads look for the dead."""

    def test_older_look(self):
        """What was looked up before the last look tells nothing new."""
        watch = Watch(15, 4)
        watch.look({'a': 2}, 100)
        watch.look({'a': 1, 'gone': 1}, 90)
        self.assertEqual({'a': 2}, watch.signs())
        watch.look({'a': 2}, 110)
        self.assertEqual(10, watch._seen['a'][1])

    def test_look_in_the_middle(self):
        """The time between two looks is counted once."""
        watch = Watch(15, 1)
        watch.look({'a': 1}, 0)
        middle = in_the_middle(lambda: watch.look({'a': 1}, 10))

        class Signs(dict):
            def items(self):
                middle()
                return super().items()
        watch.look(Signs(a=1), 9)
        middle.threads[0].join(PATIENCE)
        self.assertEqual(10, watch._seen['a'][1])


class ClaimsTest(unittest.TestCase):
    """Whoever closes a processor reads what the claimer changes."""

    def test_run(self):
        """The ids can be read at any moment."""
        claims, stop = Claims(), threading.Event()

        def change():
            while not stop.is_set():
                for number in range(50):
                    claims.unsettled[number] = True
                claims.unsettled.clear()
        thread = threading.Thread(target=change, daemon=True)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            thread.start()
            for _ in range(2000):
                claims.run  # noqa: B018
        finally:
            sys.setswitchinterval(interval)
            stop.set()
            thread.join(PATIENCE)


class RegistryTest(unittest.TestCase):

    def test_direct_worker_id(self):
        """Threads that ask for it at once get the same one."""
        found = []
        middle = in_the_middle(
            lambda: found.append(registry.direct_worker_id()))
        make = registry.machine.new_worker_id

        def new_worker_id(name):
            middle()
            return make(name)
        with unittest.mock.patch.object(
                registry, '_direct_worker_id', None), \
                unittest.mock.patch.object(
                    registry.machine, 'new_worker_id', new_worker_id):
            found.append(registry.direct_worker_id())
            middle.threads[0].join(PATIENCE)
        self.assertEqual(1, len(set(found)))


class MembershipTest(DatabaseCase):
    """Runners keep the books as the claimer does."""

    def test_found_elsewhere_meanwhile(self):
        """Who was slow does not put back where the service was before."""
        membership = self.processor().membership
        membership.check()
        before, after = membership.place, (self.db, b'another')
        self.assertEqual((self.service._p_jar.db(), self.service._p_oid),
                         before)

        def move(engine):
            membership.place = after
        membership.bookkeep(move)
        self.assertEqual(after, membership.place)

    def test_both_at_once(self):
        """Database and object id are never those of two services."""
        made = self.processor()
        made.place = self.db, b'12345678'
        self.assertEqual((self.db, b'12345678'),
                         (made.service_db, made.service_oid))
        made.place = None
        self.assertEqual((self.db, None), (made.service_db, made.service_oid))


class TeamTest(DatabaseCase):
    """Runners tell how long jobs took."""

    def test_learn(self):
        """What two learn at once both counts."""
        team = self.processor().team
        team.learn(1.0)
        middle = in_the_middle(lambda: team.learn(1.0 + 8))

        team.tempo = slow(Tempo, 'average', middle, 3)()
        team.tempo.average = 1.0
        team.learn(1.0)
        middle.threads[0].join(PATIENCE)
        self.assertGreater(team.tempo.average, 1.5)

    def test_runner_that_goes(self):
        """The numbers are of one moment."""
        team = self.processor().team

        class Runners(list):
            def __iter__(self):
                found = list(super().__iter__())
                self.clear()
                return iter(found)
        busy = unittest.mock.Mock()
        busy.is_busy_since.return_value = True
        team.runners = Runners([busy])
        self.assertEqual((0, 1), team.free_and_busy())

    def test_claims_that_a_runner_has(self):
        """Claims are looked for in what a runner had at one moment."""
        team = self.processor().team
        runner = unittest.mock.Mock(number=1, claims=[Claim(
            1, 'worker', 'processor', 0.0, 1, 0, 'queued')])
        team.runners = [runner]
        team.claims.ids = {1}
        for _ in range(3):
            team._look_for_missed()
        self.assertEqual([], list(team.claims.run))
