"""Jobs of which a message has come again, and that somebody may be running.

Unclaimed, so nothing tells who: those who could be asked are remembered, until
each of them has gone on to something else, has claimed what it runs, or is
gone.  docs/explanation/unclaimed.rst tells of it.
"""


class Doubts:
    """Jobs, and how far others had come when their messages came."""

    def __init__(self) -> None:
        self._jobs: dict[int, dict[str, object]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobid: int, turns: dict[str, object]) -> None:
        """Remember a job.

        turns -- those of others that may be running it; see IJobExecution.
        """
        self._jobs.setdefault(jobid, turns)

    def others(self) -> set[str]:
        """Return the ids of the workers that may be running one of them."""
        return {each for turns in list(self._jobs.values()) for each in turns}

    def cleared(self, turns: dict[str, object]) -> list[int]:
        """Return the ids of jobs that nobody can be running any more.

        turns -- how far others have come by now.
        """
        return [jobid for jobid, before in list(self._jobs.items())
                if not before.items() & turns.items()]

    def forget(self, jobids: list[int]) -> None:
        """Forget jobs: nobody runs them unclaimed."""
        for jobid in jobids:
            self._jobs.pop(jobid, None)
