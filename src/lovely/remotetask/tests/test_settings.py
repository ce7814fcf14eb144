"""What processors are told: checked before anything is started."""

import decimal
import unittest

import transaction

from lovely.remotetask import processor
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import idling
from lovely.remotetask.running import registry
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import DatabaseCase


WAIT_TIMES = (
    -1, -0.001, float('nan'), float('inf'), -float('inf'), None, '1', b'1',
    True, 10 ** 400, 1e18, [], 1j, decimal.Decimal(1), object())

MAX_THREADS = (
    0, -1, True, False, '2', 10 ** 9, float('nan'), 2.0, None, [], 10 ** 5000)


class ArgumentTest(unittest.TestCase):

    def refused(self, what, value, factory, **arguments):
        with self.subTest(value=type(value), what=what), \
                self.assertRaisesRegex(ValueError, what) as raised:
            factory(None, ['tasks'], **arguments)
        self.assertLess(len(str(raised.exception)), 300)

    def test_wait_time(self):
        """One that is no time to wait is refused; what it may be is told."""
        for factory in (SimpleProcessor, MultiProcessor,
                        processor.simple_factory, processor.multi_factory):
            for value in WAIT_TIMES:
                self.refused('waitTime must be', value, factory,
                             waitTime=value)

    def test_max_threads(self):
        """So is one that is no number of threads."""
        for factory in (MultiProcessor, processor.multi_factory,
                        processor.simple_factory):
            for value in MAX_THREADS:
                self.refused('maxThreads must be', value, factory,
                             maxThreads=value)

    def test_check(self):
        """ZCML and the command line ask before."""
        for value in MAX_THREADS:
            with self.subTest(type(value)), self.assertRaises(ValueError):
                processor.multi_factory.check(value)

    def test_value(self):
        """The message has the value."""
        with self.assertRaisesRegex(ValueError, 'number like 1.0, not nan;'):
            SimpleProcessor(None, ['tasks'], float('nan'))
        with self.assertRaisesRegex(ValueError, "from 1 to 1000, not '2';"):
            MultiProcessor(None, ['tasks'], 1.0, '2')

    def test_good(self):
        """What was ever good is good."""
        for value in (0, 0.0, 0.001, 1, 1.0, 600, 10 ** 7):
            self.assertEqual(
                value, SimpleProcessor(None, ['tasks'], value).waitTime)
        for value in (1, 2, 100):
            self.assertEqual(value, MultiProcessor(
                None, ['tasks'], maxThreads=value).maxThreads)

    def test_idle(self):
        """However short the wait time, an idle processor lets others work."""
        made = SimpleProcessor(None, ['tasks'], 0)
        made.membership.clock.trusted = True
        self.assertEqual(idling.LEAST_WAIT, made.idling.longest())


class ServiceTest(DatabaseCase):
    """What is stored on a service."""

    def setUp(self):
        super().setUp()
        self.addCleanup(processor.stop_all, PATIENCE)

    def refused(self, expected, arguments, factory=MultiProcessor):
        self.service.processorFactory = factory
        self.service.processorArguments = arguments
        transaction.commit()
        with self.subTest(expected), \
                self.assertRaisesRegex(ValueError, expected):
            self.service.startProcessing()
        self.assertFalse(self.service.isProcessing())
        self.assertFalse(registry._processors)

    def test_bad_values(self):
        """A value that is none is refused; service and name are told."""
        for value in WAIT_TIMES[:7]:
            self.refused("'tasks': processorArguments: waitTime must be",
                         {'waitTime': value})
        for value in MAX_THREADS[:7]:
            self.refused("'tasks': processorArguments: maxThreads must be",
                         {'maxThreads': value})

    def test_unknown_names(self):
        """So is a name that the factory does not take; the others are told.
        """
        self.refused("not have 'threads', .*choose from waitTime, maxThreads",
                     {'threads': 3})
        self.refused("not have 'maxThreads', .*choose from waitTime",
                     {'maxThreads': 3}, SimpleProcessor)
        self.refused("not have 'db', .*choose from waitTime, maxThreads",
                     {'db': None})
        self.refused('not have 7, .*choose from waitTime', {7: 3})

    def test_no_mapping(self):
        """So is what is no mapping at all."""
        for value in (None, [], 'waitTime', 1.0):
            self.refused('processorArguments must be a mapping', value)

    def test_no_factory(self):
        """So is what makes no processor."""
        for value in (None, 'multi', 5):
            self.refused("'tasks': processorFactory must be what makes a "
                         f"processor, .* not {value!r}", {}, value)

    def test_factories_of_others(self):
        """One that takes anything, or does not tell, is not in the way."""
        made = []

        def factory(db, path, **arguments):
            made.append(arguments)
            return SimpleProcessor(db, path, 600)
        self.service.__dict__['processorFactory'] = factory
        self.service.__dict__['processorArguments'] = {'what': 'ever'}
        self.service.startProcessing()
        self.assertEqual([{'what': 'ever'}], made)
        self.assertTrue(self.service.isProcessing())
