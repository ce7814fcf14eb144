"""A job says its true status however it came into one's hands."""

import pickle

import transaction

from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import workers


WORKER = 'host:1:thread:token'


class LoadedTest(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.task(lambda input: input)
        self.jobid = self.add('test.task', 'input')
        self.held = self.service.jobs[self.jobid]
        self.root.held = self.held
        engine(self.service).claim(WORKER, 1)
        transaction.commit()

    def check(self, job, status=PROCESSING):
        """Compare what a job says with what its service says."""
        service = job.__parent__
        self.assertEqual(self.service._p_oid, service._p_oid)
        self.assertIs(job._p_jar, service._p_jar)
        self.assertEqual(status, job.status)
        self.assertEqual(status, service.getStatus(self.jobid))
        self.assertEqual(status == PROCESSING, job.claim is not None)
        if status == PROCESSING:
            self.assertEqual(WORKER, job.claim.worker)

    def test_as_it_was_added(self):
        """The object that `add` has made knows of a claim made later."""
        self.check(self.held)

    def test_deactivated(self):
        """A ghost is loaded anew, with its service."""
        self.held._p_deactivate()
        self.assertIsNone(self.held._p_changed)
        self.check(self.held)

    def test_out_of_the_cache(self):
        """So is one of an empty cache."""
        self.connection.cacheMinimize()
        self.check(self.held)

    def test_written_by_another_process(self):
        """Also one that somebody has written while it is claimed."""
        with self.elsewhere() as service:
            service.jobs[self.jobid]._p_changed = True
        transaction.begin()
        self.assertIsNone(self.held._p_changed)
        self.check(self.held)

    def test_its_claim_ends(self):
        """It says so, whoever has ended it."""
        with self.elsewhere() as service:
            workers(service).stop_worker(WORKER)
        transaction.begin()
        self.check(self.held, QUEUED)

    def test_its_run_ends(self):
        """The same for a run in another process."""
        with self.elsewhere() as service:
            service.process()
            self.assertTrue(service.processNext(jobid=self.jobid))
        transaction.begin()
        self.check(self.held, COMPLETED)

    def test_by_its_oid(self):
        """In a connection that has loaded no service."""
        connection = self.db.open(transaction.TransactionManager())
        self.addCleanup(connection.close)
        self.check(connection.get(self.held._p_oid))

    def test_by_a_reference(self):
        """Content that refers to a job need not know where it is stored."""
        self.connection.cacheMinimize()
        self.check(self.root.held)

    def test_after_a_savepoint(self):
        """An object may leave the cache at any savepoint."""
        self.held._p_changed = True
        savepoint = transaction.savepoint()
        self.connection.cacheMinimize()
        self.check(self.held)
        self.held._p_changed = True
        savepoint.rollback()
        self.check(self.held)

    def test_as_it_was(self):
        """A connection to the past tells the status of that time."""
        now = self.db.lastTransaction()
        with self.elsewhere() as service:
            workers(service).stop_worker(WORKER)
        past = self.db.open(transaction.TransactionManager(), at=now)
        self.addCleanup(past.close)
        self.assertEqual(PROCESSING, past.get(self.held._p_oid).status)

    def test_name_and_place(self):
        """Local grants are found by the parents, also of a ghost."""
        self.held._p_deactivate()
        self.assertEqual(str(self.jobid), self.held.__name__)
        self.held._p_deactivate()
        self.assertIs(self.service, self.held.__parent__)

    def test_what_that_costs(self):
        """The reference is an oid alone; the class is not named."""
        state, _ = self.connection._storage.load(self.held._p_oid)
        self.assertNotIn(b'JobStore', state)
        self.assertIn(pickle.dumps(self.service.store._p_oid, 3)[2:-3],
                      state)
