"""What is known of each kind of misbehaviour: how it has to end.

A kind is a function that is called in a job, after the job has had its
effect, and then does harm.  It has no opinion on what the engine does today:
its `ends` are what somebody who looks at the job may be told without a lie.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import zope.component
import zope.component.hooks

from gocept.async_ import is_async
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import ITaskService


# Where jobs can be run.
THREADS, WORKER, CELERY = PLACES = 'threads', 'worker', 'celery'

# How often a transient error is tried again, and a job at all.
TRANSIENT_CALLS = 11
ATTEMPTS = 3

# The call of a job could not be stored: there is no job.  And: it is in a
# service that nobody asks for it.
REFUSED = 'refused'
ELSEWHERE = 'elsewhere'

# Of all processes of a run: where the calls are noted.
FOLDER = 'HOSTILE_FOLDER'


class Kind(NamedTuple):
    """One kind of misbehaviour.

    act -- called with a Call, in the job.
    ends -- the statuses that the job may have at the end.
    calls -- how often it is called at most, where nothing else fails.
    places -- where it is run.
    most -- how many jobs of it are among the others at most.
    effects -- {status: number} where that is not one for a completed job and
        none for another.
    add -- called with a Request in place of storing a call; or None.
    old -- whether the job was added by code that is gone since.
    family -- the module that defines it.
    waits -- whether it looks like a fault of what all jobs need: then it may
        wait for another attempt at the end, but is not called more often.
    loud -- whether it harms others that run at the same moment by what it
        does to the process; drawn only if it is asked for.
    """

    name: str
    act: Callable
    ends: tuple = (ERROR,)
    calls: int = 1
    places: tuple = PLACES
    most: int = 3
    effects: dict = {}
    add: Callable | None = None
    old: bool = False
    family: str = ''
    loud: bool = False
    waits: bool = False

    def effects_of(self, status):
        """Return the numbers of effects that are right with a status."""
        default = (1,) if status == COMPLETED else (0,)
        return self.effects.get(status, default)


KINDS = {}


def kind(*ends, **settings):
    """Make a function one of the kinds, under its name."""
    def register(act):
        if act.__name__ in KINDS:
            raise ValueError(f'There are two kinds {act.__name__!r}.')
        made = Kind(
            act.__name__, act, family=act.__module__.rpartition('.')[2],
            **settings, **({'ends': ends} if ends else {}))
        if made.waits:
            made = made._replace(
                ends=(*made.ends, QUEUED), calls=TRANSIENT_CALLS)
        KINDS[made.name] = made
        return act
    return register


class Call:
    """What a job that misbehaves has at hand.

    name -- of the job.
    site -- the one that the job was added in.
    root -- the root folder, in the connection of the job.
    """

    def __init__(self, name, service='events'):
        self.name = name
        self.site = zope.component.hooks.getSite()
        self.root = root_of(self.site)
        self._service = service

    @property
    def service(self):
        return zope.component.getUtility(ITaskService, self._service)

    @property
    def jobid(self):
        return self.root.effects[self.name].jobid

    def effect(self, suffix=''):
        """Have an effect; it is counted when it is committed."""
        self.root.effects[self.name + suffix].value += 1

    def once(self, what='once'):
        """Return whether this job asks that for the first time."""
        try:
            folder().joinpath(f'{self.name}.{what}').mkdir()
        except FileExistsError:
            return False
        return True


def root_of(location):
    """Return the root folder of something that is located in it."""
    while location.__parent__ is not None:
        location = location.__parent__
    return location


def folder():
    """Return the folder of the run."""
    return Path(_FOLDER)


def note(book, text):
    """Write a line to a book of the run, for good.

    book -- `calls`: the name of the job; `lies`: what a job was told wrongly;
        `traces`: what others have left in the process.
    """
    os.write(_books[book], f'{text} {os.getpid()} {is_async()}\n'.encode())


# Kept for those who run later, when a job has changed the environment, or
# taken all descriptors.
_FOLDER = os.environ.get(FOLDER)
_books = {} if _FOLDER is None else {
    book: os.open(Path(_FOLDER, book), os.O_WRONLY | os.O_APPEND | os.O_CREAT,
                  0o666)
    for book in ('calls', 'lies', 'traces')}
