"""Jobs that let others fail: data managers, hooks, synchronizers."""

import sys

import transaction
import zope.component.hooks
import zope.security.management

from gocept.async_.tests.hostile.kinds import TRANSIENT_CALLS
from gocept.async_.tests.hostile.kinds import kind
from gocept.async_.tests.hostile.kinds import note
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR


# Kept, as an application keeps what it registers.
KEPT = []


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


@kind(COMPLETED, calls=TRANSIENT_CALLS)
def before_commit_enqueues(call):
    """Meets others that add to the tree of effects, too."""
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
