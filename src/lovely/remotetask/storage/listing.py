"""Find jobs, newest first, page by page, reading little more than a page."""

import heapq
import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

from lovely.remotetask.foreign.unreadable import UnreadableJob
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.part import part
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import books
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import removal
from lovely.remotetask.storage.backwards import Backwards
from lovely.remotetask.storage.lane import Entry
from lovely.remotetask.storage.lane import Note
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.ledger import before


# Where a page ends: the name of a source, and a place in it.
Token = tuple[str | None, Any]

# Jobs, and how far a source has come with each of them.
Found = Iterator[tuple[Any, Any]]

# Called with the store and where to begin.
Source = Callable[[Any, Any], Found]

# A page may have fewer jobs than were asked for, where so many times as many
# were looked at to find them.
LOOK_AT = 20


@part
class Page(NamedTuple):
    """Jobs, and where the next page begins (str; None: there is none)."""

    jobs: list[Any]
    after: str | None


class Selection(NamedTuple):
    """Which jobs to find; None is any.

    status -- one of the statuses.
    task -- the name of an ITask.
    function -- the dotted name of the function of a stored call.
    """

    status: str | None = None
    task: str | None = None
    function: str | None = None

    def check(self) -> None:
        """Raise ValueError if there is no such status."""
        if self.status is not None and self.status not in STATUSES:
            raise ValueError(
                f'There is no status {self.status!r}; choose one of '
                f'{", ".join(STATUSES)}.')

    def matches(self, store: Any, job: Any) -> bool:
        """Return whether a job is selected."""
        # A job that cannot be read is shown where it is counted.
        return ((self.status in (None, job.status)
                 or isinstance(job, UnreadableJob))
                and (self.task is None or job.task == self.task)
                and (self.function is None or store.read(
                    self._is_of_function, job).value is True))

    def _is_of_function(self, job: Any) -> bool:
        # The input may be of a class that is gone.
        found = getattr(job.input, 'function_name', None)
        return type(found) is str and found == self.function


def find(store: Any, selection: Selection, after: str | None = None,
         limit: int = 50) -> Page:
    """Return a Page of the jobs that are selected.

    after -- that of the page before.

    Raise ValueError for an unknown status, a bad `after` or `limit`.
    """
    selection.check()
    if type(limit) is not int or limit < 1:
        raise ValueError(f'limit must be 1 or more, not {limit!r}.')
    jobs = []
    candidates = _candidates(store, selection.status, _decode(after))
    for looked_at, (job, token) in enumerate(candidates, 1):
        if selection.matches(store, job):
            jobs.append(job)
        if len(jobs) == limit or looked_at == limit * LOOK_AT:
            return Page(jobs, json.dumps(token))
    return Page(jobs, None)


def _decode(after: str | None) -> Token:
    if after is None:
        return None, None
    try:
        source, position = json.loads(after)
        good = _POSITIONS[source](position)
    except (TypeError, ValueError, KeyError) as error:
        raise _bad_after(after) from error
    if not good:
        raise _bad_after(after)
    return source, position


def _bad_after(after: object) -> ValueError:
    return ValueError(f'{after!r} is not the `after` of a page of these jobs.')


def _is_walk(position: Any) -> bool:
    return isinstance(position, dict) and all(
        key.isdecimal() and _is_int(value) for key, value in position.items())


def _is_key(position: Any) -> bool:
    time, jobid = position
    return type(time) in (int, float) and _is_int(jobid)


def _is_int(value: object) -> bool:
    return type(value) is int and -1 <= value < 1 << 63


_POSITIONS = {'claims': _is_key, 'ended': _is_key, 'ledger': _is_key,
              'schedule': _is_key, 'new': _is_walk, 'all': _is_walk,
              'noted': _is_walk, 'legacy': _is_int, 'aside': _is_int}


def _candidates(store: Any, status: str | None,
                position: Token) -> Iterator[tuple[Any, Token]]:
    """Iterate over jobs and tokens, ``(source, position)``, beyond one.

    Each job is in one source at most; so none is found twice.
    """
    sources = _sources(status)
    names = [name for name, _ in sources]
    if position[0] not in (None, *names):
        raise _bad_after(position)
    begin = names.index(position[0]) if position[0] else 0
    for name, source in sources[begin:]:
        where = position[1] if name == position[0] else None
        for job, token in source(store, where):
            yield job, (name, token)


def _sources(status: str | None) -> list[tuple[str, Source]]:
    if status == PROCESSING:
        return [('claims', _claimed)]
    if status in LISTED:
        # A job to be started later may be new; others came to rest by a
        # change, so they have a note.
        unseen = ('new', _new) if status == STARTLATER else (
            'noted', _noted(status))
        held = [('aside', _aside)] if status == HELD else []
        return [unseen, ('ended', _ended), *held,
                ('ledger', _of_ledger(status))]
    if status in WAITING:
        return [('new', _new), ('ended', _ended), ('schedule', _scheduled)]
    return [('all', _all), ('aside', _without_entry), ('legacy', _legacy)]


def unlisted(store: Any, status: str) -> list[Any]:
    """Return the jobs at rest with a status that are not listed yet."""
    sources = (_noted(status), _ended)
    return [job for source in sources for job, _ in source(store, None)
            if job.stored_status == status]


def _aside(store: Any, after: Any) -> Found:
    return _of_ids(store, after, aside.ids(store))


def _without_entry(store: Any, after: Any) -> Found:
    return _of_ids(store, after, lookup.without_entry(store))


def _of_ids(store: Any, after: int | None, ids: Iterable[int]) -> Found:
    for jobid in sorted(ids, reverse=True):
        job = lookup.find(store, jobid)
        if job is not None and (after is None or jobid < after):
            yield job, jobid


def _of_ledger(status: str) -> Source:
    def listed(store: Any, after: Any) -> Found:
        begin = None if after is None else tuple(after)
        for key, job in _readable(store, store.ledger.newest(status, begin)):
            found = store.read(_listed, status, key, job)
            if found.failed:
                job = lookup.find(store, key[1])
            if job is not None and (found.failed or found.value):
                yield job, key
    return listed


def _readable(store: Any, items: Iterator[Any]) -> Iterator[Any]:
    """Iterate over items up to the first one that cannot be read."""
    while True:
        found = store.read(next, items, None)
        if not found.value:
            return
        yield found.value


def _listed(status: str, key: tuple[float, int], job: Any) -> bool:
    return removal.belongs(lookup.checked(job, key[1]), status, key)


def _claimed(store: Any, after: Any) -> Found:
    for job, key in _of_claims(store, after):
        if job.status == PROCESSING:
            yield job, key


def _ended(store: Any, after: Any) -> Found:
    """The jobs whose run has ended, and that no processor has listed."""
    for job, key in _of_claims(store, after):
        if (_has_ended(store, job) and not books.is_booked(store, job)
                and (job.stored_status in LISTED
                     or not lookup.is_pending(store, job))):
            yield job, key


def _has_ended(store: Any, job: Any) -> bool:
    return (crew.has_claim(store, job)
            and crew.claim_of(store, job) is None)


def _of_claims(store: Any, after: Any) -> Found:
    """Iterate over claimed jobs, each once, and their keys."""
    # Several workers may have had the same job.
    times = {claim.job: claim.time for claim in crew.all_claims(store)}
    keys = sorted(((time, jobid) for jobid, time in times.items()),
                  reverse=True)
    for key in keys:
        job = lookup.find(store, key[1])
        if job is not None and (after is None or key < tuple(after)):
            yield job, key


def _scheduled(store: Any, after: Any) -> Found:
    key = before(store.schedule, None if after is None else tuple(after))
    while key is not None:
        found = store.read(_is_scheduled, store, key)
        job = None
        if found.value:
            job = store.schedule[key]
        elif found.failed and not lookup.is_unseen(store, key[1]):
            job = lookup.find(store, key[1])
        if job is not None:
            yield job, key
        key = before(store.schedule, key)


def _is_scheduled(store: Any, key: tuple[float, int]) -> bool:
    # The schedule may still have a job under a time that is not its own any
    # more.
    job = lookup.checked(store.schedule[key], key[1])
    return (not job.removed and job.stored_status in WAITING
            and books.due_time(job) == key[0])


def _legacy(store: Any, after: Any) -> Found:
    key = after
    while store.legacy:
        try:
            key = (store.legacy.maxKey() if key is None
                   else store.legacy.maxKey(key - 1))
        except ValueError:
            return
        job = lookup.find(store, key)
        if job is not None:
            yield job, key


def _new(store: Any, after: Any) -> Found:
    """The jobs of which processors have not heard what they are."""
    for job, token in _walk(store, after, _lowest_unseen, _tells):
        if not (books.is_booked(store, job)
                or job.stored_status in LISTED and _has_ended(store, job)):
            yield job, token


def _tells(store: Any, place: int, entry: Entry) -> Any:
    """Return the job that an entry tells of last, or None."""
    if entry.job is None:
        return None
    if entry.note is None:
        job = lookup.find(store, place)
        return None if job is None or job.note is not None else job
    return _noted_job(store, place, entry.note)


def _noted_job(store: Any, place: int, note: Note) -> Any:
    job = lookup.find(store, note.job)
    # A job that cannot be read is shown where it was before.
    if job is None or isinstance(job, UnreadableJob):
        return None
    return job if job.note == place else None


def _noted(status: str) -> Source:
    """The jobs that callers have given a status, at rest."""
    def noted(store: Any, after: Any) -> Found:
        for job, token in _walk(store, after, _lowest_unseen, _tells, status):
            if not (books.is_booked(store, job)
                    or crew.has_claim(store, job)):
                yield job, token
    return noted


def _lowest_unseen(store: Any, key: int) -> int:
    return lookup.sequence_at_cursor(store, key)


def _all(store: Any, after: Any) -> Found:
    return _walk(store, after, lambda store, key: store.start, _is_job)


def _is_job(store: Any, place: int, entry: Entry) -> Any:
    """Return the job that an entry has added, or None."""
    if entry.old is not None or entry.job is None:
        return None
    return lookup.find(store, place)


def _walk(store: Any, after: dict[str, int] | None,
          lowest: Callable[[Any, int], int],
          job_of: Callable[[Any, int, Entry], Any],
          noted: str | None = None) -> Found:
    """Go backwards through all strands at once, newest job first.

    job_of -- called with the store, the id of an Entry and the Entry;
        returns a job or None.
    noted -- a status: look at notes only that give it.
    """
    positions = {int(key): sequence for key, sequence in (after or {}).items()}
    heap = []
    for strand, key in lookup.strands(store):
        if after is not None and key not in positions:
            # All its jobs were added after the page before.
            continue
        walker = store.read(Backwards, store, strand, key, positions.get(key),
                            lowest(store, key), job_of, noted).value
        if walker is not None:
            positions[key] = walker.sequence
            if walker.step():
                heap.append(walker)
    heapq.heapify(heap)
    while heap:
        walker = heap[0]
        positions[walker.key] = walker.sequence
        yield walker.job, dict(positions)
        if walker.step():
            heapq.heapreplace(heap, walker)
        else:
            heapq.heappop(heap)
