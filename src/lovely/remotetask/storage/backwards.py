"""From entry to entry of a strand, the newest first."""

from lovely.remotetask.foreign.unreadable import UnreadableJob
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage.selection import is_ghost
from lovely.remotetask.storage.selection import let_go


# How many segments are looked at for a job that tells when it was added.
NEAR = 8


class Backwards:
    """Goes through a strand towards its oldest entry.

    job, sequence -- of the entry at which it is; without a job it has only
        come that far.
    was_ghost -- whether the job was loaded for this.
    """

    def __init__(self, store, strand, key, begin, lowest, job_of, status=None,
                 notes_only=False, since=None):
        """Stand behind the end; raise what an unreadable record raises.

        begin -- below which sequence to begin; None: at the end.
        lowest -- the sequence of the last entry to go to.
        job_of, status, notes_only, since -- see whereabouts.
        """
        self.store = store
        self.strand = strand
        self.key = key
        end = strand.end
        self.sequence = end if begin is None else min(end, begin)
        self.lowest = lowest
        self.job_of = job_of
        self.status = status
        self.notes_only = notes_only
        self.since = since
        self.job = None
        self.was_ghost = False
        self.created = None

    def step(self):
        """Go to the next job, or past some entries; return whether it could.
        """
        self.job = None
        for passed, (sequence, entry) in enumerate(self._entries(), 1):
            self.sequence = sequence
            self.was_ghost = is_ghost(entry.job)
            if self._is_of_status(entry) and self._find(sequence, entry):
                return self.since is None or self._is_since(self.since)
            if passed == lane.SEGMENT_SIZE:
                # Whoever wants a page may not want to wait any longer.
                return True
        return False

    def _is_of_status(self, entry):
        # Nobody knows what an entry was that cannot be read.
        return (self.status is None or entry.new == self.status
                or entry is UNREADABLE)

    def _find(self, sequence, entry):
        job = self.store.read(
            self.job_of, self.store, numbering.place(sequence, self.key),
            entry).value
        if job is None:
            let_go(entry.job, self.was_ghost)
            return False
        self.job = job
        # A job further back in the strand was not created later; of one that
        # cannot be read nobody knows when it was.
        if self.created is None or not isinstance(job, UnreadableJob):
            self.created = job.created if self.created is None else min(
                job.created, self.created)
        return True

    def _is_since(self, since):
        """Return whether there may be jobs here that are new enough."""
        if (isinstance(self.job, UnreadableJob)
                or self.job.created.timestamp() >= since):
            return True
        self.leave()
        return False

    def leave(self):
        """Leave the job at which it is, as if it had not been there."""
        let_go(self.job, self.was_ghost)

    def _entries(self):
        """Iterate over sequences and entries."""
        return self._notes() if self.notes_only else self._each()

    def _notes(self):
        sequence = self.sequence
        is_begin = True
        # A segment that cannot be read hides the notes before it.
        while (noted := self.store.read(
                self._noted_before, sequence).value) is not None:
            end = min(lane.aligned(noted + 1), sequence)
            if is_begin or end % lane.SEGMENT_SIZE == 0:
                is_begin = False
                quiet = self._quiet_from(end)
                if quiet < end:
                    sequence = quiet
                    continue
            entry = self.store.read(self._entry, noted).value
            if entry is None:
                return
            yield noted, entry
            sequence = noted

    def _noted_before(self, sequence):
        """Return the sequence of the last note before one, or None."""
        segment = self.strand.segment(sequence)
        noted = None if segment is None else segment.note_before(sequence)
        return None if noted is None or noted < self.lowest else noted

    def _each(self):
        sequence = self.sequence
        while sequence > self.lowest:
            if self.status is not None and (
                    sequence % lane.SEGMENT_SIZE == 0
                    or sequence == self.strand.end):
                sequence = self._quiet_from(sequence)
                if sequence <= self.lowest:
                    return
            sequence -= 1
            entry = self.store.read(self._entry, sequence)
            if entry.failed:
                yield sequence, UNREADABLE
            elif entry.value is not None:
                yield sequence, entry.value
            else:
                # The segment was dropped, as all its jobs were removed, and
                # others before it perhaps.
                sequence = self._end_before(sequence)

    def _quiet_from(self, sequence):
        """Return a sequence: none from there up to the given one is meant.

        A million other jobs may wait there: what the segments add up to tells
        that, in longer and longer steps.
        """
        step = 1
        while True:
            found = self.store.read(
                self._quiet_segments, sequence, step).value
            if found is not None:
                sequence, step = found, 2 * step
            elif step == 1:
                return sequence
            else:
                step = 1

    def _quiet_segments(self, sequence, step):
        """Return where so many segments before a sequence begin.

        None if an entry in them may be meant: one that gives the status.
        """
        number = max((sequence - 1) // lane.SEGMENT_SIZE + 1 - step, 0)
        number = self.strand.segments.minKey(number)
        start = number * lane.SEGMENT_SIZE
        if not self.lowest <= start < sequence:
            return None
        return (None if self.strand.gives(self.status, sequence, start)
                else start)

    def _entry(self, sequence):
        segment = self.strand.segment(sequence)
        return None if segment is None else segment.entry(sequence)

    def _end_before(self, sequence):
        """Return the end of the last segment before that of a sequence."""
        number = sequence // lane.SEGMENT_SIZE
        found = self.store.read(_last_before, self.strand, number).value
        return (number if found is None else found + 1) * lane.SEGMENT_SIZE

    def __lt__(self, other):
        # What has come to no job yet goes first: it may be new.
        if self.created is None or other.created is None:
            return self.created is None and other.created is not None
        return self.created > other.created


# The entry of a place of which nobody knows what was added there.
UNREADABLE = lane.NO_ENTRY._replace(job='?')


def seek(store, strand, until):
    """Return a sequence: what comes from there on was not added before a time.

    until -- POSIX seconds.

    Few records are looked at: later jobs of a strand were added later.
    """
    low, high = strand.segments.minKey(), strand.segments.maxKey() + 1
    end = high
    while low < high:
        middle = (low + high) // 2
        found = _added(store, strand, middle)
        if found is None:
            # Nobody knows; whoever goes backwards from what is known to be
            # later misses nothing.
            break
        number, time = found
        if time < until:
            low = middle + 1
        else:
            high = end = number
    return end * lane.SEGMENT_SIZE


def _added(store, strand, number):
    """Return the number of a segment, and when its first job was added.

    That of `number`, or the last one before it that tells; None if none near
    it does.
    """
    for _ in range(NEAR):
        number = _last_before(strand, number + 1)
        if number < 0:
            return None
        time = store.read(_first_time, strand.segments[number]).value
        if time is not None:
            return number, time
        number -= 1
    return None


def _first_time(segment):
    for entry in segment.entries():
        if entry.old is None and entry.job is not None:
            was_ghost = is_ghost(entry.job)
            created = entry.job.created
            let_go(entry.job, was_ghost)
            if created is not None:
                return created.timestamp()
    return None


def _last_before(strand, number):
    """Return the number of the last segment before one; -1 if there is none.
    """
    try:
        return strand.segments.maxKey(number - 1)
    except ValueError:
        return -1
