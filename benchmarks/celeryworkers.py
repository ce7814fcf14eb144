"""A broker, and Celery workers: of this package, and of Celery alone."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import celery
import redis
import zope.component

import celeryready
from gocept.async_.celery.application import VARIABLE
from gocept.async_.celery.broker import Broker
from gocept.async_.celery.broker import Sender
from gocept.async_.celery.broker import settings
from gocept.async_.celery.processor import CeleryProcessor
from gocept.async_.interfaces import IBroker
from gocept.async_.tests.celerystage import Valkey
from gocept.async_.tests.celerystage import kill_group
from gocept.async_.tests.workerstage import Process
from lovely.remotetask import processor
from stage import CELERY
from stamps import Stamps


# Seconds that sending, starting and ending may take on a busy machine.
PUBLISH_TIMEOUT = 10.0
PATIENCE = 60

# Longer than anything here takes: no message is lost.
RESEND_AFTER = 600.0

# The queue of Celery alone.
ALONE = 'alone'

CONFIGURATION = '''
{imports}
site-definition {site}
<zodb>
  {storage}
</zodb>
<product-config gocept.async>
  celery-broker {broker}
  celery-resend-after {resend_after}
  celery-options {{"imports": ["celeryready"]}}
</product-config>
<eventlog>
  <logfile>
    path STDERR
  </logfile>
</eventlog>
'''


class Side:
    """A broker, what sends to it, and a zope.conf for the workers.

    pid -- of the broker's process.
    """

    def __init__(self, stack, stage, folder):
        self.valkey = Valkey(stack, folder)
        self.url = self.valkey.url
        self.client = redis.Redis.from_url(self.url)
        stack.callback(self.client.close)
        self.pid = self.client.info('server')['process_id']
        broker = Broker(self.url, {}, PUBLISH_TIMEOUT, RESEND_AFTER)
        self._sender = Sender(broker)
        stack.callback(self._sender.close)
        self.ready = Stamps(folder / 'ready', celeryready.VARIABLE)
        self.configuration = _write(folder, stage.storage, self.url)
        _send_from_here(stack, stage, broker)
        self.control = celery.Celery(
            'control', set_as_current=False, changes=settings(broker)).control

    def workers(self, stack, processes):
        """Return a team that runs jobs."""
        return Worker(stack, self, processes, 'gocept.async_.celery', CELERY)

    def workers_alone(self, stack, processes):
        """Return a team that runs the task of Celery alone."""
        return Worker(stack, self, processes, 'celeryalone', ALONE)

    def send_alone(self, number):
        """Send a message as of a job.  Return when that began."""
        began = time.monotonic()
        self._sender.send(ALONE, [{
            'database': 'unnamed', 'service': ALONE, 'job': number,
            'attempt': 1, 'tid': '03f1e4b5a2c3d4e5'}])
        return began


def _write(folder, storage, url):
    path = folder / 'zope.conf'
    imports, section = storage.section
    path.write_text(CONFIGURATION.format(
        site=os.path.join(os.path.dirname(__file__), 'application.zcml'),
        imports=imports, storage=section, broker=url,
        resend_after=RESEND_AFTER))
    return path


def _send_from_here(stack, stage, broker):
    """Let commits of this process send messages, as in an application."""
    components = zope.component.getGlobalSiteManager()
    components.registerUtility(broker, IBroker)
    stack.callback(components.unregisterUtility, broker, IBroker)
    made = CeleryProcessor(stage.db, [CELERY])
    made.place = stage.db, stage.services[CELERY]._p_oid
    processor.start_processor(made)
    stack.callback(made.stop)


class Worker:
    """The command `celery worker` with a prefork pool.

    module -- where the Celery application is.
    queue -- what is in it by now is only seen when the worker is let go.
    pids -- of the main process.
    """

    def __init__(self, stack, side, processes, module, queue):
        self._control = side.control
        self._client = side.client
        self._queue = queue
        self._name = f'{queue}{time.monotonic_ns()}@localhost'
        side.ready.forget()
        self._client.rename(queue, self._held)
        self._process = Process(
            stack, sys.executable, '-m', 'celery', '-A', module, 'worker',
            '-P', 'prefork', '-c', str(processes), '-n', self._name,
            # Nobody else is there to be asked for a second.
            '--without-mingle', '-Q', queue,
            stdout=subprocess.DEVNULL, start_new_session=True,
            variables={**os.environ, VARIABLE: str(side.configuration),
                       'CELERY_BROKER_URL': side.url,
                       'PYTHONPATH': os.pathsep.join(sys.path)})
        # What has not ended by then.
        stack.callback(kill_group, self._process)
        stack.callback(self._stop)
        self.pids = [self._process.pid]
        self._wait_until_ready(side.ready, processes)

    def _wait_until_ready(self, ready, processes):
        end = time.monotonic() + PATIENCE
        while ready.count() < processes or not self._control.ping(
                destination=[self._name], timeout=0.5):
            if self._process.process.poll() is not None or (
                    time.monotonic() > end):
                raise RuntimeError(
                    f'A Celery worker has not started: '
                    f'{self._process.complaints}')
            time.sleep(0.05)

    def go(self):
        """Let it see the messages, all at once."""
        self._client.rename(self._held, self._queue)

    @property
    def _held(self):
        return f'{self._queue}.held'

    def _stop(self):
        self._process.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
