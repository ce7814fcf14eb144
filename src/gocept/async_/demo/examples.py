"""Jobs that a new demo has, so that there is something to see.

One that fails, one that is held, as its function is gone, and one that runs
again and again.
"""

import transaction

from gocept.async_ import function
from gocept.async_.declaration import declarations
from gocept.async_.demo.computation import NAME
from gocept.async_.demo.computation import Computation
from gocept.async_.demo.computation import sum_of_primes
from gocept.async_.task import TASK_NAME
from gocept.async_.task import TaskDescription
from lovely.remotetask.startup import openedDatabase


@function(service='events')
def look_at_the_clock():
    """Do nothing, every hour."""


def create(event):
    """Add the examples to a service that has no jobs.

    event -- an IServerStarted.
    """
    connection = openedDatabase().open()
    try:
        # Whoever starts the server may have a transaction of his own.
        root = connection.root()['Application']
        service = declarations()[0].find(root)
        if NAME in root and not len(service.jobs):
            _add(service)
            transaction.commit()
    finally:
        transaction.abort()
        connection.close()


def _add(service):
    service.add(TASK_NAME, TaskDescription(
        sum_of_primes, (Computation(1),), {}))
    gone = TaskDescription(sum_of_primes, (1000,), {})
    # As if an earlier version of the demo had stored the call.
    gone._f = f'{__package__}.computation.sum_of_squares'
    service.add(TASK_NAME, gone)
    service.addCronJob(TASK_NAME, TaskDescription(
        look_at_the_clock, (), {}), minute=0)
