"""The Celery application: ``celery -A gocept.async_.celery worker``.

The environment variable GOCEPT_ASYNC_ZOPE_CONF names the zope.conf of the
application whose jobs are run.
"""

import contextlib
import functools
import logging
import os
import threading
import time

import celery
import click
import kombu
from celery import signals
from celery.exceptions import Reject
from celery.exceptions import Retry
from celery.exceptions import WorkerShutdown
from celery.loaders.app import AppLoader
from zope.configuration.exceptions import ConfigurationError

from gocept.async_ import zopeconf
from gocept.async_.celery import consumer
from gocept.async_.celery import declared
from gocept.async_.celery import ends
from gocept.async_.celery import handlers
from gocept.async_.celery import secret
from gocept.async_.celery import settings
from gocept.async_.celery import transport
from gocept.async_.celery import worker
from gocept.async_.celery.entrance import entrance
from gocept.async_.startup import tell_of_missing
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import in_runner
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.forking import of_process
from lovely.remotetask.running import registry


log = journal(__name__)

VARIABLE = 'GOCEPT_ASYNC_ZOPE_CONF'


class NotConfigured(click.ClickException):
    """The application cannot be loaded; Celery shows the message alone."""


@functools.cache
def configuration():
    """Load the application, without its databases.

    Return its IConfiguration.

    The processes of a prefork pool inherit that; a database must not be
    inherited.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        raise NotConfigured(
            f'{VARIABLE} is not set; let this environment variable name the '
            f'zope.conf of the application whose jobs are to be run.')
    try:
        found = zopeconf.read(path)
    except ValueError as error:
        raise NotConfigured(f'{VARIABLE}: {error}') from error
    if found.uses_file_storage:
        raise NotConfigured(
            f'the database of {path} is a FileStorage, which only one '
            f'process can use; serve it by ZEO or use RelStorage, see '
            f'docs/howto/deployment.rst.')
    try:
        found.configure()
    except ConfigurationError as error:
        raise NotConfigured(
            f'the ZCML of {path} cannot be executed; correct it: '
            f'{error}') from error
    return found


class Loader(AppLoader):
    """Reads Celery's settings from the application."""

    def read_configuration(self, env=None):
        configuration()
        try:
            found = settings.settings(settings.broker())
        except (LookupError, ValueError) as error:
            raise NotConfigured(str(error)) from error
        _tell_of_ignored()
        return {**found, 'task_queues': _queues(),
                'worker_consumer': 'gocept.async_.celery.consumer:Consumer'}


def _tell_of_ignored():
    for name in declared.IGNORED:
        if os.environ.get(name):
            log.warning(
                '%s, of the environment or the command line, is ignored: the '
                'broker is the one that zope.conf or ZCML tells, and results '
                'are not stored; leave it out', name)


def _queues():
    names = worker.queues()
    if not names:
        raise NotConfigured(
            f'the ZCML of {os.environ[VARIABLE]} declares no service for '
            f'Celery; add <async:service name="..." processor="celery" />.')
    return [kombu.Queue(name, kombu.Exchange(name), routing_key=name)
            for name in names]


app = declared.Celery('gocept.async', loader=Loader, amqp=transport.AMQP,
                      control=consumer.Control)


@of_process
def _begin():
    global _attendance, _lock
    _attendance = None
    _lock = threading.Lock()


def attendance():
    """Return the Attendance of this process; it opens the database.

    Anew, if a job has closed that.
    """
    global _attendance
    with _lock:
        if _attendance is not None and _attendance.is_closed:
            log.error('somebody has closed the database; it is opened again')
            _attendance = None
        if _attendance is None:
            made = worker.Attendance(
                _open(), lambda: entrance.is_closed)
            made.start()
            _attendance = made
        return _attendance


def _open():
    try:
        db = configuration().open()
    except ConfigurationError as error:
        raise NotConfigured(
            f'the databases of {os.environ[VARIABLE]} do not fit the ZCML; '
            f'correct it: {error}') from error
    tell_of_missing(db)
    return db


# In the process of a prefork or solo pool.
@signals.worker_process_init.connect
def _enter_process(**kw):
    _attend()


# In the main process: that of a pool of threads, too.
@signals.worker_ready.connect
def _enter(sender, **kw):
    if sender.pool.__module__ == 'celery.concurrency.thread':
        _attend()
    if sender.pool.__module__ == 'celery.concurrency.solo':
        sender.pool.terminate_job = handlers.end_process


def _attend():
    outcome = outcome_of(attendance)
    entrance.report(not outcome.failed)
    if not outcome.failed:
        return
    if entrance.is_open:
        log.error('this process cannot run jobs, and ends; another one is '
                  'started soon: %s', outcome.error)
        # The pool would start that one at once, and again and again.
        _wait()
    else:
        log.critical('this worker cannot run jobs, and ends: %s',
                     outcome.error)
    # Celery would go on, and acknowledge messages that it cannot handle.
    raise WorkerShutdown(1)


def _wait():
    """Wait for a database that is away, unless this worker is to end."""
    end = time.monotonic() + worker.LONGEST_PAUSE
    while time.monotonic() < end and not entrance.is_closed:
        time.sleep(0.1)


@signals.worker_shutting_down.connect
def _close(**kw):
    entrance.close()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _leave(**kw):
    registry.stop_all()


class JobFailed(Exception):
    """What Celery is told of a job that has failed; the log tells why."""


class Run(celery.Task):
    """The task that runs jobs.

    What it raises only tells Celery that a job has failed: its traceback is
    none of the job.
    """

    throws = (JobFailed,)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        if isinstance(exc, JobFailed):
            einfo.traceback = ''

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        # Celery has none if it cancels the task itself.
        if einfo is not None:
            einfo.traceback = ''


@app.task(name=settings.TASK, base=Run, bind=True)
def run(self, **address):
    """Run the job of an address; see processor.address.

    Return whether there was something to be run.
    """
    with (handlers.kept(), handlers.ending(), _registered(self),
          ends.collected() as found):
        token = in_runner.set(True)
        try:
            done = _run(address)
        finally:
            in_runner.reset(token)
    _tell_of_failure(found)
    return done


def _run(address):
    """Run the job of an address; raise Reject if the message is given back.
    """
    try:
        return _reopened().run(address)
    except worker.GivenBack as error:
        raise Reject(str(error), requeue=True) from None


def _reopened():
    """Return the Attendance; raise GivenBack if it cannot be opened again."""
    outcome = outcome_of(attendance)
    if not outcome.failed:
        return outcome.value
    log.error('the database cannot be opened again, and jobs wait: %s',
              outcome.errorClass)
    _wait()
    raise worker.GivenBack('the database cannot be opened')


def _tell_of_failure(found):
    """Raise what lets Celery know if the last run has failed.

    Celery runs nothing again for that.
    """
    for end in found[-1:]:
        problem = ends.problem(end)
        if problem is not None and ends.is_retried(end):
            raise Retry(problem, exc=JobFailed(problem))
        if problem is not None:
            raise JobFailed(problem)


def _is_news(record):
    """Return whether Celery's log record of a task tells something.

    That one was given back is told by who does that, not each time.
    """
    return not (record.exc_info
                and issubclass(type(record.exc_info[1]), Reject))


logging.getLogger('celery.app.trace').addFilter(_is_news)


@app.on_after_finalize.connect
def _forget_others(sender, **kw):
    """Forget the tasks of Celery itself: nobody is to run them here."""
    for name in list(sender.tasks):
        if name != settings.TASK:
            sender.tasks.unregister(name)


@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def _hide_secrets(logger, **kw):
    """Let no handler write down what is secret of the broker."""
    screen = settings.broker().screen()
    for handler in logger.handlers:
        handler.setFormatter(secret.HidingFormatter(
            handler.formatter or logging.Formatter(), screen.hide))


@contextlib.contextmanager
def _registered(task):
    """See that Celery knows the task afterwards.

    To a job, ours is the current application of Celery.  What it changes there
    would keep all others from being run by this process.
    """
    try:
        yield
    finally:
        task.app.tasks[settings.TASK] = task
