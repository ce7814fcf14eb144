"""Sends jobs that nobody has sent, and those whose message got lost.

What waits for a time has no message until it is due; and a broker may lose
what it has.  One worker looks for both: the leader.  That is one of those
that can send most, so it hands over when it can send less.
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

# What a worker can send: nothing; what waits for no time, as it does not know
# what time it is; everything.
NOTHING, UNTIMED, ALL = range(3)

# The name of that among the facts that others know of a worker.
FACT = 'sends'


class Sweep:
    """What one worker does for all, now and then.

    member -- the Attendant: who it is, and how it sends and commits.
    is_leading -- whether this worker was the leader when it looked last.
    facts -- what others are to know of it, see IWorkerRecords.sign.
    """

    def __init__(self, member):
        self._member = member
        self._sent = Sent()
        self.is_leading = False
        self.facts = {FACT: ALL}

    def step(self, now):
        """Send what there is to send, if this worker is the leader.

        That one is chosen when there is something to send, and is to be known
        to the others before it begins.

        now -- POSIX seconds.

        Return how many were sent.
        """
        can_send = ALL if self._member.knows_time() else UNTIMED
        if not self._is_needed(can_send, now):
            return 0
        if not self.is_leading:
            self._take_the_lead(can_send)
            return 0
        self._tell(can_send)
        outcome = outcome_of(self._send, now)
        if outcome.value is None:
            # Whatever it is that keeps this worker from sending, another one
            # may be able to.
            self._tell(NOTHING)
        if outcome.failed:
            raise outcome.exception
        return outcome.value or 0

    def _opened(self):
        return opened_engine(self._member.db, self._member.servicePath)

    def _is_needed(self, can_send, now):
        """Return whether there is something to do for this worker.

        It leads, or could lead better, and there may be something to send.
        """
        with self._opened() as engine:
            leader, sends = self._find_leader(engine)
            self.is_leading = leader == self._member.worker_id
            return (self.is_leading or sends < can_send) and (
                engine.is_behind() or engine.has_due(now))

    def _find_leader(self, engine):
        """Return who leads, or None, and what that one can send."""
        known = [(worker_id, _sends(facts))
                 for worker_id, facts in engine.workers.facts().items()
                 # After host and pid.
                 if f':{KIND}' in worker_id
                 and self._member.membership.is_alive(worker_id)]
        most = max((sends for _, sends in known), default=NOTHING)
        if most == NOTHING:
            return None, NOTHING
        return min(found for found in known if found[1] == most)

    def _take_the_lead(self, can_send):
        sender = broker.sender()
        if sender.waiting(self._member.queue) is not None:
            self._tell(can_send)

    def _tell(self, can_send):
        """Let the others know what this worker can send, if that is news."""
        if self.facts == {FACT: can_send} and self.is_leading:
            return
        before, self.facts = self.facts, {FACT: can_send}
        outcome = outcome_of(self._member.membership.sign)
        if outcome.failed:
            # It is news still.
            self.facts = before
            raise outcome.exception

    def _send(self, now):
        """Send what there is to send.

        Return how many were sent, None if that cannot be done.
        """
        if self._member.knows_time():
            # This passes entries of jobs that others have run, and puts what
            # waits for a time into the schedule.
            self._member.membership.bookkeep(_look, now)
        found = self._to_send(now)
        if not found:
            return None if found is None else 0
        sent = self._member.send([each.address for each in found])
        self._sent.remember(found[:sent])
        return sent or None

    def _to_send(self, now):
        """Return what waits without a message, as Waiting.

        None if the broker does not answer.
        """
        sender = broker.sender()
        self._sent.be_patient(sender.broker.resend_after, 0)
        if not self._may_find_lost(now):
            return []
        messages = sender.waiting(self._member.queue)
        if messages is None:
            return None
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


def _sends(facts):
    """Return what a worker can send, by the facts that it has told."""
    found = facts.get(FACT, ALL)
    # It was stored by any version of this code.
    return found if type(found) is int and 0 <= found <= ALL else NOTHING
