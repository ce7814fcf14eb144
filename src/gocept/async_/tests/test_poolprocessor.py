"""A third processor, written from the interfaces alone.

It is the example of docs/howto/extending.rst.
"""

import contextlib
import os
import signal
import time
import unittest.mock

import transaction
import zope.component
from zope.app.wsgi.interfaces import WSGIPublisherApplicationCreated
from zope.interface.verify import verifyObject

from gocept.async_.startup import startProcessors
from gocept.async_.tests import workerjobs
from gocept.async_.tests.configuration import declare
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.poolprocessor import PoolProcessor
from gocept.async_.tests.poolprocessor import pool_factory
from gocept.async_.tests.workerstage import Stage
from gocept.async_.tests.workerstage import Worker
from gocept.async_.tests.workerstage import ZeoServer
from gocept.async_.tests.workerstage import until
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import IProcessor
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.running import registry


class ApplicationTest(FunctionalTestCase):
    """In a web application that declares it."""

    def setUp(self):
        super().setUp()
        self.addCleanup(registry.stop_all)
        registered = zope.component.getGlobalSiteManager()
        registered.registerUtility(pool_factory, IProcessorFactory, 'pool')
        self.addCleanup(registered.unregisterUtility, pool_factory,
                        IProcessorFactory, 'pool')
        # It is woken long before it looks by itself.
        declare(self, 'events', processor='pool', threads='2',
                wait_time='3600')

    def add(self, function, *args):
        jobid = function.enqueue(*args)
        transaction.commit()
        return jobid

    def ended(self, jobid):
        def find():
            transaction.begin()
            job = self.service.jobs[jobid]
            return job if job.status in (COMPLETED, ERROR) else None
        return until(find, 'the end of a job')

    def test_interfaces(self):
        """It provides what is declared, before and after its start."""
        self.assertTrue(verifyObject(IProcessorFactory, pool_factory))
        made = pool_factory(self.service._p_jar.db(), ['tasks'])
        self.assertTrue(verifyObject(IProcessor, made))

    def test_life(self):
        """The application starts, wakes, watches, stops and restarts it."""
        startProcessors(WSGIPublisherApplicationCreated(None))
        self.assertTrue(self.service.isProcessing())
        made = registry._find(self.service)
        self.assertIsInstance(made, PoolProcessor)
        pid, square = self.ended(self.add(workerjobs.compute, 12)).output
        self.assertEqual(144, square)
        self.assertNotEqual(os.getpid(), pid)
        failed = self.ended(self.add(workerjobs.compute, -1))
        self.assertEqual((ERROR, 'below 0'), (failed.status, failed.error))
        self.service.stopProcessing()
        self.assertFalse(self.service.isProcessing())
        jobid = self.add(workerjobs.compute, 3)
        self.service.startProcessing()
        self.assertEqual(9, self.ended(jobid).output[1])
        registry.stop_all()
        self.assertFalse(self.service.isProcessing())
        transaction.begin()
        self.assertEqual([], list(self.service.store.workers))

    def test_process_that_ends(self):
        """A job that ends its process is in error; others go on."""
        self.service.startProcessing()
        self.assertIn('BrokenProcessPool', self.ended(
            self.add(workerjobs.end_process)).errorClass)
        self.assertEqual(
            4, self.ended(self.add(workerjobs.compute, 2)).output[1])

    def test_end_that_cannot_be_stored(self):
        """The run counts, and the service goes on."""
        declare(self, 'events', processor='pool', wait_time='0.2')
        with unittest.mock.patch.object(
                JobExecution, 'complete', side_effect=OSError('full')):
            self.service.startProcessing()
            jobid = self.add(workerjobs.compute, 2)
            until(lambda: registry._find(self.service).trouble, 'trouble')
        job = self.ended(jobid)
        self.assertEqual((2, 4), (job.attempts, job.output[1]))

    def test_cut_off(self):
        """What runs when the process ends counts, and is handed back."""
        self.service.startProcessing()
        jobid = self.add(workerjobs.sleep, 5)
        until(lambda: self.status(jobid) == PROCESSING, 'its begin')
        made = registry._find(self.service)
        registry.stop_all(0)
        self.addCleanup(made.join, time.monotonic() + 60)
        self.assertEqual(
            (QUEUED, 1), (self.status(jobid), self.job_of(jobid).attempts))

    def job_of(self, jobid):
        transaction.begin()
        return self.service.jobs[jobid]

    def status(self, jobid):
        return self.job_of(jobid).status

    def test_started_by_a_transaction(self):
        """It begins when that has ended."""
        jobid = workerjobs.compute.enqueue(5)
        self.service.startProcessing()
        self.assertTrue(self.service.isProcessing())
        transaction.commit()
        self.assertEqual(25, self.ended(jobid).output[1])


class Recorder:
    """A processor that records what it is told, and fails at all of it."""

    counts_cut_off = False
    running = True
    trouble = None

    def __init__(self, db, servicePath, waitTime=1.0):
        self.db = db
        self.servicePath = servicePath
        self.place = None
        self.told = []

    def __call__(self):
        """Never called."""

    def processNext(self, jobid=None):
        """Never called."""

    def begin_after(self, txn):
        self.told.append('begin_after')

    def start(self):
        self.told.append('start')

    def _fail(self, name):
        self.told.append(name)
        raise SystemExit(name)

    def added(self, jobs):
        self._fail(f'added {len(jobs)}')

    def stop(self):
        self._fail('stop')

    def join(self, deadline):
        self._fail('join')

    def close(self, timeout=30.0):
        self._fail('close')


class OddTest(FunctionalTestCase):
    """A processor that fails at whatever it is asked for."""

    def setUp(self):
        super().setUp()
        self.made = Recorder(self.service._p_jar.db(), ['tasks'])
        self.other = Recorder(self.service._p_jar.db(), ['other'])
        self.addCleanup(registry.stop_all)
        for made in self.made, self.other:
            registry.start_processor(made)

    def test_interface(self):
        """The contract is this, and no more."""
        verifyObject(IProcessor, self.made, tentative=True)

    def test_callers_and_others_are_not_harmed(self):
        """Each is told of jobs, and of the end, whatever others do.

        Where its service is it does not know: it is not told which jobs.
        """
        workerjobs.compute.enqueue(1)
        transaction.commit()
        registry.stop_all()
        for made in self.made, self.other:
            self.assertEqual(
                ['start', 'added 0', 'stop', 'join', 'close'], made.told)

    def test_stopped_by_the_service(self):
        """Who stops a service is told what went wrong."""
        self.made.place = self.service._p_jar.db(), self.service._p_oid
        with contextlib.suppress(SystemExit):
            self.service.stopProcessing()
        self.assertEqual(['start', 'stop'], self.made.told)


class WorkerTest(unittest.TestCase):
    """The command async-worker, in real processes."""

    def test_worker(self):
        """It runs jobs, shows its health, and ends when it is asked to."""
        stack = self.enterContext(contextlib.ExitStack())
        server = type('PoolServer', (ZeoServer,), {'site': 'workerpool.zcml'})
        stage = Stage(stack, server)
        worker = Worker(stack, stage.configuration).wait_until_ready()
        jobid = stage.adder.ask('add', 'compute', 7)
        stage.adder.wait_until_done()
        job = stage.adder.ask('job', jobid)
        self.assertEqual((COMPLETED, 49), (job['status'], job['output'][1]))
        children = set(worker.children().values())
        self.assertNotIn(job['output'][0], children)
        worker.signal(signal.SIGTERM)
        began = time.monotonic()
        self.assertEqual(0, worker.wait())
        self.assertLess(time.monotonic() - began, 30)
        jobid = stage.adder.ask('add', 'compute', 8)
        self.assertEqual(QUEUED, stage.adder.ask('job', jobid)['status'])
