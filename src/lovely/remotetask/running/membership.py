"""How a processor is known to the others that run jobs of its service.

It has the name under which jobs are claimed, keeps the books in transactions
of its own, tells that it lives, and takes over from those that do not.
"""

import time

from persistent.timestamp import TimeStamp

from lovely.remotetask import interfaces
from lovely.remotetask import machine
from lovely.remotetask import moment
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.retry import private_connection
from lovely.remotetask.running import events
from lovely.remotetask.running import execution
from lovely.remotetask.running import group
from lovely.remotetask.running import lag
from lovely.remotetask.running import quirks
from lovely.remotetask.running import registry
from lovely.remotetask.running import tally
from lovely.remotetask.running.clock import Clock
from lovely.remotetask.running.gate import CommitGate
from lovely.remotetask.running.watch import Watch


log = journal(__name__)

# Seconds for which workers that are gone are taken over from, until something
# else is done in between.
RELEASE_FOR = 1.0

# In one of so many transactions, the first one among them, a worker removes
# jobs whoever's share they are: there may be one that nobody looks after.
PRUNES_ALL = 10

# What has become of a service that is not where it was.
MOVED = 'moved'
REPLACED = 'replaced'


class Membership:
    """What one processor is to the others of its service.

    db -- the ZODB.DB that holds the root folder.
    path -- list of str, from the root folder to the service.
    name -- called without arguments; str, of the processor.
    interval -- seconds between two heartbeats.
    missed -- how many of them may be missed.
    facts -- called without arguments; what people are told of the processor,
        see IWorkerRecords.sign.
    """

    def __init__(self, db, path, name, interval, missed, facts=dict):
        self.db = db
        self.path = list(path)
        self.name = name
        self.gate = CommitGate()
        self.clock = Clock()
        self.watch = Watch(interval, missed)
        # Where the service itself is stored: a database and an oid.  None
        # before that is known.  One attribute: others read it meanwhile.
        self.place = None
        # In how many transactions old jobs were removed.
        self._prunings = 0
        self.worker_id = None
        self._facts = facts

    @property
    def service_db(self):
        """The database of the service; another one than `db`, perhaps."""
        place = self.place
        return self.db if place is None else place[0]

    @property
    def service_oid(self):
        """The object id of the service; None before it is known."""
        place = self.place
        return None if place is None else place[1]

    def become_another(self):
        """Be another worker from now on, one that has claimed nothing."""
        self.worker_id = machine.new_worker_id(self.name())
        # What was counted belongs to the one before.
        self._started = time.time()
        self.tally = tally.Tally()
        tally.enter(self.tally, self.worker_id, self.path)

    def facts(self):
        """Return what people are told of this worker; plain values."""
        host, pid, _ = self.worker_id.split(':', 2)
        return {'host': host, 'pid': int(pid), 'started': self._started,
                **self._facts()}

    # Bookkeeping

    def bookkeep(self, call, *args):
        """Call ``call(engine, *args)`` in a transaction, and commit that.

        engine -- the IJobExecution of the service.
        """
        return self._in_transaction(self.gate.commit, call, *args)

    def _in_transaction(self, commit, call, *args):
        place, value = execution.in_transaction(
            self.db, self.path, commit, _with_place, self.place, call, *args)
        if self.place is None:
            # Otherwise it was there, or is elsewhere by now: the claimer may
            # have found it while this thread was in its transaction.
            self.place = place
        return value

    def run(self, claim):
        """Run a claimed job.  Return what became of the claim."""
        with moment.corrected(lambda: self.clock.correction):
            return execution.run_claimed(
                self.db, self.path, claim, self.gate.commit)

    def run_group(self, claims):
        """Run claimed jobs in one transaction; as `run`."""
        with moment.corrected(lambda: self.clock.correction):
            return group.run_group(
                self.db, self.path, claims, self.gate.commit)

    def catch_up(self):
        """See what was committed before that which the service shows."""
        lag.catch_up(self.service_db)

    def settle(self, jobids, begun, interrupted=()):
        """Settle claims.

        jobids, begun, interrupted -- see IJobExecution.settle.
        """
        self.bookkeep(_settle, self.worker_id, jobids, begun,
                      self.clock.now(), interrupted)

    def settle_lost(self, claim, interrupted=False):
        """Settle the claim of a run whose end could not be stored.

        interrupted -- whether because of what it stands on.
        """
        self.tell_of_lost(self.bookkeep(
            _settle_lost, self.worker_id, claim, self.clock.now(),
            interrupted))

    def check(self):
        """Raise what bookkeeping would raise at the moment."""
        self.bookkeep(_nothing)

    def leave(self, begun, commit):
        """Hand all claims back.

        begun -- ids of jobs that were begun, and run by nobody any more.
        commit -- called to commit the current transaction.
        """
        self._in_transaction(
            commit, _stop_worker, self.worker_id, begun, self.clock.now(),
            self.tally)

    # The service may be elsewhere by now

    def find_again(self):
        """Look for the service that was known before.

        Return MOVED or REPLACED, None if there is none: an editor may have
        renamed the site, or there may be another service in its place.
        """
        if self.place is None:
            return None
        path = outcome_of(self._path_of_service).value
        if path is not None and self._is_at(path):
            if path != self.path:
                log.info('%s: the service is at /%s now',
                         self.name(), '/'.join(path))
            self.path = path
            tally.enter(self.tally, self.worker_id, path)
            return MOVED
        found = outcome_of(_look_up, self.db, self.path).value
        if found in (None, self.place):
            return None
        log.warning('%s: there is another service now in the place of the '
                    'one before, which is gone', self.name())
        self.place = found
        # Claims on jobs of the other one must be good for nothing here.
        self.become_another()
        return REPLACED

    def _is_at(self, path):
        return outcome_of(_look_up, self.db, path).value == self.place

    def _path_of_service(self):
        with private_connection(self.db) as connection:
            # A storage that is polled may fail here.
            connection.transaction_manager.begin()
            # From the content to the jobs, see docs/explanation/engine.rst.
            db, oid = self.place
            jobs = connection.get_connection(db.database_name)
            return registry.service_path(jobs.get(oid))

    # Others

    def is_alive(self, worker_id):
        """Return whether a worker is to be left alone."""
        if worker_id in (self.worker_id, registry.direct_worker_id()):
            return True
        return not (machine.is_gone(worker_id)
                    or self.watch.is_silent(worker_id))

    def release(self):
        """Queue the jobs of workers again that are gone.

        Return the ids of those that were being run.
        """
        # What a client has in its cache tells nothing of who lives.
        lag.ask(self.service_db)
        now = self.clock.monotonic()
        self.watch.look(self.bookkeep(_signs_of_life), now)
        released, failures = [], []
        end = time.monotonic() + RELEASE_FOR
        for worker_id, sign in self.watch.signs().items():
            if self.is_alive(worker_id):
                continue
            # One by one: what keeps one from being released is its own.
            outcome = outcome_of(
                self.bookkeep, _release, worker_id, sign, self.clock.now())
            released += self.tell_of_lost(outcome.value or ())
            failures += [outcome.exception] if outcome.failed else ()
            if time.monotonic() >= end:
                break
        if failures and not released:
            # Otherwise there is something to tell; these come again.
            raise failures[0]
        return released

    def tell_of_lost(self, lost):
        """Tell of jobs whose processors are gone.  Return their ids."""
        for jobid, status, function in lost:
            self.tally.count(function, 'lost')
            events.send(events.JobLost(
                tuple(self.path), jobid, function, status))
        return [jobid for jobid, _, _ in lost]

    def prune(self, limit, now=None):
        """Remove jobs that were kept long enough; see IJobExecution."""
        if now is None:
            now = self.clock.now()
            if self.clock.is_bad:
                # It was set in this moment: what it shows is not to be used.
                return 0
        is_for_all = self._prunings % PRUNES_ALL == 0
        self._prunings += 1
        return self.bookkeep(
            _prune, limit, now, None if is_for_all else self.worker_id)

    def correct_schedule(self):
        """Correct what a wrong clock has scheduled; see IJobExecution."""
        self.bookkeep(_correct_schedule, self.clock.now())

    # The clock

    def look_at_clock(self):
        """Find out whether it is the one by which the service's storage goes.
        """
        if self.place is None:
            # It may be stored elsewhere than the root folder.
            self.check()
        self.clock.trusted = quirks.keeps_time_itself(self.service_db.storage)

    def sign(self, measures=False):
        """Tell that this worker lives, and compare the clock with others'.

        measures -- whether to store what it has counted, too.
        """
        signed = _Signed(self, measures)
        self._in_transaction(signed.commit, signed.sign)
        if measures:
            self.tally.mark_stored()
        self.clock.compare(
            TimeStamp(signed.serial).timeTime(), signed.before, signed.since)


class _Signed:
    """A sign of life: when it was written, by both clocks."""

    def __init__(self, membership, measures):
        self._membership = membership
        self._measures = measures
        self._written = None
        self.before = self.since = None
        self.serial = None

    def sign(self, engine):
        member = self._membership
        self.before = member.clock.wall()
        self.since = member.clock.monotonic()
        now = member.clock.now()
        self._written = engine.workers.sign(
            member.worker_id, now, member.facts(), machine.memory())
        if self._measures:
            engine.workers.measure(
                member.worker_id, *member.tally.to_store(), now)

    def commit(self):
        self._membership.gate.commit()
        # Of the object as this one has written it: while the connection is
        # ours.
        self.serial = self._written._p_serial


def _with_place(engine, place, call, *args):
    """Return where a service is, and what a call with it returns.

    place -- where it was before, or None.
    """
    found = engine.service._p_jar.db(), engine.service._p_oid
    if place not in (None, found):
        raise interfaces.NoSuchService(
            'The service is not where it was; another one is.')
    return found, call(engine, *args)


def _look_up(db, path):
    """Return where the service at a path is: a database and an oid."""
    with execution.opened_service(db, path) as service:
        return service._p_jar.db(), service._p_oid


def _settle(engine, worker_id, jobids, begun, now, interrupted):
    engine.settle(worker_id, jobids, begun, now, interrupted)


def _settle_lost(engine, worker_id, claim, now, interrupted):
    """Return what to tell of: nothing, if the end was stored after all."""
    found = outcome_of(engine.claimed, claim)
    ids = [claim.job]
    engine.settle(worker_id, ids, ids, now, ids if interrupted else ())
    return [] if found.failed else [_described(engine, claim.job)]


def _prune(engine, limit, now, worker_id):
    return engine.upkeep.prune(limit, now, worker_id)


def _correct_schedule(engine, now):
    engine.upkeep.correct_schedule(now)


def _stop_worker(engine, worker_id, begun, now, tally):
    engine.settle(worker_id, begun, begun, now)
    if not tally.is_empty:
        engine.workers.measure(worker_id, *tally.to_store(), now)
    engine.workers.stop_worker(worker_id)


def _signs_of_life(engine):
    return engine.workers.signs_of_life()


def _release(engine, worker_id, sign, now):
    if engine.workers.signs_of_life().get(worker_id) != sign:
        # It has come back in this moment, or another one was quicker.
        return []
    return [_described(engine, jobid)
            for jobid in engine.workers.release_worker(worker_id, now)]


def _described(engine, jobid):
    """Return id, status and function of a job, for others to be told."""
    job = outcome_of(engine.service.jobs.get, jobid).value
    found = outcome_of(lambda: (jobid, job.status, events.name_of(job)))
    return found.value or (jobid, None, None)


def _nothing(engine):
    """Only find the service."""
