"""The task service: where jobs are added, looked up, and settled."""

import random
import time

import BTrees
import persistent
import zope.component
import zope.container.contained
import zope.interface

from lovely.remotetask import execution
from lovely.remotetask import interfaces
from lovely.remotetask import processor
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ENDED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.job import Claim
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Job
from lovely.remotetask.queue import JobQueue
from lovely.remotetask.startup import bootStrapSubscriber
from lovely.remotetask.startup import getAutostartServiceNames


# Published here, wherever they live.
__all__ = ['TaskService', 'bootStrapSubscriber', 'getAutostartServiceNames']


@zope.interface.implementer(interfaces.ITaskService, interfaces.IJobExecution)
class TaskService(zope.container.contained.Contained, persistent.Persistent):
    """See ITaskService, and IJobExecution for the processors' side."""

    taskInterface = interfaces.ITask
    # See IProcessorSettings.
    processorFactory = processor.SimpleProcessor
    processorArguments = {'waitTime': 1.0}
    family = BTrees.family32

    _v_nextid = None
    _jobs_to_run = None

    def __init__(self):
        super().__init__()
        self.jobs = self.family.IO.BTree()
        self._jobs_to_run = JobQueue()

    # Adding

    def getAvailableTasks(self):
        """See ITaskService."""
        return dict(zope.component.getUtilitiesFor(self.taskInterface))

    def add(self, task, input=None, startLater=False):
        """See ITaskService."""
        self._check(task, input)
        job = self._store(Job(self._generateId(), task, input),
                          STARTLATER if startLater else QUEUED)
        if not startLater:
            self._put(job)
        return job.id

    def addCronJob(self, task, input=None, minute=(), hour=(), dayOfMonth=(),
                   month=(), dayOfWeek=(), delay=None):
        """See ITaskService."""
        self._check(task, input)
        job = CronJob(self._generateId(), task, input, minute, hour,
                      dayOfMonth, month, dayOfWeek, delay)
        self._store(job, CRONJOB if job.recurring else DELAYED)
        self._schedule(job)
        return job.id

    def startJob(self, jobid):
        """See ITaskService."""
        job = self._job(jobid)
        if job.status != STARTLATER:
            return False
        job.change_status(QUEUED)
        self._put(job)
        return True

    def reschedule(self, jobid):
        """See ITaskService."""
        job = self._job(jobid)
        if not interfaces.ICronJob.providedBy(job):
            raise ValueError(
                f'Job {jobid} is not a scheduled one; only jobs added by '
                f'addCronJob can be rescheduled.')
        if job.status in (CRONJOB, DELAYED):
            self._schedule(job)

    def _check(self, task, input):
        found = zope.component.queryUtility(self.taskInterface, name=task)
        if found is None:
            # The published message.
            raise ValueError('Task does not exist')
        if interfaces.IInputCheck.providedBy(found):
            found.checkInput(input)

    def _store(self, job, status):
        # First: the new job is none of those that are made over.
        self._make_over()
        job.change_status(status)
        self.jobs[job.id] = job
        return job

    def _put(self, job):
        self.queue.put(job)
        processor.wake_after_commit(self)

    def _schedule(self, job):
        self.queue.remove(job)
        self.queue.schedule(job)
        processor.wake_after_commit(self)

    def _generateId(self):
        """Return an id that is not yet taken.

        Ids are sequential from a random start, one for each connection: so
        concurrent transactions seldom meet in one bucket.
        """
        while True:
            if self._v_nextid is None:
                self._v_nextid = random.randrange(0, self.family.maxint)
            jobid = self._v_nextid
            self._v_nextid += 1
            if jobid <= self.family.maxint and jobid not in self.jobs:
                return jobid
            self._v_nextid = None

    # Looking up, and removing

    def getStatus(self, jobid):
        """See ITaskService."""
        return self._job(jobid).status

    def getResult(self, jobid):
        """See ITaskService."""
        return self._job(jobid).output

    def getError(self, jobid):
        """See ITaskService."""
        return str(self._job(jobid).error)

    def cancel(self, jobid):
        """See ITaskService."""
        job = self._find(jobid)
        if job is None or job.status not in (
                QUEUED, DELAYED, CRONJOB, STARTLATER):
            return
        self.queue.remove(job)
        job.end(CANCELLED, time.time())

    def clean(self, status=ENDED):
        """See ITaskService."""
        for name in status:
            if name not in ENDED:
                raise ValueError(
                    f'Jobs with the status {name!r} are not cleaned; choose '
                    f'from {", ".join(ENDED)}.')
        for jobid in [id for id, job in self.jobs.items()
                      if job.status in status]:
            del self.jobs[jobid]

    def _find(self, jobid):
        # A BTree of ints raises TypeError for other keys, even from `get`.
        return self.jobs.get(jobid) if isinstance(jobid, int) else None

    def _job(self, jobid):
        job = self._find(jobid)
        if job is None:
            raise KeyError(
                f'Task service {self.__name__!r} has no job {jobid!r}.')
        return job

    # Running jobs in the caller's transaction

    def hasJobsWaiting(self, now=None):
        """See ITaskService."""
        return self.queue.has_jobs(_seconds(now))

    def claimNextJob(self, now=None):
        """See ITaskService."""
        return self.claim(processor.identity(), processor.new_token(), now)

    def processNext(self, now=None, jobid=None):
        """See ITaskService."""
        if jobid is None:
            jobid = self.claimNextJob(now)
            if jobid is None:
                return False
        job = self._job(jobid)
        if job.status in (QUEUED, DELAYED, CRONJOB):
            self.queue.claim_job(job, Claim(
                processor.identity(), processor.new_token(), _seconds(now)))
        if job.status != PROCESSING:
            return job.status == COMPLETED
        execution.run_in_current_transaction(self, job, _seconds(now))
        return True

    def process(self, now=None):
        """See ITaskService."""
        while self.processNext(now):
            pass

    # See IJobExecution

    def claim(self, claimant, token, now=None):
        """See IJobExecution."""
        job = self.queue.claim(Claim(claimant, token, _seconds(now)))
        return None if job is None else job.id

    def claimed(self, jobid, token):
        """See IJobExecution."""
        job = self._find(jobid)
        if job is None or job.status != PROCESSING or job.claim.token != token:
            raise interfaces.ClaimLost(
                f'Job {jobid} of {self.__name__!r} is no longer claimed '
                f'under {token}.')
        return job

    def complete(self, job, output, now=None):
        """See IJobExecution."""
        job.succeed(output, _seconds(now))
        self.queue.settle(job)

    def fail(self, job, failure, now=None):
        """See IJobExecution."""
        job.fail(failure, _seconds(now))
        self.queue.settle(job)

    def release(self, is_alive):
        """See IJobExecution."""
        return [job.id for job in self.queue.release(is_alive)]

    # The processor of this process

    def startProcessing(self):
        """See ITaskService."""
        processor.start(self)

    def stopProcessing(self):
        """See ITaskService."""
        processor.stop(self)

    def isProcessing(self):
        """See ITaskService."""
        return processor.is_running(self)

    # Services stored by lovely.remotetask 0.5

    @property
    def queue(self):
        """The JobQueue.  One of lovely.remotetask 0.5 is made over."""
        self._make_over()
        return self._jobs_to_run

    def _make_over(self):
        if self._jobs_to_run is not None:
            return
        self._jobs_to_run = JobQueue()
        for name in ('_queue', '_scheduledJobs', '_scheduledQueue'):
            self.__dict__.pop(name, None)
        for job in sorted(self.jobs.values(), key=lambda job: job.created):
            self._enqueue_again(job)

    def _enqueue_again(self, job):
        if job.status == QUEUED:
            self._jobs_to_run.put(job)
        elif job.status in (CRONJOB, DELAYED):
            self._jobs_to_run.schedule(job)


def _seconds(now):
    return time.time() if now is None else now
