"""A processor that runs each job in a process of a pool."""

import importlib
import multiprocessing
import threading
import time
from concurrent import futures

import transaction
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask import machine
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.job import Run
from lovely.remotetask.processor import CommitGate
from lovely.remotetask.running.execution import in_transaction


# Seconds between two signs of life.
HEARTBEAT = 15.0

# Seconds after which is tried again what has failed.
PAUSE = 1.0


@zope.interface.implementer(interfaces.IProcessor)
class PoolProcessor:
    """Runs functions that compute: they get no database, and return a value.

    See IProcessor.
    """

    counts_cut_off = False
    place = None
    trouble = None

    def __init__(self, db, servicePath, waitTime=1.0, maxThreads=1):
        self.db = db
        self.servicePath = list(servicePath)
        self._wait_time = waitTime
        self._size = maxThreads
        self._worker_id = machine.new_worker_id('pool')
        self._gate = CommitGate()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._may_begin = threading.Event()
        self._may_begin.set()
        self._pool = self._thread = None

    @property
    def running(self):
        return not self._stopped.is_set()

    def begin_after(self, txn):
        self._may_begin.clear()
        txn.addAfterCommitHook(lambda committed: self._may_begin.set())
        txn.addAfterAbortHook(self._may_begin.set)

    def start(self):
        self._open_pool()
        self._thread = threading.Thread(
            target=self, name='pool.' + '.'.join(self.servicePath),
            daemon=True)
        self._thread.start()

    def _open_pool(self):
        self._pool = futures.ProcessPoolExecutor(
            self._size, multiprocessing.get_context('spawn'))

    def __call__(self):
        self._may_begin.wait()
        while self.running:
            outcome = outcome_of(self.processNext)
            self.trouble = outcome.error if outcome.failed else None
            if not outcome.value:
                self._wake.wait(PAUSE if outcome.failed else self._wait_time)
                self._wake.clear()
        self._pool.shutdown()
        outcome_of(self._leave, self._gate.commit)

    def processNext(self, jobid=None):
        """Run as many jobs as there are processes, and wait for all."""
        calls = self._book(_claim, self._worker_id, self._size)
        running = [(Run(claim, time.time()), self._submit(call))
                   for claim, call in calls]
        while futures.wait([future for _, future in running],
                           HEARTBEAT).not_done:
            self._book(_sign, self._worker_id)
        for run, future in running:
            outcome = outcome_of(future.result)
            if outcome.is_a(futures.BrokenExecutor):
                # A process has ended in the middle; so have all others.
                self._open_pool()
            self._book(_end, self._worker_id, run, outcome)
        return bool(running)

    def _submit(self, call):
        if not call.failed:
            return self._pool.submit(_run, *call.value)
        failed = futures.Future()
        failed.set_exception(call.exception)
        return failed

    def _book(self, call, *args):
        """Call something with the IJobExecution of the service."""
        return in_transaction(
            self.db, self.servicePath, self._gate.commit, call, *args)

    def added(self, jobs):
        self._wake.set()

    def stop(self):
        self._stopped.set()
        self._may_begin.set()
        self._wake.set()

    def join(self, deadline):
        if self._thread is not None:
            self._thread.join(max(0, deadline - time.monotonic()))

    def close(self, timeout=30.0):
        self._gate.close(timeout)
        if self._thread is not None and self._thread.is_alive():
            self._pool.shutdown(wait=False, cancel_futures=True)
            outcome_of(self._leave, transaction.commit)

    def _leave(self, commit):
        in_transaction(
            self.db, self.servicePath, commit, _leave, self._worker_id)


# In the process of the pool

def _run(module, name, args, kwargs):
    function = getattr(importlib.import_module(module), name)
    return function.undecorated(*args, **kwargs)


# In a transaction; the engine is an IJobExecution

def _claim(engine, worker_id, limit):
    """Return pairs: an IClaim, and the Outcome of looking at its call."""
    _count_left(engine, worker_id)
    return [(claim, outcome_of(_call_of, engine.claimed(claim)))
            for claim in engine.claim(worker_id, limit)]


def _count_left(engine, worker_id):
    """Settle claims on jobs that were begun, and whose end is not stored."""
    left = engine.workers.claimed_ids(worker_id)
    engine.settle(worker_id, left, begun=left)


def _call_of(job):
    # What is loaded here is plain data; another process can load no more.
    call = job.input
    return (call.f.__module__, call.f.__qualname__, call.args, call.kwargs)


def _sign(engine, worker_id):
    engine.workers.sign(worker_id)


def _end(engine, worker_id, run, outcome):
    try:
        job = engine.claimed(run.claim)
    except interfaces.ClaimLost:
        # Somebody took this worker for dead: the job is run by another one.
        return
    if outcome.failed:
        engine.fail(job, run, outcome)
    else:
        engine.complete(job, run, outcome.value)
    engine.settle(worker_id, [job.id])


def _leave(engine, worker_id):
    _count_left(engine, worker_id)
    engine.workers.stop_worker(worker_id)


@zope.interface.implementer(interfaces.IProcessorFactory)
class PoolFactory:
    """See IProcessorFactory."""

    runsJobs = True

    def __call__(self, db, servicePath, waitTime=1.0, maxThreads=1):
        return PoolProcessor(db, servicePath, waitTime, maxThreads)

    def check(self, maxThreads):
        if maxThreads > 16:
            raise ValueError('this machine has no room for so many processes.')


pool_factory = PoolFactory()
