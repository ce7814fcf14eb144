"""Jobs that lovely.remotetask 0.5 has stored.

Classes of the application that is called `py2shop` in the database cannot be
imported here.
"""

import contextlib
import datetime
import shutil
import sys
import tempfile
import time
import types
import unittest.mock

import BTrees
import persistent.wref
import transaction
import ZODB
import ZODB.FileStorage
from ZODB.Connection import resetCaches
from ZODB.POSException import POSKeyError

from gocept.async_.task import TaskDescription
from gocept.async_.tests.python2data import unpack
from lovely.remotetask import TaskService
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.job import Job
from lovely.remotetask.policy import DAY
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.running.registry import service_path
from lovely.remotetask.storage import fate
from lovely.remotetask.storage import telling
from lovely.remotetask.storage import upgrade
from lovely.remotetask.storage.earlier import ATTRIBUTES
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.test_reference import Unstorable


# The ids of some jobs of the service `mail`.
COMPLETED_0 = 2052028988
TASK_ERROR = 2052028991
BROKEN_ERROR = 2052028992
CANCELLED_0 = 2052028996
QUEUED_0 = 2052028999
LATER = 2052029000
DELAYED_10S = 2052029002
EVERY_QUARTER = 2052029004
NO_PATTERN = 2052029011
# The first of six calls of functions.
CALL = 2052029018

# A time when all of them are due.
FAR = 4e9


@contextlib.contextmanager
def gone(name):
    """A module that is there for a while only."""
    module = types.ModuleType(name)
    with unittest.mock.patch.dict(sys.modules, {name: module}):
        yield module


class Unprintable(Exception):

    def __str__(self):
        raise RuntimeError('not now')


class UpgradeCase(DatabaseCase):

    # Which of the databases of Python 2.
    data = 'core-py3'

    def open_database(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        return ZODB.DB(ZODB.FileStorage.FileStorage(
            str(unpack(self.data, folder))))

    def fill(self, db):
        # The data is there.
        pass

    def setUp(self):
        super().setUp()
        self.calls = Calls()
        self.task(self.calls, 'shop.echo')
        self.described = Calls()
        self.task(self.described, 'gocept.async.function')
        self.service = self.services['mail']

    @property
    def services(self):
        return self.root.getSiteManager()['default']

    def reopen(self):
        """Open the database as another process does."""
        transaction.abort()
        self.connection.close()
        resetCaches()
        self.connection = self.db.open()
        self.root = self.connection.root()['Application']
        self.service = self.services['mail']

    def elsewhere_opened(self):
        """Return another transaction manager, and the service as it sees it.
        """
        manager = transaction.TransactionManager()
        connection = self.db.open(manager)
        self.addCleanup(connection.close)
        self.addCleanup(manager.abort)
        return manager, connection.get(self.service._p_oid)

    def counts(self, service):
        return {status: number for status, number
                in service.counts().items() if number}

    def drain(self, service, now):
        """Run all that can be claimed, as a processor does."""
        a_processor = SimpleProcessor(self.db, service_path(service))
        while (jobid := a_processor.claimNextJob(now)) is not None:
            a_processor.processNext(jobid)
        transaction.begin()

    def stored_jobs(self):
        """Return the jobs as they were stored, by id."""
        self.service._p_activate()
        return vars(self.service)['jobs']


class UpgradeTest(UpgradeCase):

    def test_state_is_old_before(self):
        """The data is what lovely.remotetask 0.5 stored."""
        self.assertEqual(0, self.service.schema)
        for name in ATTRIBUTES:
            self.assertIn(name, vars(self.service))

    def test_pruned_meanwhile(self):
        """An old job that is pruned while it is requeued is there again."""
        upgrade.upgrade(self.service)
        transaction.commit()
        manager, elsewhere = self.elsewhere_opened()
        self.assertTrue(elsewhere.requeue(TASK_ERROR))
        upkeep(self.service).prune(100, FAR)
        transaction.commit()
        self.assertNotIn(TASK_ERROR, self.service.jobs)
        manager.commit()
        # The first batch passes the note; the job is in the second one.
        for _ in range(2):
            engine(self.service).claim('host:1:a:token', 100, FAR)
            transaction.commit()
        self.assertEqual(PROCESSING, self.service.getStatus(TASK_ERROR))
        self.assertEqual(
            len(list(self.service.jobs)),
            sum(self.service.counts().values()))

    def test_counts(self):
        """All jobs are there, with their status.

        Of the cron jobs, three have values that are none, and others.
        """
        self.assertEqual(
            {QUEUED: 10, COMPLETED: 3, ERROR: 5, CANCELLED: 4, STARTLATER: 1,
             CRONJOB: 13, DELAYED: 3}, self.counts(self.service))
        self.assertEqual(39, len(self.service.jobs))

    def test_other_services(self):
        """So it is with those of calls, and of patterns without a day."""
        for name, expected in (
                ('overdue', {DELAYED: 1, CRONJOB: 1}),
                ('unnamed', {QUEUED: 8, CRONJOB: 2}),
                ('stuck', {QUEUED: 1, HELD: 2, CRONJOB: 1})):
            with self.subTest(name):
                self.assertEqual(expected, self.counts(self.services[name]))

    def test_ids(self):
        """Each job is found by its id."""
        ids = list(self.stored_jobs())
        self.assertCountEqual(ids, self.service.jobs)
        for jobid in ids:
            self.assertEqual(jobid, self.service.jobs[jobid].id)
        self.assertEqual({'text': 'erledigt \xe4', 'u': '\xe4', 'n': 0},
                         self.service.getResult(COMPLETED_0))

    def test_unknown_ids(self):
        """An unknown id is one still, however great."""
        for jobid in (1, 999, 2 ** 31, 2 ** 31 + 5, 2 ** 40, 2 ** 63, 2 ** 70):
            with self.subTest(jobid):
                self.assertNotIn(jobid, self.service.jobs)
                self.assertFalse(self.service.cancel(jobid))

    def test_errors_are_texts(self):
        """The exception that was stored is shown by its message."""
        jobs = self.service.jobs
        self.assertEqual("('no way', 17)", jobs[TASK_ERROR].error)
        self.assertEqual('lovely.remotetask.task.TaskError',
                         jobs[TASK_ERROR].errorClass)

    def test_error_of_a_class_that_is_gone(self):
        """It has a message too; what was text on Python 2 is text."""
        job = self.service.jobs[BROKEN_ERROR]
        self.assertEqual("(402, 'Zahlung f\xfcr Verlag')", job.error)
        self.assertEqual('py2shop.errors.PaymentError', job.errorClass)

    def test_errors_that_say_too_much(self):
        """What is kept of a message is cut; also of one that fails."""
        jobs = self.stored_jobs()
        for jobid, error in ((TASK_ERROR, ValueError('x' * 10 ** 6)),
                             (BROKEN_ERROR, Unprintable())):
            jobs[jobid]._p_activate()
            vars(jobs[jobid])['error'] = error
            jobs[jobid]._p_changed = True
        jobs = self.service.jobs
        self.assertLess(len(jobs[TASK_ERROR].error), 5000)
        self.assertIn('Unprintable', jobs[BROKEN_ERROR].error)

    def test_times(self):
        """Naive local times are read as aware ones."""
        for job in self.service.jobs.values():
            self.assertIsNotNone(job.created.tzinfo)
            self.assertEqual(2026, job.created.astimezone().year)

    def test_queued_jobs_run_in_order(self):
        """Queued jobs run as they were added."""
        self.drain(self.service, now=1)
        self.assertEqual('later 0', self.calls[0])
        self.assertEqual(6, len(self.described))
        self.assertEqual(COMPLETED, self.service.getStatus(QUEUED_0))
        started = [self.service.jobs[CALL + number].started
                   for number in range(6)]
        self.assertEqual(sorted(started), started)

    def test_job_that_was_claimed(self):
        """Whoever ran it is gone: it is queued first."""
        job = self.stored_jobs()[QUEUED_0]
        job._p_activate()
        job.__dict__['status'] = PROCESSING
        job._p_changed = True
        self.assertEqual(10, self.service.counts()[QUEUED])
        self.assertEqual(QUEUED, self.service.getStatus(QUEUED_0))
        transaction.commit()
        self.drain(self.service, now=1)
        self.assertEqual('later 0', self.calls[0])

    def test_a_description(self):
        """The stored call of a function is given to its task."""
        self.drain(self.service, now=1)
        for description in self.described:
            self.assertIsInstance(description, TaskDescription)
            self.assertTrue(
                description.function_name.startswith('py2shop.jobs.'))

    def test_new_jobs_after_old_ones(self):
        """A job that is added first thing runs after the old ones."""
        jobid = self.add('shop.echo', 'new')
        self.assertGreaterEqual(jobid, 2 ** 31)
        self.drain(self.service, now=1)
        self.assertEqual('new', self.calls[-1])

    def test_new_ids(self):
        """No new job gets the id of an old one."""
        old = set(self.stored_jobs())
        new = {self.service.add('shop.echo', priority=number % 10)
               for number in range(200)}
        self.assertFalse(new & old)
        self.assertEqual(239, len(set(self.service.jobs)))

    def test_scheduled_jobs(self):
        """A delayed job keeps its time, a cron job goes on."""
        job = self.stored_jobs()[DELAYED_10S]
        job._p_activate()
        due = vars(job)['scheduledFor'].timestamp()
        self.assertEqual(due, self.service.jobs[DELAYED_10S].due)
        transaction.commit()
        self.drain(self.service, now=due - 1)
        self.assertNotIn('delayed 10 s', self.calls)
        self.drain(self.service, now=due)
        self.assertIn('delayed 10 s', self.calls)
        self.drain(self.service, now=FAR)
        self.drain(self.service, now=FAR + 1e8)
        for name, times in (('cron fresh', 2), ('delayed fresh', 1),
                            ('delayed 1 h', 1), ('delayed cancelled', 0)):
            with self.subTest(name):
                self.assertEqual(times, self.calls.count(name))
        self.assertEqual(13, self.counts(self.service)[CRONJOB])
        self.assertNotIn(DELAYED, self.counts(self.service))

    def test_rescheduled(self):
        """A time from before no longer counts, as it did not then."""
        jobs = self.stored_jobs()
        new = [jobs[EVERY_QUARTER], jobs[DELAYED_10S]]
        new[0]._p_activate()
        vars(new[0])['minute'] = (7,)
        vars(self.service)['_scheduledQueue'] = new
        now = time.time()
        self.assertEqual(
            7, self.service.jobs[EVERY_QUARTER].due // 60 % 60)
        self.assertGreater(self.service.jobs[EVERY_QUARTER].due, now)
        self.assertGreater(self.service.jobs[DELAYED_10S].due, now)

    def test_overdue(self):
        """What was due while nothing ran is run at once, and once."""
        self.service = self.services['overdue']
        now = time.time()
        for _ in range(2):
            self.drain(self.service, now)
            self.assertCountEqual(
                ['overdue cron', 'overdue delayed'], self.calls)
        self.assertEqual(1, self.counts(self.service)[CRONJOB])
        for job in self.service.jobs.values():
            if job.recurring:
                self.assertGreater(job.due, now)
                self.assertEqual(0, job.due % 60)

    def test_class_that_is_gone(self):
        """A job of a class of its own is set aside, and others are run."""
        with gone('jobs_that_go') as module:
            module.OwnJob = type(
                'OwnJob', (Job,), {'__module__': module.__name__})
            job = module.OwnJob.__new__(module.OwnJob)
            vars(job).update(
                id=5, status=QUEUED, task='shop.echo', input='own',
                created=datetime.datetime.now())
            self.stored_jobs()[5] = job
            transaction.commit()
        self.reopen()
        self.assertEqual(HELD, self.service.getStatus(5))
        self.assertIn('jobs_that_go.OwnJob is gone', self.service.getError(5))
        self.assertEqual([5], self.service.unreadable())
        transaction.commit()
        self.drain(self.service, now=1)
        self.assertEqual('later 0', self.calls[0])

    def test_value_that_is_none(self):
        """It is left out of the pattern; the job goes on with the others."""
        self.service.counts()
        self.assertEqual((0, 20, 40), self.service.jobs[NO_PATTERN].minute)

    def test_no_value_is_left(self):
        """The job is held from now on, and says why."""
        before = time.time()
        job, = [job for job in self.services['stuck'].jobs.values()
                if 'dayOfWeek' in job.input]
        self.assertEqual(HELD, job.status)
        self.assertIn('dayOfWeek=7', job.error)
        self.assertGreaterEqual(job.completed.timestamp(), before)

    def test_no_day_matches(self):
        """So it is with 30 February."""
        job, = [job for job in self.services['stuck'].jobs.values()
                if '(30,)' in job.input]
        self.assertEqual(HELD, job.status)
        self.assertIn('No day ever matches', job.error)

    def test_changes(self):
        """Old jobs are started, requeued, cancelled, removed, cleaned."""
        self.assertTrue(self.service.startJob(LATER))
        self.assertTrue(self.service.requeue(CANCELLED_0))
        self.assertTrue(self.service.cancel(QUEUED_0))
        self.assertTrue(self.service.remove(COMPLETED_0))
        self.assertTrue(self.service.remove(CALL))
        transaction.commit()
        self.drain(self.service, now=1)
        self.assertIn('later 1', self.calls)
        self.assertIn('wird abgebrochen 0', self.calls)
        self.assertNotIn('later 0', self.calls)
        self.assertEqual(5, len(self.described))
        self.assertNotIn(COMPLETED_0, self.service.jobs)
        self.service.clean()
        held = self.service.counts()[HELD]
        self.assertEqual({CRONJOB: 13, DELAYED: 3, HELD: held},
                         self.counts(self.service))
        self.assertEqual(16 + held, len(list(self.service.jobs)))

    def test_find(self):
        """Old jobs are on the pages, under their status."""
        for status, number in self.service.counts().items():
            with self.subTest(status):
                page = self.service.find(status=status)
                self.assertEqual(number, len(page.jobs))
        self.assertEqual(39, len(self.service.find().jobs))

    def test_prune(self):
        """Old jobs do not stay for ever."""
        self.assertEqual(12, upkeep(self.service).prune(100, now=FAR))
        self.assertEqual(27, len(self.service.jobs))

    def test_retention_counts_from_now(self):
        """However long ago they ended, they can be looked at first."""
        for job in list(self.stored_jobs().values()):
            job._p_activate()
            for name in ('created', 'completed'):
                if name in vars(job):
                    vars(job)[name] = datetime.datetime(2011, 5, 1)
            job._p_changed = True
        now = time.time()
        self.assertEqual(0, upkeep(self.service).prune(100, now=now))
        self.assertEqual(0, upkeep(self.service).prune(100, now + 6 * DAY))
        self.assertEqual(7, upkeep(self.service).prune(100, now + 8 * DAY))
        self.assertEqual(5, upkeep(self.service).prune(100, now + 31 * DAY))
        self.assertEqual(
            2011, self.service.jobs[EVERY_QUARTER].created.year)

    def test_is_made_once(self):
        """What was brought up to date is stored, and says so."""
        self.service.counts()
        transaction.commit()
        manager, service = self.elsewhere_opened()
        self.assertEqual(upgrade.SCHEMA, service.schema)
        before = self.db.lastTransaction()
        self.assertEqual(39, len(service.jobs))
        manager.commit()
        self.assertEqual(before, self.db.lastTransaction())

    def test_two_at_once(self):
        """Of two who bring it up to date, one tries again."""
        manager, service = self.elsewhere_opened()
        service.counts()
        self.service.counts()
        manager.commit()
        with self.assertRaises(transaction.interfaces.TransientError):
            transaction.commit()
        transaction.abort()
        self.assertEqual(39, len(self.service.jobs))

    def test_nothing_old_is_kept(self):
        """The old queue and what jobs knew of it are gone."""
        self.service.counts()
        for name in ATTRIBUTES:
            self.assertNotIn(name, self.service.__dict__)
        for job in self.service.jobs.values():
            self.assertNotIn('scheduledFor', job.__dict__)
            self.assertNotIn('error', job.__dict__)


class MissingCase(UpgradeCase):
    """The database can lose records."""

    def setUp(self):
        super().setUp()
        load, self.missing = self.db.storage.loadBefore, set()

        def load_or_raise(oid, tid):
            if oid in self.missing:
                raise POSKeyError(oid)
            return load(oid, tid)
        self.db.storage.loadBefore = load_or_raise

    def lose(self, *records):
        self.missing |= {record._p_oid for record in records}
        transaction.abort()
        self.connection.cacheMinimize()


class UnreadableTest(MissingCase):
    """Some of the old jobs cannot be read."""

    IDS = (QUEUED_0, COMPLETED_0, EVERY_QUARTER)

    def setUp(self):
        super().setUp()
        jobs = self.stored_jobs()
        for jobid in self.IDS:
            self.missing.add(jobs[jobid]._p_oid)
        transaction.abort()
        self.connection.cacheMinimize()

    def test_before(self):
        """Those are held, and all others are brought up to date."""
        self.assertEqual(3, self.service.counts()[HELD])
        self.assertEqual(39, len(list(self.service.jobs)))
        self.assertEqual(39, len(self.service.find().jobs))
        for jobid in self.IDS:
            self.assertEqual(HELD, self.service.getStatus(jobid))
        transaction.commit()
        self.drain(self.service, now=1)
        self.assertNotIn('later 0', self.calls)
        self.assertEqual(6, len(self.described))

    def test_after(self):
        """So it is with those that cannot be read any more."""
        missing = self.missing.copy()
        self.missing.clear()
        self.service.counts()
        transaction.commit()
        self.missing |= missing
        self.connection.cacheMinimize()
        self.drain(self.service, now=FAR)
        self.assertNotIn('later 0', self.calls)
        self.assertEqual(6, len(self.described))
        self.assertEqual(39, len(self.service.find().jobs))
        for jobid in self.IDS:
            self.assertTrue(self.service.remove(jobid))
        transaction.commit()
        self.assertEqual(36, len(self.service.jobs))
        self.assertEqual(36, len(list(self.service.jobs)))

    def test_retention(self):
        """They are kept as long from now on as any other that is held."""
        self.service.counts()
        transaction.commit()
        now = time.time()
        upkeep(self.service).prune(100, now + 29 * DAY)
        self.assertEqual(3, self.service.counts()[HELD])
        upkeep(self.service).prune(100, now + 31 * DAY)
        self.assertEqual(0, self.service.counts()[HELD])

    def test_told(self):
        """The log names the service and the job."""
        with self.assertLogs(telling.__name__, 'WARNING') as logged:
            self.service.counts()
            self.assertEqual([], logged.output)
            transaction.commit()
        told = [text for text in logged.output
                if 'It cannot be read' in text]
        self.assertEqual(3, len(told))
        self.assertIn(f'++etc++site/default/mail/{COMPLETED_0}: ', told[0])


class UnstorableTest(UpgradeCase):
    """Old jobs can be read, and not be written."""

    ID = 5

    def setUp(self):
        super().setUp()
        self.module = types.ModuleType('values_that_go')

        def function():
            pass
        for name, value in (('Class', type('Class', (), {})),
                            ('function', function)):
            value.__module__, value.__qualname__ = self.module.__name__, name
            setattr(self.module, name, value)
        self.bring_back()

    def bring_back(self):
        patch = unittest.mock.patch.dict(
            sys.modules, {self.module.__name__: self.module})
        patch.start()
        self.addCleanup(patch.stop)
        return patch

    def store(self, **state):
        """Store a job in whose state there is what goes then."""
        job = Job.__new__(Job)
        vars(job).update({
            'id': self.ID, 'status': QUEUED, 'task': 'shop.echo',
            'input': 'own', 'created': datetime.datetime(2010, 1, 1), **state})
        self.stored_jobs()[self.ID] = job
        transaction.commit()
        del sys.modules[self.module.__name__]
        self.reopen()

    def check_is_aside(self, text):
        """Check that the job is held, and says why; and others are run."""
        self.service.counts()
        transaction.commit()
        self.assertEqual(HELD, self.service.getStatus(self.ID))
        self.assertIn(text, self.service.getError(self.ID))
        self.assertEqual([self.ID], self.service.unreadable())
        self.assertFalse(self.service.requeue(self.ID))
        transaction.commit()
        self.drain(self.service, now=1)
        self.assertEqual('later 0', self.calls[0])
        self.assertEqual(40, len(self.service.jobs))

    def test_class_as_a_value(self):
        """It is gone; the job is as it was once it is there again."""
        self.store(input=[self.module.Class])
        self.check_is_aside('values_that_go')
        self.bring_back()
        self.reopen()
        self.assertTrue(self.service.requeue(self.ID))
        transaction.commit()
        self.drain(self.service, now=1)
        self.assertIn([self.module.Class], self.calls)

    def test_function_as_a_value(self):
        self.store(input={'call': self.module.function})
        self.check_is_aside('values_that_go')

    def test_class_in_a_result(self):
        """Of a job that has ended."""
        self.store(status=COMPLETED, output=(self.module.Class,))
        self.check_is_aside('install or correct the code')

    def test_value_that_refuses(self):
        self.store(input=Unstorable())
        with unittest.mock.patch.object(Unstorable, 'closed', True):
            self.check_is_aside('no longer')

    def test_object_of_a_class(self):
        """It is kept as it is: ZODB can write that."""
        self.store(input=[self.module.Class()])
        self.assertEqual(QUEUED, self.service.getStatus(self.ID))
        transaction.commit()

    def test_class_in_an_error(self):
        """Of that, only the text is kept."""
        self.store(status=ERROR, error=ValueError(self.module.Class))
        self.assertEqual(ERROR, self.service.getStatus(self.ID))
        transaction.commit()


class BooksTest(MissingCase):
    """More cannot be read than single jobs."""

    def check(self, number):
        """Check that some jobs are there, and can be worked with."""
        transaction.commit()
        self.assertEqual(number, len(self.service.jobs))
        self.assertEqual(number, len(list(self.service.jobs)))
        self.assertEqual(number > 0, self.service.hasJobsWaiting(FAR))

    def upgrade(self, text):
        """Bring it up to date; check that the log tells of trouble."""
        with self.assertLogs(telling.__name__, 'ERROR') as logged:
            self.service.counts()
            transaction.commit()
        self.assertIn(text, logged.output[0])
        self.assertIn('default/mail: ', logged.output[0])

    def test_queues(self):
        """Without them, nothing that can be run is lost."""
        for name in ('_queue', '_scheduledQueue', '_scheduledJobs'):
            with self.subTest(name):
                transaction.abort()
                self.missing.clear()
                self.service._p_activate()
                self.lose(vars(self.service)[name])
                with self.assertLogs(telling.__name__, 'ERROR') as logged:
                    upgrade.upgrade(self.service)
                    telling_of = self.service._p_jar.transaction_manager.get()
                    for hook, args, kw in list(
                            telling_of.getAfterCommitHooks()):
                        hook(True, *args, **kw)
                self.assertIn(f'{name} cannot be read', logged.output[0])
                self.assertEqual(
                    {QUEUED: 10, COMPLETED: 3, ERROR: 5, CANCELLED: 4,
                     STARTLATER: 1, CRONJOB: 13, DELAYED: 3},
                    self.counts(self.service))

    def split_jobs(self):
        """Let there be so many jobs that their tree has parts."""
        jobs = self.stored_jobs()
        for number in range(200):
            job = Job.__new__(Job)
            vars(job).update(id=number, status=QUEUED, task='shop.echo',
                             input=number, created=datetime.datetime.now())
            jobs[number] = job
        transaction.commit()
        return jobs.__getstate__()[0]

    def test_part_of_the_jobs(self):
        """The others are there; and what cannot be read is not forgotten."""
        first, *_ = self.split_jobs()
        number = len(first)
        tree = self.stored_jobs()
        self.lose(first)
        self.upgrade('some of its jobs cannot be read')
        self.check(239 - number)
        self.assertEqual(tree._p_oid,
                         vars(self.service)[upgrade.UNREADABLE]._p_oid)

    def test_all_jobs(self):
        """Those are there that wait in the queue, or in the schedule."""
        self.lose(self.stored_jobs())
        self.upgrade('some of its jobs cannot be read')
        self.check(26)
        self.assertEqual(10, self.service.counts()[QUEUED])

    def test_no_jobs(self):
        """They are not even referred to."""
        self.service._p_activate()
        del vars(self.service)['jobs']
        self.service.counts()
        self.check(26)

    def test_nothing(self):
        """Nor is any queue."""
        self.service._p_activate()
        for name in ATTRIBUTES:
            del vars(self.service)[name]
        self.service.counts()
        self.check(0)

    def test_no_books(self):
        """The queues are not referred to, or are no queues."""
        for value in (None, 5, [5], {'a': 1}, 'text'):
            with self.subTest(value):
                transaction.abort()
                self.service._p_activate()
                for name in ATTRIBUTES[1:]:
                    vars(self.service)[name] = value
                self.assertEqual(10, self.service.counts()[QUEUED])


class StraysTest(MissingCase):
    """Jobs are where earlier code met them, and not among the others."""

    def keep_only(self, *jobs):
        """Let some jobs wait in a queue, and nowhere else."""
        for job in jobs:
            self.connection.add(job)
        self.service._p_activate()
        vars(self.service)['_scheduledQueue'] = list(jobs)
        self.service._p_changed = True
        transaction.commit()

    def upgrade(self):
        found = upgrade.upgrade_some(self.service, 1000)
        transaction.commit()
        return found

    def test_only_in_a_queue(self):
        """They are what they were."""
        jobs = self.stored_jobs()
        for jobid in (QUEUED_0, EVERY_QUARTER, DELAYED_10S):
            del jobs[jobid]
        transaction.commit()
        found = self.upgrade()
        self.assertCountEqual([QUEUED_0, EVERY_QUARTER, DELAYED_10S], [
            each.jobid for each in found.findings if each.kind == fate.FOUND])
        self.assertEqual(
            {QUEUED: 10, COMPLETED: 3, ERROR: 5, CANCELLED: 4, STARTLATER: 1,
             CRONJOB: 13, DELAYED: 3}, self.counts(self.service))
        self.drain(self.service, now=1)
        self.assertEqual('later 0', self.calls[0])

    def test_ended(self):
        """The schedule knew of them still: somebody had removed them."""
        job = self.stored_jobs().pop(EVERY_QUARTER)
        job._p_activate()
        vars(job)['status'] = CANCELLED
        job._p_changed = True
        transaction.commit()
        found = self.upgrade()
        self.assertNotIn(EVERY_QUARTER, self.service.jobs)
        self.assertEqual([], found.trouble)

    def test_class_that_is_gone(self):
        """Nobody can tell its id; nothing else is kept from being stored."""
        with gone('jobs_that_go') as module:
            module.OwnJob = type(
                'OwnJob', (Job,), {'__module__': module.__name__})
            job = module.OwnJob.__new__(module.OwnJob)
            vars(job).update(id=5, status=QUEUED)
            self.keep_only(job)
        self.reopen()
        text, = self.upgrade().trouble
        self.assertIn('jobs_that_go.OwnJob is gone', text)
        self.assertEqual(1, len(vars(self.service)[upgrade.HOMELESS]))

    def test_no_id(self):
        """They are told, and kept where nothing is packed away."""
        jobs = []
        for state in ({'id': QUEUED_0}, {'id': 2 ** 40}, {'id': 'x'}, {}):
            job = Job.__new__(Job)
            vars(job).update(status=QUEUED, task='shop.echo', **state)
            jobs.append(job)
        self.keep_only(*jobs)
        found = self.upgrade()
        self.assertEqual(4, len(found.trouble))
        self.assertIn('another job has its id, 2052028999', str(found.trouble))
        self.assertEqual(39, len(list(self.service.jobs)))
        self.assertEqual(4, len(vars(self.service)[upgrade.HOMELESS]))

    def test_record_that_is_missing(self):
        job = Job.__new__(Job)
        vars(job).update(id=5, status=QUEUED)
        self.keep_only(job)
        self.lose(job)
        text, = self.upgrade().trouble
        self.assertIn('POSKeyError', text)

    def test_key_that_is_none(self):
        """A tree of any kind had it; all others are brought up to date."""
        jobs = BTrees.family32.OO.BTree(self.stored_jobs())
        job = jobs[2 ** 70] = Job.__new__(Job)
        vars(job).update(id=2 ** 70, status=QUEUED, task='shop.echo')
        self.service._p_activate()
        vars(self.service)['jobs'] = jobs
        self.service._p_changed = True
        transaction.commit()
        text, = self.upgrade().trouble
        self.assertIn(str(2 ** 70), text)
        self.assertEqual(39, len(list(self.service.jobs)))
        self.assertEqual(1, len(vars(self.service)[upgrade.HOMELESS]))

    def test_job_that_fails(self):
        """Whatever happens to one of them, it is held, and as it was."""
        with unittest.mock.patch.object(
                upgrade, 'text_of', side_effect=RuntimeError('no idea')):
            found = self.upgrade()
        self.assertEqual(5, self.service.counts()[HELD])
        self.assertEqual(10, self.service.counts()[QUEUED])
        self.assertIn('no idea', self.service.getError(TASK_ERROR))
        self.assertIn(fate.UNREADABLE, {each.kind for each in found.findings})
        self.assertFalse(self.service.requeue(TASK_ERROR))
        self.assertEqual(ERROR, self.service.getStatus(TASK_ERROR))


class SliceTest(MissingCase):
    """A service is brought up to date in several transactions."""

    def slice(self, limit=10):
        """Do some jobs, and commit.  Return the findings."""
        found = upgrade.upgrade_some(self.service, limit).findings
        transaction.commit()
        self.connection.cacheMinimize()
        return found

    def test_slices(self):
        """It ends with the last one, and the result is the same."""
        number = 0
        while self.service.schema < upgrade.SCHEMA:
            self.slice()
            number += 1
        self.assertEqual(4, number)
        self.assertEqual(
            {QUEUED: 10, COMPLETED: 3, ERROR: 5, CANCELLED: 4, STARTLATER: 1,
             CRONJOB: 13, DELAYED: 3}, self.counts(self.service))
        self.assertEqual(39, len(list(self.service.jobs)))
        for name in (*ATTRIBUTES, upgrade.REACHED):
            self.assertNotIn(name, vars(self.service))
        self.drain(self.service, now=1)
        self.assertEqual('later 0', self.calls[0])

    def test_even_slices(self):
        """The last one may be empty."""
        self.slice(39)
        self.assertEqual(0, self.service.schema)
        self.slice(39)
        self.assertEqual(upgrade.SCHEMA, self.service.schema)

    def test_used_in_between(self):
        """Whoever uses the service does the rest."""
        self.slice()
        self.slice()
        self.assertEqual(39, len(list(self.service.jobs)))
        self.add('shop.echo', 'new')
        self.drain(self.service, now=1)
        self.assertEqual('later 0', self.calls[0])
        self.assertEqual('new', self.calls[-1])

    def test_aborted_in_between(self):
        """It goes on from what was committed last."""
        self.slice()
        upgrade.upgrade_some(self.service, 10)
        transaction.abort()
        self.assertEqual(39, len(list(self.service.jobs)))
        self.assertEqual(10, self.service.counts()[QUEUED])

    def test_two_at_once(self):
        """One of two loses; it writes nothing, and goes on."""
        manager, other = self.elsewhere_opened()
        self.slice()
        manager.begin()
        upgrade.upgrade_some(other, 10)
        upgrade.upgrade_some(self.service, 10)
        transaction.commit()
        with self.assertRaises(transaction.interfaces.TransientError):
            manager.commit()
        manager.begin()
        upgrade.upgrade(other)
        manager.commit()
        transaction.begin()
        self.assertEqual(39, len(list(self.service.jobs)))
        self.assertEqual(10, self.service.counts()[QUEUED])

    def test_record_that_is_lost_in_between(self):
        """One that was done is set aside when it is met, as any other."""
        self.slice()
        self.lose(*[self.stored_jobs()[jobid]
                    for jobid in (COMPLETED_0, CALL)])
        while self.service.schema < upgrade.SCHEMA:
            self.slice()
        self.assertEqual(39, len(list(self.service.jobs)))
        self.drain(self.service, now=1)
        self.assertEqual(5, len(self.described))

    def test_progress(self):
        """It is told how far it is, each two seconds."""
        said, times = [], iter([0, 1, 2, 3, 4.5])
        progress = telling.Progress(
            lambda text, *args: said.append(text % args),
            times.__next__)
        for _ in range(4):
            upgrade.upgrade_some(self.service, 9)
            progress.tell(self.service)
        self.assertEqual(
            ['++etc++site/default/mail: 18 of 39 jobs are brought up to date',
             '++etc++site/default/mail: 36 of 39 jobs are brought up to date'],
            said)


class TellingTest(UpgradeCase):

    def test_after_commit(self):
        """The log is told what was found once it is committed."""
        service = self.services['stuck']
        with self.assertNoLogs(telling.__name__):
            service.counts()
            transaction.abort()
            service.counts()
        with self.assertLogs(telling.__name__, 'INFO') as logged:
            transaction.commit()
        self.assertIn('stuck: brought up to date, with 4 jobs',
                      logged.output[-1])
        self.assertEqual(3, len(logged.output))

    def test_pattern(self):
        """What is left out of it is a warning."""
        self.service.counts()
        with self.assertLogs(telling.__name__, 'WARNING') as logged:
            transaction.commit()
        self.assertIn(f'mail/{NO_PATTERN}: ', logged.output[0])
        self.assertIn('minute=60', logged.output[0])
        self.assertEqual(3, len(logged.output))

    def test_many(self):
        """Not all of very many are told."""
        found = [fate.Finding(jobid, fate.HOLDS, 'It is held.')
                 for jobid in range(1000)]
        telling.findings(self.service, found)
        with self.assertLogs(telling.__name__, 'WARNING') as logged:
            transaction.commit()
        self.assertEqual(telling.SHOWN + 1, len(logged.output))
        self.assertIn('and 950 more jobs', logged.output[-1])

    def test_service_without_a_database(self):
        """It is told at once."""
        with self.assertLogs(telling.__name__, 'INFO'):
            telling.all_jobs(TaskService())


class WeakReferenceTest(UpgradeCase):
    """zodbupdate 3.0 has made them unreadable."""

    def arguments(self, service):
        """Return the arguments of all calls that can be read."""
        found = [outcome_of(lambda job=job: job.input.args)
                 for job in service.jobs.values()]
        return [each.value for each in found if not each.failed]

    def test_in_the_input(self):
        """The calls can be read, and are stored so that all can."""
        service = self.root['tasks']
        for _ in range(2):
            found = {args[0]: args[1:] for args in self.arguments(service)}
            for marker in ('weakref', 'weakref to deleted'):
                reference, = found[marker]
                self.assertIsInstance(reference, persistent.wref.WeakRef)
            transaction.commit()
            self.connection.cacheMinimize()

    def test_told(self):
        """The log says so."""
        self.service = self.root['tasks']
        self.service.counts()
        with self.assertLogs(telling.__name__, 'INFO') as logged:
            transaction.commit()
        self.assertEqual(2, len([text for text in logged.output
                                 if 'zodbupdate' in text]))


class DoneAndLostTest(UpgradeCase):
    """The effects of a job are stored, and its end is not."""

    data = 'done-lost-py3'

    @property
    def services(self):
        return {'mail': self.root['tasks']}

    def test_held(self):
        """It is not run once more, unless somebody wants that."""
        job, = self.service.jobs.values()
        self.assertEqual(HELD, job.status)
        self.assertIn('may be stored', job.error)
        transaction.commit()
        self.drain(self.service, now=FAR)
        self.assertEqual([], self.described)
        self.assertTrue(self.service.requeue(job.id))
        transaction.commit()
        self.drain(self.service, now=FAR)
        self.assertEqual(1, len(self.described))

    def test_is_kept(self):
        """As long as any other that is held today."""
        job, = self.service.jobs.values()
        now = time.time()
        self.assertLess(now - 60, job.completed.timestamp())
        self.assertEqual(0, upkeep(self.service).prune(9, now + 29 * DAY))
