"""Processes of a worker are started, listened to and replaced."""

import json
import logging
import os
import signal
import threading
import unittest
import unittest.mock

from gocept.async_.openmetrics import exposition
from gocept.async_.tests.clock import Clock
from gocept.async_.worker import child as workerchild
from gocept.async_.worker.counted import Sums
from gocept.async_.worker.pool import Pool
from gocept.async_.worker.wakeup import Wakeup
from lovely.remotetask.measure import OTHERS
from lovely.remotetask.measure import Functions


WELL = {'ready': True, 'problem': None, 'age': 0.0, 'silent': 0.0,
        'jobs': 0, 'memory': 40.0, 'services': {'events': {'problem': None}}}


class Process:
    """Stands in for a subprocess.Popen; a test writes its reports."""

    def __init__(self, pid, pipe):
        self.pid = pid
        self.pipe = pipe
        self.code = None
        self.terminated = 0

    def poll(self):
        return self.code

    def terminate(self):
        self.terminated += 1

    def wait(self, timeout):
        pass

    def write(self, line):
        os.write(self.pipe, line)

    def report(self, **content):
        self.write(json.dumps({**WELL, **content}).encode() + b'\n')

    def end(self, code):
        self.code = code
        self.close()

    def close(self):
        if self.pipe is not None:
            os.close(self.pipe)
        self.pipe = None


class PoolCase(unittest.TestCase):

    def setUp(self):
        self.clock = Clock()
        self.processes = []
        self.error = None
        self.killed = []
        self.enterContext(unittest.mock.patch.object(
            workerchild, '_start', self._start))
        self.enterContext(unittest.mock.patch.object(
            os, 'killpg', lambda *args: self.killed.append(args)))
        self.addCleanup(lambda: [each.close() for each in self.processes])
        self.logged = []
        handler = logging.Handler()
        handler.emit = lambda record: self.logged.append(record.getMessage())
        log = logging.getLogger('gocept.async_')
        log.addHandler(handler)
        self.addCleanup(log.removeHandler, handler)
        self.pool = self.make_pool()

    def make_pool(self, processes=1):
        self.wakeup = Wakeup()
        return Pool({'processes': processes, 'grace': 30.0, 'patience': 60.0},
                    self.wakeup, self.clock)

    def _start(self, descriptor, options):
        if self.error is not None:
            raise self.error
        self.processes.append(
            Process(len(self.processes) + 1, os.dup(descriptor)))
        return self.processes[-1]

    @property
    def process(self):
        return self.processes[-1]

    def step(self, seconds=0.0):
        """Go one round, so many seconds later."""
        self.clock.now += seconds
        self.wakeup.wait(0)
        self.pool.step()

    def pass_time(self, seconds, **reported):
        """Let the newest process report each second."""
        for _ in range(seconds):
            if self.process.pipe is not None:
                self.process.report(**reported)
            self.step(1.0)

    def start_ready(self):
        self.step()
        self.process.report()
        self.step()
        self.assertTrue(self.pool.status()['ready'])

    def start_ready_one(self):
        """One is ready, the next one is started."""
        self.step()
        self.process.report()
        self.step()
        self.step()

    def state(self):
        status = self.pool.status()
        return (status['ready'], status['live'],
                [child['state'] for child in status['children']])


class StatusTest(PoolCase):

    def test_states(self):
        """A process is starting, ready, waiting, late, stopping, gone."""
        self.step()
        self.assertEqual((False, True, ['starting']), self.state())
        self.process.report(problem='starting', ready=False, age=None)
        self.step()
        self.assertEqual((False, True, ['starting']), self.state())
        self.process.report()
        self.step()
        self.assertEqual((True, True, ['ready']), self.state())
        self.process.report(ready=False, problem='events: full')
        self.step()
        self.assertEqual((False, True, ['waiting']), self.state())
        self.clock.now += workerchild.LATE + 1
        self.assertEqual((False, False, ['late']), self.state())
        self.process.report(stopping='asked to')
        self.step()
        self.assertEqual((False, True, ['stopping']), self.state())
        self.process.end(1)
        self.clock.now += 1
        self.pool.step()
        self.assertEqual((False, True, ['starting']), self.state())

    def test_services_of_several(self):
        """A problem that any process has is shown, with its service."""
        self.pool = self.make_pool(2)
        self.step()
        # The second one comes when the first one is ready.
        self.process.report()
        self.step()
        self.step()
        bad = {'events': {'problem': 'threads have ended', 'counts': {}}}
        self.process.report(
            age=9.0, ready=False, problem='events: threads have ended',
            services=bad)
        self.step()
        status = self.pool.status()
        self.assertFalse(status['ready'])
        self.assertEqual(
            'threads have ended', status['services']['events']['problem'])
        self.assertEqual(
            [None, 'events: threads have ended'],
            [child['problem'] for child in status['children']])

    def test_places_held_back(self):
        """One that waits for the first process is starting; all is well."""
        self.pool = self.make_pool(2)
        self.step()
        self.assertEqual(1, len(self.processes))
        self.assertEqual(
            (False, True, ['starting', 'starting']), self.state())
        self.process.end(1)
        self.step()
        self.assertEqual(
            (False, False, ['pausing', 'starting']), self.state())
        self.step(1.0)
        self.process.report()
        self.step()
        # The second one comes with the next round.
        self.assertEqual((False, True, ['ready', 'starting']), self.state())
        self.step()
        self.assertEqual(2 + 1, len(self.processes))

    def test_places_left(self):
        """Where no process comes any more, the place is stopping."""
        self.pool = self.make_pool(2)
        self.start_ready_one()
        self.pool.stop()
        self.processes[0].end(0)
        self.step()
        self.assertEqual(
            (False, True, ['stopping', 'stopping']), self.state())

    def test_numbers_that_are_old(self):
        """Those of a process that is not heard any more are not shown."""
        self.pool = self.make_pool(2)
        self.step()
        self.process.report(age=0.1, services={'events': {
            'counts': {'queued': 1}, 'problem': None}})
        self.step()
        for _ in range(30):
            self.step(1.0)
        self.process.report(age=1.0, services={'events': {
            'counts': {'queued': 2}, 'problem': None}})
        self.step()
        self.assertEqual(
            {'queued': 2}, self.pool.status()['services']['events']['counts'])
        self.assertEqual({'queued': 2}, self.pool.told()['events'].counts)

    def test_reason(self):
        """Who asks whether it is ready is told why not, once."""
        self.pool = self.make_pool(2)
        self.step()
        self.assertEqual('starting', self.pool.status()['problem'])
        self.process.report()
        self.step()
        self.step()
        for process in self.processes:
            process.report(ready=False, problem='service "events": full')
        self.step()
        self.assertEqual(
            'service "events": full', self.pool.status()['problem'])
        for process in self.processes:
            process.report()
        self.step()
        self.assertIsNone(self.pool.status()['problem'])
        self.pool.stop()
        self.assertIn('stopped', self.pool.status()['problem'])

    def test_service_that_is_missing(self):
        """It cannot work; the processes can, and are not replaced for it."""
        self.start_ready()
        self.process.report(services={'events': None, 'mails': {
            'problem': None}})
        self.step()
        status = self.pool.status()
        self.assertFalse(status['ready'])
        self.assertIn('service "events"', status['problem'])
        self.assertTrue(self.pool.all_ready)
        self.pass_time(700, services={'events': None})
        self.assertEqual(1, len(self.processes))


def counted(number, function='shop.mail'):
    """Return what a process tells that has run so many jobs."""
    return {'events': {function: [
        number, 0, 0, 0, 0, 0.5 * number, [[0, number]], []]}}


class CountedTest(PoolCase):
    """What the processes have counted adds up."""

    def told(self):
        functions = self.pool.told()['events'].functions
        return 0 if functions is None else functions.total().completed

    def test_processes(self):
        """Those that run, and those that have ended."""
        self.start_ready()
        self.process.report(counted=counted(3))
        self.step()
        self.assertEqual(3, self.told())
        self.process.report()
        self.step()
        self.assertEqual(3, self.told())
        self.process.report(counted=counted(5), stopping='worn')
        self.process.end(0)
        self.step()
        self.step(100)
        self.process.report(counted=counted(1))
        self.step()
        self.assertEqual(6, self.told())

    def test_names(self):
        """No number falls when a process ends, whatever it has run."""
        self.enterContext(unittest.mock.patch.object(Functions, 'most', 2))
        sums = Sums()
        one, other = ({'events': {
            name: counted(1, name)['events'][name] for name in names}}
            for names in (('f', 'g'), ('h', 'i')))

        def told(plains):
            return {name: counts.completed
                    for name, counts in sums.of(plains)['events'].items()}
        before = told([one, other])
        self.assertEqual({'f': 1, 'g': 1, OTHERS: 2}, before)
        sums.keep(other)
        self.assertEqual(before, told([one]))
        sums.keep(one)
        self.assertEqual(before, told([]))

    def test_asked_in_the_middle(self):
        """Who asks while a process is taken leave of misses nothing."""
        self.pool = self.make_pool(2)
        self.step()
        self.process.report(counted=counted(3))
        self.step()
        self.step()
        self.process.report()
        self.step()
        found = []
        asking = threading.Thread(target=lambda: found.append(self.told()))
        close = workerchild.Child.close

        def ask_and_close(child):
            asking.start()
            # It has to wait, so nobody waits for it for long.
            asking.join(0.2)
            close(child)
        self.processes[0].end(0)
        with unittest.mock.patch.object(
                workerchild.Child, 'close', ask_and_close):
            self.step()
        asking.join()
        self.assertEqual([3, 3], [*found, self.told()])

    def test_garbage(self):
        """What jobs write there spoils nothing, whatever it is."""
        self.start_ready()
        for garbage in (
                {'events': 1}, {'events': {'f': []}}, {'events': {'f': [1]}},
                {'events': {'f': ['x', 0, 0, 0, 0, 0, [], []]}},
                {'events': {'f': [1, 0, 0, 0, 0, 0, [['a', 1]], []]}},
                {'events': {'f': [1, 0, 0, 0, 0, 0, 5, []]}},
                {'events': {str(n): [0] * 6 + [[], []]
                            for n in range(1000)}}):
            with self.subTest(repr(garbage)[:60]):
                self.process.report(counted=garbage)
                self.step()
                self.assertEqual(0, self.told())
                self.assertIn(b'async_works', exposition(self.pool.told()))

    def test_states(self):
        """Each state has a number, also when there is none in it."""
        self.start_ready()
        states = self.pool.states()
        self.assertEqual(1, states['ready'])
        self.assertEqual(0, states['stuck'])


class ReloadTest(PoolCase):
    """The processes are replaced one by one, as often as that is asked for."""

    def setUp(self):
        super().setUp()
        self.pool = self.make_pool(2)
        self.start_ready_one()
        self.process.report()
        self.step()
        self.assertEqual(['ready', 'ready'], self.state()[2])

    def end_first(self):
        """The first process ends, and the next one is started there."""
        self.processes[0].end(0)
        self.step()
        self.step()

    @property
    def terminated(self):
        return [process.terminated for process in self.processes]

    def test_correction(self):
        """What was deployed is bad; the next reload need not wait for it."""
        self.pool.reload()
        self.step()
        self.end_first()
        self.process.report(ready=False, problem='events: away')
        self.step()
        self.assertEqual([1, 0, 0], self.terminated)
        self.pool.reload()
        self.step()
        self.assertEqual([1, 0, 1], self.terminated)
        self.assertTrue(self.pool.reloading)

    def test_again_in_the_middle(self):
        """While a process is being replaced, no other one has to go."""
        self.pool.reload()
        self.step()
        self.end_first()
        self.process.report()
        self.step()
        self.assertEqual([1, 1, 0], self.terminated)
        self.pool.reload()
        self.step()
        self.assertEqual([1, 1, 0], self.terminated)
        self.processes[1].end(0)
        self.step()
        self.step()
        self.process.report()
        self.step()
        self.assertEqual([1, 1, 1, 0], self.terminated)


class RefusalTest(PoolCase):

    def refuse(self):
        """Let a process refuse, and report once more before it ends."""
        self.process.write(b'{"refused": "no service x"}\n')
        self.process.report(ready=False, problem='starting')
        self.step()
        self.process.end(1)
        self.step()

    def test_at_first(self):
        """A process that can never run ends the worker."""
        self.step()
        self.refuse()
        self.assertEqual('no service x', self.pool.refusal)
        self.assertTrue(self.pool.ended)

    def test_later(self):
        """What has run before may run again; the log tells why not now."""
        self.start_ready()
        self.refuse()
        self.assertIsNone(self.pool.refusal)
        self.assertFalse(self.pool.ended)
        self.assertIn('process 1: no service x', self.logged)


class GarbageTest(PoolCase):

    def test_garbage(self):
        """What a job writes into the pipe is no report; the next one is."""
        self.start_ready()
        for number in range(50):
            self.process.write(b'garbage %d\n\xff\n[]\n{"jobs": "x"}\n'
                               % number)
            self.step(0.01)
        self.assertEqual((True, True, ['ready']), self.state())
        self.process.report(jobs=7)
        self.step()
        self.assertEqual(7, self.pool.status()['children'][0]['jobs'])
        complaints = [line for line in self.logged if 'understood' in line]
        self.assertEqual(1, len(complaints))

    def test_no_end_of_a_line(self):
        """What has no end is not kept."""
        self.start_ready()
        for _ in range(100):
            self.process.write(b'x' * 60000)
            self.step()
        child, = self.pool._children
        self.assertLess(len(child._unread), 2 ** 21)
        self.process.write(b'\n')
        self.process.report(jobs=3)
        self.step()
        self.assertEqual(3, self.pool.status()['children'][0]['jobs'])

    def test_closed_pipe(self):
        """A process that closes its pipe is late, and costs no time."""
        self.start_ready()
        self.process.close()
        self.step()
        self.assertEqual([], self.wakeup.selector.select(0))
        self.clock.now += workerchild.LATE + 1
        self.assertEqual((False, False, ['late']), self.state())
        self.process.end(0)
        self.step()
        self.assertEqual(['starting'], self.state()[2])


class NoRoomTest(PoolCase):

    def descriptors(self):
        return len(os.listdir('/dev/fd'))

    def test_no_descriptor(self):
        """A process that cannot be started is tried again, ever less often.
        """
        self.error = OSError(24, 'Too many open files')
        before = self.descriptors()
        for _ in range(600):
            self.step(1.0)
        self.assertLessEqual(self.descriptors(), before)
        self.assertEqual((False, False, ['pausing']), self.state())
        self.assertIn('Too many open files',
                      self.pool.status()['children'][0]['problem'])
        self.assertLess(len(self.logged), 8)
        self.error = None
        self.step(61.0)
        self.assertEqual(['starting'], self.state()[2])

    def test_no_pipe(self):
        """Nor can a pipe be had."""
        with unittest.mock.patch.object(
                os, 'pipe', side_effect=OSError(24, 'Too many open files')):
            self.step()
        self.step(1.0)
        self.assertEqual(['starting'], self.state()[2])

    def test_no_memory(self):
        """Any other error is the same."""
        self.error = MemoryError()
        self.step()
        self.error = None
        self.step(1.0)
        self.assertEqual(['starting'], self.state()[2])

    def test_cannot_be_listened_to(self):
        """A process that would not be heard is ended, not forgotten."""
        with unittest.mock.patch.object(
                self.wakeup.selector, 'register',
                side_effect=OSError(28, 'No space left on device')):
            self.step()
        self.assertEqual([(1, signal.SIGKILL)], self.killed)
        self.step(1.0)
        self.assertEqual(2, len(self.processes))

    def test_process_of_another_user(self):
        """A job has changed its user; it cannot be told to end."""
        self.start_ready()
        self.process.terminate = unittest.mock.Mock(
            side_effect=PermissionError)
        self.pool.stop()
        with unittest.mock.patch.object(
                os, 'killpg', side_effect=PermissionError):
            self.step(41.0)
            self.pool.kill()
        self.assertFalse(self.pool.ended)


class PatienceTest(PoolCase):

    def test_no_answer(self):
        """A process whose database stands still is replaced in time."""
        self.start_ready()
        asked = {'ready': False, 'problem': 'the database does not answer'}
        for second in range(59):
            self.pass_time(1, silent=float(second), **asked)
        self.assertEqual((0, ['waiting']),
                         (self.process.terminated, self.state()[2]))
        self.pass_time(1, silent=61.0, **asked)
        self.assertEqual(1, self.process.terminated)
        self.assertEqual((False, False, ['stuck']), self.state())
        self.assertIn('the database does not answer', self.logged[-1])

    def test_stall_of_the_main_process(self):
        """Who has not listened for an hour blames nobody."""
        self.start_ready()
        self.process.report()
        self.clock.now += 3600
        self.pool.step()
        self.assertEqual((0, ['ready']),
                         (self.process.terminated, self.state()[2]))
        self.pass_time(1)
        # Nor does it wait for longer afterwards.
        for _ in range(62):
            self.step(1.0)
        self.assertEqual(1, self.process.terminated)

    def test_does_not_stop(self):
        """One that does not end is killed, once the grace is over."""
        self.start_ready()
        self.pass_time(1, silent=61.0, ready=False, problem='no answer')
        self.step(39.0)
        self.assertEqual([], self.killed)
        for _ in range(5):
            self.step(2.0)
        self.assertEqual([(1, signal.SIGKILL)], self.killed)
        self.assertEqual(
            1, len([line for line in self.logged if 'is killed' in line]))

    def test_not_heard(self):
        """Nor is one waited for that says nothing, or was stopped."""
        self.start_ready()
        for _ in range(59):
            self.step(1.0)
        self.assertEqual(0, self.process.terminated)
        self.step(2.0)
        self.assertEqual(1, self.process.terminated)

    def test_cannot_work(self):
        """One that answers, but cannot work, is given ten times as long."""
        self.start_ready()
        self.pass_time(600, ready=False, problem='events: full')
        self.assertEqual(0, self.process.terminated)
        self.pass_time(2, ready=False, problem='events: full')
        self.assertEqual(1, self.process.terminated)
        self.assertIn('events: full', self.logged[-1])

    def test_does_not_get_ready(self):
        """So is one that never gets there."""
        self.step()
        self.pass_time(602, ready=False, problem='starting', age=None)
        self.assertEqual(1, self.process.terminated)

    def test_short_troubles(self):
        """What passes by itself ends no process, however often it comes."""
        self.start_ready()
        for _ in range(20):
            self.pass_time(59, ready=False, problem='away')
            self.pass_time(1)
        self.assertEqual(0, self.process.terminated)

    def test_outage_of_an_hour(self):
        """It makes few processes, and few lines; then all is well."""
        self.start_ready()
        for _ in range(3600):
            if self.process.code is None:
                # It cannot open the database, or has lost it.
                if self.clock.now - self.pool._places[0].child.began > 30:
                    self.process.end(1)
                else:
                    self.process.report(
                        ready=False, problem='starting', age=None)
            self.step(1.0)
        self.assertLess(len(self.processes), 50)
        self.assertLess(len(self.logged), 110)
        self.pass_time(62)
        self.assertEqual((True, True, ['ready']), self.state())

    def test_trouble_without_end(self):
        """A process that replacing does not help is replaced ever less."""
        self.start_ready()
        for _ in range(4 * 3600):
            if self.process.terminated and self.process.code is None:
                self.process.end(0)
            elif self.process.code is None:
                self.process.report(ready=False, problem='events: full')
            self.step(1.0)
        self.assertLess(len(self.processes), 6)
