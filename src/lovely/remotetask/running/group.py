"""Run several short jobs in one transaction.

First without savepoints, which cost as much as the jobs themselves.  Where
one fails, nothing stays of the others either, and they are run again, with a
savepoint before each.  What cannot be run together is run one by one.
"""

import transaction

from lovely.remotetask.foreign.outcome import let_go
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.interfaces import CannotRollBack
from lovely.remotetask.running import processstate
from lovely.remotetask.running import runlog
from lovely.remotetask.running import surroundings
from lovely.remotetask.running.execution import Ended
from lovely.remotetask.running.execution import Execution
from lovely.remotetask.running.execution import in_this_process
from lovely.remotetask.running.execution import job_context
from lovely.remotetask.running.execution import run_claimed
from lovely.remotetask.running.execution import run_job
from lovely.remotetask.running.leftover import left_in
from lovely.remotetask.running.leftover import watching
from lovely.remotetask.running.refusal import CommitRefusal
from lovely.remotetask.running.session import Session


class RunAlone(Exception):
    """The jobs of a group must be run one by one."""


class Group:
    """Claimed jobs that are run together.

    A job that fails is handled alone.  If the transaction cannot be
    committed, all are run again one by one.

    claims -- IClaims; those beyond a job whose hooks or data managers work
        at the commit are left to another group: it is committed in the
        context of that job.
    careful -- whether a job that fails is rolled back alone.  Otherwise the
        transaction is aborted, and the others are left to another group.
    """

    def __init__(self, db, path, claims, commit, careful):
        self.db = db
        self.path = path
        self.commit = commit
        self._careful = careful
        self.attempts = [
            Execution(db, path, claim, commit) for claim in claims]
        # Attempts with their Ends, and with failures.
        self.completed = []
        self.failed = []
        # Failures of those that come after others in a transaction that was
        # aborted: what these did was never committed.
        self.waiting = []
        # Whether the jobs were run one by one.
        self.was_given_up = False
        self._engine = self._session = None
        # Whether the transaction was to be committed, and was.
        self._is_ending = self._is_over = False

    def __call__(self):
        """Run the jobs.  Return what became of each claim that was run."""
        outcome = outcome_of(surroundings.in_context, self._run_in_session)
        if not outcome.failed:
            outcome = outcome.value
        if outcome.failed:
            return self._run_alone(outcome)
        failed = [(each, each.judged(failure))
                  for each, failure in self.failed]
        ends = {}
        if self._is_over:
            for each, end in self.completed:
                each.tell_of_end(end)
                ends[each.run.claim] = Ended(end.rest)
        elif self.completed:
            self.waiting, failed = failed, []
        return ends | _stored(failed)

    def _run_alone(self, failure):
        self.was_given_up = True
        runlog.one_by_one(self.path, len(self.attempts), failure)
        for each in failure, *(failed for _, failed in self.failed):
            let_go(each.exception)
        return {each.run.claim: run_claimed(
            self.db, self.path, each.run.claim, self.commit)
            for each in self.attempts}

    def _run_in_session(self):
        self._session = session = Session(self.db)
        outcome = None
        try:
            self._engine = session.begin(self.path)
            with processstate.SameProcess():
                outcome = outcome_of(in_this_process, self._run_and_commit)
            return outcome
        finally:
            session.close(clean=outcome is None or outcome.failed
                          or bool(self.failed))

    def _run_and_commit(self):
        session = self._session
        self._refusal = CommitRefusal(session.manager)
        txn = transaction.get()
        # Each with its name would be more than is stored of the jobs.
        txn.note(f'{self._engine.service.__name__}: '
                 f'{len(self.attempts)} jobs')
        left = left_in(txn)
        for each in self.attempts:
            savepoint = watchers = None
            if self._careful:
                savepoint = transaction.savepoint(optimistic=True)
                watchers = watching(session.manager)
            outcome = outcome_of(
                surroundings.in_context, self._run, each, left)
            session.resume()
            if self._is_over:
                return
            self._check(txn, outcome)
            if outcome.failed:
                self.failed.append((each, outcome))
                if savepoint is None:
                    # The end of the session aborts what the others did.
                    return
                self._roll_back(txn, savepoint, left)
                session.forget()
                if watching(session.manager) != watchers:
                    raise CannotRollBack(
                        'A job has left a synchronizer in its group.')
        self._commit()

    def _check(self, txn, outcome):
        if transaction.get() is not txn or txn.isDoomed() or outcome.retryable:
            # A function has aborted what others did, or a conflict has made
            # this snapshot worthless.
            raise RunAlone('The transaction of the others was ended.')
        if self._is_ending and (self.completed or self.failed):
            # Any of those before may have left what fails at the commit.
            raise RunAlone('The commit in the context of a job has failed.')

    def _roll_back(self, txn, savepoint, left):
        if outcome_of(savepoint.rollback).failed or left_in(txn) != left:
            # It would go on at the commit of the others.
            raise CannotRollBack('A job has left something in its group.')

    def _run(self, each, left):
        """Run a job; commit the group if something works at its commit."""
        def commit():
            self._session.resume()
            if transaction.get() is txn and left_in(txn) != left:
                self._commit()
        txn = transaction.get()
        with job_context(
                self._engine.service,
                lambda: runlog.name(self.path, each.run)):
            self.completed.append(
                (each, run_job(
                    self._engine, each.run, each.begin_in_group, commit)))

    def _commit(self):
        self._is_ending = True
        self._session.check()
        self._refusal.lift()
        self.commit()
        self._session.confirm()
        self._is_over = True


def run_group(db, path, claims, commit):
    """Run several short jobs in one transaction, where that goes well.

    Return a mapping: what became of each claim, see run_claimed.
    """
    ends = {}
    # By their claims: see Group.waiting.
    waiting = {}
    careful = False
    while left := [claim for claim in claims
                   if claim not in ends and claim not in waiting]:
        group = Group(db, path, left, commit, careful)
        ends.update(group())
        waiting.update({each.run.claim: (each, failure)
                        for each, failure in group.waiting})
        if group.was_given_up:
            # They may have failed by what was never to be committed.
            for claim, (_, failure) in waiting.items():
                let_go(failure.exception)
                ends[claim] = run_claimed(db, path, claim, commit)
            waiting = {}
        # From the first failure on: without savepoints, the others would be
        # called once more for each of them.
        careful = careful or bool(group.failed)
    return ends | _stored(waiting.values())


def _stored(failed):
    """Store failures of Executions; return what became of their claims."""
    for each, _ in failed:
        each.begun = True
    return {each.run.claim: each.store_failure(failure)
            for each, failure in failed}
