"""Jobs that do to their transaction what they must not."""

import contextlib
import sys

import transaction
import zope.component.hooks
import zope.security.management

from gocept.async_.tests.hostile.kinds import Call
from gocept.async_.tests.hostile.kinds import kind
from gocept.async_.tests.hostile.kinds import note
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.task import TaskError


# Kept, as an application keeps what it registers.
KEPT = []


@kind()
def commits(call):
    transaction.commit()


@kind()
def commits_and_goes_on(call):
    with contextlib.suppress(TaskError):
        transaction.commit()


@kind()
def commits_and_aborts(call):
    with contextlib.suppress(TaskError):
        transaction.commit()
    transaction.abort()


@kind()
def commits_and_begins(call):
    with contextlib.suppress(TaskError):
        transaction.commit()
    transaction.begin()


# Who aborts may know what is gone.
@kind(ERROR, COMPLETED, effects={COMPLETED: (0,)})
def aborts(call):
    transaction.abort()


@kind(ERROR, COMPLETED)
def aborts_and_works(call):
    transaction.abort()
    Call(call.name).effect()


@kind(ERROR, COMPLETED)
def begins(call):
    transaction.begin()
    Call(call.name).effect()


@kind()
def dooms(call):
    transaction.doom()


@kind(ERROR, COMPLETED)
def replaces_manager(call):
    transaction.manager.manager = transaction.TransactionManager()


@kind(ERROR, COMPLETED)
def replaces_manager_and_goes_on(call):
    KEPT.append(transaction.manager.manager)
    transaction.manager.manager = transaction.TransactionManager()
    transaction.begin()
    Call(call.name)
    transaction.abort()


@kind(ERROR, COMPLETED)
def explicit_manager(call):
    transaction.manager.explicit = True


@kind(ERROR, COMPLETED)
def clears_synchronizers(call):
    transaction.manager.clearSynchs()


@kind(ERROR, COMPLETED, effects={COMPLETED: (0, 1)})
def frees_transaction(call):
    transaction.manager.free(transaction.get())


@kind(COMPLETED)
def leaves_savepoints(call):
    KEPT.extend(transaction.savepoint() for _ in range(5))
    del KEPT[:-10]


@kind(COMPLETED)
def rolls_back(call):
    savepoint = transaction.savepoint()
    call.effect()
    savepoint.rollback()


@kind(COMPLETED)
def reads_much(call):
    """The job itself leaves the cache, with all that is not stored of it."""
    sum(each.value for each in call.root.many)
    transaction.savepoint()


@kind(COMPLETED)
def minimizes_cache(call):
    call.root._p_jar.cacheMinimize()


@kind(COMPLETED)
def minimizes_cache_after_savepoint(call):
    transaction.savepoint()
    call.root._p_jar.cacheMinimize()


@kind(COMPLETED)
def forgets_own_job(call):
    job = call.service.jobs[call.jobid]
    job._p_activate()
    job._p_deactivate()
    job._p_invalidate()


@kind(ERROR, COMPLETED)
def closes_connection(call):
    call.root._p_jar.close()


@kind(ERROR, COMPLETED)
def closes_connection_and_goes_on(call):
    with contextlib.suppress(Exception):
        call.root._p_jar.close()


@kind(ERROR, COMPLETED, effects={COMPLETED: (0,)})
def closes_connection_after_abort(call):
    connection = call.root._p_jar
    transaction.abort()
    connection.close()


@kind(COMPLETED, most=2)
def leaves_connection_open(call):
    connection = call.root._p_jar.db().open(transaction.TransactionManager())
    connection.root()
    KEPT.append(connection)


@kind(COMPLETED, most=2)
def leaves_connection_of_thread_open(call):
    KEPT.append(call.root._p_jar.db().open())


@kind(COMPLETED)
def commits_elsewhere(call):
    """In a transaction of its own, which is nobody else's business."""
    manager = transaction.TransactionManager()
    connection = call.root._p_jar.db().open(manager)
    try:
        connection.root()['hostile'] = call.name
        manager.commit()
    except transaction.interfaces.TransientError:
        manager.abort()
    finally:
        connection.close()


@kind()
def huge_note(call):
    transaction.get().note('x' * 70_000)


@kind()
def unpicklable_note(call):
    transaction.get().setExtendedInfo('odd', lambda: 1)


@kind(ERROR, COMPLETED)
def surrogates_in_note(call):
    transaction.get().note('caf\udce9')


@kind()
def unpicklable_content(call):
    call.root.effects[call.name].odd = lambda: 1


# Data managers

class DataManager:
    """Takes part in a transaction, and fails in one phase.

    key -- sort key: '~' comes after, ' ' before the storages.
    """

    transaction_manager = transaction.manager

    def __init__(self, key, phase=None, error=RuntimeError):
        self._key = key
        self._phase = phase
        self._error = error

    def _pass(self, phase):
        if phase == self._phase:
            raise self._error(phase)

    def sortKey(self):
        self._pass('sortKey')
        return self._key

    def abort(self, txn):
        self._pass('abort')

    def tpc_begin(self, txn):
        self._pass('tpc_begin')

    def commit(self, txn):
        self._pass('commit')

    def tpc_vote(self, txn):
        self._pass('tpc_vote')

    def tpc_finish(self, txn):
        self._pass('tpc_finish')

    def tpc_abort(self, txn):
        self._pass('tpc_abort')


def join(*args):
    transaction.get().join(DataManager(*args))


@kind(COMPLETED)
def no_savepoints(call):
    join('~mail')


@kind(ERROR, COMPLETED)
def no_savepoints_and_savepoint(call):
    join('~mail')
    transaction.savepoint()


def fails_in(phase, key, *ends, error=RuntimeError, calls=1):
    def act(call):
        join(key, phase, error)
    act.__name__ = f'{phase}_{"first" if key == " " else "last"}_fails'
    if error is not RuntimeError:
        act.__name__ += f'_by_{error.__name__}'
    kind(*ends, calls=calls)(act)


for phase in 'tpc_begin', 'commit', 'tpc_vote':
    fails_in(phase, ' ')
    fails_in(phase, '~')
fails_in('sortKey', '~')
fails_in('abort', '~', COMPLETED)
fails_in('tpc_abort', '~', COMPLETED)
fails_in('tpc_vote', '~', error=SystemExit)
fails_in('tpc_vote', ' ', error=KeyboardInterrupt)
fails_in('tpc_finish', ' ')
# The storage has committed by then.
fails_in('tpc_finish', '~', COMPLETED)
fails_in('tpc_finish', '~', COMPLETED, error=SystemExit)


@kind()
def abort_fails_too(call):
    join('~1', 'abort')
    join('~2', 'tpc_abort')
    raise ValueError('so that all is aborted')


@kind()
def no_sort_key(call):
    manager = DataManager('~')
    manager.sortKey = lambda: 5
    transaction.get().join(manager)


# Hooks

def fail(*args):
    raise RuntimeError('hook')


def leave(*args):
    sys.exit('hook')


def enqueue_child(name):
    from gocept.async_.tests.hostile import jobs
    jobs.add_child(name)


def check_context(name, principal, site):
    found = current_principal(), zope.component.hooks.getSite()
    if found != (principal, site):
        note('lies', f'{name}: a before-commit hook worked as {found[0]} in '
                     f'{found[1]}, not as {principal} in {site}')


def current_principal():
    """Return the id of the current principal; '' without interaction."""
    interaction = zope.security.management.queryInteraction()
    if interaction is None:
        return ''
    return interaction.participations[0].principal.id


@kind()
def before_commit_fails(call):
    transaction.get().addBeforeCommitHook(fail)


@kind()
def before_commit_exits(call):
    transaction.get().addBeforeCommitHook(leave)


@kind()
def before_commit_aborts(call):
    def hook():
        transaction.abort()
        raise RuntimeError('aborted')
    transaction.get().addBeforeCommitHook(hook)


@kind(COMPLETED)
def before_commit_enqueues(call):
    transaction.get().addBeforeCommitHook(enqueue_child, (call.name,))


@kind(COMPLETED)
def before_commit_looks(call):
    transaction.get().addBeforeCommitHook(
        check_context, (call.name, current_principal(), call.site))


@kind(COMPLETED)
def data_manager_looks(call):
    """As an index queue does, that writes when the transaction commits."""
    expected = call.name, current_principal(), call.site
    manager = DataManager(' ')
    manager.tpc_begin = lambda txn: check_context(*expected)
    transaction.get().join(manager)


@kind(COMPLETED)
def after_commit_fails(call):
    transaction.get().addAfterCommitHook(fail)


@kind(COMPLETED)
def after_commit_exits(call):
    transaction.get().addAfterCommitHook(leave)


@kind(COMPLETED)
def after_commit_enqueues(call):
    """Right or refused, but never half done."""
    transaction.get().addAfterCommitHook(
        lambda committed: enqueue_child(call.name))


@kind(COMPLETED)
def after_commit_writes(call):
    transaction.get().addAfterCommitHook(lambda committed: call.effect())


@kind()
def abort_hooks_fail(call):
    transaction.get().addBeforeAbortHook(fail)
    transaction.get().addAfterAbortHook(leave)
    raise ValueError('so that all is aborted')


class Synchronizer:
    """Is told of all transactions of a thread, and minds."""

    def __init__(self, *phases, error=RuntimeError):
        for phase in phases:
            setattr(self, phase, self._fail)
        self._error = error

    def _fail(self, txn):
        raise self._error('synchronizer')

    def newTransaction(self, txn):
        pass

    beforeCompletion = afterCompletion = newTransaction


def register(*phases, **kw):
    synchronizer = Synchronizer(*phases, **kw)
    KEPT.append(synchronizer)
    transaction.manager.registerSynch(synchronizer)


@kind(ERROR, COMPLETED)
def synchronizer_left(call):
    register()


@kind(ERROR, COMPLETED)
def synchronizer_fails_before(call):
    register('beforeCompletion')


@kind(ERROR, COMPLETED)
def synchronizer_fails_after(call):
    register('afterCompletion')


@kind(ERROR, COMPLETED)
def synchronizer_fails_at_begin(call):
    register('afterCompletion', 'beforeCompletion')
    KEPT[-1].newTransaction = fail


@kind(ERROR, COMPLETED)
def synchronizer_exits(call):
    register('beforeCompletion', 'afterCompletion', error=SystemExit)
