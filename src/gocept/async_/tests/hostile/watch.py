"""What is watched while jobs run: health pages, and logs."""

import collections
import re
import threading
import time
from pathlib import Path
from typing import NamedTuple


# Seconds between two looks, and those in which lines are counted.
LOOK = 0.5
WINDOW = 10.0

# How many lines a process may write in a second; and bytes of its log, for
# each line.
LINES = 20
LINE = 20_000

# Seconds until a worker has to know that nothing can be done; and where its
# requests only get no answer.
GRACE = 10.0
FROZEN = 20.0

RECORD = re.compile(
    r'^(?:\d{4}-\S+ (?P<pid>\d+) (?P<level>[A-Z]+) '
    r'|\[\d{4}-[^]]*: (?P<level2>[A-Z]+)/(?P<process>[^]]+)\] ).*$', re.M)

# One for each job, however many there are.
OF_JOBS = re.compile(
    r': completed in |: failed after |Task gocept\.async\.run\[|'
    r'received|Received')


COMPLETED = ': completed in '


class Line(NamedTuple):
    """A record of a log, as it was seen."""

    time: float
    process: str


class LogWatch:
    """Counts the lines of logs by the process that has written them.

    completed -- when it was seen that jobs were completed.
    """

    def __init__(self, *paths):
        self._positions = dict.fromkeys(map(Path, paths), 0)
        self.lines = []
        self.completed = []
        self.size = 0

    def look(self, now):
        for path, position in self._positions.items():
            if not path.exists():
                continue
            with path.open('rb') as source:
                source.seek(position)
                text = source.read()
            # The last line may be written still.
            end = text.rfind(b'\n') + 1
            self._positions[path] += end
            self.size += end
            self._read(path.stem, text[:end].decode(errors='replace'), now)

    def _read(self, name, text, now):
        for record in RECORD.finditer(text):
            level = record['level'] or record['level2']
            if COMPLETED in record[0]:
                self.completed.append(now)
            if level == 'DEBUG' or OF_JOBS.search(record[0]):
                continue
            process = record['pid'] or f'{name} {record["process"]}'
            self.lines.append(Line(now, process))

    def most(self):
        """Return lines a second in the worst WINDOW of a process."""
        times = collections.defaultdict(list)
        for line in self.lines:
            times[line.process].append(line.time)
        return max((_most_within(found) / WINDOW
                    for found in times.values()), default=0.0)

    def wrong(self):
        """Return sentences on what is too much."""
        wrong = []
        if self.most() > LINES:
            wrong.append(f'a process wrote {self.most():.0f} lines a second '
                         f'for {WINDOW:.0f} s')
        return wrong


def _most_within(times):
    """Return how many of the sorted times are within one WINDOW at most."""
    most = begin = 0
    for number, time_ in enumerate(times):
        while times[begin] < time_ - WINDOW:
            begin += 1
        most = max(most, number - begin + 1)
    return most


class Outage(NamedTuple):
    """A time in which nothing can be done.

    grace -- seconds until that has to be known.
    """

    name: str
    begin: float
    end: float
    grace: float = GRACE

    def covers(self, moment):
        """Return whether it is known then that nothing can be done."""
        return self.begin + self.grace < moment < self.end


class HealthWatch:
    """Asks workers whether they are ready, and compares that with outages.

    slots -- see `slots.WorkerSlot`; none where there are no health pages.
    outages, completed -- lists, to which others add; see LogWatch.
    """

    def __init__(self, slots, outages, completed=()):
        self._slots = slots
        self.samples = []
        self._outages = outages
        self._completed = completed
        self.asked = 0

    def look(self, now):
        for number, slot in enumerate(self._slots):
            self.samples.append((now, number, slot.ready()))

    def wrong(self):
        """Return sentences: when a worker was ready and could not be."""
        wrong = []
        for outage in self._outages:
            asked = [(time_ - outage.begin, status)
                     for time_, _, status in self.samples
                     if self._is_known(outage, time_)]
            found = [sample for sample in asked if sample[1] == 200]
            self.asked += len(asked)
            if found:
                wrong.append(
                    f'/ready was 200, {len(found)} times, '
                    f'{found[0][0]:.0f} to {found[-1][0]:.0f} s after the '
                    f'beginning of {outage.name}')
        return wrong


    def _is_known(self, outage, moment):
        """Return whether it is known for long enough that nothing works.

        On a full disk PostgreSQL commits what finds room in its files.
        """
        return outage.covers(moment) and not any(
            moment - outage.grace < time_ <= moment
            for time_ in self._completed)


class Watch:
    """A thread that looks at logs and health pages."""

    def __init__(self, logs, health):
        self._looks = logs.look, health.look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()

    def _loop(self):
        while not self._ended.wait(LOOK):
            for look in self._looks:
                look(time.monotonic())
