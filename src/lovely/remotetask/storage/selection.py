"""Which jobs somebody wants to find, and whether a job is one of them."""

import re
from typing import Any
from typing import NamedTuple

import persistent
from persistent.timestamp import TimeStamp
from ZODB.utils import z64

from lovely.remotetask.foreign.unreadable import UnreadableJob
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.number import check_time
from lovely.remotetask.number import shown
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.ledger import key_of


# The id of a transaction, as it is given out.
TID = re.compile('[0-9a-f]{16}')


class Selection(NamedTuple):
    """Which jobs to find; None is any.  See ITaskService.find.

    status -- one of the statuses.
    task -- the name of an ITask.
    function -- the dotted name of the function of a stored call.
    since, until -- POSIX seconds: see `time_of`.
    principal -- the id of the one who has made a stored call.
    errorClass -- the dotted name of the class of the last error.
    as_of -- the id of a transaction, see IPage: nothing that was written
        later.
    """

    status: str | None = None
    task: str | None = None
    function: str | None = None
    since: float | None = None
    until: float | None = None
    principal: str | None = None
    errorClass: str | None = None
    as_of: str | None = None

    def check(self) -> None:
        """Raise ValueError if this makes no sense."""
        if self.status is not None and self.status not in STATUSES:
            raise ValueError(
                f'There is no status {self.status!r}; choose one of '
                f'{", ".join(STATUSES)}.')
        for name in ('task', 'function', 'principal', 'errorClass'):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise ValueError(
                    f'{name} must be a str, not {shown(value)}.')
        for time in (self.since, self.until):
            if time is not None:
                check_time(time)
        self._last_seen()

    def matches(self, store: Any, job: Any) -> bool:
        """Return whether a job is selected; loads nothing but stored calls.
        """
        # A job that cannot be read is shown where it is counted.
        return ((self.status is None or self.status == job.status
                 or isinstance(job, UnreadableJob))
                and self.task in (None, job.task)
                and self.errorClass in (None, job.errorClass)
                and self._is_in_time(store, job)
                and self._is_as_it_was(job)
                and (self.principal is None
                     or self.principal == job.principal)
                and (self.function is None
                     or self.function == job.function))

    def time_of(self, job: Any) -> float:
        """Return the time of a job by which it is selected (POSIX seconds).

        Raise anything for one that has none.
        """
        if self.status in LISTED:
            return key_of(job)[0]
        if self.status == PROCESSING and job.claim is not None:
            return job.claim.time
        return job.created.timestamp()

    def _is_in_time(self, store: Any, job: Any) -> bool:
        if self.since is None and self.until is None:
            return True
        time = store.read(self.time_of, job).value
        return time is not None and (
            self.since is None or time >= self.since) and (
            self.until is None or time < self.until)

    def _last_seen(self) -> bytes | None:
        """Return the id of the last transaction that was seen, if any."""
        if self.as_of is None:
            return None
        if not (isinstance(self.as_of, str)
                and TID.fullmatch(self.as_of)):
            raise ValueError(
                f'as_of must be that of a page of jobs, 16 hexadecimal '
                f'digits, not {shown(self.as_of)}.')
        return bytes.fromhex(self.as_of)

    def _is_as_it_was(self, job: Any) -> bool:
        last_seen = self._last_seen()
        if last_seen is None:
            return True
        if isinstance(job, UnreadableJob):
            return (job.created.timestamp()
                    <= TimeStamp(last_seen).timeTime())
        # What is about to be stored for the first time was not seen, either.
        return z64 != job._p_serial <= last_seen


def is_ghost(record: Any) -> bool:
    """Return whether a record is a persistent object that is not loaded."""
    return getattr(record, '_p_changed', False) is None


def let_go(record: Any, was_ghost: bool) -> None:
    """Leave a record as it was found: others have better use for the cache.

    One that was changed since stays.  A stand-in for a job is no record.
    """
    if was_ghost and isinstance(record, persistent.Persistent):
        record._p_deactivate()
