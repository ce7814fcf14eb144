"""What others are told of jobs, and that they cannot do them any harm."""

import logging
import pickle
import types
import unittest
import unittest.mock

import transaction
import zope.component
import zope.component.hooks
import zope.event
import zope.security.management
from zope.interface.verify import verifyObject

from lovely.remotetask import interfaces
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.policy import Policy
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.running import events
from lovely.remotetask.running import execution
from lovely.remotetask.running.events import JobAdded
from lovely.remotetask.running.events import JobBegan
from lovely.remotetask.running.events import JobCancelled
from lovely.remotetask.running.events import JobEnded
from lovely.remotetask.running.events import JobLost
from lovely.remotetask.running.events import JobRetried
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged


class EventsCase(DatabaseCase):
    """Notes all events of jobs."""

    def setUp(self):
        super().setUp()
        self.events = []
        self.subscribe(self.note)
        self.service_task(self.work)
        self.failures = []

    def subscribe(self, subscriber):
        zope.event.subscribers.append(subscriber)
        self.addCleanup(zope.event.subscribers.remove, subscriber)

    def note(self, event):
        if interfaces.IJobEvent.providedBy(event):
            self.events.append(event)

    def work(self, service, input):
        effect(service, input)
        if self.failures:
            raise self.failures.pop()

    def run_jobs(self):
        processor = self.processor()
        while processor.processNext():
            pass

    def kinds(self):
        return list(map(type, self.events))

    def told(self, *kinds):
        return [event for event in self.events if type(event) in kinds]



class NameTest(unittest.TestCase):
    """What a job runs, for people."""

    def name_of(self, name):
        call = types.SimpleNamespace(function_name=name)
        return events.name_of(types.SimpleNamespace(input=call, task='task'))

    def test_lines(self):
        self.assertEqual(r'a\nb', self.name_of('a\nb'))

    def test_what_is_no_name(self):
        """It is not asked what it is."""
        class Odd:
            @property
            def __class__(self):
                raise SystemExit('class')
        self.assertEqual('task', self.name_of(Odd()))


class KindsTest(EventsCase):
    """When each of them is sent."""

    def test_completed(self):
        """Added, begun, ended; plain values alone."""
        jobid = self.add('test.task', 1)
        self.run_jobs()
        self.assertEqual([JobAdded, JobBegan, JobEnded], self.kinds())
        added, began, ended = self.events
        for event, interface in (
                (added, interfaces.IJobAdded), (began, interfaces.IJobBegan),
                (ended, interfaces.IJobEnded)):
            verifyObject(interface, event)
            self.assertEqual(event, pickle.loads(pickle.dumps(event)))
            self.assertEqual((('tasks',), jobid, 'test.task'), event[:3])
        self.assertEqual((1, COMPLETED, None, True), (
            ended.attempt, ended.status, ended.failure, ended.committed))
        self.assertEqual(began.processor, ended.processor)
        self.assertGreaterEqual(ended.duration, 0)

    def test_committed(self):
        """An end is told when it can be seen by everybody."""
        seen = []

        def look(event):
            if isinstance(event, JobBegan | JobEnded):
                with self.elsewhere() as service:
                    seen.append((service.getStatus(event.job),
                                 list(service.__parent__.effects)))
        self.subscribe(look)
        self.add('test.task', 1)
        self.run_jobs()
        self.assertEqual(
            [(interfaces.PROCESSING, []), (COMPLETED, [1])], seen)

    def test_error(self):
        self.failures = [ValueError('some words')]
        self.add('test.task', 1)
        self.run_jobs()
        ended, = self.told(JobEnded)
        self.assertEqual((ERROR, False), (ended.status, ended.committed))
        verifyObject(interfaces.IFailureTexts, ended.failure)
        self.assertEqual('some words', ended.failure.error)
        self.assertEqual('builtins.ValueError', ended.failure.errorClass)
        self.assertIn('some words', ended.failure.traceback)
        self.assertNotIn('some words', ended.failure.frames)
        self.assertFalse(ended.failure.is_private)

    def test_private_messages(self):
        """Whoever shows them can know that they should not be shown."""
        self.service.policy = Policy(log_messages=False)
        self.failures = [ValueError('some words')]
        self.add('test.task', 1)
        self.run_jobs()
        self.assertTrue(self.events[-1].failure.is_private)

    def test_retried(self):
        """Each attempt but the last is followed by another one."""
        self.service.policy = Policy(
            attempts=2, retry_on=('builtins.ValueError',), retry_wait=0)
        self.failures = [ValueError('no'), ValueError('no')]
        self.add('test.task', 1)
        self.run_jobs()
        self.assertEqual([JobAdded, JobBegan, JobRetried, JobBegan, JobEnded],
                         self.kinds())
        retried, = self.told(JobRetried)
        verifyObject(interfaces.IJobRetried, retried)
        self.assertEqual((QUEUED, 1, 'no'), (
            retried.status, retried.attempt, retried.failure.error))
        self.assertEqual(2, self.events[-1].attempt)

    def test_held(self):
        """A job that the installed code cannot run was not called."""
        self.add('test.task', 1)
        with unittest.mock.patch.object(
                execution, '_find_task',
                side_effect=interfaces.CannotRun('gone')):
            self.run_jobs()
        self.assertEqual([JobAdded, JobEnded], self.kinds())
        self.assertEqual(HELD, self.events[-1].status)

    def test_cancelled(self):
        jobid = self.add('test.task', 1)
        self.service.cancel(jobid)
        self.assertEqual([JobAdded], self.kinds())
        transaction.commit()
        self.assertEqual([JobAdded, JobCancelled], self.kinds())
        verifyObject(interfaces.IJobCancelled, self.events[-1])
        self.assertEqual(CANCELLED, self.service.getStatus(jobid))

    def test_cron_job(self):
        """Each time ends; what it does the next time is no other attempt."""
        self.failures = [ValueError('no')]
        self.service.addCronJob('test.task', 1)
        transaction.commit()
        processor = self.processor()
        now = 10 ** 9
        for number in range(3):
            jobid = processor.claimNextJob(now + number * 60)
            if jobid is not None:
                processor.processNext(jobid)
        ended = self.told(JobEnded)
        self.assertEqual([CRONJOB] * 2, [each.status for each in ended])
        self.assertEqual([False, True], [each.committed for each in ended])
        self.assertEqual([], self.told(JobRetried))

    def test_something_after_the_commit(self):
        """The job is completed, and something is wrong."""
        def work(service, input):
            transaction.get().join(Late())
        self.service_task(work, 'test.late')
        self.add('test.late')
        self.run_jobs()
        ended, = self.told(JobEnded)
        self.assertEqual((COMPLETED, True, 'too late'), (
            ended.status, ended.committed, ended.failure.error))

    def test_lost(self):
        """Whoever takes over tells of it."""
        self.service.policy = Policy(attempts=2)
        jobid = self.add('test.task', 1)
        for status in (QUEUED, ERROR):
            del self.events[:]
            transaction.begin()
            engine(self.service).claim('gone:1:runner:token', 1)
            transaction.commit()
            processor = self.processor()
            with unittest.mock.patch.object(
                    processor.membership, 'is_alive',
                    lambda worker_id: 'gone' not in worker_id):
                self.assertEqual([jobid], processor.release())
            event, = self.events
            verifyObject(interfaces.IJobLost, event)
            self.assertEqual(
                JobLost(('tasks',), jobid, 'test.task', status), event)

    def test_unstored_end(self):
        """Also of a run whose end could not be stored."""
        jobid = self.add('test.task', 1)
        processor = self.processor()
        claim, = processor.membership.bookkeep(
            lambda service: service.claim(processor.worker_id, 1))
        processor.membership.settle_lost(claim)
        event, = self.told(JobLost)
        self.assertEqual(jobid, event.job)
        # It is settled.
        processor.membership.settle_lost(claim)
        self.assertEqual(1, len(self.told(JobLost)))

    def test_group(self):
        """Each job of a transaction has events of its own."""
        self.service.policy = Policy(commit_every=5)
        for number in range(3):
            self.service.add('test.task', number)
        transaction.commit()
        self.failures = [ValueError('no')]
        processor = self.processor(MultiProcessor)
        claims = processor.membership.bookkeep(
            lambda service: service.claim(processor.worker_id, 3))
        processor.membership.run_group(claims)
        self.assertEqual(
            sorted([COMPLETED, COMPLETED, ERROR]),
            sorted(each.status for each in self.told(JobEnded)))

    def test_aborted(self):
        """What was never committed has not happened."""
        self.service.add('test.task', 1)
        transaction.abort()
        self.assertEqual([], self.events)

    def test_rolled_back(self):
        """Nor has what a savepoint took back."""
        savepoint = transaction.savepoint()
        self.service.add('test.task', 1)
        savepoint.rollback()
        jobid = self.service.add('test.task', 2)
        savepoint = transaction.savepoint()
        self.service.cancel(jobid)
        savepoint.rollback()
        transaction.commit()
        self.assertEqual([JobAdded], self.kinds())
        self.assertEqual(jobid, self.events[0].job)

    def test_changed_when_it_was_added(self):
        """Whatever becomes of a job in its transaction, it was added."""
        started = self.service.add('test.task', 1, startLater=True)
        self.service.startJob(started)
        cancelled = self.service.add('test.task', 1)
        self.service.cancel(cancelled)
        self.service.requeue(cancelled)
        run = self.service.add('test.task', 1)
        self.service.processNext(jobid=run)
        transaction.commit()
        self.assertEqual([JobAdded] * 3, self.kinds())
        self.assertEqual(
            [started, cancelled, run], [event.job for event in self.events])

    def test_cancelled_when_it_was_added(self):
        """Both are told, one after the other."""
        self.service.cancel(self.service.add('test.task', 1))
        transaction.commit()
        self.assertEqual([JobAdded, JobCancelled], self.kinds())

    def test_removed_when_it_was_added(self):
        """Nobody was ever to see it, unless a savepoint has brought it back.
        """
        self.service.remove(self.service.add('test.task', 1))
        jobid = self.service.add('test.task', 2)
        savepoint = transaction.savepoint()
        self.service.remove(jobid)
        savepoint.rollback()
        transaction.commit()
        self.assertEqual([JobAdded], self.kinds())
        self.assertEqual(jobid, self.events[0].job)

    def test_in_the_transaction_of_the_caller(self):
        """It is not known when that is committed; nothing is sent."""
        self.service.add('test.task', 1)
        self.service.process()
        transaction.commit()
        self.assertEqual([], self.told(JobBegan, JobEnded))


class Late:
    """A data manager that fails when all is committed."""

    transaction_manager = transaction.manager

    def sortKey(self):
        return '~~~'

    def nothing(self, txn):
        pass

    abort = tpc_begin = commit = tpc_vote = tpc_abort = nothing

    def tpc_finish(self, txn):
        raise ValueError('too late')


class HarmTest(EventsCase):
    """A subscriber may do anything."""

    def check(self, subscriber):
        """Check that jobs are run, and others are told, all the same."""
        zope.event.subscribers.insert(0, subscriber)
        self.addCleanup(zope.event.subscribers.remove, subscriber)
        del self.events[:]
        jobid = self.add('test.task', 1)
        self.run_jobs()
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertEqual([1], self.effects)
        self.assertEqual([JobAdded, JobBegan, JobEnded], self.kinds())

    def test_raises(self):
        """Whatever it is; the log says so once."""
        for error in (ValueError, SystemExit, transaction.interfaces
                      .TransientError):
            def fail(event, error=error):
                raise error('some words')
            with self.subTest(error), \
                    unittest.mock.patch.object(
                        events, '_telling', events.Duty('tell')), \
                    logged('lovely.remotetask.running.events',
                           logging.ERROR) as lines:
                self.root.effects[:] = []
                self.check(fail)
                self.assertEqual(1, len(lines), lines)
                self.assertIn('a subscriber of JobAdded has failed', lines[0])

    def test_keeps_nothing(self):
        """An exception that is raised again and again keeps no frames."""
        error = ValueError('the same')

        def fail(event):
            raise error
        self.check(fail)
        self.assertIsNone(error.__traceback__)

    def test_leaves_a_transaction_open(self):
        """It is aborted; that of the job is another one."""
        def change(event):
            connection = self.db.open()
            self.addCleanup(connection.close)
            root = connection.root()['Application']
            root.effects.append('mine')
        self.check(change)

    def test_commits(self):
        """That is no matter of the job, and allowed."""
        def change(event):
            if isinstance(event, JobBegan):
                connection = self.db.open()
                connection.root()['mine'] = event.job
                transaction.commit()
                connection.close()
        self.check(change)
        transaction.begin()
        self.assertIn('mine', self.connection.root())

    def test_dooms_and_aborts(self):
        """So is the other way around."""
        for call in (lambda event: transaction.doom(),
                     lambda event: transaction.abort(),
                     lambda event: transaction.begin(),
                     lambda event: setattr(
                         transaction.manager, 'manager',
                         transaction.TransactionManager(explicit=True))):
            self.root.effects[:] = []
            self.check(call)

    def test_changes_what_is_around(self):
        """Site and interaction are the caller's again afterwards."""
        seen = []

        def change(event):
            seen.append(zope.component.hooks.getSite())
            zope.component.hooks.siteinfo.site = object()
            zope.security.management.endInteraction()
        self.check(change)
        self.assertEqual([None] * 3, seen)
        self.assertIsNone(zope.component.hooks.getSite())

    def test_adds_a_job(self):
        """It is one of its own, and not called at once."""
        def add(event):
            running.append(execution.is_running())
            if isinstance(event, JobEnded) and not added:
                added.append(event)
                with self.elsewhere() as service:
                    service.add('test.task', 2)
        added, running = [], []
        self.subscribe(add)
        self.add('test.task', 1)
        self.run_jobs()
        self.assertEqual([1, 2], self.effects)
        self.assertEqual({False}, set(running))


class SubscribersTest(EventsCase):
    """Who is told."""

    def setUp(self):
        super().setUp()
        zope.event.subscribers.remove(self.note)
        self.addCleanup(zope.event.subscribers.append, self.note)

    def test_nobody(self):
        """Then nothing is made up to be told."""
        others = [each for each in zope.event.subscribers
                  if type(each) in (events.Observer,) or
                  each is events.dispatch]
        with unittest.mock.patch.object(
                zope.event, 'subscribers', others), \
                unittest.mock.patch.object(events, '_tell') as tell:
            self.assertFalse(events.is_wanted(JobAdded))
            self.assertFalse(events.is_wanted(JobBegan))
            self.add('test.task', 1)
            self.run_jobs()
        self.assertFalse(tell.called)

    def test_handler(self):
        """As ZCML declares them, for an interface."""
        found = []
        zope.component.provideHandler(
            found.append, [interfaces.IJobEnded])
        self.addCleanup(
            zope.component.getGlobalSiteManager().unregisterHandler,
            found.append, [interfaces.IJobEnded])
        self.assertTrue(events.is_wanted(JobEnded))
        self.add('test.task', 1)
        self.run_jobs()
        self.assertEqual([JobEnded], list(map(type, found)))

    def test_observer(self):
        """Of some kinds alone, until it wants to know no more."""
        found = []
        observer = events.Observer(found.append, JobBegan)
        observer.subscribe()
        self.add('test.task', 1)
        self.run_jobs()
        observer.unsubscribe()
        self.add('test.task', 2)
        self.run_jobs()
        self.assertEqual([JobBegan], list(map(type, found)))

    def test_no_persistent_object(self):
        """Nothing that belongs to a transaction that is over."""
        found = []
        self.subscribe(found.append)
        jobid = self.add('test.task', self.root.effects)
        self.service.cancel(jobid)
        transaction.commit()
        self.add('test.task', 1)
        self.failures = [ValueError(self.root.effects)]
        self.run_jobs()
        for event in found:
            if interfaces.IJobEvent.providedBy(event):
                flat = [*event, *(getattr(event, 'failure', None) or ())]
                self.assertLessEqual(
                    {type(each) for each in flat},
                    {tuple, int, str, float, bool, type(None),
                     events.FailureTexts})
