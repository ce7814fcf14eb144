"""Processes that are killed, servers that go away, disks that are full.

`test_faults` runs the scenarios in a small form.  The long one::

    python3 bootstrap.py faults [name ...]

Each child is this module, run with its role as the argument.  It ends when
its parent does: then its standard input is closed.
"""

import contextlib
import faulthandler
import json
import logging
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import persistent
import persistent.list
import transaction
import ZEO.ClientStorage
import ZODB
import zope.component
import zope.interface
import zope.site.folder
from transaction.interfaces import TransientError
from zope.app.publication.zopepublication import ZopePublication

from lovely.remotetask import processor
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.policy import Policy
from lovely.remotetask.running import quirks
from lovely.remotetask.service import TaskService
from lovely.remotetask.storage import books
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage.crew import all_claims


# Seconds a scenario may take before it has failed.
PATIENCE = 120

# In the workers: nobody has to wait a minute for the dead.
HEARTBEAT = 0.5


class Counter(persistent.Persistent):
    """Counts the runs of one job."""

    value = 0
    jobid = None


class Log(persistent.Persistent):
    """What every job appends to, to provoke conflicts."""

    def __init__(self):
        self.entries = ()


@zope.interface.implementer(ITask)
class FaultyTask:
    """Counts, logs, and may end the process before that."""

    def __call__(self, service, jobid, input):
        root = service.__parent__
        getattr(self, input.get('how', 'count'))(input)
        root.counters[input['number']].value += 1
        if input.get('log', True):
            root.log.entries += (input['number'],)

    def count(self, input):
        if 'seconds' in input:
            time.sleep(input['seconds'])

    def kill(self, input):
        os.kill(os.getpid(), signal.SIGKILL)

    def segfault(self, input):
        faulthandler._sigsegv()

    def exit(self, input):
        sys.exit('as told')

    def leave_once(self, input):
        """Call os._exit; the next time, do not."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(input['marker'])
            os._exit(3)


def open_db(place):
    """Return a DB; place is a port or the path of a file."""
    if isinstance(place, str):
        return ZODB.DB(place)
    db = ZODB.DB(ZEO.ClientStorage.ClientStorage(
        ('127.0.0.1', place), wait=True, wait_timeout=60))
    # As an application does when it has opened its database.
    quirks.forget_reserve_on_reconnect(db.storage)
    return db


def fill(db, jobs, policy=None):
    """Put a root folder with a service, counters and a log into a db."""
    connection = db.open()
    root = zope.site.folder.rootFolder()
    connection.root()[ZopePublication.root_name] = root
    root.counters = persistent.list.PersistentList(
        Counter() for _ in range(jobs))
    root.log = Log()
    root['tasks'] = TaskService()
    if policy is not None:
        root['tasks'].policy = policy
    transaction.commit()
    connection.close()


@contextlib.contextmanager
def opened(db):
    """Open the root folder in a transaction of its own, never committed."""
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    try:
        yield connection.root()[ZopePublication.root_name]
    finally:
        manager.abort()
        connection.close()


# The children

def work(place, threads):
    """Run jobs until the end."""
    faulthandler.register(signal.SIGUSR1)
    processor.HEARTBEAT = HEARTBEAT
    zope.component.provideUtility(FaultyTask(), ITask, 'test.faulty')
    # Waited for below: a SystemExit that a handler raises is lost where the
    # main thread is in a weak reference's callback, say.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=end_with_parent, daemon=True).start()
    db = open_db(place)
    if threads == 1:
        made = processor.SimpleProcessor(db, ['tasks'], waitTime=0.1)
    else:
        made = processor.MultiProcessor(
            db, ['tasks'], waitTime=0.1, maxThreads=threads)
    processor.start_processor(made)
    print('ready', flush=True)
    signal.sigwait([signal.SIGTERM])
    sys.exit(0)


def end_with_parent():
    os.read(0, 1)
    os._exit(1)


def add(place, first, last, threads=1, input=None, wait=False):
    """Add jobs, one in each transaction; print how many conflicts we met."""
    zope.component.provideUtility(FaultyTask(), ITask, 'test.faulty')
    db = open_db(place)
    print('ready', flush=True)
    if wait:
        sys.stdin.readline()
    conflicts = []
    step = (last - first) // threads
    adders = [threading.Thread(target=add_some, args=(
        db, range(begin, begin + step), input or {}, conflicts))
        for begin in range(first, last, step)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    print(json.dumps(conflicts), flush=True)


def add_some(db, numbers, input, conflicts):
    connection = db.open(transaction.TransactionManager())
    for number in numbers:
        while not add_one(connection, dict(input, number=number), conflicts):
            time.sleep(0.1)


def add_one(connection, input, conflicts):
    """Add a job, unless it is there.  Return whether it is."""
    manager = connection.transaction_manager
    try:
        manager.begin()
        root = connection.root()[ZopePublication.root_name]
        counter = root.counters[input['number']]
        # Where the server went away, who knows what was committed.
        if counter.jobid is None:
            counter.jobid = root['tasks'].add('test.faulty', input)
            manager.commit()
    except ZEO.Exceptions.ClientDisconnected:
        manager.abort()
        return False
    except TransientError:
        conflicts.append(traceback.format_exc())
        manager.abort()
        return False
    except Exception as error:
        manager.abort()
        # A full disk, in this process or in the server.
        if 'too large' not in repr(error).lower():
            conflicts.append(traceback.format_exc())
        return False
    return True


# The one who starts and kills them

class Scene:
    """A database, and processes that use it."""

    def __init__(self, jobs, zeo=True, policy=None, say=lambda text: None):
        self.say = say
        self.jobs = jobs
        self.children = []
        self.folder = tempfile.mkdtemp()
        self.path = str(pathlib.Path(self.folder) / 'Data.fs')
        self.place = free_port() if zeo else self.path
        self.server = None
        self.db = None
        self.kills = 0
        # Closed by `close`; what the children say is shown after a failure.
        self.errors = tempfile.TemporaryFile('w+')  # noqa: SIM115
        try:
            if zeo:
                self.start_server()
            self.db = open_db(self.place)
            fill(self.db, jobs, policy)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, class_, error, where):
        if class_ is not None:
            self.explain()
            self.errors.seek(0)
            said = self.errors.read()
            print(said[:9000], '[...]', said[9000:][-9000:], sep='\n',
                  file=sys.stderr)
        self.close()

    def explain(self):
        """Print what is left undone, and what the workers are doing."""
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
        with contextlib.suppress(Exception), opened(self.db) as root:
            store = root['tasks'].store
            for worker in store.workers.values():
                print(worker.id, worker.claims, file=sys.stderr)
            for job in lookup.all_jobs(store):
                if job.status in (PROCESSING, *WAITING):
                    print(job, job.status, job.due, job.fence,
                          job.history[-1:], books.is_booked(store, job),
                          file=sys.stderr)
            for strand, key in lookup.strands(store):
                print('strand', key, lookup.sequence_at_cursor(store, key),
                      strand.end, file=sys.stderr)

    def close(self):
        if self.db is not None:
            self.db.close()
        for child in [*self.children, self.server]:
            if child is not None:
                child.kill()
                child.wait()
                for pipe in (child.stdin, child.stdout):
                    if pipe is not None:
                        pipe.close()
        self.errors.close()
        shutil.rmtree(self.folder)

    def start_server(self):
        self.server = subprocess.Popen(
            [sys.executable, '-m', 'ZEO.runzeo', '-f', self.path,
             '-a', f'127.0.0.1:{self.place}'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=environment())

    def kill_server(self):
        self.server.kill()
        self.server.wait()

    def start(self, role, **arguments):
        """Start a child.  Return it once it is ready."""
        child = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-m', __name__, role,
             json.dumps(dict(arguments, place=self.place))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.errors, text=True, env=environment())
        self.children.append(child)
        if child.stdout.readline() != 'ready\n':
            raise AssertionError(f'The {role} did not start.')
        return child

    def start_worker(self, threads=1):
        return self.start('work', threads=threads)

    def add(self, *inputs):
        """Add jobs in one transaction."""
        manager = transaction.TransactionManager()
        connection = self.db.open(manager)
        root = connection.root()[ZopePublication.root_name]
        registry = zope.component.getGlobalSiteManager()
        task = FaultyTask()
        registry.registerUtility(task, ITask, 'test.faulty')
        try:
            for input in inputs:
                root.counters[input['number']].jobid = root['tasks'].add(
                    'test.faulty', input)
            manager.commit()
        finally:
            registry.unregisterUtility(task, ITask, 'test.faulty')
            manager.abort()
            connection.close()

    def conflicts(self, child):
        """Wait for an adder.  Return the conflicts it met, as text."""
        text = child.stdout.readline()
        child.wait(PATIENCE)
        return json.loads(text)

    def kill(self, child):
        """Kill it at once, unless it has ended already."""
        child.kill()
        child.wait()
        self.kills += 1

    def end(self, child):
        """End it in the regular way."""
        child.send_signal(signal.SIGTERM)
        child.wait(PATIENCE)

    def look(self):
        """Return the counts, {} if the server is away."""
        try:
            with opened(self.db) as root:
                return dict(root['tasks'].counts())
        except Exception:
            return {}

    def finished(self):
        """Whether all jobs were added and have ended."""
        counts = self.look()
        return (sum(counts.values()) == self.jobs
                and not any(counts.get(status, 0)
                            for status in (PROCESSING, *WAITING)))

    def wait(self, then=lambda: None, done=None):
        """Wait until all have ended; meanwhile, do something."""
        deadline = time.monotonic() + PATIENCE
        while not (done or self.finished)():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f'Not finished after {PATIENCE} s: {self.look()}')
            then()
            time.sleep(0.05)

    def keep(self, workers, threads=1):
        """Replace workers that have ended."""
        for number, worker in enumerate(workers):
            if worker.poll() is not None:
                workers[number] = self.start_worker(threads)

    def check(self, errors=()):
        """Each job has run once; but those in error, and they say why.

        errors -- numbers of the jobs that had to fail.
        """
        with opened(self.db) as root:
            service = root['tasks']
            jobs = {job.input['number']: job for job in service.jobs.values()}
            wrong = [
                (number, root.counters[number].value, job.status, job.error)
                for number, job in jobs.items()
                if (root.counters[number].value, job.status) != (
                    (0, ERROR) if number in errors else (1, COMPLETED))]
            assert not wrong, wrong[:5]
            assert len(jobs) == self.jobs, f'{len(jobs)} of {self.jobs}'
            logged = sorted(root.log.entries)
            expected = sorted(
                number for number, job in jobs.items()
                if number not in errors and job.input.get('log', True))
            assert logged == expected, set(expected) ^ set(logged)
            counts = dict.fromkeys(STATUSES, 0)
            for job in jobs.values():
                counts[job.status] += 1
            found = {**dict.fromkeys(STATUSES, 0), **service.counts()}
            assert counts == found, (counts, found)
            assert not list(all_claims(service.store))
            return {number: job.history for number, job in jobs.items()}


def free_port():
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def environment():
    return dict(os.environ, PYTHONPATH=os.pathsep.join(
        path for path in sys.path if path))


# The scenarios

def kills(say, jobs=200, seconds=8.0, restarts=2, workers=3, commit_every=1,
          threads=2, pause=(0.2, 0.8)):
    """Workers are killed with -9, the ZEO server is restarted.

    All jobs append to one log, so they conflict; at the end each one has
    been run exactly once.
    """
    policy = Policy(attempts=100, commit_every=commit_every)
    with Scene(jobs, policy=policy, say=say) as scene:
        crew = [scene.start_worker(threads if number % 2 else 1)
                for number in range(workers)]
        half = jobs // 2
        adders = [scene.start('add', first=0, last=half),
                  scene.start('add', first=half, last=jobs)]
        begin = time.monotonic()
        next_kill = begin + random.uniform(*pause)
        restart_at = [begin + seconds * (number + 1) / (restarts + 1)
                      for number in range(restarts)]

        def harass():
            nonlocal next_kill
            now = time.monotonic()
            if restart_at and now > restart_at[0]:
                restart_at.pop(0)
                scene.kill_server()
                time.sleep(0.3)
                scene.start_server()
            if now > next_kill and now < begin + seconds:
                scene.kill(random.choice(crew))
                scene.keep(crew, threads)
                next_kill = now + random.uniform(*pause)
        scene.wait(harass, lambda: (
            time.monotonic() > begin + seconds and scene.finished()))
        met = [text for adder in adders for text in scene.conflicts(adder)]
        assert not met, met[0]
        for worker in crew:
            scene.end(worker)
        history = scene.check()
        lost = sum(attempt.duration is None for attempts in history.values()
                   for attempt in attempts)
        say(f'{jobs} jobs, {scene.kills} workers killed, server killed '
            f'{restarts} times, {lost} runs lost, '
            f'{sum(map(len, history.values())) - jobs - lost} conflicts: '
            f'each job has one effect')


def group_commit(say, jobs=300, seconds=6.0):
    """The same with up to 20 jobs in one transaction."""
    kills(say, jobs, seconds, restarts=1, commit_every=20)


def deadly_jobs(say, jobs=60, threads=1, commit_every=1):
    """Two jobs end their process each time: they end in error, no other.

    One kills it, one is a segfault.  Others call os._exit once, or sys.exit.
    """
    with Scene(jobs, policy=Policy(commit_every=commit_every),
               say=say) as scene:
        marker = str(pathlib.Path(scene.folder) / 'left')
        inputs = [{'number': number} for number in range(jobs)]
        deadly = {0: 'kill', jobs * 2 // 3: 'segfault'}
        for number, how in deadly.items():
            inputs[number]['how'] = how
        inputs[jobs // 2]['how'] = 'exit'
        inputs[jobs // 3].update(how='leave_once', marker=marker)
        crew = [scene.start_worker(threads)]
        scene.add(*inputs)
        scene.wait(lambda: scene.keep(crew, threads))
        scene.end(crew[0])
        history = scene.check(errors={*deadly, jobs // 2})
        with opened(scene.db) as root:
            found = {job.input['number']: job
                     for job in root['tasks'].jobs.values()}
            for number in deadly:
                error = found[number].error
                assert error.endswith('is gone.'), error
                assert len(history[number]) == 3, history[number]
            assert found[jobs // 2].errorClass == 'builtins.SystemExit'
        most = max(len(attempts) for number, attempts in history.items()
                   if number not in deadly)
        say(f'{jobs} jobs, {threads} threads, {commit_every} at once: the '
            f'deadly ones in error after 3 attempts, others at most {most}')


def deadly_group(say, jobs=60):
    """The same with threads and several jobs in one transaction."""
    deadly_jobs(say, jobs, 3)
    deadly_jobs(say, jobs, 1, 10)


def terminated(say, jobs=100, times=5):
    """SIGTERM: what has begun ends, the rest goes back; nothing counts."""
    with Scene(jobs, say=say) as scene:
        scene.add(*({'number': number, 'seconds': 0.02, 'log': False}
                    for number in range(jobs)))
        crew = [scene.start_worker(2)]
        for _ in range(times):
            time.sleep(0.3)
            scene.end(crew[0])
            assert crew[0].returncode == 0, crew[0].returncode
            with opened(scene.db) as root:
                assert not list(all_claims(root['tasks'].store))
            scene.keep(crew, 2)
        scene.wait()
        scene.end(crew[0])
        history = scene.check()
        assert all(len(attempts) == 1 for attempts in history.values())
        say(f'{jobs} jobs, worker terminated {times} times: each was run '
            f'once, no attempt lost')


def full_disk(say, jobs=120, seconds=3.0):
    """The server's disk is full for a while: no job is lost."""
    if not hasattr(resource, 'prlimit'):
        say('skipped: this system has no prlimit')
        return
    with Scene(jobs, say=say) as scene:
        crew = [scene.start_worker(), scene.start_worker(2)]
        adder = scene.start('add', first=0, last=jobs,
                            input={'seconds': 0.02})
        scene.wait(done=lambda: scene.look().get(COMPLETED, 0) > jobs / 10)
        _, hard = resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE)
        size = os.path.getsize(scene.path)
        resource.prlimit(
            scene.server.pid, resource.RLIMIT_FSIZE, (size, hard))
        time.sleep(seconds)
        grown = os.path.getsize(scene.path) - size
        resource.prlimit(
            scene.server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        before = {COMPLETED: 0, **scene.look()}
        scene.wait()
        met = scene.conflicts(adder)
        assert not met, met[0]
        for worker in crew:
            scene.end(worker)
        with opened(scene.db) as root:
            failed = {job.input['number']: job.error
                      for job in root['tasks'].jobs.values()
                      if job.status == ERROR}
        assert all('too large' in error for error in failed.values()), failed
        scene.check(errors=failed)
        assert grown <= 0
        say(f'{jobs} jobs, disk full for {seconds} s, {before[COMPLETED]} '
            f'completed by then: none lost, {len(failed)} in error that say '
            f'so')


def adders(say, number=500, zeo=True, processes=4, threads=1):
    """Several add while processors drain: no ConflictError for them."""
    jobs = number * processes * threads
    with Scene(jobs, say=say) as scene:
        crew = [scene.start_worker(), scene.start_worker(2)]
        size = number * threads
        children = [
            scene.start('add', first=index * size, last=(index + 1) * size,
                        threads=threads, input={'log': False}, wait=True)
            for index in range(processes)]
        begin = time.monotonic()
        for child in children:
            child.stdin.write('go\n')
            child.stdin.flush()
        met = [text for child in children for text in scene.conflicts(child)]
        added = time.monotonic() - begin
        scene.wait()
        for worker in crew:
            scene.end(worker)
        scene.check()
        assert not met, f'{len(met)} conflicts: {met[0]}'
        say(f'ZEO, {processes} processes, {threads} threads each: '
            f'{jobs} jobs added in {added:.1f} s, 0 conflicts')


def adding_threads(say, number=500):
    """The same with threads of one process."""
    adders(say, number, processes=1, threads=4)


def starting_at_once(say, number=5):
    """Many threads of many processes take their first lane at once."""
    adders(say, number, processes=4, threads=4)


def adders_on_a_file(say, number=500, threads=4):
    """Threads add to a FileStorage while a processor drains it."""
    jobs = number * threads
    with Scene(jobs, zeo=False, say=say) as scene:
        registry = zope.component.getGlobalSiteManager()
        task = FaultyTask()
        registry.registerUtility(task, ITask, 'test.faulty')
        made = processor.MultiProcessor(
            scene.db, ['tasks'], waitTime=0.1, maxThreads=2)
        met = []
        try:
            processor.start_processor(made)
            running = [threading.Thread(target=add_some, args=(
                scene.db, range(first, first + number), {'log': False}, met))
                for first in range(0, jobs, number)]
            for adder in running:
                adder.start()
            for adder in running:
                adder.join()
            scene.wait()
            processor.stop_all()
            scene.check()
        finally:
            processor.stop_all()
            registry.unregisterUtility(task, ITask, 'test.faulty')
        assert not met, f'{len(met)} conflicts: {met[0]}'
        say(f'FileStorage, {threads} threads: {jobs} jobs, 0 conflicts')


def model(say):
    """A service does what a model of it does, whatever comes when."""
    # Only here: the children have no use for it.
    from hypothesis.stateful import run_state_machine_as_test

    from lovely.remotetask.tests import test_model
    run_state_machine_as_test(
        test_model.ServiceMachine, settings=test_model.LONG)
    say(f'{test_model.LONG.max_examples} sequences of '
        f'{test_model.LONG.stateful_step_count} steps')


SCENARIOS = (kills, group_commit, deadly_jobs, deadly_group, terminated,
             full_disk, adders, adding_threads, starting_at_once,
             adders_on_a_file, model)


def main(names=None, scenarios=SCENARIOS):
    """Run the long form.  Return how many scenarios failed."""
    names = sys.argv[1:] if names is None else names
    known = [scenario.__name__ for scenario in scenarios]
    if unknown := [name for name in names if name not in known]:
        sys.exit(f'There is no scenario {", ".join(unknown)}; choose from '
                 f'{", ".join(known)}, or none for all of them.')
    passed = failed = 0
    for scenario in scenarios:
        if names and scenario.__name__ not in names:
            continue
        print(f'{scenario.__name__}: {scenario.__doc__.splitlines()[0]}',
              flush=True)
        begin = time.monotonic()
        try:
            scenario(lambda text: print(f'  {text}', flush=True))
            passed += 1
        except Exception:
            traceback.print_exc()
            failed += 1
        print(f'  {time.monotonic() - begin:.1f} s', flush=True)
    print(f'{passed} passed, {failed} failed')
    return failed


ROLES = {'work': work, 'add': add}

if __name__ == '__main__':
    if sys.argv[1:2] and sys.argv[1] in ROLES:
        logging.basicConfig(
            level=logging.WARNING, format='%(process)d %(message)s')
        # What is stored refers to this module by its name.
        from lovely.remotetask.tests import faulty
        faulty.ROLES[sys.argv[1]](**json.loads(sys.argv[2]))
    else:
        from lovely.remotetask.tests import faulty
        sys.exit(faulty.main())
