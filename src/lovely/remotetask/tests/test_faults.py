"""Real processes that die at a bad moment; `faulty` tells what happens.

These are the short forms, with few jobs.  The long ones, which are the
proof: ``python3 bootstrap.py faults``.
"""

import unittest

from lovely.remotetask.tests import faulty


def silent(text):
    pass


class FaultLayer:
    """A layer of its own: `bin/test` runs it beside others."""


class FaultTest(unittest.TestCase):

    layer = FaultLayer
    # Takes long: see CONTRIBUTING.rst.
    level = 2

    def test_kills(self):
        """Workers and the server are killed: each job has one effect."""
        faulty.kills(silent, jobs=60, seconds=2.5, restarts=1, workers=2,
                     pause=(0.3, 0.6))

    def test_group_commit(self):
        """The same, where several jobs share a transaction."""
        faulty.kills(silent, jobs=60, seconds=1.5, restarts=0, workers=2,
                     pause=(0.3, 0.6), commit_every=20)

    def test_deadly_jobs(self):
        """A job that kills its process ends in error, the others do not."""
        faulty.deadly_jobs(silent, jobs=20)

    def test_terminated(self):
        """SIGTERM: no job is run twice, and no attempt is counted."""
        faulty.terminated(silent, jobs=30, times=1)

    def test_full_disk(self):
        """While nothing can be written no job is lost."""
        faulty.full_disk(silent, jobs=40, seconds=0.5)

    def test_adding_processes(self):
        """Who adds never meets a conflict: processes, and ZEO."""
        faulty.adders(silent, number=40, processes=3)

    def test_adding_threads(self):
        """Who adds never meets a conflict: threads, and FileStorage."""
        faulty.adders_on_a_file(silent, number=50)
