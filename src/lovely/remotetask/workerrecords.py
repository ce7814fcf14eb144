"""The records of workers: who claims and runs jobs of a service."""

import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask import moment
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.measure import Slice
from lovely.remotetask.runends import LOST_PROCESS
from lovely.remotetask.storage import counting
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import meter
from lovely.remotetask.storage import share
from lovely.remotetask.storage import taking
from lovely.remotetask.storage import unclaimed


@zope.interface.implementer(interfaces.IWorkerRecords)
class WorkerRecords:
    """See IWorkerRecords.

    ends -- RunEnds of the same transaction.
    """

    def __init__(self, ends):
        self._ends = ends
        self.store = ends.store

    def enter(self, worker_id, now=None, unclaimed=False):
        """See IWorkerRecords."""
        crew.enter(self.store, worker_id, moment.given(now), unclaimed)

    def beat(self, worker_id, now=None):
        """See IWorkerRecords."""
        crew.beat(self.store, worker_id, moment.given(now))

    def sign(self, worker_id, now=None, facts=None, memory=None):
        """See IWorkerRecords."""
        now = moment.given(now)
        crew.enter(self.store, worker_id, now)
        crew.beat(self.store, worker_id, now, facts, memory)
        return self.store.workers[worker_id].heartbeat

    def measure(self, worker_id, number, slices, now=None):
        """See IWorkerRecords."""
        worker = crew.worker(self.store, worker_id)
        if worker is None:
            return
        now = moment.given(now)
        seen = Slice(int(now) // 60 * 60)
        oldest = taking.oldest_waiting(self.store, now)
        seen.see(counting.counts(self.store)[QUEUED],
                 0.0 if oldest is None else max(0.0, now - oldest))
        meter.measure(self.store, worker, number, [*slices, seen])

    def signs_of_life(self):
        """See IWorkerRecords."""
        # A worker whose record cannot be read gives no signs, and counts as
        # gone.
        return {**dict.fromkeys(self.store.workers),
                **{worker.id: outcome_of(_sign_of_life, worker).value
                   for worker in crew.workers(self.store)}}

    def facts(self):
        """See IWorkerRecords."""
        return {worker.id: crew.facts(worker)
                for worker in crew.workers(self.store)}

    def turns(self):
        """See IWorkerRecords."""
        return unclaimed.turns(self.store)

    # What one has claimed

    def is_own(self, worker_id, jobid):
        """See IWorkerRecords."""
        return share.is_own(self.store, worker_id, jobid)

    def claimed_ids(self, worker_id):
        """See IWorkerRecords."""
        worker = crew.worker(self.store, worker_id)
        return [] if worker is None else list(worker.claims)

    def put_last(self, worker_id, jobids):
        """See IWorkerRecords."""
        worker = crew.worker(self.store, worker_id)
        if worker is not None:
            worker.put_last(jobids)

    def has_lost(self, worker_id):
        """See IWorkerRecords."""
        return taking.has_lost(self.store, worker_id)

    # How one ends

    def release(self, is_alive, now=None):
        """See IWorkerRecords."""
        now = moment.given(now)
        gone = crew.gone(self.store, is_alive, now)
        return [jobid for worker_id in gone
                for jobid in self.release_worker(worker_id, now)]

    def release_worker(self, worker_id, now=None):
        """See IWorkerRecords."""
        if worker_id not in self.store.workers:
            return []
        worker = crew.worker(self.store, worker_id)
        # Nobody knows what one has claimed that cannot be read; that is
        # searched for.
        at_once = 0 if worker is None else worker.at_once
        now = moment.given(now)
        released = []
        for claim in crew.drop_worker(self.store, worker_id):
            job = lookup.find(self.store, claim.job)
            if crew.is_good(job, claim):
                if len(released) < at_once:
                    self._ends.lose(job, claim, now, LOST_PROCESS)
                else:
                    # The worker had not begun this job, so no attempt of it
                    # is lost.
                    job.outdate_claims()
                released.append(job.id)
            self._ends.settle(claim, now)
        if not released and (worker is None or worker.unclaimed):
            unclaimed.note_loss(
                self.store, worker_id.rpartition(':')[0], now)
        return released

    def stop_worker(self, worker_id):
        """See IWorkerRecords."""
        for claim in crew.drop_worker(self.store, worker_id):
            self._ends.settle(claim)


def _sign_of_life(worker):
    """Return what changes when a worker writes; its clock does not count."""
    for each in (worker, worker.heartbeat):
        each._p_activate()
    return worker._p_serial, worker.heartbeat._p_serial
