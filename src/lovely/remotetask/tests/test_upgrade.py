"""Jobs that lovely.remotetask 0.5 has stored.

data_0_5.fs.gz was written on Python 2.7 by lovely.remotetask 0.5.2 and
gocept.async 0.3.3, and converted by zodbupdate.  Classes of the application
that is called `py2shop` there cannot be imported here.
"""

import gzip
import pathlib
import shutil
import tempfile

import transaction
import ZODB
import ZODB.FileStorage
from ZODB.POSException import POSKeyError

from gocept.async_.task import TaskDescription
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
from lovely.remotetask.running.registry import service_path
from lovely.remotetask.storage import upgrade
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine


DATA = pathlib.Path(__file__).with_name('data_0_5.fs.gz')

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


class Unprintable(Exception):

    def __str__(self):
        raise RuntimeError('not now')


class UpgradeCase(DatabaseCase):

    def open_database(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = pathlib.Path(folder) / 'Data.fs'
        path.write_bytes(gzip.decompress(DATA.read_bytes()))
        return ZODB.DB(ZODB.FileStorage.FileStorage(str(path)))

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
        for name in upgrade.OLD_ATTRIBUTES:
            self.assertIn(name, vars(self.service))

    def test_counts(self):
        """All jobs are there, with their status.

        Of the cron jobs, three have values that are none.
        """
        self.assertEqual(
            {QUEUED: 10, COMPLETED: 3, ERROR: 8, CANCELLED: 4, STARTLATER: 1,
             CRONJOB: 10, DELAYED: 3}, self.counts(self.service))
        self.assertEqual(39, len(self.service.jobs))

    def test_other_services(self):
        """So it is with those of calls, and of patterns without a day."""
        for name, expected in (
                ('overdue', {DELAYED: 1, CRONJOB: 1}),
                ('unnamed', {QUEUED: 8, CRONJOB: 2}),
                ('stuck', {QUEUED: 1, ERROR: 2, CRONJOB: 1})):
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
        # Of a class that is gone.
        self.assertIn('PaymentError', jobs[BROKEN_ERROR].error)

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
        self.assertEqual(10, self.counts(self.service)[CRONJOB])
        self.assertNotIn(DELAYED, self.counts(self.service))

    def test_pattern_without_a_day(self):
        """Its job is in error, and says why."""
        self.assertIn('minute must be 0 to 59, not 60',
                      self.service.jobs[NO_PATTERN].error)

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
        self.assertEqual({CRONJOB: 10, DELAYED: 3, HELD: held},
                         self.counts(self.service))
        self.assertEqual(13 + held, len(list(self.service.jobs)))

    def test_find(self):
        """Old jobs are on the pages, under their status."""
        for status, number in self.service.counts().items():
            with self.subTest(status):
                page = self.service.find(status=status)
                self.assertEqual(number, len(page.jobs))
        self.assertEqual(39, len(self.service.find().jobs))

    def test_prune(self):
        """Old jobs do not stay for ever."""
        self.assertEqual(15, engine(self.service).prune(100, now=FAR))
        self.assertEqual(24, len(self.service.jobs))

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
        for name in upgrade.OLD_ATTRIBUTES:
            self.assertNotIn(name, self.service.__dict__)
        for job in self.service.jobs.values():
            self.assertNotIn('scheduledFor', job.__dict__)
            self.assertNotIn('error', job.__dict__)


class UnreadableTest(UpgradeCase):
    """Some of the old jobs cannot be read."""

    IDS = (QUEUED_0, COMPLETED_0, EVERY_QUARTER)

    def setUp(self):
        super().setUp()
        load, self.missing = self.db.storage.loadBefore, set()

        def load_or_raise(oid, tid):
            if oid in self.missing:
                raise POSKeyError(oid)
            return load(oid, tid)
        self.db.storage.loadBefore = load_or_raise
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
