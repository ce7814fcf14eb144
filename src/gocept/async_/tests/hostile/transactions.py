"""Jobs that do to their transaction what they must not."""

import contextlib
import datetime

import transaction

from gocept.async_.tests.hostile.kinds import Call
from gocept.async_.tests.hostile.kinds import kind
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


@kind(ERROR, most=2)
def changes_by_two_connections(call):
    connection = call.root._p_jar.db().open()
    KEPT.append(connection)
    connection.root()['hostile'] = call.name


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


# PostgreSQL takes it.
@kind(ERROR, COMPLETED)
def huge_note(call):
    transaction.get().note('x' * 70_000)


@kind()
def unpicklable_note(call):
    transaction.get().setExtendedInfo('odd', lambda: 1)


# A ZEO server takes plain values alone.
@kind(ERROR, COMPLETED)
def date_in_note(call):
    transaction.get().setExtendedInfo('odd', datetime.date(2026, 1, 1))


@kind()
def unpicklable_note_in_hook(call):
    txn = transaction.get()
    txn.addBeforeCommitHook(txn.setExtendedInfo, ('odd', lambda: 1))


@kind(ERROR, COMPLETED)
def surrogates_in_note(call):
    transaction.get().note('caf\udce9')


@kind()
def unpicklable_content(call):
    call.root.effects[call.name].odd = lambda: 1
