"""Two workers of one database beside two databases with a worker each."""

import contextlib
import os
from statistics import median

import storages
import teams
from scene import Scene
from stage import opened
from table import Row


def rows(name, options):
    """Return rows: what it helps to have a second storage server."""
    with contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(opened(stack.enter_context(
            storages.started(name)))) for _ in range(2))
        scene = Scene(stack, one, other)
        rounds = [(_run(scene, [one, one], options.jobs),
                   _run(scene, [one, other], options.jobs))
                  for _ in range(options.rounds)]
    together, apart = zip(*rounds, strict=True)
    yield from _rows('1 database', together)
    yield from _rows('2 databases', apart)
    yield Row('... to 1 database', median(
        after.rate / before.rate for before, after in rounds), 'times')


def _run(scene, stages, jobs):
    """Return a Measured of a process for each stage."""
    for number in range(jobs):
        teams.add(stages[number % len(stages)], number)
    with contextlib.ExitStack() as stack:
        return scene.running(teams.Workers(stack, stages), jobs)


def _rows(what, found):
    yield Row(f'workers, 2 processes, {what}',
              median(each.rate for each in found), 'a second')
    for process in ('worker', 'storage server'):
        yield Row(f'... cpu, {process}',
                  median(each.costs[process] for each in found) * 1000,
                  'ms a job')
    yield Row('... busy', median(each.busy for each in found),
              f'of {os.cpu_count()} cores')
