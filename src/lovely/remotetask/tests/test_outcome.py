"""What an exception keeps of the run that has raised it: nothing."""

import time
import unittest.mock
import weakref

import transaction

from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.policy import Policy
from lovely.remotetask.running import group
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.test_misbehaviour import RunCase


class Obstinate(ValueError):
    """Keeps its traceback, and what it was raised for."""

    @property
    def __traceback__(self):
        raise RuntimeError('no traceback')

    @property
    def __context__(self):
        return 'no exception'

    __cause__ = __context__

    def __setattr__(self, name, value):
        raise AttributeError(name)

    def __hash__(self):
        raise TypeError


# Modules keep such things, and raise them whenever they like.
PLAIN = ValueError('again')
OBSTINATE = Obstinate('again')
GROUP = ExceptionGroup('all', [PLAIN])


class Thing:
    """What a run has in its hands."""


def raise_plain(held):
    raise PLAIN


def raise_obstinate(held):
    raise OBSTINATE


def raise_in_handler(held):
    try:
        raise KeyError(held)
    except KeyError:
        raise PLAIN  # noqa: B904


def raise_for_a_cause(held):
    raise PLAIN from KeyError(held)


def raise_member(held):
    try:
        raise PLAIN
    except ValueError as error:
        raise GROUP from error


class RunTest(RunCase):

    raisers = (raise_plain, raise_obstinate, raise_in_handler,
               raise_for_a_cause, raise_member)

    def setUp(self):
        super().setUp()
        self.things = []
        self.raiser = None
        self.service_task(self.work, 'test.raise')

    def work(self, service, input):
        held = Thing()
        self.things.append(weakref.ref(held))
        self.raiser(held)

    def assert_let_go(self):
        self.assertTrue(self.things)
        self.assertEqual(
            [None], list({reference() for reference in self.things}))
        for exception in PLAIN, OBSTINATE, GROUP:
            self.assertIsNone(
                vars(BaseException)['__traceback__'].__get__(exception))

    def check(self, run):
        for raiser in self.raisers:
            with self.subTest(raiser.__name__):
                self.raiser = raiser
                del self.things[:]
                ids = [self.add('test.raise') for _ in range(3)]
                run(ids)
                transaction.begin()
                self.assertEqual(
                    [(ERROR, 1)] * 3,
                    [(job.status, job.attempts)
                     for job in map(self.job, ids)])
                self.assertIn('again', self.job(ids[0]).traceback)
                self.assert_let_go()

    def process(self, ids):
        processor = self.processor()
        while processor.processNext():
            pass

    def test_alone(self):
        """Each run by itself."""
        self.check(self.process)

    def test_together(self):
        """Several in one transaction, of which each fails."""
        def run(ids):
            claims = engine(self.service).claim('host:1', 9, time.time())
            transaction.commit()
            group.run_group(self.db, ['tasks'], claims, transaction.commit)
        self.check(run)

    def test_one_by_one(self):
        """Several whose transaction cannot be committed."""
        def run(ids):
            def commit():
                if not tries:
                    tries.append(None)
                    raise PLAIN
                transaction.commit()
            tries = []
            claims = engine(self.service).claim('host:1', 9, time.time())
            transaction.commit()
            with logged('lovely.remotetask'):
                group.run_group(self.db, ['tasks'], claims, commit)
        self.check(run)

    def test_direct(self):
        """In the caller's transaction."""
        def run(ids):
            self.service.process()
            transaction.commit()
        self.check(run)

    def test_when_it_cannot_be_stored(self):
        """A policy that raises the same one."""
        self.raiser = raise_plain
        with unittest.mock.patch.object(
                Policy, 'due_after_failure', side_effect=PLAIN), \
                logged('lovely.remotetask'):
            self.add('test.raise')
            self.process(None)
        self.assert_let_go()

    def test_duty(self):
        """What a processor does again and again, and cannot."""
        processor = self.processor()
        with logged('lovely.remotetask'):
            for _ in range(3):
                processor.duties.report(
                    outcome_of(raise_in_handler, Thing()), 'take')
        self.assertIsNone(PLAIN.__traceback__)
        self.assertIsNone(PLAIN.__context__)


class LetGoTest(unittest.TestCase):

    def test_chain(self):
        """Causes and contexts of any number, in a circle too."""
        first, second = ValueError(1), ValueError(2)
        first.__context__, second.__cause__ = second, first
        last = second
        for number in range(100_000):
            last.__context__ = ValueError(number)
            last = last.__context__
        let_go(first)
        self.assertIsNone(first.__context__)
        self.assertIsNone(second.__cause__)

    def test_next_time(self):
        """When it is raised again, its context is shown as at first."""
        def fail():
            raise_in_handler('the context')
        first = outcome_of(fail)
        let_go(first.exception)
        second = outcome_of(fail)
        self.assertIn('the context', second.traceback)
        self.assertEqual(first.traceback, second.traceback)
        let_go(second.exception)
