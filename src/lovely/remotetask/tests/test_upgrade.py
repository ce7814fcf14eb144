"""Jobs that earlier code has stored; see make_earlier_data.py."""

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
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.storage import upgrade
from lovely.remotetask.task import TaskError
from lovely.remotetask.tests.fixture import Calls
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.test_store import StoreCase


DATA = pathlib.Path(__file__).with_name('earlier_data.fs.gz')


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
        self.task(self.calls, 'test.echo')
        self.task(self.fail_task, 'test.fail')
        self.task(self.calls, 'test.described')
        self.ids = self.root.ids
        self.old = self.root['old']

    @staticmethod
    def fail_task(input):
        raise TaskError

    def counts(self, service):
        return {status: number for status, number
                in service.counts().items() if number}

    def drain(self, service, now):
        """Run all that can be claimed, as a processor does."""
        a_processor = SimpleProcessor(self.db, [service.__name__])
        while (jobid := a_processor.claimNextJob(now)) is not None:
            a_processor.processNext(jobid)
        transaction.begin()


class EarlierTest(UpgradeCase):
    """A service of the first development versions."""

    def test_counts(self):
        """All jobs are there, with their status; who ran waits again."""
        self.assertEqual(
            {QUEUED: 6, COMPLETED: 1, ERROR: 1, CANCELLED: 1, STARTLATER: 1,
             CRONJOB: 2, DELAYED: 2}, self.counts(self.service))
        self.assertEqual(14, len(self.service.jobs))
        self.assertCountEqual(self.ids.values(), self.service.jobs)

    def test_ids(self):
        """Each job is found by its id."""
        for name, jobid in self.ids.items():
            with self.subTest(name):
                self.assertEqual(jobid, self.service.jobs[jobid].id)
        self.assertEqual('completed', self.service.getResult(
            self.ids['completed']))
        self.assertEqual('An error occurred.', self.service.getError(
            self.ids['error']))

    def test_unknown_ids(self):
        """An unknown id is one still, however great."""
        for jobid in (1, 999, 2 ** 31, 2 ** 31 + 5, 2 ** 40, 2 ** 63, 2 ** 70):
            with self.subTest(jobid):
                self.assertNotIn(jobid, self.service.jobs)
                self.assertFalse(self.service.cancel(jobid))

    def test_queued_jobs_run_in_order(self):
        """Queued jobs run as they were added, the claimed one first."""
        self.drain(self.service, now=1)
        self.assertEqual(
            ['processing', 'q0', 'q1', 'q2', 'q3'],
            [call for call in self.calls if isinstance(call, str)])
        for name in ('queued 0', 'processing', 'greatest'):
            self.assertEqual(
                COMPLETED, self.service.getStatus(self.ids[name]))

    def test_a_description(self):
        """The stored call of a function is given to its task."""
        self.drain(self.service, now=1)
        description, = [call for call in self.calls
                        if not isinstance(call, str)]
        self.assertIsInstance(description, TaskDescription)
        self.assertEqual(
            'gocept.async_.demo.computation.sum_of_primes',
            description.function_name)

    def test_new_jobs_after_old_ones(self):
        """A job that is added first thing runs after the old ones."""
        jobid = self.add('test.echo', 'new')
        self.assertNotIn(jobid, self.ids.values())
        self.assertGreaterEqual(jobid, 2 ** 31)
        self.drain(self.service, now=1)
        self.assertEqual('new', self.calls[-1])

    def test_new_ids(self):
        """No new job gets the id of an old one."""
        new = {self.service.add('test.echo', priority=number % 10)
               for number in range(200)}
        self.assertFalse(new & {*self.ids.values()})
        self.assertEqual(214, len(set(self.service.jobs)))

    def test_scheduled_jobs(self):
        """A delayed job keeps its time, a cron job goes on."""
        job = self.service.jobs[self.ids['delayed']]
        self.service.counts()
        self.assertEqual(2010, job.due)
        self.drain(self.service, now=2009)
        self.assertNotIn('delayed', self.calls)
        self.drain(self.service, now=2010)
        self.assertIn('delayed', self.calls)
        self.assertNotIn('cron', self.calls)
        self.drain(self.service, now=4e9)
        for name in ('cron', 'fresh', 'fd'):
            self.assertEqual(1, self.calls.count(name))
        self.assertEqual(2, self.counts(self.service)[CRONJOB])
        self.assertNotIn(DELAYED, self.counts(self.service))

    def test_changes(self):
        """Old jobs are started, requeued, cancelled, removed, cleaned."""
        self.assertTrue(self.service.startJob(self.ids['start later']))
        self.assertTrue(self.service.requeue(self.ids['cancelled']))
        self.assertTrue(self.service.cancel(self.ids['queued 1']))
        self.assertTrue(self.service.remove(self.ids['completed']))
        self.assertTrue(self.service.remove(self.ids['queued 2']))
        transaction.commit()
        self.drain(self.service, now=1)
        self.assertIn('later', self.calls)
        self.assertIn('cancelled', self.calls)
        self.assertNotIn('q1', self.calls)
        self.assertNotIn('q2', self.calls)
        self.assertNotIn(self.ids['completed'], self.service.jobs)
        self.service.clean()
        self.assertEqual({CRONJOB: 2, DELAYED: 2}, self.counts(self.service))
        self.assertEqual(4, len(list(self.service.jobs)))

    def test_find(self):
        """Old jobs are on the pages, under their status."""
        for status, number in self.service.counts().items():
            with self.subTest(status):
                page = self.service.find(status=status)
                self.assertEqual(number, len(page.jobs))
        self.assertEqual(14, len(self.service.find().jobs))

    def test_prune(self):
        """Old jobs do not stay for ever."""
        self.assertEqual(3, engine(self.service).prune(100, now=4e9))
        self.assertEqual(11, len(self.service.jobs))

    def test_is_made_once(self):
        """What was brought up to date is stored, and says so."""
        self.service.counts()
        transaction.commit()
        other = Opened(self)
        self.assertEqual(upgrade.SCHEMA, other.service.schema)
        before = self.db.lastTransaction()
        self.assertEqual(14, len(other.service.jobs))
        other.commit()
        self.assertEqual(before, self.db.lastTransaction())

    def test_two_at_once(self):
        """Of two who bring it up to date, one tries again."""
        other = Opened(self)
        other.service.counts()
        self.service.counts()
        other.commit()
        with self.assertRaises(transaction.interfaces.TransientError):
            transaction.commit()
        transaction.abort()
        self.assertEqual(14, len(self.service.jobs))

    def test_nothing_old_is_kept(self):
        """The old queue and what jobs knew of it are gone."""
        self.service.counts()
        for name in upgrade.OLD_ATTRIBUTES:
            self.assertNotIn(name, self.service.__dict__)
        for job in self.service.jobs.values():
            for name in upgrade.OLD_JOB_ATTRIBUTES:
                self.assertNotIn(name, job.__dict__)


class UnreadableTest(UpgradeCase):
    """Some of the old jobs cannot be read."""

    def setUp(self):
        super().setUp()
        load, self.missing = self.db.storage.loadBefore, set()

        def load_or_raise(oid, tid):
            if oid in self.missing:
                raise POSKeyError(oid)
            return load(oid, tid)
        self.db.storage.loadBefore = load_or_raise
        self.service._p_activate()
        jobs = vars(self.service)['jobs']
        for name in ('queued 0', 'completed', 'cron'):
            self.missing.add(jobs[self.ids[name]]._p_oid)
        transaction.abort()
        self.connection.cacheMinimize()

    def test_before(self):
        """Those are held, and all others are brought up to date."""
        self.assertEqual(3, self.service.counts()[HELD])
        self.assertEqual(14, len(list(self.service.jobs)))
        self.assertEqual(14, len(self.service.find().jobs))
        for name in ('queued 0', 'completed', 'cron'):
            self.assertEqual(HELD, self.service.getStatus(self.ids[name]))
        transaction.commit()
        self.drain(self.service, now=1)
        self.assertEqual(
            ['processing', 'q1', 'q2', 'q3'],
            [call for call in self.calls if isinstance(call, str)])

    def test_after(self):
        """So it is with those that cannot be read any more."""
        missing = self.missing.copy()
        self.missing.clear()
        self.service.counts()
        transaction.commit()
        self.missing |= missing
        self.connection.cacheMinimize()
        self.drain(self.service, now=4e9)
        self.assertNotIn('q0', self.calls)
        self.assertIn('q1', self.calls)
        self.assertEqual(14, len(self.service.find().jobs))
        for name in ('queued 0', 'completed', 'cron'):
            self.assertTrue(self.service.remove(self.ids[name]))
        transaction.commit()
        self.assertEqual(11, len(self.service.jobs))
        self.assertEqual(11, len(list(self.service.jobs)))


class DevelopmentTest(StoreCase):
    """A store of the versions without a schedule of cron jobs."""

    def setUp(self):
        super().setUp()
        self.cron = self.service.addCronJob('test.task', minute=(10,))
        self.delayed = self.service.addCronJob('test.task', delay=1000)
        self.ids = [self.add('test.task') for _ in range(3)]
        self.claim(2, now=0)
        self.finish()
        store = self.service.store
        for (time, _), job in store.schedule.items():
            job.due = time
        for name in ('crons', 'aside', 'retired'):
            del store.__dict__[name]
        for cursor in store.cursors.values():
            del cursor.totals
        store._p_changed = True
        self.service.schema = 1
        transaction.commit()
        self.connection.cacheMinimize()

    def test_goes_on(self):
        """All jobs are there, and run when they are due."""
        self.check_counts()
        self.assertCountEqual([self.cron, self.delayed],
                              self.service.store.crons)
        self.assertEqual(self.ids[2:], self.claim(now=0))
        self.assertEqual([self.cron], self.claim(now=600))
        self.assertEqual([self.delayed], self.claim(now=1000))
        self.finish()
        self.check_counts()

    def test_rescheduled(self):
        """So is a cron job that is rescheduled first thing."""
        self.service.reschedule(self.cron)
        transaction.commit()
        self.assertEqual(self.ids[2:], self.claim(now=1000 - 1))
        self.assertEqual(1, [job.id for job in self.service.store.schedule
                             .values()].count(self.cron))
        self.check_counts()


class OldTest(UpgradeCase):
    """A service as lovely.remotetask 0.5 stored it."""

    def test_counts(self):
        """All jobs are there, with their status; who ran waits again."""
        self.assertEqual(
            {QUEUED: 3, COMPLETED: 1, ERROR: 1, CANCELLED: 1, CRONJOB: 1,
             DELAYED: 1}, self.counts(self.old))

    def test_queued_jobs_run_in_order(self):
        """Queued jobs run as they were added, whatever their ids."""
        self.drain(self.old, now=1)
        self.assertEqual(['old 0', 'old 4', 'old 5'], self.calls)

    def test_scheduled_jobs(self):
        """Delayed and cron jobs run, the one once, the other again."""
        self.drain(self.old, now=4e9)
        self.drain(self.old, now=5e9)
        self.assertEqual(1, self.calls.count('old delayed'))
        self.assertEqual(2, self.calls.count('old cron'))

    def test_errors_are_texts(self):
        """The exception that was stored is shown by its message."""
        self.old.counts()
        job, = self.old.find(status=ERROR).jobs
        self.assertEqual('old', job.error)

    def test_times(self):
        """Naive local times are read as aware ones."""
        for job in self.old.jobs.values():
            self.assertIsNotNone(job.created.tzinfo)
            self.assertEqual(2010, job.created.astimezone().year)
