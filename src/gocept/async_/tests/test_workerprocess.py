"""A worker process: what it sees of its services, and when it stops."""

import json
import os
import types
import unittest
import unittest.mock

import ZODB
from ZODB.MappingStorage import MappingStorage
from zope.app.publication.zopepublication import ZopePublication

from gocept.async_.worker import process
from gocept.async_.worker.process import WorkerProcess
from gocept.async_.worker.report import Report
from gocept.async_.worker.report import parse
from lovely.remotetask.running import events
from lovely.remotetask.running.events import JobEnded
from lovely.remotetask.tests import databases


OPTIONS = {'configuration': '/zope.conf', 'services': [], 'threads': None,
           'processes': 1, 'grace': 0.0, 'max_jobs': None, 'max_memory': None}


class Service:
    """A service with a job; or one that cannot be looked at."""

    __name__ = 'tasks'
    __parent__ = None

    def __init__(self, error=None, waiting_since=None):
        self.error = error
        self.waiting_since = waiting_since

    def counts(self):
        if self.error is not None:
            raise self.error
        return {'queued': 1}

    def oldest_waiting(self, now):
        return self.waiting_since


class Processor:
    """One that knows nothing of `trouble`."""

    running = True
    stopped = False

    def stop(self):
        self.stopped = True


def declare(name, service, processor=Processor):
    """Return the declaration of a service, or of what cannot be found."""
    def make(db, path, **arguments):
        return processor()
    make.runsJobs = True
    def find(root):
        if isinstance(service, Exception):
            raise service
        return service
    return types.SimpleNamespace(
        name=name, processorFactory=make, processorArguments={}, find=find)


class ProcessCase(unittest.TestCase):

    def setUp(self):
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        self.read = read
        self.process = WorkerProcess(OPTIONS, Report(write))
        self.process.db = ZODB.DB(MappingStorage())
        self.addCleanup(databases.close_databases, self.process.db.databases)
        with self.process.db.transaction() as connection:
            connection.root()[ZopePublication.root_name] = 'root'
        self.started = []
        self.enterContext(unittest.mock.patch.object(
            process.processor, 'start_processor', self.start))

    def start(self, processor):
        self.started.append(processor)

    def declare(self, *declarations):
        self.process.declarations = list(declarations)
        self.enterContext(unittest.mock.patch.object(
            process, 'declarations', lambda: list(declarations)))

    def look(self):
        """Let it look once.  Return what it reports then."""
        self.process.observation.step()
        self.process._tell()
        return parse(os.read(self.read, 2 ** 16))


class SeenTest(ProcessCase):

    def test_well(self):
        """Processors are started, once, and all is reported."""
        self.declare(declare('events', Service()), declare('mails', None))
        self.look()
        said = self.look()
        self.assertEqual(1, len(self.started))
        self.assertTrue(said['ready'])
        self.assertEqual(
            {'events': {'counts': {'queued': 1}, 'oldest_queued_age': None,
                        'problem': None}, 'mails': None}, said['services'])

    def test_one_service_of_several(self):
        """One that cannot be looked at is named, the others are seen."""
        self.declare(declare('bad', Service(KeyError('gone'))),
                     declare('events', Service()))
        said = self.look()
        self.assertEqual('service "bad": \'gone\'', said['problem'])
        self.assertEqual({'queued': 1}, said['services']['events']['counts'])
        self.assertEqual(2, len(self.started))

    def test_service_that_lies_in_no_folder(self):
        """No processor is started that would not find it."""
        service = Service()
        service._p_jar = 'connection'
        self.declare(declare('events', service))
        self.assertIn('lies in no folder', self.look()['problem'])
        self.assertEqual([], self.started)

    def test_service_of_another_worker(self):
        """One that was not chosen is not needed here; the log tells, once."""
        events = declare('events', Service())
        self.declare(events, declare('bad', KeyError('gone')))
        self.process.options = {**OPTIONS, 'services': ['events']}
        self.process.declarations = [events]
        with self.assertLogs('gocept.async_.worker.process') as logged:
            said = [self.look() for _ in range(3)]
        self.assertEqual([None] * 3, [each['problem'] for each in said])
        self.assertTrue(said[-1]['ready'])
        self.assertEqual(['events'], list(said[-1]['services']))
        line, = logged.output
        self.assertIn('service "bad", which is not run here', line)
        self.assertIn('gone', line)

    def test_service_that_is_run_elsewhere(self):
        """Where none was chosen, those who run it have to be told, too."""
        events = declare('events', Service())
        self.declare(events, declare('celery', KeyError('gone')))
        self.process.declarations = [events]
        self.assertEqual('service "celery": \'gone\'', self.look()['problem'])

    def test_values_that_are_no_json(self):
        """What is stored cannot keep a process from being heard."""
        for since in float('nan'), float('-inf'):
            with self.subTest(since):
                self.declare(
                    declare('events', Service(waiting_since=since)))
                self.assertTrue(self.look()['ready'])

    def test_trouble(self):
        """A processor says why it cannot work; with the service's name."""
        self.declare(declare('events', Service()))
        self.look()
        self.started[0].trouble = 'its threads have ended'
        said = self.look()
        self.assertEqual(
            (False, 'service "events": its threads have ended'),
            (said['ready'], said['problem']))
        self.started[0].trouble = None
        self.assertTrue(self.look()['ready'])

    def test_trouble_that_cannot_be_told(self):
        """A processor of others may do anything."""
        class Odd(Processor):
            @property
            def trouble(self):
                raise OSError('odd')
        self.declare(declare('events', Service(), Odd))
        self.assertEqual('service "events": odd', self.look()['problem'])

    def test_thread_that_cannot_be_started(self):
        """The processor is not taken for started, and tried again."""
        self.declare(declare('events', Service()))
        made = []

        def start(processor):
            made.append(processor)
            if len(made) == 1:
                raise RuntimeError("can't start new thread")
        with unittest.mock.patch.object(
                process.processor, 'start_processor', start):
            self.assertEqual(
                'service "events": can\'t start new thread',
                self.look()['problem'])
            self.assertTrue(made[0].stopped)
            self.assertTrue(self.look()['ready'])
        self.assertEqual(2, len(made))

    def test_no_descriptor(self):
        """A process that can open nothing cannot work."""
        self.declare(declare('events', Service()))
        with unittest.mock.patch.object(
                os, 'open', side_effect=OSError(24, 'Too many open files')):
            said = self.look()
        self.assertEqual(
            '[Errno 24] Too many open files', said['problem'])

    def test_before_the_database_is_open(self):
        """It is heard from the beginning."""
        self.process._tell()
        said = parse(os.read(self.read, 2 ** 16))
        self.assertEqual(
            (False, 'starting'), (said['ready'], said['problem']))


class EndTest(ProcessCase):

    def setUp(self):
        super().setUp()
        self.within = []
        self.process.ending.within = self.within.append

    def test_stop(self):
        """Its end has a time before anything else is done."""
        self.declare(declare('events', Service()))

        def stop_all(grace):
            self.assertEqual([process.MARGIN], self.within)
        with unittest.mock.patch.object(
                process.processor, 'stop_all', stop_all):
            self.assertEqual(0, self.process._stop('asked to', 0))
        self.assertEqual('asked to', json.loads(
            os.read(self.read, 2 ** 16))['stopping'])

    def test_last_runs(self):
        """Those that end in the grace are told, too."""
        self.declare(declare('events', Service()))
        self.look()
        self.process._counter.subscribe()
        self.addCleanup(self.process._counter.unsubscribe)
        path, = self.process._paths

        def stop_all(grace):
            # Before that it tells once more that it is stopping.
            self.process._tell()
            events.send(JobEnded(
                path, 1, 'shop.mail', 1, 'host:1:thread', 0.5, 'completed'))
        with unittest.mock.patch.object(
                process.processor, 'stop_all', stop_all):
            self.process._stop('asked to', 0)
        *_, line = os.read(self.read, 2 ** 16).splitlines()
        self.assertEqual(
            ['shop.mail'], list(parse(line)['counted']['events']))

    def test_too_much_memory(self):
        """What is cut off then counts: it may be what needs that."""
        self.declare(declare('events', Service()))
        self.look()
        self.process.options = {**OPTIONS, 'max_memory': 1}
        reason = self.process._reason_to_stop()
        self.assertIn('--max-memory 1', reason[0])
        for args, counts in (reason, True), (('asked to', 0), False):
            with self.subTest(args), unittest.mock.patch.object(
                    process.processor, 'stop_all'):
                self.process._stop(*args)
                self.assertIs(counts, self.started[0].counts_cut_off)

    def test_processor_of_somebody_else(self):
        """It need not know of that, and is stopped all the same."""
        class Slotted:
            __slots__ = ()
        self.process.processors = {'events': Slotted()}
        with unittest.mock.patch.object(
                process.processor, 'stop_all') as stop_all:
            self.assertEqual(0, self.process._stop('asked to', 0, True))
        stop_all.assert_called_once()

    def test_nobody_listens(self):
        """A process that is still opening its database ends at once."""
        self.process.report.gone = True
        self.process._keep_telling()
        self.assertEqual([0], self.within)

    def test_nobody_listens_while_it_runs(self):
        """One that runs jobs lets them finish."""
        self.process.report.gone = self.process._running = True
        self.process._keep_telling()
        self.assertEqual([], self.within)
        self.assertEqual(
            ('the main process is gone', 0), self.process._reason_to_stop())
