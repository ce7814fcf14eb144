"""Records that cannot be read: telling them from trouble, and a stand-in.

A record may be missing, or be of a class that is gone, or run code that
raises anything when it is loaded.  Whoever walks over records reads each of
them by `read`, so that one never stops the others.
"""

import contextvars
import datetime
import logging

import zope.interface
from ZODB.broken import Broken
from ZODB.POSException import StateLoadError

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.blame import is_interrupted
from lovely.remotetask.foreign.blame import is_of_code
from lovely.remotetask.foreign.blame import lacks_memory
from lovely.remotetask.foreign.journal import Once
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import failure_of
from lovely.remotetask.foreign.outcome import let_frames_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.twin import CAUSE
from lovely.remotetask.foreign.value import is_of_database
from lovely.remotetask.interfaces import DEFAULT_PRIORITY
from lovely.remotetask.interfaces import HELD


log = journal(__name__)

# Whether this thread is in `read`.
_quiet = contextvars.ContextVar('_quiet', default=False)

# What is kept of a reason, in characters.
REASON_SIZE = 500

# How many causes of an error are looked at.
CAUSES = 10


class UnreadableRecord(Exception):
    """A record is there, and is none that can be worked with."""


def read(db, call, *args):
    """Call what reads stored records.  Return its Outcome.

    db -- the ZODB.DB that holds them; None for what is in no database.

    It has failed if a record cannot be read, or not be worked with.  What is
    not the fault of a record (a conflict, a server that is away, no memory)
    is raised.
    """
    token = _quiet.set(True)
    try:
        outcome = outcome_of(call, *args)
    finally:
        _quiet.reset(token)
    if outcome.failed:
        if _is_trouble(outcome, db):
            raise outcome.exception
        _tell(outcome)
        # A class may raise the same one each time; walks come by often.
        let_frames_go(outcome.exception)
    return outcome


_once = Once()


def _tell(failure):
    found = _first(failure)
    # The message of an exception may quote arguments; it is not for logs.
    reason = (reason_of(failure) if _is_ours(failure)
              else _class_name(found))
    if _once.is_new(found.place, reason):
        log.warning('a record cannot be read: %s (%s)', reason, found.place)


class _Quiet(logging.Filter):
    """Keeps ZODB from telling of each try to load a record.

    Walks come to some records several times a second, and tell once.
    """

    def filter(self, record):
        return not _quiet.get()


logging.getLogger('ZODB.Connection').addFilter(_Quiet())


def _is_trouble(failure, db):
    return any(
        _is_of_database(cause, db) or lacks_memory(cause, db)
        or db is not None and is_interrupted(cause, db)
        for cause in _causes(failure.exception))


def _is_of_database(exception, db):
    return is_of_database(failure_of(exception)) and not (
        db is not None and is_of_code(exception, db))


def _causes(exception):
    """Iterate over an exception, and what ZODB says was its cause."""
    for _ in range(CAUSES):
        if exception is None:
            return
        yield exception
        exception = (CAUSE.__get__(exception)
                     if type(exception) is StateLoadError else None)


def opened(record):
    """Load a persistent object.  Return it; raise whatever that raises.

    An object of a class that is gone is no good, though ZODB loads it.
    """
    if isinstance(record, Broken):
        class_ = type(record)
        raise UnreadableRecord(
            f'the class {class_.__module__}.{class_.__qualname__} is gone')
    record._p_activate()
    return record


def reason_of(failure):
    """Return why a record cannot be read, in few words.

    failure -- the Outcome of `read`.
    """
    if _is_ours(failure):
        return failure.error[:REASON_SIZE]
    found = _first(failure)
    return f'{_class_name(found)}: {found.error}'[:REASON_SIZE]


def _is_ours(failure):
    return issubclass(type(failure.exception), UnreadableRecord)


def _class_name(failure):
    return failure.errorClass.removeprefix('builtins.')


def _first(failure):
    """Return the Outcome of what has made all else fail."""
    *_, cause = _causes(failure.exception)
    return failure if cause is failure.exception else failure_of(cause)


@zope.interface.implementer(interfaces.IUnreadableJob)
class UnreadableJob:
    """Stands for a job whose record cannot be read.  See IUnreadableJob.

    It is made whenever such a job is met, and never stored.
    """

    # These attributes would have to be read from the record.
    task = ''
    input = output = errorClass = traceback = claim = details = None
    function = principal = None
    started = completed = due = note = scheduledFor = None
    attempts = transients = interruptions = 0
    priority = DEFAULT_PRIORITY
    history = ()
    status = stored_status = HELD
    recurring = removed = was_lost = False
    # No claim has this fence; so none on the job is good.
    fence = -1

    def __init__(self, jobid, service, reason, since):
        """Make one.

        service -- the ITaskService, its parent.
        reason -- see `reason_of`.
        since -- POSIX seconds, something like the time of the job.
        """
        self.id = jobid
        self.__parent__ = service
        self.__name__ = str(jobid)
        self.error = f'The job cannot be read: {reason}.'
        self.created = datetime.datetime.fromtimestamp(since, datetime.UTC)

    def __repr__(self):
        return f'<{type(self).__name__} {self.id!r}>'
