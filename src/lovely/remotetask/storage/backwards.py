"""From entry to entry of a strand, the newest first."""

from lovely.remotetask.storage import lane


class Backwards:
    """Goes through a strand towards its oldest entry.

    job, sequence -- of the entry at which it is.
    """

    def __init__(self, store, strand, key, begin, lowest, job_of, noted=None):
        """Stand behind the end; raise what an unreadable record raises.

        begin -- below which sequence to begin; None: at the end.
        lowest -- the sequence of the last entry to go to.
        job_of, noted -- see listing.
        """
        self.store = store
        self.strand = strand
        self.key = key
        end = strand.end
        self.sequence = end if begin is None else min(end, begin)
        self.lowest = lowest
        self.job_of = job_of
        self.noted = noted
        self.job = None
        self.created = None

    def step(self):
        """Go to the next job; return whether there is one."""
        for sequence, entry in self._entries():
            self.sequence = sequence
            job = self.store.read(
                self.job_of, self.store, lane.place(self.sequence, self.key),
                entry).value
            if job is not None:
                self.job = job
                # A job further back in the strand was not created later; of
                # one that cannot be read nobody knows when it was.
                self.created = job.created if self.created is None else min(
                    job.created, self.created)
                return True
        return False

    def _entries(self):
        """Iterate over sequences and entries."""
        if self.noted is None:
            return self._each()
        return self._notes()

    def _notes(self):
        notes = self.strand.notes(self.sequence, self.lowest)
        # A segment that cannot be read hides the notes before it.
        while (entry := self.store.read(next, notes, None).value) is not None:
            if entry.new == self.noted:
                yield entry.sequence, entry

    def _each(self):
        sequence = self.sequence
        while sequence > self.lowest:
            sequence -= 1
            entry = self.store.read(self._entry, sequence)
            if entry.failed:
                yield sequence, UNREADABLE
            elif entry.value is not None:
                yield sequence, entry.value
            else:
                # The segment was dropped, as all its jobs were removed.
                sequence -= sequence % lane.SEGMENT_SIZE

    def _entry(self, sequence):
        segment = self.strand.segment(sequence)
        return None if segment is None else segment.entry(sequence)

    def __lt__(self, other):
        return self.created > other.created


# The entry of a place of which nobody knows what was added there.
UNREADABLE = lane.NO_ENTRY._replace(job='?')
