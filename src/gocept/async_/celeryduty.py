"""What is done again and again, and less often while it fails."""

import logging
import time

from gocept.async_.celerybroker import hide
from gocept.async_.recurring import Complaint
from gocept.async_.recurring import Pauses
from lovely.remotetask.gate import ProcessorStopped
from lovely.remotetask.interfaces import NoSuchService
from lovely.remotetask.outcome import attempt


log = logging.getLogger(__name__)

# Seconds between two tries, after the first failure and at most.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class Duty:
    """Calls something, and pauses longer and longer while that fails.

    name -- str, what it is, for the log.
    call -- called without arguments.
    """

    def __init__(self, name, call, clock=time.monotonic):
        self._name = name
        self._call = call
        self._clock = clock
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._complaint = Complaint(log.warning, clock)
        self._due = float('-inf')

    def do(self):
        """Do it, unless it has failed a moment ago.  Return an Outcome.

        None if it was not done.
        """
        if self._clock() < self._due:
            return None
        outcome = attempt(self._call)
        if not outcome.failed:
            self._pauses.reset()
            if self._complaint.end():
                log.info('%s works again', self._name)
        else:
            self._due = self._clock() + self._pauses.next()
            self._tell(outcome)
        return outcome

    def _tell(self, outcome):
        if outcome.is_a(ProcessorStopped):
            # The process is ending.
            return
        if outcome.is_a(NoSuchService):
            # Not committed yet, or removed.
            log.debug('%s: %s', self._name, outcome.error)
            return
        self._complaint.say(
            '%s has failed, and is tried again: %s: %s (%s)', self._name,
            outcome.errorClass, hide(outcome.error), outcome.place)
