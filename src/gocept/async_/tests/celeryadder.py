"""The process that adds jobs, for Celery: with what its tests ask besides."""

import sys
import time

import transaction

from gocept.async_.celery import broker
from gocept.async_.celery.processor import address
from gocept.async_.tests import adder
from gocept.async_.tests import workerjobs
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.running.registry import service_path


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

    def send_again(self):
        """Send the addresses of waiting jobs.  Return how many were sent."""
        service = self._service()
        path = service_path(service)
        return broker.sender().send('events', [
            address(service._p_jar.db(), path, job)
            for job in service.find(status=QUEUED).jobs])


if __name__ == '__main__':
    adder.main(sys.argv[1], Requests)
