"""How the claimer of a processor waits, and what ends that.

What is added in this process wakes it.  Of what others commit it hears by the
channel of the database, or from the server of ZEO; where it does not hear, it
looks: soon after there was a job, and then ever more seldom.
"""

import threading
import time
import weakref

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import Pauses
from lovely.remotetask.running import quirks
from lovely.remotetask.running import suspects
from lovely.remotetask.running import wire
from lovely.remotetask.running.channel import word_for
from lovely.remotetask.running.clock import SOON


# Seconds between two looks at what other processes have committed, at least.
LOOK = 0.02

# Seconds for which changes are heard, and not taken, at most: what was changed
# is kept in memory.
TAKE = 15.0

# Seconds that an idle processor waits at least, whatever its waitTime.
LEAST_WAIT = 0.05


class Idling:
    """What the claimer does when there is nothing to do.

    processor -- a SimpleProcessor.

    The claimer waits; any thread may wake or stop it.
    """

    def __init__(self, processor):
        self._processor = processor
        # When the last step began, and the last transaction before it.
        self._looked = float('-inf')
        self._seen = None
        # The Changes of the database, None where nobody tells of them; and
        # whether there may be something to claim since that step.
        self._changes = None
        self._is_concerned = False
        # Where the claimer hears of other processes, and under which word.
        self._wire = self._word = None
        # The ids that were claimed when it waited last, whether these were
        # others before, and the pauses since they were.
        self._claimed = None
        self._was_fruitful = True
        self._pauses = Pauses(LOOK, self._interval)
        # Set after one of those below; then it is looked which one.
        self._call = threading.Event()
        self._woken = self._told = self._short = False
        self._stopped = threading.Event()
        # Set when the claimer may begin.
        self._may_begin = threading.Event()
        self._may_begin.set()

    # For any thread

    def wake(self):
        """Remember that there may be something to do."""
        self._woken = True
        self._call.set()

    def hear(self):
        """Remember that others may have committed something to do."""
        self._told = True
        self._call.set()

    def hear_changes(self, oids):
        """End the wait if objects were changed that the claimer watches.

        oids -- those of the objects; None if any may have been changed.
        """
        # Where it is not known what is of use, the claimer looks by itself.
        watched = self._processor.claimer.watched
        if watched is not None and (
                oids is None or not watched.isdisjoint(oids)):
            self._call.set()

    def run_short(self):
        """Remember that there is little left to run; it may come in now."""
        self._short = True
        self._call.set()

    def begin_after(self, txn):
        """Let nothing begin before a transaction has ended."""
        self._may_begin.clear()
        txn.addAfterCommitHook(_let, (self._may_begin,))
        txn.addAfterAbortHook(_let, (True, self._may_begin))
        # A transaction that is never ended calls no hook.
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
        self._told = False
        self._looked = time.monotonic()
        self._is_concerned = self._take_changes() is None
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
        self._listen()
        self._compare_claims()
        while not self._is_called(self.longest()) and self._may_rest():
            # Nothing was committed; and nothing has become due.
            pass
        self._woken = False

    def _compare_claims(self):
        claimed = frozenset(self._processor.claims.ids)
        self._was_fruitful = claimed != self._claimed
        if self._was_fruitful:
            self._claimed = claimed
            self._pauses = Pauses(LOOK, self._interval)

    def _is_called(self, seconds):
        """Wait for a call that is to be followed.  Return whether it came."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            # What comes after this ends the wait.
            self._call.clear()
            if self._woken or self._is_short() or self.has_news():
                return True
            self._call.wait(
                min(left, LOOK if self._has_to_look() else TAKE))
        return False

    def _has_to_look(self):
        """Return whether there may be news that nobody would tell of."""
        # It was told too soon after another time; or it is not known what is
        # of use, or which transaction it will be.
        return (self._told or self._seen is not None and (
            self._is_concerned or self._changes is None)) and (
                not self._processor.team.is_full())

    def _is_short(self):
        """Return whether there is little left to run still."""
        # What a runner has told is asked once more: mostly a step was claiming
        # others at that moment.
        was_told, self._short = self._short, False
        return was_told and self._processor.team.is_short()

    def has_news(self):
        """Return whether to see what was committed since the last step."""
        processor = self._processor
        self._hear_changes()
        if processor.claims.waiting > processor.team.low_water():
            # While there is enough to run, it was mostly this process itself;
            # and each step may meet those of other processors.
            return False
        if processor.team.is_full():
            # A step could claim nothing.  A runner calls when there is room.
            return False
        is_new = self._told or (
            self._seen is not None and self._is_concerned
            and self._last_transaction() != self._seen)
        # Whoever tells it for nothing, or of jobs that other processors were
        # quicker to claim, does not keep this one at work.
        return is_new and (self._was_fruitful
                           or time.monotonic() - self._looked >= LOOK)

    def _hear_changes(self):
        """Remember whether there may be something to claim.

        Most of what is committed to a database is none of the processor.
        """
        changed = self._take_changes()
        watched = self._processor.claimer.watched
        if None in (watched, changed) or not watched.isdisjoint(changed):
            self._is_concerned = True

    def _take_changes(self):
        """Return the oids of what was changed since the last call.

        None if nobody knows.
        """
        db = self._processor.service_db
        if self._changes is not None and self._changes.db is not db:
            # Where the service is was not known, or it has moved.
            self._hear_no_changes()
        if self._changes is not None:
            return outcome_of(self._changes.take).value
        if self._last_transaction() is not None:
            self._changes = outcome_of(
                quirks.Changes, db, self.hear_changes).value
        return None

    def _hear_no_changes(self):
        if self._changes is not None:
            outcome_of(self._changes.end)
            self._changes = None

    def _last_transaction(self):
        """Return the last transaction, if that can be told at no cost."""
        if self._changes is not None:
            # Also one that its client has only heard of, and not yet told.
            return outcome_of(lambda: self._changes.newest).value
        return outcome_of(quirks.last_transaction_heard_of,
                          self._processor.service_db).value

    def longest(self):
        """Return how many seconds to wait if nothing happens."""
        processor = self._processor
        waits = [self._next_pause()]
        clock = processor.membership.clock
        if processor.claimer.next_due is not None:
            waits.append(max(0.0, processor.claimer.next_due - clock.now()))
        if processor.claims.ids or len(processor.membership.watch) > 1:
            # Others look for signs of life of this worker, or this one for
            # theirs.
            waits.append(processor.heartbeat)
        if not clock.trusted and clock.ahead is None:
            waits.append(SOON)
        threads = processor.duties['threads']
        if threads.is_failing:
            waits.append(max(0.0, threads.due - time.monotonic()))
        return min(waits)

    @property
    def _interval(self):
        return max(self._processor.waitTime, LEAST_WAIT)

    def _next_pause(self):
        """Return after how many seconds to look for jobs again."""
        is_polled = outcome_of(
            quirks.is_polled, self._processor.service_db).value
        if self._is_listening() or not is_polled:
            return self._interval
        return self._pauses.next()

    # The channel

    def _listen(self):
        """Have other processes tell of what they add to the service."""
        place = self._processor.place
        if place is None:
            return
        found, word = wire.wire_of(place[0]), word_for(place[1])
        if (found, word) != (self._wire, self._word):
            self.end()
            self._wire, self._word = found, word
        if found is not None and found.listen(
                word, self.hear, self._interval):
            # Nobody has listened since the last step, so something may have
            # been told.
            self.hear()

    def _is_listening(self):
        return self._wire is not None and self._wire.is_listening

    def _may_rest(self):
        """Return whether a step would find what the last one has found.

        Who listens is told of each commit, in time; the rest is what becomes
        due in this process.
        """
        processor = self._processor
        now = time.monotonic()
        clock = processor.membership.clock
        due = processor.claimer.next_due
        return not (
            self.is_stopping or not self._is_listening()
            or processor.claims.ids or processor.trouble
            or suspects.is_taken() or not clock.is_good
            or processor.is_silent(now)
            or any(duty.interval and duty.is_due(now)
                   for duty in processor.duties.values())
            or due is not None and due <= clock.now())

    def end(self):
        """Listen no more."""
        if self._wire is not None:
            self._wire.forget(self._word, self.hear)
        self._hear_no_changes()
        self.become_another()

    def become_another(self):
        """Forget what the process has this one was forked from."""
        self._wire = self._word = self._changes = None


def _let(committed, event):
    event.set()
