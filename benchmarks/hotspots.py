"""Where processor time goes: the parts of adding and of running jobs.

All in one thread: what a processor does, without the threads.  Functions are
not traced, which would make small ones dear: a timer that runs with the
processor time interrupts them, and counts in which part they are.
"""

import collections
import contextlib
import inspect
import signal
import time

import transaction
from transaction import Transaction
from ZODB.Connection import Connection

import tasks
from depth import claim_batch
from depth import run_batch
from gocept.async_.decorator import _Calls
from gocept.async_.task import AsyncFunction
from loop import Loop
from lovely.remotetask.jobexecution import JobExecution
from lovely.remotetask.running import execution
from lovely.remotetask.running.execution import Execution
from lovely.remotetask.running.session import Session
from lovely.remotetask.running.surroundings import Surroundings
from lovely.remotetask.storage import adder
from lovely.remotetask.storage.store import JobStore
from raw import commit
from stage import in_site


# Seconds of processor time between two looks, at least: the kernel may count
# in longer steps.
INTERVAL = 0.001

# Functions by what they do.  Where one calls another one, that counts.
PARTS = {
    'load records': [Connection.setstate],
    'commit: store records': [Connection.commit],
    'commit: vote and finish': [Connection.tpc_vote, Connection.tpc_finish],
    'commit: all else': [Transaction.commit],
    'describe the call': [_Calls._describe],
    'lease a place in a lane': [adder.lane_of_transaction],
    'put the job there': [JobStore.add],
    'claim': [JobExecution.claim],
    'settle claims': [JobExecution.settle],
    'begin a transaction, find the service': [
        Session.__init__, Session.begin],
    'look whether it is as it was left': [Session.close],
    'site, interaction, process: begin': [Surroundings.__enter__],
    'site, interaction, process: set back': [Surroundings.__exit__],
    'find the claimed job': [JobExecution.claimed],
    'function, arguments, principal, site of the call': [
        AsyncFunction.context],
    'what is told of a job': [
        Execution._begin, Execution.tell_of_end, execution.waited_of],
    'end of the job': [JobExecution.complete],
}
REST = 'all else'


class Samples:
    """Counts in which part this thread is, while processor time passes."""

    def __init__(self):
        self.counts = collections.Counter()
        self._parts = {
            inspect.unwrap(function).__code__: title
            for title, functions in PARTS.items() for function in functions}

    @contextlib.contextmanager
    def taken(self):
        """Take samples for a while."""
        before = signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    def _take(self, number, frame):
        while frame is not None and frame.f_code not in self._parts:
            frame = frame.f_back
        self.counts[REST if frame is None
                    else self._parts[frame.f_code]] += 1


def profiles(stage, options):
    """Yield lines: the parts of each operation, and how long they take."""
    loop = Loop(stage)
    loop.clear()
    found = {}
    for name, call, yardstick in (
            ('raw commits', lambda: commit(stage, options.jobs), None),
            ('loop, add', lambda: loop.add(options.jobs), None),
            ('add, decorated function', lambda: _add(stage, options.jobs),
             'loop, add'),
            ('loop, run', lambda: loop.run(options.jobs), None),
            ('run, decorated function', lambda: _run(stage), 'loop, run')):
        transaction.begin()
        samples = Samples()
        begin = time.process_time()
        with samples.taken():
            call()
        found[name] = (time.process_time() - begin) / options.jobs * 1e6
        yield from _lines(
            name, found[name], samples.counts, found.get(yardstick))


def _add(stage, jobs):
    with in_site(stage):
        for number in range(jobs):
            tasks.decorated(number)
            transaction.commit()


def _run(stage):
    stage.connection.cacheMinimize()
    while claims := claim_batch(stage):
        run_batch(stage, claims)


def _lines(name, each, counts, yardstick):
    """Yield the lines of a table.

    each -- microseconds of processor time for one.
    yardstick -- the same of what it is compared with, or None.
    """
    title = f'{name}: {each:.0f} us of processor time'
    if yardstick is not None:
        title += f', {each / yardstick:.2f} x loop'
    yield title
    yield '-' * len(title)
    number = counts.total() or 1
    for part, count in counts.most_common():
        yield f'{each * count / number:6.0f}  {part}'
    yield ''
