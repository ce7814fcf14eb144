"""The long computation, and the record of who asked for what."""

import datetime
import math

import persistent
import transaction
import zope.component
from zope.app.appsetup.bootstrap import getInformationFromEvent
from zope.container.contained import Contained

from gocept.async_ import function
from gocept.async_.demo.formtoken import FormTokens
from gocept.async_.task import TaskDescription
from lovely.remotetask.interfaces import ITaskService


# Under this name the Computations are in the root folder.
NAME = 'computations'

# How many computations the page shows; older ones are forgotten.
KEPT = 20


@function(service='events')
def sum_of_primes(computation):
    """Add up the primes below the limit: deliberately the slow way."""
    if computation.limit < 3:
        raise ValueError(f'There is no prime below {computation.limit}.')
    computation.finish(sum(filter(_is_prime, range(2, computation.limit))))


def _is_prime(number):
    divisors = range(2, math.isqrt(number) + 1)
    return all(number % divisor for divisor in divisors)


class Computation(persistent.Persistent):
    """One computation: what was asked for, and what came out.

    After the request that made it only its job writes to it: so they never
    meet in a conflict.
    """

    jobid = None
    principal = None
    result = None
    runs = 0

    def __init__(self, limit):
        self.limit = limit
        self.asked = datetime.datetime.now(datetime.UTC)
        self.asked_by = TaskDescription.get_principal()

    def finish(self, result):
        """Note the result, and as whom the job was run."""
        self.result = result
        self.principal = TaskDescription.get_principal()
        self.runs += 1


class Computations(Contained, persistent.Persistent):
    """The newest computations, newest first."""

    newest = ()

    def __init__(self):
        self.tokens = FormTokens()

    def start(self, limit):
        """Start a computation: return at once, with the Computation."""
        computation = Computation(limit)
        # Like a call, which returns None; this tells the id of the job.
        computation.jobid = sum_of_primes.enqueue(computation)
        self.newest = (computation, *self.newest)[:KEPT]
        return computation

    def forget(self):
        """Remove the jobs that have ended, and their computations."""
        service = zope.component.getUtility(ITaskService, 'events')
        service.clean()
        self.newest = tuple(computation for computation in self.newest
                            if computation.jobid in service.jobs)


def create(event):
    """Put the Computations into the root folder of a new database.

    event -- an IDatabaseOpenedWithRoot.
    """
    _, connection, _, root_folder = getInformationFromEvent(event)
    if NAME not in root_folder:
        root_folder[NAME] = Computations()
        transaction.commit()
    connection.close()
