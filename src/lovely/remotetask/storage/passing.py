"""What processors do with an entry that is nothing to claim.

Storage only.  An entry is counted by whoever passes it; here it is found out
where its job belongs.
"""

from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import books
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import crons
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import removal
from lovely.remotetask.storage.lookup import checked


COPIED = ('The job was copied together with its service; the service that it '
          'was added to runs it. Requeue it to run it here, too.')
UNDONE = ('The transaction in which the job was run or changed last was '
          'undone. Requeue it to run it once more.')


def entry(store, place, found, now, timed):
    """Keep the books for an Entry that is not taken.

    place -- the id of the entry.
    timed -- whether the clock is good enough to tell when a job is due.
    """
    if found.job is None:
        return
    if found.old is None:
        _pass_new(store, place, found, now, timed)
    else:
        _pass_note(store, place, found, now, timed)


def _pass_new(store, jobid, found, now, timed):
    if jobid in store.aside:
        return
    job = checked(found.job, jobid)
    if (job.removed or job.note is not None
            or lookup.is_leaving(store, jobid)):
        # The job has a note that tells what to do, or was removed already.
        return
    if store.is_copied(job):
        store.ledger.count(job.id, found.new, job.stored_status)
        hold_copied(store, job, now)
    else:
        books.book_if_missing(store, job, found.new, now, timed)


def hold_copied(store, job, now):
    """Let the copy of a job be held that waits."""
    if job.stored_status in WAITING:
        books.hold(store, job, COPIED, now)
    else:
        books.book(store, job, now)


def _pass_note(store, place, found, now, timed):
    jobid = found.note.job
    if jobid in store.aside:
        aside.pass_note(store, place, found)
        return
    job = checked(found.job, jobid)
    if job.note != place:
        # The job has a later note, which knows more.
        if _was_dropped_before(store, job, place):
            store.ledger.count(jobid, found.new, found.old)
        return
    if not _has_place(store, jobid, found):
        # A processor has removed the job at the same moment: nothing is to be
        # counted.
        store.ledger.count(jobid, found.new, found.old)
        return
    if job.removed:
        _clear(store, found.note)
        removal.drop(store, jobid, None)
        return
    # A claim that was made after the note may have been settled since; who has
    # done that has counted the job as what it is now.
    is_settled = job.stored_status != found.new and books.is_booked(store, job)
    begun = (books.entry_of_now(store, job)
             if job.stored_status == DELAYED else None)
    _clear(store, found.note)
    if begun is not None:
        # Who has settled that claim has scheduled the job; its delay is not
        # counted anew.
        books.set_time(store, job, begun[1])
    books.book_if_missing(
        store, job, job.stored_status if is_settled else found.new, now, timed)


def _was_dropped_before(store, job, place):
    """Return whether a job was removed before a note of it was committed.

    By processors, who have counted that; its caller had begun before.  All
    that he has changed of it is in one strand.  So if its last note, which
    removes the job, is in another strand, it was passed before this one: that
    is how the job went, and this note counts.

    place -- the id of the note, which is not the last one of the job.
    """
    return not removal.has_place(store, job.id) and (
        not job.removed
        or numbering.strand_key(job.note) == numbering.strand_key(place))


def _has_place(store, jobid, found):
    """Return whether a job is in its place, or was put back."""
    if removal.has_place(store, jobid):
        return True
    if found.new is None or not removal.put_back(store, jobid, found.job):
        return False
    store.ledger.count(jobid, None, found.old)
    return True


def _clear(store, note):
    """Take a job off the books, wherever they may have it.

    Whoever puts it there at this moment, as it was before, is met at the
    commit.
    """
    crew.guard(store, note.job)
    own = () if lookup.is_apart(store, note.job) else (note.job,)
    for place in (*note.previous, *own):
        if lookup.is_unseen(store, place):
            cursor = lookup.cursor_of(store, numbering.strand_key(place))
            cursor._p_changed = True
    for letter, time in note.places:
        books.take_out(store, note.job, lane.status_of(letter), time)


def unreadable(store, place, found, failure, now):
    """Put the job of an Entry aside that cannot be read."""
    if found.old is None:
        aside.put(store, place, found.new, failure, now)
        return
    jobid = found.note.job
    if jobid in store.aside:
        aside.pass_note(store, place, found)
        return
    if not removal.has_place(store, jobid):
        store.ledger.count(jobid, found.new, found.old)
        return
    _clear(store, found.note)
    if found.new is None:
        removal.drop(store, jobid, None)
    else:
        aside.put(store, jobid, found.new, failure, now)


def lost(store, place, failure, now):
    """Put a job aside of which nobody knows whether it was there."""
    aside.put(store, place, None, failure, now)


def is_next_in_schedule(store, key, job):
    """Return whether what is under a key of the schedule may be run then."""
    return (not job.removed and job.stored_status in WAITING
            and books.due_time(job) == key[0]
            and not crons.is_paused(store, job)
            and not books.has_no_time_yet(job) and not store.is_copied(job)
            and crew.claim_of(store, job) is None)


def leave_schedule(store, key, failure, now):
    """Take out of the schedule what does not belong there.

    failure -- why the job cannot be read, None if it can.
    """
    jobid = key[1]
    counted = books.counted_in_schedule(store, jobid)
    job = store.schedule.pop(key)
    if failure is not None:
        books.forget_time(store, jobid)
        aside.put(store, jobid, counted, failure, now)
    elif (job.removed or _is_dropped(store, job)
          or crew.has_claim(store, job)):
        return
    elif store.is_copied(job):
        store.ledger.count(job.id, counted, job.stored_status)
        hold_copied(store, job, now)
    elif (books.has_no_time_yet(job) and key[0] == 0
          or crons.is_paused(store, job)):
        books.book(store, job, now)
    elif not books.is_booked(store, job):
        undone(store, job, counted, now)


def _is_dropped(store, job):
    """Return whether processors have removed a job, or are about to.

    Who claims a job by its id leaves it in the schedule, where it is found
    when its time comes, however long it has been gone then.
    """
    return (not removal.has_place(store, job.id)
            or store.ledger.is_swept(job))


def undone(store, job, counted, now):
    """See to a job that nobody has, as a transaction was undone.

    counted -- the status under which it is counted.
    """
    store.ledger.count(job.id, counted, job.stored_status)
    if job.recurring and job.stored_status in WAITING:
        # One run of the cron job was undone; those to come are not.
        books.tell_time(store, job, now)
    elif job.stored_status in WAITING:
        books.hold(store, job, UNDONE, now)
    else:
        books.book(store, job, now)
