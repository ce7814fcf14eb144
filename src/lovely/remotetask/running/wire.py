"""What the processes of an application tell each other at once.

A wire is the channel of one database in this process: a thread of its own has
the only connection to it.  Others leave word, and go on.
"""

import atexit
import contextlib
import threading
import time
import weakref

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.forking import of_process
from lovely.remotetask.running.bell import Bell
from lovely.remotetask.running.channel import channel_of
from lovely.remotetask.running.channel import word_for
from lovely.remotetask.running.outbox import Outbox
from lovely.remotetask.running.telegraph import Telegraph


# Seconds that the last words have to be sent when the process ends.
GRACE = 1.0

# By database: its Wire, or None.
_wires = weakref.WeakKeyDictionary()

# Wires of the processes that this one was forked from.  They are kept: whoever
# closes a connection tells the server, which closes that of the parent then.
_inherited = []


@of_process
def _begin():
    global _wires, _lock
    _inherited.extend(_wires.values())
    _wires = weakref.WeakKeyDictionary()
    _lock = threading.Lock()


def wire_of(db):
    """Return the Wire of a ZODB.DB in this process, None if it has none."""
    with _lock:
        if db not in _wires:
            # A database that was closed has no storage any more.
            channel = outcome_of(lambda: channel_of(db.storage)).value
            _wires[db] = None if channel is None else Wire(
                channel, f'remotetasks-wire.{db.database_name}')
        return _wires[db]


def tell(db, oid):
    """Tell other processes that there are jobs of a service to be claimed.

    db, oid -- where the service is stored.

    To be called once they are committed.  Never fails, nor waits for a server.
    """
    outcome_of(_tell, db, oid)


def _tell(db, oid):
    wire = wire_of(db)
    if wire is not None:
        wire.send(word_for(oid))


def end_all(grace=GRACE):
    """Send what is to be sent, and let the threads end.

    grace -- seconds to wait for that.
    """
    with _lock:
        wires = list(filter(None, _wires.values()))
    deadline = time.monotonic() + grace
    for wire in wires:
        wire.end()
    for wire in wires:
        wire.join(deadline)


# Also where nothing is listened for, and no processor has to be stopped.
atexit.register(end_all)


class Wire:
    """The channel of a database, as this process uses it.

    channel -- IChannel.
    name -- str, of the thread.

    Nothing is opened before there is something to send, or to listen for.
    """

    def __init__(self, channel, name):
        self._channel = channel
        self.name = name
        # Nobody waits for a server while having it.
        self._lock = threading.Lock()
        self._calls = {}
        self._outbox = Outbox()
        self._telegraph = self._bell = self._thread = None
        self._is_ending = False

    # For any thread

    def send(self, word):
        """Have a word sent to the other processes; do not wait for that."""
        with self._lock:
            was_empty = self._outbox.put(word)
            if was_empty or not self._has_thread():
                self._run()

    def listen(self, word, call, interval):
        """Have something called when a word comes, and when one may be lost.

        call -- without arguments, in another thread; must not take long.
        interval -- seconds from a commit, whatever it is, until it is called
            at the latest.

        Return whether what was said before has called nobody.

        Is to be called again now and then, for the thread may have died.
        """
        with self._lock:
            is_new = self._calls.get(word) != (call, interval)
            self._calls[word] = call, interval
            if is_new or not self._has_thread():
                self._run()
            return is_new

    def forget(self, word, call):
        """Call something no more; somebody else may listen by now."""
        with self._lock:
            if self._calls.get(word, (None, None))[0] != call:
                return
            del self._calls[word]
            if self._has_thread():
                self._bell.ring()

    @property
    def is_listening(self):
        """Whether a word that somebody sends now would come."""
        telegraph = self._telegraph
        return (telegraph is not None and telegraph.hears(time.monotonic())
                and self._has_thread())

    def end(self):
        """Let the thread end as soon as all is sent."""
        with self._lock:
            self._calls.clear()
            self._is_ending = True
            if self._has_thread():
                self._bell.ring()

    def join(self, deadline):
        """Wait for the thread, once it was told to end.

        deadline -- seconds of the monotonic clock; do not wait any longer.
        """
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
        # Other processors may follow, and need a wire.
        self._is_ending = False

    def _has_thread(self):
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _run(self):
        """Have a thread, and let it look.  To be called with the lock."""
        if self._has_thread():
            self._bell.ring()
        elif outcome_of(self._start).failed:
            # There can be none at the moment; the next caller tries again.
            self._thread = None

    def _start(self):
        with contextlib.ExitStack() as failed:
            self._bell = Bell()
            failed.callback(self._bell.close)
            self._telegraph = Telegraph(
                self._channel, self._calls, self._outbox, self.name)
            self._thread = threading.Thread(
                target=self._loop, args=(self._telegraph, self._bell),
                name=self.name, daemon=True)
            self._thread.start()
            failed.pop_all()

    # Its thread

    def _loop(self, telegraph, bell):
        readable = False
        try:
            while True:
                pause = telegraph.step(time.monotonic(), readable)
                if self._may_end(telegraph):
                    break
                readable = bell.wait(pause, telegraph.descriptor)
        finally:
            telegraph.close()
            bell.close()

    def _may_end(self, telegraph):
        """Return whether the thread ends; whoever comes starts another."""
        with self._lock:
            if not (telegraph.is_done(time.monotonic())
                    or self._is_ending and not self._outbox):
                return False
            self._thread = None
            return True
