"""The processors that run in this process, one for each service."""

import atexit
import threading
import time
import weakref

from lovely.remotetask import interfaces
from lovely.remotetask import machine
from lovely.remotetask.foreign.journal import journal
from lovely.remotetask.foreign.journal import lines_of_failure
from lovely.remotetask.foreign.outcome import outcome_of
from lovely.remotetask.forking import of_process
from lovely.remotetask.part import is_nowhere
from lovely.remotetask.running import quirks
from lovely.remotetask.running import settings
from lovely.remotetask.running import wire
from lovely.remotetask.running.server import server


log = journal(__name__)

# Seconds that running jobs have to finish when the process ends.
GRACE = 30.0


@of_process
def _begin():
    global _processors, _started, _processors_lock, _direct_worker_id, _tellers
    # By their own ids.
    _processors = {}
    # Also those that were stopped, and replaced, but run a job still.
    _started = weakref.WeakSet()
    # Processors that run no jobs, but tell those who do.
    _tellers = weakref.WeakSet()
    _processors_lock = threading.Lock()
    _direct_worker_id = None


def identity():
    """Return ``host:pid:thread`` of the caller."""
    return machine.identity(threading.current_thread().name)


def direct_worker_id():
    """Return the id for claims that this process makes without a processor.
    """
    global _direct_worker_id
    with _processors_lock:
        if _direct_worker_id is None:
            _direct_worker_id = machine.new_worker_id('direct')
        return _direct_worker_id


def start(service):
    """Start the processor of a service; see ITaskService."""
    db = _database(service)
    path = processor_path(service)
    if is_running(service):
        return
    found = interfaces.IProcessorSettings(service, service)
    made = settings.make(
        service.__name__, found.processorFactory, db, path,
        found.processorArguments)
    made.place = _place(service)
    if not getattr(found.processorFactory, 'runsJobs', True):
        _tellers.add(made)
    if quirks.has_changes(service._p_jar):
        # A processor that begins at once would claim what was run, say, and is
        # not committed; and whoever commits would meet it, and have to try
        # again.
        made.begin_after(service._p_jar.transaction_manager.get())
    start_processor(made)


def start_processor(processor):
    """Start a processor and stop it when this process ends.

    Nothing happens if its service has one that runs.
    """
    with _processors_lock:
        same = [each for each in _processors.values()
                if _is_for_same(each, processor)]
        if any(each.running for each in same):
            return
        if not _processors:
            # Again after the first: registering twice does no harm.
            atexit.register(stop_all)
        for each in same:
            del _processors[id(each)]
        _processors[id(processor)] = processor
        _started.add(processor)
    outcome = outcome_of(processor.start)
    if outcome.failed:
        with _processors_lock:
            _processors.pop(id(processor), None)
            _started.discard(processor)
        raise outcome.exception


def stop(service):
    """Stop the processor of a service; see ITaskService."""
    processor = _find(service)
    if processor is not None:
        processor.stop()


def is_running(service):
    """Return whether a processor of a service runs in this process."""
    processor = _find(service)
    return processor is not None and processor.running


def stop_all(grace=GRACE):
    """Stop all processors and wait until their jobs have finished.

    grace -- seconds to wait.  A job that takes longer is cut off, but never
        in the middle of a commit; it is queued again by the next processor.
    """
    with _processors_lock:
        processors = list(_started)
        _started.clear()
        _processors.clear()
    deadline = time.monotonic() + grace
    for name, *args in ('stop',), ('join', deadline), ('close',):
        for processor in processors:
            _call(processor, name, *args)


def _call(processor, name, *args):
    """Call a method of a processor; others go on, whatever that raises."""
    outcome = outcome_of(lambda: getattr(processor, name)(*args))
    if outcome.failed:
        log.error('%s: %s failed\n%s', '/'.join(processor.servicePath), name,
                  lines_of_failure(outcome))


def wake_after_commit(service, job):
    """Tell the service's processor of a job once that is committed.

    job -- that was added, or waits again.
    """
    # What is not stored yet has no processor.
    if service._p_jar is not None:
        key = service._p_jar.db(), service._p_oid
        # The transaction is that of the connection; the one of the thread may
        # be another one, or never end.
        txn = service._p_jar.transaction_manager.get()
        _to_wake(txn).setdefault(key, []).append(job)


def _to_wake(txn):
    """Return the jobs by the database and oid of their service."""
    try:
        return txn.data(_processors)
    except KeyError:
        services = {}
        txn.set_data(_processors, services)
        txn.addAfterCommitHook(_wake, (services,))
        return services


def _wake(committed, services):
    if not committed:
        return
    # A savepoint may have been rolled back: others were never stored.
    services = {place: [job for job in jobs if job._p_jar is not None]
                for place, jobs in services.items()}
    told = set()
    # Processors may be started or stopped by other threads, so this is a copy.
    for processor in list(_processors.values()):
        place = processor.place
        jobs = services.get(place, [])
        # A processor that has not found its service yet is woken in any case.
        if jobs or place is None:
            _call(processor, 'added', jobs)
        if processor in _tellers:
            told.add(place)
    for place, jobs in services.items():
        if jobs and place not in told:
            wire.tell(*place)


def service_path(service):
    """Return the names from the root folder to the service.

    Raise ValueError for one that is within itself.
    """
    return server().path(service)


def processor_path(service):
    """Return `service_path`, by which a processor is to find the service.

    Raise ValueError, too, for one that lies in no folder: a processor would
    take the root folder for it.
    """
    if is_nowhere(service):
        raise ValueError(
            'The task service lies in no folder, so no processor finds it; '
            'put it into one before it is started.')
    return service_path(service)


def root_database(service):
    """Return the ZODB.DB with the root folder of a service.

    The service may be stored in another one, to which the root folder's
    refers; this is the one to open to find it by its path.

    Return None if the service is not stored yet.
    """
    return server().root_database(service)


def _database(service):
    if service._p_jar is None:
        raise ValueError(
            f'Task service {service.__name__!r} is not stored in a database; '
            f'add it to a container and commit before it is started.')
    return root_database(service)


def _find(service):
    """Return the processor of a service, None if there is none."""
    place = _place(service)
    where = id(root_database(service)), service_path(service)
    for processor in list(_processors.values()):
        known = processor.place
        if known is None:
            # This processor has not met its service yet: only its path is
            # known.
            found = (id(processor.db), processor.servicePath) == where
        else:
            found = known == place
        if found:
            return processor
    return None


def _is_for_same(one, other):
    """Return whether two processors have one service."""
    places = one.place, other.place
    if None not in places:
        return places[0] == places[1]
    return one.db is other.db and one.servicePath == other.servicePath


def _place(service):
    """Return where a service is stored, whatever it is called.

    None if it is not.
    """
    if service._p_jar is None:
        return None
    return service._p_jar.db(), service._p_oid
