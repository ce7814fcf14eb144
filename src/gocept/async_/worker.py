"""The command ``async-worker``: runs the declared services of an application.

It starts processes, each of which opens the database by itself, and
replaces those that end.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import sys
from pathlib import Path

from gocept.async_ import health
from gocept.async_.systemd import Notifier
from gocept.async_.wakeup import Wakeup
from gocept.async_.workerpool import Pool


# Seconds between two looks at the processes; signals and reports end a wait.
LOOK = 0.5


class WorkerError(Exception):
    """The command cannot do what it is asked for; the message says why."""


def main(args=None):
    """Run the command; its exit code is that of the process."""
    options = _parse(args)
    try:
        if options.reload:
            reload_worker(options.reload)
        else:
            sys.exit(run(options))
    except WorkerError as error:
        sys.exit(f'async-worker: {error}')


def _parse(args):
    parser = _parser()
    options = parser.parse_args(args)
    if (options.configuration is None) == (options.reload is None):
        parser.error('give either the path of a zope.conf or --reload FILE')
    return options


def _parser():
    parser = argparse.ArgumentParser(
        prog='async-worker',
        description='Run the asynchronous functions of a Zope application '
                    'in processes of their own.')
    add = parser.add_argument
    add('configuration', nargs='?', metavar='ZOPE.CONF',
        help='the application, with its database in ZEO or RelStorage')
    add('--service', action='append', default=[], metavar='NAME',
        help='a declared service to run; may be repeated (default: all, also '
             'those with autostart="false")')
    add('--threads', type=_positive, metavar='N',
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
    add('--health', type=_address, metavar='PORT|HOST:PORT',
        help='answer HTTP requests for /ready and /live there (default '
             'host: 127.0.0.1)')
    add('--heartbeat', metavar='FILE',
        help='touch this file every second while all processes are ready')
    add('--pid-file', metavar='FILE',
        help='write the process id there, and refuse a second worker')
    add('--reload', metavar='FILE',
        help='replace the processes of the worker with that --pid-file, one '
             'by one, like SIGHUP; nothing else is done')
    return parser


def _positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text):
    seconds = float(text)
    if not 0 <= seconds < float('inf'):
        raise ValueError
    return seconds


_address = health.parse_address
# What argparse calls a value that it refuses.
_positive.__name__ = 'positive number'
_seconds.__name__ = 'number of seconds'


def run(options):
    """Run a worker until it is stopped.  Return the exit code."""
    logging.basicConfig(
        level=logging.INFO,
        format='%(asctime)s %(levelname)s async-worker %(message)s')
    with contextlib.ExitStack() as stack:
        if options.pid_file:
            stack.enter_context(_pid_file(options.pid_file))
        return Worker(options).run()


class Worker:
    """The main process: it opens no database and runs no job."""

    def __init__(self, options):
        self.wakeup = Wakeup()
        self.pool = Pool(_pool_options(options), self.wakeup)
        self.notifier = Notifier()
        self.heartbeat = None
        if options.heartbeat:
            self.heartbeat = health.HeartbeatFile(options.heartbeat)
        if options.health:
            _serve_health(options.health, self.pool.status)
        self._announced = False

    def run(self):
        """Run until the last process has ended.  Return the exit code."""
        self.wakeup.catch(signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
                          signal.SIGCHLD)
        try:
            while not self.pool.ended:
                if self._obey():
                    return 1
                self.pool.step()
                self._tell()
                self.wakeup.wait(LOOK)
        finally:
            self.pool.kill()
        if self.pool.refusal:
            raise WorkerError(self.pool.refusal)
        return 0

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
        status = self.pool.status()
        if not status['ready']:
            return
        if self.heartbeat is not None:
            self.heartbeat.beat()
        if not self._announced and not self.pool.reloading:
            self._announced = True
            logging.info('ready')
            self.notifier.send('READY=1')


def _pool_options(options):
    found = {name: getattr(options, name) for name in (
        'threads', 'processes', 'grace', 'max_jobs', 'max_memory')}
    return {'configuration': os.path.abspath(options.configuration),
            'services': options.service, **found}


def _serve_health(address, status):
    host, port = address
    try:
        health.serve(host, port, status)
    except OSError as error:
        raise WorkerError(
            f'cannot listen on {host}, port {port}: {error.strerror}; '
            f'choose another one with --health.') from error


@contextlib.contextmanager
def _pid_file(path):
    """Hold a locked file with our process id; remove it at the end."""
    try:
        # Not emptied before it is ours.
        file = open(path, 'a+', encoding='ascii')  # noqa: SIM115
    except OSError as error:
        raise WorkerError(
            f'cannot write {path}: {error.strerror}; choose another file '
            f'with --pid-file.') from error
    with file:
        if not _lock(file, fcntl.LOCK_EX):
            raise WorkerError(
                f'another worker uses the file {path}; stop that one, or '
                f'choose another file with --pid-file.')
        file.truncate(0)
        file.write(f'{os.getpid()}\n')
        file.flush()
        try:
            yield
        finally:
            Path(path).unlink(missing_ok=True)


def _lock(file, how):
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def reload_worker(path):
    """Send SIGHUP to the worker that holds a pid file."""
    try:
        with open(path, encoding='ascii') as file:
            running = not _lock(file, fcntl.LOCK_SH)
            pid = file.read().strip()
    except OSError as error:
        raise WorkerError(
            f'cannot read {path}: {error.strerror}; name the file that the '
            f'worker was given by --pid-file.') from error
    if not running or not pid:
        # One that was killed has left it behind.
        raise WorkerError(
            f'no worker uses the file {path}; start one with --pid-file.')
    os.kill(int(pid), signal.SIGHUP)


if __name__ == '__main__':
    main()
