"""Where jobs to claim come from: the strands, and the schedule.

Storage only.
"""

import itertools

from persistent.timestamp import TimeStamp
from ZODB.utils import z64

from lovely.remotetask import lane
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import WAITING


# How many entries that are nothing to take are passed in one transaction.
PASS_AT_ONCE = 500

# Greater than any job id.
LAST = 1 << 63


def due_time(job):
    """Return when a job is due, in POSIX seconds; 0.0: at once."""
    return 0.0 if job.due is None else job.due


def has_no_time_yet(job):
    """Whether the time of a cron job is still to be counted."""
    return job.due is None and job.stored_status != QUEUED


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


class _Source:
    """Where jobs come from, sorted by the job that is next."""

    key = None

    def __lt__(self, other):
        return self.key < other.key


class StrandSource(_Source):
    """The entries of a strand beyond its cursor."""

    # Whether jobs may get a time.
    scheduled = True

    def __init__(self, store, strand, key, now, to_pass):
        self.store = store
        self.strand = strand
        self.cursor_key = key
        self.now = now
        self.begin = self.sequence = store.sequence_at_cursor(key)
        self.to_pass = to_pass
        self.job = None
        self.notes = []

    def find_next(self):
        """Go to the next job that can be taken.  Return whether there is."""
        while self.sequence < self.strand.end and self.to_pass > 0:
            if self.sequence % lane.SEGMENT_SIZE == 0:
                self._prefetch()
            self.job = self.strand.segment(self.sequence).job(self.sequence)
            if self._can_be_taken():
                self.key = (-self.job.priority, commit_time(self.job),
                            self.cursor_key)
                return True
            self._put_away()
            self._pass()
            self.to_pass -= 1
        return False

    def take(self):
        if self._is_note():
            # Other notes may lead to the job; one of two takers conflicts.
            self.job.outdate_claims()
        self._pass()
        return self.job

    def peek(self):
        """Return since when the next job waits, or None."""
        last = min(self.strand.end, self.begin + self.to_pass)
        for sequence in range(self.begin, last):
            self.job = self.strand.segment(sequence).job(sequence)
            if self._can_be_taken():
                return _waits_since(self.job)
        return None

    def save(self):
        if self.sequence == self.begin:
            return
        cursor = self.store._cursor(self.cursor_key)
        cursor.sequence = self.sequence
        if cursor.removed or self.notes:
            cursor.removed = tuple(
                sequence for sequence in (*cursor.removed, *self.notes)
                if not self._remove(sequence))

    def _can_be_taken(self):
        job = self.job
        return (job is not None and not job.removed
                and job.stored_status == QUEUED
                and (job.due is None or job.due <= self.now)
                and (self._is_first() if not self._is_note()
                     else self._is_nowhere_else()))

    def _is_note(self):
        return self._change()[0] is not None

    def _is_nowhere_else(self):
        return (self.store.claim_of(self.job) is None
                and not self.store.is_scheduled(self.job))

    def _is_first(self):
        """Whether no note leads to the job, and it was not claimed by id."""
        return self.job.fence == 0 and self._change()[1] != STARTLATER

    def _prefetch(self):
        # In one request, where jobs come from a server.
        if self.store._p_jar is not None:
            jobs = self.strand.segment(self.sequence).jobs
            self.store._p_jar.prefetch(
                [job for job in jobs if job is not None and job._p_oid])

    def _change(self):
        segment = self.strand.segment(self.sequence)
        return lane.decode_change(segment.change(self.sequence))

    def _put_away(self):
        """Put a job that cannot be taken now where it is found again."""
        job = self.job
        if job is not None and job.stored_status == STARTLATER:
            self.store.ledger.add(job)
        if (job is None or job.removed or job.stored_status not in WAITING
                or not (self._is_note() or self._is_first())
                or self.store.claim_of(job)):
            return
        if has_no_time_yet(job) and self.scheduled:
            # It counts from now.
            job.due = job.timeOfNextCall(self.now)
        self.store.schedule[due_time(job), job.id] = job

    def _pass(self):
        self.store.ledger.count(*self._change())
        if self._is_note():
            self.notes.append(self.sequence)
        self.sequence += 1

    def _remove(self, sequence):
        segment = self.strand.segment(sequence)
        if segment.full:
            segment.remove(sequence)
        return segment.full


class ScheduleSource(_Source):
    """What is due, of all that waits for a time."""

    # Of those that are due, so many times the limit compete by priority.
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

    def _is_stale(self, key, job):
        # Ended, claimed or given another time since it was put here.
        return (job.removed or job.stored_status not in WAITING
                or due_time(job) != key[0]
                or self.store.claim_of(job) is not None)

    def _collect(self):
        due, stale, untimed = [], [], []
        for key, job in self._items():
            if self._is_stale(key, job):
                stale.append(key)
            elif has_no_time_yet(job):
                untimed.append((key, job))
            elif self._is_welcome(job):
                due.append((-job.priority, key[0], key, job))
            else:
                self.to_pass -= 1
            if (len(due) == self.limit * self.COMPETING
                    or len(stale) >= self.to_pass):
                break
        for key in stale:
            del self.schedule[key]
        for key, job in untimed:
            # Passed by somebody with a wrong clock.
            del self.schedule[key]
            job.due = job.timeOfNextCall(self.now)
            self.schedule[due_time(job), job.id] = job
        return sorted(due, key=lambda item: item[:3], reverse=True)

    def _is_welcome(self, job):
        if self.has_lost is None or not job.was_lost:
            return True
        welcome = not self.has_lost()
        self.has_lost = lambda: True
        return welcome

    def peek(self):
        """Return since when the next job waits, or None."""
        for key, job in itertools.islice(self._items(), PASS_AT_ONCE):
            if not self._is_stale(key, job):
                return _waits_since(job)
        return None

    def find_next(self):
        if self.due is None:
            self.due = self._collect()
        if not self.due:
            return False
        self.key = *self.due[-1][:2], -1
        return True

    def take(self):
        _, _, key, job = self.due.pop()
        del self.schedule[key]
        return job

    def save(self):
        pass
