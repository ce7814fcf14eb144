"""Exceptions that mean something to others, and not from a job."""

import asyncio
import errno
import os
import sqlite3
import sys

import transaction.interfaces
import ZODB.POSException
import zope.security.interfaces

from gocept.async_.tests.hostile.errors import Unprintable
from gocept.async_.tests.hostile.kinds import CELERY
from gocept.async_.tests.hostile.kinds import TRANSIENT_CALLS
from gocept.async_.tests.hostile.kinds import kind
from lovely.remotetask import interfaces
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.running.gate import ProcessorStopped


@kind()
def system_exit(call):
    sys.exit('bye')


@kind()
def system_exit_unprintable(call):
    sys.exit(Unprintable())


@kind()
def generator_exit(call):
    raise GeneratorExit


@kind()
def keyboard_interrupt(call):
    raise KeyboardInterrupt


@kind()
def stop_iteration(call):
    raise StopIteration


@kind()
def cancelled_error(call):
    raise asyncio.CancelledError


@kind()
def memory_error(call):
    raise MemoryError


@kind()
def base_exception(call):
    raise type('Odd', (BaseException,), {})


@kind()
def recursion_error(call):
    def down():
        down()
    down()


# Those of others

@kind(calls=TRANSIENT_CALLS)
def transient(call):
    raise transaction.interfaces.TransientError('always')


@kind(calls=TRANSIENT_CALLS)
def transient_unprintable(call):
    raise type('Odd', (transaction.interfaces.TransientError, Unprintable),
               {})


@kind(calls=TRANSIENT_CALLS)
def conflict_error(call):
    raise ZODB.POSException.ConflictError(object=call.root)


@kind(waits=True)
def own_disconnected(call):
    from ZEO.Exceptions import ClientDisconnected
    raise ClientDisconnected('of another server')


@kind(waits=True)
def own_full_disk(call):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), '/mine/alone')


@kind(waits=True)
def own_descriptors(call):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@kind()
def foreign_postgresql(call):
    import psycopg2
    psycopg2.connect('host=127.0.0.1 port=1 connect_timeout=1')


@kind()
def foreign_interface_error(call):
    import psycopg2
    raise psycopg2.InterfaceError('connection already closed')


@kind()
def own_sqlite(call):
    sqlite3.connect(':memory:').execute('selekt 1')


@kind()
def pos_key_error(call):
    raise ZODB.POSException.POSKeyError(b'\0' * 7 + b'\7')


@kind(waits=True)
def storage_error(call):
    raise ZODB.POSException.StorageError('mine')


@kind()
def unauthorized(call):
    raise zope.security.interfaces.Unauthorized('mine', Unprintable())


@kind()
def claim_lost(call):
    raise interfaces.ClaimLost('says the job')


@kind()
def illegal_status_change(call):
    raise interfaces.IllegalStatusChange('says the job')


@kind()
def no_such_service(call):
    raise interfaces.NoSuchService('says the job')


@kind()
def processor_stopped(call):
    raise ProcessorStopped('says the job')


@kind(ERROR, HELD)
def cannot_run(call):
    raise interfaces.CannotRun('says the job')


@kind()
def doomed_transaction(call):
    raise transaction.interfaces.DoomedTransaction('says the job')


@kind()
def no_transaction(call):
    raise transaction.interfaces.NoTransaction('says the job')


@kind(places=(CELERY,))
def celery_ignore(call):
    from celery.exceptions import Ignore
    raise Ignore


@kind(places=(CELERY,))
def celery_reject(call):
    from celery.exceptions import Reject
    raise Reject('mine', requeue=True)


@kind(places=(CELERY,))
def celery_retry(call):
    from celery.exceptions import Retry
    raise Retry('mine', when=0)


@kind(places=(CELERY,))
def celery_soft_time_limit(call):
    from billiard.exceptions import SoftTimeLimitExceeded
    raise SoftTimeLimitExceeded


@kind(places=(CELERY,))
def celery_worker_shutdown(call):
    from celery.exceptions import WorkerShutdown
    raise WorkerShutdown(1)


@kind(places=(CELERY,))
def celery_worker_terminate(call):
    from celery.exceptions import WorkerTerminate
    raise WorkerTerminate(1)
