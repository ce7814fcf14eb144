"""One process of a worker: it opens the database and runs the services.

The command ``async-worker`` starts it, by the name of this module, and
listens to what it reports.
"""

import collections
import contextlib
import json
import math
import os
import signal
import sys
import threading
import time

from gocept.async_.declaration import declarations
from gocept.async_.recurring import Complaint
from gocept.async_.worker import application
from gocept.async_.worker.counted import Counter
from gocept.async_.worker.ending import Ending
from gocept.async_.worker.observation import Observation
from gocept.async_.worker.observation import check_descriptors
from gocept.async_.worker.observation import describe
from gocept.async_.worker.report import Report
from gocept.async_.worker.wakeup import Wakeup
from gocept.async_.worker.wakeup import disregard
from lovely.remotetask import processor
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import IManagement
from lovely.remotetask.machine import memory
from lovely.remotetask.running import registry
from lovely.remotetask.running.alive import sign_of_life
from lovely.remotetask.running.events import JobEnded
from lovely.remotetask.running.events import JobRetried
from lovely.remotetask.running.events import Observer
from lovely.remotetask.startup import root_folder


# This module is run as __main__.
log = journal('gocept.async_.worker.process')

# Seconds between two reports.
BEAT = 1.0

# Seconds between two reports of what was counted: they are long.
TELL_COUNTED = 5.0

# Seconds beyond the grace of its jobs after which a process that is to stop
# ends, whatever its threads wait for.  The main process kills it later.
MARGIN = 8.0


class WorkerProcess:
    """Runs the processors of the services until there is reason to stop.

    options -- a dict: `configuration` (path of zope.conf), `services` (names;
        empty for all), `threads`, `processes`, `grace`, `max_jobs`,
        `max_memory`; None stands for no limit, or the value declared.
    """

    def __init__(self, options, report):
        self.options = options
        self.report = report
        self.ending = Ending()
        self.wakeup = Wakeup()
        self.jobs = 0
        self.processors = {}
        self._paths = {}
        self._lock = threading.Lock()
        # Held by who reports: what was counted later is told later.
        self._telling = threading.Lock()
        self._running = False
        self._stopping = None
        self._news = threading.Event()
        self._seen = {}
        self._observer = Observer(self._count, JobEnded, JobRetried)
        self._counter = Counter()
        self._told = float('-inf')
        self._complaints = collections.defaultdict(
            lambda: Complaint(log.warning))
        self.observation = Observation(
            self._look, self._troubles, self._news.set)

    def run(self):
        """Run until the end.  Return the exit code."""
        threading.Thread(
            target=self._keep_telling, name='report', daemon=True).start()
        self.db = application.open_database(
            self.options['configuration'], self.options['processes'])
        self.declarations = application.choose(self.options)
        # Signals are caught from here on; before, the process may be ended at
        # any moment.
        self.wakeup.catch(signal.SIGTERM)
        self._running = True
        # First: the other one may wake the main thread to end the process, and
        # what was counted is told then.
        self._counter.subscribe()
        self._observer.subscribe()
        self.observation.start()
        while (reason := self._reason_to_stop()) is None:
            self.wakeup.wait(BEAT)
        return self._stop(*reason)

    # In the thread of the observation

    def _look(self, doubt):
        check_descriptors()
        sign_of_life(self.db, self._seen, doubt)
        found = {}
        with root_folder(self.db) as root:
            for declaration in declarations():
                name = declaration.name
                doubt(f'the service "{name}" cannot be looked at')
                seen = outcome_of(self._see, declaration, root)
                if not self._is_needed(declaration):
                    self._complain(name, seen)
                elif seen.failed:
                    found[name] = {'problem': describe(seen)}
                elif declaration in self.declarations:
                    found[name] = seen.value
        return found

    def _is_needed(self, declaration):
        """Return whether this process cannot work without a service."""
        # Who has chosen some leaves the others to other workers.
        return (declaration in self.declarations
                or not self.options['services'])

    def _complain(self, name, seen):
        """Let the log tell of a service that is not needed, if it failed."""
        complaint = self._complaints[name]
        if seen.failed:
            complaint.say(
                'the service "%s", which is not run here, cannot be looked '
                'at: %s', name, describe(seen))
        else:
            complaint.end()

    def _see(self, declaration, root):
        """Start the processor of a service.  Return how the service is."""
        service = declaration.find(root)
        if service is None:
            # Its site may be added any time.
            return None
        if declaration in self.declarations:
            self._ensure_started(
                declaration, registry.processor_path(service))
            return _describe_service(service)
        if not application.runs_jobs(declaration):
            # Jobs that run here may add some there; those who run them
            # elsewhere have to be told.
            service.startProcessing()
        return None

    def _ensure_started(self, declaration, path):
        with self._lock, contextlib.ExitStack() as stack:
            if declaration.name in self.processors or self._stopping:
                return
            made = self._make_processor(declaration, path)
            # One whose threads cannot be started makes room for another one.
            stack.callback(made.stop)
            processor.start_processor(made)
            stack.pop_all()
            self.processors[declaration.name] = made
            self._paths[tuple(path)] = declaration.name

    def _make_processor(self, declaration, path):
        arguments = dict(declaration.processorArguments)
        if self.options['threads'] is not None:
            arguments['maxThreads'] = self.options['threads']
        return declaration.processorFactory(self.db, path, **arguments)

    # In the threads that run jobs

    def _count(self, event):
        with self._lock:
            self.jobs += 1
        if self._has_enough_jobs():
            for each in list(self.processors.values()):
                each.stop()
            self.wakeup.wake()

    def _has_enough_jobs(self):
        limit = self.options['max_jobs']
        return limit is not None and self.jobs >= limit

    # In the thread that reports

    def _keep_telling(self):
        complaint = Complaint(log.error)
        while not self.report.gone:
            outcome = outcome_of(self._tell)
            if outcome.failed:
                complaint.say('cannot report: %s', describe(outcome))
            self._news.wait(BEAT)
            self._news.clear()
        if not self._running:
            # The main thread is still waiting for a database, perhaps for
            # ever.
            self.ending.within(0)

    def _tell(self):
        with self._telling:
            self._tell_now()

    def _tell_now(self):
        more = {'stopping': self._stopping} if self._stopping else {}
        now = time.monotonic()
        if self._stopping or now - self._told >= TELL_COUNTED:
            counted = self._counter.tell(self._names())
            if counted is not None:
                more['counted'] = counted
        is_taken = self.report.send(
            jobs=self.jobs, memory=memory(), **self.observation.report(),
            **more)
        if 'counted' in more:
            self._told = now
            if not is_taken:
                self._counter.tell_again()

    def _names(self):
        """Return the names of the services, by their paths."""
        found = dict(self._paths)
        for name, made in list(self.processors.items()):
            # The service may have moved; not each processor tells that.
            path = outcome_of(lambda made=made: tuple(made.servicePath))
            if not path.failed:
                found[path.value] = name
        return found

    def _troubles(self):
        return {name: _trouble(made)
                for name, made in list(self.processors.items())}

    # In the main thread

    def _reason_to_stop(self):
        """Return the arguments of `_stop`, or None."""
        if self.wakeup.received:
            return 'asked to', 0
        if self.report.gone:
            return 'the main process is gone', 0
        if self._has_enough_jobs():
            return f'{self.jobs} jobs were run (--max-jobs)', 0
        limit = self.options['max_memory']
        if limit is not None and memory() > limit:
            return (f'{memory():.0f} MB are used (--max-memory {limit})', 0,
                    True)
        if not all(each.running for each in list(self.processors.values())):
            return 'a processor has ended', 1
        return None

    def _stop(self, reason, code, counts_cut_off=False):
        """End all that runs.  Return the exit code.

        reason -- str.
        counts_cut_off -- see IProcessor.  A job that needs too much memory
            would be run again for ever.
        """
        self.ending.within(self.options['grace'] + MARGIN)
        log.info('worker process %s stops: %s', os.getpid(), reason)
        with self._lock:
            # No processor is started any more.
            self._stopping = reason
            for each in self.processors.values():
                # That of somebody else need not take it.
                outcome_of(setattr, each, 'counts_cut_off', counts_cut_off)
        self._news.set()
        processor.stop_all(self.options['grace'])
        # Also of the runs that have ended meanwhile.
        outcome_of(self._tell)
        for db in list(self.db.databases.values()):
            db.close()
        return code


def _trouble(made):
    """Return why a processor cannot work, or None."""
    # A processor that somebody else has written may know nothing of troubles.
    outcome = outcome_of(getattr, made, 'trouble', None)
    if outcome.failed:
        return describe(outcome)
    return None if outcome.value is None else str(outcome.value)


def _describe_service(service):
    now = time.time()
    oldest = service.oldest_waiting(now)
    waited = None if oldest is None else max(0.0, now - oldest)
    # Stored values are not trusted: what is no number is no JSON either.
    if waited is not None and not math.isfinite(waited):
        waited = None
    return {'counts': {str(status): int(number) for status, number
                       in service.counts().items()},
            'oldest_queued_age': waited,
            **_described_besides(service, now), 'problem': None}


def _described_besides(service, now):
    """Return what services tell that are ours."""
    management = IManagement(service, None)
    return {} if management is None else {
        'workers': management.living_workers(now),
        'paused': bool(service.paused)}


def _restore_environment(pythonpath):
    """Give the programs that jobs start the PYTHONPATH that was there."""
    os.environ.pop('PYTHONPATH', None)
    if pythonpath is not None:
        os.environ['PYTHONPATH'] = pythonpath


def main():
    """Run a worker process; the arguments say how, in JSON."""
    # These signals are meant for the main process, which tells this one.
    disregard(signal.SIGINT, signal.SIGHUP)
    descriptor, options, pythonpath = json.loads(sys.argv[1])
    _restore_environment(pythonpath)
    report = Report(descriptor)
    process = WorkerProcess(options, report)
    try:
        sys.exit(process.run())
    except application.Refused as refusal:
        report.send(refused=str(refusal))
        sys.exit(1)
    finally:
        # The interpreter waits for threads that jobs have left behind.
        process.ending.within(options['grace'] + MARGIN)


if __name__ == '__main__':
    main()
