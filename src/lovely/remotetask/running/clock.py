"""Whether the clock of this machine can be relied upon.

All that share a storage agree on the times of its transactions.  A clock that
is far from these would run cron jobs at wrong times, and remove what is to be
kept.
"""

import time

from lovely.remotetask.moment import FAR


# Seconds by which the clock may go faster or slower than the monotonic one
# before it is compared with the storage again, and taken to have been set.
DRIFT = 5.0

# Seconds between two comparisons, where one did not tell enough; and where
# the clock is far from that of the storage.
SOON = 1.0
LATER = 60.0

# Seconds for which it is waited for a second comparison at most.
UNSURE_FOR = 5.0


class Clock:
    """Compares the clock of this machine with that of a storage.

    trusted -- whether there is nothing to compare: the storage goes by it.
    ahead -- seconds by which this clock is ahead of the storage's, or None.
    """

    def __init__(self) -> None:
        self.trusted = False
        self.ahead: float | None = None
        # The last comparison: the clocks here, and the time there.
        self._compared: tuple[float, float, float] | None = None
        # The clocks at the last look at them.
        self._looked: tuple[float, float] | None = None

    def wall(self) -> float:
        """Return the time that this machine shows, in POSIX seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return the seconds of a clock that is never set."""
        return time.monotonic()

    def now(self) -> float:
        """Return what time it is, as far as that is known."""
        return self.wall() - self.correction

    @property
    def correction(self) -> float:
        """Seconds by which the clock is wrong, if that is not to be borne."""
        # Read once: the claimer compares clocks while others run jobs.
        ahead, compared = self.ahead, self._compared
        if self.trusted or ahead is None or compared is None:
            return 0.0
        drift = self._drift(compared)
        if abs(drift) > DRIFT:
            # It was set since it was compared.  What was right to subtract
            # then would date jobs by so much too early, or too late.
            ahead += drift
        return ahead if self._is_far(ahead) else 0.0

    @property
    def is_far(self) -> bool:
        """Whether this clock is known to be wrong."""
        return self._is_far(self.ahead)

    def _is_far(self, ahead: float | None) -> bool:
        return not self.trusted and ahead is not None and abs(ahead) > FAR

    @property
    def is_good(self) -> bool:
        """Whether this clock is known to be right."""
        ahead = self.ahead
        return self.trusted or (
            ahead is not None and not self._is_far(ahead)
            and self._compared is not None
            and abs(self._drift(self._compared)) <= DRIFT)

    @property
    def is_bad(self) -> bool:
        """Whether this clock is known to be wrong, or was set just now."""
        return self.is_far or (
            not self.trusted and self._compared is not None
            and abs(self._drift(self._compared)) > DRIFT)

    @property
    def is_unsure(self) -> bool:
        """Whether another comparison, SOON, tells how wrong this clock is."""
        compared = self._compared
        return (not self.trusted and self.ahead is None
                and compared is not None
                and self.monotonic() - compared[1] < UNSURE_FOR)

    def wants_comparison(self) -> bool:
        """Return whether it is time to compare the clocks."""
        if self.trusted:
            return False
        if self._compared is None or abs(self._drift(self._compared)) > DRIFT:
            return True
        wait = SOON if self.ahead is None else LATER
        return (not self.is_good
                and self.monotonic() - self._compared[1] >= wait)

    def compare(self, there: float, before: float,
                since: float | None = None) -> None:
        """Learn when a transaction was committed, by the storage's clock.

        there -- the time of its transaction id, in POSIX seconds.
        before, since -- what `wall` and `monotonic` returned before it was
            committed.
        """
        here = self.wall(), self.monotonic()
        if since is not None and abs(self._drift((before, since))) > DRIFT:
            # It was set meanwhile: nobody knows whether before or after the
            # commit.  What was known holds, see `correction`.
            return
        ahead = _distance(there, before, here[0])
        earlier = self._compared
        if (ahead < -FAR and earlier is not None
                and here[1] - earlier[1] < SOON):
            # Too soon to tell anything new.
            return
        self._compared = *here, there
        if ahead >= -FAR:
            self.ahead = ahead
        elif earlier is None:
            # The storage may go by a clock that is ahead of this one.  Or
            # somebody's was once, and ids still go on in smallest steps.
            self.ahead = None
        else:
            passed = here[1] - earlier[1]
            stands_still = there - earlier[2] < passed / 2
            self.ahead = 0.0 if stands_still else ahead

    def was_set_back(self) -> bool:
        """Return whether the clock has gone back since this was called."""
        drift = 0.0 if self._looked is None else self._drift(self._looked)
        self._looked = self.wall(), self.monotonic()
        return drift < -DRIFT

    def _drift(self, before: tuple[float, ...]) -> float:
        """Return how much more the clock has gone than the monotonic one."""
        wall, monotonic, *_ = before
        return (self.wall() - wall) - (self.monotonic() - monotonic)


def _distance(there: float, before: float, after: float) -> float:
    """Return by how much the time from `before` to `after` is ahead."""
    # A commit may take long; the storage has dated it at some time in it.
    if before <= there <= after:
        return 0.0
    return before - there if there < before else after - there
