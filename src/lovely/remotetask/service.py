"""The task service: where jobs are added, looked up, and settled."""

import random

import persistent
import zope.component
import zope.container.contained
import zope.interface

from lovely.remotetask import cleaning
from lovely.remotetask import execution
from lovely.remotetask import interfaces
from lovely.remotetask import listing
from lovely.remotetask import moment
from lovely.remotetask import processor
from lovely.remotetask import registry
from lovely.remotetask import upgrade
from lovely.remotetask import value
from lovely.remotetask.cron import check_delay
from lovely.remotetask.current import current
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
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
from lovely.remotetask.job import Claim
from lovely.remotetask.job import CronJob
from lovely.remotetask.job import Job
from lovely.remotetask.job import Run
from lovely.remotetask.number import check_priority
from lovely.remotetask.number import check_time
from lovely.remotetask.outcome import attempt
from lovely.remotetask.outcome import lost_run
from lovely.remotetask.policy import Policy
from lovely.remotetask.policy import sound
from lovely.remotetask.startup import bootStrapSubscriber
from lovely.remotetask.startup import getAutostartServiceNames
from lovely.remotetask.store import Jobs
from lovely.remotetask.store import JobStore
from lovely.remotetask.task import Tasks
from lovely.remotetask.unreadable import UnreadableJob
from lovely.remotetask.unreadable import reason_of


# Why nobody has stored how a run ended.
LOST_PROCESS = 'The process that ran the job ({}) is gone.'
INTERRUPTED = 'The databases or the process of {} failed while it ran the job.'
UNSTORED_END = 'The job was run by {}, and how that ended could not be stored.'

# Bytes that an input or a result may take, unless the service says more.
MAX_SIZE = 10_000_000

# Published here, wherever they live.
__all__ = ['TaskService', 'bootStrapSubscriber', 'getAutostartServiceNames']


@zope.interface.implementer(interfaces.ITaskService, interfaces.IJobExecution)
class TaskService(zope.container.contained.Contained, persistent.Persistent):
    """See ITaskService, and IJobExecution for the processors' side."""

    taskInterface = interfaces.ITask
    # See IProcessorSettings.
    processorFactory = processor.SimpleProcessor
    processorArguments = {'waitTime': 1.0}
    policy = Policy()

    paused = False

    _store = None

    # That of a service stored by earlier code; see `upgrade`.
    schema = 0

    def __init__(self):
        super().__init__()
        self.schema = upgrade.SCHEMA
        self._store = JobStore(self)

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

    # Adding

    def getAvailableTasks(self):
        """See ITaskService."""
        return Tasks(
            self, zope.component.getUtilitiesFor(self.taskInterface))

    def add(self, task, input=None, startLater=False,
            priority=DEFAULT_PRIORITY, delay=None):
        """See ITaskService."""
        current(self)
        input = self._checked(task, input)
        priority = check_priority(priority)
        delay = check_delay(delay)
        due = None if delay is None else moment.now() + delay

        def make(jobid):
            return Job(jobid, task, input, priority, due)
        return self._add(
            make, STARTLATER if startLater else QUEUED, priority)

    def addCronJob(self, task, input=None, minute=(), hour=(), dayOfMonth=(),
                   month=(), dayOfWeek=(), delay=None, timezone=None):
        """See ITaskService."""
        current(self)
        input = self._checked(task, input)
        # Made, and so checked, before anything is changed.
        job = CronJob(None, task, input, minute, hour, dayOfMonth, month,
                      dayOfWeek, delay, timezone)

        def make(jobid):
            job.id = jobid
            return job
        return self._add(make, job.waiting_status, DEFAULT_PRIORITY)

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

    def _restore(self, jobid):
        """Let a job wait, or be requeued, that can be read meanwhile."""
        if not self.store.restore(jobid):
            return False
        job = self._job(jobid)
        if job.status not in WAITING:
            return self.requeue(jobid)
        registry.wake_after_commit(self, job)
        return True

    def _generateId(self):
        """Return an int that is no job's id."""
        while True:
            jobid = random.randrange(2 ** 31)
            if self._find(jobid) is None:
                return jobid

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
        return value.copy(input, self._p_jar, self.max_size(), 'the input')

    def _add(self, make, status, priority):
        job = self.store.add(make, status, priority)
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
        return self.store.counts()

    def unreadable(self):
        """See ITaskService."""
        return self.store.unreadable()

    def oldest_waiting(self, now=None):
        """See ITaskService."""
        return self.store.oldest_waiting(_seconds(now))

    def find(self, status=None, task=None, function=None, after=None,
             limit=50):
        """See ITaskService."""
        return listing.find(
            self.store, listing.Selection(status, task, function), after,
            limit).part_of(self)

    def cancel(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._find(jobid)
        if (job is None or isinstance(job, UnreadableJob)
                or job.status not in (*WAITING, STARTLATER, HELD)):
            return False
        self.store.change(job, job.cancel, moment.now())
        return True

    def remove(self, jobid):
        """See ITaskService."""
        current(self)
        job = self._job(jobid)
        if job.status == PROCESSING:
            return False
        if isinstance(job, UnreadableJob):
            self.store.remove_unreadable(jobid)
        else:
            self.store.remove(job)
        return True

    def clean(self, status=ENDED):
        """See ITaskService."""
        current(self)
        for name in status:
            if name not in ENDED:
                raise ValueError(
                    f'Jobs with the status {name!r} are not cleaned; choose '
                    f'from {", ".join(ENDED)}.')
        for name in status:
            cleaning.clean(self.store, name)

    def _find(self, jobid):
        if isinstance(jobid, bool) or not isinstance(jobid, int):
            return None
        return self.store.find(int(jobid))

    def _job(self, jobid):
        job = self._find(jobid)
        if job is None:
            raise KeyError(
                f'Task service {self.__name__!r} has no job {jobid!r}.')
        return job

    # Running jobs in the caller's transaction

    def hasJobsWaiting(self, now=None):
        """See ITaskService."""
        current(self)
        return self.store.has_jobs(_seconds(now))

    def claimNextJob(self, now=None):
        """See ITaskService."""
        current(self)
        claims = self.claim(registry.direct_worker_id(), 1, now)
        return claims[0].job if claims else None

    def processNext(self, now=None, jobid=None):
        """See ITaskService."""
        current(self)
        now = _seconds(now)
        if jobid is not None:
            return self._process(self._job(jobid), now)
        taken = self.store.take(now, 1)
        return bool(taken) and self._process(taken[0], now)

    def process(self, now=None):
        """See ITaskService."""
        while self.processNext(now):
            pass

    def _process(self, job, now):
        if job.status not in (*WAITING, PROCESSING):
            return job.status == COMPLETED
        claim = job.claim or Claim(
            job.id, '', registry.identity(), now, job.attempts + 1,
            job.fence, job.stored_status)
        execution.run_in_current_transaction(self, job, claim, now)
        if claim.worker:
            self.settle(claim.worker, [job.id])
        else:
            self._settled(self.store.put_back(job, claim.counted, now))
        return True

    # See IJobExecution

    def claim(self, worker_id, limit, now=None, at_once=None, scheduled=True,
              may_die=None):
        """See IJobExecution."""
        if self.paused:
            return []
        return self.store.claim(
            worker_id, _seconds(now), limit, at_once, scheduled, may_die)

    def put_last(self, worker_id, jobids):
        """See IJobExecution."""
        worker = self.store.worker(worker_id)
        if worker is not None:
            worker.put_last(jobids)

    def has_lost(self, worker_id):
        """See IJobExecution."""
        return self.store.has_lost(worker_id)

    def claim_job(self, worker_id, jobid, now=None):
        """See IJobExecution."""
        if self.paused:
            return []
        return self.store.claim_job(worker_id, jobid, _seconds(now))

    def claimed(self, claim):
        """See IJobExecution."""
        job = self._find(claim.job)
        # Jobs of another service have the same ids and fences.
        if (claim.worker not in self.store.workers
                or not self._is_good(job, claim)):
            raise interfaces.ClaimLost(
                f'Job {claim.job} of {self.__name__!r} is no longer claimed '
                f'by {claim.processor}.')
        return job

    def complete(self, job, run, output, now=None):
        """See IJobExecution."""
        job.succeed(run, output, _seconds(now))

    def fail(self, job, run, failure, now=None):
        """See IJobExecution."""
        now = _seconds(now)
        if failure.holds:
            job.fail(run, failure, now, HELD)
            return
        policy = self._policy()
        if failure.interrupted and (
                policy.excuses(job) or not failure.exhausts):
            job.interrupt(run, failure, now,
                          policy.due_after_interruption(job, now))
            return
        due = policy.due_after_failure(job, failure, now)
        if due is None:
            job.fail(run, failure, now)
        else:
            job.retry(run, failure, now, due, failure.retryable)

    def is_behind(self):
        """See IJobExecution."""
        return not self.paused and self.store.is_behind()

    def next_due(self):
        """See IJobExecution."""
        return None if self.paused else self.store.next_due()

    def commit_every(self):
        """See IJobExecution."""
        return self._policy().commit_every

    def max_size(self):
        """See IJobExecution."""
        return getattr(self._policy(), 'max_size', MAX_SIZE)

    def logs_messages(self):
        """See IJobExecution."""
        return getattr(self._policy(), 'log_messages', True)

    def worker_ids(self, is_alive):
        """See IJobExecution."""
        return [worker.id for worker in self.store.readable_workers()
                if attempt(is_alive, worker).value]

    def signs_of_life(self):
        """See IJobExecution."""
        # One whose record cannot be read cannot give any, and is gone.
        return {**dict.fromkeys(self.store.workers),
                **{worker.id: attempt(_sign_of_life, worker).value
                   for worker in self.store.readable_workers()}}

    def held(self, worker_id):
        """See IJobExecution."""
        worker = self.store.worker(worker_id)
        return [] if worker is None else list(worker.claims)

    def settle(self, worker_id, jobids, begun=(), now=None, interrupted=()):
        """See IJobExecution."""
        for jobid in jobids:
            claim = self.store.drop_claim(worker_id, jobid)
            if claim is None:
                continue
            job = self._find(jobid) if jobid in begun else None
            if self._is_good(job, claim):
                self._count_run(job, claim, _seconds(now),
                                jobid in interrupted)
            self._settled(self.store.put_back_claimed(claim, now))

    def _count_run(self, job, claim, now, interrupted):
        policy = self._policy()
        if not interrupted:
            self._lose(job, claim, now, UNSTORED_END)
        elif not policy.excuses(job):
            self._lose(job, claim, now, INTERRUPTED)
        else:
            due = policy.due_after_interruption(job, now)
            job.lose(claim, INTERRUPTED.format(claim.processor), due)
            job.interruptions += 1

    def enter(self, worker_id, now=None):
        """See IJobExecution."""
        self.store.enter(worker_id, _seconds(now))

    def beat(self, worker_id, now=None):
        """See IJobExecution."""
        self.store.beat(worker_id, _seconds(now))

    def sign(self, worker_id, now=None):
        """See IJobExecution."""
        self.enter(worker_id, now)
        self.beat(worker_id, now)
        return self.store.workers[worker_id].heartbeat

    def release(self, is_alive, now=None):
        """See IJobExecution."""
        now = _seconds(now)
        gone = self.store.gone_workers(is_alive, now)
        return [jobid for worker_id in gone
                for jobid in self.release_worker(worker_id, now)]

    def release_worker(self, worker_id, now=None):
        """See IJobExecution."""
        worker = self.store.worker(worker_id)
        if worker is None:
            # Nobody knows what it has claimed; that is searched for.
            self.store.drop_worker(worker_id)
            return []
        return self._drop(worker, _seconds(now))

    def correct_schedule(self, now=None):
        """See IJobExecution."""
        return self.store.correct_schedule(_seconds(now))

    def stop_worker(self, worker_id):
        """See IJobExecution."""
        for claim in self.store.drop_worker(worker_id):
            self._settled(self.store.put_back_claimed(claim))

    def _drop(self, worker, now):
        dropped = []
        for claim in self.store.drop_worker(worker.id):
            job = self._find(claim.job)
            if self._is_good(job, claim):
                if len(dropped) < worker.at_once:
                    self._lose(job, claim, now, LOST_PROCESS)
                else:
                    # It waited for its turn.
                    job.outdate_claims()
                dropped.append(job.id)
            self._settled(self.store.put_back_claimed(claim, now))
        return dropped

    def _is_good(self, job, claim):
        return (job is not None and job.fence == claim.fence
                and job.stored_status in WAITING)

    def _lose(self, job, claim, now, reason):
        """Count a run of which nobody has stored how it ended."""
        policy = self._policy()
        if job.failures + 1 < policy.attempts:
            due = (None if reason == LOST_PROCESS
                   else policy.due_after_loss(job, now))
            job.lose(claim, reason.format(claim.processor), due)
        else:
            job.fail(Run(claim, claim.time),
                     lost_run(reason.format(claim.processor)), now)

    def _settled(self, job):
        if (job is not None and job.stored_status == COMPLETED
                and not self._policy().keep_result):
            self.store.drop(job)

    def prune(self, limit, now=None):
        """See IJobExecution."""
        policy = self._policy()
        pruned = cleaning.drop_some(self.store, limit)
        for status in (COMPLETED, CANCELLED, ERROR, HELD):
            pruned += self.store.prune(
                status, _seconds(now) - policy.retention_of(status),
                limit - pruned)
        pruned += self.store.prune_unreadable(
            _seconds(now) - policy.retention_of(HELD), limit - pruned)
        if pruned < limit:
            # There is time to look around.
            self.store.look_after(_seconds(now))
        return pruned

    def _policy(self):
        return sound(interfaces.IProcessorSettings(self, self).policy,
                     self.__name__)

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


def _seconds(now):
    return moment.now() if now is None else check_time(now)


def _sign_of_life(worker):
    """Return what changes when a worker writes; its clock does not count."""
    for each in (worker, worker.heartbeat):
        each._p_activate()
    return worker._p_serial, worker.heartbeat._p_serial
