"""A process is killed while it has a job; nothing is lost or done twice."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import transaction
import ZODB

from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.tests.fixture import PATIENCE
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import effect


# Takes the job of the database that is its argument, says so, and waits.
TAKE_AND_WAIT = '''
import sys

import ZODB
import zope.component

from lovely.remotetask.interfaces import ITask
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.task import SimpleTask
from lovely.remotetask.tests.fixture import ServiceTask
from lovely.remotetask.tests.fixture import effect


def ready():
    print('ready', flush=True)
    sys.stdin.read()


def run(service, input):
    effect(service, input)
    ready()


how, path = sys.argv[1:]
zope.component.provideUtility(ServiceTask(run), ITask, 'test.task')
processor = SimpleProcessor(ZODB.DB(path), ['tasks'])
if how == 'claim':
    assert processor.claimNextJob() is not None
    ready()
else:
    processor.processNext()
'''


class KillTest(DatabaseCase):

    def open_database(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.path = str(pathlib.Path(folder) / 'Data.fs')
        return ZODB.DB(self.path)

    def kill_one_that(self, how):
        """Let a process take the job, and kill it with signal 9."""
        transaction.abort()
        self.connection.close()
        self.db.close()
        child = subprocess.Popen(
            [sys.executable, '-c', TAKE_AND_WAIT, how, self.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
        with child:
            try:
                self.assertEqual('ready\n', child.stdout.readline())
            finally:
                child.kill()
        self.assertEqual(-signal.SIGKILL, child.wait(PATIENCE))
        self.db = ZODB.DB(self.path)
        self.connection = self.db.open()
        self.root = self.connection.root()['Application']
        self.service = self.root['tasks']

    def check_that_it_runs_once(self, how):
        self.service_task(effect)
        jobid = self.add('test.task', 'once')
        self.kill_one_that(how)
        self.assertEqual(PROCESSING, self.job(jobid).status)
        self.assertEqual([], self.effects)
        next_one = self.processor()
        self.assertEqual([jobid], next_one.release())
        self.assertTrue(next_one.processNext())
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertEqual(['once'], self.effects)
        self.assertEqual(2, self.job(jobid).attempts)

    def test_killed_after_its_claim(self):
        """A job that was claimed and not begun is run by the next one."""
        self.check_that_it_runs_once('claim')

    def test_killed_while_it_ran(self):
        """A job in the middle of its function has no effect; it is run."""
        self.check_that_it_runs_once('run')
