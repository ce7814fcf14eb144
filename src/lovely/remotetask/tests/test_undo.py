"""What becomes of jobs when somebody undoes a transaction."""

import pathlib
import random
import shutil
import tempfile

import transaction
import ZODB
import ZODB.FileStorage
from ZODB.POSException import UndoError

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import ClaimLost
from lovely.remotetask.job import Run
from lovely.remotetask.policy import DAY
from lovely.remotetask.storage import books
from lovely.remotetask.storage import crew
from lovely.remotetask.storage.ledger import Ledger
from lovely.remotetask.tests.fixture import effect
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import B
from lovely.remotetask.tests.test_store import StoreCase


class UndoCase(StoreCase):

    def setUp(self):
        super().setUp()
        self.service_task(effect, 'test.effect')

    def open_database(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        return ZODB.DB(ZODB.FileStorage.FileStorage(self.path))

    @property
    def path(self):
        return str(pathlib.Path(self.folder) / 'Data.fs')

    def commit(self, name):
        """Commit, so that it can be undone by that name."""
        transaction.get().note(name)
        transaction.commit()

    def undo(self, name):
        transaction.abort()
        found = [info['id'] for info in self.db.undoInfo(0, 100)
                 if name in str(info['description'])]
        self.db.undo(found[0])
        transaction.commit()
        transaction.begin()

    def look(self, now=NOW):
        """Look after the service as a processor does, once a minute."""
        transaction.begin()
        upkeep(self.service).prune(100, 0)
        transaction.commit()

    def run_job(self, jobid, name='run', fails=False):
        """Run a claimed job, and commit that by a name."""
        transaction.begin()
        claim = self.service.jobs[jobid].claim
        job = engine(self.service).claimed(claim)
        effect(self.service, job.input)
        if fails:
            engine(self.service).fail(job, Run(claim, NOW), _Failure(), NOW)
        else:
            self.rest = engine(self.service).complete(
                job, Run(claim, NOW), None, NOW)
        self.commit(name)

    def settle(self, name='settle', worker=A):
        transaction.begin()
        asked = engine(self.service)
        asked.settle(worker, asked.workers.claimed_ids(worker))
        self.commit(name)

    def check(self, **expected):
        transaction.begin()
        counts = {status: number for status, number
                  in self.service.counts().items() if number}
        self.assertEqual(expected, counts)
        number = sum(expected.values())
        self.assertEqual(number, len(self.service.jobs))
        self.assertEqual(number, len(list(self.service.jobs)))
        self.assertEqual(number, len(self.service.find(limit=1000).jobs))
        for status, number in expected.items():
            self.assertEqual(
                number, len(self.service.find(
                    status=status, limit=1000).jobs), status)

    def ended(self, fails=False):
        jobid = self.add('test.effect', 'once')
        self.claim()
        self.run_job(jobid, fails=fails)
        return jobid


class ByAJobTest(UndoCase):

    def test_beside_its_own_changes(self):
        """Both would wait at the commit: that is the error of the job."""
        self.root.number = 1
        self.commit('number')
        [found] = [info['id'] for info in self.db.undoInfo(0, 100)
                   if 'number' in str(info['description'])]
        self.service_task(lambda service, input: self.db.undo(found),
                          'test.undo')
        jobid = self.add('test.undo')
        self.assertTrue(self.processor().processNext())
        transaction.begin()
        job = self.job(jobid)
        self.assertEqual(ERROR, job.status)
        self.assertIn('has undone something', job.error)
        self.assertEqual(1, self.root.number)


class _Failure:
    error, errorClass, traceback = 'message', 'module.Class', 'Traceback'
    errorClasses = frozenset()
    holds = interrupted = retryable = False


class RunTest(UndoCase):
    """Of the transaction in which a job was run."""

    def test_settled(self):
        """The job says the truth at once, and is held when it is found."""
        for fails, status in ((False, COMPLETED), (True, ERROR)):
            with self.subTest(status):
                jobid = self.ended(fails)
                self.settle()
                self.assertEqual(status, self.service.getStatus(jobid))
                self.undo('run')
                self.assertEqual(QUEUED, self.service.getStatus(jobid))
                self.look()
                self.assertEqual([], self.effects)
                self.assertEqual(HELD, self.service.getStatus(jobid))
                self.assertIn('was undone', self.service.getError(jobid))
                self.check(held=1)
                self.assertEqual([], self.claim())
                self.assertTrue(self.service.requeue(jobid))
                transaction.commit()
                self.assertEqual([jobid], self.claim())
                self.run_job(jobid, 'again')
                self.settle()
                self.assertEqual(['once'], self.effects)
                self.check(completed=1)
                self.assertTrue(self.service.remove(jobid))
                self.root.effects.clear()
                transaction.commit()
                self.claim()
                self.check()

    def test_not_settled(self):
        """Undone before it is settled, it is being run still."""
        jobid = self.ended()
        self.undo('run')
        self.assertEqual(PROCESSING, self.service.getStatus(jobid))
        self.check(processing=1)
        engine(self.service).settle(A, [jobid], [jobid], NOW)
        transaction.commit()
        self.check(queued=1)
        self.assertEqual(1, self.job(jobid).attempts)
        self.assertEqual([jobid], self.claim(now=NOW + 4000))

    def test_settled_without_a_look(self):
        """Who knows that the job was completed need not load it.

        So the job is listed as completed, and held when it is found.
        """
        jobid = self.ended()
        self.undo('run')
        engine(self.service).settle(
            A, [jobid], [jobid], NOW, rests={jobid: self.rest})
        transaction.commit()
        self.assertEqual(QUEUED, self.service.getStatus(jobid))
        self.look()
        self.assertEqual(HELD, self.service.getStatus(jobid))
        self.assertIn('was undone', self.service.getError(jobid))
        self.check(held=1)

    def test_settled_late(self):
        """Nobody trusts what was known some time ago."""
        for seconds in 6, 3600, -3600:
            with self.subTest(seconds):
                self.setUp()
                jobid = self.ended()
                self.undo('run')
                now = NOW + seconds
                engine(self.service).settle(
                    A, [jobid], [jobid], now, rests={jobid: self.rest})
                transaction.commit()
                self.check(queued=1)
                self.assertEqual(1, self.job(jobid).attempts)

    def test_a_retry(self):
        """A run that is to be tried again is held, too."""
        jobid = self.add('test.effect', 'once')
        self.claim()
        transaction.begin()
        claim = self.job(jobid).claim
        job = engine(self.service).claimed(claim)
        job.retry(Run(claim, NOW), _Failure(), NOW, NOW + 100)
        self.commit('run')
        self.settle()
        self.undo('run')
        self.assertEqual([], self.claim(now=NOW + 200))
        self.assertEqual(HELD, self.service.getStatus(jobid))
        self.check(held=1)

    def test_a_cron_job(self):
        """A recurring job goes on at its next time."""
        jobid = self.service.addCronJob('test.effect', minute=(10,))
        transaction.commit()
        self.claim(now=0)
        self.assertEqual([jobid], self.claim(now=600))
        self.run_job(jobid)
        self.settle()
        due = self.job(jobid).due
        self.undo('run')
        self.assertEqual([], self.claim(now=due))
        self.check(cronjob=1)
        self.assertEqual(due + 3600, self.job(jobid).due)
        self.assertEqual([jobid], self.claim(now=due + 3600))

    def test_among_many(self):
        """Old ones are found in the long run."""
        from lovely.remotetask.storage import audit
        jobid = self.ended()
        self.settle()
        for _ in range(3 * audit.NEWEST):
            self.service.add('test.task')
        transaction.commit()
        self.claim(3 * audit.NEWEST)
        self.finish()
        self.undo('run')
        for _ in range(100):
            self.look()
        self.assertEqual(HELD, self.service.getStatus(jobid))
        self.check_counts()

    def test_each_is_looked_at(self):
        """Of as many as are looked at five times, soon; however they ended."""
        from lovely.remotetask.storage import audit
        number = 5 * audit.OTHERS
        for step in (0, 1, 1000):
            ledger = Ledger()
            for jobid in range(number):
                ledger.trees(COMPLETED)[0][7.0 + jobid * step, jobid] = None
            with self.subTest(step):
                seen = set()
                for _ in range(15):
                    seen.update(key for key, _ in audit._some(
                        ledger, COMPLETED))
                self.assertGreater(len(seen), 0.99 * number)

    def test_what_is_looked_at_does_not_stay(self):
        """In the cache, where others have what they need."""
        from lovely.remotetask.storage import audit
        oids = [self.job(self.ended())._p_oid for _ in range(5)]
        self.settle()
        connection = self.service._p_jar
        for loaded in (None, False):
            if loaded is None:
                connection.cacheMinimize()
            audit.look(self.service.store, NOW)
            found = [connection.get(oid) for oid in oids]
            self.assertEqual(
                [loaded] * 5, [job._p_changed for job in found])
            for job in found:
                job._p_activate()

    def test_pruned(self):
        """Nor is it pruned as what it was before."""
        jobid = self.ended()
        self.settle()
        self.undo('run')
        upkeep(self.service).prune(100, NOW + 20 * DAY)
        transaction.commit()
        self.assertEqual(HELD, self.service.getStatus(jobid))
        self.check(held=1)

    def test_changed_after_that(self):
        """What was done to the job before it is found is counted."""
        for name, expected in (('cancel', {CANCELLED: 1}), ('remove', {})):
            with self.subTest(name):
                jobid = self.ended()
                self.settle()
                self.undo('run')
                self.assertTrue(getattr(self.service, name)(jobid))
                transaction.commit()
                self.claim()
                self.look()
                self.check(**expected)
                self.root.effects.clear()
                if expected:
                    self.service.remove(jobid)
                transaction.commit()
                self.claim()

    def test_cleaned(self):
        """What is cleaned is not what it seemed to be."""
        from lovely.remotetask.storage import cleaning
        ids = [self.service.add('test.task') for _ in range(cleaning.FEW)]
        transaction.commit()
        self.claim(200)
        self.finish()
        jobid = self.ended()
        self.settle()
        self.undo('run')
        self.service.clean()
        transaction.commit()
        while upkeep(self.service).prune(100, 0):
            transaction.commit()
        self.assertIn(self.service.getStatus(jobid), (QUEUED, HELD))
        self.assertNotIn(ids[0], self.service.jobs)


class AddTest(UndoCase):
    """Of the transaction that had added a job."""

    def added(self):
        self.add('test.task', 'before')
        jobid = self.service.add('test.task')
        self.commit('add')
        return jobid

    def test_before_it_is_seen(self):
        """It never was."""
        self.added()
        self.undo('add')
        self.check(queued=1)
        other = self.add('test.task')
        self.assertEqual(2, len(self.claim()))
        self.assertEqual(PROCESSING, self.service.getStatus(other))
        self.check(processing=2)

    def test_claimed(self):
        """Who has claimed it finds it gone."""
        jobid = self.added()
        self.claim()
        self.undo('add')
        self.assertNotIn(jobid, self.service.jobs)
        self.check(processing=1)
        engine(self.service).settle(A, [jobid], [jobid])
        transaction.commit()
        self.check(processing=1)

    def test_waiting(self):
        """One that waits for its time is set aside."""
        self.add('test.task', 'before', delay=10)
        jobid = self.service.add('test.task', delay=10)
        self.commit('add')
        self.claim(now=0)
        self.undo('add')
        self.claim()
        self.assertEqual([jobid], self.service.unreadable())
        self.check_numbers(processing=1, held=1)
        self.assertTrue(self.service.remove(jobid))
        transaction.commit()
        self.check(processing=1)

    def check_numbers(self, **expected):
        self.assertEqual(expected, {
            status: number for status, number
            in self.service.counts().items() if number})

    def test_places_are_not_given_out_again(self):
        """What is added later is behind the cursor, and has another id."""
        jobid = self.added()
        self.claim()
        self.undo('add')
        workers(self.service).stop_worker(A)
        transaction.commit()
        self.claim()
        ids = []
        for _ in range(70):
            ids.append(self.add('test.task'))
            self.another_process()
        self.assertNotIn(jobid, ids)
        self.assertEqual(70, len(set(ids)))
        self.assertCountEqual(ids, self.claim(worker=B))
        self.check(processing=71)

    def another_process(self):
        from lovely.remotetask.storage import adder
        adder._spare.clear()
        adder._process = adder._process[:-1] + 'x'


class ChangeTest(UndoCase):
    """Of what callers do to jobs."""

    def test_cancel(self):
        """A cancelled job is held once it is found, or never was."""
        for pass_first in (False, True):
            with self.subTest(pass_first):
                jobid = self.add('test.task', delay=1e9)
                self.claim(now=0)
                self.service.cancel(jobid)
                self.commit('cancel')
                if pass_first:
                    self.claim(now=0)
                    self.check(cancelled=1)
                self.undo('cancel')
                self.assertEqual(QUEUED, self.service.getStatus(jobid))
                self.look()
                status = HELD if pass_first else QUEUED
                self.assertEqual(status, self.service.getStatus(jobid))
                self.check(**{status: 1})
                self.service.remove(jobid)
                transaction.commit()
                self.claim(now=0)
                self.check()

    def test_requeue(self):
        """A requeued job has failed again."""
        for pass_first in (False, True):
            with self.subTest(pass_first):
                jobid = self.ended(fails=True)
                self.settle()
                self.service.requeue(jobid)
                self.commit('requeue')
                if pass_first:
                    self.claim(0)
                self.undo('requeue')
                self.assertEqual(ERROR, self.service.getStatus(jobid))
                self.assertEqual([], self.claim())
                self.check(error=1)
                self.root.effects.clear()
                self.service.remove(jobid)
                transaction.commit()
                self.claim()

    def test_start(self):
        """A job for later waits for that again."""
        jobid = self.add('test.task', startLater=True)
        self.claim()
        self.service.startJob(jobid)
        self.commit('start')
        self.claim(0)
        self.undo('start')
        self.assertEqual([], self.claim())
        self.check(**{STARTLATER: 1})

    def test_remove(self):
        """Removed by processors, a job stays away; else it is back."""
        for pass_first in (False, True):
            with self.subTest(pass_first):
                jobid = self.ended()
                self.settle()
                self.service.remove(jobid)
                self.commit('remove')
                if pass_first:
                    self.claim()
                self.undo('remove')
                self.look()
                self.check(**({} if pass_first else {COMPLETED: 1}))
                self.root.effects.clear()
                if not pass_first:
                    self.service.remove(jobid)
                transaction.commit()
                self.claim()


class BooksTest(UndoCase):
    """Of what processors have written."""

    def test_settle(self):
        """A claim that is there again is settled again."""
        self.ended()
        self.settle()
        self.undo('settle')
        self.check(completed=1)
        self.settle('once more')
        self.check(completed=1)

    def test_claim(self):
        """A job whose claim is gone is claimed again."""
        jobid = self.add('test.task')
        transaction.begin()
        engine(self.service).claim(A, 10, NOW)
        self.commit('claim')
        self.undo('claim')
        self.check(queued=1)
        self.assertEqual([jobid], self.claim(worker=B))
        self.check(processing=1)

    def test_claim_of_a_job_that_has_ended(self):
        """It is listed though nobody settles it."""
        jobid = self.add('test.effect', 'once')
        transaction.begin()
        engine(self.service).claim(A, 10, NOW)
        self.commit('claim')
        self.run_job(jobid)
        self.undo('claim')
        self.assertEqual(COMPLETED, self.service.getStatus(jobid))
        engine(self.service).settle(A, [jobid])
        self.assertEqual([], self.claim(worker=B))
        self.check(completed=1)


class RandomTest(UndoCase):
    """Whatever is undone of whatever has happened."""

    STEPS = 120

    def test_nothing_is_lost(self):
        """Counts are right again, and each job is somewhere."""
        for seed in range(6):
            with self.subTest(seed=seed):
                self.random = random.Random(seed)
                self.now = NOW
                for _ in range(self.STEPS):
                    self.step()
                self.come_to_rest()
                self.check_counts()
                self.check_places()
                self.end_all()

    def step(self):
        transaction.begin()
        self.now += 1
        action = self.random.choice([
            self.add_some, self.add_some, self.change, self.change,
            self.change, self.claim_some, self.claim_some, self.run_some,
            self.run_some, self.settle_some, self.undo_something, self.look])
        action()
        self.commit('something')

    def add_some(self):
        for _ in range(self.random.randrange(1, 4)):
            self.service.add(
                'test.task', self.random.choice(['fail', 'work']),
                startLater=self.random.random() < 0.2)

    def change(self):
        ids = list(self.service.jobs)
        if ids:
            name = self.random.choice(
                ['startJob', 'cancel', 'requeue', 'remove', 'cancel'])
            getattr(self.service, name)(self.random.choice(ids))

    def claim_some(self):
        engine(self.service).claim(
            self.random.choice([A, B]), self.random.randrange(4), self.now)

    def run_some(self):
        for claim in list(crew.all_claims(self.service.store))[:2]:
            try:
                job = engine(self.service).claimed(claim)
            except ClaimLost:
                continue
            if job.input == 'fail':
                engine(self.service).fail(
                    job, Run(claim, NOW), _Failure(), self.now)
            else:
                engine(self.service).complete(
                    job, Run(claim, NOW), None, self.now)

    def settle_some(self):
        self.settle_ended(self.random.choice([A, B]))

    def settle_ended(self, worker):
        engine(self.service).settle(worker, [
            jobid for jobid in workers(self.service).claimed_ids(worker)
            if jobid not in self.service.jobs
            or self.service.getStatus(jobid) != PROCESSING])

    def undo_something(self):
        transaction.abort()
        infos = self.db.undoInfo(0, 6)
        names = [info['id'] for info in infos
                 if 'something' in str(info['description'])]
        if names:
            try:
                self.db.undo(self.random.choice(names))
                transaction.commit()
            except UndoError:
                transaction.abort()
        transaction.begin()
        for worker in (A, B):
            self.settle_ended(worker)

    def come_to_rest(self):
        """Let processors do what is to be done, until nothing is left."""
        transaction.begin()
        for worker in (A, B):
            workers(self.service).stop_worker(worker)
        transaction.commit()
        for _ in range(3):
            while self.claim():
                self.finish()
            self.look()

    def check_places(self):
        store = self.service.store
        for job in self.service.jobs.values():
            self.assertTrue(
                job.id in store.aside or books.is_booked(store, job),
                (job.id, job.status, job.fence, job.note))
            self.assertNotIn(job.status, (QUEUED, PROCESSING))

    def end_all(self):
        """All can be requeued, run and removed; then there is nothing."""
        for jobid in list(self.service.jobs):
            self.service.requeue(jobid)
        transaction.commit()
        self.come_to_rest()
        self.check_places()
        for jobid in list(self.service.jobs):
            self.assertTrue(self.service.remove(jobid))
        transaction.commit()
        self.come_to_rest()
        self.assertEqual({}, {
            status: number for status, number
            in self.service.counts().items() if number})
        self.assertEqual([], list(self.service.store.schedule))
        self.assertEqual([], list(self.service.jobs))


class RestoreTest(UndoCase):
    """A database is put back from a backup while a process goes on."""

    def test_claims_and_lanes(self):
        """What processes remember of a time that is gone does no harm."""
        kept = self.add('test.effect', 'kept')
        transaction.abort()
        self.connection.close()
        backup = pathlib.Path(self.path).read_bytes()
        self.connection = self.db.open()
        self.service = self.connection.root()['Application']['tasks']
        claims = engine(self.service).claim(A, 10, NOW)
        transaction.commit()
        lost = [self.add('test.effect', 'lost') for _ in range(5)]
        transaction.abort()
        self.restore(backup)
        self.check(queued=1)
        with self.assertRaises(ClaimLost):
            engine(self.service).claimed(claims[0])
        engine(self.service).settle(A, [kept], [kept])
        new = [self.add('test.effect', 'new') for _ in range(5)]
        self.assertCountEqual([kept, *new], self.claim(worker=B))
        self.check(processing=6)
        self.assertEqual(5, len(lost))

    def restore(self, backup):
        """Let the same ZODB.DB see another file, as with a ZEO server."""
        self.connection.close()
        old = self.db.storage
        old.close()
        for suffix in ('', '.index', '.lock'):
            pathlib.Path(self.path + suffix).unlink(missing_ok=True)
        pathlib.Path(self.path).write_bytes(backup)
        new = ZODB.FileStorage.FileStorage(self.path)
        self.addCleanup(new.close)
        self.db.storage.__dict__.clear()
        self.db.storage.__dict__.update(new.__dict__)
        for connection in list(self.db.pool.all):
            connection._resetCache()
        self.connection = self.db.open()
        self.connection._resetCache()
        self.connection.newTransaction(None)
        self.root = self.connection.root()['Application']
        self.service = self.root['tasks']
