"""What is called in a process of a worker when signals come.

A process of a pool runs jobs in its main thread, so they can be interrupted by
that, and can change it.
"""

import contextlib
import os
import signal
import threading

from lovely.remotetask import forking
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.outcome import undescribed


log = journal(__name__)

# Signals that end a process of the pool.
TERMINATING = signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP

# Those that Celery handles, and functions of applications.
HANDLED = (*TERMINATING, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE,
           signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGUSR1,
           signal.SIGUSR2)


@contextlib.contextmanager
def kept():
    """Set back what a job has set to be called when a signal comes.

    It would be called in another job, or the worker could not be ended.
    """
    # No other thread can set them.
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: outcome_of(signal.getsignal, number).value
              for number in (HANDLED if is_main else ())}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is one that is not Python's; it cannot be set.
            if handler is not None:
                # It is set at once.  What a job has set is compared with
                # Python's own afterwards, and may raise anything then.
                outcome_of(signal.signal, number, handler,
                           describe=undescribed)


def end_process(pid, number=None):
    """End this process at once; see BasePool.terminate_job of Celery.

    In a pool without processes of its own, the handler of a signal that ends
    all jobs is called in the middle of one, and what it raises would be the
    job's failure.  A job whose process was killed is run again.
    """
    log.warning('this process ends while it runs a job, which is run again')
    os._exit(1)


@contextlib.contextmanager
def ending():
    """In a pool, let signals end the process, not the job.

    Billiard's handlers raise SystemExit in the middle of a function, which is
    how it ends in error; a job whose process was killed is run again.
    """
    numbers = TERMINATING if forking.is_child() else ()
    handlers = [(number, signal.signal(number, signal.SIG_DFL))
                for number in numbers]
    try:
        yield
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
