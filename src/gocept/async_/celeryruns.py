"""Which jobs a process of a Celery worker has claimed, and called.

No function is called again before the run before is counted: claims are
settled by what is noted here.
"""

from lovely.remotetask import execution


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
        # If a claim was committed, it is dropped by what settles next.
        self.running.discard(jobid)
        self.ended += 1

    def call(self, claim):
        """Note that the function of a job is about to be called."""
        self.begun.add(claim.job)

    def note_end(self, claim, end):
        """Note what became of a claim; see execution.run_claimed."""
        if end == execution.NOT_BEGUN:
            self.begun.discard(claim.job)
        elif end == execution.INTERRUPTED:
            self.interrupted.add(claim.job)

    def forget(self, jobids):
        """Note that no claims on jobs are left."""
        self.begun.difference_update(jobids)
        self.interrupted.difference_update(jobids)

    def settled(self):
        """Note that all claims are settled but those of jobs that run."""
        self.forget(self.begun - self.running)
        self.ended = 0


# Bookkeeping: what is called with the service

def claim_job(service, worker_id, jobid, runs, now):
    """Claim a job; see IJobExecution.

    runs -- Runs of the worker.
    """
    # That of a run before, which is over: it would be forgotten uncounted.
    if jobid in service.held(worker_id):
        drop(service, worker_id, [jobid], runs, now)
    return service.claim_job(worker_id, jobid, now)


def settle(service, worker_id, runs, now):
    """Settle claims on jobs that no thread has."""
    drop(service, worker_id, held(service, worker_id, runs), runs, now)


def held(service, worker_id, runs):
    """Return the ids of jobs that are claimed, and that no thread has."""
    # Also those whose claim was committed though an error came back.
    return [jobid for jobid in service.held(worker_id)
            if jobid not in runs.running]


def drop(service, worker_id, jobids, runs, now):
    """Settle some claims; each run of their jobs is counted."""
    if jobids:
        service.settle(
            worker_id, jobids, runs.begun.intersection(jobids), now,
            runs.interrupted.intersection(jobids))


def leave(service, worker_id, runs, now):
    """Hand claims back, and be forgotten as a worker."""
    settle(service, worker_id, runs, now)
    # What is cut off in the middle counts: whoever sees that this process is
    # gone does that, by the record.
    if not runs.running & runs.begun:
        service.stop_worker(worker_id)
