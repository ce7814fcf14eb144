"""The command ``async-worker``: runs the declared services of an application.

It starts processes, each of which opens the database by itself, and
replaces those that end.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import time

from gocept.async_ import openmetrics
from gocept.async_.recurring import Complaint
from gocept.async_.recurring import Trial
from gocept.async_.worker import health
from gocept.async_.worker import messages
from gocept.async_.worker import pidfile
from gocept.async_.worker.ownfile import NotOurs
from gocept.async_.worker.pool import Pool
from gocept.async_.worker.systemd import Notifier
from gocept.async_.worker.wakeup import Wakeup
from lovely.remotetask.foreign.journal import lines_of_failure
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import Pauses
from lovely.remotetask.running.processstate import open_standard_files
from lovely.remotetask.running.settings import MAX_THREADS


# Seconds between two looks at the processes; signals and reports end a wait.
LOOK = 0.5

# Seconds between two attempts to write what could not be written: the first
# and the longest pause.
PAUSES = 1.0, 10.0

# Some thirty years.  Python refuses to wait for some centuries, but only when
# it is to begin with that.
MOST_SECONDS = 10 ** 9

# A process reports once a second, and may be late with that.
LEAST_PATIENCE = 3


class WorkerError(Exception):
    """The command cannot do what it is asked for; the message says why."""


def main(args=None):
    """Run the command; its exit code is that of the process."""
    open_standard_files()
    options = _parse(args)
    try:
        if options.reload:
            pidfile.signal_holder(options.reload, signal.SIGHUP)
        else:
            sys.exit(run(options))
    except (WorkerError, pidfile.PidFileError) as error:
        sys.exit(f'async-worker: {error}')


def _parse(args):
    parser = _parser()
    options = parser.parse_args(args)
    if (options.configuration is None) == (options.reload is None):
        parser.error('give either the path of a zope.conf or --reload FILE')
    if options.heartbeat and options.pid_file and os.path.realpath(
            options.heartbeat) == os.path.realpath(options.pid_file):
        parser.error('--heartbeat and --pid-file need a file each')
    return options


def _parser():
    parser = argparse.ArgumentParser(
        prog='async-worker',
        description='Run the asynchronous functions of a Zope application '
                    'in processes of their own.')
    add = parser.add_argument
    add('configuration', type=_path, nargs='?', metavar='ZOPE.CONF',
        help='the application, with its database in ZEO or RelStorage')
    add('--service', action='append', default=[], metavar='NAME',
        help='a declared service to run; may be repeated (default: all, also '
             'those with autostart="false")')
    add('--threads', type=_threads, metavar='N',
        help='jobs of a service that each process runs at a time (default: '
             'as declared)')
    add('--processes', type=_positive, default=1, metavar='N',
        help='number of processes (default: %(default)s)')
    add('--grace', type=_seconds, default=30.0, metavar='SECONDS',
        help='time that running jobs have to finish (default: 30)')
    add('--max-jobs', type=_positive, metavar='N',
        help='replace a process when it has run so many jobs')
    add('--max-memory', type=_positive, metavar='MB',
        help='replace a process when it uses more memory')
    add('--patience', type=_patience, default=60.0, metavar='SECONDS',
        help='replace a process whose database has not answered for so long, '
             'or which could not work for ten times as long (default: 60)')
    add('--health', type=_address, metavar='PORT|HOST:PORT',
        help='answer HTTP requests for /ready, /live and /metrics there '
             '(default host: 127.0.0.1)')
    add('--heartbeat', type=_path, metavar='FILE',
        help='touch this file every second while all processes are ready')
    add('--pid-file', type=_path, metavar='FILE',
        help='write the process id there, and refuse a second worker')
    add('--reload', type=_path, metavar='FILE',
        help='replace the processes of the worker with that --pid-file, one '
             'by one, like SIGHUP; nothing else is done')
    return parser


def _positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _threads(text):
    number = int(text)
    if not 1 <= number <= MAX_THREADS:
        raise argparse.ArgumentTypeError(
            f'it must be from 1 to {MAX_THREADS}, not {number}')
    return number


def _seconds(text, least=0):
    seconds = float(text)
    if not least <= seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(
            f'it must be from {least} to {MOST_SECONDS}, not {text}')
    return seconds


def _patience(text):
    return _seconds(text, LEAST_PATIENCE)


def _address(text):
    try:
        return health.parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'it must be PORT or HOST:PORT, with a port from 0 to 65535, not '
            f'"{text}"') from error


def _path(text):
    if not text:
        # A variable of a shell that is not set.
        raise argparse.ArgumentTypeError('it must be a path, and is empty')
    return text


# argparse names the type by this when it refuses a value.
_positive.__name__ = 'positive number'
_threads.__name__ = 'number of threads'
_seconds.__name__ = _patience.__name__ = 'number of seconds'


def run(options):
    """Run a worker until it is stopped.  Return the exit code."""
    logging.basicConfig(
        level=logging.INFO, handlers=[messages.StandardError()],
        format='%(asctime)s %(levelname)s async-worker %(message)s')
    # There is nothing to reload yet; but whoever owns a pid file may be asked
    # to.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.ExitStack() as stack:
        pid_file = None
        if options.pid_file:
            pid_file = stack.enter_context(
                pidfile.PidFile(options.pid_file))
        return Worker(options, pid_file).run()


class Worker:
    """The main process: it opens no database and runs no job."""

    def __init__(self, options, pid_file=None):
        self.wakeup = Wakeup()
        self.pool = Pool(_pool_options(options), self.wakeup)
        self.notifier = Notifier()
        self._pid = self._heartbeat = None
        if pid_file is not None:
            self._pid = Trial(
                pid_file.keep, f'write {options.pid_file}',
                logging.getLogger(), Pauses(*PAUSES))
        if options.heartbeat:
            self._heartbeat = _make_heartbeat(options.heartbeat)
        if options.health:
            _serve_health(options.health, self.pool)
        self._announced = False
        self._complaint = Complaint(logging.error)

    def run(self):
        """Run until the last process has ended.  Return the exit code."""
        self.wakeup.catch(signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
                          signal.SIGCHLD)
        try:
            while not self.pool.ended:
                if self._obey():
                    return 1
                self._survive()
        finally:
            self.pool.kill()
        if self.pool.refusal:
            raise WorkerError(self.pool.refusal)
        return 0

    def _survive(self):
        """Go one round, whatever it meets: jobs are running."""
        outcome = outcome_of(self._go_round)
        if outcome.failed:
            self._complaint.say('something went wrong, but the worker goes '
                                'on\n%s', lines_of_failure(outcome))
            # The wait itself may have failed; without a pause this would spin.
            time.sleep(LOOK)

    def _go_round(self):
        self.pool.step()
        self._tell()
        self.wakeup.wait(LOOK)

    def _obey(self):
        """Do what signals ask for.  Return whether to exit at once."""
        while self.wakeup.received:
            number = self.wakeup.received.pop(0)
            if number == signal.SIGHUP:
                self._reload()
            elif number in (signal.SIGTERM, signal.SIGINT):
                if self.pool.stopping:
                    return True
                self._stop()
        return False

    def _reload(self):
        logging.info('reloading: processes are replaced one by one')
        self.pool.reload()
        if self._announced:
            self.notifier.send('RELOADING=1')
            self._announced = False

    def _stop(self):
        logging.info('stopping: running jobs may finish')
        self.notifier.send('STOPPING=1')
        self.pool.stop()

    def _tell(self):
        """Tell the outside how things are."""
        self.notifier.feed_watchdog()
        if self._pid is not None:
            self._pid.run(time.monotonic())
        if not self.pool.all_ready:
            return
        if self._heartbeat is not None:
            self._heartbeat.run(time.monotonic())
        if not self._announced and not self.pool.reloading:
            self._announced = True
            logging.info('ready')
            self.notifier.send('READY=1')


def _pool_options(options):
    found = {name: getattr(options, name) for name in (
        'threads', 'processes', 'grace', 'patience', 'max_jobs',
        'max_memory')}
    return {'configuration': os.path.abspath(options.configuration),
            'services': options.service, **found}


def _serve_health(address, pool):
    host, port = address
    try:
        health.serve(
            host, port, pool.status,
            lambda kind: openmetrics.exposition(
                pool.told(), pool.states(), kind))
    except OSError as error:
        raise WorkerError(
            f'cannot listen on {host}, port {port}: {error.strerror}; '
            f'choose another one with --health.') from error


def _make_heartbeat(path):
    file = health.HeartbeatFile(path)
    try:
        file.check()
    except NotOurs as error:
        raise WorkerError(
            f'{path} is not touched, for {error.strerror}; remove it, or '
            f'choose another file with --heartbeat.') from error
    except OSError:
        # The Trial logs the error when it tries; jobs can be run without the
        # file.
        pass
    return Trial(file.beat, f'touch {path}', logging.getLogger(),
                 Pauses(*PAUSES))


if __name__ == '__main__':
    main()
