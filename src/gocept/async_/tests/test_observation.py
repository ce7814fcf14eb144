"""What a worker process sees of its databases and services."""

import threading
import unittest

from gocept.async_.tests.clock import Clock
from gocept.async_.worker.observation import PATIENCE
from gocept.async_.worker.observation import Observation


WELL = {'events': {'counts': {}, 'problem': None}, 'mails': None}


class ObservationTest(unittest.TestCase):

    def setUp(self):
        self.clock = Clock()
        self.troubles = {}
        self.look = lambda doubt: WELL
        self.observation = Observation(
            lambda doubt: self.look(doubt), lambda: self.troubles,
            clock=self.clock)

    def assert_problem(self, problem):
        report = self.observation.report()
        self.assertEqual(
            (problem is None, problem), (report['ready'], report['problem']))
        return report

    def fail_with(self, error):
        def look(doubt):
            raise error
        self.look = look

    def test_before_the_first_look(self):
        """A process is not ready before it has seen its database."""
        report = self.assert_problem('starting')
        self.assertIsNone(report['age'])

    def test_well(self):
        """What was seen is told, and that all is well."""
        self.observation.step()
        self.clock.now += 3
        report = self.assert_problem(None)
        self.assertEqual((3, WELL), (report['age'], report['services']))

    def test_failure(self):
        """What went wrong is told at once, until it goes well again."""
        self.observation.step()
        self.fail_with(OSError('no database'))
        self.observation.step()
        self.assert_problem('no database')
        self.look = lambda doubt: WELL
        self.observation.step()
        self.assert_problem(None)

    def test_whatever_is_raised(self):
        """Nothing that a record or a service raises ends the thread."""
        for class_ in KeyboardInterrupt, SystemExit, GeneratorExit:
            with self.subTest(class_.__name__):
                self.fail_with(class_('from a record'))
                thread = threading.Thread(target=self.observation.step)
                thread.start()
                thread.join()
                self.assert_problem('from a record')

    def test_message_of_any_kind(self):
        """An empty message is no problem named, a long one is a part of it.
        """
        self.fail_with(OSError())
        self.observation.step()
        self.assert_problem('builtins.OSError')
        self.fail_with(OSError('x' * 10 ** 6))
        self.observation.step()
        self.assertLess(len(self.observation.report()['problem']), 3000)

    def test_pauses(self):
        """Looks at what is away become rare: each of them may be logged."""
        self.assertEqual(2.0, self.observation.step())
        self.fail_with(OSError('away'))
        self.assertEqual(
            [2.0, 4.0, 5.0, 5.0],
            [self.observation.step() for _ in range(4)])
        self.look = lambda doubt: WELL
        self.assertEqual(2.0, self.observation.step())

    def test_no_answer(self):
        """A server that stands still: whoever reports does not."""
        self.observation.step()
        asked, answered = threading.Event(), threading.Event()

        def look(doubt):
            doubt('the database does not answer')
            asked.set()
            answered.wait(60)
            return WELL
        self.look = look
        thread = threading.Thread(target=self.observation.step)
        thread.start()
        asked.wait(60)
        # The process itself was stopped for a minute.
        self.clock.now += 60
        self.assert_problem(None)
        for _ in range(int(PATIENCE)):
            self.clock.now += 1
            self.assert_problem(None)
        self.clock.now += 2
        report = self.assert_problem('the database does not answer (7 s)')
        self.assertEqual(7, report['silent'])
        answered.set()
        thread.join()
        self.assertEqual(0, self.assert_problem(None)['silent'])

    def test_each_request_has_its_time(self):
        """Many services are looked at for long, but not in vain."""
        def look(doubt):
            for number in range(10):
                doubt(f'{number} does not answer')
                self.clock.now += PATIENCE - 1
                self.assertLess(self.observation.report()['silent'], PATIENCE)
            return WELL
        self.look = look
        self.observation.step()
        self.assert_problem(None)

    def test_trouble_of_a_processor(self):
        """Service and reason are named, at once, not with the next look."""
        self.observation.step()
        self.troubles = {
            'events': '2 of 2 threads have ended', 'mails': None}
        report = self.assert_problem(
            'service "events": 2 of 2 threads have ended')
        self.assertEqual(
            {'counts': {}, 'problem': '2 of 2 threads have ended'},
            report['services']['events'])
        self.troubles = {}
        self.assert_problem(None)

    def test_trouble_of_several(self):
        """Each is named; also one that was never seen."""
        self.observation.step()
        self.troubles = {'events': 'full', 'others': 'away'}
        self.assert_problem(
            'service "events": full; service "others": away')

    def test_service_that_cannot_be_looked_at(self):
        """It does not hide the others."""
        self.look = lambda doubt: {**WELL, 'bad': {'problem': 'POSKeyError'}}
        self.observation.step()
        report = self.assert_problem('service "bad": POSKeyError')
        self.assertEqual(WELL['events'], report['services']['events'])
