"""What processors look after now and then: undone, copied, lost jobs.

Storage only.
"""

import itertools
import math
import random

from ZODB.utils import z64

from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import DELAYED
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.job import CLOCK_TOLERANCE
from lovely.remotetask.job import CronJob
from lovely.remotetask.part import path
from lovely.remotetask.policy import MAX_WAIT
from lovely.remotetask.storage import aside
from lovely.remotetask.storage import books
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import crons
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import passing
from lovely.remotetask.storage import removal
from lovely.remotetask.storage import settlement
from lovely.remotetask.storage.current import current
from lovely.remotetask.storage.ledger import LISTED
from lovely.remotetask.storage.ledger import first
from lovely.remotetask.storage.lookup import checked
from lovely.remotetask.storage.removal import belongs
from lovely.remotetask.storage.source import StrandSource


log = journal(__name__)

# How many jobs of each status are looked at, of the newest and of the others.
NEWEST = 50
OTHERS = 500

# How many of the schedule are looked at that are due later than any attempt.
DISTANT = 250

# Where others are looked at: of any number of looks that follow each other,
# these steps let no two be near each other (the golden ratio does).
STEP = (5 ** 0.5 - 1) / 2
_looks = itertools.count(random.randrange(10 ** 6))

# How many strands are looked at for jobs that nobody has, and how many of the
# entries that were passed last; and how many entries in a search.
STRANDS = 4
FOUND = 32
SEARCHED = 500


def look(store, now):
    """Look at some jobs at rest, whether they are what the ledger says.

    Somebody may have undone the transaction that had ended them.
    """
    for status in LISTED:
        found = store.read(_some, store.ledger, status)
        for key, job in dict(found.value or ()).items():
            was_loaded = job._p_changed is not None
            failure = store.read(_check, store, status, key, job, now)
            if not was_loaded:
                # The cache is for jobs that somebody needs.
                job._p_deactivate()
            if failure.failed:
                store.ledger.take_out(status, key)
                aside.put(store, key[1], status, failure, now)


def _some(ledger, status):
    """Return some keys and jobs of a status."""
    found = first(ledger.newest(status), NEWEST)
    if len(found) == NEWEST:
        # Somewhere before: over time, each one is looked at.  Many may have
        # ended at the same moment.
        oldest = min(tree.minKey() for tree in ledger.trees(status) if tree)
        newest = found[-1][0]
        # One look in ten begins where the newest entries end.
        part = max(0.0, next(_looks) * STEP % 1 * 1.1 - 0.1)
        time, jobid = (
            new - part * (new - old)
            for new, old in zip(newest, oldest, strict=True))
        found += first(ledger.newest(status, (time, int(jobid))), OTHERS)
    return found


def _check(store, status, key, job, now):
    checked(job, key[1])
    if not belongs(job, status, key) and not lookup.is_pending(store, job):
        store.ledger.take_out(status, key)
        _correct(store, job, status, now)


def _correct(store, job, status, now):
    """See to a job that the ledger had under a status that it has not."""
    if not (job.removed or books.is_booked(store, job)
            or crew.has_claim(store, job)):
        passing.undone(store, job, status, now)
        return
    # Somebody has changed the job once more after the transaction was undone,
    # and it was counted from the status of then.
    before = QUEUED
    if isinstance(job, CronJob):
        before = job.waiting_status if 'delay' in vars(job) else DELAYED
    store.ledger.count(job.id, status, before)


def look_for_lost(store, now):
    """Look at some entries, whether somebody has their jobs.

    Those that were passed last, and some others.  While there is a search,
    what nobody has was not undone.
    """
    if store.searched is not None:
        search(store, now)
        return
    strands = lookup.strands(store)
    for strand, key in random.sample(strands, min(STRANDS, len(strands))):
        end = lookup.sequence_at_cursor(store, key)
        _search(store, key, max(store.start, end - FOUND), end, now,
                _undone)
        numbers = store.read(lambda: list(_some_segments(strand)))  # noqa: B023
        for number in numbers.value or ():
            begin = number * lane.SEGMENT_SIZE
            _search(store, key, begin,
                    min(end, begin + lane.SEGMENT_SIZE), now, _undone)


def _some_segments(strand):
    oldest, newest = strand.segments.minKey(), strand.segments.maxKey()
    return strand.segments.keys(
        random.randint(oldest, newest), newest, False, True)[:1]


def search(store, now):
    """Look for jobs that nobody has, some entries at a time.

    Forgets that, once all were looked at.
    """
    key, sequence = store.searched
    for strand_key, begin, end in _ranges(store, key, sequence):
        upto = min(end, begin + SEARCHED)
        _search(store, strand_key, begin, upto, now, books.book)
        if upto < end:
            store.searched = strand_key, upto
            return
    for jobid in itertools.chain(*lookup.trees_apart(store)):
        store.read(_find_place, store, jobid, now, books.book)
    store.searched = None


def _ranges(store, key, sequence):
    """Iterate over keys of strands, and what is to be searched of each."""
    keys = sorted(key for _, key in lookup.strands(store))
    for found in keys:
        if found >= key:
            begin = sequence if found == key else store.start
            yield found, begin, lookup.sequence_at_cursor(store, found)


def _search(store, key, begin, end, now, book):
    for sequence in range(begin, end):
        place = numbering.place(sequence, key)
        store.read(_find_place, store, place, now, book)


def _undone(store, job, now):
    # This looks through all trees; it takes long, and is rare.
    counted = books.take_out_anywhere(store, job.id)
    passing.undone(store, job, counted or job.stored_status, now)


def _find_place(store, jobid, now, book):
    """Put a job into the books that nobody has, as its status says.

    book -- called with the store, the job and the time.
    """
    job = None if jobid in store.aside else lookup.raw(store, jobid)
    if (job is None or job.removed or lookup.is_pending(store, job)
            or crew.has_claim(store, job)):
        return
    if not lookup.is_leaving(store, jobid):
        if not (store.ledger.is_swept(job) or books.is_booked(store, job)):
            book(store, job, now)
    elif job.stored_status in WAITING and removal.put_back(
            store, jobid, job):
        # A job that waits leaves its segment only when a caller has removed
        # it; somebody has undone that.
        passing.undone(store, job, None, now)


def correct_schedule(store, now):
    """Let no recurring job wait longer than its pattern says, or for ever.

    Nor another one longer for another attempt than any policy says.  Somebody
    had a wrong clock for a moment, perhaps; or a job was resumed while a
    processor took it for paused.
    """
    for jobid, found in list(store.crons.items()):
        store.read(_correct_time, store, jobid, found[0], now)
    latest = now + MAX_WAIT + CLOCK_TOLERANCE
    for key, job in store.read(_distant, store.schedule, latest).value or ():
        if key[1] not in store.crons:
            store.read(_try_at_once, store, key, job, now)


def _distant(schedule, time):
    """Return some keys and jobs of the schedule that are due after a time.

    What callers have delayed for so long may be many.  Over time, each one is
    looked at.
    """
    last = schedule.maxKey()[0] if schedule else time
    if last <= time:
        return ()
    begins = {time, random.uniform(time, last)}
    return dict(item for begin in begins for item in first(
        schedule.items(min=(begin, 0)), DISTANT)).items()


def _try_at_once(store, key, job, now):
    checked(job, key[1])
    if (job.attempts and passing.is_next_in_schedule(store, key, job)
            and not lookup.is_pending(store, job)):
        del store.schedule[key]
        job.reschedule()
        books.book(store, job, now)


def _correct_time(store, jobid, job, now):
    checked(job, jobid)
    if not books.is_booked(store, job) or job.stored_status not in WAITING:
        return
    if books.has_no_time_yet(job):
        _end_pause(store, job, now)
    elif job.recurring:
        _correct_due(store, job, now)


def _end_pause(store, job, now):
    """Tell the next time of a job that has none, and is not paused.

    Whoever has resumed it saw it run, and left that to the one who settles
    its claim; who saw it paused still.  Or somebody has undone the pause.  Or
    a process came to it first that does not know its time zone.
    """
    if not (crons.is_paused(store, job) or lookup.is_pending(store, job)):
        books.book(store, job, now)


def _correct_due(store, job, now):
    found = crons.tell(store, job, job.corrected_due, now)
    if found.failed:
        books.hold(store, job, books.NO_TIME.format(found.error), now)
    elif found.value is not None:
        books.set_time(store, job, found.value)


def adopt(store):
    """Take the jobs of a store that was copied; return whether it was.

    The copies of those that wait are held, when they are met: their records
    were written when the copy was made.
    """
    if store.oid in (None, store._p_oid):
        return False
    mark = store if store.mark is None else store.mark
    mark._p_activate()
    if mark._p_serial == z64:
        # The copy is of this transaction; nobody can tell yet when it is made.
        return False
    current(store)
    log.warning('%s: a copy of another service; jobs that wait in both are '
                'held here', '/'.join(
                    outcome_of(path, store.service).value or ['?']))
    store.copied_at = mark._p_serial
    store.oid = store._p_oid
    for worker_id in list(store.workers):
        for claim in crew.drop_worker(store, worker_id):
            settlement.settle(store, claim)
    return True


def hold_copies(store, now):
    """Hold the copies of jobs that wait now, and not when they are met.

    Where all records are written anew, nothing tells a copy any more.
    """
    adopt(store)
    if store.copied_at is None:
        return
    for strand, key in lookup.strands(store):
        store.read(_pass_copies, store, strand, key, now)
    for key, job in list(store.schedule.items()):
        store.read(_hold_if_copied, store, key, job, now)


def _pass_copies(store, strand, key, now):
    # What can be taken was added to the copy, behind all that was copied: to
    # find it passes those, which are held.
    found = StrandSource(store, strand, key, now, math.inf)
    found.find_next()
    found.save()


def _hold_if_copied(store, key, job, now):
    checked(job, key[1])
    if job.stored_status in WAITING and store.is_copied(job):
        passing.leave_schedule(store, key, None, now)
