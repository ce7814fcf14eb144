"""Jobs of earlier code that are not where all jobs are kept.  Read only.

That code ran what it met in the queue or in the schedule, whether it was
among the jobs of the service or not.
"""

from typing import NamedTuple

from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.foreign.unreadable import UnreadableRecord
from lovely.remotetask.foreign.unreadable import opened
from lovely.remotetask.foreign.unreadable import reason_of
from lovely.remotetask.number import shown
from lovely.remotetask.number import whole
from lovely.remotetask.storage.earlier import identity
from lovely.remotetask.storage.earlier import salvage
from lovely.remotetask.storage.fate import FOUND
from lovely.remotetask.storage.fate import ONLY_QUEUED
from lovely.remotetask.storage.fate import Finding
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.look import mend


# Old ids are below this; an id of any kind of tree that goes up to the other
# one can be worked with.
OLD_IDS = 2 ** 31
IDS = 2 ** 63


class Gathered(NamedTuple):
    """What jobs a service has.

    tree -- the BTree of jobs, or a copy with what can be read of it.
    jobs -- jobs that were only in a queue or in the schedule, by id.
    odd -- keys of the tree that are no ids.
    homeless -- objects that nobody can find by an id.
    trouble -- texts: what cannot be read, or not be kept among the jobs.
    """

    tree: object
    jobs: dict
    odd: list
    homeless: list
    trouble: list

    @property
    def findings(self):
        """Return what is to be told of the jobs: a list of Finding."""
        return [Finding(jobid, FOUND, ONLY_QUEUED) for jobid in self.jobs]


def gather(service, tree, earlier, read):
    """Return what is Gathered of a service.

    tree -- the BTree of its jobs.
    earlier -- Earlier.
    read -- see Earlier.
    """
    trouble = []
    looked = read(_look_over, tree)
    if looked.failed:
        tree, reasons = salvage(tree, read)
        trouble = [f'some of its jobs cannot be read, and are left out: '
                   f'{text}' for text in reasons]
        looked = read(_look_over, tree)
    odd, known = looked.value
    found = Gathered(tree, {}, odd, [tree[key] for key in odd], trouble + [
        f'a job has the id {shown(key)}, which is none; it is not run'
        for key in odd])
    for oid in sorted(earlier.oids() - known):
        _add(found, service._p_jar, oid, read)
    return found


def _look_over(tree):
    """Return the keys of a tree that are no ids, and what tells its jobs."""
    return ([key for key in tree if not _is_between(-IDS, key, IDS)],
            {identity(job) for job in tree.values()})


def _is_between(low, key, high):
    number = whole(key)
    return number is not None and low <= number < high


def _add(found, jar, oid, read):
    """Add the job of an object id to what is Gathered."""
    looked = read(_job_to_run, found, jar, oid)
    if not looked.failed:
        found.jobs.update(looked.value)
        return
    found.trouble.append(
        f'a job that waits in a queue is not among the jobs, and is not run: '
        f'{reason_of(looked)}')
    # A record that is missing has no object.
    record = outcome_of(jar.get, oid)
    if not record.failed:
        found.homeless.append(record.value)


def _job_to_run(found, jar, oid):
    """Return a job by its id, nothing for one that has ended.

    Somebody had removed that, and the schedule alone still knew of it.
    """
    job = jar.get(oid)
    mend(job)
    state = vars(opened(job))
    if state.get('status') in LISTED:
        return {}
    jobid = state.get('id')
    if not _is_between(0, jobid, OLD_IDS):
        raise UnreadableRecord(f'its id is {shown(jobid)}')
    if jobid in found.tree or jobid in found.jobs:
        raise UnreadableRecord(f'another job has its id, {jobid}')
    return {jobid: job}
