"""Which jobs a process of a Celery worker has claimed, and called.

No function is called again before the run before is counted: claims are
settled by what is remembered here.
"""

from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.running import execution
from lovely.remotetask.running.events import name_of


class Runs:
    """Which jobs the threads of this process have, and what they did so far.

    running -- ids of jobs that a thread has.
    begun -- ids of those whose function was called under a claim that is not
        settled yet.
    interrupted -- those of the begun that were interrupted by what they stand
        on.
    ended -- how many threads have let go of a job since claims were settled.
    """

    def __init__(self):
        self.running = set()
        self.begun = set()
        self.interrupted = set()
        self.ended = 0

    def begin(self, jobid):
        """Let a thread have a job.  Return whether it is the only one."""
        if jobid in self.running:
            return False
        self.running.add(jobid)
        return True

    def end(self, jobid):
        """Let go of a job that was claimed."""
        # If a claim was committed, it is dropped by what settles next.
        self.running.discard(jobid)
        self.ended += 1

    def end_unclaimed(self, jobid):
        """Let go of a job on which there was no claim of this worker."""
        self.running.discard(jobid)

    def call(self, claim):
        """Remember that the function of a job is about to be called."""
        self.begun.add(claim.job)

    def mark_end(self, claim, end):
        """Remember what became of a claim; see execution.run_claimed."""
        if end == execution.NOT_BEGUN:
            self.begun.discard(claim.job)
        elif end == execution.INTERRUPTED:
            self.interrupted.add(claim.job)

    def forget(self, jobids):
        """Forget jobs on which no claims are left."""
        self.begun.difference_update(jobids)
        self.interrupted.difference_update(jobids)

    def settled(self):
        """Forget the jobs that do not run: their claims are settled."""
        self.forget(self.begun - self.running)
        self.ended = 0


# Bookkeeping: what is called with the IJobExecution of the service

def claim_job(engine, worker_id, jobid, runs, now, seats=(), first=False):
    """Claim a job; see IJobExecution.

    engine -- an IJobExecution.
    runs -- Runs of the worker.
    seats -- ids of the seats of this process: none of them runs the job.
    first -- whether nobody else can have been given the job.

    Return the Claim or None; who else may be running the job unclaimed, see
    IWorkerRecords.turns; and what was lost, see `outdate`.
    """
    lost = []
    if not first and engine.is_fresh(jobid):
        others = {id: turn for id, turn in engine.workers.turns().items()
                  if id not in seats}
        if others:
            return None, others, []
        _, lost = outdate(engine, [jobid], now)
    # This worker's old claim on the job has ended; settle it first, or the new
    # claim would overwrite it before it is counted.
    if jobid in engine.workers.claimed_ids(worker_id):
        drop(engine, worker_id, [jobid], runs, now)
    claims = engine.claim_job(worker_id, jobid, now)
    return (claims[0] if claims else None), {}, lost


def settle(engine, worker_id, runs, now):
    """Settle claims on jobs that no thread has."""
    drop(engine, worker_id, claimed_ids(engine, worker_id, runs), runs, now)


def claimed_ids(engine, worker_id, runs):
    """Return the ids of jobs that are claimed, and that no thread has."""
    # A commit of a claim may have succeeded though an error came back; these
    # are settled, too.
    return [jobid for jobid in engine.workers.claimed_ids(worker_id)
            if jobid not in runs.running]


def drop(engine, worker_id, jobids, runs, now):
    """Settle some claims; each run of their jobs is counted."""
    if jobids:
        engine.settle(
            worker_id, jobids, runs.begun.intersection(jobids), now,
            runs.interrupted.intersection(jobids))


def leave(engine, worker_id, runs, now):
    """Hand claims back, and be forgotten as a worker."""
    settle(engine, worker_id, runs, now)
    # The record stays while functions are running that will be cut off:
    # whoever sees that this process is gone counts these attempts by it.
    if not runs.running & runs.begun:
        engine.workers.stop_worker(worker_id)


# Without claims; see `seats`

def enter_seat(engine, worker_id):
    """Let others know of a seat."""
    engine.workers.enter(worker_id, unclaimed=True)


def keep(engine, claim):
    """Store the claim of a run that goes on."""
    engine.keep(claim)


def settle_seat(engine, worker_id, claims, interrupted, now):
    """Settle all claims of a seat where no job runs.

    claims -- those of the last runs there.  A run is counted of which nobody
        has stored how it ended.
    interrupted -- ids of jobs that were interrupted by what they stand on.
    """
    for claim in claims:
        engine.keep(claim)
    jobids = engine.workers.claimed_ids(worker_id)
    engine.settle(worker_id, jobids, jobids, now, interrupted)


def settle_one(engine, worker_id, claim, claims, interrupted, now):
    """Settle one claim of a seat; as `settle_seat`."""
    engine.keep(claim)
    engine.settle(worker_id, [claim.job], [claim.job], now, interrupted)


def leave_seat(engine, worker_id, claims, interrupted, now):
    """Settle all claims of a seat, and let it be forgotten."""
    settle_seat(engine, worker_id, claims, interrupted, now)
    engine.workers.stop_worker(worker_id)


def beat(engine, ids):
    """Tell that the workers of some ids live."""
    for worker_id in ids:
        engine.workers.beat(worker_id)


def outdate(engine, jobids, now):
    """Let nobody run some jobs unclaimed; count what may have been run.

    Return the ids of those that wait, and, of what was counted, ids, status
    and functions.
    """
    lost = [jobid for jobid in jobids if engine.outdate(jobid, now)]
    jobs = {jobid: engine.service.jobs.get(jobid) for jobid in jobids}
    return ([jobid for jobid, job in jobs.items()
             if job is not None and job.status == QUEUED],
            [(jobid, jobs[jobid].status, name_of(jobs[jobid]))
             for jobid in lost])
