"""Where jobs to claim come from: the strands, and the schedule.

Storage only.  Each entry is looked at by itself: a job that cannot be read is
put aside, and the others go on.
"""

import itertools

from persistent.timestamp import TimeStamp
from ZODB.utils import z64

from lovely.remotetask import number
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import passing
from lovely.remotetask.storage import removal
from lovely.remotetask.storage.books import due_time
from lovely.remotetask.storage.counting import add
from lovely.remotetask.storage.lookup import checked


# How many entries that are nothing to take are passed in one transaction.
PASS_AT_ONCE = 500

# Greater than any job id.
LAST = 1 << 63


def commit_time(job):
    """Return when a job was written last, in POSIX seconds."""
    job._p_activate()
    serial = job._p_serial
    if serial == z64:
        return job.created.timestamp()
    return TimeStamp(serial).timeTime()


def _waits_since(job):
    """Return since when a job could have been claimed, in POSIX seconds."""
    return max(commit_time(job), due_time(job))


def _age(job):
    """Return what sorts jobs of the schedule that wait for no time.

    A job whose record is as it was added was claimed, and handed back: its
    transaction tells.  Before these come those that were run or changed,
    whose record was written since: the oldest job first.
    """
    if job.fence:
        return z64, number.real(vars(job).get('created')) or 0.0
    return job._p_serial, 0.0


class _Source:
    """Where jobs come from, sorted by the job that is next."""

    key = None
    # How many entries were passed that were nothing to take.
    skipped = 0

    def __lt__(self, other):
        return self.key < other.key


class StrandSource(_Source):
    """The entries of a strand beyond its cursor."""

    def __init__(self, store, strand, key, now, to_pass, timed=True):
        """Make one; raise what records raise that cannot be read.

        to_pass -- of the entries that are nothing to take, look at so many.
        timed -- whether the clock is good enough to tell when a job is due.
        """
        self.store = store
        self.strand = strand
        self.cursor_key = key
        self.now = now
        self.end = strand.end
        self.begin = self.sequence = lookup.sequence_at_cursor(store, key)
        self.to_pass = to_pass
        self.timed = timed
        self.totals = {}
        # The totals at a segment before which others could not be read.
        self.base = None
        self.job = self.entry = None
        self.notes = []

    def find_next(self):
        """Go to the next job that can be taken.  Return whether there is."""
        while self.sequence < self.end and self.to_pass > 0:
            if self.sequence % lane.SEGMENT_SIZE == 0:
                self._prefetch()
            self.entry = None
            found = self.store.read(self._can_be_taken)
            if found.value:
                return True
            if self.entry is None:
                self._pass_segment(found)
            else:
                self._keep_books(found)
                self._pass()
                self.to_pass -= 1
                self.skipped += 1
        return False

    def _keep_books(self, found):
        """See to an entry that is not taken.

        found -- the Outcome of `_can_be_taken`.
        """
        if not found.failed:
            found = self.store.read(
                passing.entry, self.store, self.place, self.entry, self.now,
                self.timed)
        if found.failed:
            passing.unreadable(self.store, self.place, self.entry, found,
                               self.now)

    @property
    def place(self):
        """The id of the entry."""
        return numbering.place(self.sequence, self.cursor_key)

    def _load(self):
        segment = self.strand.segment(self.sequence)
        # Where there is no segment, places were not given out.
        self.entry = lane.NO_ENTRY if segment is None else segment.entry(
            self.sequence)

    def _can_be_taken(self):
        self._load()
        job = self.job = self.entry.job
        if job is None or self.entry.old is not None:
            return False
        if self.store.aside and self.place in self.store.aside:
            return False
        checked(job, self.place)
        if (job.removed or job.note is not None or job.fence != 0
                or job.stored_status != QUEUED or self.store.is_copied(job)
                or not self._is_due(job)):
            return False
        # Transactions that follow each other closely may have one time; their
        # ids tell which was first.
        self.key = (-job.priority, commit_time(job), job._p_serial,
                    self.cursor_key)
        return True

    def _is_due(self, job):
        return job.due is None or self.timed and job.due <= self.now

    def take(self):
        self._pass()
        return self.job

    def peek(self):
        """Return since when the next job waits, or None."""
        last = min(self.end, self.begin + self.to_pass)
        for sequence in range(self.begin, last):
            self.sequence = sequence
            if self.store.read(self._can_be_taken).value:
                return _waits_since(self.job)
        return None

    def save(self):
        if self.sequence == self.begin:
            return
        cursor = lookup.cursor_of(self.store, self.cursor_key)
        totals = self.base or lookup.totals_at_cursor(
            self.store, self.cursor_key)
        cursor.sequence = self.sequence
        add(totals, self.totals)
        cursor.totals = totals
        removal.leave_segments(
            self.store, self.strand, self.cursor_key, self.notes)

    def _prefetch(self):
        segment = self.store.read(self.strand.segment, self.sequence).value
        # Where there is no segment, places were not given out.
        if segment is not None:
            self.store.prefetch(
                self.store.read(getattr, segment, 'jobs').value or ())

    def _pass(self):
        old, new = self.entry.old, self.entry.new
        self.store.ledger.count(self.place, old, new)
        add(self.totals, {old: -1, new: 1} if old != new else {})
        self.totals.pop(None, None)
        if old is not None:
            self.notes.append(self.sequence)
        self.sequence += 1

    def _pass_segment(self, failure):
        """Pass a segment that cannot be read.

        Each of its places may have been a job.
        """
        end = min(self.end, (self.sequence // lane.SEGMENT_SIZE + 1)
                  * lane.SEGMENT_SIZE)
        for sequence in range(self.sequence, end):
            passing.lost(
                self.store, numbering.place(sequence, self.cursor_key),
                failure, self.now)
        self.sequence = end
        following = self.store.read(lambda: dict(
            self.strand.segment(end).before))
        if not following.failed:
            self.base, self.totals = following.value, {}


class ScheduleSource(_Source):
    """What is due, of all that waits for a time."""

    # Of the jobs that are due, so many times the limit compete by priority.
    COMPETING = 4

    def __init__(self, store, now, limit, to_pass, has_lost):
        self.store = store
        self.schedule = store.schedule
        self.now = now
        self.limit = limit
        self.to_pass = to_pass
        self.has_lost = has_lost
        self.due = None

    def _items(self):
        return self.schedule.items(max=(self.now, LAST))

    def _collect(self):
        """Return what is due, first the least urgent.

        Notes what to do with what is not: that changes the tree.
        """
        self.due, self.others = [], []
        for key, job in self._items():
            found = self.store.read(self._look_at, key, job)
            if found.failed:
                self.others.append((key, found))
            elif found.value is None:
                self.to_pass -= 1
            if (len(self.due) >= self.limit * self.COMPETING
                    or len(self.others) >= self.to_pass):
                break
        self.due.sort(key=lambda item: item[:4], reverse=True)

    def _look_at(self, key, job):
        """Note what to do with a job; return None if that is nothing."""
        checked(job, key[1])
        if passing.is_next_in_schedule(self.store, key, job):
            if not self._is_welcome(job):
                return None
            self.due.append(
                (-job.priority, key[0], _age(job), key, job))
        elif not lookup.is_pending(self.store, job):
            self.others.append((key, None))
        else:
            return None
        return True

    def _is_welcome(self, job):
        if self.has_lost is None or not job.was_lost:
            return True
        welcome = not self.has_lost()
        self.has_lost = lambda: True
        return welcome

    def peek(self):
        """Return since when the next job waits, or None."""
        for key, job in itertools.islice(self._items(), PASS_AT_ONCE):
            if self.store.read(self._is_waiting, key, job).value:
                return _waits_since(job)
        return None

    def _is_waiting(self, key, job):
        checked(job, key[1])
        return passing.is_next_in_schedule(self.store, key, job)

    def find_next(self):
        if self.due is None:
            self._collect()
            for key, failure in self.others:
                self.store.read(passing.leave_schedule, self.store, key,
                                failure, self.now)
        if not self.due:
            return False
        # No id of a transaction is less than this one.
        self.key = *self.due[-1][:2], b'', -1
        return True

    def take(self):
        *_, key, job = self.due.pop()
        del self.schedule[key]
        return job

    def save(self):
        pass
