"""How many jobs to claim.  Pure arithmetic."""

# A batch of claims is what can be begun within so many seconds.
HORIZON = 0.5
MAX_BATCH = 50

# Whoever has a job for so many seconds has a long one.
LONG = 2 * HORIZON


class Tempo:
    """Goes by how long jobs take.

    average -- seconds that a job takes; None until one was run.
    """

    def __init__(self) -> None:
        self.average: float | None = None

    def learn(self, duration: float) -> None:
        """Take the seconds that a job took into the average."""
        if self.average is None:
            # One job tells more than no guess; if it misleads, late claims
            # are handed back.
            self.average = duration
        self.average += (duration - self.average) / 8

    def batch(self, free: int, busy: int) -> int:
        """Return how many claims to hold.

        free, busy -- how many threads have, and have not, time to begin.
        """
        average = HORIZON if self.average is None else self.average
        likely = int(free * HORIZON / max(average, 1e-4))
        return busy + min(MAX_BATCH, max(free, likely))

    def low_water(self, free: int, busy: int) -> int:
        """Return how many claims are so few that others are fetched."""
        return self.batch(free, busy) // 5

    @property
    def is_brisk(self) -> bool:
        """Whether jobs are so short that as many are claimed as may be."""
        return (self.average is not None
                and self.average * MAX_BATCH <= HORIZON)

    def fits(self, number: int) -> bool:
        """Return whether one more job goes together with so many others.

        Long jobs are not put together: the first would wait for the last.
        """
        return number * (self.average or HORIZON) < HORIZON
