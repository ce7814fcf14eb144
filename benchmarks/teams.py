"""Teams: processes that do the same at a time, after a common start."""

import time

import transaction

import children
import tasks
from stage import in_site


class Committers:
    """Raw commits: each process changes a small object of its own."""

    def __init__(self, stack, scene, processes, number):
        each = number // processes
        self._children = _entered(stack, [
            children.Child('committer', scene.stage.storage, place=place,
                           number=each)
            for place in range(processes)])
        self.number = each * processes
        self.pids = _pids(self._children)

    def go(self):
        _let_go(self._children)


class Workers:
    """The workers of this package, with one thread each.

    stages -- for each process, of the storage whose jobs it runs.
    """

    def __init__(self, stack, stages):
        self._children = _entered(stack, [
            children.Child('waiting_worker', stage.storage)
            for stage in stages])
        self.pids = _pids(self._children)

    def go(self):
        _let_go(self._children)

    def commits(self):
        """Return how many commits they have made, and how many failed; and
        how many batches were given up.

        Once they have ended.
        """
        return [sum(child.result[name] for child in self._children)
                for name in ('commits', 'failed', 'given up')]


def _entered(stack, made):
    # All are starting by now.
    return [stack.enter_context(child) for child in made]


def _pids(made):
    return [child.process.pid for child in made]


def _let_go(made):
    for child in made:
        child.go()


def add(stage, number):
    """Add a job for workers.  Return when commit was called."""
    return _add(stage, tasks.stamped, number)


def add_for_celery(stage, number):
    """Add a job for Celery.  Return when commit was called."""
    return _add(stage, tasks.stamped_by_celery, number)


def _add(stage, function, number):
    with in_site(stage):
        transaction.begin()
        function(number)
        called = time.monotonic()
        transaction.commit()
        return called
