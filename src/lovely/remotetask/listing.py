"""Find jobs, newest first, page by page, reading little more than a page."""

import heapq
import json
from typing import NamedTuple

from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.lane import SEGMENT_SIZE
from lovely.remotetask.ledger import LISTED
from lovely.remotetask.ledger import before
from lovely.remotetask.part import part


# A page may have fewer jobs than were asked for, where so many times as many
# were looked at to find them.
LOOK_AT = 20


@part
class Page(NamedTuple):
    """Jobs, and where the next page begins (str; None: there is none)."""

    jobs: list
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

    def check(self):
        """Raise ValueError if there is no such status."""
        if self.status is not None and self.status not in STATUSES:
            raise ValueError(
                f'There is no status {self.status!r}; choose one of '
                f'{", ".join(STATUSES)}.')

    def matches(self, job):
        return ((self.status is None or job.status == self.status)
                and (self.task is None or job.task == self.task)
                and (self.function is None or self.function == getattr(
                    job.input, 'function_name', None)))


def find(store, selection, after=None, limit=50):
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
        # Two notes may lead to a job.
        if selection.matches(job) and job not in jobs:
            jobs.append(job)
        if len(jobs) == limit or looked_at == limit * LOOK_AT:
            return Page(jobs, json.dumps(token))
    return Page(jobs, None)


def _decode(after):
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


def _bad_after(after):
    return ValueError(f'{after!r} is not the `after` of a page of these jobs.')


def _is_walk(position):
    return isinstance(position, dict) and all(
        key.isdecimal() and _is_int(value) for key, value in position.items())


def _is_key(position):
    time, jobid = position
    return type(time) in (int, float) and _is_int(jobid)


def _is_int(value):
    return type(value) is int and -1 <= value < 1 << 63


_POSITIONS = {'claims': _is_key, 'ledger': _is_key, 'schedule': _is_key,
              'new': _is_walk, 'all': _is_walk, 'legacy': _is_int}


def _candidates(store, status, position):
    """Iterate over jobs and tokens, ``(source, position)``, beyond one."""
    if status == PROCESSING:
        sources = [('claims', _claimed)]
    elif status in LISTED:
        sources = [('ledger', _of_ledger(status))]
        if status == STARTLATER:
            # The others are listed as soon as they are at rest.
            sources.insert(0, ('new', _new))
    elif status in WAITING:
        sources = [('new', _new_or_noted), ('schedule', _scheduled)]
    else:
        sources = [('all', _all), ('legacy', _legacy)]
    names = [name for name, _ in sources]
    if position[0] not in (None, *names):
        raise _bad_after(position)
    begin = names.index(position[0]) if position[0] else 0
    for name, source in sources[begin:]:
        where = position[1] if name == position[0] else None
        for job, token in source(store, where):
            yield job, (name, token)


def _of_ledger(status):
    def listed(store, after):
        begin = None if after is None else tuple(after)
        for key, job in store.ledger.newest(status, begin):
            yield job, key
    return listed


def _claimed(store, after):
    claims = sorted(((claim.time, claim.job) for claim in store.claims()),
                    reverse=True)
    for key in claims:
        job = store.find(key[1])
        if job is not None and (after is None or key < tuple(after)):
            yield job, key


def _scheduled(store, after):
    key = before(store.schedule, None if after is None else tuple(after))
    while key is not None:
        # Others are there still under a time that is not theirs any more.
        if store.is_scheduled(store.schedule[key], key):
            yield store.schedule[key], key
        key = before(store.schedule, key)


def _legacy(store, after):
    key = after
    while store.legacy:
        try:
            key = (store.legacy.maxKey() if key is None
                   else store.legacy.maxKey(key - 1))
        except ValueError:
            return
        yield store.legacy[key], key


def _new(store, after):
    """The jobs that no processor has looked at."""
    return _walk(store, after, store.sequence_at_cursor)


def _new_or_noted(store, after):
    """The same, and those that wait again, but not those of the schedule."""
    for job, token in _walk(
            store, after, store.sequence_at_cursor, _leads_to_job):
        if not store.is_scheduled(job):
            yield job, token


def _all(store, after):
    return _walk(store, after, lambda key: store.start)


def _is_new(job, change):
    return change[0] == '-'


def _leads_to_job(job, change):
    return not _is_new(job, change) or job.fence == 0 and change != '-l'


def _walk(store, after, lowest, wanted=_is_new):
    """Go backwards through all strands at once, newest job first.

    wanted -- called with the job and the change of an entry.
    """
    positions = {int(key): sequence for key, sequence in (after or {}).items()}
    heap = []
    for strand, key in store.strands():
        begin = min(strand.end, positions.get(key, strand.end))
        walker = _Backwards(strand, key, begin, lowest(key), wanted)
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


class _Backwards:
    """Goes from entry to entry of a strand, towards the oldest."""

    def __init__(self, strand, key, sequence, lowest, wanted):
        self.strand = strand
        self.key = key
        self.sequence = sequence
        self.lowest = lowest
        self.wanted = wanted
        self.job = None

    def step(self):
        """Go to the next job; return whether there is one."""
        while self.sequence > self.lowest:
            self.sequence -= 1
            segment = self.strand.segment(self.sequence)
            if segment is None:
                # Dropped: nothing is left of it.
                self.sequence -= self.sequence % SEGMENT_SIZE
                continue
            job = segment.job(self.sequence)
            if (job is not None and not job.removed
                    and self.wanted(job, segment.change(self.sequence))):
                self.job = job
                return True
        return False

    def __lt__(self, other):
        return self.job.created > other.job.created
