"""Handlers and filters of loggers may raise anything."""

import contextlib
import logging
import time
import unittest
import unittest.mock

import transaction

from lovely.remotetask.foreign import journal as journal_module
from lovely.remotetask.foreign.journal import Once
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.journal import lines_of_failure
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.texts import lines_of
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.running import group
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.test_misbehaviour import RunCase
from lovely.remotetask.tests.test_runner import RunnerCase


class Failing(logging.Handler):
    """As one that writes to a stream which somebody has taken away."""

    def __init__(self, error):
        super().__init__()
        self.error = error
        self.met = 0

    def handle(self, record):
        self.met += 1
        raise self.error


ERRORS = (AttributeError('no stream'), RecursionError(), SystemExit(3),
          OSError(28, 'No space left on device'), UnicodeError())


@contextlib.contextmanager
def failing(error, name='lovely.remotetask'):
    """Let all that is said raise something.  The value is the handler."""
    handler = Failing(error)
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class Text(str):
    """A text of a class of its own."""


# What would be a line of its own, and how it is shown.
FORGED = 'x\n2024-01-01 CRITICAL forged'
ESCAPED = r'x\n2024-01-01 CRITICAL forged'


def of_shop(*args):
    """Make a record with a field of the application."""
    record = logging.LogRecord(*args)
    record.service = 'shop'
    return record


@contextlib.contextmanager
def made_by(factory):
    """Let all records of loggers be made by something."""
    usual = logging.getLogRecordFactory()
    logging.setLogRecordFactory(factory)
    try:
        yield
    finally:
        logging.setLogRecordFactory(usual)


class JournalTest(unittest.TestCase):

    def test_says_it(self):
        """By the logger of that name; as of the place where it is said."""
        log = journal('lovely.remotetask.test')
        with self.assertLogs('lovely.remotetask.test', 1) as found:
            log.info('%s', 1, extra={'job': 5})
            log.log(logging.DEBUG, 'two')
            for say in log.debug, log.warning, log.error, log.critical:
                say('three')
        self.assertEqual(['INFO', 'DEBUG', 'DEBUG', 'WARNING', 'ERROR',
                          'CRITICAL'],
                         [record.levelname for record in found.records])
        self.assertEqual(
            {('test_journal.py', 'test_says_it')},
            {(record.filename, record.funcName) for record in found.records})
        self.assertEqual(('1', 5), (
            found.records[0].getMessage(), found.records[0].job))

    def test_whatever_is_raised(self):
        """Nobody hears of it who wants to say something."""
        log = journal('lovely.remotetask.test')
        for error in ERRORS:
            with failing(error, 'lovely.remotetask.test') as handler:
                log.info('one')
            self.assertEqual(1, handler.met)

    def test_what_is_no_handler(self):
        """Nor of what is none, nor of a filter."""
        logger = logging.getLogger('lovely.remotetask.test')

        def refuse(record):
            raise SystemExit
        logger.addFilter(refuse)
        self.addCleanup(logger.removeFilter, refuse)
        journal('lovely.remotetask.test').error('one')
        logger.removeFilter(refuse)
        logger.handlers.append(7)
        self.addCleanup(logger.handlers.remove, 7)
        journal('lovely.remotetask.test').error('one')


    def test_one_line(self):
        """Nothing that is told of forges a line."""
        log = journal('lovely.remotetask.test')
        with self.assertLogs(log) as found:
            log.info('%s of %s\n%s', Text(FORGED), 5, lines_of('a\n b\rc'),
                     extra={'function': FORGED, 'job': 5})
        record, = found.records
        self.assertEqual(f'{ESCAPED} of 5\na\n b\\rc', record.getMessage())
        self.assertEqual((ESCAPED, 5), (record.function, record.job))

    def test_lines_of_failure(self):
        def fail():
            raise ValueError(FORGED)
        found = lines_of_failure(outcome_of(fail))
        self.assertRegex(found, '(?s)^Traceback .*in fail\n')
        self.assertTrue(found.endswith(f'ValueError: {ESCAPED}'))
        self.assertNotIn('forged', lines_of_failure(outcome_of(fail), True))

    def made_by(self, factory):
        """Return the record of a line, all records being made by that."""
        log = journal('lovely.remotetask.test')
        with made_by(factory), self.assertLogs(log) as found:
            log.info('%s', 1, extra={'job': 5, 'service': 'tasks'})
        record, = found.records
        self.assertEqual(('1', 'test_journal.py', 'made_by'), (
            record.getMessage(), record.filename, record.funcName))
        return record

    def test_a_record_that_cannot_be_made(self):
        """It is made without the factory of the application."""
        for error in ERRORS:
            record = self.made_by(unittest.mock.Mock(side_effect=error))
            self.assertEqual((5, 'tasks'), (record.job, record.service))
        for made in None, 7, type:
            record = self.made_by(lambda *args, made=made: made)
            self.assertEqual(5, record.job)

    def test_a_factory_that_uses_the_same_names(self):
        """What the application says of a record stays; all else is said."""
        record = self.made_by(of_shop)
        self.assertEqual((5, 'shop'), (record.job, record.service))


class OnceTest(unittest.TestCase):
    """Lines that are written once."""

    def setUp(self):
        self.once = Once()

    def written(self, texts, about='place'):
        return [text for text in texts if self.once.is_new(about, text)]

    def test_each_once(self):
        self.assertEqual(['a', 'b'], self.written('abab'))
        self.assertEqual([], self.written('ab'))
        self.assertEqual(['a'], self.written('a', 'another place'))
        self.once.clear()
        self.assertEqual(['a'], self.written('a'))

    def test_numbers(self):
        """Some that differ by them are written."""
        for text in ('at {}', 'at {:#x}', 'at {:032x}', '<X at {:#x}> of {}',
                     '1.{}e5'):
            self.once.clear()
            found = self.written(text.format(number * 7919, number)
                                 for number in range(1000))
            self.assertEqual(journal_module.ALIKE, len(found), found)

    def test_many(self):
        """Not all that is said of one thing is written."""
        texts = [f'{chr(number)}!' for number in range(200, 1000)]
        self.assertEqual(journal_module.MOST, len(self.written(texts)))
        for number in range(10_000):
            self.assertTrue(self.once.is_new(number, 'a'))


class RunTest(RunCase):

    def test_records_that_are_made_by_others(self):
        """What became of a job is said, and the job runs once."""
        for factory in of_shop, unittest.mock.Mock(side_effect=OSError):
            with made_by(factory), logged('lovely.remotetask') as lines:
                good, bad = self.run_jobs(
                    lambda service, input: 1 // input, 1, 0)
            self.assertEqual((COMPLETED, ERROR), (good.status, bad.status))
            found = '\n'.join(lines)
            self.assertIn(f'tasks/{good.id}: completed in', found)
            self.assertIn(f'tasks/{bad.id}: failed after', found)

    def test_status(self):
        """What became of a job is stored as it is, and it runs once."""
        for error in ERRORS:
            with self.subTest(type(error).__name__), \
                    failing(error) as handler:
                self.calls = 0
                good, bad = self.run_jobs(
                    lambda service, input: 1 // input, 1, 0)
                self.assertEqual(
                    [(COMPLETED, 1), (ERROR, 1)],
                    [(job.status, job.attempts) for job in (good, bad)])
                self.assertEqual(2, self.calls)
                self.assertGreater(handler.met, 1)

    def test_group(self):
        """Nor are those run again that run together."""
        self.enterContext(failing(RecursionError()))
        self.service_task(self.count, 'test.count')
        ids = [self.add('test.count') for _ in range(3)]
        claims = engine(self.service).claim('host:1', 9, time.time())
        transaction.commit()
        group.run_group(self.db, ['tasks'], claims, transaction.commit)
        self.assertEqual(3, self.calls)
        self.assertEqual([1] * 3, [self.job(jobid).attempts for jobid in ids])

    def count(self, service, input):
        self.calls += 1


class ThreadTest(RunnerCase):

    def test_goes_on(self):
        """Neither who claims nor who runs ends because of it."""
        self.enterContext(failing(SystemExit(3)))
        self.task(lambda input: 1 // input, 'test.divide')
        jobs = [self.add('test.divide', number % 2) for number in range(6)]
        made = self.start()
        with unittest.mock.patch.object(
                made, 'step', side_effect=ValueError):
            self.until(lambda: made.trouble)
        for jobid in jobs:
            self.until(lambda jobid=jobid: self.job(jobid).status in (
                COMPLETED, ERROR))
        self.assertTrue(made.running)
        self.assertEqual(
            [1] * 6, [self.job(jobid).attempts for jobid in jobs])
