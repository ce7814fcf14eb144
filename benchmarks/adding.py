"""Adding jobs, each in a commit that is tried until it succeeds."""

import time

import transaction
from transaction.interfaces import TransientError


class Added:
    """What adders tell.

    conflicts -- how many transient errors they met.
    committed -- pairs of job id and when its commit ended.
    """

    def __init__(self):
        self.conflicts = 0
        self.committed = []

    def add(self, service, jobs):
        """Add jobs, one a commit; each until it succeeds."""
        for number in range(jobs):
            while not self._try(service, number):
                self.conflicts += 1

    def _try(self, service, number):
        try:
            transaction.begin()
            jobid = service.add('stamp', number)
            transaction.commit()
        except TransientError:
            transaction.abort()
            return False
        self.committed.append((jobid, time.monotonic()))
        return True
