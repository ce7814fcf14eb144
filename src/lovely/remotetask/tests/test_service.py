"""The task service, without a processor: in memory, then in a database."""

import datetime

import transaction
import zope.component
import zope.interface
from zope.interface.verify import verifyClass
from zope.interface.verify import verifyObject

from lovely.remotetask import TaskService
from lovely.remotetask import interfaces
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.task import SimpleTask
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import TaskCase
from lovely.remotetask.tests.fixture import effect


MINUTE, HOUR = 60, 3600


def fail(input):
    raise TaskError('An error occurred.')


class MemoryCase(TaskCase):
    """A service that is in no database."""

    def setUp(self):
        super().setUp()
        self.service = TaskService()
        self.calls = Calls()
        self.task(self.calls)
        self.task(fail, 'test.fail')

    def run_one(self, *args, **kw):
        """Add a job and process it.  Return it."""
        jobid = self.service.add(*args, **kw)
        self.service.process()
        return self.service.jobs[jobid]


class InterfaceTest(MemoryCase):

    def test_interfaces(self):
        """The service provides the API, and has the processors' side."""
        for interface in (interfaces.ITaskService,
                          interfaces.IProcessorSettings):
            self.assertTrue(
                verifyObject(interface, self.service, tentative=True))
        self.assertFalse(
            interfaces.IJobExecution.providedBy(self.service))
        self.assertTrue(verifyClass(interfaces.ITaskService, TaskService))

    def test_published_settings(self):
        """Class attributes say which processor is started."""
        self.assertIs(SimpleProcessor, TaskService.processorFactory)
        self.assertEqual({'waitTime': 1.0}, TaskService.processorArguments)
        with self.assertRaises(TypeError):
            self.service.processorArguments['waitTime'] = 2.0
        self.service.processorArguments = TaskService.processorArguments
        self.assertIs(dict, type(self.service.processorArguments))
        self.assertIs(interfaces.ITask, TaskService.taskInterface)

    def test_published_module(self):
        """The functions of the start-up are importable from here too."""
        from lovely.remotetask import service
        self.assertIsInstance(service.getAutostartServiceNames(), list)
        self.assertTrue(callable(service.bootStrapSubscriber))


class AddTest(MemoryCase):

    def test_available_tasks(self):
        """Tasks are utilities, by name."""
        self.assertEqual(
            f'<SimpleTask {self.calls!r}>',
            repr(self.service.getAvailableTasks()['test.task']))

    def test_add(self):
        """A job that was added is queued, with its input, and not yet run."""
        jobid = self.service.add('test.task', {'foo': 'bar'})
        self.assertIsInstance(jobid, int)
        self.assertEqual(QUEUED, self.service.getStatus(jobid))
        job = self.service.jobs[jobid]
        self.assertEqual(
            (jobid, 'test.task', {'foo': 'bar'}),
            (job.id, job.task, job.input))
        self.assertIsNone(self.service.getResult(jobid))
        self.assertEqual('None', self.service.getError(jobid))
        self.assertEqual([], self.calls)

    def test_add_by_keyword(self):
        """The published argument names are taken."""
        jobid = self.service.add(
            task='test.task', input=1, startLater=False)
        self.assertEqual(QUEUED, self.service.getStatus(jobid))

    def test_start_later_is_a_flag(self):
        """A delay or a priority in its place is told, and nothing stored."""
        for later in (3600, 9, 'no', None):
            with self.subTest(later), \
                    self.assertRaisesRegex(ValueError, 'startLater must be'):
                self.service.add('test.task', None, later)
        self.assertEqual({}, dict(self.service.jobs))

    def test_task_does_not_exist(self):
        """An unknown task is refused, and nothing stored."""
        with self.assertRaisesRegex(ValueError, '^Task does not exist$'):
            self.service.add('test.unknown')
        self.assertEqual({}, dict(self.service.jobs))

    def test_task_does_not_exist_for_a_cron_job(self):
        """An unknown task is refused by addCronJob as well."""
        with self.assertRaisesRegex(ValueError, '^Task does not exist$'):
            self.service.addCronJob('test.unknown', minute=(0,))
        self.assertEqual({}, dict(self.service.jobs))

    def test_input_that_a_task_refuses(self):
        """A task that checks its input is asked before anything is stored."""
        @zope.interface.implementer(interfaces.IInputCheck)
        class Checking(SimpleTask):
            def checkInput(self, input):
                raise TypeError(f'not {input!r}')
        self.register(
            Checking(self.calls), interfaces.ITask, 'test.checking')
        for add in (self.service.add, self.service.addCronJob):
            with self.assertRaisesRegex(TypeError, 'not 42'):
                add('test.checking', 42)
        self.assertEqual({}, dict(self.service.jobs))

    def test_ids_differ(self):
        """No two jobs have the same id."""
        ids = {self.service.add('test.task') for _ in range(100)}
        self.assertEqual(100, len(ids))
        self.assertEqual(ids, set(self.service.jobs))


class ProcessTest(MemoryCase):

    def test_process(self):
        """A job that is processed is completed and has its result."""
        job = self.run_one('test.task', {'foo': 'bar'})
        self.assertEqual(COMPLETED, job.status)
        self.assertEqual(1, self.service.getResult(job.id))
        self.assertEqual('None', self.service.getError(job.id))
        self.assertEqual([{'foo': 'bar'}], self.calls)

    def test_a_result_that_is_the_input(self):
        """Echo in memory returns what was given to add."""
        self.task(lambda input: input, 'test.echo')
        job = self.run_one('test.echo', {'foo': 'bar'})
        self.assertEqual({'foo': 'bar'}, self.service.getResult(job.id))

    def test_order(self):
        """Jobs run in the order in which they were added."""
        for number in range(20):
            self.service.add('test.task', number)
        self.service.process()
        self.assertEqual(list(range(20)), self.calls)

    def test_process_next(self):
        """One job is run, and whether there was one is returned."""
        self.service.add('test.task', 1)
        self.service.add('test.task', 2)
        self.assertIs(True, self.service.processNext())
        self.assertEqual([1], self.calls)
        self.assertIs(True, self.service.processNext())
        self.assertIs(False, self.service.processNext())

    def test_process_a_given_job(self):
        """The job of the given id is run, others wait."""
        first = self.service.add('test.task', 1)
        second = self.service.add('test.task', 2)
        self.assertTrue(self.service.processNext(jobid=second))
        self.assertEqual([2], self.calls)
        self.assertEqual(QUEUED, self.service.getStatus(first))
        self.service.process()
        self.assertEqual([2, 1], self.calls)

    def test_process_a_claimed_job(self):
        """A job that was claimed can be run by its id."""
        jobid = self.service.add('test.task')
        self.assertEqual(jobid, self.service.claimNextJob())
        self.assertEqual(PROCESSING, self.service.getStatus(jobid))
        self.assertTrue(self.service.processNext(jobid=jobid))
        self.assertEqual(COMPLETED, self.service.getStatus(jobid))

    def test_claim(self):
        """Each job is claimed once; then there is none."""
        ids = [self.service.add('test.task') for _ in range(2)]
        self.assertEqual(
            [*ids, None], [self.service.claimNextJob() for _ in range(3)])

    def test_a_claim_says_who(self):
        """A claimed job tells host, process and thread, and since when."""
        jobid = self.service.add('test.task')
        self.service.claimNextJob(now=60)
        claim = self.service.jobs[jobid].claim
        self.assertRegex(claim.processor, r'^[^:]+:\d+:.+$')
        self.assertEqual(60, claim.time)

    def test_has_jobs_waiting(self):
        """A queued job is waiting until it is claimed."""
        self.assertFalse(self.service.hasJobsWaiting())
        self.service.add('test.task')
        self.assertTrue(self.service.hasJobsWaiting())
        self.service.claimNextJob()
        self.assertFalse(self.service.hasJobsWaiting())

    def test_an_ended_job_is_not_run_again(self):
        """Run by its id, an ended or cancelled job is left as it is."""
        completed = self.run_one('test.task').id
        failed = self.run_one('test.fail').id
        cancelled = self.service.add('test.task')
        self.service.cancel(cancelled)
        later = self.service.add('test.task', startLater=True)
        for jobid in (completed, failed, cancelled, later):
            self.service.processNext(jobid=jobid)
        self.assertEqual(1, len(self.calls))
        self.assertEqual(
            [COMPLETED, ERROR, CANCELLED, STARTLATER],
            [self.service.getStatus(jobid)
             for jobid in (completed, failed, cancelled, later)])

    def test_times(self):
        """The times of a job are those that process was told."""
        jobid = self.service.add('test.task')
        self.service.process(60)
        job = self.service.jobs[jobid]
        expected = datetime.datetime(1970, 1, 1, 0, 1, tzinfo=datetime.UTC)
        self.assertEqual(
            (expected, expected), (job.started, job.completed))
        self.assertEqual(1, job.attempts)

    def test_jobs_added_by_jobs(self):
        """What a running job adds is processed too."""
        def add(service, input):
            service.add('test.task', 'added')
        self.service_task(add, 'test.add')
        self.run_one('test.add')
        self.assertEqual(['added'], self.calls)


class ErrorTest(MemoryCase):

    def test_error(self):
        """A job that failed is in error; the error is the message alone."""
        job = self.run_one('test.fail')
        self.assertEqual(ERROR, job.status)
        self.assertEqual('An error occurred.', self.service.getError(job.id))
        self.assertIsNone(self.service.getResult(job.id))

    def test_class_and_traceback(self):
        """The job has the class and the full traceback text."""
        job = self.run_one('test.fail')
        self.assertEqual('lovely.remotetask.task.TaskError', job.errorClass)
        self.assertRegex(
            job.traceback,
            r'(?s)^Traceback \(most recent call last\):.* in fail\n.*'
            r'TaskError: An error occurred.\n$')
        # It begins where the code of the job does.
        self.assertNotIn('/running/', job.traceback)

    def test_any_exception(self):
        """Every exception is an error of the job, at its first run."""
        def divide(input):
            self.calls(input)
            return 1 / 0
        self.task(divide, 'test.divide')
        job = self.run_one('test.divide')
        self.assertEqual(
            (ERROR, 'division by zero', 'builtins.ZeroDivisionError'),
            (job.status, job.error, job.errorClass))
        self.assertEqual(1, len(self.calls))

    def test_an_error_with_a_cause(self):
        """The traceback text tells the cause too."""
        def chain(input):
            try:
                fail(input)
            except TaskError as error:
                raise KeyError('second') from error
        self.task(chain, 'test.chain')
        job = self.run_one('test.chain')
        self.assertIn('An error occurred.', job.traceback)
        self.assertIn('direct cause', job.traceback)

    def test_an_error_without_a_message(self):
        """The message of an empty exception is empty, not 'None'."""
        def empty(input):
            raise TaskError
        self.task(empty, 'test.empty')
        job = self.run_one('test.empty')
        self.assertEqual('', self.service.getError(job.id))

    def test_an_error_whose_message_fails(self):
        """An exception that cannot be shown is an error like others."""
        class Broken(Exception):
            def __str__(self):
                raise ValueError('broken')

        def raise_broken(input):
            raise Broken
        self.task(raise_broken, 'test.broken')
        job = self.run_one('test.broken')
        self.assertEqual(ERROR, job.status)
        self.assertIn('Broken', job.errorClass)

    def test_exit(self):
        """A function that exits ends itself, not the one who runs it."""
        def leave(input):
            raise SystemExit(3)
        self.task(leave, 'test.exit')
        job = self.run_one('test.exit')
        self.assertEqual(
            (ERROR, '3', 'builtins.SystemExit'),
            (job.status, job.error, job.errorClass))

    def test_a_task_that_is_gone(self):
        """A job whose task is no longer there is held and names it."""
        jobid = self.service.add('test.fail')
        zope.component.getGlobalSiteManager().unregisterUtility(
            provided=interfaces.ITask, name='test.fail')
        self.service.process()
        self.assertEqual(HELD, self.service.getStatus(jobid))
        self.assertIn("'test.fail'", self.service.getError(jobid))

    def test_others_go_on(self):
        """A failing job does not keep the next ones from running."""
        self.service.add('test.fail')
        job = self.run_one('test.task')
        self.assertEqual(COMPLETED, job.status)


class StartLaterTest(MemoryCase):

    def setUp(self):
        super().setUp()
        self.jobid = self.service.add('test.task', startLater=True)

    def test_waits(self):
        """The job is not run before it is started."""
        self.assertEqual(STARTLATER, self.service.getStatus(self.jobid))
        self.assertFalse(self.service.hasJobsWaiting())
        self.service.process()
        self.assertEqual([], self.calls)
        self.assertIsNone(self.service.getResult(self.jobid))

    def test_cancel(self):
        """It can be cancelled, and not started afterwards."""
        self.service.cancel(self.jobid)
        self.assertEqual(CANCELLED, self.service.getStatus(self.jobid))
        self.assertIs(False, self.service.startJob(self.jobid))

    def test_start(self):
        """Once started it is as if it had been added then."""
        self.assertIs(True, self.service.startJob(self.jobid))
        self.assertEqual(QUEUED, self.service.getStatus(self.jobid))
        self.assertIs(False, self.service.startJob(self.jobid))
        self.service.process()
        self.assertEqual(COMPLETED, self.service.getStatus(self.jobid))
        self.assertEqual(1, self.service.getResult(self.jobid))
        self.assertEqual('None', self.service.getError(self.jobid))

    def test_other_jobs_are_not_started(self):
        """Only a job that was added with startLater can be started."""
        queued = self.service.add('test.task')
        self.assertIs(False, self.service.startJob(queued))
        self.service.process()
        self.assertEqual(1, len(self.calls))


class CancelTest(MemoryCase):

    def test_queued(self):
        """A cancelled job is not run."""
        jobid = self.service.add('test.task')
        self.service.cancel(jobid)
        self.assertEqual(CANCELLED, self.service.getStatus(jobid))
        self.assertFalse(self.service.hasJobsWaiting())
        self.service.process()
        self.assertEqual([], self.calls)

    def test_scheduled(self):
        """Cron and delayed jobs can be cancelled before and after a step."""
        ids = []
        for step in (lambda: None, lambda: self.service.process(0)):
            ids += [self.service.addCronJob('test.task', minute=(10,)),
                    self.service.addCronJob('test.task', delay=10)]
            step()
            for jobid in ids:
                self.service.cancel(jobid)
        self.service.process(2 * HOUR)
        self.assertEqual([], self.calls)
        self.assertEqual(
            [CANCELLED] * 4, [self.service.getStatus(id) for id in ids])

    def test_running(self):
        """A job that runs is not cancelled."""
        jobid = self.service.add('test.task')
        self.service.claimNextJob()
        self.service.cancel(jobid)
        self.assertEqual(PROCESSING, self.service.getStatus(jobid))

    def test_ended(self):
        """A job that ended stays what it is."""
        completed = self.run_one('test.task').id
        failed = self.run_one('test.fail').id
        self.service.cancel(completed)
        self.service.cancel(failed)
        self.assertEqual(COMPLETED, self.service.getStatus(completed))
        self.assertEqual(ERROR, self.service.getStatus(failed))

    def test_unknown(self):
        """Nothing happens for an id that is none."""
        for jobid in (42, 'undefined', None):
            self.service.cancel(jobid)


class UnknownIdTest(MemoryCase):

    def test_key_error(self):
        """All but cancel raise KeyError that names the id."""
        for name in ('getStatus', 'getResult', 'getError', 'startJob',
                     'reschedule'):
            for jobid in (42, 'undefined', None):
                with self.subTest(name=name, jobid=jobid), \
                        self.assertRaisesRegex(KeyError, repr(jobid)):
                    getattr(self.service, name)(jobid)

    def test_process(self):
        """To run an unknown job is a KeyError too."""
        with self.assertRaises(KeyError):
            self.service.processNext(jobid=42)


class CleanTest(MemoryCase):

    def setUp(self):
        super().setUp()
        self.ids = {
            COMPLETED: self.run_one('test.task').id,
            ERROR: self.run_one('test.fail').id,
            CANCELLED: self.service.add('test.task'),
            STARTLATER: self.service.add('test.task', startLater=True),
            CRONJOB: self.service.addCronJob('test.task', minute=(0,)),
            DELAYED: self.service.addCronJob('test.task', delay=10),
            PROCESSING: self.service.add('test.task'),
        }
        self.service.cancel(self.ids[CANCELLED])
        self.service.claimNextJob(0)
        self.ids[QUEUED] = self.service.add('test.task')

    def statuses(self):
        return sorted(job.status for job in self.service.jobs.values())

    def test_default(self):
        """Without an argument, all ended jobs are removed."""
        self.assertEqual(sorted(self.ids), self.statuses())
        self.service.clean()
        self.assertEqual(
            sorted([QUEUED, PROCESSING, STARTLATER, CRONJOB, DELAYED]),
            self.statuses())

    def test_chosen(self):
        """Only jobs with a given status are removed; any sequence is taken."""
        self.service.clean([ERROR])
        self.assertNotIn(self.ids[ERROR], self.service.jobs)
        self.assertEqual(7, len(self.service.jobs))
        self.service.clean(status=(COMPLETED, CANCELLED))
        self.assertEqual(5, len(self.service.jobs))

    def test_iterator(self):
        """It is gone through once."""
        self.service.clean(each for each in (ERROR, COMPLETED))
        self.assertEqual(6, len(self.service.jobs))

    def test_one_status(self):
        """It need not be put into a tuple."""
        self.service.clean(ERROR)
        self.assertNotIn(self.ids[ERROR], self.service.jobs)
        self.assertEqual(7, len(self.service.jobs))

    def test_refused(self):
        """A wrong status is named, and nothing removed, wherever it stands."""
        for status in (QUEUED, PROCESSING, STARTLATER, CRONJOB, DELAYED,
                       'undefined'):
            with self.subTest(status=status), \
                    self.assertRaisesRegex(ValueError, repr(status)):
                self.service.clean([COMPLETED, ERROR, status])
            self.assertEqual(8, len(self.service.jobs))

    def test_refused_though_no_job_has_it(self):
        """A wrong status is refused even if no job has it."""
        with self.assertRaises(ValueError):
            TaskService().clean([QUEUED])

    def test_nothing(self):
        """No status removes nothing."""
        self.service.clean([])
        self.assertEqual(8, len(self.service.jobs))


class DelayedTest(MemoryCase):

    def setUp(self):
        super().setUp()
        self.jobid = self.service.addCronJob(
            'test.task', {'foo': 'bar'}, delay=10)

    def statuses(self, *times):
        """Return the status after a step at each of the times."""
        for now in times:
            self.service.process(now)
            yield self.service.getStatus(self.jobid)

    def test_runs_after_its_delay(self):
        """Counted from the first step, it runs once, at 10 seconds."""
        self.assertEqual(DELAYED, self.service.getStatus(self.jobid))
        self.assertEqual(
            [DELAYED, DELAYED, COMPLETED, COMPLETED],
            list(self.statuses(0, 9, 10, 30)))
        self.assertEqual([{'foo': 'bar'}], self.calls)

    def test_counts_from_the_first_step(self):
        """When it was added does not matter."""
        self.assertEqual(
            [DELAYED, DELAYED, COMPLETED], list(self.statuses(100, 109, 110)))

    def test_asking_is_a_step(self):
        """The delay counts from a question whether there are jobs, too."""
        self.assertFalse(self.service.hasJobsWaiting(0))
        self.assertFalse(self.service.hasJobsWaiting(9))
        self.assertTrue(self.service.hasJobsWaiting(10))

    def test_fails(self):
        """A delayed job that fails has ended."""
        jobid = self.service.addCronJob('test.fail', delay=10)
        self.service.process(0)
        self.service.process(10)
        self.assertEqual(ERROR, self.service.getStatus(jobid))

    def test_reschedule(self):
        """Another delay counts from the next step."""
        self.service.process(0)
        self.service.jobs[self.jobid].update(delay=20)
        self.service.reschedule(self.jobid)
        self.assertEqual(
            [DELAYED, DELAYED, COMPLETED], list(self.statuses(5, 24, 25)))

    def test_scheduled_for(self):
        """The job tells when it will run."""
        self.service.process(0)
        self.assertEqual(
            datetime.datetime(1970, 1, 1, 0, 0, 10, tzinfo=datetime.UTC),
            self.service.jobs[self.jobid].scheduledFor)

    def test_by_id(self):
        """Run by its id, it does not wait."""
        self.assertTrue(self.service.processNext(0, self.jobid))
        self.assertEqual(COMPLETED, self.service.getStatus(self.jobid))
        self.service.process(100)
        self.assertEqual(1, len(self.calls))


class CronTest(MemoryCase):

    def setUp(self):
        super().setUp()
        self.jobid = self.service.addCronJob('test.task', minute=(10, 13))

    def results(self, *times):
        """Return the result after a step at each of the times."""
        for now in times:
            self.service.process(now)
            yield self.service.getResult(self.jobid)
            self.assertEqual(CRONJOB, self.service.getStatus(self.jobid))

    def test_runs_at_its_minutes(self):
        """At minutes 10 and 13 it runs, at 0 and 11 it does not."""
        self.assertEqual(CRONJOB, self.service.getStatus(self.jobid))
        self.assertEqual(
            [None, 1, 1, 2],
            list(self.results(0, 10 * MINUTE, 11 * MINUTE, 13 * MINUTE)))

    def test_runs_once_for_what_was_missed(self):
        """After a pause it runs once, however often it was due."""
        self.assertEqual(
            [None, 1, 1, 2],
            list(self.results(0, 5 * HOUR, 5 * HOUR + 1,
                              5 * HOUR + 10 * MINUTE)))

    def test_reschedule(self):
        """After an update and reschedule the new minutes hold."""
        list(self.results(0, 10 * MINUTE, 13 * MINUTE))
        self.service.jobs[self.jobid].update(minute=(11, 13))
        self.service.reschedule(self.jobid)
        self.assertEqual(
            [2, 3], list(self.results(HOUR + 10 * MINUTE,
                                      HOUR + 11 * MINUTE)))

    def test_reschedule_other_jobs(self):
        """Only a job with a schedule can be rescheduled."""
        jobid = self.service.add('test.task')
        with self.assertRaisesRegex(ValueError, f'{jobid}'):
            self.service.reschedule(jobid)

    def test_reschedule_a_cancelled_job(self):
        """To reschedule a cancelled job does not bring it back."""
        self.service.cancel(self.jobid)
        self.service.reschedule(self.jobid)
        self.service.process(0)
        self.service.process(HOUR)
        self.assertEqual([], self.calls)

    def test_an_error_does_not_end_it(self):
        """A cron job that fails shows its error and runs again."""
        jobid = self.service.addCronJob('test.fail', minute=(10,))
        self.service.process(0)
        for number in (1, 2):
            self.service.process(number * HOUR)
            self.assertEqual(CRONJOB, self.service.getStatus(jobid))
            self.assertEqual(
                'An error occurred.', self.service.getError(jobid))
            self.service.jobs[jobid].details = None

    def test_due_before_queued(self):
        """A job whose time has come goes before those that just wait."""
        self.service.process(0)
        self.service.add('test.task', 'waiting')
        self.service.process(10 * MINUTE)
        self.assertEqual([None, 'waiting'], self.calls)

    def test_wrong_values_store_nothing(self):
        """A value out of range, or an impossible day, adds no job."""
        for fields in ({'minute': (60,)}, {'hour': (24,)},
                       {'dayOfMonth': (31,), 'month': (2,)}, {'delay': -1},
                       {'hour': (2,), 'delay': 5}):
            with self.subTest(fields), self.assertRaises(ValueError):
                self.service.addCronJob('test.task', **fields)
        self.assertEqual([self.jobid], list(self.service.jobs))
        self.assertFalse(self.service.hasJobsWaiting(0))

    def test_cron_by_position(self):
        """The published order of arguments holds."""
        jobid = self.service.addCronJob(
            'test.task', 'input', (1,), (2,), (3,), (4,), (5,))
        job = self.service.jobs[jobid]
        self.assertEqual(
            ((1,), (2,), (3,), (4,), (5,), None),
            (job.minute, job.hour, job.dayOfMonth, job.month, job.dayOfWeek,
             job.delay))


class NotStoredTest(MemoryCase):

    def test_start(self):
        """A service that is in no database cannot be started."""
        with self.assertRaisesRegex(ValueError, 'not stored in a database'):
            self.service.startProcessing()
        self.assertFalse(self.service.isProcessing())

    def test_stop(self):
        """To stop what was not started does nothing."""
        self.service.stopProcessing()


class PausedTest(DatabaseCase):

    def test_is_a_flag(self):
        """Another value is refused, and changes nothing."""
        for value in ('no', 'false', None, 1.0):
            with self.subTest(value), \
                    self.assertRaisesRegex(ValueError, 'paused must be'):
                self.service.paused = value
        self.assertFalse(self.service._p_changed)
        self.assertIs(False, self.service.paused)
        self.service.paused = 1
        self.assertIs(True, self.service.paused)
        self.assertTrue(self.service._p_changed)

    def test_that_was_stored(self):
        """It is what it was, whatever it is."""
        vars(self.service)['paused'] = 'no'
        self.service._p_changed = True
        transaction.commit()
        with self.elsewhere() as service:
            self.assertEqual('no', service.paused)
            service.paused = False
        transaction.begin()
        self.assertIs(False, self.service.paused)


class NowhereTest(DatabaseCase):
    """A service that is stored, but in no folder, cannot be started."""

    def refused(self, service):
        with self.assertRaisesRegex(ValueError, 'lies in no folder'):
            service.startProcessing()
        self.assertFalse(service.isProcessing())

    def test_taken_out(self):
        """Nobody finds it where it was."""
        del self.root['tasks']
        self.refused(self.service)
        transaction.commit()
        self.refused(self.service)
        # There is nothing to be stopped.
        self.service.stopProcessing()

    def test_never_put_into_one(self):
        """Something refers to it, which is enough to store it."""
        service = TaskService()
        self.root.other = service
        transaction.commit()
        self.refused(service)


class CallersTransactionTest(DatabaseCase):
    """`process` works in the transaction of the one who calls it."""

    def setUp(self):
        super().setUp()
        self.service_task(effect, 'test.effect')
        self.service_task(self.fail_after_effect, 'test.fail')

    @staticmethod
    def fail_after_effect(service, input):
        effect(service, input)
        raise TaskError('late')

    def test_add_is_part_of_the_transaction(self):
        """A job whose transaction is aborted never existed."""
        jobid = self.service.add('test.effect')
        transaction.abort()
        self.assertNotIn(jobid, self.service.jobs)
        self.assertFalse(self.service.hasJobsWaiting())

    def test_runs_jobs_that_are_not_committed(self):
        """A job of the same transaction is run, and nothing committed."""
        jobid = self.service.add('test.effect', 1)
        self.service.process()
        self.assertEqual(COMPLETED, self.service.getStatus(jobid))
        self.assertEqual([1], list(self.root.effects))
        transaction.abort()
        self.assertNotIn(jobid, self.service.jobs)
        self.assertEqual([], self.effects)

    def test_commits_nothing(self):
        """A committed job that was run and aborted is queued again."""
        jobid = self.add('test.effect', 1)
        self.service.process()
        with self.elsewhere() as service:
            self.assertEqual(QUEUED, service.getStatus(jobid))
        transaction.abort()
        self.assertEqual(QUEUED, self.service.getStatus(jobid))
        self.assertTrue(self.service.hasJobsWaiting())

    def test_commit_by_the_caller(self):
        """Effects and status are there once the caller commits."""
        jobid = self.add('test.effect', 1)
        self.service.process()
        transaction.commit()
        self.assertEqual([1], self.effects)
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_a_failing_job_is_rolled_back(self):
        """Of a failing job only its error stays; others keep their effects."""
        self.root.effects.append('caller')
        self.service.add('test.effect', 'before')
        failing = self.service.add('test.fail', 'failing')
        self.service.add('test.effect', 'after')
        self.service.process()
        transaction.commit()
        self.assertEqual(['caller', 'before', 'after'], self.effects)
        job = self.job(failing)
        self.assertEqual((ERROR, 'late'), (job.status, job.error))

    def test_the_interaction_is_the_callers(self):
        """A job that is processed directly runs in the same interaction."""
        from zope.security.management import newInteraction
        from zope.security.management import queryInteraction
        seen = []
        self.task(lambda input: seen.append(queryInteraction()), 'test.seen')
        newInteraction()
        self.service.add('test.seen')
        self.service.process()
        self.assertEqual([queryInteraction()], seen)

    def test_a_new_service(self):
        """A service of the same transaction runs jobs and rolls back."""
        self.root['new'] = service = TaskService()
        failing = service.add('test.fail', 'failing')
        jobid = service.add('test.effect', 1)
        service.process()
        transaction.commit()
        self.assertEqual([1], self.effects)
        self.assertEqual(
            [ERROR, COMPLETED],
            [service.getStatus(failing), service.getStatus(jobid)])


class StoredTest(DatabaseCase):

    def test_a_question_writes_nothing(self):
        """To look for jobs where there are none leaves nothing to commit."""
        self.service.hasJobsWaiting()
        self.service.claimNextJob()
        self.service.process()
        self.assertEqual([], self.connection._registered_objects)

    def test_jobs_survive(self):
        """What was committed is read back by another connection."""
        self.task(lambda input: input, 'test.echo')
        jobid = self.add('test.echo', {'foo': 'bar'})
        with self.elsewhere() as service:
            service.process()
        self.assertEqual({'foo': 'bar'}, self.job(jobid).output)
