"""The processor "celery": tells workers of jobs, and runs none itself."""

import functools
import time

import zope.interface

from gocept.async_.celery import broker
from gocept.async_.declaration import declarations
from gocept.async_.recurring import Complaint
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import IProcessor
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.processor import HEARTBEAT
from lovely.remotetask.processor import MISSED_HEARTBEATS
from lovely.remotetask.running.events import name_of
from lovely.remotetask.running.member import Member
from lovely.remotetask.running.registry import GRACE
from lovely.remotetask.running.registry import service_path
from lovely.remotetask.running.settings import check_wait_time
from lovely.remotetask.startup import root_folder


log = journal(__name__)

# The queue of a service without a name.
UNNAMED = 'gocept.async'


def queue_name(service_name):
    """Return the name of the queue for a service."""
    return service_name or UNNAMED


class Address(dict):
    """Where a job is: what a message tells, in terms of JSON.

    function -- str, what the job runs: for people, beside the address.
    first -- whether no other message of the job was sent before.
    """

    function = None
    first = False


def address(db, path, job, tid=None):
    """Return the Address of a job.

    db -- with the root folder.
    tid -- of the transaction that a worker has to see before it can run the
        job; that which wrote the job if it is not given.
    """
    found = Address({
        'database': db.database_name, 'service': '/'.join(path),
        'job': job.id, 'attempt': job.attempts + 1,
        'tid': (tid or job._p_serial).hex()})
    found.function = name_of(job)
    return found


@zope.interface.implementer(IProcessor)
class CeleryProcessor(Member):
    """Sends the addresses of jobs to Celery.  It has no thread.

    See IProcessor.
    """

    thread = None
    threads = ()

    def __init__(self, db, servicePath, waitTime=1.0):
        check_wait_time(waitTime)
        super().__init__(db, servicePath, HEARTBEAT, MISSED_HEARTBEATS)
        self._stopped = False
        self._unsent = Complaint(log.error)

    @property
    def running(self):
        """See IProcessor."""
        return not self._stopped

    def __call__(self):
        """There is nothing to do."""

    def processNext(self, jobid=None):
        """It runs no job."""
        return False

    def start(self):
        """Find out whether there is a broker to send to; nothing runs."""
        outcome = outcome_of(broker.sender)
        if outcome.failed:
            log.error('%s: nothing can be sent: %s', self.thread_name,
                      broker.hide(outcome.error))

    def begin_after(self, txn):
        """There is nothing that could meet a transaction."""

    def stop(self):
        """See IProcessor."""
        self._stopped = True

    def join(self, deadline):
        """There is nothing to wait for."""

    def close(self, timeout=GRACE):
        """See IProcessor."""
        self.gate.close(timeout)

    @functools.cached_property
    def queue(self):
        """The name of the queue of the service."""
        outcomes = []
        with root_folder(self.db) as root:
            for declaration in declarations():
                # The database of another service may be away.
                outcomes.append(outcome_of(self._declares, declaration, root))
                if outcomes[-1].value:
                    return queue_name(declaration.name)
        for outcome in outcomes:
            if outcome.failed:
                # It may be the declaration of this service.
                raise outcome.exception
        return self.servicePath[-1]

    def _declares(self, declaration, root):
        service = declaration.find(root)
        return (service is not None
                and service_path(service) == self.servicePath)

    def added(self, jobs):
        """Send what can be run now; what cannot is sent when it is due."""
        now = time.time()
        # The addresses are made one by one, as they are sent: they may be
        # many, and the broker may be down.
        self.send(
            self._first_address(job) for job in jobs
            if job.stored_status == QUEUED
            and (job.due is None or job.due <= now))

    def _first_address(self, job):
        found = address(self.db, self.servicePath, job)
        # Whoever gets this message first need not claim the job.
        found.first = True
        return found

    def send(self, addresses):
        """Send an iterable of addresses.  Return how many were sent.

        The rest is left to the sweep of a worker.
        """
        outcome = outcome_of(self._send, addresses)
        if outcome.failed:
            self._unsent.say('%s: cannot send: %s', self.thread_name,
                             broker.hide(outcome.error))
        else:
            self._unsent.end()
        return outcome.value or 0

    def _send(self, addresses):
        return broker.sender().send(self.queue, addresses)


@zope.interface.implementer(IProcessorFactory)
class CeleryFactory:
    """See IProcessorFactory."""

    runsJobs = False

    def __call__(self, db, servicePath, waitTime=1.0, maxThreads=1):
        """See IProcessorFactory."""
        return CeleryProcessor(db, servicePath, waitTime)

    def check(self, maxThreads):
        """See IProcessorFactory."""
        if not broker.is_installed():
            raise ValueError(
                'Celery is not installed; pip install "gocept.async[celery]".')
        if maxThreads != 1:
            raise ValueError(
                f'threads="{maxThreads}" means nothing to the processor '
                f'"celery"; leave it out, and start the Celery worker with '
                f'--concurrency.')


celery_factory = CeleryFactory()
