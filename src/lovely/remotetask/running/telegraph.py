"""Using the channel of a database, step by step.

What is on a channel saves time and is never relied upon.  So while one listens
it also looks now and then whether anything was committed: somebody may have
died between a commit and the word of it.
"""

from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.running.duty import Duty


log = journal(__name__)

# Seconds for which a connection is kept that nobody needs.
REST = 30.0

# Seconds after which a connection has proved to be a good one: the next
# failure is another one.
STEADY = 10.0

# Seconds between two looks at most: so a dead connection is noticed.
LONGEST_LOOK = 60.0

# Seconds that a look may be late: the server may stand still, or be gone
# without a word.
PATIENCE = 5.0


class Telegraph:
    """Has one connection to a channel at a time; one thread uses it.

    channel -- IChannel.
    calls -- a dict that others change: whom to call, by word; a pair: a
        function, and the seconds between two looks for it.
    outbox -- Outbox.
    name -- str, for the log.

    is_listening -- whether the connection is there, and listens.
    descriptor -- int, readable when something has come; None without a
        connection.
    """

    def __init__(self, channel, calls, outbox, name):
        self._channel = channel
        self._calls = calls
        self._outbox = outbox
        self._name = name
        self._duty = Duty('hear of new jobs at once')
        self._connection = None
        self.is_listening = False
        self.descriptor = None
        # When the connection was opened, was used last and looked last, and
        # what that has shown.
        self._opened = self._used = self._looked = float('-inf')
        self._newest = None

    def step(self, now, readable=False):
        """Do what there is to do.

        now -- seconds of the monotonic clock.
        readable -- whether the descriptor is.

        Return for how many seconds there is nothing to do, if nothing comes.
        """
        if self._duty.is_due(now):
            outcome = outcome_of(self._work, now, readable)
            if outcome.failed:
                self._report(outcome, now)
        return self._pause(now)

    def is_done(self, now):
        """Return whether nobody needs this any more."""
        return not (self._calls or self._outbox) and (
            self._connection is None or self.is_listening
            or now - self._used >= REST)

    def hears(self, now):
        """Return whether a word that somebody sends now would come.

        As far as any thread can tell.
        """
        return self.is_listening and now < self._next_look() + PATIENCE

    def close(self):
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        self.is_listening = False
        self.descriptor = None
        if connection is not None:
            outcome_of(connection.close)

    def _work(self, now, readable):
        if self._connection is None:
            if not (self._calls or self._outbox):
                return
            self._connection = self._channel.open()
            self._opened = self._used = now
        if self._calls and not self.is_listening:
            self._listen()
        self._send(now)
        if self.is_listening and now >= self._next_look():
            self._look(now)
        if readable or self.is_listening:
            # Whatever the descriptor tells: a driver reads words along with
            # the answers to what was sent and looked for.
            self._hear(self._connection.receive())
        self.descriptor = self._connection.fileno()

    def _listen(self):
        self._connection.listen()
        # Nothing was heard before this: let all look.
        self._newest = None
        self._looked = float('-inf')
        self.is_listening = True

    def _next_look(self):
        # Not remembered: who begins to listen may want it sooner.
        return self._looked + min([LONGEST_LOOK, *(
            interval for _, interval in list(self._calls.values()))])

    def _hear(self, words):
        for word in set(words):
            # Somebody else may have sent anything.
            call, _ = self._calls.get(word, (None, None))
            if call is not None:
                call()

    def _send(self, now):
        words = self._outbox.take(now)
        if not words:
            return
        outcome = outcome_of(self._connection.send, words)
        if outcome.failed:
            for word in words:
                self._outbox.put(word)
            raise outcome.exception
        self._used = now
        self._mark_well(now)

    def _look(self, now):
        newest = self._connection.newest()
        self._looked = now
        if newest != self._newest:
            self._newest = newest
            for call, _ in list(self._calls.values()):
                call()
        self._mark_well(now)

    def _pause(self, now):
        if not self._duty.is_due(now):
            return self._duty.due - now
        waits = [self._outbox.wait(now)]
        if self.is_listening:
            waits.append(self._next_look() - now)
        elif self._connection is not None:
            waits.append(self._used + REST - now)
        return max(0.0, min(waits))

    def _mark_well(self, now):
        if now - self._opened >= STEADY and self._duty.has_ended(now):
            log.info('%s: can %s again', self._name, self._duty.what)

    def _report(self, outcome, now):
        """Give the connection up; tell the log in due time."""
        self.close()
        # What a driver says may tell how it has connected.
        if self._duty.has_failed(now, outcome.errorClass, outcome.errorClass):
            log.warning(
                '%s: cannot %s (%s); until then processors look for jobs '
                'again and again', self._name, self._duty.what,
                outcome.errorClass)
        let_go(outcome.exception)
