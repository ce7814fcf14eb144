"""One process of a worker: it opens the database and runs the services.

The command ``async-worker`` starts it, by the name of this module, and
listens to what it reports.
"""

import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import zc.lockfile
import zope.app.wsgi
from zope.configuration.exceptions import ConfigurationError

from gocept.async_ import zopeconf
from gocept.async_.declaration import declarations
from gocept.async_.wakeup import Wakeup
from lovely.remotetask import processor
from lovely.remotetask.outcome import attempt
from lovely.remotetask.startup import root_folder


# This module is run as __main__.
log = logging.getLogger('gocept.async_.workerprocess')

# Seconds between two reports, and between two looks at the database.
BEAT = 1.0
LOOK = 2.0

# Seconds without an answer after which the database is taken for lost.
PATIENCE = 15.0


class Refused(Exception):
    """A worker cannot be run like this; the message says what to do."""


class Report:
    """Writes JSON lines for the one who has started this process.

    gone -- whether nobody reads them any more.
    """

    def __init__(self, descriptor):
        self.gone = False
        self._pending = b''
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        # What jobs start must not keep it open.
        os.set_inheritable(descriptor, False)

    def send(self, **content):
        """Write a line; not if the one before could not be written yet."""
        if not self._pending:
            self._pending = json.dumps(content).encode() + b'\n'
        try:
            written = os.write(self._descriptor, self._pending)
            self._pending = self._pending[written:]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.gone = True


class Observation:
    """What was last seen of the services, in a thread of its own.

    A database that does not answer must not keep the process from being
    heard.

    look -- returns what is to be seen.
    changed -- called after each look.
    """

    def __init__(self, look, changed):
        self._look = look
        self._changed = changed
        self._seen = None
        self.services = {}
        self.problem = 'starting'
        threading.Thread(
            target=self._loop, name='observation', daemon=True).start()

    def _loop(self):
        while True:
            outcome = attempt(self._look)
            self.problem = outcome.error
            if not outcome.failed:
                self.services = outcome.value
                self._seen = time.monotonic()
            self._changed()
            time.sleep(LOOK)

    def report(self):
        """Return a dict: whether all is well, and what was seen when."""
        age = None if self._seen is None else time.monotonic() - self._seen
        problem = self.problem
        if age is not None and age > PATIENCE:
            problem = problem or 'the database does not answer'
        return {'ready': age is not None and not problem,
                'problem': problem, 'age': age, 'services': self.services}


class WorkerProcess:
    """Runs the processors of the services until there is reason to stop.

    options -- a dict: `configuration` (path of zope.conf), `services` (names;
        empty for all), `threads`, `processes`, `grace`, `max_jobs`,
        `max_memory`; None stands for no limit, or the value declared.
    """

    def __init__(self, options, report):
        self.options = options
        self.report = report
        self.wakeup = Wakeup()
        self.jobs = 0
        self.processors = {}
        self._lock = threading.Lock()
        self._stopping = False

    def run(self):
        """Run until the end.  Return the exit code."""
        self.db = open_database(
            self.options['configuration'], self.options['processes'])
        self.declarations = self._choose()
        # Not earlier: until here the process may be ended at any moment.
        self.wakeup.catch(signal.SIGTERM)
        observation = Observation(self._look, self.wakeup.wake)
        while (reason := self._reason_to_stop()) is None:
            self._report(observation)
            self.wakeup.wait(BEAT)
        return self._stop(*reason)

    def _choose(self):
        known = {found.name: found for found in declarations()}
        where = f'the ZCML of {self.options["configuration"]}'
        if not known:
            raise Refused(
                f'{where} declares no service; add '
                f'<async:service name="..." />.')
        for name in self.options['services']:
            if name not in known:
                raise Refused(
                    f'{where} declares no service "{name}"; choose one of '
                    f'{", ".join(sorted(known))}.')
        chosen = [known[name] for name in self.options['services'] or known
                  if self.options['services'] or _runs_jobs(known[name])]
        if not chosen:
            raise Refused(
                f'{where} declares no service whose jobs could be run here, '
                f'only {_elsewhere(known.values())}.')
        for declaration in chosen:
            self._check(declaration)
        return chosen

    def _check(self, declaration):
        if not _runs_jobs(declaration):
            raise Refused(
                f'no job is run here of {_elsewhere([declaration])}; choose '
                f'other services with --service.')
        if self.options['threads'] is None:
            return
        try:
            declaration.processorFactory.check(self.options['threads'])
        except ValueError as error:
            raise Refused(
                f'--threads does not fit the service "{declaration.name}": '
                f'{error} Or choose other services with --service.'
                ) from error

    # In the thread of the observation

    def _look(self):
        with root_folder(self.db) as root:
            self._start_messengers(root)
            return {declaration.name: self._describe(
                declaration, declaration.find(root))
                for declaration in self.declarations}

    def _start_messengers(self, root):
        """Let those be told of jobs that jobs add, who run them elsewhere.
        """
        for declaration in declarations():
            service = declaration.find(root)
            if service is not None and not _runs_jobs(declaration):
                service.startProcessing()

    def _describe(self, declaration, service):
        if service is None:
            # Its site may be added any time.
            return None
        self._ensure_started(declaration, processor.service_path(service))
        now = time.time()
        oldest = service.oldest_waiting(now)
        return {'counts': service.counts(),
                'oldest_queued_age':
                    None if oldest is None else max(0.0, now - oldest)}

    def _ensure_started(self, declaration, path):
        with self._lock:
            if declaration.name in self.processors or self._stopping:
                return
            made = self._make_processor(declaration, path)
            made.notify = self._count
            self.processors[declaration.name] = made
            processor.start_processor(made)

    def _make_processor(self, declaration, path):
        arguments = dict(declaration.processorArguments)
        if self.options['threads'] is not None:
            arguments['maxThreads'] = self.options['threads']
        return declaration.processorFactory(self.db, path, **arguments)

    # In the threads that run jobs

    def _count(self, number):
        with self._lock:
            self.jobs += number
        if self._has_enough_jobs():
            for each in list(self.processors.values()):
                each.stop()
            self.wakeup.wake()

    def _has_enough_jobs(self):
        limit = self.options['max_jobs']
        return limit is not None and self.jobs >= limit

    # In the main thread

    def _report(self, observation):
        self.report.send(
            jobs=self.jobs, memory=memory(), **observation.report())

    def _reason_to_stop(self):
        """Return a reason and the exit code, or None."""
        if self.wakeup.received:
            return 'asked to', 0
        if self.report.gone:
            return 'the main process is gone', 0
        if self._has_enough_jobs():
            return f'{self.jobs} jobs were run (--max-jobs)', 0
        limit = self.options['max_memory']
        if limit is not None and memory() > limit:
            return f'{memory():.0f} MB are used (--max-memory {limit})', 0
        if not all(each.running for each in list(self.processors.values())):
            return 'a processor has ended', 1
        return None

    def _stop(self, reason, code):
        log.info('worker process %s stops: %s', os.getpid(), reason)
        with self._lock:
            self._stopping = True
        self.report.send(stopping=reason, jobs=self.jobs)
        processor.stop_all(self.options['grace'])
        for db in self.db.databases.values():
            db.close()
        return code


def _runs_jobs(declaration):
    return declaration.processorFactory.runsJobs


def _elsewhere(declarations):
    """Return a text: services, and the processors that they go to."""
    return ', '.join(
        f'the service "{declaration.name}" (processor '
        f'"{declaration.processor}")' for declaration in declarations)


def memory():
    """Return how much memory this process uses, in MB."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        # Elsewhere only the most it ever used; in bytes, on macOS.
        unit = 2 ** 20 if sys.platform == 'darwin' else 2 ** 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return pages * resource.getpagesize() / 2 ** 20


def open_database(path, processes):
    """Configure the application of a zope.conf.  Return its database.

    Raise Refused where trying again would not help.
    """
    try:
        options = zopeconf.read(path)
    except ValueError as error:
        raise Refused(str(error)) from error
    if processes > 1 and zopeconf.uses_file_storage(options):
        raise Refused(
            f'the database of {path} is a FileStorage, which only one '
            f'process can use; serve it by ZEO or use RelStorage, see '
            f'docs/deployment.rst, or leave out --processes.')
    try:
        return zope.app.wsgi.config(path)
    except zc.lockfile.LockError as error:
        raise Refused(
            f'the database of {path} is a FileStorage, and another process '
            f'uses it, most likely the web application ({error}); serve it '
            f'by ZEO or use RelStorage, see docs/deployment.rst.') from error
    except ConfigurationError as error:
        raise Refused(
            f'the ZCML of {path} cannot be executed; correct it: '
            f'{error}') from error


def _restore_environment(pythonpath):
    """Give the programs that jobs start the PYTHONPATH that was there."""
    os.environ.pop('PYTHONPATH', None)
    if pythonpath is not None:
        os.environ['PYTHONPATH'] = pythonpath


def main():
    """Run a worker process; the arguments say how, in JSON."""
    # These are meant for the main process, which tells this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    descriptor, options, pythonpath = json.loads(sys.argv[1])
    _restore_environment(pythonpath)
    report = Report(descriptor)
    try:
        sys.exit(WorkerProcess(options, report).run())
    except Refused as refusal:
        report.send(refused=str(refusal))
        sys.exit(1)


if __name__ == '__main__':
    main()
