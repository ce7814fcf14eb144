"""The process that adds jobs, for Celery: with what its tests ask besides."""

import sys
import time

import transaction

from gocept.async_.tests import adder
from gocept.async_.tests import workerjobs


class Requests(adder.Requests):
    """See adder.Requests."""

    def add_timed(self, function, *args):
        """Add a job and commit that.  Return how many seconds it took."""
        began = time.monotonic()
        self.add(function, *args)
        transaction.commit()
        return time.monotonic() - began

    def add_delayed(self, delay, function, *args):
        """Add a job that is run later.  Return its id."""
        return getattr(workerjobs, function).enqueue_with(delay=delay)(*args)



if __name__ == '__main__':
    adder.main(sys.argv[1], Requests)
