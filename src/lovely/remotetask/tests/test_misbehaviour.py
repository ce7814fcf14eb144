"""Jobs that leave things behind, and exceptions that are no help.

Each job runs as a processor runs it; what is told of it afterwards is true,
and the next one begins as the first one did.
"""

import builtins
import contextvars
import decimal
import gc
import locale
import logging
import logging.config
import os
import pickle
import signal
import socket
import sys
import threading
import time
import types
import unittest.mock

import transaction
import ZODB
import zope.component.hooks
import zope.security.management
from transaction.interfaces import TransientError
from ZODB.Connection import Connection
from ZODB.POSException import StorageError
from zope.security.testing import Participation
from zope.security.testing import Principal
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

from lovely.remotetask.foreign.outcome import in_runner
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import CannotRollBack
from lovely.remotetask.interfaces import ClaimLost
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.policy import Policy
from lovely.remotetask.running import group
from lovely.remotetask.running import quirks
from lovely.remotetask.running import surroundings
from lovely.remotetask.running import tracing
from lovely.remotetask.running.execution import ENDED
from lovely.remotetask.running.execution import ProcessorRequest
from lovely.remotetask.running.execution import is_running
from lovely.remotetask.running.gate import ProcessorStopped
from lovely.remotetask.running.surroundings import JobPlace
from lovely.remotetask.running.surroundings import Surroundings
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged


class RunCase(DatabaseCase):
    """Runs functions of service and input as jobs, in this thread."""

    def setUp(self):
        super().setUp()
        self.calls = 0
        token = in_runner.set(True)
        self.addCleanup(in_runner.reset, token)

    def run_jobs(self, func, *inputs):
        """Run a job for each input.  Return the jobs as they are then."""
        def call(service, input):
            self.calls += 1
            return func(service, input)
        if zope.component.queryUtility(
                self.service.taskInterface, 'test.run') is None:
            self.service_task(call, 'test.run')
        ids = [self.add('test.run', input) for input in inputs or (None,)]
        self.run_each()
        return [self.job(jobid) for jobid in ids]

    def run_each(self):
        """Run all jobs, one after the other."""
        processor = self.processor()
        while processor.processNext():
            pass

    def run_together(self):
        """Run all jobs in one transaction.  Return what became of them."""
        claims = engine(self.service).claim('host:1:thread:no-machine-1', 100)
        transaction.commit()
        ends = group.run_group(self.db, ['tasks'], claims, transaction.commit)
        transaction.begin()
        return set(ends.values())

    def run_job(self, func):
        job, = self.run_jobs(func)
        return job


# Exceptions

class Unprintable(Exception):

    def __str__(self):
        raise ValueError


class PrintsNoText(Exception):

    def __str__(self):
        return 7


class Text(str):
    """A text that cannot be stored, and does odd things when used."""

    def __reduce__(self):
        raise TypeError('no pickle')

    def __str__(self):
        return self

    def __getitem__(self, key):
        raise KeyError(key)

    def encode(self, *args):
        return b''

    def __format__(self, spec):
        raise RuntimeError


class LazyText(Exception):

    def __str__(self):
        return Text('bad thing')


class StrExits(Exception):

    def __str__(self):
        sys.exit(3)


class StrInterrupts(Exception):

    def __str__(self):
        raise KeyboardInterrupt


class NotesRaise(Exception):

    @property
    def __notes__(self):
        raise RuntimeError('notes')


class NotesExit(Exception):

    @property
    def __notes__(self):
        sys.exit(4)


class CauseRaises(Exception):

    @property
    def __cause__(self):
        raise RuntimeError('cause')


class Liar(Exception):
    """Says that it is transient; its class says nothing."""

    @property
    def __class__(self):
        return TransientError


class NoName(type):

    def __getattribute__(cls, name):
        if name in ('__module__', '__qualname__', '__name__', '__mro__'):
            raise RuntimeError(name)
        return super().__getattribute__(name)


class Anonymous(Exception, metaclass=NoName):
    pass


class OddModule(Exception):
    pass


OddModule.__module__ = Text('module')


class NewCauses(Exception):
    """Has another cause whenever it is asked for its text."""

    def __str__(self):
        self.__cause__ = NewCauses()
        return 'endless'


class NewContexts(Exception):
    """Was raised from another one whenever it is asked."""

    @property
    def __context__(self):
        return NewContexts()


class OddServer(OSError):
    """Looks like a storage that is away, to who does not look closely."""

    @property
    def __traceback__(self):
        sys.exit('traceback')


class OddStorage(StorageError):
    pass


OddStorage.__module__ = None


def nested(width, depth):
    """Return a group of width ** depth exceptions, which are one."""
    error = ValueError('innermost')
    for number in range(depth):
        error = ExceptionGroup(str(number), [error] * width)
    return error


def raise_in_odd_namespace():
    class Meta(type):
        @classmethod
        def __prepare__(cls, name, bases):
            return Namespace()

    class Namespace(dict):
        def get(self, name):
            sys.exit(name)

    class Odd(metaclass=Meta):
        raise OSError('in an odd namespace')


def cyclic():
    one, other = ValueError('one'), ValueError('other')
    one.__cause__, other.__cause__ = other, one
    return one


def chain(length):
    error = ValueError('0')
    for number in range(length):
        error, cause = ValueError(str(number)), error
        error.__cause__ = cause
    return error


ODD = {
    'unprintable': Unprintable, 'no text': PrintsNoText,
    'lazy text': LazyText, 'exits': StrExits, 'interrupts': StrInterrupts,
    'notes raise': NotesRaise, 'notes exit': NotesExit,
    'cause raises': CauseRaises, 'liar': Liar, 'anonymous': Anonymous,
    'odd module': OddModule, 'cyclic': cyclic,
    'chain': lambda: chain(500),
    'syntax': lambda: SyntaxError('bad', ('f', 1, 1, b'code')),
    'syntax numbers': lambda: SyntaxError('bad', ('f', 'x', 'y', 'code')),
    'surrogates': lambda: ValueError('caf\udce9'),
    'nul': lambda: ValueError('a\0b'),
    'group': lambda: ExceptionGroup('g', [ValueError(1), Unprintable()]),
    'arguments': lambda: ValueError(Unprintable(), Text('x')),
    'exit': lambda: SystemExit('bye'), 'generator': GeneratorExit,
    'keyboard': KeyboardInterrupt, 'stop': StopIteration,
    'memory': MemoryError, 'recursion': RecursionError,
    'base': BaseException,
    'new causes': NewCauses, 'new contexts': NewContexts,
    'one in many groups': lambda: nested(2, 40),
    'wide groups': lambda: nested(10_000, 2),
    'odd server': OddServer, 'odd storage': OddStorage,
    'odd namespace': raise_in_odd_namespace,
    'processor stopped': lambda: ProcessorStopped('says the job'),
    'run alone': lambda: group.RunAlone('says the job'),
    'cannot roll back': lambda: CannotRollBack('says the job'),
    'claim lost': lambda: ClaimLost('says the job'),
}


class OddExceptionTest(RunCase):

    def raise_odd(self, service, kind):
        raise ODD[kind]()

    def test_the_job_is_in_error(self):
        """Whatever the exception is, the job is called once and ends."""
        for kind in ODD:
            with self.subTest(kind):
                self.calls = 0
                job, = self.run_jobs(self.raise_odd, kind)
                self.assertEqual((ERROR, 1, 1),
                                 (job.status, job.attempts, self.calls))
                for text in (job.error, job.errorClass, job.traceback):
                    self.assertIs(str, type(text))

    def test_what_is_told(self):
        """What can be told is told, as plain texts."""
        for kind, error, class_ in (
                ('lazy text', 'bad thing', LazyText),
                ('unprintable', '<unprintable Unprintable object>',
                 Unprintable),
                ('anonymous', '', None), ('odd module', '', None),
                ('notes raise', '', NotesRaise)):
            with self.subTest(kind):
                job, = self.run_jobs(self.raise_odd, kind)
                self.assertEqual(error, job.error)
                if class_ is not None:
                    self.assertEqual(
                        f'{__name__}.{class_.__name__}', job.errorClass)

    def test_a_long_message(self):
        """Of a message of megabytes some kilobytes are stored and logged."""
        def fail(service, input):
            raise OSError('INSERT ' + 'x' * 2_000_000 + ' the end')
        with logged('lovely.remotetask') as lines:
            job = self.run_job(fail)
        self.assertLess(len(job.error), 5000)
        self.assertTrue(job.error.startswith('INSERT '))
        self.assertTrue(job.error.endswith(' the end'))
        self.assertIn('2000015 characters', job.error)
        self.assertLessEqual(len(job.traceback), 16 * 1024)
        self.assertIn('in fail', job.traceback)
        self.assertLess(len('\n'.join(lines)), 30_000)

    def test_a_message_of_many_lines(self):
        """It is one line of the log, and cannot look like another record."""
        def fail(service, input):
            raise TaskError('one\nERROR forged\r\x1b[31mred\x00')
        with logged('lovely.remotetask') as lines:
            self.run_job(fail)
        text = '\n'.join(lines)
        self.assertIn(r'one\nERROR forged\r\x1b[31mred\x00', text)
        self.assertNotIn('\nERROR forged', text)
        self.assertNotIn('\x1b', text)

    def test_messages_are_not_logged(self):
        """Where the service says so; class and place are."""
        self.service.policy = Policy(
            log_messages=False, retry_on=('builtins.KeyError',))
        transaction.commit()

        def fail(service, input):
            if input == 'again':
                raise KeyError('secret')
            try:
                raise KeyError('secret')
            except KeyError:
                raise TaskError('secret') from ValueError('secret')
        with logged() as lines:
            self.run_jobs(fail, 'again', 'error')
        text = '\n'.join(lines)
        self.assertNotIn('secret', text.replace("'secret'", ''))
        self.assertIn('TaskError', text)
        self.assertIn('KeyError', text)
        self.assertIn('test_misbehaviour.py', text)

    def test_the_failure_cannot_be_stored(self):
        """It is tried with less and less; the last says only that it failed.
        """
        def fail(service, input):
            raise TaskError('told')
        stored = []

        def store(service, job, run, failure, now=None):
            stored.append(failure.error)
            if len(stored) < 3:
                raise pickle.PicklingError('no')
            job.fail(run, failure, time.time())
        with unittest.mock.patch.object(
                JobExecution, 'fail', store):
            job = self.run_job(fail)
        self.assertEqual(['told', 'told', stored[2]], stored)
        self.assertIn('could not be described', job.error)
        self.assertEqual((ERROR, 1), (job.status, self.calls))

    def test_the_failure_can_never_be_stored(self):
        """The run counts nevertheless, and the job waits."""
        def fail(service, input):
            raise TaskError('told')
        with unittest.mock.patch.object(
                JobExecution, 'fail', side_effect=ValueError('no')):
            job = self.run_job(fail)
        self.assertEqual((QUEUED, 1, 1),
                         (job.status, job.attempts, self.calls))
        self.assertLess(job.history[-1].started, job.due)

    def test_it_never_repeats_without_end(self):
        """As many calls as counted attempts, until the job is in error."""
        def fail(service, input):
            raise TaskError('told')
        self.service.policy = Policy(attempts=3, retry_wait=0.0)
        transaction.commit()
        with unittest.mock.patch.object(
                JobExecution, 'fail', side_effect=ValueError('no')):
            job = self.run_job(fail)
            processor = self.processor()
            while processor.processNext(
                    processor.claimNextJob(time.time() + 1e6)):
                job = self.job(job.id)
                self.assertLessEqual(self.calls, job.attempts)
        job = self.job(job.id)
        self.assertEqual((ERROR, 3, 3),
                         (job.status, job.attempts, self.calls))
        self.assertIn('could not be stored', job.error)


# Results

class Unreadable(Exception):

    def __init__(self, one, other):
        super().__init__(f'{one} {other}')


class ResultTest(RunCase):

    def test_what_cannot_be_read_back(self):
        """A result is an error at once if it cannot be loaded later."""
        for result in ([Unreadable(1, 2)], lambda: None, (n for n in ()),
                       {'a': sys}, Text('x')):
            with self.subTest(type(result)):
                job = self.run_job(lambda service, input: effect(
                    service, 'effect') or result)  # noqa: B023
                self.assertEqual(ERROR, job.status)
                self.assertIn('the result', job.error)
                self.assertEqual([], self.effects)
                zope.component.getGlobalSiteManager().unregisterUtility(
                    provided=self.service.taskInterface, name='test.run')

    def test_a_large_one(self):
        """So it is where it takes more than the service allows."""
        self.service.policy = Policy(max_size=1000)
        transaction.commit()
        job = self.run_job(lambda service, input: 'x' * 2000)
        self.assertEqual(ERROR, job.status)
        self.assertIn('max_size', job.error)

    def test_changed_later(self):
        """What is stored is as it was when the function returned."""
        result = ['before']

        def work(service, input):
            transaction.get().addBeforeCommitHook(result.append, ('after',))
            return result
        self.assertEqual(['before'], self.run_job(work).output)


# The cache

class CacheTest(RunCase):

    def test_a_job_that_has_left_the_cache(self):
        """A long job, with savepoints, ends as a short one does."""
        def work(service, input):
            effect(service, 1)
            service._p_jar.cacheMinimize()
            transaction.savepoint()
            service._p_jar.cacheMinimize()
            gc.collect()
            effect(service, 2)
            return 'done'
        job = self.run_job(work)
        self.assertEqual((COMPLETED, 'done'), (job.status, job.output))
        self.assertEqual([1, 2], self.effects)
        self.assertIsNotNone(job.started)

    def test_called_directly(self):
        """So it is in the caller's transaction."""
        def work(service, input):
            transaction.savepoint()
            service._p_jar.cacheMinimize()
        self.service_task(work, 'test.work')
        jobid = self.service.add('test.work', None)
        transaction.commit()
        self.service.processNext(jobid=jobid)
        self.assertEqual(COMPLETED, self.service.getStatus(jobid))

    def test_a_job_knows_its_service(self):
        """However one has come by it."""
        job = self.run_job(lambda service, input: None)
        job._p_deactivate()
        self.assertIs(self.service, job.__parent__)
        self.assertEqual(COMPLETED, self.connection.get(job._p_oid).status)


# What is left behind

VARIABLE = contextvars.ContextVar('VARIABLE', default='first')


def facts():
    """Return what a job finds around it."""
    current = zope.security.management.queryInteraction()
    return {
        'site': zope.component.hooks.getSite(),
        'interaction': [participation.principal.id for participation
                        in current.participations],
        'variable': VARIABLE.get(), 'decimal': str(decimal.getcontext()),
        'locale': locale.setlocale(locale.LC_ALL),
        'zone': (os.environ.get('TZ'), time.tzname),
        'folder': os.getcwd(), 'timeout': socket.getdefaulttimeout(),
        'recursion': sys.getrecursionlimit(),
        'gc': (gc.isenabled(), gc.get_threshold()),
        'hooks': (sys.excepthook is None, threading.excepthook is None),
        'tracing': (sys.gettrace(), sys.getprofile()),
        'digits': sys.get_int_max_str_digits(),
        'interval': sys.getswitchinterval(),
        'timers': [signal.getitimer(timer)[0] > 0 for timer in (
            signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
        'logging': (logging.root.manager.disable,
                    surroundings.log.disabled, tracing.log.disabled),
        'explicit': transaction.manager.explicit,
        'doomed': transaction.isDoomed(), 'job': is_running(),
    }


def other_site(service):
    site = service.__parent__['other']
    zope.component.hooks.setSite(site)


def end_interaction(service):
    zope.security.management.endInteraction()


def admin(service):
    zope.security.management.endInteraction()
    zope.security.management.newInteraction(
        Participation(Principal('zope.admin')))


def admin_that_is_over(service):
    admin(service)
    zope.security.management.endInteraction()


def set_variable(service):
    VARIABLE.set('other')


def set_decimal(service):
    decimal.getcontext().prec = 4


def set_default_decimal(service):
    decimal.DefaultContext.prec = 4
    decimal.DefaultContext.traps[decimal.Inexact] = True


def replace_default_decimal(service):
    decimal.DefaultContext = decimal.Context(4)


def set_locale(service):
    locale.setlocale(locale.LC_ALL, 'C.UTF-8')


def set_zone(service):
    os.environ['TZ'] = 'Asia/Kolkata'
    time.tzset()


def set_folder(service):
    os.chdir('/')


def set_timeout(service):
    socket.setdefaulttimeout(0.001)


def set_recursion(service):
    sys.setrecursionlimit(sys.getrecursionlimit() + 7)


def set_digits(service):
    sys.set_int_max_str_digits(0)


def set_interval(service):
    sys.setswitchinterval(2.0)


def set_alarm(service):
    """As for a time limit, and leave it on."""
    signal.alarm(1000)


def set_timer(service):
    signal.setitimer(signal.ITIMER_VIRTUAL, 1000, 1000)


def set_gc(service):
    gc.disable()


def set_gc_threshold(service):
    gc.set_threshold(0)


def drop_hooks(service):
    sys.excepthook = threading.excepthook = None


def set_profile(service):
    sys.setprofile(lambda *args: None)


def set_trace(service):
    sys.settrace(lambda *args: None)


def set_logging(service):
    logging.disable(logging.CRITICAL)


def enabled_loggers():
    # Also of those that stand for loggers which nobody has made yet.
    return [logger for logger in logging.root.manager.loggerDict.values()
            if not getattr(logger, 'disabled', False)]


def enable(loggers):
    for logger in loggers:
        logger.disabled = False


def configure_logging(service):
    """As it is done at the start of a script: that disables all others."""
    logging.config.dictConfig({'version': 1})


def set_explicit(service):
    transaction.manager.explicit = True


def set_manager(service):
    transaction.manager.manager = transaction.TransactionManager()


def replace_and_doom(service):
    set_manager(service)
    transaction.doom()


def raise_error(service):
    other_site(service)
    admin(service)
    set_variable(service)
    raise TaskError('An error occurred.')


LEAVING = (other_site, end_interaction, admin, admin_that_is_over,
           set_variable, set_decimal, set_default_decimal,
           replace_default_decimal, set_locale, set_zone, set_folder,
           set_timeout, set_recursion, set_digits, set_interval, set_alarm,
           set_timer, set_gc, set_gc_threshold, drop_hooks, set_profile,
           set_trace, set_logging, configure_logging, set_explicit,
           set_manager, replace_and_doom, raise_error)


class LeftBehindTest(RunCase):

    commit_every = 1

    def setUp(self):
        super().setUp()
        self.addCleanup(enable, enabled_loggers())
        self.enterContext(unittest.mock.patch.object(
            decimal, 'DefaultContext', decimal.DefaultContext))
        self.root['other'] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        self.service.policy = Policy(commit_every=self.commit_every)
        transaction.commit()

    def look(self, service, input):
        if input == 'restore':
            # As a function does that was called by a request.
            zope.security.management.endInteraction()
            zope.security.management.restoreInteraction()
        found = facts()
        found['site'] = getattr(found['site'], '__name__', None)
        self.found.append(found)

    def test_each_run_begins_as_the_first_one_did(self):
        """Whatever a job does to its thread or process is over with it."""
        outer = facts_of_thread()
        for leave in LEAVING:
            with self.subTest(leave.__name__):
                self.found = []
                self.run_looking_and(leave)
                # In a group, those beside one that fails are run again.
                self.assertLessEqual(3, len(self.found))
                self.assertEqual(self.found[0], self.found[1])
                self.assertEqual(self.found[0], self.found[2])
                self.assertEqual(outer, facts_of_thread())

    def test_adapters_of_the_site(self):
        """Adapters are not looked for in the site of a job that has ended.

        That is in a connection which may be closed.
        """
        info = zope.component.hooks.siteinfo
        hook = info.adapter_hook
        site = self.root['other']
        for around in (
                surroundings.site(site),
                Surroundings(JobPlace(site, lambda: [ProcessorRequest()]),
                             lambda: 'a job')):
            with around:
                self.assertNotEqual(hook, info.adapter_hook)
            self.assertEqual(hook, info.adapter_hook)

    def run_looking_and(self, leave):
        def work(service, input):
            if input == 'leave':
                leave(service)
                effect(service, leave.__name__)
            else:
                self.look(service, input)
        name = f'test.{leave.__name__}'
        self.service_task(work, name)
        for input in (None, 'leave', None, 'restore'):
            self.add(name, input)
        self.run_all()

    def run_all(self):
        self.run_each()

    def test_it_is_told(self):
        """The log says which job has changed what of the process."""
        def work(service, input):
            set_zone(service)
            set_locale(service)
        self.addCleanup(
            locale.setlocale, locale.LC_ALL, locale.setlocale(locale.LC_ALL))
        locale.setlocale(locale.LC_ALL, 'C')
        with logged('lovely.remotetask.running.surroundings') as lines:
            job = self.run_job(work)
        line, = lines
        self.assertIn(f'tasks/{job.id} has changed', line)
        self.assertIn('locale, time zone', line)


class LeftBehindInGroupTest(LeftBehindTest):
    """The same, where several run in one transaction."""

    commit_every = 10

    def run_all(self):
        self.assertEqual({ENDED}, self.run_together())


def facts_of_thread():
    info = zope.component.hooks.siteinfo
    return (info.site, zope.security.management.queryInteraction(),
            transaction.manager.manager, VARIABLE.get(), os.getcwd())


class TransactionTest(RunCase):

    def test_a_swallowed_commit_and_an_abort(self):
        """A job whose commit was refused is in error, whatever follows."""
        def work(service, input):
            effect(service, 'lost')
            try:
                transaction.commit()
            except TaskError:
                transaction.abort()
            effect(service, 'afterwards')
            return 'done'
        job = self.run_job(work)
        self.assertEqual((ERROR, None), (job.status, job.output))
        self.assertIn('must not commit', job.error)
        self.assertEqual([], self.effects)

    def test_a_commit_of_another_managers_transaction(self):
        """The thread's manager replaced, nothing of the job is committed."""
        def work(service, input):
            effect(service, 'effect')
            set_manager(service)
            transaction.commit()
            return 'done'
        job = self.run_job(work)
        self.assertEqual((COMPLETED, 'done'), (job.status, job.output))
        self.assertEqual(['effect'], self.effects)

    def test_a_commit_that_commits_nothing(self):
        """Nobody is told that the job is completed: it is in error."""
        def free():
            transaction.manager.manager.free(transaction.get())

        def commit_nothing():
            transaction.get().commit = int

        def forget_the_connection():
            del transaction.get()._resources[:]

        def work(service, input):
            effect(service, 'effect')
            input()
        for misdeed in free, commit_nothing, forget_the_connection:
            with self.subTest(misdeed.__name__):
                self.misdeed = misdeed
                job = self.run_job(lambda service, input: work(
                    service, self.misdeed))
                self.assertEqual((ERROR, 1), (job.status, job.attempts))
                self.assertIn('not committed', job.error)
                self.assertEqual([], self.effects)
                self.assertEqual(
                    {ERROR}, {status for status, number
                              in self.service.counts().items() if number})

    def test_the_commit_is_not_looked_up_where_a_job_may_replace_it(self):
        def work(service, input):
            effect(service, 'effect')
            self.enterContext(
                unittest.mock.patch.object(transaction, 'commit', int))
        job = self.run_job(work)
        self.assertEqual((COMPLETED, ['effect']), (job.status, self.effects))

    def test_an_abort(self):
        """What was done before is gone, what comes after is not."""
        def work(service, input):
            effect(service, 'before')
            transaction.abort()
            effect(service, 'after')
        self.assertEqual(COMPLETED, self.run_job(work).status)
        self.assertEqual(['after'], self.effects)

    def test_hooks_before_the_commit(self):
        """They work where the job does; what they do is part of it."""
        def hook(service):
            self.seen = (zope.component.hooks.getSite(), is_running())
            effect(service, 'hook')

        def work(service, input):
            transaction.get().addBeforeCommitHook(hook, (service,))
            self.site = zope.component.hooks.getSite()
        self.assertEqual(COMPLETED, self.run_job(work).status)
        self.assertEqual((self.site, True), self.seen)
        self.assertEqual(['hook'], self.effects)

    def test_hooks_that_will_be_last(self):
        """One that adds itself until no other one follows has its way."""
        def work(service, input):
            txn = transaction.get()

            def last():
                called.append(input)
                *_, (hook, _, _) = txn.getBeforeCommitHooks()
                if hook is not last and len(called) < 1000:
                    txn.addBeforeCommitHook(last)
            txn.addBeforeCommitHook(last)
        called = []
        self.assertEqual(COMPLETED, self.run_job(work).status)
        self.assertLess(len(called), 10)

    def test_hooks_after_the_commit(self):
        """They are no part of the job any more."""
        def work(service, input):
            transaction.get().addAfterCommitHook(
                lambda committed: seen.append((committed, is_running())))
        seen = []
        self.assertEqual(COMPLETED, self.run_job(work).status)
        self.assertEqual([(True, False)], seen)

    def test_a_data_manager_that_fails_after_the_commit(self):
        """The job is completed, and the log says what may be lost."""
        class Mail:
            transaction_manager = transaction.manager

            def sortKey(self):
                return '~'

            def abort(self, txn):
                pass

            tpc_begin = commit = tpc_vote = tpc_abort = abort

            def tpc_finish(self, txn):
                raise OSError('the mail server')

        def work(service, input):
            effect(service, 'effect')
            transaction.get().join(Mail())
            return 'done'
        with logged('lovely.remotetask') as lines:
            job = self.run_job(work)
        self.assertEqual((COMPLETED, 'done', 1),
                         (job.status, job.output, self.calls))
        self.assertEqual(['effect'], self.effects)
        line, = [line for line in lines if line.startswith('ERROR')]
        self.assertIn('completed, but something failed', line)
        self.assertIn('the mail server', line)
        self.assertNotIn('somebody else', '\n'.join(lines))

    def test_a_synchronizer_that_fails_after_the_commit(self):
        """So it is with one that the job has registered."""
        class Synchronizer:
            def newTransaction(self, txn):
                pass

            beforeCompletion = newTransaction

            def afterCompletion(self, txn):
                raise OSError('afterwards')

        def work(service, input):
            effect(service, 'effect')
            transaction.manager.registerSynch(synchronizer)
        synchronizer = Synchronizer()
        self.assertEqual((COMPLETED, 1), (
            self.run_job(work).status, self.calls))
        self.assertEqual(['effect'], self.effects)

    def test_who_did_what(self):
        """The undo log tells the job, its function, and its principal."""
        def work(service, input):
            admin(service)
            effect(service, 'effect')
        job = self.run_job(work)
        record, = [record for record in self.jobs_db.storage.iterator()
                   if record.tid == job._p_serial]
        self.assertEqual(f'tasks: job {job.id} test.run'.encode(),
                         record.description)


class ConnectionTest(RunCase):

    def test_it_is_not_the_jobs_to_close(self):
        """It would serve somebody else while the job goes on."""
        job = self.run_job(lambda service, input: service._p_jar.close())
        self.assertEqual(ERROR, job.status)
        self.assertIn('not its own to close', job.error)

    def test_two_of_one_database(self):
        """At the commit they would wait for each other, and all others for
        them.  It is the job's error, also among others.
        """
        opened = []

        def work(service, input):
            effect(service, input)
            if input == 'bad':
                other = service._p_jar.db().open()
                opened.append(other)
                other.root()['other'] = 1
        self.service_task(work, 'test.run')
        for run in self.run_each, self.run_together:
            with self.subTest(run.__name__):
                before = len(self.effects)
                ids = [self.add('test.run', input)
                       for input in ('good', 'bad', 'good')]
                run()
                self.assertEqual(
                    [COMPLETED, ERROR, COMPLETED],
                    [self.job(jobid).status for jobid in ids])
                self.assertIn('by two connections', self.job(ids[1]).error)
                self.assertEqual(['good'] * 2, self.effects[before:])
        # Nobody holds the storage.
        self.root.number = 1
        transaction.commit()
        for each in opened:
            each.close()

    def test_two_from_a_synchronizer_on(self):
        """It is told after all hooks that the commit begins."""
        class Writing:
            def beforeCompletion(self, txn):
                opened.append(db.open(transaction.manager.manager))
                opened[-1].root()['other'] = 1

            def newTransaction(self, txn):
                pass

            afterCompletion = newTransaction

        def work(service, input):
            effect(service, input)
            transaction.manager.registerSynch(writing)
        db, opened, writing = self.db, [], Writing()
        begin = Connection.tpc_begin

        def begin_alone(connection, txn):
            # The second one would wait for ever.
            self.assertEqual([connection], txn._resources)
            begin(connection, txn)
        with unittest.mock.patch.object(
                Connection, 'tpc_begin', begin_alone):
            job = self.run_job(work)
        self.assertEqual(ERROR, job.status)
        self.assertIn('by two connections', job.error)
        self.assertEqual([], self.effects)

    def test_one_to_another_database(self):
        """Who closes it would close the job's own with it, and what the next
        one gets from the pool would not work.
        """
        other = ZODB.DB(None, databases=self.db.databases,
                        database_name='other')
        self.addCleanup(other.close)
        self.addCleanup(self.db.databases.pop, 'other')

        def work(service, input):
            found = service._p_jar.get_connection('other')
            found.root()['input'] = input
            if input == 'bad':
                transaction.abort()
                found.close()
        bad, good = self.run_jobs(work, 'bad', 'good')
        self.assertEqual(
            (ERROR, COMPLETED, 1), (bad.status, good.status, good.attempts))
        self.assertIn('not its own to close', bad.error)
        pool = other.pool
        self.assertLessEqual({each for _, each in pool.available},
                             set(pool.all))

    def test_two_that_were_read(self):
        """Nothing is wrong with that."""
        def work(service, input):
            other = self.db.open()
            found = list(other.root())
            other.close()
            effect(service, 'good')
            return found
        self.assertEqual(COMPLETED, self.run_job(work).status)

    def test_one_that_was_tampered_with_is_not_used_again(self):
        """A connection that does not look as it should is released."""
        def work(service, input):
            used.append(service._p_jar)
            service._p_jar.transaction_manager = \
                transaction.TransactionManager()
        used = []
        self.run_jobs(work, 1, 2)
        self.assertIsNot(used[0], used[1])
        self.assertFalse(set(used) & set(self.db.pool.all))

    def test_one_that_hears_of_no_commits_is_not_used_again(self):
        """It would show what it has in memory for ever, without an error."""
        def close(service):
            service._p_jar._storage.close()

        def close_another(service):
            other = self.db.open(transaction.TransactionManager())
            other._storage.close()
            other.close()

        def replace(service):
            service._p_jar._storage = service._p_jar._storage.__class__(
                self.db._mvcc_storage)
        for number, deafen in enumerate((close, close_another, replace), 1):
            with self.subTest(deafen.__name__):
                self.deafen = deafen
                self.run_job(lambda service, input: self.deafen(service))
                self.root.number = number
                transaction.commit()
                self.deafen = self.look
                for _ in range(3):
                    self.assertEqual(number, self.run_job(
                        lambda service, input: None).output)

    def test_storages_that_ask_by_themselves(self):
        """RelStorage has another list of the same name."""
        with unittest.mock.patch.object(
                self.db, '_mvcc_storage', types.SimpleNamespace(
                    _instances=[])):
            self.assertTrue(quirks.hears(self.connection))

    def look(self, service):
        return service.__parent__.number

    def test_a_change_that_the_database_was_not_told_of(self):
        """It is forgotten with a job that fails."""
        self.root.plain = ['before']
        transaction.commit()

        def work(service, input):
            plain = service.__parent__.plain
            seen.append(list(plain))
            plain.append('changed')
            raise TaskError
        seen = []
        self.run_jobs(work, 1, 2)
        self.assertEqual([['before']] * 2, seen)

    def test_one_is_used_again(self):
        """Without such trouble there is one connection for all jobs."""
        used = []
        self.run_jobs(lambda service, input: used.append(service._p_jar),
                      1, 2, 3)
        self.assertEqual(1, len({id(each) for each in used}))


class ForkTest(RunCase):

    def fork_and(self, then):
        """Return the exit code of a child that comes back from a job."""
        def work(service, input):
            effect(service, 'parent')
            pid = os.fork()
            if not pid:
                # What the child writes is not this test's.
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 1)
                os.dup2(null, 2)
                then()
                return 'child'
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        job = self.run_job(work)
        self.assertEqual(COMPLETED, job.status, job.error)
        return job.output

    def test_a_child_that_comes_back_to_the_commit(self):
        """It has the file of its parent, and would write there, too."""
        def work(service, input):
            transaction.get().addBeforeCommitHook(fork)
            transaction.get().addAfterCommitHook(tell)

        def fork():
            if pid := os.fork():
                codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        def tell(committed):
            if os.getpid() != parent:
                os._exit(7)
        parent, codes = os.getpid(), []
        self.assertEqual(COMPLETED, self.run_job(work).status)
        self.assertEqual([0], codes)

    def test_a_child_that_comes_back(self):
        """It ends as a process does, and does not run the job to its end."""
        def fail():
            raise ValueError

        for then, code in (
                (lambda: None, 0), (fail, 1), (sys.exit, 0),
                (lambda: sys.exit(7), 7), (lambda: sys.exit('why'), 1),
                (lambda: os._exit(5), 5)):
            with self.subTest(code=code):
                del self.root.effects[:]
                transaction.commit()
                self.assertEqual(code, self.fork_and(then))
                self.assertEqual(['parent'], self.effects)
                zope.component.getGlobalSiteManager().unregisterUtility(
                    provided=self.service.taskInterface, name='test.run')


class DirectTest(RunCase):
    """Jobs that are run in the caller's own transaction."""

    def test_a_data_manager_without_savepoints(self):
        """That it cannot be rolled back is said, and the job stays."""
        class Mail:
            transaction_manager = transaction.manager

            def sortKey(self):
                return '~'

            def abort(self, txn):
                pass

            tpc_begin = commit = tpc_vote = tpc_abort = tpc_finish = abort

        def work(service, input):
            if input == 'fail':
                raise TaskError
            transaction.get().join(Mail())
        self.service_task(work, 'test.mail')
        self.add('test.mail')
        failing = self.add('test.mail', 'fail')
        with self.assertRaisesRegex(
                builtins.Exception, 'without savepoints; abort it'):
            self.service.process()
        transaction.abort()
        self.assertEqual(QUEUED, self.job(failing).status)
