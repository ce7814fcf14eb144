"""Finding strands, entries and jobs.  Storage only; nothing is changed.

Every record is read by itself: one that cannot be read hides no others.
"""

import datetime

from lovely.remotetask.foreign.unreadable import UnreadableJob
from lovely.remotetask.foreign.unreadable import UnreadableRecord
from lovely.remotetask.foreign.unreadable import opened
from lovely.remotetask.foreign.unreadable import reason_of
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import numbering


# Of which types the attributes of a job are, if it has them.
_NUMBER = (int, float, type(None))
_TIME = (*_NUMBER, datetime.datetime)
TYPES = (('fence', (int, type(None))), ('priority', (int, type(None))),
         ('due', _NUMBER), ('created', _TIME), ('completed', _TIME),
         ('_history', (tuple, type(None))))


def _any(key):
    return True


def strands(store, is_wanted=_any):
    """Return all strands that can be read, with their keys.

    is_wanted -- called with a key: whether to look at that strand at all.

    Without the cursor of one, nobody knows what of it has been claimed.
    """
    found = store.read(_strands_at_cursors, store, is_wanted)
    if not found.failed:
        return found.value
    each = [store.read(_strand, store, number, priority, is_wanted)
            for number in store.lanes
            for priority in store.read(_priorities, store, number).value or ()]
    return [(strand, key) for found in each if not found.failed
            for strand, key in found.value
            if not store.read(sequence_at_cursor, store, key).failed]


def _strands_at_cursors(store, is_wanted):
    found = _strands(store, store.lanes, is_wanted)
    for _, key in found:
        sequence_at_cursor(store, key)
    return found


def _priorities(store, number):
    return list(store.lanes[number].strands)


def _strand(store, number, priority, is_wanted):
    """Return one strand, or none, and its key, as `_strands` does."""
    key = numbering.make_id(0, number, priority)
    return [(store.lanes[number].strands[priority], key)] if is_wanted(
        key) else []


def _strands(store, numbers, is_wanted):
    found = [(strand, numbering.make_id(0, number, priority))
             for number in numbers
             for priority, strand in store.lanes[number].strands.items()]
    return [(strand, key) for strand, key in found if is_wanted(key)]


# How far processors have come

def sequence_at_cursor(store, key):
    """Return the sequence up to which the strand of a key was looked at."""
    cursor = store.cursors.get(key)
    return _start(store, key) if cursor is None else cursor.sequence


def _start(store, key):
    _, number, _ = numbering.split_id(key)
    found = store.lanes.get(number)
    return (store.retired.get(number, store.start) if found is None
            else found.start)


def cursor_of(store, key):
    """Return the Cursor of the strand of a key; make it if need be."""
    if key not in store.cursors:
        store.cursors[key] = lane.Cursor(_start(store, key))
    return store.cursors[key]


def totals_at_cursor(store, key):
    """Return jobs by status, as the entries before a cursor add up to."""
    cursor = store.cursors.get(key)
    return {} if cursor is None else dict(cursor.totals)


def is_unseen(store, place):
    """Return whether processors have not come to an entry.

    place -- its id.
    """
    sequence, _, _ = numbering.split_id(place)
    return sequence >= sequence_at_cursor(store, numbering.strand_key(place))


def is_pending(store, job):
    """Return whether processors have not heard of the job's last change."""
    if job.note is not None:
        return is_unseen(store, job.note)
    return not is_apart(store, job.id) and is_unseen(store, job.id)


def is_behind(store):
    """Return whether there are entries that processors have not seen."""
    return any(is_strand_behind(store, strand, key)
               for strand, key in strands(store))


def is_strand_behind(store, strand, key):
    """The same for one strand; false where its end cannot be read."""
    end = store.read(getattr, strand, 'end').value
    return end is not None and end > sequence_at_cursor(store, key)


def watched(store):
    """Return the oids of what is written where there is more to claim.

    A frozenset.  Whoever adds a job, or changes one, writes the tail of a
    strand; its lane, if that is the first one of a priority; the lanes, if
    there is a new one.  What is due sooner than all else is put into the first
    bucket of the schedule.  A service is paused, or not.
    """
    lanes = list(store.lanes.values())
    schedule = store.schedule
    found = [store.service, store, *_nodes(store.lanes), *lanes,
             *(strand.tail for each in lanes
               for strand in each.strands.values()),
             schedule, schedule._firstbucket]
    return frozenset(each._p_oid for each in found if each is not None)


def _nodes(tree):
    """Yield a BTree, and its buckets."""
    yield tree
    bucket = tree._firstbucket
    while bucket is not None:
        yield bucket
        bucket = bucket._next


# Entries and jobs

def trees_apart(store):
    """Return the trees of jobs that are in no strand."""
    return [tree for tree in (store.displaced, store.legacy)
            if tree is not None]


def _tree_of(store, jobid):
    """Return which of these trees has a job, or None."""
    for tree in trees_apart(store):
        if jobid in tree:
            return tree
    return None


def is_apart(store, jobid):
    """Return whether a job is in no strand: see JobStore."""
    return _tree_of(store, jobid) is not None


def segment_of(store, jobid):
    """Return the Segment of an id, or None, and the sequence."""
    sequence, number, priority = numbering.split_id(jobid)
    found = store.lanes.get(number)
    strand = None if found is None else found.strands.get(priority)
    if strand is None or sequence < store.start:
        return None, sequence
    return strand.segment(sequence), sequence


def entry_of(store, place):
    """Return the Entry of an id, None if there is none."""
    segment, sequence = segment_of(store, place)
    if segment is None or not segment.start <= sequence < segment.end:
        return None
    return segment.entry(sequence)


def record(store, jobid):
    """Return the job of an id as it is: not loaded perhaps, or no good."""
    tree = _tree_of(store, jobid)
    if tree is not None:
        return tree[jobid]
    entry = entry_of(store, jobid)
    return None if entry is None else entry.job


def raw(store, jobid):
    """Return the job of an id, also one that is removed; None without one.

    Raise whatever is raised by a record that cannot be read.
    """
    tree = _tree_of(store, jobid)
    if tree is not None:
        return checked(tree[jobid], jobid)
    job = stored_at(store, jobid)
    return None if job is None else checked(job, jobid)


def stored_at(store, jobid):
    """Return the object at the place of a job, not loaded; None without one.
    """
    segment, sequence = segment_of(store, jobid) if jobid >= 0 else (None, 0)
    # An entry that is a note leads to a job that has another id.
    if segment is None or not segment.is_of_new(sequence):
        return None
    return segment.job(sequence)


def checked(job, jobid):
    """Load a job.  Return it if that is one to be worked with.

    Raise whatever is raised by a record that cannot be read.
    """
    status = checked_but_status(job, jobid).stored_status
    if status is None:
        # That of a job which was never added.
        raise UnreadableRecord('its status is None')
    # This raises for any other status that is none.
    lane.letter_of(status)
    return job


def checked_but_status(job, jobid):
    """See `checked`; a job of earlier code may have a status of then."""
    state = vars(opened(job))
    if state.get('id') != jobid:
        raise UnreadableRecord(f'the record is not that of job {jobid}')
    for name, types in TYPES:
        if not isinstance(state.get(name), types):
            raise UnreadableRecord(f'its {name} is none')
    return job


def find(store, jobid):
    """Return the job of an id, or None.

    An UnreadableJob stands for one that cannot be read.
    """
    return _found(store, jobid, raw, store, jobid)


def find_stored(store, jobid, job):
    """See `find`.

    job -- what is at the place of the job, which need not be looked for.
    """
    return _found(store, jobid, checked, job, jobid)


def _found(store, jobid, call, *args):
    """See `find`; `call` returns the job, loaded, or raises anything."""
    if store.aside and jobid in store.aside:
        return stand_in(store, jobid)
    found = store.read(call, *args)
    if found.failed:
        # The job may have been cleaned while nobody could read it.
        if store.read(store.ledger.has_swept, jobid).value:
            return None
        return unreadable_job(store, jobid, found)
    job = found.value
    return None if job is None or is_gone(store, job) else job


def is_gone(store, job):
    """Return whether a job is removed, though its record is there."""
    if job.removed:
        return True
    # Unless a caller has removed it, a job that waits is there: processors
    # remove only what is at rest.
    return job.stored_status not in WAITING and (
        store.ledger.is_swept(job) or is_leaving(store, job.id))


def is_leaving(store, jobid):
    """Return whether a job leaves its segment once that is full."""
    if is_apart(store, jobid):
        return False
    sequence, _, _ = numbering.split_id(jobid)
    removed = store.read(
        _removed_at_cursor, store, numbering.strand_key(jobid))
    # What cannot be read hides no job.
    return sequence in (removed.value or ())


def _removed_at_cursor(store, key):
    cursor = store.cursors.get(key)
    return () if cursor is None else cursor.removed


def stand_in(store, jobid):
    """Return the UnreadableJob for a job that was put aside.

    None for one that is to be removed.
    """
    since, reason, *_ = store.aside[jobid]
    if reason is None:
        return None
    return UnreadableJob(jobid, store.service, reason, since)


def unreadable_job(store, jobid, failure):
    """Return the UnreadableJob for a job that nobody has put aside yet.

    failure -- the Outcome of `read`.
    """
    segment = store.read(lambda: segment_of(store, jobid)[0]).value
    since = store.read(getattr, segment, '_p_mtime', None).value
    return UnreadableJob(
        jobid, store.service, reason_of(failure), since or 0.0)


def all_jobs(store):
    """Iterate over all jobs, lane by lane."""
    for jobid in _ids(store):
        job = find(store, jobid)
        if job is not None:
            yield job


def without_entry(store):
    """Return the ids of jobs that are aside, and were never added.

    The transaction that had added them was undone.
    """
    return [jobid for jobid in store.aside if not is_apart(store, jobid)
            and store.read(_has_no_entry, store, jobid).value]


def _has_no_entry(store, jobid):
    entry = entry_of(store, jobid)
    return entry is None or entry.job is None


def _ids(store):
    for tree in trees_apart(store):
        yield from tree
    yield from without_entry(store)
    for strand, key in strands(store):
        numbers = store.read(lambda: list(strand.segments))  # noqa: B023
        for number in numbers.value or ():
            for sequence in _sequences(store, strand, number):
                yield numbering.place(sequence, key)


def _sequences(store, strand, number):
    """Return the sequences of the jobs of a segment."""
    found = store.read(lambda: [
        entry.sequence for entry in strand.segments[number].entries()
        if entry.old is None and entry.job is not None])
    if found.failed:
        # Nobody knows which places of the segment were jobs, so all are named.
        start = number * lane.SEGMENT_SIZE
        return range(start, start + lane.SEGMENT_SIZE)
    return found.value
