"""What was promised, compared with what has become of the jobs."""

import collections
import re
from pathlib import Path

from gocept.async_.tests.hostile.everything import KINDS
from gocept.async_.tests.hostile.kinds import ELSEWHERE
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.runends import LOST_PROCESS


# How many runs are counted before an error is final.
ATTEMPTS = 3

GONE = re.compile(re.escape(LOST_PROCESS).replace(r'\{\}', '.*'))


def calls(folder):
    """Return how often the job of each name was called."""
    path = Path(folder, 'calls')
    lines = path.read_text().splitlines() if path.exists() else ()
    return collections.Counter(line.split(' ', 1)[0] for line in lines)


def found_wrong(folder, book='lies'):
    """Return what jobs have found to be wrong around them; see kinds.note.
    """
    path = Path(folder, book)
    return path.read_text().splitlines() if path.exists() else []


class Verdict:
    """Compares the report of a host with what was promised.

    report -- see `report`.
    called -- how often the job of each name was called.
    slack -- how many runs of one job may have come to nothing, uncounted,
        because a server or a process was away.
    undone -- how often the end of the job of each name was undone.
    """

    def __init__(self, report, called, slack=0, undone=()):
        self.fates = report['fates']
        self._called = called
        self._slack = slack
        self._undone = collections.Counter(undone)
        self.violations = list(report['wrong'])

    def judge(self):
        """Return sentences on what is wrong; one for all that are alike."""
        alike = collections.defaultdict(list)
        for name, fate in sorted(self.fates.items()):
            problem = self._problem(name, **fate)
            if problem is not None:
                key = fate['kind'] or 'good', problem, fate['status']
                alike[key].append(name)
        for (kind, problem, status), names in alike.items():
            more = f' and {len(names) - 1} more' if names[1:] else ''
            self.violations.append(
                f'{kind}: {problem}; {status}: {self._details(names[0])}'
                f'{more}')
        return self.violations

    def _details(self, name):
        fate = self.fates[name]
        return (f'{name}: {fate["value"]} effects, {self._called[name]} '
                f'calls, {fate["attempts"]} attempts counted, '
                f'{(fate["error"] or "")[:160]!a}')

    def _promised(self, name, kind, status, attempts, error):
        """Return the ends that a job may have, its effects, and calls."""
        if name in self._undone:
            # Run again, or held.
            return ((COMPLETED, HELD), (int(status == COMPLETED),),
                    kind and KINDS[kind].calls)
        if kind is None:
            return (COMPLETED,), (1,), None
        found = KINDS[kind]
        if self._was_killed(attempts, error):
            return (*found.ends, ERROR), (int(status != ERROR),), found.calls
        return found.ends, found.effects_of(status), found.calls

    def _problem(self, name, kind, service, value, status, attempts, error,
                 due):
        ends, effects, most = self._promised(
            name, kind, status, attempts, error)
        # In a group, each job is called once more where another has failed.
        slack = self._slack + self._undone[name] * 2
        slack += (service == 'grouped') * (1 + attempts)
        if status not in ends:
            return f'has to be {" or ".join(ends)}'
        if effects is not None and value not in effects:
            return f'has to have {effects} effects'
        if status == ELSEWHERE:
            return None
        if effects is not None and self._called[name] > attempts + slack:
            return 'was called more often than is counted'
        if most is not None and self._called[name] > most + slack:
            return f'must not be called more than {most} times'
        return None

    def _was_killed(self, attempts, error):
        """Return whether a storm has ended each process that ran a job.

        That may meet one that takes long.
        """
        return bool(self._slack and attempts >= ATTEMPTS
                    and GONE.fullmatch(error or ''))

    def summary(self):
        """Return numbers: good jobs, bad jobs, kinds."""
        kinds = [fate['kind'] for fate in self.fates.values()
                 if fate['kind'] is not None]
        return (f'{len(self.fates) - len(kinds)} good jobs, {len(kinds)} '
                f'that misbehave in {len(set(kinds))} ways')
