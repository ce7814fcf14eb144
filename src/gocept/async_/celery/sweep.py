"""Sends jobs that nobody has sent, and those whose message got lost.

What waits for a time has no message until it is due; and a broker may lose
what it has.  One worker looks for both: the leader.
"""

from gocept.async_.celery import broker
from gocept.async_.celery.processor import address
from gocept.async_.celery.sent import Sent
from gocept.async_.celery.sent import Waiting
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running.session import opened_engine


# How many jobs are looked at in one sweep.
SWEEP_AT_ONCE = 500

# What the ids of workers of this kind begin with, after host and pid.
KIND = 'celery-'


class Sweep:
    """What one worker does for all, now and then.

    member -- the Attendant: who it is, and how it sends and commits.
    is_leading -- whether this worker was the leader when it looked last.
    """

    def __init__(self, member):
        self._member = member
        self._sent = Sent()
        self.is_leading = False

    def step(self, now):
        """Send what there is to send, if this worker is the leader.

        That one is chosen when there is something to send, and is to be known
        to the others before it begins.

        now -- POSIX seconds.

        Return how many were sent.
        """
        leader, is_needed = self._find_leader(now)
        self.is_leading = leader == self._member.worker_id
        if is_needed and leader is None:
            self._member.membership.bookkeep(_enter, self._member.worker_id)
        if not is_needed or not self.is_leading:
            return 0
        if self._member.knows_time():
            # This passes entries of jobs that others have run, and puts what
            # waits for a time into the schedule.
            self._member.membership.bookkeep(_look, now)
        found = self._to_send(now)
        sent = self._member.send([each.address for each in found])
        self._sent.remember(found[:sent])
        return sent

    def _opened(self):
        return opened_engine(self._member.db, self._member.servicePath)

    def _find_leader(self, now):
        """Return who sweeps, or None; and whether there is need of that."""
        with self._opened() as engine:
            leader = min(self._known(engine), default=None)
            return leader, leader in (None, self._member.worker_id) and (
                engine.is_behind() or engine.has_due(now))

    def _known(self, engine):
        """Return the ids of the workers of this kind that are alive."""
        # After host and pid.
        return [worker_id for worker_id in engine.workers.signs_of_life()
                if f':{KIND}' in worker_id
                and self._member.membership.is_alive(worker_id)]

    def _to_send(self, now):
        """Return what waits without a message, as Waiting."""
        sender = broker.sender()
        self._sent.be_patient(sender.broker.resend_after, 0)
        if not self._may_find_lost(now):
            return []
        messages = sender.waiting(self._member.queue)
        if messages is None:
            # The broker does not answer.
            return []
        self._sent.be_patient(sender.broker.resend_after, messages)
        if not self._may_find_lost(now):
            return []
        return [each for each in self._find_waiting(now)
                if self._sent.is_lost(each, now)]

    def _may_find_lost(self, now):
        """Return whether a job waits that may have to be sent."""
        with self._opened() as engine:
            oldest = engine.service.oldest_waiting(now)
            return engine.has_due(now) or (
                oldest is not None and now - oldest >= self._sent.patience)

    def _find_waiting(self, now):
        """Return what could be claimed now, as Waiting."""
        with self._opened() as engine:
            # These claims are never committed: making them is how to see what
            # is next.
            claims = engine.claim(
                self._member.worker_id, SWEEP_AT_ONCE, now,
                scheduled=self._member.knows_time())
            described = [outcome_of(self._describe, engine.service, claim.job)
                         for claim in claims]
            # A job that cannot be read does not hold up the others.
            return [outcome.value for outcome in described
                    if not outcome.failed]

    def _describe(self, service, jobid):
        job = service.jobs[jobid]
        written = job._p_mtime or 0.0
        return Waiting(
            (job.id, job.attempts),
            address(self._member.db, self._member.servicePath, job),
            max(written, job.due or 0.0), job.due is not None)


def _look(engine, now):
    if not engine.service.paused:
        engine.service.hasJobsWaiting(now)


def _enter(engine, worker_id):
    engine.workers.enter(worker_id)
