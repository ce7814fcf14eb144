"""The command async-worker: real processes on real servers."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
from pathlib import Path

from gocept.async_.tests.interpreter import environment
from gocept.async_.tests.workerstage import PATIENCE
from gocept.async_.tests.workerstage import Adder
from gocept.async_.tests.workerstage import FileStorage
from gocept.async_.tests.workerstage import PostgreSQL
from gocept.async_.tests.workerstage import Stage
from gocept.async_.tests.workerstage import Worker
from gocept.async_.tests.workerstage import ZeoServer
from gocept.async_.tests.workerstage import ZeoServerOfTwo
from gocept.async_.tests.workerstage import find_postgresql
from gocept.async_.tests.workerstage import skip_without_postgresql
from gocept.async_.tests.workerstage import until
from gocept.async_.tests.workerstage import write_configuration
from gocept.async_.worker import command as worker


# Seconds within which health tells of a database that is away.
SEEN = 15.0


def run(*options):
    """Run the command to its end.  Return the CompletedProcess."""
    return subprocess.run(
        [sys.executable, '-m', 'gocept.async_.worker.command',
         *map(str, options)],
        env=environment(), capture_output=True, text=True, timeout=PATIENCE)


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # It may be waiting for whoever has inherited it to notice.
    with contextlib.suppress(OSError):
        return ') Z ' not in Path(f'/proc/{pid}/stat').read_text()
    return False


class ZeoStage:
    """A layer: a ZEO server and a process that adds jobs."""

    @classmethod
    def setUp(cls):
        cls.stack = contextlib.ExitStack()
        cls.stage = Stage(cls.stack, ZeoServer)

    @classmethod
    def tearDown(cls):
        cls.stack.close()


class DatabasesStage:
    """A layer: a ZEO server of two databases, and who adds jobs."""

    @classmethod
    def setUp(cls):
        cls.stack = contextlib.ExitStack()
        cls.stage = Stage(cls.stack, ZeoServerOfTwo)

    @classmethod
    def tearDown(cls):
        cls.stack.close()


class PostgreSQLStage:
    """A layer: a PostgreSQL server and a process that adds jobs."""

    @classmethod
    def setUp(cls):
        cls.stage = None
        cls.stack = contextlib.ExitStack()
        if find_postgresql('initdb') is not None:
            cls.stage = Stage(cls.stack, PostgreSQL)

    @classmethod
    def tearDown(cls):
        cls.stack.close()


class RefusalTest(unittest.TestCase):

    # Takes long: see CONTRIBUTING.rst.
    level = 2

    def setUp(self):
        self.stack = self.enterContext(contextlib.ExitStack())
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.configuration = write_configuration(
            self.folder, FileStorage(self.folder).section)

    def assert_refused(self, sentence, *options):
        ran = run(*options)
        self.assertEqual(1, ran.returncode, ran.stderr)
        self.assertRegex(
            ran.stderr.splitlines()[-1], rf'\Aasync-worker: .*{sentence}')
        self.assertNotIn('Traceback', ran.stderr)

    def test_file_storage_in_use(self):
        """A FileStorage that the web process uses is one clear sentence."""
        Adder(self.stack, self.configuration)
        self.assert_refused(
            r'FileStorage, and another process uses it.*by ZEO or use '
            r'RelStorage', self.configuration)

    def test_file_storage_for_several(self):
        """Nor can several worker processes share one."""
        self.assert_refused(
            'only one process can use.*leave out --processes',
            self.configuration, '--processes', 2)

    def test_unknown_service(self):
        """The services that there are are named."""
        self.assert_refused(
            'no service "event"; choose one of events, mails',
            self.configuration, '--service', 'event')

    def test_unknown_database(self):
        """The database of a service has to be in zope.conf."""
        configuration = write_configuration(
            self.folder, FileStorage(self.folder).section,
            'workerdatabases.zcml')
        self.assert_refused(
            'async:service "events": there is no database "jobs" in '
            'zope.conf, only ""; add a section <zodb jobs>', configuration)

    def test_threads_of_a_simple_processor(self):
        """More threads than a processor can have are refused."""
        self.assert_refused(
            'the service "mails": .*one job at a time, not 3.*--service',
            self.configuration, '--threads', 3)

    def test_service_of_celery(self):
        """A service that is run by others is left to them."""
        configuration = write_configuration(
            self.folder, FileStorage(self.folder).section, 'celery.zcml')
        self.assert_refused(
            'no job is run here of the service "events" '
            r'\(processor "celery"\); choose other services',
            configuration, '--service', 'events')
        worker = Worker(self.stack, configuration).wait_until_ready()
        self.assertEqual(['mails'], list(worker.health()[1]['services']))

    def test_services_of_celery_only(self):
        """A worker that could run nothing says so."""
        site = Path(self.folder, 'site.zcml')
        site.write_text("""<configure
            xmlns="http://namespaces.zope.org/zope"
            xmlns:async="http://namespaces.gocept.com/async">
          <include package="gocept.async_" file="meta.zcml" />
          <include package="gocept.async_" file="ftesting.zcml" />
          <async:service name="events" processor="celery" />
        </configure>""")
        self.assert_refused(
            'no service whose jobs could be run here, only the service '
            '"events"',
            write_configuration(
                self.folder, FileStorage(self.folder).section, site))

    def test_no_configuration(self):
        """A file that is not there is one sentence, too."""
        self.assert_refused(
            'missing.conf cannot be read', f'{self.folder}/missing.conf')

    def test_port_in_use(self):
        """The health page needs a port of its own."""
        with socket.create_server(('127.0.0.1', 0)) as busy:
            port = busy.getsockname()[1]
            self.assert_refused(
                f'port {port}: .*in use.*--health', self.configuration,
                '--health', port)

    def test_reload_without_a_worker(self):
        """There has to be a worker that holds the file."""
        path = Path(self.folder, 'pid')
        self.assert_refused(f'cannot read {path}', '--reload', path)
        path.write_text('1\n')
        self.assert_refused('no worker uses the file', '--reload', path)

    def test_files_of_others(self):
        """Neither of the files may be a link to something else."""
        link = Path(self.folder, 'link')
        link.symlink_to(link.with_name('other'))
        self.assert_refused(
            'it is a symbolic link; remove it, or choose another file with '
            '--pid-file', self.configuration, '--pid-file', link)
        with self.assertRaisesRegex(
                worker.WorkerError, 'it is a symbolic link; remove it, or '
                'choose another file with --heartbeat'):
            worker._make_heartbeat(str(link))

    def test_usage(self):
        """Values that mean nothing are refused before anything is done."""
        for options, sentence in (
                ((), 'either the path of a zope.conf or --reload'),
                (('x', '--reload', 'y'), 'either'),
                (('x', '--threads', '0'), 'must be from 1 to 1000, not 0'),
                (('x', '--threads', '2000'), '--threads: it must be from 1'),
                (('x', '--threads', 'x'), 'invalid number of threads'),
                (('x', '--processes', '0'), 'invalid positive number'),
                (('x', '--grace', '-1'), 'from 0 to 1000000000, not -1'),
                (('x', '--grace', '1e10'), '--grace: it must be from 0'),
                (('x', '--grace', 'nan'), 'must be from 0'),
                (('x', '--patience', '0'), 'from 3 to 1000000000, not 0'),
                (('x', '--patience', 'x'), 'invalid number of seconds'),
                (('x', '--pid-file', 'y', '--heartbeat', './y'),
                 'need a file each'),
                (('x', '--health', 'x:y'), 'PORT or HOST:PORT'),
                (('x', '--health', 'localhost'), 'not "localhost"'),
                (('x', '--health', '.ö:8099'), 'not ".ö:8099"'),
                (('x', '--pid-file', ''), '--pid-file: it must be a path'),
                (('x', '--heartbeat', ''), 'a path, and is empty'),
                (('--reload', ''), 'a path, and is empty'),
                (('',), 'a path, and is empty')):
            with self.subTest(options):
                ran = run(*options)
                self.assertEqual(2, ran.returncode)
                self.assertIn(sentence, ran.stderr)


class WorkerCase(unittest.TestCase):
    """Has the stage of its layer, and jobs with names of the test."""

    def setUp(self):
        self.stage = self.layer.stage
        self.stack = self.enterContext(contextlib.ExitStack())
        self.folder = Path(
            self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.ask = self.stage.adder.ask
        self.begun = self.folder / 'go.begun'

    def start(self, *options):
        """Start a worker; return it when it is ready."""
        return Worker(self.stack, self.stage.configuration,
                      *map(str, options)).wait_until_ready()

    def name(self, number=''):
        return f'{self.id()}{number}'

    def add(self, number, function='count'):
        """Add jobs.  Return their ids."""
        return [self.ask('add', function, self.name(each))
                for each in range(number)]

    def add_waiting(self):
        """Add a job that has to be let go.  Return its id."""
        return self.ask(
            'add', 'wait_for', str(self.folder / 'go'), self.name(0))

    def wait_until_begun(self):
        try:
            return int(until(
                lambda: self.begun.exists() and self.begun.read_text(),
                'a job that has begun'))
        except AssertionError as error:
            # What its workers have said tells more.
            raise AssertionError(
                f'{error}\n{self.stage.log()[-20_000:]}') from None

    def let_go(self):
        (self.folder / 'go').touch()

    def wait_for_status(self, jobid, status, attempts):
        # What another process has committed is seen soon, not at once.
        until(lambda: self.ask('job', jobid)['status'] == status, status)
        self.assertEqual(attempts, self.ask('job', jobid)['attempts'])

    def assert_done_once(self, number):
        """Assert that all jobs have had their effect, once."""
        self.stage.adder.wait_until_done()
        counts = self.ask('counts')
        self.assertEqual(
            [1] * number, [counts.get(self.name(each))
                           for each in range(number)])

    def check_two_processes(self):
        """Jobs of another process are run by two, each of them once."""
        heartbeat = self.folder / 'heartbeat'
        worker = self.start('--processes', 2, '--heartbeat', heartbeat)
        until(heartbeat.exists, 'the heartbeat file')
        ids = self.add(40)
        self.assert_done_once(40)
        ran_by = {self.ask('job', each)['output'] for each in ids}
        self.assertLessEqual(ran_by, set(worker.children().values()))
        worker.signal(signal.SIGTERM)
        self.assertEqual(0, worker.wait(), worker.complaints)

    def check_restart(self, let_go_before):
        """The database goes and comes back; the same processes go on.

        let_go_before -- whether the job that runs ends while the database
            is away, or only later.
        """
        worker = self.start('--processes', 2)
        children = worker.children()
        jobid = self.add_waiting()
        self.wait_until_begun()
        self.stage.server.stop()
        if let_go_before:
            self.let_go()
        until(lambda: not worker.is_ready(), 'an answer of 503', SEEN)
        self.stage.server.start()
        self.let_go()
        until(lambda: self.try_to_add(1), 'a job that can be added')
        self.stage.adder.wait_until_done()
        self.assertEqual(
            'completed', self.ask('job', jobid)['status'],
            self.ask('job', jobid))
        self.assert_done_once(2)
        worker.wait_until_ready()
        self.assertEqual(children, worker.children())

    def try_to_add(self, number):
        """Add a job; if the connection is still gone, say so."""
        try:
            return self.ask('add', 'count', self.name(number))
        except AssertionError:
            # A web server would answer 503; the test starts another one.
            self.stage.restart_adder()
            self.ask = self.stage.adder.ask
            return None


class ZeoTest(WorkerCase):

    layer = ZeoStage

    def test_two_processes(self):
        """Web process and two worker processes on one ZEO server."""
        self.check_two_processes()

    def test_zeo_restart(self):
        """The ZEO server is stopped in the middle of a job, and started."""
        self.check_restart(let_go_before=False)

    def test_child_is_killed(self):
        """The job is run again by another process, and the child replaced."""
        worker = self.start('--processes', 2)
        children = worker.children()
        self.add_waiting()
        victim = self.wait_until_begun()
        os.kill(victim, signal.SIGKILL)
        self.let_go()
        until(lambda: not worker.is_ready(), 'an answer of 503')
        worker.wait_until_ready()
        self.assertEqual(1, len(
            set(children.values()) - set(worker.children().values())))
        self.assert_done_once(1)

    def test_sigterm_within_grace(self):
        """What runs is finished, what waits is left, the exit code is 0."""
        worker = self.start()
        jobid = self.add_waiting()
        self.wait_until_begun()
        worker.signal(signal.SIGTERM)
        until(lambda: worker.health()[1]['children'][0]['state'] ==
              'stopping', 'stopping')
        self.assertEqual(503, worker.health()[0])
        self.add(1, 'mail')
        self.let_go()
        self.assertEqual(0, worker.wait(), worker.complaints)
        self.wait_for_status(jobid, 'completed', attempts=1)
        self.start()
        self.stage.adder.wait_until_done()

    def test_sigint_beyond_grace(self):
        """What does not finish is handed back, without being counted."""
        worker = self.start('--grace', 0.5)
        jobid = self.add_waiting()
        self.wait_until_begun()
        worker.signal(signal.SIGINT)
        self.assertEqual(0, worker.wait(), worker.complaints)
        self.wait_for_status(jobid, 'queued', attempts=0)
        self.assertIn(
            f'cut off, and handed back: {jobid}', self.stage.log())
        self.let_go()
        self.start()
        self.assert_done_once(1)

    def test_second_signal(self):
        """It ends the worker at once; the job is run by the next one."""
        worker = self.start('--grace', 120)
        self.add_waiting()
        child = self.wait_until_begun()
        worker.signal(signal.SIGTERM)
        until(lambda: worker.health()[0] == 503, 'stopping')
        began = time.monotonic()
        worker.signal(signal.SIGTERM)
        self.assertEqual(1, worker.wait())
        self.assertLess(time.monotonic() - began, 60)
        until(lambda: not exists(child), 'the end of the child')
        self.let_go()
        self.start()
        self.assert_done_once(1)

    def test_main_process_is_killed(self):
        """Its children finish their jobs and end."""
        worker = self.start()
        self.add_waiting()
        child = self.wait_until_begun()
        worker.signal(signal.SIGKILL)
        worker.wait()
        self.let_go()
        until(lambda: not exists(child), 'the end of the child')
        self.assert_done_once(1)

    def test_signals_to_what_jobs_start(self):
        """Signals end that, though the worker handles them otherwise."""
        self.start()
        jobid = self.ask('add', 'end_children')
        self.wait_for_status(jobid, 'completed', attempts=1)
        self.assertEqual([-signal.SIGTERM, -signal.SIGINT],
                         self.ask('job', jobid)['output'])

    def test_surroundings(self):
        """What it cannot write, and who is slow to ask, does not end it."""
        heartbeat = self.folder / 'missing' / 'heartbeat'
        worker = self.start('--heartbeat', heartbeat)
        clients = [self.enterContext(socket.create_connection(
            ('127.0.0.1', worker.port))) for _ in range(200)]
        for client in clients:
            with contextlib.suppress(OSError):
                client.send(b'G')
        until(lambda: 'cannot touch' in worker.complaints, 'a complaint')
        self.assertTrue(worker.is_ready())
        heartbeat.parent.mkdir()
        until(heartbeat.exists, 'a heartbeat')
        self.assertNotIn('Traceback', worker.complaints)
        worker.signal(signal.SIGTERM)
        self.assertEqual(0, worker.wait(), worker.complaints)

    def test_chosen_service(self):
        """With --service, only the services that are named are run."""
        worker = self.start('--service', 'mails')
        self.assertEqual(['mails'], list(worker.health()[1]['services']))
        self.add(1)
        self.ask('add', 'mail', self.name(1))
        until(lambda: self.ask('counts').get(self.name(1)) == 1, 'the mail')
        self.assertEqual(1, self.ask('waiting'))
        worker.kill()
        self.start()
        self.assert_done_once(2)

    def test_health(self):
        """The page tells what waits, how long, and who was heard when.

        The log tells service, job, function and attempt.
        """
        worker = self.start('--service', 'events', '--threads', 1)
        status, found = worker.health('/live')
        child, = found['children']
        self.assertEqual((200, 'ready'), (status, child['state']))
        self.assertLess(child['heartbeat_age'], 5)
        self.assertRegex(child['last_heartbeat'], r'\A\d{4}-.*\+00:00\Z')
        self.assertIsNone(found['services']['events']['oldest_queued_age'])
        self.assertEqual(404, worker.health('/else')[0])
        self.add_waiting()
        self.wait_until_begun()
        jobid = self.ask('add', 'count', self.name(1))
        until(lambda: worker.health()[1]['services']['events'][
            'oldest_queued_age'], 'the age of a job')
        self.let_go()
        self.assert_done_once(2)
        line = until(lambda: re.search(
            rf'default/events/{jobid}: completed in (.*)', self.stage.log()),
            'a line in the log')
        self.assertRegex(
            line.group(1),
            r'\(gocept.async_.tests.workerjobs.count, attempt 1\)')
        self.check_metrics(worker)

    def check_metrics(self, worker):
        """What Prometheus scrapes tells of both jobs that were run."""
        key = ('async_runs_total',
               ('function', 'gocept.async_.tests.workerjobs.count'),
               ('outcome', 'completed'), ('service', 'events'))
        found = until(
            lambda: (seen := worker.metrics()).get(key) and seen,
            'metrics of a job')
        self.assertEqual(1, found[key])
        service = 'service', 'events'
        self.assertEqual(1, found['async_works', service])
        self.assertEqual(1, found['async_workers', service])
        self.assertEqual(1, found['async_processes', ('state', 'ready')])
        self.assertGreaterEqual(found[
            'async_job_wait_seconds_bucket', key[1], ('le', '+Inf'), service],
            1)

    def test_replaced_when_worn(self):
        """A process that has run enough, or grown, makes room."""
        worker = self.start('--max-jobs', 3, '--max-memory', 150)
        children = worker.children()
        self.ask('add', 'swallow', 150, self.name(0))
        until(lambda: worker.is_ready() and
              worker.children() != children, 'another process')
        self.assertRegex(self.stage.log(), r'MB are used \(--max-memory 150')
        for number in range(1, 8):
            self.ask('add', 'mail', self.name(number))
        until(lambda: self.ask('counts').get(self.name(7)), 'the last mail')
        self.assert_done_once(8)
        self.assertIn('3 jobs were run (--max-jobs)', self.stage.log())
        self.assertNotIn('4 jobs were run', self.stage.log())

    def test_job_that_is_too_large(self):
        """Cut off for its memory, it is not run for ever."""
        self.start('--grace', 0.5, '--max-memory', 150)
        jobid = self.ask('add', 'swallow_and_wait', 150)
        self.wait_for_status(jobid, 'error', attempts=3)
        self.assertIn(
            f'cut off, and counted as failed: {jobid}', self.stage.log())

    def test_reload(self):
        """The children are replaced one by one; systemd is told of all."""
        pid_file = self.folder / 'pid'
        systemd = self.listen_for_systemd()
        worker = self.start('--processes', 2, '--pid-file', pid_file)
        self.assertEqual(str(worker.pid), pid_file.read_text().strip())
        refused = run(self.stage.configuration, '--pid-file', pid_file)
        self.assertRegex(refused.stderr, 'another worker uses the file')
        old = set(worker.children().values())
        self.assertEqual(0, run('--reload', pid_file).returncode)
        seen = []

        def replaced():
            children = worker.health()[1]['children']
            seen.append(sum(each['state'] == 'ready' for each in children))
            return seen[-1] == 2 and not old & {
                each['pid'] for each in children}
        until(replaced, 'children that are all new')
        self.assertEqual({1, 2}, set(seen))
        worker.signal(signal.SIGTERM)
        self.assertEqual(0, worker.wait())
        self.assertFalse(pid_file.exists())
        told = self.read_until(systemd, 'STOPPING=1')
        self.assertIn('WATCHDOG=1', told)
        self.assertEqual(
            ['READY=1', 'RELOADING=1', 'READY=1', 'STOPPING=1'],
            [each for each in told if each != 'WATCHDOG=1'])

    def listen_for_systemd(self):
        """Return the socket that systemd would listen to."""
        address = str(self.folder / 'notify')
        systemd = self.stack.enter_context(
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        systemd.bind(address)
        systemd.settimeout(PATIENCE)
        self.enterContext(unittest.mock.patch.dict(os.environ, {
            'NOTIFY_SOCKET': address, 'WATCHDOG_USEC': '20000000'}))
        return systemd

    def read_until(self, systemd, last):
        told = []
        while told[-1:] != [last]:
            told.append(systemd.recv(100).decode())
        return told


class DatabasesTest(WorkerCase):
    """The jobs have a database of their own."""

    layer = DatabasesStage
    # Takes long: see CONTRIBUTING.rst.
    level = 2

    def test_two_processes(self):
        """They change the content; the jobs are where they are declared."""
        self.assertEqual(['jobs', ''], self.ask('databases'))
        self.check_two_processes()

    def test_content_of_the_same_transaction(self):
        """What was committed together with a job is there when it runs."""
        self.start('--processes', 2)
        ids = [self.ask('add_with_content', self.name(number))
               for number in range(60)]
        self.assert_done_once(60)
        errors = {error for jobid in ids
                  for error in self.ask('job', jobid)['history']}
        # Jobs that count at the same time may meet.
        self.assertEqual([], [error for error in errors - {None}
                              if 'ConflictError' not in error])

    def test_zeo_restart(self):
        """The server of both is stopped in the middle of a job."""
        self.check_restart(let_go_before=False)

    def test_health(self):
        """The page counts the jobs, wherever they are."""
        worker = self.start()
        self.add_waiting()
        self.wait_until_begun()
        until(lambda: worker.health()[1]['services']['events']['counts'].get(
            'processing'), 'a job that runs')
        self.let_go()
        self.assert_done_once(1)


class RelStorageTest(WorkerCase):

    layer = PostgreSQLStage

    def setUp(self):
        skip_without_postgresql(self)
        super().setUp()

    def test_two_processes(self):
        """Web process and two worker processes on one PostgreSQL server."""
        self.check_two_processes()

    def test_postgresql_restart(self):
        """PostgreSQL is stopped in the middle of a job, and started."""
        self.check_restart(let_go_before=False)

    def test_job_ends_while_postgresql_is_away(self):
        """A job whose end could not be stored is run again."""
        self.check_restart(let_go_before=True)
