"""Celery: real brokers, real workers of each pool, real failures."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
import uuid
from pathlib import Path

from gocept.async_.celery.broker import Broker
from gocept.async_.celery.broker import Sender
from gocept.async_.tests import celerygarbage
from gocept.async_.tests import workerjobs
from gocept.async_.tests.celerystage import BROKER
from gocept.async_.tests.celerystage import COMMAND
from gocept.async_.tests.celerystage import PASSWORD
from gocept.async_.tests.celerystage import RabbitMQ
from gocept.async_.tests.celerystage import SlowProxy
from gocept.async_.tests.celerystage import Stage
from gocept.async_.tests.celerystage import Valkey
from gocept.async_.tests.celerystage import find_rabbitmq
from gocept.async_.tests.interpreter import environment
from gocept.async_.tests.workerstage import PATIENCE
from gocept.async_.tests.workerstage import FileStorage
from gocept.async_.tests.workerstage import PostgreSQL
from gocept.async_.tests.workerstage import Worker as WorkerOfProcesses
from gocept.async_.tests.workerstage import ZeoServer
from gocept.async_.tests.workerstage import ZeoServerOfTwo
from gocept.async_.tests.workerstage import find_postgresql
from gocept.async_.tests.workerstage import get_json
from gocept.async_.tests.workerstage import skip_without_postgresql
from gocept.async_.tests.workerstage import until
from gocept.async_.tests.workerstage import write_configuration


# Seconds that a busy machine may add to what is measured.
MARGIN = 0.5

PUBLISH_TIMEOUT = 1.0


class CeleryStage:
    """A layer: a ZEO server, a broker and a process that adds jobs."""

    @classmethod
    def setUp(cls):
        cls.stack = contextlib.ExitStack()
        cls.stage = Stage(cls.stack)

    @classmethod
    def tearDown(cls):
        cls.stack.close()


class FailureStage:
    """Another one: `bin/test` runs the tests of layers beside each other."""

    setUp = vars(CeleryStage)['setUp']
    tearDown = vars(CeleryStage)['tearDown']


class DatabasesStage:
    """One whose jobs have a database of their own."""

    @classmethod
    def setUp(cls):
        cls.stack = contextlib.ExitStack()
        cls.stage = Stage(cls.stack, make_server=ZeoServerOfTwo,
                          site='celerydatabases.zcml')

    tearDown = vars(CeleryStage)['tearDown']


class RabbitStage:
    """The same with RabbitMQ."""

    stage = stack = None

    @classmethod
    def setUp(cls):
        # A layer cannot skip its tests.
        if find_rabbitmq():
            cls.stack = contextlib.ExitStack()
            cls.stage = Stage(cls.stack, RabbitMQ)

    @classmethod
    def tearDown(cls):
        if cls.stack is not None:
            cls.stack.close()


class PostgreSQLStage:
    """The same with RelStorage on a PostgreSQL server."""

    stage = stack = None

    @classmethod
    def setUp(cls):
        if find_postgresql('initdb') is not None:
            cls.stack = contextlib.ExitStack()
            cls.stage = Stage(cls.stack, make_server=PostgreSQL)

    tearDown = vars(RabbitStage)['tearDown']


class CeleryCase(unittest.TestCase):

    layer = CeleryStage

    def setUp(self):
        self.stage = self.layer.stage
        self.adder = self.stage.adder
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    @property
    def prefix(self):
        return self.id().rpartition('.')[2]

    def worker(self, *args):
        return self.stage.worker(self.stack, *args).wait_until_ready()

    def add(self, count=20):
        """Add jobs.  Return the effects they are to have."""
        return self.stage.add(count, self.prefix)

    def check(self, expected, *workers):
        """Check that each job has, in the end, exactly one effect."""
        try:
            self.adder.wait_until_done()
        except AssertionError as error:
            logs = '\n'.join(worker.log() for worker in workers)
            raise AssertionError(f'{error}\n{logs}') from error
        self.assertEqual(expected, self.stage.effects(self.prefix))

    def file(self, name):
        return Path(self.stage.folder, f'{self.prefix}-{name}')

    def begun(self, name):
        """Wait until a job of `wait_for` runs.  Return its process id."""
        path = Path(f'{self.file(name)}.begun')
        until(lambda: path.exists() and path.read_text(), 'a job that runs')
        return int(path.read_text())

    def add_waiting(self, name):
        """Add a job that runs until there is a file of that name."""
        effect = f'{self.prefix}-{name}'
        self.adder.ask('add', 'wait_for', str(self.file(name)), effect)
        return {effect: 1}

    def check_broker_restarted(self):
        worker = self.worker('threads', 2)
        expected = self.add_waiting('a')
        self.begun('a')
        self.stage.broker.stop()
        expected |= self.add()
        self.stage.broker.start()
        self.file('a').touch()
        self.check(expected, worker)

    def check_kills_each_time(self):
        """A job that ends its process each time is in error in the end."""
        worker = self.worker('prefork', 2)
        path = self.file('calls')
        jobid = self.adder.ask('add', 'kill_process', str(path))
        expected = self.add()
        self.check(expected, worker)
        job = self.adder.ask('job', jobid)
        self.assertEqual(('error', 5), (job['status'], job['attempts']))
        # Of two processes that are gone, one may have had another job.
        calls = len(path.read_text().splitlines())
        self.assertLessEqual(calls, 5)
        self.assertGreaterEqual(calls, 4)

    def check_delays(self):
        """Add jobs; none takes long, and all but the first no time."""
        names = [f'{self.prefix}-{number}' for number in range(10)]
        delays = [self.adder.ask('add_timed', 'count', name)
                  for name in names]
        self.assertLess(max(delays), PUBLISH_TIMEOUT + MARGIN)
        self.assertLess(sum(sorted(delays)[:-2]), MARGIN)
        return dict.fromkeys(names, 1)

    def check_broker_down(self):
        self.stage.broker.stop()
        try:
            expected = self.check_delays()
        finally:
            self.stage.broker.start()
        self.check(expected, self.worker('solo'))

    def check_broker_frozen(self):
        with self.stage.broker.frozen():
            expected = self.check_delays()
        self.check(expected, self.worker('solo'))

    def check_slow(self):
        """Send by way of a proxy; however long it takes, it is not too long.
        """
        port = str(self.stage.broker.port)
        for delay in 0.02, 0.1, 0.2, 0.4:
            proxy = self.stack.enter_context(SlowProxy(int(port), delay))
            url = self.stage.broker.url.replace(port, str(proxy.port))
            sender = Sender(Broker(url, {}, PUBLISH_TIMEOUT, 10.0))
            began = time.monotonic()
            sender.send('slow', [{'number': 1}])
            taken = time.monotonic() - began
            sender.close()
            self.assertLess(taken, PUBLISH_TIMEOUT + MARGIN, delay)

    def check_garbage(self, worker, throw, expected):
        """Let a broker bring what is no message; all else is as before.

        throw -- called without arguments; brings it.
        expected -- effects that were there before.
        """
        throw()
        self.stage.broadcast(*celerygarbage.COMMANDS)
        expected |= self.add_more(3)
        self.check(expected, worker)
        self.assertIsNone(worker.process.poll())
        told = [line for line in worker.log().splitlines()
                if 'refused' in line]
        self.assertGreater(len(told), 2)
        self.assertLess(len(told), 20)
        self.assertFalse(
            [line for line in worker.log().splitlines()
             if 'Traceback' in line])

    def add_more(self, count):
        """Add jobs with other names than those before."""
        names = [f'{self.prefix}-more-{uuid.uuid4()}' for _ in range(count)]
        for name in names:
            self.adder.ask('add', 'count', name)
        return dict.fromkeys(names, 1)

    def check_database_restarted(self):
        worker = self.worker('threads', 2)
        expected = self.add_waiting('a')
        self.begun('a')
        expected |= self.add(5)
        self.stage.server.stop()
        self.file('a').touch()
        self.stage.server.start()
        until(self.is_connected, 'a connection to the database')
        self.check(expected, worker)

    def is_connected(self):
        try:
            self.adder.ask('counts')
        except AssertionError:
            self.stage.restart_adder()
            self.adder = self.stage.adder
        return True


class PoolTest(CeleryCase):

    def test_prefork(self):
        """The processes of a pool run jobs; Celery's commands work."""
        worker = self.worker('prefork', 2)
        expected = self.add()
        self.check(expected, worker)
        self.assertIn(f'{worker.name}: OK', self.stage.celery(
            'inspect', '-t', '0.5', 'ping'))
        self.assertIn('gocept.async.run', self.stage.celery(
            'inspect', '-t', '0.5', 'registered'))
        worker.signal(signal.SIGTERM)
        self.assertEqual(0, worker.wait())

    def test_threads(self):
        """The threads of a pool run jobs of one database."""
        worker = self.worker('threads', 3)
        self.check(self.add(), worker)
        worker.signal(signal.SIGTERM)
        self.assertEqual(0, worker.wait())

    def test_solo(self):
        """The only thread of a process runs jobs, delayed ones when due."""
        worker = self.worker('solo')
        began = time.time()
        self.adder.ask('add_delayed', 1.5, 'count', f'{self.prefix}-later')
        # It does not wait in Celery.
        self.assertEqual(0, self.stage.broker.client().llen('events'))
        expected = {**self.add(), f'{self.prefix}-later': 1}
        until(lambda: len(self.stage.effects(self.prefix)) == 21,
              'a delayed job')
        self.assertGreaterEqual(time.time() - began, 1.5)
        self.check(expected, worker)


class GarbageTest(CeleryCase):

    def test_valkey(self):
        """Nothing but the address of a job does anything.

        That runs the job, whatever else the message says, and once.
        """
        client = self.stage.broker.client()
        expected = self.add_more(1)
        genuine = until(lambda: client.lindex('events', 0), 'a message')
        # What a dead worker has not acknowledged, they say.
        client.hset('unacked', mapping={'x': 'x', 'y': '[1, 2]'})
        client.zadd('unacked_index', {'x': 1, 'y': 1, 'z': 1})
        worker = self.worker('threads', 2)
        self.check(expected, worker)

        def throw():
            self.stage.broker.throw_garbage(list)
            client.lpush('events', *celerygarbage.evil(genuine))
        self.check_garbage(worker, throw, expected)
        until(lambda: not client.llen('events'), 'an empty queue')
        self.check_answers(worker)

    def check_answers(self, worker):
        """Questions are answered still, and answers show no secret."""
        for question in 'ping', 'registered', 'stats', 'active':
            answer = self.stage.ask(question)
            self.assertIn(worker.name, answer)
            self.assertNotIn(PASSWORD, answer)
            self.assertNotIn('celery.chain', answer)


class FlowerTest(CeleryCase):

    def test_flower(self):
        """It sees the workers, and what they run: addresses of jobs."""
        port = self.stage.flower(self.stack)
        worker = self.worker('solo')
        self.check(self.add(3), worker)

        def seen():
            _, tasks = get_json(port, '/api/tasks')
            return [task for task in tasks.values()
                    if task['state'] == 'SUCCESS']

        until(lambda: len(seen()) >= 3, 'three tasks that Flower has seen')
        task = seen()[0]
        # That of the function.
        self.assertEqual(f'{workerjobs.__name__}.count', task['name'])
        self.check_failure(port, worker)
        self.assertEqual(worker.name, task['worker'])
        self.assertIn("'service': '++etc++site/default/events'",
                      task['kwargs'])
        self.assertNotIn(self.prefix, task['kwargs'])

        def answers():
            # The first time that Flower asks, it may not wait for answers.
            _, workers = get_json(port, '/api/workers?refresh=1')
            return 'stats' in workers.get(worker.name, {})
        until(answers, 'an answer of the worker to Flower')


    def check_failure(self, port, worker):
        """A job that failed does not look like a success, nor like an error
        of this package."""
        self.adder.ask('add', 'compute', -1)

        def failed():
            _, tasks = get_json(port, '/api/tasks')
            return [task for task in tasks.values()
                    if task['state'] == 'FAILURE']
        task = until(failed, 'a task that has failed')[0]
        self.assertEqual(f'{workerjobs.__name__}.compute', task['name'])
        self.assertIn('is now error: builtins.ValueError', task['exception'])
        self.assertNotIn('below 0', task['exception'])
        self.assertFalse(task['traceback'])
        self.assertEqual(1, worker.log().count('Traceback'))
        self.assertEqual(1, worker.log().count('raised expected'))


class DatabasesTest(CeleryCase):

    layer = DatabasesStage
    # Takes long: see CONTRIBUTING.rst.
    level = 2

    def test_jobs_of_another_database(self):
        """Messages find them, and they find what was committed with them."""
        self.assertEqual(['jobs', ''], self.adder.ask('databases'))
        worker = self.worker('prefork', 2)
        names = [f'{self.prefix}-{number}' for number in range(20)]
        for name in names:
            self.adder.ask('add_with_content', name)
        self.check(dict.fromkeys(names, 1), worker)
        worker.signal(signal.SIGTERM)
        self.assertEqual(0, worker.wait())


class FailureTest(CeleryCase):

    layer = FailureStage
    # Takes long: see CONTRIBUTING.rst.
    level = 2

    def setUp(self):
        super().setUp()
        self.before = {}

    def test_killed_child(self):
        """A process of a pool is killed; its job is run by another one."""
        worker = self.worker('prefork', 2)
        expected = self.add_waiting('a')
        first = self.begun('a')
        Path(f'{self.file("a")}.begun').unlink()
        os.kill(first, signal.SIGKILL)
        self.assertNotEqual(first, self.begun('a'))
        self.file('a').touch()
        self.check({**expected, **self.add()}, worker)

    def test_kills_each_time(self):
        """A job kills its process: it is called as often as is counted."""
        self.check_kills_each_time()

    def test_killed_worker(self):
        """A worker is killed with all its processes; the next one goes on."""
        worker = self.worker('prefork', 2)
        expected = {**self.add_waiting('a'), **self.add_waiting('b')}
        self.begun('a')
        self.begun('b')
        # Acknowledged when they have been run; where all takes long, one may
        # have been sent twice.
        self.assertLessEqual(2, self.stage.broker.client().hlen('unacked'))
        expected |= self.add()
        worker.kill_all()
        self.assertEqual({}, self.stage.effects(self.prefix))
        self.file('a').touch()
        self.file('b').touch()
        self.check(expected, self.worker('prefork', 2))

    def test_signals_to_all_processes(self):
        """Not only to the main one: running jobs have no effect, no error."""
        for number in signal.SIGTERM, signal.SIGQUIT:
            with self.subTest(number=number):
                worker = self.worker('prefork', 2)
                name = f'by-{number.name}'
                expected = self.add_waiting(name)
                self.begun(name)
                os.killpg(worker.pid, number)
                worker.wait()
                self.file(name).touch()
                self.check({**self.before, **expected},
                           self.worker('prefork', 2))
                self.before |= expected

    def test_cold_shutdown_without_a_pool(self):
        """The job that runs in the main process is run again, once."""
        worker = self.worker('solo')
        expected = self.add_waiting('a')
        self.begun('a')
        os.kill(worker.pid, signal.SIGQUIT)
        self.assertEqual(1, worker.wait())
        self.assertIn('this process ends while it runs a job', worker.log())
        self.file('a').touch()
        self.check(expected, self.worker('solo'))

    def test_broker_restarted(self):
        """Jobs that were added meanwhile are run when it is back."""
        self.check_broker_restarted()

    def test_database_restarted(self):
        """What could not be claimed or settled meanwhile is, when it is back.
        """
        self.check_database_restarted()

    def test_delivered_twice(self):
        """A second message of a job does nothing."""
        expected = self.add()
        client = self.stage.broker.client()
        messages = client.lrange('events', 0, -1)
        self.assertEqual(20, len(messages))
        client.rpush('events', *messages)
        worker = self.worker('prefork', 2)
        self.check(expected, worker)
        until(lambda: not client.llen('events'), 'an empty queue')
        self.check(expected, worker)
        until(lambda: worker.log().count('succeeded in') >= 40,
              '40 messages that were handled')

    def test_forgotten_messages(self):
        """The broker loses all messages; a sweep sends them again."""
        expected = self.add()
        self.stage.broker.client().flushall()
        self.check(expected, self.worker('solo'))

    def test_forgotten_while_working(self):
        """The broker loses all it has while a worker is connected."""
        worker = self.worker('prefork', 2)
        expected = self.add(5)
        self.stage.broker.client().flushall()
        expected |= self.stage.add(10, f'{self.prefix}-later')
        self.check(expected, worker)


class MessengerTest(CeleryCase):

    def test_async_worker(self):
        """What its jobs add for Celery, it sends."""
        client = self.stage.broker.client()
        name = f'{self.prefix}-a'
        WorkerOfProcesses(
            self.stack, self.stage.configuration).wait_until_ready()
        self.adder.ask('add', 'forward', name)
        until(lambda: client.llen('events'), 'a message')
        self.check({name: 1}, self.worker('solo'))


class RequestTest(CeleryCase):
    """What becomes of requests while the broker does not answer."""

    def test_broker_down(self):
        """Requests go on; jobs are run once the broker is there."""
        self.check_broker_down()

    def test_broker_slow(self):
        """Each of its answers takes long; together they do not."""
        self.check_slow()

    def test_broker_frozen(self):
        """It takes the connection, and does not answer."""
        self.check_broker_frozen()

    def test_message(self):
        """It tells where the job is, and nothing else; nothing is pickled."""
        expected = self.add(1)
        client = self.stage.broker.client()

        def message():
            # The sender may have to find out first that all is well again.
            return client.lindex('events', 0)
        content = json.loads(until(message, 'a message', PATIENCE))
        self.assertEqual('application/json', content['content-type'])
        args, kwargs, _ = json.loads(base64.b64decode(content['body']))
        self.assertEqual([], args)
        self.assertEqual(
            {'database', 'service', 'job', 'attempt', 'tid'}, set(kwargs))
        self.assertEqual('++etc++site/default/events', kwargs['service'])
        self.assertEqual(1, kwargs['attempt'])
        self.check(expected, self.worker('solo'))


class RabbitTest(CeleryCase):
    """What depends on the broker, with RabbitMQ."""

    layer = RabbitStage
    level = 2

    def setUp(self):
        if self.layer.stage is None:
            self.skipTest('RabbitMQ is not installed; apt-get install '
                          'rabbitmq-server.')
        super().setUp()

    def test_broker_restarted(self):
        """Jobs that were added meanwhile are run when it is back."""
        self.check_broker_restarted()

    def test_kills_each_time(self):
        """See FailureTest."""
        self.check_kills_each_time()

    def test_garbage(self):
        """See GarbageTest."""
        self.check_garbage(
            self.worker('solo'),
            lambda: self.stage.broker.throw_garbage(list), {})

    def test_broker_slow(self):
        """See RequestTest."""
        self.check_slow()

    def test_broker_frozen(self):
        """Connections are taken, or there already; nothing answers."""
        self.worker('solo')
        self.stage.add(1, 'connected')
        self.adder.wait_until_done()
        self.check_broker_frozen()


class RelStorageTest(CeleryCase):
    """What depends on the storage, with PostgreSQL."""

    layer = PostgreSQLStage

    def setUp(self):
        skip_without_postgresql(self)
        super().setUp()

    def test_prefork(self):
        """Each process of a pool has connections of its own."""
        worker = self.worker('prefork', 2)
        self.check(self.add(), worker)

    def test_database_restarted(self):
        """The same as with ZEO."""
        self.check_database_restarted()


class CommandTest(unittest.TestCase):
    """What the command says when it cannot work."""

    # Takes long: see CONTRIBUTING.rst.
    level = 2

    def complaint(self, *options, **variables):
        said = self.failure(*options, **variables)
        self.assertNotIn('Traceback', said)
        return said

    def failure(self, *options, **variables):
        """Return what a worker says that ends by itself, not successfully."""
        done = subprocess.run(
            [*COMMAND, 'worker', *options], env={**environment(), **variables},
            capture_output=True, text=True, timeout=PATIENCE)
        self.assertNotEqual(0, done.returncode)
        return done.stderr

    def test_no_configuration(self):
        """Without the variable there is one sentence."""
        self.assertIn(
            'GOCEPT_ASYNC_ZOPE_CONF is not set; let this environment '
            'variable name', self.complaint(GOCEPT_ASYNC_ZOPE_CONF=''))

    def test_no_such_file(self):
        """A file that cannot be read is named."""
        self.assertIn(
            '/nowhere/zope.conf cannot be read',
            self.complaint(GOCEPT_ASYNC_ZOPE_CONF='/nowhere/zope.conf'))

    def test_broker(self):
        """Nothing shows its password; one that is written wrong is refused.
        """
        with tempfile.TemporaryDirectory() as folder:
            for url, said in (
                    (f'redis://:{PASSWORD}/@127.0.0.1', 'cannot be used'),
                    (f'redis://:{PASSWORD}@127.0.0.1:1/0', 'redis://')):
                path = write_configuration(
                    folder, '<zeoclient>\n    server 127.0.0.1:1\n'
                    '  </zeoclient>', 'celery.zcml', BROKER.format(url=url))
                done = subprocess.run(
                    [*COMMAND, 'report'], capture_output=True, text=True,
                    timeout=PATIENCE, env={
                        **environment(), 'GOCEPT_ASYNC_ZOPE_CONF': str(path)})
                self.assertIn(said, done.stdout + done.stderr)
                self.assertNotIn(PASSWORD, done.stdout + done.stderr)

    def test_unknown_queue(self):
        """-Q with a typing error ends the worker: it would run nothing."""
        with tempfile.TemporaryDirectory() as folder:
            path = write_configuration(
                folder, '<zeoclient>\n    server 127.0.0.1:1\n'
                '  </zeoclient>', 'celery.zcml',
                BROKER.format(url='redis://127.0.0.1:1/0'))
            self.assertIn("queue 'evnts' isn't\ndefined", self.failure(
                '-Q', 'evnts', GOCEPT_ASYNC_ZOPE_CONF=str(path)))

    def test_file_storage(self):
        """Only one process could open it: not the one that sends."""
        with tempfile.TemporaryDirectory() as folder:
            path = write_configuration(
                folder, FileStorage(folder).section, 'celery.zcml')
            self.assertIn(
                'is a FileStorage, which only one process can use; serve it '
                'by ZEO', self.complaint(GOCEPT_ASYNC_ZOPE_CONF=str(path)))

    def test_database_that_does_not_fit(self):
        """A worker that can run nothing must not take messages."""
        stack = self.enterContext(contextlib.ExitStack())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = write_configuration(
            folder, ZeoServer(stack, folder).section, 'celerydatabases.zcml',
            BROKER.format(url=Valkey(stack, folder).url))
        for pool in 'threads', 'solo':
            with self.subTest(pool=pool):
                self.assertIn(
                    'this worker cannot run jobs, and ends: the databases of '
                    f'{path} do not fit the ZCML', self.complaint(
                        '-P', pool, GOCEPT_ASYNC_ZOPE_CONF=str(path)))
        # Celery adds its own words there.
        self.assertIn('this worker cannot run jobs, and ends', self.failure(
            '-P', 'prefork', '-c', '1', GOCEPT_ASYNC_ZOPE_CONF=str(path)))
