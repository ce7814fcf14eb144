"""The second yardstick: a queue that is written by hand, of the same work.

What somebody would write who needs a list of things to do in the ZODB, and
nothing of what a service promises: one who adds, one who runs, no claims, no
status but a flag, no retries, no principal, no site.
"""

import persistent
import transaction
from persistent.list import PersistentList


# How many jobs a list holds.
SIZE = 16


class Job(persistent.Persistent):
    """A job of the loop."""

    status = 'queued'

    def __init__(self, input):
        self.input = input


class Loop:
    """The lists of jobs, in the root of a Stage's database."""

    def __init__(self, stage):
        root = stage.connection.root()
        if 'loop' not in root:
            root['loop'] = PersistentList()
            transaction.commit()
        self._lists = root['loop']

    def clear(self):
        """Forget all jobs."""
        del self._lists[:]
        transaction.commit()

    def add(self, number):
        """Add so many jobs, each in a transaction."""
        for input in range(number):
            if not self._lists or len(self._lists[-1]) == SIZE:
                self._lists.append(PersistentList())
            self._lists[-1].append(Job(input))
            transaction.commit()

    def run(self, number):
        """Run so many jobs, each in a transaction.

        They are loaded as a process loads them that has not added them.
        """
        self._lists._p_jar.cacheMinimize()
        jobs = (job for each in self._lists for job in each)
        for _ in range(number):
            job = next(jobs)
            _work(job.input)
            job.status = 'completed'
            transaction.commit()


def _work(input):
    """Do nothing, as the functions of all jobs here do."""
