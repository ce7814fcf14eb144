"""Lanes: where jobs are added.

Storage only.  docs/reference/writers.rst tells who writes which of these
objects.
"""

from typing import Any
from typing import NamedTuple

import BTrees
import persistent

from lovely.remotetask.foreign.unreadable import read
from lovely.remotetask.history import abbreviated
from lovely.remotetask.history import full
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.storage import numbering


# Entries of a segment: what an adder writes anew with each of them.
SEGMENT_SIZE = 16

# How many segments are looked at when a new one is begun, to drop those that
# are empty: more than one, so that they go faster than they come.
_TRIM = 3

# A change of status, as it is stored with an entry: two letters.
_LETTERS = {
    None: '-', QUEUED: 'q', DELAYED: 'd', CRONJOB: 'c', STARTLATER: 'l',
    CANCELLED: 'x', ERROR: 'e', HELD: 'h', COMPLETED: 'f'}
_STATUSES = {letter: status for status, letter in _LETTERS.items()}

# The change of an entry that fills a segment and never was a job.
NOTHING = 2 * _LETTERS[None]


def letter_of(status):
    """Return the letter for a status."""
    return _LETTERS[status]


def status_of(letter):
    """Return the status of a letter."""
    return _STATUSES[letter]


def encode_change(old, new):
    """Return the two letters for a change of status."""
    return _LETTERS[old] + _LETTERS[new]


def decode_change(change):
    """Return the statuses before (None for a new job) and after."""
    return _STATUSES[change[0]], _STATUSES[change[1]]


def aligned(sequence):
    """Return the first sequence from one on with which a segment may begin.
    """
    return -(-sequence // SEGMENT_SIZE) * SEGMENT_SIZE


class Note(NamedTuple):
    """What a later entry of a job tells besides its change of status.

    job -- the id of the job.
    places -- where the books may have the job: pairs of the letter of a
        status and the time under which it was listed, or was due.
    previous -- the ids of notes of the same job that processors had not come
        to when this one was made, newest first; of each strand the last one.
    """

    job: int
    places: tuple
    previous: tuple = ()


class Entry(NamedTuple):
    """An entry of a strand.

    sequence -- its place.
    job -- the Job; None if that was removed.
    old, new -- the statuses before (None for a new job) and after (None for
        one that was removed).
    note -- a Note; None for a new job.
    """

    sequence: int
    job: Any
    old: str | None
    new: str | None
    note: Note | None


# The entry of a place that nobody was given.
NO_ENTRY = Entry(-1, None, None, None, None)


class Segment(persistent.Persistent):
    """Up to SEGMENT_SIZE entries, each a job and a change of its status.

    before -- jobs by status, as the entries of this strand before this
        segment add up to.
    notes -- the Notes by index, as plain tuples; None if there are none.
    noted -- the sequence of the last note of this strand before this
        segment, None if there is none.
    taken -- how many jobs by status the notes before this segment have taken
        from it, since a sequence, which is under None.  None: nobody has
        counted that.
    """

    notes = None
    noted = None
    taken = None

    def __init__(self, start, before, noted=None, taken=None):
        self.start = start
        self.before = before
        if noted is not None:
            self.noted = noted
        if taken is not None:
            self.taken = taken
        self.jobs = []
        # The changes are two letters each, in one string: pickling a list
        # takes longer.
        self.changes = ''

    def __getstate__(self):
        # As little as possible: each call writes it anew.
        changes = self.changes
        if changes == changes[:2] * len(self.jobs):
            changes = changes[:2]
        before = {abbreviated(status): number
                  for status, number in self.before.items()}
        state = self.start, before, self.jobs, changes
        if self.notes is None and self.noted is None:
            return state
        state = (*state, self.notes, self.noted)
        return state if self.taken is None else (*state, {
            abbreviated(status): number
            for status, number in self.taken.items()})

    def __setstate__(self, state):
        start, before, jobs, changes, *noted = state
        if len(changes) == 2:
            changes *= len(jobs)
        state = {'start': start, 'jobs': jobs, 'changes': changes,
                 'before': {full(status): number
                            for status, number in before.items()}}
        for name, value in zip(
                ('notes', 'noted', 'taken'), noted, strict=False):
            if value is not None:
                state[name] = value
        if 'taken' in state:
            state['taken'] = {full(status): number for status, number
                              in state['taken'].items()}
        super().__setstate__(state)

    @property
    def end(self):
        """The sequence after that of the last entry."""
        return self.start + len(self.jobs)

    @property
    def full(self):
        """Whether no entry fits in any more."""
        return len(self.jobs) >= SEGMENT_SIZE

    @property
    def empty(self):
        """Whether all jobs of a full segment were removed."""
        return self.full and not any(job is not None for job in self.jobs)

    def append(self, job, change, note=None):
        """Add an entry at the end.

        job -- the Job.
        change -- two letters, see `encode_change`.
        note -- a Note; None for a new job.
        """
        # The segment is registered first: that raises in a transaction that
        # has ended, and then the segment is not changed in memory either.
        self._p_changed = True
        if note is not None:
            self.notes = {**(self.notes or {}), len(self.jobs): tuple(note)}
        self.jobs.append(job)
        self.changes += change

    def entry(self, sequence):
        """Return the Entry of a sequence."""
        index = sequence - self.start
        note = (self.notes or {}).get(index)
        return Entry(sequence, self.jobs[index],
                     *decode_change(self.change(sequence)),
                     None if note is None else Note(*note))

    def note_before(self, sequence):
        """Return the sequence of the last note before one, or None."""
        found = [index for index in self.notes or ()
                 if index < sequence - self.start]
        return self.start + max(found) if found else self.noted

    def taken_before(self, sequence):
        """Return what `taken` is of a segment that begins with a sequence."""
        if self.taken is not None:
            found = dict(self.taken)
        elif self.noted is None:
            found = {None: 0}
        else:
            # A segment of earlier code: it is counted from now on.
            return {None: sequence}
        for index in self.notes or ():
            old, _ = decode_change(self.change(self.start + index))
            if self.start + index < sequence and old is not None:
                found[old] = found.get(old, 0) + 1
        return found

    def job(self, sequence):
        """Return the job of an entry, None if there is none any more."""
        index = sequence - self.start
        return self.jobs[index] if 0 <= index < len(self.jobs) else None

    def change(self, sequence):
        """Return the change of an entry, see `encode_change`."""
        index = 2 * (sequence - self.start)
        return self.changes[index:index + 2]

    def is_of_new(self, sequence):
        """Return whether an entry is that of a new job, no note."""
        return (sequence >= self.start
                and self.change(sequence)[:1] == _LETTERS[None])

    def totals(self, sequence):
        """Return jobs by status, as all entries before `sequence` add up."""
        totals = dict(self.before)
        for number in range(self.start, sequence):
            old, new = decode_change(self.change(number))
            totals[old] = totals.get(old, 0) - 1
            totals[new] = totals.get(new, 0) + 1
        totals.pop(None, None)
        return totals

    def entries(self):
        """Iterate over the Entries."""
        return map(self.entry, range(self.start, self.end))

    def remove(self, sequence):
        """Forget the job of an entry."""
        self._p_changed = True
        self.jobs[sequence - self.start] = None

    def close(self):
        """Fill the segment with entries of nothing."""
        self._p_changed = True
        missing = SEGMENT_SIZE - len(self.jobs)
        self.jobs += [None] * missing
        self.changes += NOTHING * missing


class Strand(persistent.Persistent):
    """The entries of one lane with one priority, oldest first."""

    # Volatile: whoever forgets it begins anew.
    _v_trim_from = 0

    def __init__(self, start=0):
        self.segments = BTrees.family64.IO.BTree()
        self._add_segment(start, {})

    @property
    def tail(self):
        """The Segment to which entries are appended."""
        # An attribute would have the strand written with each new one.
        return self.segments[self.segments.maxKey()]

    @property
    def end(self):
        """The sequence of the next entry."""
        return self.tail.end

    def append(self, job, change, note=None):
        """Append an entry.

        note -- a Note, for a job that stands elsewhere.
        """
        tail = self.tail
        tail.append(job, change, note)
        if tail.full:
            # The next segment is begun now, not with the next entry: so `tail`
            # is never full, and an adder never writes a full segment again.
            self._follow(tail.end, tail.totals(tail.end))

    @property
    def has_new_segment(self):
        """Whether the last entry has filled a segment."""
        tail = self.tail
        return tail.start == tail.end

    def skip(self, sequence, totals):
        """Give out no place before `sequence` any more.

        totals -- jobs by status, as processors have counted them there.
        """
        self.tail.close()
        self._follow(max(self.tail.end, aligned(sequence)), totals)

    def _follow(self, start, totals):
        tail = self.tail
        noted = tail.note_before(tail.end)
        self._add_segment(
            start, totals, noted,
            None if noted is None else tail.taken_before(tail.end))

    def segment(self, sequence):
        """Return the segment of a sequence, or None."""
        found = self.segments.get(sequence // SEGMENT_SIZE)
        if found is not None:
            # The tail, which each adder writes, need not be loaded.
            return found
        tail = self.tail
        return tail if sequence >= tail.start else None

    def _add_segment(self, start, before, noted=None, taken=None):
        self.segments[start // SEGMENT_SIZE] = Segment(
            start, before, noted, taken)

    def gives(self, status, end, begin):
        """Return whether entries may give a status, below `end`.

        end, begin -- sequences; `begin` is that of a segment.

        None of those between is loaded.  What the entries add up to tells it,
        and how often notes have taken the status from a job meanwhile.
        """
        last, first = self.segment(end - 1), self.segment(begin)
        if (last.totals(end).get(status, 0)
                != first.before.get(status, 0)):
            return True
        noted = last.note_before(end)
        if noted is None or noted < begin:
            return False
        now, then = last.taken_before(end), first.taken or {}
        return now[None] > begin or (
            now.get(status, 0) != then.get(status, 0))

    def notes(self, end, begin):
        """Iterate over the Entries that are notes, the newest first.

        end, begin -- sequences: below the one, not below the other.
        """
        segment = self.segment(end)
        sequence = None if segment is None else segment.note_before(end)
        while sequence is not None and sequence >= begin:
            segment = self.segment(sequence)
            if segment is None:
                return
            yield segment.entry(sequence)
            sequence = segment.note_before(sequence)

    def trim(self, end, limit):
        """Drop empty segments before the sequence `end`, up to a limit.

        For whoever has leased the lane.  Return whether there were any.
        """
        numbers = _first(self.segments.keys(
            max=end // SEGMENT_SIZE, excludemax=True), limit)
        return self._drop_empty(numbers)

    def trim_some(self, end):
        """Drop some of the empty segments before the sequence `end`.

        For one who adds; it goes on where it was the last time.
        """
        numbers = list(_first(self.segments.keys(
            min=self._v_trim_from, max=end // SEGMENT_SIZE, excludemax=True),
            _TRIM))
        self._drop_empty(numbers)
        self._v_trim_from = numbers[-1] + 1 if len(numbers) == _TRIM else 0

    def _drop_empty(self, numbers):
        """Drop those of some segments that are empty; return whether any was.

        What cannot be read stays.
        """
        db = None if self._p_jar is None else self._p_jar.db()
        empty = [number for number in numbers
                 if read(db, self._may_go, number).value]
        # From here on nothing is loaded, so nothing fails half-way.
        for number in empty:
            del self.segments[number]
        return bool(empty)

    def _may_go(self, number):
        """Return whether a segment is empty; load all that goes with it."""
        if number > self.segments.minKey():
            # A bucket that gets empty is cut out of the one before it.
            self.segments.maxKey(number - 1)
        return self.segments[number].empty


class Lane(persistent.Persistent):
    """Entries of transactions that follow each other, in their order.

    actions -- ActionLog: what was done in these transactions, if anything.
    """

    actions = None

    def __init__(self, number, start=0):
        self.number = number
        self.start = start
        # The strands by priority, rarely more than one.  A plain dict, which
        # is replaced and never changed.
        self.strands = {}

    @property
    def shelf(self):
        """The number of the shelf with the books of its jobs."""
        return numbering.shelf_number(self.key(0))

    def key(self, priority):
        """Return the key of a strand among the cursors."""
        return numbering.make_id(0, self.number, priority)

    def next_id(self, priority):
        """Return the id that the next job with that priority has."""
        strand = self.strands.get(priority)
        end = self.start if strand is None else strand.end
        return numbering.make_id(end, self.number, priority)

    def append(self, job, change, priority, note=None):
        """Append an entry to the strand of a priority.  Return the Strand."""
        strand = self.strands.get(priority)
        if strand is None:
            strand = Strand(self.start)
            self.strands = {**self.strands, priority: strand}
        strand.append(job, change, note)
        return strand

    def serials(self):
        """Return what tells this state of the lane from earlier ones."""
        self._p_activate()
        # The serial of the lane itself counts, too: it may have been dropped
        # before anybody added to it.
        result = {None: self._p_serial}
        for priority, strand in self.strands.items():
            tail = strand.tail
            tail._p_activate()
            result[priority] = tail._p_oid, tail._p_serial
        return result

    def last_change(self):
        """Return when something was added last (POSIX seconds, or 0)."""
        times = [strand.tail._p_mtime for strand in self.strands.values()]
        return max((time for time in times if time), default=0.0)


class Lease(persistent.Persistent):
    """Which process adds to a lane, since when, and for how long (seconds)."""

    owner = None
    time = 0.0
    length = 3600.0


class Cursor(persistent.Persistent):
    """How far a strand was claimed.

    sequence -- of the first entry that was not looked at.
    totals -- jobs by status, as the entries before it add up to.
    removed -- sequences of jobs that are removed, and of notes: they leave
        their segment once its adder has closed it.
    """

    removed = ()

    def __init__(self, sequence):
        self.sequence = sequence
        self.totals = {}


def _first(iterable, count):
    for _, item in zip(range(count), iterable, strict=False):
        yield item
