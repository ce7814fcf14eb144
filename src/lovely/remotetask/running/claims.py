"""What a processor has claimed, from the claim until that is settled."""

import collections
import contextlib
import queue


class Claims:
    """The claims of one processor.

    ids -- set: the ids of the jobs that are claimed.
    rests -- by id: the Rest of jobs that were run, where that is known.
    unsettled -- those of jobs whose claims cannot be settled for now, and
        whether they were begun.

    Runners take claims and say what they have run; the claimer does the
    rest.  Their single operations need no lock; whoever iterates takes a copy
    first.
    """

    def __init__(self):
        self.ids = set()
        self.unsettled = {}
        self.rests = {}
        # None ends a runner.
        self._waiting = queue.SimpleQueue()
        # Ids of jobs that were run, and of those that will not be, by order
        # of their ends.
        self._run = collections.deque()
        self._late = collections.deque()
        self._missed = set()

    # For runners

    def take(self):
        """Wait for a claim to be run.  Return it; None at the end."""
        return self._waiting.get()

    def take_another(self):
        """Return a claim, None if there is none at the moment."""
        with contextlib.suppress(queue.Empty):
            claim = self._waiting.get_nowait()
            if claim is None:
                # The end; once more for the next turn.
                self._waiting.put(None)
            return claim
        # Another runner was quicker.
        return None

    def mark_run(self, claims, ends=None):
        """Remember that jobs were run.

        ends -- what became of each claim, see execution.run_claimed; None if
            nobody knows.
        """
        for claim in claims:
            rest = getattr(ends and ends.get(claim), 'rest', None)
            if rest is not None:
                self.rests[claim.job] = rest
        self._run.extend(claim.job for claim in claims)

    # For the claimer

    def add(self, claims):
        """Hand claims out to runners."""
        for claim in claims:
            # With an older claim on it, one that was taken away, the job is
            # in line already; both are settled when that has its turn.
            if claim.job not in self.ids:
                self.ids.add(claim.job)
                self._waiting.put(claim)

    @property
    def waiting(self):
        """How many wait for a runner."""
        return self._waiting.qsize()

    @property
    def outstanding(self):
        """How many are yet to be run, or are being run."""
        return (len(self.ids) - len(self.unsettled) - len(self._run)
                - len(self._late))

    @property
    def run(self):
        """The ids of jobs that were run, and are not settled."""
        # Any thread may ask, when the processor is closed.
        unsettled = list(self.unsettled.items())
        return [*self._run, *(jobid for jobid, begun in unsettled if begun)]

    def give_up_waiting(self):
        """Take back what no runner takes."""
        while self._waiting.qsize():
            claim = self.take_another()
            if claim is None:
                break
            self._late.append(claim.job)

    def to_settle(self):
        """Return two lists of ids: of jobs that were run, and of others."""
        return list(self._run), list(self._late)

    def rests_of(self, ids):
        """Return the Rests of jobs by id, of those where it is known."""
        return {jobid: self.rests[jobid] for jobid in ids
                if jobid in self.rests}

    def mark_settled(self, run, late):
        """Remember that claims are settled: the first ones of `to_settle`."""
        for ids, settled in ((self._run, run), (self._late, late)):
            for jobid in settled:
                ids.popleft()
                self.ids.discard(jobid)
                self.rests.pop(jobid, None)

    def set_aside(self, jobid, begun):
        """Remember that a claim, the first one of its kind, is not settled."""
        (self._run if begun else self._late).popleft()
        self.rests.pop(jobid, None)
        self.unsettled[jobid] = begun

    def mark_unsettled(self, jobid):
        """Remember that a claim could be settled after all."""
        self.unsettled.pop(jobid, None)
        self.ids.discard(jobid)

    def missed(self, running):
        """Return ids of jobs that nobody has, since this was called before.

        A runner may have died between taking a claim and noting that.

        running -- ids of those that runners have.
        """
        if self._waiting.qsize():
            return []
        missed = self.ids.difference(
            running, list(self._run), list(self._late), self.unsettled)
        found, self._missed = missed & self._missed, missed
        return sorted(found)

    def mark_missed(self, ids):
        """Remember that jobs were begun, though nobody has said so."""
        self._run.extend(ids)

    def end(self, runners):
        """Let runners come to their end; forget what they have not taken."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
        for _ in range(runners):
            self._waiting.put(None)

    def forget(self):
        """Forget all: the service is another one."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
        self._run.clear()
        self._late.clear()
        self.rests.clear()
        self.unsettled.clear()
        self.ids.clear()


def listed(ids):
    """Return ids of jobs as text."""
    return ', '.join(map(str, sorted(ids)))
