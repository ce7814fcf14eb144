"""Jobs that fork; the child must not go on as a second runner."""

import concurrent.futures
import multiprocessing
import os
import sys
import time

import transaction

from gocept.async_.tests.hostile.kinds import ATTEMPTS
from gocept.async_.tests.hostile.kinds import kind
from gocept.async_.tests.hostile.states import WHILE
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR


def child(call, act, *args):
    """Fork; let the child do something, wait for it.  Return in both."""
    pid = os.fork()
    if pid == 0:
        act(*args)
        return
    end = time.monotonic() + 5
    while time.monotonic() < end and os.waitpid(pid, os.WNOHANG) == (0, 0):
        time.sleep(0.05)


@kind(COMPLETED, ERROR)
def child_returns(call):
    child(call, int)


@kind(COMPLETED, ERROR)
def child_raises(call):
    child(call, int, 'x')


@kind(COMPLETED, ERROR)
def child_exits(call):
    child(call, sys.exit, 0)


@kind(COMPLETED, ERROR)
def child_exits_with_text(call):
    child(call, sys.exit, 'a text')


@kind(COMPLETED, ERROR)
def child_without_output_returns(call):
    def lose_output():
        sys.stdout = sys.stderr = None
    child(call, lose_output)


@kind(COMPLETED)
def child_ends(call):
    child(call, os._exit, 5)


# Another thread may have held a lock of the database when this one forked;
# then the child waits for ever, whatever its runner does.
@kind(COMPLETED, ERROR, loud=True)
def child_aborts_transaction(call):
    child(call, transaction.abort)


@kind(COMPLETED, ERROR, loud=True)
def child_commits(call):
    child(call, transaction.commit)


def square(number):
    return number * number


@kind(COMPLETED, ERROR, calls=ATTEMPTS)
def process_pool(call):
    with concurrent.futures.ProcessPoolExecutor(
            2, mp_context=multiprocessing.get_context('fork')) as pool:
        list(pool.map(square, range(4)))


@kind(COMPLETED, ERROR)
def process_of_multiprocessing(call):
    made = multiprocessing.get_context('fork').Process(
        target=sys.exit, args=(3,))
    made.start()
    made.join(5)


@kind(COMPLETED)
def leaves_child(call):
    if os.fork() == 0:
        time.sleep(WHILE)
        os._exit(0)
