"""When a failed job is tried again, and how long jobs are kept."""

import copy
import decimal
import enum
import math
import pickle
import socket
import types
import unittest
import unittest.mock

from lovely.remotetask import TaskService
from lovely.remotetask import policy
from lovely.remotetask import retry
from lovely.remotetask import ruling
from lovely.remotetask.foreign.outcome import Outcome
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.management import Management
from lovely.remotetask.policy import Policy
from lovely.remotetask.policy import sound
from lovely.remotetask.tests.fixture import TaskCase
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import upkeep


NOW = 1000.0


def job(failures=0, transients=0):
    return types.SimpleNamespace(failures=failures, transients=transients)


class DueTest(unittest.TestCase):

    def due(self, settings, exception=None, jitter=1.0, retryable=False, **kw):
        """Return the wait that was chosen, with the greatest jitter."""
        failure = Outcome(
            exception=exception or OSError(), retryable=retryable)
        with unittest.mock.patch(
                'random.uniform', lambda low, high: low + jitter * high):
            due = settings.due_after_failure(job(**kw), failure, NOW)
        return None if due is None else round(due - NOW, 6)

    def test_not_said(self):
        """An error that `retry_on` does not name is final."""
        self.assertIsNone(self.due(Policy()))
        self.assertIsNone(self.due(Policy(retry_on=('builtins.KeyError',))))

    def test_retry_on(self):
        """One that it names, or whose base class it names, is not."""
        for name in ('builtins.ConnectionResetError', 'builtins.OSError',
                     'builtins.Exception'):
            with self.subTest(name):
                self.assertEqual(1, self.due(
                    Policy(retry_on=(name,)), ConnectionResetError()))

    def test_attempts(self):
        """There are as many attempts as said, the waits double."""
        settings = Policy(attempts=5, retry_wait=3, retry_on=(
            'builtins.OSError',))
        self.assertEqual(
            [3, 6, 12, 24, None],
            [self.due(settings, failures=number) for number in range(5)])

    def test_one_attempt(self):
        """With one attempt the first error is final."""
        self.assertIsNone(self.due(Policy(
            attempts=1, retry_on=('builtins.OSError',))))

    def test_at_most_an_hour(self):
        """No wait is longer than an hour."""
        settings = Policy(attempts=100, retry_on=('builtins.OSError',))
        self.assertEqual(3600, self.due(settings, failures=50))

    def test_any_number_of_attempts(self):
        """Powers of two that are no float any more do no harm."""
        for wait in (1, 0.5, 0.0, 1e11, 200 * 10 ** 9):
            settings = Policy(attempts=10 ** 400, retry_wait=wait,
                              retry_on=('builtins.OSError',))
            for number in (1023, 1024, 5000, 10 ** 9):
                self.assertEqual(3600 if wait else 0,
                                 self.due(settings, failures=number))

    def test_full_jitter(self):
        """A wait is anything between 0 and its limit."""
        settings = Policy(retry_wait=8, retry_on=('builtins.OSError',))
        self.assertEqual(
            [0, 4, 8],
            [self.due(settings, jitter=jitter) for jitter in (0, .5, 1)])

    def test_transient_errors(self):
        """They are tried again in any case: ten times, from 50 ms."""
        waits = [self.due(Policy(attempts=1), retryable=True,
                          transients=number, failures=7)
                 for number in range(11)]
        self.assertEqual([.05, .1, .2, .4, .8, 1.6, 3.2, 6.4, 12.8, 25.6,
                          None], waits)

    def test_transient_errors_are_no_attempts(self):
        """Nor do they count against the attempts."""
        settings = Policy(retry_on=('builtins.OSError',))
        self.assertEqual(1, self.due(settings, transients=9, failures=0))


class RetentionTest(unittest.TestCase):

    def test_retention(self):
        """Good ends are kept a week, bad ones a month, or as said."""
        self.assertEqual(
            [7, 7, 30, 30],
            [Policy().retention_of(status) / policy.DAY
             for status in (COMPLETED, CANCELLED, ERROR, HELD)])
        settings = Policy(retention=1, error_retention=2)
        self.assertEqual(
            [1, 1, 2, 2],
            [settings.retention_of(status)
             for status in (COMPLETED, CANCELLED, ERROR, HELD)])


class Number(enum.IntEnum):
    FIVE = 5


class Name(enum.StrEnum):
    ERROR = 'builtins.OSError'


class Mine(Exception):
    pass


class Stored:
    """Is loaded as a policy is, by `__new__` alone."""

    def __init__(self, *values):
        self.values = values

    def __reduce__(self):
        return Policy.__new__, (Policy, *self.values)


def stored(*values):
    """Return a policy as it is loaded, whatever the values are."""
    return pickle.loads(pickle.dumps(Stored(*values)))


class CheckTest(unittest.TestCase):

    WRONG = {
        'attempts': (0, -1, 1.0, 2.5, math.nan, math.inf, None, '3', True,
                     (3,), decimal.Decimal(3)),
        'retry_wait': (-1, -0.1, math.nan, math.inf, 1e300, 10 ** 400, None,
                       '1', False, decimal.Decimal(1)),
        'retry_on': ('builtins.OSError', 'OSError', '', None, 5, OSError,
                     (int,), ('int',), (None,), (5,), ('',), ('ValueErrors',),
                     ('.',), ('a..b',), (OSError(),), ((OSError,),), {},
                     (b'OSError',), ('\ud800',)),
        'retention': (-1, math.nan, None, '7', True, -math.inf),
        'error_retention': (-1, math.nan, None, '7', True, -math.inf),
        'keep_result': ('no', None, 0, 1, 'false', ()),
        'commit_every': (0, -1, 1001, 1.0, None, '1', True, math.inf),
        'max_size': (0, -1, 1e6, None, '10 MB', True, math.inf),
        'log_messages': ('no', None, 0, 1, ()),
    }

    def test_wrong(self):
        """Each setting says which it is, and what it was given."""
        self.assertEqual(Policy._fields, tuple(self.WRONG))
        for name, values in self.WRONG.items():
            for value in values:
                with self.subTest(f'{name}={value!r}'), \
                        self.assertRaisesRegex(ValueError, f'^{name}'):
                    Policy(**{name: value})
                with self.subTest(f'_replace {name}={value!r}'), \
                        self.assertRaisesRegex(ValueError, f'^{name}'):
                    Policy()._replace(**{name: value})

    def test_by_position(self):
        """The order is the published one."""
        self.assertEqual(
            (5, 2.0, ('builtins.OSError',), 60.0, 120.0, False, 20, 1000,
             False),
            Policy(5, 2.0, ('builtins.OSError',), 60.0, 120.0, False, 20,
                   1000, False))
        with self.assertRaises(ValueError):
            Policy(0)

    def test_no_such_setting(self):
        """A wrong spelling is not ignored."""
        with self.assertRaises(TypeError):
            Policy(retries=3)

    def test_defaults(self):
        """What is stored may have 10 MB, and messages are logged."""
        self.assertEqual((10_000_000, True),
                         (Policy().max_size, Policy().log_messages))

    def test_exact(self):
        """No class of the application is stored with a policy."""
        settings = Policy(
            attempts=Number.FIVE, retry_wait=Number.FIVE,
            retry_on=(Name.ERROR,), retention=Number.FIVE,
            commit_every=Number.FIVE, max_size=Number.FIVE)
        self.assertNotIn(__name__.encode(), pickle.dumps(settings))
        self.assertEqual(5, settings.attempts)

    def test_for_ever(self):
        """So is what is longer than any calendar."""
        for value in (math.inf, 1e300, 10 ** 400):
            settings = Policy(retention=value, error_retention=value)
            self.assertEqual((math.inf,) * 2, settings[3:5])
            self.assertEqual(-math.inf, NOW - settings.retention)

    def test_exceptions(self):
        """Classes and names; what is stored are names."""
        for value, expected in (
                ((), ()), ([], ()),
                ((OSError,), ('builtins.OSError',)),
                (['OSError', OSError, Name.ERROR], ('builtins.OSError',)),
                ({KeyError, OSError},
                 ('builtins.KeyError', 'builtins.OSError')),
                ((Mine,), (f'{__name__}.Mine',)),
                (('no_such_module.Error',), ('no_such_module.Error',))):
            with self.subTest(value):
                self.assertEqual(expected, Policy(retry_on=value).retry_on)
        failure = Outcome(exception=Mine())
        self.assertIsNotNone(Policy(retry_on=(Mine,)).due_after_failure(
            job(), failure, NOW))

    def test_exception_under_another_name(self):
        """It is the one that was raised, or one that it is derived from."""
        failure = Outcome(exception=ConnectionRefusedError())
        for name, again in (('error', True), ('timeout', False),
                            ('socket', False), ('no_such', False),
                            ('no_such.Error', False)):
            settings = Policy(retry_on=(f'{socket.__name__}.{name}',))
            with self.subTest(name):
                due = settings.due_after_failure(job(), failure, NOW)
                self.assertEqual(again, due is not None)

    def test_copies(self):
        """They are equal, and of the same class."""
        settings = Policy(attempts=5, retry_on=(OSError,))
        for found in (pickle.loads(pickle.dumps(settings)),
                      copy.copy(settings), copy.deepcopy(settings),
                      settings._replace(attempts=5)):
            self.assertEqual(settings, found)
            self.assertIs(Policy, type(found))


class Odd:
    """Is shown on several lines."""

    def __repr__(self):
        return 'odd\n2024-01-01 CRITICAL forged'


class StoredTest(unittest.TestCase):
    """Policies that were stored before they were checked."""

    SERVICE = 'events'

    def warnings(self, settings):
        """Return what is used instead, and what the log says."""
        policy._warn.cache_clear()
        policy._mended.cache_clear()
        with self.assertLogs(policy.__name__, 'WARNING') as logs:
            found = sound(settings, self.SERVICE)
        return found, logs.output

    def test_fewer_settings(self):
        """Those that a stored policy does not have are the usual ones."""
        # With the protocol that ZODB uses.
        settings = pickle.loads(
            b'\x80\x03clovely.remotetask.policy\nPolicy\nq\x00(K\x05G@\x00'
            b'\x00\x00\x00\x00\x00\x00X\x10\x00\x00\x00builtins.OSErrorq'
            b'\x01\x85q\x02GA"u\x00\x00\x00\x00\x00GAC\xc6\x80\x00\x00\x00'
            b'\x00\x89K\x14tq\x03\x81q\x04.')
        self.assertIs(Policy, type(settings))
        self.assertEqual(
            (5, 2.0, ('builtins.OSError',), 604800.0, 2592000.0, False, 20,
             10_000_000, True), settings)
        self.assertIs(settings, sound(settings, self.SERVICE))

    def test_what_is_shown_on_several_lines(self):
        """It is one line in the log."""
        _, (line,) = self.warnings(stored(Odd()))
        self.assertIn(r'is odd\n2024-01-01 CRIT', line)

    def test_what_makes_no_sense(self):
        """It can be loaded, and the default is used; the log says so once."""
        for name, values in CheckTest.WRONG.items():
            for value in values:
                with self.subTest(f'{name}={value!r}'):
                    given = list(Policy(attempts=7, commit_every=20))
                    given[Policy._fields.index(name)] = value
                    settings = stored(*given)
                    found, (line,) = self.warnings(settings)
                    self.assertEqual(
                        Policy(attempts=7, commit_every=20)._replace(
                            **{name: getattr(Policy(), name)}), found)
                    self.assertIn(f"Service 'events': {name} of its", line)
                    self.assertIs(Policy, type(found))
                    with self.assertNoLogs(policy.__name__, 'WARNING'):
                        self.assertEqual(found, sound(settings, self.SERVICE))

    def test_equal_numbers(self):
        """A wrong one that equals a good one does not take its place."""
        wrong = stored(True)
        self.assertEqual(3, self.warnings(wrong)[0].attempts)
        self.assertEqual(1, sound(Policy(1), self.SERVICE).attempts)
        self.assertEqual(3, sound(wrong, self.SERVICE).attempts)

    def test_equal_policies(self):
        """None takes the place of one of another class, with other rules."""
        policy._mended.cache_clear()
        for settings in (Policy(), Failing(), Policy()):
            self.assertIs(settings, sound(settings, self.SERVICE))

    def test_no_policy(self):
        """Nor does anything else stop a service."""
        class Rude:
            def __repr__(self):
                raise ZeroDivisionError
        for value in (None, {}, {'attempts': 3}, 'policy', (), (3, 1.0),
                      Policy, Rude(), [[]], types.SimpleNamespace(attempts=3)):
            with self.subTest(type(value)):
                found, (line,) = self.warnings(value)
                self.assertEqual(Policy(), found)
                self.assertIn('is no Policy', line)

    def test_made_otherwise(self):
        """Even if somebody goes round the class."""
        for values in ((), (0,), (3, 1.0, ([],))):
            found, _ = self.warnings(tuple.__new__(Policy, values))
            self.assertEqual(Policy(), found)

    def test_subclasses(self):
        """One that has other rules keeps them."""
        class Never(Policy):
            def due_after_failure(self, job, failure, now):
                return None
        self.assertIs(Never, type(sound(Never(), self.SERVICE)))


class Failing(Policy):
    """Has an error in each of its rules."""

    def due_after_failure(self, job, failure, now):
        raise ZeroDivisionError(job)

    due_after_loss = due_after_failure

    def due_after_interruption(self, job, now):
        return None

    def excuses(self, job):
        raise ZeroDivisionError

    def retention_of(self, status):
        return math.nan


class RuledTest(TaskCase):

    CASES = {
        'due_after_failure': (job(), Outcome(retryable=True), NOW),
        'due_after_loss': (job(), NOW),
        'due_after_interruption': (
            types.SimpleNamespace(interruptions=2), NOW),
        'excuses': (types.SimpleNamespace(interruptions=2),),
        'retention_of': (ERROR,)}

    def setUp(self):
        ruling._warn.cache_clear()
        self.enterContext(unittest.mock.patch.object(
            retry.random, 'uniform', lambda low, high: high))

    def test_rules_that_fail(self):
        """Those of Policy hold, and the log says so once."""
        for name, args in self.CASES.items():
            with self.subTest(name):
                given = Failing(attempts=5, error_retention=7)
                with self.assertLogs(ruling.__name__, 'WARNING') as logs:
                    found = [ruling.ruled(given, name, *args)
                             for _ in range(3)]
                self.assertEqual(
                    [getattr(Policy(attempts=5, error_retention=7), name)(
                        *args)] * 3, found)
                line, = logs.output
                self.assertIn(f'Failing.{name}', line)

    def test_other_rules(self):
        """They hold where they make sense."""
        class Other(Policy):
            def due_after_failure(self, job, failure, now):
                return None

            def due_after_loss(self, job, now):
                return now + 5

            def excuses(self, job):
                return False

            def retention_of(self, status):
                return math.inf
        expected = {'due_after_failure': None, 'due_after_loss': NOW + 5,
                    'excuses': False, 'retention_of': math.inf}
        with self.assertNoLogs(ruling.__name__, 'WARNING'):
            self.assertEqual(expected, {
                name: ruling.ruled(Other(), name, *self.CASES[name])
                for name in expected})


class ServiceTest(TaskCase):

    def setUp(self):
        super().setUp()
        self.service = TaskService()
        self.task(str)
        self.task(int, 'test.fail')

    def test_a_policy_that_fails(self):
        """Its jobs come to an end, and hold up no others."""
        self.service.policy = Failing()
        ids = [self.service.add(name, 'x')
               for name in ('test.fail', 'test.task')]
        self.service.process()
        self.assertEqual([ERROR, COMPLETED], [
            self.service.getStatus(jobid) for jobid in ids])
        self.assertEqual(0, upkeep(self.service).prune(10))
        found = self.service.jobs[ids[0]]
        self.assertGreater(
            Management(self.service).removed_at(found), NOW)

    def test_a_policy_that_makes_no_sense(self):
        """The service works as if nothing was said."""
        for settings in (stored(math.nan, math.nan, None, math.nan, 'x', 5,
                                None, 'big', 'no'), None, {'attempts': 3}):
            with self.subTest(settings):
                self.service.policy = settings
                with self.assertLogs(policy.__name__, 'WARNING'):
                    policy._warn.cache_clear()
                    policy._mended.cache_clear()
                    self.assertEqual(1, engine(self.service).commit_every())
                jobs = [self.service.add(name, 'x')
                        for name in ('test.task', 'test.fail')]
                self.service.process()
                self.assertEqual([COMPLETED, ERROR], [
                    self.service.getStatus(jobid) for jobid in jobs])
                self.assertEqual(0, upkeep(self.service).prune(10))
