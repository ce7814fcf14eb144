"""All duties of one member of a service, and what it says when one fails."""

import time

from ZODB.POSException import ConflictError

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.journal import lines_of_failure
from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running.duty import reason_of
from lovely.remotetask.running.gate import ProcessorStopped


# Whatever a processor says is said by one logger.
log = journal('lovely.remotetask.processor')

# Seconds for which it may meet conflicts only, or wait for its service to be
# committed, before others are to know.
PATIENCE = 10.0


class Duties(dict):
    """Each Duty by its name.

    member -- a Member, whose duties they are.
    """

    def __init__(self, member, duties):
        super().__init__(duties)
        self._member = member

    @property
    def trouble(self):
        """See IProcessor."""
        found = [duty.trouble for duty in list(self.values())]
        return '; '.join(text for text in found if text) or None

    def do(self, name, now, call, *args):
        """Do a duty if it is due.

        Return what the call returns; None if it fails or is not due.
        """
        if not (self[name].is_due(now) and self['find'].is_due(now)):
            return None
        outcome = outcome_of(call, *args)
        if (outcome.is_a(interfaces.NoSuchService)
                and self._member.find_again()):
            outcome = outcome_of(call, *args)
        if outcome.failed:
            self.report(outcome, name, now)
        else:
            self.mark_well('find', now)
            self.mark_well(name, now)
        return outcome.value

    def report(self, outcome, name, now=None):
        """Remember that a duty has failed, and tell the log in due time.

        The exception is let go.
        """
        now = time.monotonic() if now is None else now
        if not outcome.is_a(ProcessorStopped):
            self._mark_failed(outcome, name, now)
        let_go(outcome.exception)

    def _mark_failed(self, outcome, name, now):
        # What one meets then depends on where the thread was.
        if self._member.is_closed():
            self._member.stop_as_closed()
        elif outcome.is_a(interfaces.NoSuchService):
            # A service that is not there is not committed yet, or was removed.
            self.mark_ill('find', reason_of(outcome), now, patience=(
                PATIENCE if self._member.service_oid is None else 0.0))
        elif outcome.retryable:
            self.mark_ill(
                name, f'conflicts, or a server that is away; trying again: '
                f'{reason_of(outcome)}', now, outcome.errorClass,
                PATIENCE if outcome.is_a(ConflictError) else 0.0)
        else:
            self._mark_failure(name, outcome, now)

    def _mark_failure(self, name, outcome, now):
        duty = self[name]
        was_failing = duty.is_failing
        if not duty.has_failed(now, reason_of(outcome), outcome.errorClass):
            return
        if was_failing:
            log.warning('%s: still cannot work: cannot %s: %s',
                        self._member.thread_name, duty.what,
                        reason_of(outcome))
        else:
            log.error('%s: could not work, trying again: cannot %s\n%s',
                      self._member.thread_name, duty.what,
                      lines_of_failure(outcome))

    def mark_ill(self, name, reason, now, kind=None, patience=0.0):
        """Remember why it cannot be done, where a traceback tells nothing."""
        duty = self[name]
        if duty.has_failed(now, reason, kind, patience):
            log.warning('%s: cannot %s: %s',
                        self._member.thread_name, duty.what, reason)

    def mark_well(self, name, now):
        """Remember that a duty was done."""
        if self[name].has_ended(now):
            log.info('%s: can %s again', self._member.thread_name,
                     self[name].what)
