"""Processors: the threads that take jobs and run them."""

import atexit
import contextlib
import logging
import os
import socket
import threading
import time
import uuid
import weakref

import transaction
import zope.interface
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask import execution
from lovely.remotetask import interfaces
from lovely.remotetask.execution import ProcessorRequest


# Published here, wherever it lives.
__all__ = ['MultiProcessor', 'ProcessorRequest', 'SimpleProcessor']

log = logging.getLogger(__name__)

# Seconds that running jobs have to finish when the process ends.
GRACE = 30.0

_processors = {}
# Also those that were stopped, and replaced, but run a job still.
_started = weakref.WeakSet()
_processors_lock = threading.Lock()


class Process:
    """This process, as far as claims are concerned."""

    def __init__(self):
        self.host = socket.gethostname()
        self.pid = os.getpid()
        self.id = uuid.uuid4().hex
        # Tokens of claims whose end could not be stored.
        self.lost = set()

    def is_alive(self, claim):
        """Return whether whoever made a claim may still run the job.

        Of a process on another machine nothing is known: it is alive.
        """
        if claim.token.startswith(self.id):
            return claim.token not in self.lost
        host, pid, _thread = claim.processor.split(':', 2)
        if host != self.host:
            return True
        return int(pid) != self.pid and _pid_exists(int(pid))


def _pid_exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_process = Process()


def _forked():
    global _process, _processors_lock
    _process = Process()
    _processors_lock = threading.Lock()
    _processors.clear()
    _started.clear()


os.register_at_fork(after_in_child=_forked)


def identity():
    """Return ``host:pid:thread`` of the caller."""
    return f'{_process.host}:{_process.pid}:{threading.current_thread().name}'


def new_token():
    """Return a token for one claim."""
    return f'{_process.id}-{uuid.uuid4().hex}'


@contextlib.contextmanager
def _held(token):
    """Let a claim be released if what is done under it fails."""
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            _process.lost.add(token)


class ProcessorStopped(Exception):
    """The process ends; nothing may be committed any more."""


class CommitGate:
    """Lets commits through until it is closed.

    The interpreter freezes daemon threads wherever they are when it ends.
    Closing waits for those that are in the middle of a commit.
    """

    def __init__(self):
        self._condition = threading.Condition()
        self._inside = 0
        self._closed = False

    def commit(self):
        """Commit the current transaction; ProcessorStopped if closed."""
        with self._condition:
            if self._closed:
                raise ProcessorStopped('This process is ending.')
            self._inside += 1
        try:
            transaction.commit()
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    def close(self, timeout):
        """Let no commit begin any more, wait for those that have begun."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: not self._inside, timeout)


@zope.interface.implementer(interfaces.IProcessor)
class SimpleProcessor:
    """Runs one job at a time.  See IProcessor.

    db -- the ZODB.DB that holds the service.
    servicePath -- list of str, from the root folder to the service.
    waitTime -- seconds to wait at most before looking for jobs again.
    """

    def __init__(self, db, servicePath, waitTime=1.0):
        self.db = db
        self.servicePath = list(servicePath)
        self.waitTime = waitTime
        self.gate = CommitGate()
        self.thread = None
        # Token by id of the jobs claimed here and not yet run.
        self._tokens = {}
        self._wake = threading.Event()
        self._stopping = False
        self._release_first = True

    # One step

    def hasJobsWaiting(self):
        """Return whether a job could be claimed now."""
        return self._bookkeep(_has_jobs)

    def claimNextJob(self):
        """Claim a job and commit that.  Return its id, or None."""
        token = new_token()
        # It may have been committed though an error came back.
        with _held(token):
            jobid = self._bookkeep(_claim, identity(), token)
        if jobid is not None:
            self._tokens[jobid] = token
        return jobid

    def processNext(self, jobid=None):
        """See IProcessor."""
        if jobid is None:
            jobid = self.claimNextJob()
        if jobid is None:
            return False
        self._run(jobid, self._tokens.pop(jobid, None))
        return True

    def release(self):
        """Queue the jobs of processors again that are gone."""
        released = self._bookkeep(_release, _process.is_alive)
        for jobid in released:
            log.warning('%s/%s: whoever ran it is gone; queued again',
                        '/'.join(self.servicePath), jobid)
        return released

    def _run(self, jobid, token):
        with _held(token):
            execution.run_claimed(
                self.db, self.servicePath, jobid, token, self.gate.commit)

    def _bookkeep(self, call, *args):
        return execution.in_transaction(
            self.db, self.servicePath, self.gate.commit, call, *args)

    def _take(self):
        return self.processNext()

    # The loop

    @property
    def running(self):
        return not self._stopping

    def __call__(self):
        """See IProcessor."""
        log.info('%s: started', self.thread_name)
        while self.running:
            outcome = execution.attempt(self.step)
            if outcome.failed:
                self._report(outcome)
            if not outcome.value:
                self._wait()
        log.info('%s: stopped', self.thread_name)

    def step(self):
        """Do what there is to do.  Return whether there was anything."""
        if self._release_first:
            self.release()
            self._release_first = False
        return self._take()

    def _report(self, outcome):
        # A claim may have been left behind.
        self._release_first = True
        if isinstance(outcome.exception, ProcessorStopped):
            return
        # What one meets then depends on where the thread was.
        if _is_closed(self.db):
            log.info('%s: the database was closed', self.thread_name)
            self.stop()
        elif isinstance(outcome.exception, interfaces.NoSuchService):
            # Not committed yet, or removed.
            log.debug('%s: %s', self.thread_name, outcome.error)
        else:
            log.error('%s: could not work, trying again\n%s',
                      self.thread_name, outcome.traceback)

    def _wait(self):
        self._wake.wait(self.waitTime)
        self._wake.clear()

    @property
    def thread_name(self):
        return '.'.join(['remotetasks', *self.servicePath])

    def start(self):
        """Run the loop in a daemon thread."""
        self.thread = threading.Thread(
            target=self, name=self.thread_name, daemon=True)
        self.thread.running = True
        self.thread.start()

    def wake(self):
        """There may be something to do."""
        self._wake.set()

    def stop(self):
        """Take no more jobs."""
        self._stopping = True
        if self.thread is not None:
            self.thread.running = False
        self.wake()

    def join(self, deadline):
        """Wait until nothing runs; at most until then (monotonic time)."""
        _join(self.thread, deadline)

    def close(self, timeout=GRACE):
        """Commit nothing any more; wait for what is being committed."""
        self.gate.close(timeout)


class MultiProcessor(SimpleProcessor):
    """Runs up to maxThreads jobs at a time, each in a thread of its own."""

    def __init__(self, db, servicePath, waitTime=1.0, maxThreads=5):
        super().__init__(db, servicePath, waitTime)
        self.maxThreads = maxThreads
        self.threads = []
        # A thread is alive for a while after it has woken the loop.
        self._free = threading.Semaphore(maxThreads)

    def _take(self):
        """Begin one job if there is a thread for it."""
        if not self._free.acquire(blocking=False):
            return False
        began = False
        try:
            began = self._begin_next()
        finally:
            if not began:
                self._free.release()
        return began

    def _begin_next(self):
        jobid = self.claimNextJob()
        if jobid is None:
            return False
        thread = threading.Thread(
            target=self._run_in_thread, args=(jobid,), daemon=True,
            name=f'{self.thread_name}:{jobid}')
        self.threads[:] = [
            other for other in self.threads if other.is_alive()]
        self.threads.append(thread)
        with _held(self._tokens[jobid]):
            thread.start()
        return True

    def _run_in_thread(self, jobid):
        try:
            outcome = execution.attempt(self.processNext, jobid)
            if outcome.failed:
                self._report(outcome)
        finally:
            self._free.release()
            self.wake()

    def join(self, deadline):
        super().join(deadline)
        for thread in self.threads:
            _join(thread, deadline)


def _is_closed(db):
    # There is no flag.  First thing, `close` replaces itself on the DB.
    return 'close' in vars(db)


def _join(thread, deadline):
    if thread is None or thread is threading.current_thread():
        return
    # One that could not be started cannot be joined.
    if thread.is_alive():
        thread.join(max(0, deadline - time.monotonic()))


def _has_jobs(service):
    return service.hasJobsWaiting()


def _claim(service, claimant, token):
    return service.claim(claimant, token)


def _release(service, is_alive):
    return service.release(is_alive)


# The processors of this process, one for each service


def start(service):
    """Start the processor of a service; see ITaskService."""
    db = _database(service)
    if is_running(service):
        return
    settings = interfaces.IProcessorSettings(service, service)
    start_processor(settings.processorFactory(
        db, service_path(service), **settings.processorArguments))


def start_processor(processor):
    """Start a processor and stop it when this process ends.

    Nothing happens if its service has one that runs.
    """
    key = _key(processor.db, processor.servicePath)
    with _processors_lock:
        if key in _processors and _processors[key].running:
            return
        if not _processors:
            # Again after the first: registering twice does no harm.
            atexit.register(stop_all)
        _processors[key] = processor
        _started.add(processor)
    processor.start()


def stop(service):
    """Stop the processor of a service; see ITaskService."""
    processor = _find(service)
    if processor is not None:
        processor.stop()


def is_running(service):
    """Return whether a processor of a service runs in this process."""
    processor = _find(service)
    return processor is not None and processor.running


def stop_all(grace=GRACE):
    """Stop all processors and wait until their jobs have finished.

    grace -- seconds to wait.  A job that takes longer is cut off, but never
        in the middle of a commit; it is queued again by the next processor.
    """
    with _processors_lock:
        processors = list(_started)
        _started.clear()
        _processors.clear()
    deadline = time.monotonic() + grace
    for processor in processors:
        processor.stop()
    for processor in processors:
        processor.join(deadline)
    for processor in processors:
        processor.close()


def wake_after_commit(service):
    """Wake the service's processor once the transaction is committed."""
    # What is not stored yet has no processor.
    if service._p_jar is not None:
        _to_wake(transaction.get()).add(_service_key(service))


def _to_wake(txn):
    """Return the keys of the processors that a transaction will wake."""
    try:
        return txn.data(_processors)
    except KeyError:
        keys = set()
        txn.set_data(_processors, keys)
        txn.addAfterCommitHook(_wake, (keys,))
        return keys


def _wake(committed, keys):
    if not committed:
        return
    for key in keys:
        # It may have been started or stopped in the meantime.
        processor = _processors.get(key)
        if processor is not None:
            processor.wake()


def service_path(service):
    """Return the names from the root folder to the service."""
    names = []
    location = removeSecurityProxy(service)
    while location is not None:
        names.insert(0, location.__name__)
        location = location.__parent__
    return [name for name in names if name]


def _database(service):
    if service._p_jar is None:
        raise ValueError(
            f'Task service {service.__name__!r} is not stored in a database; '
            f'add it to a container and commit before it is started.')
    return service._p_jar.db()


def _find(service):
    return _processors.get(_service_key(service))


def _service_key(service):
    db = None if service._p_jar is None else service._p_jar.db()
    return _key(db, service_path(service))


def _key(db, path):
    return id(db), tuple(path)


@zope.interface.implementer(interfaces.IProcessorFactory)
class ProcessorFactory:
    """See IProcessorFactory."""

    def __init__(self, class_, single_threaded):
        self._class = class_
        self._single_threaded = single_threaded

    def __call__(self, db, servicePath, waitTime=1.0, maxThreads=1):
        """See IProcessorFactory."""
        if self._single_threaded:
            return self._class(db, servicePath, waitTime)
        return self._class(db, servicePath, waitTime, maxThreads)

    def check(self, maxThreads):
        """See IProcessorFactory."""
        if self._single_threaded and maxThreads != 1:
            raise ValueError(
                f'this processor runs one job at a time, not {maxThreads}; '
                f'use the processor "multi" or leave out "threads".')


simple_factory = ProcessorFactory(SimpleProcessor, single_threaded=True)
multi_factory = ProcessorFactory(MultiProcessor, single_threaded=False)
