"""The second yardstick: a queue that is written by hand, of the same work.

What somebody would write who needs a list of things to do in the ZODB, and
nothing of what a service promises: one who adds, one who runs, no claims, no
status but a flag, no retries, no principal, no site.

`Records` is the same with the records of a decorated call: what these cost
alone is the least that a service can reach which has them.
"""

import time

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

    name = 'loop'
    job = Job

    def __init__(self, stage):
        root = stage.connection.root()
        if self.name not in root:
            root[self.name] = PersistentList()
            transaction.commit()
        self._lists = root[self.name]

    def clear(self):
        """Forget all jobs."""
        del self._lists[:]
        transaction.commit()

    def add(self, number):
        """Add so many jobs, each in a transaction."""
        for input in range(number):
            if not self._lists or len(self._lists[-1]) == SIZE:
                self._lists.append(PersistentList())
            self._lists[-1].append(self.job(input))
            transaction.commit()

    def run(self, number, size=1):
        """Run so many jobs, `size` of them in a transaction.

        They are loaded as a process loads them that has not added them.
        """
        self._lists._p_jar.cacheMinimize()
        jobs = (job for each in self._lists for job in each)
        for done in range(1, number + 1):
            job = next(jobs)
            _work(job.input)
            job.status = 'completed'
            if done % size == 0:
                transaction.commit()
        transaction.commit()


class Call(persistent.Persistent):
    """What is to be called, in a record of its own."""

    def __init__(self, input):
        self.function = 'tasks.decorated'
        self.args = (input,)


class JobWithCall(Job):
    """A job that loads its call, and knows when it began and ended."""

    def __init__(self, input):
        self.call = Call(input)
        self.created = time.time()

    @property
    def input(self):
        self.started = self.ended = time.time()
        return self.call.args


class Records(Loop):
    """Lists of jobs that have their call in another record."""

    name = 'records'
    job = JobWithCall


def _work(input):
    """Do nothing, as the functions of all jobs here do."""
