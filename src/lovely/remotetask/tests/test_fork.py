"""A process with processors that forks.

In a process of its own: this one has threads of other tests.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest


SCENE = '''
import logging
import os
import pathlib
import sys
import threading
import time

import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from lovely.remotetask import machine
from lovely.remotetask.running import registry
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from lovely.remotetask.tests.fixture import TaskCase, effect, fill

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
case = TaskCase()
ran = []


def work(service, input):
    ran.append(input)
    if callable(globals().get(input)):
        globals()[input](service)


case.service_task(work)


def until(condition):
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition(), 'It did not happen.'


def fork(child):
    """Call something in a child.  Return its exit code."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            child()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return 'The child did not end.'


db = ZODB.DB(FileStorage(sys.argv[1]))
fill(db)
connection = db.open()
service = connection.root()['Application']['tasks']


def add(input):
    jobid = service.add('test.task', input)
    transaction.commit()
    return jobid


def status(jobid):
    transaction.begin()
    return service.getStatus(jobid)
'''


class ForkTest(unittest.TestCase):

    def run_scene(self, text):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c',
             f'{SCENE}\n{text}\nprint("all well")\nregistry.stop_all(5)',
             str(pathlib.Path(folder) / 'Data.fs')],
            capture_output=True, text=True, timeout=60,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
        self.assertIn('all well', done.stdout, done.stdout + done.stderr)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    def test_nothing_goes_on(self):
        """In the child there is no processor, and it may end as it likes."""
        self.run_scene('''
service.startProcessing()
until(lambda: list(registry._processors.values())[0].service_oid)
made, = registry._processors.values()

def child():
    assert not service.isProcessing()
    assert not made.running
    assert not registry._processors and not list(registry._started)
    # As at the end of a process.
    registry.stop_all()
    assert registry.direct_worker_id().split(':')[1] == str(os.getpid())

direct = registry.direct_worker_id()
for held in (registry._processors_lock, made.gate._condition):
    with held:
        assert fork(child) == 0
assert service.isProcessing()
assert registry.direct_worker_id() == direct
jobid = add(1)
until(lambda: status(jobid) == COMPLETED)
''')

    def test_exit(self):
        """A child that ends like a process stops nothing of the parent."""
        self.run_scene('''
service.startProcessing()

def leave():
    sys.exit(0)

sys.stdout.flush()
pid = os.fork()
if not pid:
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert service.isProcessing()
jobid = add(1)
until(lambda: status(jobid) == COMPLETED)
''')

    def test_own_processors(self):
        """A child starts processors of its own, with ids of its own."""
        self.run_scene('''
service.startProcessing()
made, = registry._processors.values()
other = SimpleProcessor(db, ['tasks'])

def child():
    # A database of its own, as one has to; and no transactions of the parent's
    # connection, whose storage may have been locked by another thread.
    transaction.manager.manager = transaction.TransactionManager()
    own = ZODB.DB(FileStorage(sys.argv[1] + '2'))
    fill(own)
    found = own.open().root()['Application']['tasks']
    found.startProcessing()
    assert found.isProcessing()
    mine, = registry._processors.values()
    assert mine.worker_id != made.worker_id
    assert mine.worker_id.split(':')[1] == str(os.getpid())
    birth = mine.worker_id.split('-')[-2]
    assert birth != made.worker_id.split('-')[-2] or birth == '', birth
    assert not machine.is_gone(mine.worker_id)
    assert not machine.is_gone(made.worker_id)
    jobid = found.add('test.task', 1)
    transaction.commit()
    def done():
        transaction.begin()
        return found.getStatus(jobid) == COMPLETED
    until(done)
    registry.stop_all(5)
    # One that was made before the process was forked.
    other.db = own
    before = other.worker_id
    registry.start_processor(other)
    assert other.worker_id != before
    until(lambda: other.service_oid)
    registry.stop_all(5)

time.sleep(0.05)
locked, forked = threading.Event(), threading.Event()

def lock():
    with db.storage._lock:
        locked.set()
        forked.wait()

threading.Thread(target=lock).start()
locked.wait()
try:
    assert fork(child) == 0
finally:
    forked.set()
assert service.isProcessing()
''')

    def test_job_that_forks(self):
        """A job whose child comes back is run once, by the parent."""
        printed = self.run_scene('''
def come_back(service):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    else:
        print('in the child')

def leave(service):
    pid = os.fork()
    if not pid:
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def fail(service):
    pid = os.fork()
    if not pid:
        raise ValueError('in the child')
    os.waitpid(pid, 0)

service.processorFactory = MultiProcessor
transaction.commit()
service.startProcessing()
for name in ('come_back', 'leave', 'fail'):
    jobid = add(name)
    until(lambda: status(jobid) == COMPLETED)
    assert service.jobs[jobid].attempts == 1
assert ran == ['come_back', 'leave', 'fail']
''')
        self.assertEqual(1, printed.count('stopped'))
