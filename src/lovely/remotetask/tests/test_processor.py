"""Processors step by step, without threads of their own."""

import contextlib
import logging
import threading
import unittest.mock

import transaction
import zope.component
import zope.interface
from ZODB.POSException import ConflictError
from ZODB.POSException import POSKeyError
from zope.interface.verify import verifyObject
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

from lovely.remotetask import TaskService
from lovely.remotetask import processor
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import IProcessor
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.interfaces import IProcessorSettings
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.interfaces import NoSuchService
from lovely.remotetask.processor import CommitGate
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running import duty
from lovely.remotetask.running import member
from lovely.remotetask.running import membership
from lovely.remotetask.running import quirks
from lovely.remotetask.running import registry
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import QuietProcessor
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.upkeep import Upkeep


class LoopingProcessor(SimpleProcessor):
    """Instead of waiting, calls what it is given; then it stops."""

    def __init__(self, *args, waits=(), **kw):
        super().__init__(*args, **kw)
        self.waits = list(waits)
        self.rest = self.idling.wait
        self.idling.wait = self.go_on

    def go_on(self):
        if self.claims.run:
            # Jobs to be settled.
            return
        failing = any(self.duties[name].is_failing
                      for name in ('find', 'take'))
        if self.claims.ids:
            # A runner is at work, and wakes us.
            self.rest()
        elif self.waits:
            self.waits.pop(0)()
        elif failing:
            # It pauses, and tries again.
            self.rest()
        else:
            self.stop()


class FailingGate(CommitGate):
    """Fails at the commit with the given number, before or after it."""

    def __init__(self, number, error, committed=False):
        super().__init__()
        self.number = number
        self.error = error
        self.committed = committed

    def commit(self):
        self.number -= 1
        if not self.number:
            if self.committed:
                super().commit()
            raise self.error
        super().commit()


# Which commit of a processor is the first claim: it has found its service,
# looked for others, corrected the schedule and pruned before.
CLAIM = 5


def nothing():
    pass


class StepTest(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.calls = Calls()
        self.task(self.calls)

    def test_interfaces(self):
        """Processors and their factories provide what they say."""
        for factory in (SimpleProcessor, MultiProcessor):
            self.assertTrue(
                verifyObject(IProcessor, self.processor(factory)))
        for factory in (processor.simple_factory, processor.multi_factory):
            self.assertTrue(verifyObject(IProcessorFactory, factory))

    def test_published_arguments(self):
        """The arguments and their defaults are the published ones."""
        simple = SimpleProcessor(self.db, ['tasks'])
        self.assertEqual(
            (self.db, ['tasks'], 1.0),
            (simple.db, simple.servicePath, simple.waitTime))
        multi = MultiProcessor(
            self.db, ['tasks'], waitTime=0.0, maxThreads=2)
        self.assertEqual((0.0, 2, []),
                         (multi.waitTime, multi.maxThreads, multi.threads))
        self.assertEqual(5, MultiProcessor(self.db, ['tasks']).maxThreads)

    def test_thread_name(self):
        """The thread is named after the path of the service."""
        simple = SimpleProcessor(
            self.db, ['site1', '++etc++site', 'default', 'tasks'])
        self.assertEqual(
            'remotetasks.site1.++etc++site.default.tasks', simple.thread_name)

    def test_each_method(self):
        """A processor tells of jobs, claims one, runs it."""
        for factory in (SimpleProcessor, MultiProcessor):
            with self.subTest(factory.__name__):
                a_processor = self.processor(factory)
                self.assertIs(False, a_processor.hasJobsWaiting())
                self.assertIsNone(a_processor.claimNextJob())
                self.assertIs(False, a_processor.processNext())
                jobid = self.add('test.task')
                self.assertIs(True, a_processor.hasJobsWaiting())
                self.assertEqual(jobid, a_processor.claimNextJob())
                self.assertEqual(PROCESSING, self.job(jobid).status)
                self.assertIs(False, a_processor.hasJobsWaiting())
                self.assertIs(True, a_processor.processNext(jobid))
                self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_claim_and_run(self):
        """Without a job id, the next one is claimed and run."""
        ids = [self.add('test.task', number) for number in (1, 2)]
        self.assertIs(True, self.processor().processNext())
        self.assertEqual([1], self.calls)
        self.assertIs(True, self.processor().processNext())
        self.assertEqual(
            [COMPLETED] * 2, [self.job(jobid).status for jobid in ids])

    def test_two_processors_claim_different_jobs(self):
        """What one has claimed another does not get."""
        ids = {self.add('test.task') for _ in range(2)}
        self.assertEqual(
            ids, {self.processor().claimNextJob() for _ in range(2)})
        self.assertIsNone(self.processor().claimNextJob())

    def test_nothing_to_do_writes_nothing(self):
        """An idle step commits no transaction to the database."""
        before = self.jobs_db.lastTransaction()
        a_processor = self.processor()
        a_processor.step()
        a_processor.hasJobsWaiting()
        a_processor.stop()
        a_processor._finish()
        self.assertEqual(before, self.jobs_db.lastTransaction())

    def test_no_such_service(self):
        """A path that leads nowhere is an error that names it."""
        for path in (['gone'], ['gone', 'tasks'], ['++etc++site', 'tasks']):
            with self.assertRaisesRegex(NoSuchService, '/'.join(path)
                                        .replace('+', r'\+')):
                SimpleProcessor(self.db, path).processNext()

    def test_cron(self):
        """A processor's steps schedule cron jobs and leave them waiting."""
        jobid = self.service.addCronJob('test.task', delay=3600)
        transaction.commit()
        self.assertFalse(self.processor().processNext())
        self.assertIsNotNone(self.job(jobid).scheduledFor)
        self.assertFalse(self.processor().hasJobsWaiting())


class FactoryTest(DatabaseCase):

    def test_simple(self):
        """The factory "simple" makes processors of one thread."""
        made = processor.simple_factory(
            self.db, ['tasks'], waitTime=2.0, maxThreads=1)
        self.assertIs(SimpleProcessor, type(made))
        self.assertEqual(2.0, made.waitTime)

    def test_multi(self):
        """The factory "multi" makes processors of several threads."""
        made = processor.multi_factory(
            self.db, ['tasks'], waitTime=2.0, maxThreads=3)
        self.assertIs(MultiProcessor, type(made))
        self.assertEqual((2.0, 3), (made.waitTime, made.maxThreads))

    def test_check(self):
        """Only "multi" can have several threads; "simple" says so."""
        processor.multi_factory.check(3)
        processor.simple_factory.check(1)
        with self.assertRaisesRegex(ValueError, 'not 3; use .*"multi"'):
            processor.simple_factory.check(3)


class LoopTest(DatabaseCase):
    """The loop of a processor, in this thread."""

    def setUp(self):
        super().setUp()
        self.service_task(effect)
        self.enterContext(
            unittest.mock.patch.object(duty, 'FIRST_PAUSE', 0.01))

    def loop(self, *waits, gate=None):
        """Run the loop; call one of the waits each time it would wait."""
        a_processor = self.processor(LoopingProcessor, waits=waits)
        if gate is not None:
            a_processor.gate = gate
        with logged('lovely.remotetask') as self.lines:
            a_processor()
        return a_processor

    def levels(self):
        return {line.split(' ')[0] for line in self.lines}

    def test_works_until_there_is_nothing(self):
        """It runs one job after the other, waits, runs those added then."""
        self.add('test.task', 1)
        self.add('test.task', 2)
        stopped = self.loop(lambda: self.add('test.task', 3))
        self.assertEqual([1, 2, 3], self.effects)
        self.assertFalse(stopped.running)

    def test_prunes_in_portions(self):
        """What else the thread does does not wait for all of it."""
        looping = LoopingProcessor(self.db, ['tasks'])
        pruned = iter([member.PRUNE_AT_ONCE] * 3 + [0])
        looping.prune = lambda: next(pruned)
        with unittest.mock.patch.object(member, 'PRUNE_FOR', 0):
            for number in range(4):
                self.assertTrue(looping.duties['prune'].is_due(number))
                looping.look_after_others(number)
        self.assertFalse(looping.duties['prune'].is_due(4))
        self.assertTrue(looping.duties['prune'].is_due(63))

    def test_prunes_for_others_now_and_then(self):
        """At first, and in one of ten transactions: nobody else may do it."""
        made = self.processor()
        with unittest.mock.patch.object(
                Upkeep, 'prune', return_value=0) as prune:
            for _ in range(membership.PRUNES_ALL + 1):
                made.prune(1.0)
        self.assertEqual(
            [None, *[made.worker_id] * 9, None],
            [call.args[2] for call in prune.mock_calls])

    def test_what_others_commit_can_wait_while_there_is_enough_to_run(self):
        """It would meet the steps of other processors all the time."""
        looping = LoopingProcessor(self.db, ['tasks'])
        looping.idling._seen = b'before'
        with unittest.mock.patch.object(
                quirks, 'last_transaction_heard_of', return_value=b'after'):
            self.assertTrue(looping.idling.has_news())
            looping.claims.add(
                unittest.mock.Mock(job=number)
                for number in range(looping.team.low_water() + 1))
            self.assertFalse(looping.idling.has_news())

    def test_stop(self):
        """Stopped by a job, it finishes that and takes no more."""
        def stop(service, input):
            effect(service, input)
            a_processor.stop()
        self.service_task(stop)
        self.add('test.task', 1)
        self.add('test.task', 2)
        a_processor = self.processor(LoopingProcessor)
        a_processor()
        self.assertEqual([1], self.effects)

    def test_what_was_claimed_when_it_was_stopped(self):
        """A runner begins no job once the processor was told to stop."""
        a_processor = self.processor()
        a_processor.claims.add([unittest.mock.Mock(job=1)])
        a_processor.stop()
        self.assertFalse(a_processor.team.take_claims(taken := []))
        self.assertEqual([], taken)

    def test_a_service_that_comes_later(self):
        """It waits for its service, quietly."""
        self.root['new'] = service = TaskService()
        transaction.savepoint()
        jobid = service.add('test.task', 1)
        a_processor = LoopingProcessor(
            self.db, ['new'], waits=[self.commit_from_elsewhere])
        with logged('lovely.remotetask', logging.INFO) as lines:
            self.in_thread(a_processor)
        self.assertFalse([line for line in lines
                          if not line.startswith('INFO')])
        transaction.begin()
        self.assertEqual(COMPLETED, service.getStatus(jobid))

    # The loop begins transactions of its thread; ours must not be aborted.

    def in_thread(self, call):
        thread = threading.Thread(target=call)
        self.todo = threading.Event()
        self.done = threading.Event()
        thread.start()
        self.todo.wait(60)
        transaction.commit()
        self.done.set()
        thread.join(60)
        self.assertFalse(thread.is_alive())

    def commit_from_elsewhere(self):
        self.todo.set()
        self.done.wait(60)

    def test_errors_of_bookkeeping_are_told(self):
        """What keeps it from working is logged, and it goes on."""
        jobid = self.add('test.task')
        self.loop(nothing, gate=FailingGate(1, OSError('disk full')))
        self.assertIn('could not work, trying again', '\n'.join(self.lines))
        self.assertIn('disk full', '\n'.join(self.lines))
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_a_broken_database_is_told(self):
        """An object that is missing is not taken for a missing service."""
        self.loop(nothing, gate=FailingGate(1, POSKeyError(b'\0' * 8)))
        self.assertIn('ERROR', self.levels())

    def test_conflicts_of_bookkeeping_are_not(self):
        """A conflict of a claim is tried again at once, without a word."""
        jobid = self.add('test.task')
        self.loop(gate=FailingGate(CLAIM, ConflictError()))
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertFalse(self.levels() & {'WARNING', 'ERROR'})

    def test_no_commit_is_critical(self):
        """Whichever commit fails, before or after, the job ends once."""
        for committed in (False, True):
            for number in range(1, CLAIM + 4):
                with self.subTest(number=number, committed=committed):
                    del self.root.effects[:]
                    jobid = self.add('test.task', number)
                    self.loop(nothing, gate=FailingGate(
                        number, OSError('storage is down'), committed))
                    status = self.job(jobid).status
                    self.assertIn(status, (COMPLETED, ERROR))
                    self.assertEqual(
                        [number] if status == COMPLETED else [], self.effects)

    def test_an_error_that_cannot_be_stored(self):
        """To store the error of a job is tried again; it is run once."""
        runs = []

        def fail(service, input):
            runs.append(input)
            raise TaskError('An error occurred.')
        self.service_task(fail)
        jobid = self.add('test.task')
        # The run commits nothing; then its error is stored.
        self.loop(nothing, gate=FailingGate(
            CLAIM + 1, OSError('storage is down')))
        self.assertEqual(1, len(runs))
        self.assertEqual((ERROR, 'An error occurred.'),
                         (self.job(jobid).status, self.job(jobid).error))

    def test_a_claim_that_was_committed_after_all(self):
        """A claim whose commit raised, but was stored, is not lost."""
        jobid = self.add('test.task', 1)
        self.loop(nothing, gate=FailingGate(
            CLAIM, OSError('connection lost'), committed=True))
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertEqual([1], self.effects)

    def test_the_process_ends(self):
        """After the gate was closed nothing is committed, nothing told."""
        jobid = self.add('test.task')
        gate = CommitGate()
        gate.close(0)
        self.loop(gate=gate)
        self.assertEqual({'INFO'}, self.levels())
        self.assertEqual([], self.effects)
        self.loop()
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_the_database_is_closed(self):
        """A closed database ends the loop, without an error."""
        a_processor = self.processor(
            LoopingProcessor, waits=[self.close_database, nothing])
        with logged('lovely.remotetask', logging.INFO) as lines:
            a_processor()
        self.assertEqual(
            ['INFO remotetasks.tasks: started',
             'INFO remotetasks.tasks: the database was closed',
             'INFO remotetasks.tasks: stopped'], lines)

    def close_database(self):
        transaction.abort()
        self.connection.close()
        self.db.close()


class StartTest(DatabaseCase):
    """The processors of this process; here they have no threads."""

    def setUp(self):
        super().setUp()
        patch = unittest.mock.patch.object(
            TaskService, 'processorFactory', QuietProcessor)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(processor.stop_all, 0)
        self.task(Calls())

    def started(self):
        return list(registry._processors.values())

    def test_start_and_stop(self):
        """A service is processing from its start to its stop."""
        self.assertIs(False, self.service.isProcessing())
        self.service.startProcessing()
        self.assertIs(True, self.service.isProcessing())
        self.service.stopProcessing()
        self.assertIs(False, self.service.isProcessing())
        self.service.startProcessing()
        self.assertIs(True, self.service.isProcessing())

    def test_the_processor(self):
        """It is made for the database and path, with the arguments."""
        self.service.processorArguments = {'waitTime': 7}
        self.service.startProcessing()
        made, = self.started()
        self.assertEqual((self.db, ['tasks'], 7),
                         (made.db, made.servicePath, made.waitTime))

    def test_path(self):
        """The path of a service in a site leads through its manager."""
        site = self.root['site'] = Folder()
        site.setSiteManager(LocalSiteManager(site))
        folder = site.getSiteManager()['default']
        folder['tasks'] = service = TaskService()
        self.assertEqual(['site', '++etc++site', 'default', 'tasks'],
                         processor.service_path(service))

    def test_twice(self):
        """Started twice it has one processor."""
        self.service.startProcessing()
        made, = self.started()
        self.service.startProcessing()
        self.assertEqual([made], self.started())

    def test_seen_from_other_connections(self):
        """Whether it is processing does not depend on the connection."""
        self.service.startProcessing()
        with self.elsewhere() as service:
            self.assertTrue(service.isProcessing())
            service.startProcessing()
            service.stopProcessing()
        self.assertEqual(1, len(self.started()))
        self.assertFalse(self.service.isProcessing())

    def test_services_are_apart(self):
        """To stop one service leaves the others alone."""
        self.root['other'] = other = TaskService()
        transaction.commit()
        self.service.startProcessing()
        self.assertFalse(other.isProcessing())
        other.startProcessing()
        self.service.stopProcessing()
        self.assertTrue(other.isProcessing())

    def test_not_stored(self):
        """A service that was not yet given to the database is refused."""
        self.root['new'] = service = TaskService()
        with self.assertRaisesRegex(ValueError, "'new' is not stored"):
            service.startProcessing()
        self.assertFalse(service.isProcessing())
        service.stopProcessing()

    def test_settings_from_elsewhere(self):
        """An adapter to IProcessorSettings takes precedence."""
        @zope.interface.implementer(IProcessorSettings)
        class Settings:
            processorFactory = QuietProcessor
            processorArguments = {'waitTime': 42}

        registry = zope.component.getGlobalSiteManager()
        adapter = (lambda service: Settings(), [ISpecialService],
                   IProcessorSettings)
        registry.registerAdapter(*adapter)
        self.addCleanup(registry.unregisterAdapter, *adapter)
        zope.interface.alsoProvides(self.service, ISpecialService)
        transaction.commit()
        self.service.startProcessing()
        self.assertEqual(42, self.started()[0].waitTime)

    def woken(self):
        made, = self.started()
        return made.woken

    def test_wake(self):
        """A commit wakes the processor, once, however many jobs it adds."""
        self.service.startProcessing()
        self.service.add('test.task')
        self.service.add('test.task')
        self.assertEqual(0, self.woken())
        transaction.commit()
        self.assertEqual(1, self.woken())
        self.add('test.task')
        self.assertEqual(2, self.woken())

    def test_abort_wakes_nobody(self):
        """Neither an abort nor a commit that failed wakes it."""
        self.service.startProcessing()
        self.service.add('test.task')
        transaction.abort()
        self.service.add('test.task')
        self.root.effects.append(threading.Lock())
        with contextlib.suppress(TypeError):
            transaction.commit()
        transaction.abort()
        transaction.commit()
        self.assertEqual(0, self.woken())

    def test_what_wakes(self):
        """So do jobs that are started or scheduled; not those for later."""
        self.service.startProcessing()
        jobid = self.add('test.task', startLater=True)
        self.assertEqual(0, self.woken())
        self.service.startJob(jobid)
        transaction.commit()
        self.assertEqual(1, self.woken())
        jobid = self.service.addCronJob('test.task', delay=1)
        transaction.commit()
        self.assertEqual(2, self.woken())
        self.service.reschedule(jobid)
        transaction.commit()
        self.assertEqual(3, self.woken())

    def test_only_its_own_processor(self):
        """The processors of other services sleep on."""
        self.root['other'] = other = TaskService()
        transaction.commit()
        other.startProcessing()
        made, = self.started()
        made.place = self.db, other._p_oid
        self.add('test.task')
        self.assertEqual(0, self.woken())

    def test_a_processor_that_has_not_found_its_service(self):
        """It is woken by whatever is added: that may be to its service."""
        self.root['other'] = other = TaskService()
        transaction.commit()
        # Not started by the service, which would tell it.
        processor.start_processor(
            QuietProcessor(self.db, registry.service_path(other)))
        self.add('test.task')
        self.assertEqual(1, self.woken())

    def test_started_between_add_and_commit(self):
        """A processor that came after the add is woken, too."""
        self.service.add('test.task')
        self.service.startProcessing()
        transaction.commit()
        self.assertEqual(1, self.woken())

    def test_stop_all(self):
        """After the end of the process nothing is processing."""
        self.service.startProcessing()
        made, = self.started()
        processor.stop_all(grace=0)
        self.assertFalse(made.running)
        self.assertFalse(self.service.isProcessing())
        with self.assertRaises(processor.ProcessorStopped):
            made.gate.commit()


class ISpecialService(ITaskService):
    """Marks a service of a test."""
