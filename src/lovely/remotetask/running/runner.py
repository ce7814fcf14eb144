"""A thread that runs claimed jobs, one after the other."""

import threading
import time

from lovely.remotetask.running.duty import Pauses
from lovely.remotetask.running.execution import ENDED
from lovely.remotetask.running.execution import INTERRUPTED
from lovely.remotetask.running.execution import UNSTORED


class Runner:
    """Runs what its team hands out.

    number -- int, tells it from the others.
    claims -- what it has at the moment: list of IClaim.  If the thread has
        died, these were begun.
    began -- when it has got these, in seconds of the monotonic clock; None
        while it has nothing.
    """

    def __init__(self, team, number):
        self._team = team
        self.number = number
        self.claims = []
        self.began = None
        self.thread = threading.Thread(
            target=self._loop, daemon=True,
            name=f'runner-{number}.{team.thread_name}')
        self.thread.start()

    def is_busy_since(self, moment):
        """Return whether it has had something to do since a moment."""
        began = self.began
        return began is not None and began < moment

    def _loop(self):
        try:
            while self._team.take_claims(self.claims):
                self.began = time.monotonic()
                self._work()
        finally:
            # Whoever looks after this one sees whether that was the end.
            self._team.wake()

    def _work(self):
        """Run the claims until each has ended, whatever is in the way."""
        number = len(self.claims)
        unended = self._run(list(self.claims))
        self._mark_duration((time.monotonic() - self.began) / number)
        pauses = Pauses()
        while self.claims:
            if not self._team.pause(pauses.next()):
                # The end.  What was not begun is handed back; what was cut
                # off, too, if it cannot be counted as that any more.
                self._account_for(unended)
                self._has_run([claim for claim, end in unended.items()
                               if end != INTERRUPTED])
                break
            if self._account_for(unended):
                unended = self._run_alone(pauses)
        del self.claims[:]
        # As long as this one is busy: it is not among those that wait for
        # claims.
        self._team.replenish()
        self.began = None

    def _mark_duration(self, seconds):
        if not self.claims:
            self._team.learn(seconds)

    def _run_alone(self, pauses):
        """Run one after the other; as `_run`."""
        unended = {}
        while self.claims and not unended:
            claim = self.claims[0]
            unended = self._run([claim])
            if claim in self.claims:
                # What kept this claim from being settled keeps the others,
                # too.
                break
            pauses.reset()
        return unended

    def _run(self, claims):
        """Run claims.

        Return a mapping: those that were begun and have no end yet, and what
        became of them.
        """
        ends = self._team.run(claims)
        self._has_run(
            [claim for claim in claims if ends[claim] == ENDED], ends)
        unended = {claim: end for claim, end in ends.items()
                   if end in (INTERRUPTED, UNSTORED)}
        if INTERRUPTED not in unended.values():
            # At once: there is nothing to wait for.
            self._account_for(unended)
        return unended

    def _has_run(self, claims, ends=None):
        for claim in claims:
            self.claims.remove(claim)
        if claims:
            self._team.has_run(claims, ends)

    def _account_for(self, unended):
        """Have runs counted that have no end.  Return whether all are.

        No job is begun before: if this process dies, only as many count as
        there are threads.
        """
        for claim, end in list(unended.items()):
            outcome = self._team.settle_run(claim, end == INTERRUPTED)
            if outcome.failed:
                return False
            self._has_run([claim])
            del unended[claim]
        return True
