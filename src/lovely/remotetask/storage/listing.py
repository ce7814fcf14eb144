"""Find jobs, newest first, page by page, reading little more than a page."""

import datetime
import time
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import zope.interface

from lovely.remotetask import interfaces
from lovely.remotetask.job import as_datetime
from lovely.remotetask.number import shown
from lovely.remotetask.part import part
from lovely.remotetask.storage import bookmark
from lovely.remotetask.storage import whereabouts
from lovely.remotetask.storage.selection import Selection
from lovely.remotetask.storage.selection import let_go


# Where a page ends: the name of a source, and a place in it.
Token = tuple[str | None, Any]

# Jobs, where a page ends with each, and whether it was loaded for this.
Candidates = Iterator[tuple[Any, tuple[str, Any], bool]]

# A page may have fewer jobs than were asked for, where so many times as many
# were looked at to find them, or so many.
LOOK_AT = 20
LOOK_AT_MOST = 1000


@part
@zope.interface.implementer(interfaces.IPage)
class Page(NamedTuple):
    """See IPage."""

    jobs: list[Any]
    after: str | None
    looked_at: int = 0
    looked_back_to: datetime.datetime | None = None
    as_of: str | None = None


def find(store: Any, selection: Selection, after: str | None = None,
         limit: int = 50, deadline: float | None = None) -> Page:
    """Return a Page of the jobs that are selected, see ITaskService.find.

    deadline -- seconds of the monotonic clock.

    Raise ValueError for a bad selection, `after` or `limit`.
    """
    selection.check()
    if type(limit) is not int or limit < 1:
        raise ValueError(f'limit must be 1 or more, not {limit!r}.')
    most = max(limit, min(limit * LOOK_AT, LOOK_AT_MOST))
    look = _Look(store, selection)
    candidates = _candidates(store, selection, _decode(after))
    for steps, (job, token, was_ghost) in enumerate(candidates, 1):
        if job is not None:
            look.at(job, was_ghost)
        if len(look.jobs) == limit or steps >= most or (
                deadline is not None and time.monotonic() > deadline):
            return look.page(bookmark.write(*token))
    return look.page(None)


class _Look:
    """Looks at jobs, and keeps those that are selected."""

    def __init__(self, store: Any, selection: Selection) -> None:
        self.store = store
        self.selection = selection
        self.jobs: list[Any] = []
        self.looked_at = 0
        # The last job, and whether to let it go: only that of the whole page
        # is asked for its time.
        self.last: tuple[Any, bool] = None, False

    def at(self, job: Any, was_ghost: bool) -> None:
        let_go(*self.last)
        self.looked_at += 1
        is_found = self.selection.matches(self.store, job)
        if is_found:
            self.jobs.append(job)
        self.last = job, was_ghost and not is_found

    def page(self, after: str | None) -> Page:
        job, _ = self.last
        time = None if job is None else self.store.read(
            self.selection.time_of, job).value
        let_go(*self.last)
        return Page(self.jobs, after, self.looked_at,
                    None if time is None else as_datetime(time))


def _decode(after: str | None) -> Token:
    if after is None:
        return None, None
    try:
        source, position = bookmark.read(after)
        good = _POSITIONS[source](position)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise _bad_after(after) from error
    if not good:
        raise _bad_after(after)
    return source, position


def _bad_after(after: object) -> ValueError:
    return ValueError(
        f'{shown(after)} is not the `after` of a page of these jobs.')


def _is_walk(position: Any) -> bool:
    return isinstance(position, dict) and all(
        _is_int(key) and _is_int(value) for key, value in position.items())


def _is_key(position: Any) -> bool:
    time, jobid = position
    return type(time) in (int, float) and _is_int(jobid)


def _is_int(value: object) -> bool:
    return type(value) is int and -1 <= value < 1 << 63


_POSITIONS = {'claims': _is_key, 'ended': _is_key, 'ledger': _is_key,
              'schedule': _is_key, 'new': _is_walk, 'all': _is_walk,
              'noted': _is_walk, 'legacy': _is_int, 'aside': _is_int,
              'crons': _is_int, 'displaced': _is_int}


def _candidates(store: Any, selection: Selection,
                position: Token) -> Candidates:
    """Iterate over jobs beyond a token ``(source, position)``.

    With each comes its token, and whether it was loaded for this.  None in
    place of a job: that far was looked, for nothing.  Each job is in one
    source at most; so none is found twice.
    """
    sources = whereabouts.sources(selection.status)
    names = [name for name, _ in sources]
    if position[0] not in (None, *names):
        raise _bad_after(position)
    begin = names.index(position[0]) if position[0] else 0
    for name, source in sources[begin:]:
        where = position[1] if name == position[0] else None
        for job, token, was_ghost in source(store, where, selection):
            yield job, (name, token), was_ghost
