"""Where readers find jobs: each in one place, whatever has become of it.

docs/explanation/engine.rst tells which places there are.  Each is a source: an
iterator over jobs, beginning where a page has ended.
"""

import heapq
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from lovely.remotetask.foreign.unreadable import UnreadableJob
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import backwards
from lovely.remotetask.storage import books
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import crons
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import removal
from lovely.remotetask.storage.backwards import Backwards
from lovely.remotetask.storage.lane import Entry
from lovely.remotetask.storage.lane import Note
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.ledger import before
from lovely.remotetask.storage.ledger import key_of
from lovely.remotetask.storage.selection import Selection
from lovely.remotetask.storage.selection import is_ghost
from lovely.remotetask.storage.selection import let_go


# Jobs (None: nothing was found there), how far a source has come with each of
# them, and whether it was loaded for this.
Found = Iterator[tuple[Any, Any, bool]]

# Called with the store, where to begin, and what is looked for.
Source = Callable[[Any, Any, Selection], Found]

# Only a run gives a job one of these.
ENDS = COMPLETED, ERROR

# No id is less than this one.
FIRST_ID = 0


def sources(status: str | None) -> list[tuple[str, Source]]:
    """Return where jobs of a status are, with names: each job is in one.

    status -- None: all jobs.
    """
    if status == PROCESSING:
        return [('claims', _claimed)]
    if status in ENDS:
        return [('ledger', _at_rest)]
    if status in LISTED:
        return [*_not_listed(status), ('ledger', _of_ledger)]
    if status == CRONJOB:
        return [('new', _new), ('ended', _ended), ('crons', _crons)]
    if status in WAITING:
        return [('new', _new), ('ended', _ended), ('schedule', _scheduled)]
    return [('all', _all), ('aside', _without_entry),
            ('displaced', _displaced), ('legacy', _legacy)]


def _not_listed(status: str) -> list[tuple[str, Source]]:
    """Return where jobs at rest are that no processor has listed."""
    if status == STARTLATER:
        return [('new', _new), ('ended', _ended)]
    if status == CANCELLED:
        return [('noted', _noted), ('ended', _ended)]
    if status == HELD:
        return [('noted', _noted), ('ended', _ended), ('aside', _aside)]
    # A run makes no note: the notes, however many, need not be looked at.
    return [('ended', _ended)]


def unlisted(store: Any, status: str) -> list[Any]:
    """Return the jobs at rest with a status that are not listed yet."""
    return [job for name, source in _not_listed(status) if name != 'aside'
            for job, *_ in source(store, None, Selection(status))
            if job is not None and job.stored_status == status]


def _aside(store: Any, after: Any, selection: Selection) -> Found:
    return _of_ids(store, after, aside.ids(store))


def _without_entry(store: Any, after: Any, selection: Selection) -> Found:
    return _of_ids(store, after, lookup.without_entry(store))


def _of_ids(store: Any, after: int | None, ids: Iterable[int]) -> Found:
    for jobid in sorted(ids, reverse=True):
        job = lookup.find(store, jobid)
        if job is not None and (after is None or jobid < after):
            yield job, jobid, False


def _at_rest(store: Any, after: Any, selection: Selection) -> Found:
    """The jobs that a run has brought to rest, the last ones first.

    Processors may list some of them from one page to the next: that changes
    nothing of their order.
    """
    begin, since = _begin(after, selection), selection.since
    ended = []
    for job, _, was_ghost in _ended(store, None, selection):
        key = store.read(key_of, job).value
        if (key is None or job.stored_status != selection.status
                or begin is not None and key >= begin
                or since is not None and key[0] < since):
            let_go(job, was_ghost)
        else:
            ended.append((job, key, was_ghost))
    return heapq.merge(
        sorted(ended, key=_key, reverse=True),
        _of_ledger(store, after, selection), key=_key, reverse=True)


def _key(found: tuple[Any, Any, bool]) -> Any:
    return found[1]


def _begin(after: Any, selection: Selection) -> Any:
    """Return the key below which a page of jobs at rest begins, or None."""
    if after is not None:
        return tuple(after)
    # The keys are times, so the tree leads there at once.
    return None if selection.until is None else (selection.until, FIRST_ID)


def _of_ledger(store: Any, after: Any, selection: Selection) -> Found:
    status, since = selection.status, selection.since
    begin = _begin(after, selection)
    for key, job in _readable(store, store.ledger.newest(status, begin)):
        if since is not None and key[0] < since:
            return
        was_ghost = is_ghost(job)
        found = store.read(_listed, status, key, job)
        if found.failed:
            yield lookup.find(store, key[1]), key, False
        elif found.value:
            yield job, key, was_ghost
        else:
            let_go(job, was_ghost)
            yield None, key, False


def _readable(store: Any, items: Iterator[Any]) -> Iterator[Any]:
    """Iterate over items up to the first one that cannot be read."""
    while True:
        found = store.read(next, items, None)
        if not found.value:
            return
        yield found.value


def _listed(status: str, key: tuple[float, int], job: Any) -> bool:
    return removal.belongs(lookup.checked(job, key[1]), status, key)


def _claimed(store: Any, after: Any, selection: Selection) -> Found:
    return _of_claims(store, after, lambda job: job.status == PROCESSING)


def _ended(store: Any, after: Any, selection: Selection) -> Found:
    """The jobs whose run has ended, and that no processor has listed."""
    def is_ended(job: Any) -> bool:
        return (_has_ended(store, job) and not books.is_booked(store, job)
                and (job.stored_status in LISTED
                     or not _is_told(store, job)))
    return _of_claims(store, after, is_ended)


def _is_told(store: Any, job: Any) -> bool:
    """Return whether an entry that nobody has passed tells a job's status."""
    if not lookup.is_pending(store, job):
        return False
    entry = lookup.entry_of(store, job.id if job.note is None else job.note)
    # A cron job that was requeued, claimed and is tried again has another.
    return entry is None or entry.new == job.stored_status


def _has_ended(store: Any, job: Any) -> bool:
    return (crew.has_claim(store, job)
            and crew.claim_of(store, job) is None)


def _of_claims(store: Any, after: Any,
               is_meant: Callable[[Any], bool]) -> Found:
    """Iterate over claimed jobs, each once, and their keys."""
    # Several workers may have had the same job.
    times = {claim.job: claim.time for claim in crew.all_claims(store)}
    keys = sorted(((time, jobid) for jobid, time in times.items()),
                  reverse=True)
    for key in keys:
        if after is not None and key >= tuple(after):
            continue
        was_ghost = is_ghost(store.read(lookup.record, store, key[1]).value)
        job = lookup.find(store, key[1])
        if job is not None and is_meant(job):
            yield job, key, was_ghost
        elif job is not None:
            let_go(job, was_ghost)


def _scheduled(store: Any, after: Any, selection: Selection) -> Found:
    key = before(store.schedule, None if after is None else tuple(after))
    while key is not None:
        was_ghost = is_ghost(store.schedule[key])
        found = store.read(_is_scheduled, store, key)
        if found.value:
            yield store.schedule[key], key, was_ghost
        elif found.failed and not lookup.is_unseen(store, key[1]):
            yield lookup.find(store, key[1]), key, False
        else:
            let_go(store.schedule[key], was_ghost)
            yield None, key, False
        key = before(store.schedule, key)


def _is_scheduled(store: Any, key: tuple[float, int]) -> bool:
    # The schedule may still have a job under a time that is not its own any
    # more.
    job = lookup.checked(store.schedule[key], key[1])
    return (not job.removed and job.stored_status in WAITING
            and books.due_time(job) == key[0])


def _crons(store: Any, after: Any, selection: Selection) -> Found:
    """The cron jobs on the books, also those that run at the moment."""
    for jobid, found in crons.newest(store, after):
        was_ghost = is_ghost(found)
        job = lookup.find(store, jobid)
        if isinstance(job, UnreadableJob) or job is not None and (
                store.read(_is_on_books, store, job).value):
            yield job, jobid, was_ghost
        else:
            let_go(found, was_ghost)
            yield None, jobid, False


def _is_on_books(store: Any, job: Any) -> bool:
    return job.stored_status == CRONJOB and (
        books.is_booked(store, job) or crew.claim_of(store, job) is not None)


def cron_jobs(store: Any, deadline: float | None = None) -> list[Any]:
    """Return the jobs that run again and again, see ITaskService."""
    found = {}
    # Jobs that processors know come first: they are found at once.
    for _, source in reversed(sources(CRONJOB)):
        for job, *_ in source(store, None, Selection(CRONJOB)):
            if job is not None and job.stored_status == CRONJOB:
                found[job.id] = job
            if deadline is not None and time.monotonic() > deadline:
                break
    return sorted(found.values(), key=_created, reverse=True)


def _created(job: Any) -> Any:
    return job.created, job.id


def _displaced(store: Any, after: Any, selection: Selection) -> Found:
    return _of_tree(store, after, store.displaced)


def _legacy(store: Any, after: Any, selection: Selection) -> Found:
    return _of_tree(store, after, store.legacy)


def _of_tree(store: Any, after: Any, tree: Any) -> Found:
    key = after
    while tree:
        try:
            key = tree.maxKey() if key is None else tree.maxKey(key - 1)
        except (TypeError, OverflowError):
            # Somebody has made up a number that no key of the tree can be.
            key = None
            continue
        except ValueError:
            return
        was_ghost = is_ghost(tree[key])
        yield lookup.find(store, key), key, was_ghost


def _new(store: Any, after: Any, selection: Selection) -> Found:
    """The jobs of which processors have not heard what they are."""
    for job, token, was_ghost in _walk(
            store, after, _lowest_unseen, _tells, selection.status):
        if job is None or not (
                books.is_booked(store, job)
                or job.stored_status in LISTED and _has_ended(store, job)):
            yield job, token, was_ghost


def _tells(store: Any, place: int, entry: Entry) -> Any:
    """Return the job that an entry tells of last, or None."""
    if entry.job is None:
        return None
    if entry.note is None:
        job = _job_of(store, place, entry)
        return None if job is None or job.note is not None else job
    return _noted_job(store, place, entry.note)


def _noted_job(store: Any, place: int, note: Note) -> Any:
    job = lookup.find(store, note.job)
    # A job that cannot be read is shown where it was before.
    if job is None or isinstance(job, UnreadableJob):
        return None
    return job if job.note == place else None


def _noted(store: Any, after: Any, selection: Selection) -> Found:
    """The jobs that callers have given a status, at rest."""
    for job, token, was_ghost in _walk(
            store, after, _lowest_unseen, _tells, selection.status, True):
        if job is None or not (books.is_booked(store, job)
                               or crew.has_claim(store, job)):
            yield job, token, was_ghost


def _lowest_unseen(store: Any, key: int) -> int:
    return lookup.sequence_at_cursor(store, key)


def _all(store: Any, after: Any, selection: Selection) -> Found:
    return _walk(store, after, lambda store, key: store.start, _is_job,
                 since=selection.since, until=selection.until)


def _is_job(store: Any, place: int, entry: Entry) -> Any:
    """Return the job that an entry has added, or None."""
    if entry.old is not None or entry.job is None:
        return None
    return _job_of(store, place, entry)


def _job_of(store: Any, place: int, entry: Entry) -> Any:
    """Return the job that an Entry has added, or None, see lookup.find."""
    if entry is backwards.UNREADABLE:
        # Whoever looks for the job is told why.
        return lookup.find(store, place)
    return lookup.find_stored(store, place, entry.job)


def _walk(store: Any, after: dict[int, int] | None,
          lowest: Callable[[Any, int], int],
          job_of: Callable[[Any, int, Entry], Any],
          status: str | None = None, notes_only: bool = False,
          since: float | None = None, until: float | None = None) -> Found:
    """Go backwards through all strands at once, newest job first.

    job_of -- called with the store, the id of an Entry and the Entry;
        returns a job or None.
    status -- look at entries only that give it.
    notes_only -- look at notes only.
    since, until -- POSIX seconds: look at jobs only that were added then.
    """
    begins = after or {}
    positions: dict[int, int] = {}
    heap = []
    # All jobs of others were added after the page before, or were on it.
    for strand, key in lookup.strands(
            store, lambda key: after is None or key in begins):
        begin = begins.get(key)
        if begin is None and until is not None:
            begin = store.read(backwards.seek, store, strand, until).value
        walker = store.read(
            Backwards, store, strand, key, begin, lowest(store, key),
            job_of, status, notes_only, since).value
        if walker is None:
            continue
        begin = walker.sequence
        if walker.step():
            positions[key] = begin
            heap.append(walker)
    heapq.heapify(heap)
    try:
        while heap:
            walker = heap[0]
            positions[walker.key] = walker.sequence
            yield walker.job, dict(positions), walker.was_ghost
            if walker.step():
                heapq.heapreplace(heap, walker)
            else:
                heapq.heappop(heap)
                del positions[walker.key]
    finally:
        for walker in heap[1:]:
            walker.leave()
