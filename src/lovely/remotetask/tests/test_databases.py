"""A service in another database than the content, which refers to it."""

import tempfile
import threading
import time
import unittest.mock

import persistent.mapping
import transaction
import ZEO
import ZODB.POSException
import ZODB.utils
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage

from lovely.remotetask import bulk
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.running import execution
from lovely.remotetask.running import lag
from lovely.remotetask.running import quirks
from lovely.remotetask.running import registry
from lovely.remotetask.storage import adder
from lovely.remotetask.tests import test_adder
from lovely.remotetask.tests import test_bulk
from lovely.remotetask.tests import test_conflicts
from lovely.remotetask.tests import test_execution
from lovely.remotetask.tests import test_group
from lovely.remotetask.tests import test_keeping
from lovely.remotetask.tests import test_listing
from lovely.remotetask.tests import test_membership
from lovely.remotetask.tests import test_processor
from lovely.remotetask.tests import test_service
from lovely.remotetask.tests import test_store
from lovely.remotetask.tests import test_threads
from lovely.remotetask.tests import test_waiting
from lovely.remotetask.tests.databases import TwoDatabases
from lovely.remotetask.tests.databases import close_databases
from lovely.remotetask.tests.databases import fill
from lovely.remotetask.tests.databases import open_databases
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import QuietProcessor
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.fixture import workers


# Whatever is tested of a service in a database holds for one in another.
MODULES = (test_bulk, test_conflicts, test_execution, test_group,
           test_keeping, test_listing, test_membership, test_adder,
           test_processor,
           test_service, test_store, test_threads, test_waiting)

# But for these: one compares the transaction ids of a job and of its effect,
# one opens a database of its own.
OF_ONE_DATABASE = {'ExecutionRunTest': 'test_one_transaction',
                   'MembershipServerTest': 'test_far_and_near'}


def _again(module):
    """Make the test cases of a module anew, with two databases."""
    for name, case in vars(module).items():
        if (isinstance(case, type) and issubclass(case, DatabaseCase)
                and case.__module__ == module.__name__):
            again = f'{module.__name__.rpartition("_")[2].title()}{name}'
            content = {'__module__': __name__, '__doc__': case.__doc__}
            if again in OF_ONE_DATABASE:
                content[OF_ONE_DATABASE[again]] = None
            globals()[again] = type(again, (TwoDatabases, case), content)


for _module in MODULES:
    _again(_module)


class Case(TwoDatabases, DatabaseCase):

    def setUp(self):
        super().setUp()
        self.service_task(effect)
        self.addCleanup(registry.stop_all, 0)

    def stepping(self):
        """Return a processor whose steps the test makes; it has a runner."""
        made = self.processor()
        self.addCleanup(self.finish, made)
        return made

    def finish(self, processor):
        """Let the runner do what was claimed, and end."""
        self.let_run(processor)
        processor.stop()
        processor._finish()

    def let_run(self, processor):
        """Wait until the runner has run what was claimed."""
        end = time.monotonic() + PATIENCE
        while (processor.claims.ids.difference(processor.claims.run)
                and time.monotonic() < end):
            time.sleep(0.001)


class FindTest(Case):
    """From the service to the database to open, and back."""

    def test_where_it_is(self):
        """The service, its jobs and what they belong to: not the content."""
        job = self.service.jobs[self.add('test.task')]
        for each in (self.service, self.service.store, job):
            self.assertIs(self.jobs_db, each._p_jar.db())
        self.assertIs(self.db, self.root._p_jar.db())

    def test_root_database(self):
        """That of the root folder; of a service alone, its own."""
        self.assertIs(self.db, registry.root_database(self.service))
        self.assertIsNone(registry.root_database(type(self.service)()))

    def test_processor(self):
        """It opens the database of the root folder, by the path."""
        self.service.processorFactory = QuietProcessor
        self.service.startProcessing()
        made, = registry._started
        self.assertEqual(
            (self.db, ['tasks'], self.jobs_db, self.service._p_oid),
            (made.db, made.servicePath, made.service_db, made.service_oid))
        self.assertTrue(self.service.isProcessing())
        self.add('test.task')
        self.assertEqual(1, made.woken)

    def test_learned_by_working(self):
        """A processor that was given the path alone finds out."""
        processor = self.stepping()
        self.assertIs(self.db, processor.service_db)
        processor.step()
        self.assertIs(self.jobs_db, processor.service_db)

    def test_watches_the_jobs(self):
        """Also who did not know at first in which database they are."""
        processor = self.stepping()
        self.addCleanup(processor.idling.end)
        with unittest.mock.patch.object(
                quirks, 'last_transaction_heard_of',
                lambda db: db.storage.lastTransaction()):
            for _ in range(3):
                processor.idling.look()
                processor.step()
            self.assertFalse(processor.idling.has_news())
            self.service.add('test.task')
            transaction.commit()
            self.assertTrue(processor.idling.has_news())


class WriteTest(Case):
    """What writes to which database."""

    def idle(self, service, input):
        return input

    def test_bookkeeping_writes_jobs_only(self):
        """To add, claim, run and settle leaves the content alone."""
        self.service_task(self.idle, 'test.idle')
        content, jobs = self.db.lastTransaction(), self.last()
        jobid = self.add('test.idle', 1)
        self.assertLess(jobs, jobs := self.last())
        processor = self.stepping()
        processor.claimNextJob()
        self.assertLess(jobs, jobs := self.last())
        processor.processNext(jobid)
        self.assertLess(jobs, self.last())
        self.assertEqual(COMPLETED, self.job(jobid).status)
        processor.step()
        self.assertEqual(content, self.db.lastTransaction())

    def last(self):
        return self.jobs_db.lastTransaction()

    def test_effect(self):
        """What a job does to the content is committed with its status."""
        jobid = self.add('test.task', 'done')
        content = self.db.lastTransaction()
        self.processor().processNext()
        self.assertEqual(['done'], self.effects)
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertLess(content, self.db.lastTransaction())

    def test_conflict_in_the_content(self):
        """Neither database keeps anything; the job is run again."""
        ran = []

        def work(service, input):
            ran.append(input)
            service.__parent__.effects.append(input)
            if len(ran) == 1:
                with self.elsewhere() as other:
                    other.__parent__.effects.append('other')
        self.service_task(work, 'test.work')
        jobid = self.add('test.work', 'mine')
        processor = self.processor()
        processor.processNext()
        self.assertEqual(['other'], self.effects)
        self.assertEqual(QUEUED, self.job(jobid).status)
        now = time.time() + 60
        processor.processNext(processor.claimNextJob(now))
        self.assertEqual(['other', 'mine'], self.effects)
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_conflict_in_the_jobs(self):
        """The claim was taken away: the effect on the content is undone."""
        one, two = Opened(self), Opened(self)
        jobid = self.add('test.task', 'twice')
        claims = []
        for opened, worker in ((one, 'h:1:t:a'), (two, 'h:1:t:b')):
            opened.manager.begin()
            claims += engine(opened.service).claim(worker, 1)
            if not claims[1:]:
                opened.commit()
                with self.elsewhere() as service:
                    workers(service).release(lambda worker: False)
            else:
                opened.commit()
        for claim in claims:
            execution.run_claimed(
                self.db, ['tasks'], claim, transaction.commit)
        self.assertEqual(['twice'], self.effects)
        self.assertEqual(COMPLETED, self.job(jobid).status)

    def test_object_of_the_content(self):
        """A job refers to content; it gets the object itself."""
        self.root.content = content = persistent.mapping.PersistentMapping()
        content['value'] = 'before'
        self.connection.add(content)

        def work(service, input):
            input['value'] = 'after'
            return input
        self.service_task(work, 'test.work')
        jobid = self.add('test.work', content)
        self.processor().processNext()
        job = self.job(jobid)
        self.assertEqual(COMPLETED, job.status)
        self.assertEqual('after', content['value'])
        self.assertIs(content, job.input)
        self.assertIs(content, job.output)
        self.assertIs(self.db, content._p_jar.db())


class CutTest(Case):
    """A process that dies after one database was committed.

    docs/howto/deployment.rst tells of it; so does this, to be sure that it is
    true.
    """

    def cut(self):
        """Let the next commit end before that of the jobs."""
        return unittest.mock.patch.object(
            self.jobs_db.storage, 'tpc_finish', side_effect=OSError('cut'))

    def test_add(self):
        """The content is there, the job is not."""
        self.root.effects.append('content')
        self.service.add('test.task')
        with self.cut(), self.assertRaises(OSError):
            transaction.commit()
        transaction.abort()
        self.assertEqual(['content'], self.effects)
        self.assertEqual(0, len(self.service.jobs))

    def test_run(self):
        """The effect is there, the job is run again, and has it again."""
        jobid = self.add('test.task', 'effect')
        claim, = engine(self.service).claim('host:1:thread:token', 1)
        transaction.commit()
        with self.cut():
            execution.run_claimed(
                self.db, ['tasks'], claim, transaction.commit)
        self.assertEqual(['effect'], self.effects)
        self.assertEqual(QUEUED, self.job(jobid).stored_status)
        execution.run_claimed(self.db, ['tasks'], claim, transaction.commit)
        self.assertEqual(['effect', 'effect'], self.effects)
        self.assertEqual(COMPLETED, self.job(jobid).status)


class ConnectionTest(Case):
    """No connection of the jobs may come to the content by itself.

    ZODB would put those that it has led to in the place of others, when it
    serves a connection of the content later on.
    """

    def test_lease(self):
        """To prepare lanes needs the jobs alone."""
        opened = []
        open_ = self.jobs_db.open

        def note(*args, **kw):
            opened.append(open_(*args, **kw))
            return opened[-1]
        with unittest.mock.patch.object(self.jobs_db, 'open', note):
            adder.lease_lanes(self.service.store)
        self.assertEqual(
            [['jobs']], [list(each.connections) for each in opened])

    def test_bulk(self):
        """To look at many jobs, and at what they refer to, needs both."""
        self.add('test.task', self.root.effects)
        # Looks at the inputs.
        bulk.apply(self.service, 'cancel', function='no.such')
        # They take what connections there are in the pools.
        for _ in range(3):
            opened = Opened(self)
            self.assertEqual(QUEUED, opened.service.getStatus(
                opened.add('test.task', opened.service.__parent__.effects)))
            self.assertIs(
                opened.connection, opened.connection.connections[''])


class PackTest(DatabaseCase):
    """A pack throws away what its own database does not refer to."""

    def open_database(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        db = open_databases(FileStorage(f'{self.folder}/content.fs'),
                            FileStorage(f'{self.folder}/jobs.fs'))
        self.addCleanup(close_databases, db.databases)
        return db

    def fill(self, db):
        fill(db)

    def test_jobs_stay(self):
        """Both are packed; the service and its jobs are there."""
        self.service_task(effect)
        jobid = self.add('test.task', 'packed')
        for db in self.db.databases.values():
            db.pack(time.time() + 1)
            db.cacheMinimize()
        self.processor().processNext()
        self.assertEqual(['packed'], self.effects)
        self.assertEqual(COMPLETED, self.job(jobid).status)
        # The pack of this test does collect garbage.
        del self.connection.get_connection('jobs').root()['kept']
        transaction.commit()
        oid = self.service._p_oid
        self.jobs_db.pack(time.time() + 1)
        with self.assertRaises(ZODB.POSException.POSKeyError):
            ZODB.utils.load_current(self.jobs_db.storage, oid)

    def test_content_that_is_gone(self):
        """A job whose argument was packed away is held."""
        self.service_task(lambda service, input: len(input))
        self.root.content = content = persistent.mapping.PersistentMapping()
        self.connection.add(content)
        jobid = self.add('test.task', content)
        del self.root.content
        transaction.commit()
        self.db.pack(time.time() + 1)
        self.db.cacheMinimize()
        processor = self.processor()
        while processor.processNext(processor.claimNextJob(
                time.time() + 9999)):
            pass
        job = self.job(jobid)
        self.assertEqual(HELD, job.status)
        self.assertIn('POSKeyError', job.error)

    @property
    def jobs_db(self):
        return self.db.databases['jobs']


class CatchUpTest(Case):
    """The other databases are asked for once, for a batch of claims."""

    def setUp(self):
        super().setUp()
        self.asked = []
        for name, db in self.db.databases.items():
            patch = unittest.mock.patch.object(
                db.storage, 'ping', self.asking(name), create=True)
            patch.start()
            self.addCleanup(patch.stop)

    def asking(self, name):
        return lambda: self.asked.append(name)

    def test_others_only(self):
        """What was seen already need not be asked for."""
        lag.catch_up(self.jobs_db)
        self.assertEqual([''], self.asked)
        lag.catch_up(self.db)
        self.assertEqual(['', 'jobs'], self.asked)

    def test_other_storages(self):
        """Those that have nothing to ask are left alone."""
        with unittest.mock.patch.object(self.db.storage, 'ping', None):
            lag.catch_up(self.jobs_db)
        self.assertEqual([], self.asked)

    def test_batch(self):
        """Once for a batch, not at all if there is none."""
        for number in range(5):
            self.add('test.task', number)
        processor = self.stepping()
        # Short jobs are claimed many at a time.
        processor.team.tempo.learn(0.001)
        self.step(processor)
        self.assertEqual([''], self.asked)
        self.let_run(processor)
        self.step(processor)
        self.assertEqual([''], self.asked)
        self.assertEqual(list(range(5)), self.effects)

    def step(self, processor):
        """Make a step; forget that it has looked for other workers."""
        processor.step()
        if 'jobs' in self.asked:
            self.asked.remove('jobs')

    def test_step_by_step(self):
        """So it is for a single job."""
        self.add('test.task')
        processor = self.processor()
        processor.claimNextJob()
        self.assertEqual([''], self.asked)
        self.assertIsNone(processor.claimNextJob())
        self.assertEqual([''], self.asked)

    def test_no_answer(self):
        """If the server does not answer, the claims are handed back."""
        jobid = self.add('test.task', 'once')
        processor = self.stepping()
        with unittest.mock.patch.object(
                self.db.storage, 'ping', side_effect=OSError('away')), \
                logged('lovely.remotetask') as lines:
            processor.step()
        self.assertIn('away', processor.trouble)
        self.assertIn('away', '\n'.join(lines))
        self.assertEqual([], self.effects)
        later = time.monotonic() + 60
        for number in range(2):
            processor.step(later + number)
        self.let_run(processor)
        self.assertEqual(['once'], self.effects)
        job = self.job(jobid)
        self.assertEqual((COMPLETED, 1), (job.status, job.attempts))


class OneDatabaseTest(DatabaseCase):

    def test_nothing_to_catch_up_with(self):
        """A single database is not asked for anything."""
        with unittest.mock.patch.object(
                self.db.storage, 'ping', side_effect=AssertionError,
                create=True):
            lag.catch_up(self.db)


class LagTest(DatabaseCase):
    """A real ZEO server, and a client that is told of the content late."""

    def open_database(self):
        address, stop = ZEO.server(storage_conf='''
            <mappingstorage 1>
            </mappingstorage>
            <mappingstorage jobs>
            </mappingstorage>''')
        self.addCleanup(stop)
        self.address = address
        return self.open_clients()

    def open_clients(self):
        db = open_databases(ClientStorage(self.address),
                            ClientStorage(self.address, storage='jobs'))
        self.addCleanup(close_databases, db.databases)
        return db

    def fill(self, db):
        fill(db)

    def hold_back(self, storage):
        """Let a client hear nothing until it asks.

        Its event loop stands still, and so it would for any request.
        """
        held, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)
        ask = storage.ping

        def stand_still():
            held.set()
            go_on.wait(PATIENCE)

        def ping():
            go_on.set()
            return ask()
        patch = unittest.mock.patch.object(storage, 'ping', ping)
        patch.start()
        self.addCleanup(patch.stop)
        storage._server.loop.call_soon_threadsafe(stand_still)
        self.assertTrue(held.wait(PATIENCE))

    def test_content_is_seen_before_the_job_runs(self):
        """The content that was committed with a job is there when it runs."""
        seen = []
        self.service_task(lambda service, input: seen.append(
            list(service.__parent__.effects)))
        db = self.open_clients()
        processor = type(self.processor())(db, ['tasks'])
        # Both clients have loaded what the job is going to look at.
        self.add('test.task')
        self.wait_for(db)
        processor.processNext()
        self.assertEqual([[]], seen)
        self.hold_back(db.storage)
        self.root.effects.append('committed with the job')
        self.add('test.task')
        self.wait_for(db, 'jobs')
        processor.processNext()
        self.assertEqual([[], ['committed with the job']], seen)

    def wait_for(self, db, *names):
        """Wait until the other client has seen what this one has."""
        end = time.monotonic() + PATIENCE
        for name in names or db.databases:
            last = self.db.databases[name].lastTransaction()
            while (db.databases[name].lastTransaction() < last
                    and time.monotonic() < end):
                time.sleep(0.001)

    def test_real_client(self):
        """The client of the ZEO that is installed has what this relies on."""
        self.assertTrue(callable(self.db.storage.ping))
        self.assertTrue(self.root._p_jar.db().storage.sortKey().startswith(
            '1:'))
