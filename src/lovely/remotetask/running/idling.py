"""How the claimer of a processor waits, and what ends that."""

import threading
import time
import weakref

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running import quirks
from lovely.remotetask.running.clock import SOON


# Seconds between two looks at what other processes have committed.
LOOK = 0.02

# Seconds that an idle processor waits at least, whatever its waitTime.
LEAST_WAIT = 0.05


class Idling:
    """What the claimer does when there is nothing to do.

    processor -- a SimpleProcessor.

    The claimer waits; any thread may wake or stop it.
    """

    def __init__(self, processor):
        self._processor = processor
        # The last transaction before the step that is being done.
        self._seen = None
        self._wake = threading.Event()
        self._stopped = threading.Event()
        # Set when the claimer may begin.
        self._may_begin = threading.Event()
        self._may_begin.set()

    # For any thread

    def wake(self):
        """Remember that there may be something to do."""
        self._wake.set()

    def begin_after(self, txn):
        """Let nothing begin before a transaction has ended."""
        self._may_begin.clear()
        txn.addAfterCommitHook(_let, (self._may_begin,))
        txn.addAfterAbortHook(_let, (True, self._may_begin))
        # One that is never ended.
        weakref.finalize(txn, self._may_begin.set)

    def stop(self):
        """Let the claimer come to its end, whatever it waits for."""
        self._stopped.set()
        self._may_begin.set()
        self.wake()

    @property
    def is_stopping(self):
        """Whether no more jobs are taken."""
        return self._stopped.is_set()

    def wait_for_stop(self, seconds):
        """Wait until no more jobs are taken.  Return whether that is so."""
        return self._stopped.wait(seconds)

    # For the claimer

    def wait_to_begin(self):
        """Wait until the claimer may begin."""
        self._may_begin.wait()

    def look(self):
        """Remember what was committed last, as a step is about to see."""
        # Before the step: what is committed during it is not missed.
        self._seen = self._last_transaction()

    def wait(self):
        """Wait until there may be something to do."""
        duties = self._processor.duties
        pause = max(duties[name].due for name in (
            'find', 'write', 'take')) - time.monotonic()
        if pause > 0:
            # Something is wrong; that jobs are added helps nothing.
            self.wait_for_stop(pause)
            return
        end = time.monotonic() + self.longest()
        seen = self._seen
        while (left := end - time.monotonic()) > 0:
            if self._wake.wait(left if seen is None else min(left, LOOK)):
                break
            if self.has_news():
                break
        self._wake.clear()

    def has_news(self):
        """Return whether to see what was committed since the last step."""
        # While there is enough to run, it was mostly this process itself;
        # and each step may meet those of other processors.
        return (self._seen is not None
                and self._processor.claims.waiting
                <= self._processor.team.low_water()
                and self._last_transaction() != self._seen)

    def _last_transaction(self):
        """Return the last transaction, if that can be told at no cost."""
        return outcome_of(quirks.last_transaction_heard_of,
                          self._processor.service_db).value

    def longest(self):
        """Return how many seconds to wait if nothing happens."""
        processor = self._processor
        waits = [max(processor.waitTime, LEAST_WAIT)]
        clock = processor.membership.clock
        if processor.claimer.next_due is not None:
            waits.append(max(0.0, processor.claimer.next_due - clock.now()))
        if processor.claims.ids or len(processor.membership.watch) > 1:
            # Others look for signs of life, or this one for theirs.
            waits.append(processor.heartbeat)
        if not clock.trusted and clock.ahead is None:
            waits.append(SOON)
        threads = processor.duties['threads']
        if threads.is_failing:
            waits.append(max(0.0, threads.due - time.monotonic()))
        return min(waits)


def _let(committed, event):
    event.set()
