"""What was counted of the runs of a service: by the minute, then coarser.

Storage only.  Each worker has a meter of its own, which nobody else writes.
Those of workers that are gone are added to the archive, a few chunks at a
time, by whoever looks after the service.
"""

import BTrees
import persistent

from lovely.remotetask.foreign.unreadable import opened
from lovely.remotetask.measure import Functions
from lovely.remotetask.measure import Slice
from lovely.remotetask.measure import joined


# How many seconds a slice has, how many those have that are stored as one
# object, and how many such objects are kept: eight hours by the minute, three
# days by ten minutes, forty days by the hour.
LEVELS = ((60, 600, 48), (600, 3600, 72), (3600, 86400, 40))


# How many chunks are archived in one transaction.
CHUNKS = 20


class Chunk(persistent.Persistent):
    """Some slices that follow each other.

    start -- POSIX seconds.
    number -- see Meter.add.
    """

    number = None
    slices = ()

    def __init__(self, start):
        self.start = start

    def read(self):
        """Return the Slices."""
        return [Slice(*stored) for stored in self.slices]

    def put(self, new, seconds):
        """Add Slices; those at the same time become one of so many seconds.
        """
        self.slices = tuple(each.stored() for each in joined(
            [*self.read(), *new], seconds))


class Total(persistent.Persistent):
    """All that was counted, however long ago: it only grows.

    That of the archive has a place for each function that is told apart, also
    before there is anything to add.
    """

    functions = ()

    def read(self):
        """Return Functions."""
        return Functions.of_stored(self.functions)

    def add(self, functions):
        """Add Functions; nothing is written where there are none."""
        if functions:
            found = self.read()
            found.add(functions)
            self.functions = found.stored()

    def reserve(self, names):
        """See Functions.reserve; nothing is written where all are known."""
        found = self.read()
        known = len(found)
        found.reserve(names)
        if len(found) > known:
            self.functions = found.stored()


class Meter(persistent.Persistent):
    """What one worker has counted, in chunks, the oldest first.

    total -- Total.

    A chunk that is full is added up, and that is a slice of the next level.
    Of the last chunk of a level this was not done yet; but `is_closed`.
    """

    levels = ((), (), ())
    is_closed = False

    def __init__(self):
        self.total = Total()

    def add(self, number, slices):
        """Add Slices of a minute.

        number -- tells these from those that were added before: nothing is
            added twice where an error came back though it was committed.
        """
        chunks = self.levels[0]
        if chunks and chunks[-1].number == number:
            return
        for each in slices:
            self._put(0, [each])
            self.total.add(each.functions)
        if slices:
            self.levels[0][-1].number = number

    def _put(self, level, slices):
        seconds, period, kept = LEVELS[level]
        for each in slices:
            start = each.start // period * period
            chunks = self.levels[level]
            if not chunks or chunks[-1].start != start:
                self._fold(level)
                self._set(level, (*chunks[1 - kept:], Chunk(start)))
            self.levels[level][-1].put([each], seconds)

    def _set(self, level, chunks):
        levels = list(self.levels)
        levels[level] = tuple(chunks)
        self.levels = tuple(levels)

    def _fold(self, level):
        """Add the last chunk of a level up, as a part of the next level."""
        if level + 1 < len(LEVELS) and self.levels[level]:
            self._put(level + 1, joined(
                self.levels[level][-1].read(), LEVELS[level + 1][0]))

    def mend(self, read):
        """Let go what cannot be read of that which is to be changed.

        read -- see unreadable.read.

        Anything else stays as it is.
        """
        for level, chunks in enumerate(self.levels):
            while chunks and read(_read_whole, chunks[-1]).failed:
                chunks = chunks[:-1]
            if chunks != self.levels[level]:
                self._set(level, chunks)
        self.mend_total(read)

    def mend_total(self, read):
        """Begin the Total anew if it cannot be read."""
        if read(_read_whole, self.total).failed:
            self.total = Total()

    def close(self, read):
        """Let each level have all that was counted; see `mend`."""
        if not self.is_closed:
            self.mend(read)
            for level in range(len(LEVELS)):
                self._fold(level)
            self.is_closed = True

    def take_some(self, other, now, read, limit=CHUNKS):
        """Take some chunks of another Meter over, the oldest first.

        now -- POSIX seconds: what is later was counted by a wrong clock.
        read -- see unreadable.read; what cannot be read is lost.
        limit -- how many chunks.

        Both are closed then.  Return whether there may be more.
        """
        self.close(read)
        other.close(read)
        for level in range(len(LEVELS)):
            chunks = other.levels[level]
            taken = chunks[:limit]
            if taken:
                self._merge(level, taken, now, read)
                other._set(level, chunks[limit:])
                return True
        return False

    def _merge(self, level, taken, now, read):
        seconds, _, kept = LEVELS[level]
        mine = {chunk.start: chunk for chunk in self.levels[level]
                if not read(_read_whole, chunk).failed}
        for chunk in taken:
            slices = _slices(read, chunk)
            if slices and chunk.start <= now:
                if chunk.start not in mine:
                    mine[chunk.start] = Chunk(chunk.start)
                mine[chunk.start].put(slices, seconds)
        self._set(level, [mine[start] for start in sorted(mine)][-kept:])

    def take_total(self, other, read):
        """Add what another Meter has ever counted."""
        self.mend_total(read)
        self.total.add(read(_read_whole, other.total).value)

    def read(self, level, since, read):
        """Return the Slices of a level, from some seconds on.

        read -- see `take_in`.
        """
        seconds, _, _ = LEVELS[level]
        chunks = list(self.levels[level])
        if not self.is_closed:
            # What was not added up yet.
            chunks += [each for below in self.levels[:level]
                       for each in below[-1:]]
        return joined(
            [each for chunk in chunks for each in _slices(read, chunk)
             if each.start + seconds > since], seconds)


def _slices(read, chunk):
    """Return the Slices of a Chunk; none if they cannot be read."""
    return read(_read_whole, chunk).value or []


def _read_whole(record):
    return opened(record).read()


def measure(store, worker, number, slices):
    """Add Slices to what a Worker has counted."""
    if store.read(_add, worker.meter, number, slices, store.read).failed:
        # What cannot be read is begun anew.
        worker.meter = Meter()
        worker.meter.add(number, slices)
    if any(each.functions for each in slices):
        _reserve(store, worker.meter.total.read())


def _add(meter, number, slices, read):
    opened(meter).mend(read)
    meter.add(number, slices)


def _reserve(store, functions):
    """Have places in the archive for what a worker tells apart.

    So its numbers go on under the same names when it is gone.
    """
    archive = _archive(store)
    archive.mend_total(store.read)
    archive.total.reserve(functions)


def _archive(store):
    """Return the Meter of the archive.

    A new one if it cannot be read, and in a store of before.
    """
    if store.archive is None or store.read(opened, store.archive).failed:
        store.archive = Meter()
    return store.archive


def keep(store, worker):
    """Keep what a Worker has counted that is about to be dropped.

    Cheap, and two who drop workers do not meet; `archive` does the rest.
    """
    if not store.read(_has_any, worker.meter).value:
        return
    if store.parted is None:
        # A store of before.
        store.parted = BTrees.family64.OO.BTree()
    # A worker that was taken for gone may come back, and be dropped once more.
    key = worker.id
    while key in store.parted:
        key += '+'
    store.parted[key] = worker.meter


def _has_any(meter):
    return meter is not None and any(opened(meter).levels)


def archive(store, now):
    """Add some of what a worker has counted that is gone to the archive."""
    if not store.parted:
        return
    key = store.parted.minKey()
    meter, kept = store.parted[key], _archive(store)
    if store.read(_take_some, kept, meter, now, store.read).value:
        return
    # By itself: whatever is wrong with the chunks, the total is kept.
    store.read(_take_total, kept, meter, store.read)
    del store.parted[key]


def _take_some(kept, meter, now, read):
    return kept.take_some(opened(meter), now, read)


def _take_total(kept, meter, read):
    kept.take_total(opened(meter), read)


def all_of(store, workers):
    """Return the Meters of a store: of Workers, and of those before."""
    return [store.archive, *(store.parted or {}).values(),
            *(worker.meter for worker in workers)]


def slices(store, meters, level, since):
    """Return what was counted, as Slices, the oldest first.

    meters -- those to read; None is none.
    level -- see LEVELS.
    since -- POSIX seconds.

    Where nobody was there who counts, there is no slice.
    """
    found = [store.read(_read, meter, level, since, store.read).value or ()
             for meter in meters if meter is not None]
    return joined(
        [each for some in found for each in some], LEVELS[level][0])


def _read(meter, level, since, read):
    return opened(meter).read(level, since, read)


def total(store, meters):
    """Return what all of some meters have ever counted: Functions.

    meters -- as `all_of` returns them, the archive first.  It has a place for
        whatever was measured while there was room; so a function is told by
        its name for ever, or never, and no number falls when workers go.
    """
    found = Functions()
    for meter in meters:
        if meter is not None:
            found.add(store.read(_total, meter).value or {})
    return found


def _total(meter):
    return _read_whole(opened(meter).total)
