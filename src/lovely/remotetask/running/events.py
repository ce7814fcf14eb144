"""What others are told of jobs; see IJobEvent.

A subscriber may do anything: be slow, raise, leave a transaction open.  None
of that is to harm the job, nor the one who runs it.
"""

import time
from typing import Any
from typing import NamedTuple

import transaction
import zope.component
import zope.event
import zope.interface
from zope.component.event import dispatch

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.texts import one_line
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.running import refusal
from lovely.remotetask.running import surroundings
from lovely.remotetask.running.duty import Duty
from lovely.remotetask.running.duty import reason_of
from lovely.remotetask.running.server import server


log = journal(__name__)


@zope.interface.implementer(interfaces.IFailureTexts)
class FailureTexts(NamedTuple):
    """See IFailureTexts."""

    error: str
    errorClass: str
    traceback: str
    frames: str
    place: str
    is_private: bool
    is_transient: bool = False


@zope.interface.implementer(interfaces.IJobAdded)
class JobAdded(NamedTuple):
    """See IJobAdded."""

    path: tuple
    job: int
    function: str | None


@zope.interface.implementer(interfaces.IJobCancelled)
class JobCancelled(NamedTuple):
    """See IJobCancelled."""

    path: tuple
    job: int
    function: str | None


@zope.interface.implementer(interfaces.IJobBegan)
class JobBegan(NamedTuple):
    """See IJobBegan."""

    path: tuple
    job: int
    function: str | None
    attempt: int
    processor: str


@zope.interface.implementer(interfaces.IJobEnded)
class JobEnded(NamedTuple):
    """See IJobEnded."""

    path: tuple
    job: int
    function: str | None
    attempt: int
    processor: str
    duration: float
    status: str
    failure: FailureTexts | None = None
    committed: bool = True
    aborted: bool = False
    waited: float | None = None
    worker: str | None = None


@zope.interface.implementer(interfaces.IJobRetried)
class JobRetried(NamedTuple):
    """See IJobRetried."""

    path: tuple
    job: int
    function: str | None
    attempt: int
    processor: str
    duration: float
    status: str
    failure: FailureTexts
    committed: bool = False
    aborted: bool = False
    waited: float | None = None
    worker: str | None = None


@zope.interface.implementer(interfaces.IJobLost)
class JobLost(NamedTuple):
    """See IJobLost."""

    path: tuple
    job: int
    function: str | None
    status: str | None


@zope.interface.implementer(interfaces.IActionTaken)
class ActionTaken(NamedTuple):
    """See IActionTaken."""

    path: tuple
    action: Any


# Telling

class Observer:
    """A subscriber of this package itself: it is trusted, and told first.

    call -- called with each event of some kinds.
    kinds -- a tuple of classes of here.
    """

    def __init__(self, call, *kinds):
        self._call = call
        self.kinds = kinds

    def __call__(self, event):
        if type(event) in self.kinds:
            self._call(event)

    def subscribe(self):
        zope.event.subscribers.append(self)

    def unsubscribe(self):
        zope.event.subscribers.remove(self)


def is_wanted(kind):
    """Return whether anybody would be told of events of a class.

    Cheap: most of the time nobody is.
    """
    for each in zope.event.subscribers:
        if type(each) is Observer:
            if kind in each.kinds:
                return True
        elif each is not dispatch or _has_handlers(kind):
            return True
    return False


_registry = zope.component.getGlobalSiteManager()


def _has_handlers(kind):
    return bool(_registry.adapters.subscriptions(
        (zope.interface.implementedBy(kind),), None))


def send(event):
    """Tell all who want to know; never raise.

    Not by `notify`: who comes first there could keep it from the others.
    """
    others = []
    for each in list(zope.event.subscribers):
        if type(each) is Observer:
            outcome_of(each, event)
        elif each is not dispatch or _has_handlers(type(event)):
            others.append(each)
    if others:
        outcome_of(surroundings.in_context, _tell, others, event)


# A subscriber may fail each time, for each job: the log says it less and less.
_telling = Duty('tell subscribers of jobs')


def _tell(subscribers, event):
    """Call subscribers away from whatever the thread is in."""
    # In a context of its own; what subscribers do is no part of the job.
    refusal.current.set(None)
    outer = transaction.manager.manager
    manager = transaction.TransactionManager()
    try:
        with surroundings.site(None), surroundings.interaction():
            for each in subscribers:
                transaction.manager.manager = manager
                outcome = outcome_of(each, event)
                outcome_of(manager.abort)
                if outcome.failed:
                    _complain(event, outcome)
                    let_go(outcome.exception)
    finally:
        transaction.manager.manager = outer


def _complain(event, outcome):
    if _telling.has_failed(time.monotonic(), '', outcome.place):
        log.error('a subscriber of %s has failed, and is called again for '
                  'the next one: %s at %s', type(event).__name__,
                  reason_of(outcome), outcome.place)


# Making

def texts_of(failure, is_private):
    """Return the FailureTexts of an Outcome."""
    return FailureTexts(
        failure.error, failure.errorClass, failure.traceback, failure.frames,
        failure.place, is_private, failure.retryable)


def name_of(job):
    """Return what a job runs, for people: its function, or its task."""
    # An input that cannot be loaded has no name.
    found = outcome_of(lambda: job.input.function_name).value
    return one_line(found if issubclass(type(found), str) else job.task)


# Under this a transaction has the events that are to be sent after it.
_pending = object()


def send_after_commit(kind, service, job):
    """Tell of a change of a job once that is committed.

    kind -- JobAdded or JobCancelled.
    """
    if service._p_jar is None or not is_wanted(kind):
        return
    # The transaction is that of the connection; the one of the thread may be
    # another one, or never end.
    txn = service._p_jar.transaction_manager.get()
    event = kind(tuple(server().path(service)), job.id, name_of(job))
    try:
        pending = txn.data(_pending)
    except KeyError:
        pending = []
        txn.set_data(_pending, pending)
        txn.addAfterCommitHook(_send_pending, (pending,))
    pending.append((job, event))


def _send_pending(committed, pending):
    for job, event in pending if committed else ():
        # A job that a rolled back savepoint had added was never stored.
        if job._p_jar is not None and _holds(job, event):
            send(event)


def _holds(job, event):
    """Return whether what an event tells of a stored job came to stay."""
    if type(event) is JobAdded:
        # Another status changes nothing of that.
        return not outcome_of(getattr, job, 'removed').value
    return outcome_of(getattr, job, 'stored_status').value == CANCELLED
