"""Processes that add jobs to a shared storage, or run them."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import transaction

import counting
import footprint
import stage
import stamps
import storages
import tasks
from adding import Added


# Connections that a process has needed once.
IDLE = 3


class Child:
    """A process with one of the ROLES; ends with its context.

    result -- what it found out, once it has ended.
    """

    def __init__(self, role, storage, **arguments):
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name('run.py'), '--child',
             json.dumps([role, storage.spec, arguments])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))

    def __enter__(self):
        self.read()
        return self

    def go(self):
        """Let it begin; what this means depends on the role."""
        self.process.stdin.write('go\n')
        self.process.stdin.flush()

    def end(self):
        """Let it end.  Return its result."""
        with self.process:
            self.process.stdin.close()
            return self.read()

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.result = self.end()

    def read(self):
        """Return what it says next."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError('A process of the benchmark has died.')
        return json.loads(line)


def _say(value):
    print(json.dumps(value), flush=True)


def worker(storage_stage, threads=1):
    """Run jobs until standard input is closed."""
    with stage.processing(storage_stage, threads):
        _say('ready')
        sys.stdin.read()
    _say({'memory': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
          'complaints': counting.complaints.number})


def waiting_worker(storage_stage):
    """Run jobs from when it is told to."""
    _say('ready')
    sys.stdin.readline()
    with stage.processing(storage_stage):
        sys.stdin.read()
    _say({'commits': counting.commits(), 'failed': counting.failed(),
          'given up': counting.complaints.number})


def measured_worker(storage_stage, commit_every):
    """Run jobs, and look at the memory of this process for each line."""
    with stage.policy(commit_every=commit_every, attempts=1, keep_result=False,
                      error_retention=1.0), \
            stage.processing(storage_stage):
        _be_idle(storage_stage)
        _say('ready')
        for _ in sys.stdin:
            _say(footprint.look(storage_stage.db))
    _say('ended')


def _be_idle(storage_stage):
    """Give back what is open, and connections that were needed once.

    One that is open and not used remembers all that others have written; those
    in the pool are the worker's to look after.
    """
    for each in [storage_stage.db.open(transaction.TransactionManager())
                 for _ in range(IDLE)]:
        each.close()
    storage_stage.connection.close()


def committer(storage_stage, place, number):
    """Commit one small object when told to, and stamp each commit."""
    small = storage_stage.smalls[place]
    _say(small.number)
    sys.stdin.readline()
    for each in range(number):
        small.number += 1
        transaction.commit()
        stamps.put(place * number + each)
    sys.stdin.read()
    _say('ended')


def adder(storage_stage, jobs):
    """Add jobs when told to, one a commit; tell how that went."""
    _say('ready')
    sys.stdin.readline()
    added = Added()
    added.add(storage_stage.service, jobs)
    _say(vars(added))


ROLES = {role.__name__: role for role in (
    worker, waiting_worker, measured_worker, committer, adder)}


# The index of a client's cache is in memory: the smaller that is, the less it
# tells of what is in the cache at the moment.
CLIENTS = {measured_worker.__name__: {'cache_size': 2 ** 20}}


class _Client:
    """A shared storage, as the child of the one who started it sees it."""

    shared = True

    def __init__(self, spec, options):
        self.spec = spec
        self._options = options

    def open(self):
        return storages.client(self.spec, **self._options)


def run(text):
    """Be a child."""
    role, spec, arguments = json.loads(text)
    tasks.register()
    client = _Client(spec, CLIENTS.get(role, {}))
    with stage.opened(client) as opened:
        ROLES[role](opened, **arguments)
