"""Each kind of misbehaviour alone, or once, among some good jobs."""

import random

from gocept.async_.tests.hostile.crew import PATIENCE
from gocept.async_.tests.hostile.crew import Crew
from gocept.async_.tests.hostile.everything import KINDS
from gocept.async_.tests.hostile.jobs import SERVICES
from gocept.async_.tests.hostile.kinds import TRANSIENT_CALLS
from gocept.async_.tests.hostile.stage import NoAnswer


# Seconds until a job has ended that is tried again after ever longer waits.
LONG_PATIENCE = 90.0


def run_one(crew, kind, number=2, service='events'):
    """Run some jobs of a kind among good ones.

    Those of a kind that is `old` are there already.
    """
    crew.ask('add', *crew.good(3))
    if not kind.old:
        crew.ask('add', *crew.bad(kind, min(number, kind.most), service,
                                  principal='zope.user', site='other'))
    crew.ask('add', *crew.good(5, service))
    left = crew.wait(
        LONG_PATIENCE if kind.calls == TRANSIENT_CALLS else PATIENCE)
    crew.ask('add', *crew.good(2, service))
    left.update(crew.wait(10, left))
    # Nothing else is to be running then.
    for _ in range(3):
        crew.ask('add', *crew.seers(1))
        left.update(crew.wait(10, left))
    verdict = crew.judge(slack=0)
    verdict.violations += [f'{name} is still {status}'
                           for name, status in left.items()]
    return verdict


def run_together(place, kinds, good=100, **options):
    """Run jobs of each kind among good ones.  Return violations."""
    with Crew(place, **options) as crew:
        crew.prepare(kinds)
        requests = crew.good(good) + [
            request for kind in kinds if not kind.old
            for service in (SERVICES if kind.add is None else SERVICES[:1])
            for request in crew.bad(kind, 1, service, principal='zope.user')]
        random.Random(0).shuffle(requests)
        for request in requests:
            crew.ask('add', request)
        left = crew.wait()
        crew.ask('add', *crew.good(2), *crew.good(2, 'grouped'))
        left.update(crew.wait(10, left))
        verdict = crew.judge()
        return [*verdict.violations, *crew.stop(),
                *(f'{name} is still {status}'
                  for name, status in left.items())]


def run_kind(name, place, service='events', **options):
    """Run one kind on a stage of its own.  Return violations."""
    kind = KINDS[name]
    with Crew(place, **options) as crew:
        try:
            crew.prepare([kind])
            violations = run_one(crew, kind, service=service).violations
        except NoAnswer as error:
            violations = [f'nobody can look at the jobs any more: {error}']
        return violations + crew.stop(), crew.stage.log()
