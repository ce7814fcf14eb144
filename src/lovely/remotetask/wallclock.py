"""A clock on the wall: what it shows, and when it does.

A reading is a naive datetime.  Times are POSIX seconds, int, of the years 1
to 9999.  Between two changes of a clock lies at least a day.
"""

import datetime
from typing import Literal


EPOCH = datetime.datetime(1970, 1, 1)
SECOND = datetime.timedelta(seconds=1)


# When a clock is turned back, two times show one reading: 0 stands for the
# first of them, 1 for the second.
Fold = Literal[0, 1]


class WallClock:
    """The clock of a time zone (a tzinfo)."""

    def __init__(self, zone: datetime.tzinfo) -> None:
        self.zone = zone

    def reading(self, time: int) -> datetime.datetime:
        """Return what the clock shows at a time."""
        return self._local(time).replace(tzinfo=None, fold=0)

    def times(self, reading: datetime.datetime) -> list[int]:
        """Return when the clock shows a reading: never, once or twice."""
        return [time for time in sorted({self._time(reading, 0),
                                         self._time(reading, 1)})
                if self.reading(time) == reading]

    def first_time(self, reading: datetime.datetime) -> int:
        """Return when the clock first shows a reading, or skips it."""
        # These go by the offsets before and after a change of the clock.  For
        # a reading that is skipped, the one by the old offset is too late; for
        # one that comes twice, it is the first time.
        by_old, by_new = self._time(reading, 0), self._time(reading, 1)
        if by_old <= by_new:
            return by_old
        return self._change(by_new, by_old)

    def turned_back(self, time: int) -> int | None:
        """Return when the clock is turned back to show this once more.

        None if it only shows now what it shows, or for the second time.
        """
        again = self._time(self.reading(time), 1)
        return self._change(time, again) if again > time else None

    def _change(self, before: int, after: int) -> int:
        """Return the first time with another offset than before."""
        offset = self._local(before).utcoffset()
        while after - before > 1:
            middle = (before + after) // 2
            if self._local(middle).utcoffset() == offset:
                before = middle
            else:
                after = middle
        return after

    def _local(self, time: int) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(time, self.zone)

    def _time(self, reading: datetime.datetime, fold: Fold) -> int:
        offset = reading.replace(tzinfo=self.zone, fold=fold).utcoffset()
        assert offset is not None
        return (reading - offset - EPOCH) // SECOND
