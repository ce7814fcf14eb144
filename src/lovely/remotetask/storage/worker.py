"""Worker records: which process has claimed which jobs, and lives.

Storage only.
"""

import persistent

from lovely.remotetask.job import Claim
from lovely.remotetask.storage.meter import Meter


class Heartbeat(persistent.Persistent):
    """When a worker was heard of last (POSIX seconds).

    memory -- megabytes that its process used then; None: not known.
    """

    memory = None

    def __init__(self, time):
        self.time = time


class Losses(persistent.Persistent):
    """The last worker that may have died while it ran an unclaimed job.

    Its serial tells when that was noted.

    processor -- ``host:pid:thread``.
    time -- when it was noted, in POSIX seconds.
    """

    def note(self, processor, now):
        """Remember that another one is gone."""
        self._p_changed = True
        self.processor = processor
        self.time = now


class Worker(persistent.Persistent):
    """The claims of one processor.

    id -- ``host:pid:thread:token``; the token differs for any two.
    claims -- by job id: time, attempt, fence, and the status under which the
        job is counted; in the order in which the jobs are begun.
    at_once -- how many jobs it begins at most before it ends one.
    unclaimed -- whether it runs jobs that it has not claimed: one at a time.
    turn -- grows with each of these that has ended, or is claimed after all.
    facts -- what is told of it: plain values by name, see IWorkerRecords.sign.
    meter -- the Meter of what it has counted; None: earlier code has stored
        the record.
    """

    at_once = float('inf')
    facts = meter = None
    unclaimed = False
    turn = 0

    def __init__(self, id, now):
        self.id = id
        self.claims = {}
        self.heartbeat = Heartbeat(now)
        self.meter = Meter()

    @property
    def processor(self):
        """``host:pid:thread``, for people."""
        return self.id.rpartition(':')[0]

    def claim(self, job, now):
        """Claim a job.  Return the Claim."""
        claim = now, job.attempts + 1, job.fence, job.stored_status
        # The record is registered first: that may raise, and then nothing is
        # changed.
        self._p_changed = True
        self.claims[job.id] = claim
        return self.get(job.id)

    def keep(self, claim):
        """Put a Claim here whose job was begun without that."""
        self._p_changed = True
        self.turn += 1
        self.claims[claim.job] = (
            claim.time, claim.attempt, claim.fence, claim.counted)

    def get(self, jobid):
        """Return the Claim on a job, or None."""
        claim = self.claims.get(jobid)
        if claim is None:
            return None
        return Claim(jobid, self.id, self.processor, *claim)

    def put_last(self, jobids):
        """Remember that some jobs are not begun before all others."""
        found = {jobid: self.claims[jobid] for jobid in jobids
                 if jobid in self.claims}
        if found and list(self.claims)[-len(found):] != list(found):
            self._p_changed = True
            for jobid, claim in found.items():
                del self.claims[jobid]
                self.claims[jobid] = claim

    def remove(self, jobid):
        """Drop the claim on a job.  Return it, None if there is none."""
        claim = self.get(jobid)
        if claim is not None:
            self._p_changed = True
            del self.claims[jobid]
        return claim
