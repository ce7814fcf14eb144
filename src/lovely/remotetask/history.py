"""What is stored of the runs of a job: attempts, and the texts of failures.

The record of a job is written with each of its runs, and loaded wherever jobs
are listed; so what is long, or was there before, is in records of its own.
"""

import itertools
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import persistent

from lovely.remotetask import interfaces
from lovely.remotetask.foreign.description import TRACEBACK_SIZE
from lovely.remotetask.foreign.description import plain
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.unreadable import read
from lovely.remotetask.foreign.unreadable import reason_of
from lovely.remotetask.part import part


# Attempts that are kept besides the last one; a cron job has many.
MAX_HISTORY = 19

# So many of them are in the record of the job; the others were moved to
# records of so many each, which are not written again.
RECENT = 4

# Texts that nearly every job has, and the numbers that are stored in their
# place.  Others are only ever appended: these are in the databases.
TEXTS = (
    interfaces.QUEUED, interfaces.COMPLETED, interfaces.CRONJOB,
    interfaces.DELAYED, interfaces.STARTLATER, interfaces.CANCELLED,
    interfaces.ERROR, interfaces.HELD,
    # The task of all decorated functions.
    'gocept.async.function')
NUMBERS = {text: number for number, text in enumerate(TEXTS)}

# A traceback of more characters has a record of its own.
LONG = 400


def abbreviated(text: Any) -> Any:
    """Return what is stored of a status or the name of a task."""
    return NUMBERS.get(text, text)


def full(stored: Any) -> Any:
    """Return what was abbreviated."""
    return TEXTS[stored] if type(stored) is int else stored


class Text(persistent.Persistent):
    """A long text, in a record of its own; see Details."""

    def __init__(self, text: str) -> None:
        self.text = text


class Details(persistent.Persistent):
    """The texts of a failure, in a record of their own.

    error -- the message.
    traceback -- str or None; a long one is a Text.  A page that shows the
        messages of many jobs need not load their tracebacks.

    Whoever describes the failure: what is stored of it is cut here.
    """

    def __init__(self, error: str, traceback: str | None = None) -> None:
        self.error = plain(error)
        if traceback is not None:
            traceback = plain(traceback, max(
                TRACEBACK_SIZE, str.__len__(traceback)))[-TRACEBACK_SIZE:]
        self.traceback: str | Text | None = (
            Text(traceback) if traceback and len(traceback) > LONG
            else traceback)

    def says(self, other: 'Details') -> bool:
        """Return whether it has the texts of another, and can be read."""
        found = outcome_of(_texts, self)
        return bool(found.value == _texts(other))


def _texts(details: Details) -> tuple[str, str | None]:
    return details.error, traceback_of(details)


def error_of(details: Details | None) -> str | None:
    """Return the message of Details, or why there is none."""
    return _text(details, lambda found: found.error)


def traceback_of(details: Details | None) -> str | None:
    """Return the traceback of Details, or why there is none."""
    return _text(details, lambda found: (
        found.traceback.text if type(found.traceback) is Text
        else found.traceback))


def _text(details: Details | None, call: Any) -> str | None:
    if details is None:
        return None
    jar = details._p_jar
    found = read(None if jar is None else jar.db(), call, details)
    return (f'It cannot be read: {reason_of(found)}.' if found.failed
            else found.value)


@part
class Attempt(NamedTuple):
    """One run of a job.

    started, duration -- POSIX seconds, seconds; the duration is None if the
        process was gone before the end.
    processor -- ``host:pid:thread``.
    errorClass -- of the exception, None without one.
    details -- Details of the exception, None without one.
    fence, status -- of the job, before the run and after it; who settles the
        claim counts by that, whatever has become of the job meanwhile.
    """

    started: float
    duration: float | None
    processor: str
    errorClass: str | None
    details: Details | None
    fence: int
    status: str

    @property
    def error(self) -> str | None:
        """The message of the exception, None without one."""
        return error_of(self.details)

    @property
    def traceback(self) -> str | None:
        """The traceback text of the exception, None without one."""
        return traceback_of(self.details)


def attempt_of(stored: tuple[Any, ...]) -> Attempt:
    """Return an Attempt that was remembered."""
    *others, status = stored
    return Attempt._make((*others, full(status)))


# Attempts as plain tuples, oldest first: half the work for a pickle.
Attempts = tuple[tuple[Any, ...], ...]


class Past(persistent.Persistent):
    """Attempts of a job that has had others since.

    Written once, while it belongs to a job of which only the last ones are
    written again.
    """

    def __init__(self, attempts: Attempts) -> None:
        self.attempts = attempts


def remembered(past: tuple[Past, ...], recent: Attempts,
               attempt: tuple[Any, ...]) -> tuple[tuple[Past, ...], Attempts]:
    """Return what is remembered after one more attempt: past and recent.

    past -- as many as are needed for MAX_HISTORY attempts.
    attempt -- a plain tuple, see Attempt.
    """
    attempt = (*attempt[:-1], abbreviated(attempt[-1]))
    if len(recent) < RECENT:
        last = recent[-1] if recent else ()
        return past, (*recent, _shared(attempt, last))
    past = (*past, Past(recent))
    return past[-MAX_HISTORY // RECENT:], (attempt,)


def _shared(attempt: tuple[Any, ...],
            last: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an attempt with texts that are the same objects as in another.

    Equal texts are pickled once then.
    """
    return tuple(
        old if type(new) is str and new == old else new
        for new, old in itertools.zip_longest(attempt, last[:len(attempt)]))


def newest_first(past: tuple[Past, ...],
                 recent: Attempts) -> Iterator[tuple[Any, ...]]:
    """Iterate over at most MAX_HISTORY + 1 attempts that can be read.

    As plain tuples, see `attempt_of`.
    """
    earlier = (reversed(_attempts(each)) for each in reversed(past))
    found = itertools.chain(
        reversed(recent), itertools.chain.from_iterable(earlier))
    return itertools.islice(found, MAX_HISTORY + 1)


def without_texts(attempts: Iterator[tuple[Any, ...]]) -> Attempts:
    """Return attempts, oldest first, without what they say of failures.

    attempts -- see `newest_first`.
    """
    found: list[tuple[Any, ...]] = []
    for attempt in reversed(list(attempts)):
        bare = (*attempt[:3], None, None, *attempt[5:])
        found.append(_shared(bare, found[-1] if found else ()))
    return tuple(found)


def _attempts(past: Past) -> Attempts:
    jar = past._p_jar
    return read(None if jar is None else jar.db(),
                lambda: past.attempts).value or ()
