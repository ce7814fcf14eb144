"""What is added in a storm: how many jobs, of which kinds, in which order."""

import random

from gocept.async_.tests.hostile.crew import PRINCIPALS
from gocept.async_.tests.hostile.everything import KINDS
from gocept.async_.tests.hostile.jobs import SERVICES


# A process that dies early is only replaced after a pause: jobs that end
# their process each time take minutes.
DEADLY = 5


class Plan:
    """What is added: kinds, and in which order with good jobs.

    crew -- who names the jobs, see Crew.
    seed -- of all that is drawn.
    good -- how many good jobs.
    kinds -- how many kinds.
    without -- names of kinds that are left out.
    """

    def __init__(self, crew, seed, good, kinds, without=()):
        self._crew = crew
        self._random = random.Random(seed)
        self.kinds = [kind for kind in self._draw(kinds)
                      if kind.name not in without]
        self.requests = self._requests(good)

    def _draw(self, number):
        possible = [kind for kind in KINDS.values()
                    if self._crew.place in kind.places and kind.most
                    and not kind.loud]
        self._random.shuffle(possible)
        deadly = [kind for kind in possible if kind.family == 'deaths']
        # One is always among them.
        segfault = KINDS['segfault']
        drawn = [segfault, *(kind for kind in possible
                             if kind not in deadly[DEADLY:]
                             and kind is not segfault)]
        return drawn[:number]

    def _requests(self, good):
        single = [request for kind in self.kinds if not kind.old
                  for request in self._bad(kind)]
        single += [request for _ in range(good) for request in self._good()]
        self._random.shuffle(single)
        requests = []
        while single:
            size = self._random.choice((1, 1, 1, 5, 20))
            requests.append(single[:size])
            del single[:size]
        return requests

    def _bad(self, kind):
        number = self._random.randint(1, kind.most)
        service = 'events' if kind.add else self._random.choice(SERVICES)
        return self._crew.bad(
            kind, number, service, site=self._random.choice((None, 'other')),
            principal=self._random.choice(PRINCIPALS))

    def _good(self):
        principal = self._random.choice(PRINCIPALS)
        seconds = self._random.choice((0, 0, 0, 0.01, 0.05))
        hot = self._random.random() < 0.03
        options = {}
        if self._random.random() < 0.2:
            options['priority'] = self._random.randrange(10)
        if self._random.random() < 0.1:
            options['delay'] = self._random.uniform(0.1, 3)
        if self._random.random() < 0.3:
            options['site'] = 'other'
        return self._crew.good(
            1, self._random.choice(SERVICES), **options, principal=principal,
            arguments=[principal, seconds, hot, options.get('site')])
