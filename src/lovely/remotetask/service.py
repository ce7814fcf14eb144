"""The task service: where jobs are added, and looked up."""

import random
import types

import persistent
import zope.component
import zope.container.contained
import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask import processor
from lovely.remotetask import snapshot
from lovely.remotetask.cron import check_delay
from lovely.remotetask.foreign import value
from lovely.remotetask.foreign.unreadable import UnreadableJob
from lovely.remotetask.foreign.unreadable import reason_of
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DEFAULT_PRIORITY
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ENDED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Job
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.number import check_flag
from lovely.remotetask.number import check_priority
from lovely.remotetask.number import shown
from lovely.remotetask.policy import Policy
from lovely.remotetask.policy import policy_of
from lovely.remotetask.running import direct
from lovely.remotetask.running import events
from lovely.remotetask.running import registry
from lovely.remotetask.running import tracing
from lovely.remotetask.startup import bootStrapSubscriber
from lovely.remotetask.startup import getAutostartServiceNames
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import cleaning
from lovely.remotetask.storage import counting
from lovely.remotetask.storage import crons
from lovely.remotetask.storage import listing
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import taking
from lovely.remotetask.storage import upgrade
from lovely.remotetask.storage import whereabouts
from lovely.remotetask.storage.current import current
from lovely.remotetask.storage.selection import Selection
from lovely.remotetask.storage.store import Jobs
from lovely.remotetask.storage.store import JobStore
from lovely.remotetask.task import Tasks


# Published here, wherever they live.
__all__ = ['TaskService', 'bootStrapSubscriber', 'getAutostartServiceNames']


def _nothing():
    """Do nothing more, once a job is added."""


@zope.interface.implementer(interfaces.ITaskService)
class TaskService(zope.container.contained.Contained, persistent.Persistent):
    """What applications call; see ITaskService.

    Processors call ``IJobExecution(service)``.
    """

    taskInterface = interfaces.ITask
    # See IProcessorSettings.
    processorFactory = processor.SimpleProcessor
    # All services have this one, so nobody can change it.
    processorArguments = types.MappingProxyType({'waitTime': 1.0})
    policy = Policy()

    paused = False

    # Where a service was that was moved here: the name of the database, and
    # its oid there.
    moved_from = None

    _store = None

    # A service that earlier code has stored has no schema; see `upgrade`.
    schema = 0

    def __init__(self):
        super().__init__()
        self.schema = upgrade.SCHEMA
        self._store = JobStore(self)

    def __conform__(self, interface):
        """Adapt the service: here alone processors find their side of it."""
        return (JobExecution(self) if interface is interfaces.IJobExecution
                else None)

    def __setattr__(self, name, value):
        """Set an attribute to what can be stored; a flag must be one."""
        if name == 'paused':
            # Checked before the service registers with its transaction.
            value = check_flag(name, value)
        elif name == 'processorArguments' and isinstance(
                value, types.MappingProxyType):
            # Those of the class, say, which cannot be stored.
            value = dict(value)
        super().__setattr__(name, value)

    @property
    def store(self):
        """The JobStore, brought up to date if earlier code has stored it."""
        if self.schema < upgrade.SCHEMA:
            upgrade.upgrade(self)
        return self._store

    @property
    def jobs(self):
        """See ITaskService."""
        return Jobs(self.store)

    def _now(self):
        # What a caller dates goes by his clock, but is seen by processors
        # whose clocks are right: one that is a week behind would have a job
        # removed as soon as it was cancelled.
        return moment.now(snapshot.time_shown(self._p_jar))

    # Adding

    def getAvailableTasks(self):
        """See ITaskService."""
        return Tasks(
            self, zope.component.getUtilitiesFor(self.taskInterface))

    def add(self, task, input=None, startLater=False,
            priority=DEFAULT_PRIORITY, delay=None):
        """See ITaskService."""
        current(self)
        task, input, added = self._described(task, input)
        later = check_flag('startLater', startLater)
        priority = check_priority(priority)
        delay = check_delay(delay)
        due = None if delay is None else self._now() + delay

        place = self.store.reserve(priority)
        job = Job(place.id, task, input, priority, due)
        self._add(job, place, STARTLATER if later else QUEUED)
        added()
        return job.id

    def addCronJob(self, task, input=None, minute=(), hour=(), dayOfMonth=(),
                   month=(), dayOfWeek=(), delay=None, timezone=None):
        """See ITaskService."""
        current(self)
        task, input, added = self._described(task, input)
        place = self.store.reserve(DEFAULT_PRIORITY)
        job = CronJob(place.id, task, input, minute, hour, dayOfMonth, month,
                      dayOfWeek, delay, timezone)
        self._add(job, place, job.waiting_status)
        added()
        return job.id

    def startJob(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._job(jobid)
        if job.status != STARTLATER:
            return False
        self.store.change(job, job.change_status, QUEUED)
        registry.wake_after_commit(self, job)
        return True

    def reschedule(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._job(jobid)
        if not interfaces.ICronJob.providedBy(job):
            raise ValueError(
                f'Job {jobid} is not a scheduled one; only jobs added by '
                f'addCronJob can be rescheduled.')
        if job.status in (CRONJOB, DELAYED):
            self.store.change(job, job.reschedule)
            registry.wake_after_commit(self, job)

    def requeue(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._job(jobid)
        if isinstance(job, UnreadableJob):
            return self._restore(jobid)
        if job.status not in (HELD, ERROR, CANCELLED):
            return False
        if job.recurring:
            # Raises ValueError for a pattern that never matches; earlier
            # versions took those.
            job.timeOfNextCall()
        self.store.change(job, job.wait_again)
        registry.wake_after_commit(self, job)
        return True

    def copy(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._job(jobid)
        if isinstance(job, UnreadableJob):
            raise ValueError(
                f'Job {jobid} cannot be read, so nobody can tell what it '
                f'does; requeue or remove it.')
        place = self.store.reserve(job.priority)
        return self._add(job.copy(place.id), place, QUEUED)

    def _restore(self, jobid):
        """Let a job wait, or be requeued, that can be read meanwhile."""
        was_left_out = upgrade.is_left_out(self.store, jobid)
        restored = upgrade.restore(self, jobid) if was_left_out else (
            aside.restore(self.store, jobid))
        if not restored:
            return False
        job = self._job(jobid)
        if job.status in WAITING:
            registry.wake_after_commit(self, job)
            return True
        # Nobody could tell before that this one has ended, or why it is held:
        # somebody has to look at that first.
        return not was_left_out and self.requeue(jobid)

    def _generateId(self):
        """Return an int that is no job's id."""
        while True:
            jobid = random.randrange(2 ** 31)
            if self._find(jobid) is None:
                return jobid

    def _described(self, task, input):
        """Return the name of a task, its input, and what to call afterwards.
        """
        added = _nothing
        if interfaces.IJobSource.providedBy(task):
            task, input, added = task.describe(self, input)
        elif not isinstance(task, str):
            raise ValueError(
                f'Task does not exist: {shown(task)} is neither the name of '
                f'one nor a decorated function.')
        return task, self._checked(task, input), added

    def _checked(self, task, input):
        """Return an input as it will be read back; refuse what cannot be."""
        found = zope.component.queryUtility(self.taskInterface, name=task)
        if found is None:
            # The published message.
            raise ValueError('Task does not exist')
        if interfaces.IInputCheck.providedBy(found):
            found.checkInput(input)
            if issubclass(type(input), persistent.Persistent):
                # Its parts were looked at by the one who made it.
                return input
        if value.is_small(input, value.SMALL):
            return input
        return value.copy(input, self._p_jar, policy_of(self).max_size,
                          'the input')

    def _add(self, job, place, status):
        trace = tracing.current()
        if trace is not None:
            job.trace = trace
        self.store.add(job, place, status)
        events.send_after_commit(events.JobAdded, self, job)
        if status != STARTLATER:
            registry.wake_after_commit(self, job)
        return job.id

    # Looking up, and removing

    def getStatus(self, jobid):
        """See ITaskService."""
        return self._job(jobid).status

    def getResult(self, jobid):
        """See ITaskService."""
        found = self.store.read(getattr, self._job(jobid), 'output')
        if found.failed:
            raise interfaces.UnreadableResult(
                f'The result of job {jobid} cannot be read: '
                f'{reason_of(found)}.')
        return found.value

    def getError(self, jobid):
        """See ITaskService."""
        return str(self._job(jobid).error)

    def counts(self):
        """See ITaskService."""
        return counting.counts(self.store)

    def unreadable(self):
        """See ITaskService."""
        return aside.unreadable(self.store)

    def oldest_waiting(self, now=None):
        """See ITaskService."""
        return taking.oldest_waiting(self.store, moment.given(now))

    def find(self, status=None, task=None, function=None, after=None,
             limit=50, since=None, until=None, principal=None,
             errorClass=None, as_of=None, deadline=None):
        """See ITaskService."""
        selection = Selection(status, task, function, since, until, principal,
                              errorClass, as_of)
        page = listing.find(self.store, selection, after, limit, deadline)
        shown = snapshot.last_shown(self._p_jar)
        return page._replace(
            as_of=None if shown is None else shown.hex()).part_of(self)

    def cron_jobs(self, deadline=None):
        """See ITaskService."""
        return whereabouts.cron_jobs(self.store, deadline)

    def pause_job(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._job(jobid)
        if job.stored_status != CRONJOB or job.paused:
            return False
        crons.pause(self.store, job.id)
        return True

    def resume_job(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._job(jobid)
        if job.stored_status != CRONJOB or not job.paused:
            return False
        if job.status == PROCESSING:
            # When a run ends, its processor tells the next time anyway.
            crons.resume_running(self.store, job.id, self._now())
            return True
        crons.resume(self.store, job.id)
        self.store.change(job, job.reschedule)
        registry.wake_after_commit(self, job)
        return True

    def cancel(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._find(jobid)
        if (job is None or isinstance(job, UnreadableJob)
                or job.status not in (*WAITING, STARTLATER, HELD)):
            return False
        self.store.change(job, job.cancel, self._now())
        crons.resume(self.store, job.id)
        events.send_after_commit(events.JobCancelled, self, job)
        return True

    def remove(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._job(jobid)
        if job.status == PROCESSING:
            return False
        if isinstance(job, UnreadableJob):
            aside.remove(self.store, jobid)
        else:
            self.store.remove(job)
        return True

    def clean(self, status=ENDED):
        """See ITaskService."""
        current(self)
        for name in cleaning.chosen(status):
            cleaning.clean(self.store, name)

    def _find(self, jobid):
        if isinstance(jobid, bool) or not isinstance(jobid, int):
            return None
        return lookup.find(self.store, int(jobid))

    def _job(self, jobid):
        job = self._find(jobid)
        if job is None:
            raise KeyError(
                f'Task service {self.__name__!r} has no job {shown(jobid)}.')
        return job

    # Running jobs in the caller's transaction

    def hasJobsWaiting(self, now=None):
        """See ITaskService."""
        current(self)
        return taking.has_jobs(self.store, moment.given(now))

    def claimNextJob(self, now=None):
        """See ITaskService."""
        current(self)
        claims = interfaces.IJobExecution(self).claim(
            registry.direct_worker_id(), 1, now)
        return claims[0].job if claims else None

    def processNext(self, now=None, jobid=None):
        """See ITaskService."""
        direct.check_caller()
        current(self)
        now = moment.given(now)
        engine = interfaces.IJobExecution(self)
        job = engine.take(now) if jobid is None else self._job(jobid)
        return job is not None and direct.process(engine, job, now)

    def process(self, now=None):
        """See ITaskService."""
        while self.processNext(now):
            pass

    # The processor of this process

    def startProcessing(self):
        """See ITaskService."""
        registry.start(self)

    def stopProcessing(self):
        """See ITaskService."""
        registry.stop(self)

    def isProcessing(self):
        """See ITaskService."""
        return registry.is_running(self)
