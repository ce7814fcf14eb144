"""What goes to the broker, when, and what does not; without a broker."""

import json
import os
import tempfile
import traceback
import unittest
import unittest.mock

import transaction
import zope.component
from ZODB.POSException import ConflictError
from zope.app.appsetup.product import setProductConfiguration
from zope.configuration.exceptions import ConfigurationError
from zope.interface.verify import verifyObject

from gocept.async_.celery import broker as celerybroker
from gocept.async_.celery import declared
from gocept.async_.celery import processor
from gocept.async_.celery.broker import Breaker
from gocept.async_.celery.broker import Broker
from gocept.async_.celery.broker import Sender
from gocept.async_.celery.processor import Address
from gocept.async_.celery.processor import celery_factory
from gocept.async_.celery.sent import Sent
from gocept.async_.celery.sent import Waiting
from gocept.async_.celery.settings import parse_seconds
from gocept.async_.interfaces import IBroker
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.tests import configuration
from gocept.async_.tests import test_celerysecret
from gocept.async_.tests.celerycase import URL
from gocept.async_.tests.celerycase import CeleryCase
from gocept.async_.tests.configuration import execute
from lovely.remotetask.interfaces import IProcessor
from lovely.remotetask.interfaces import IProcessorFactory


class Clock:
    """Shows the time that a test says."""

    now = 100.0

    def __call__(self):
        return self.now


class BreakerTest(unittest.TestCase):

    def setUp(self):
        self.clock = Clock()
        self.breaker = Breaker(self.clock)

    def test_after_a_failure(self):
        """One caller at a time finds out whether all is well again."""
        self.assertTrue(self.breaker.allows())
        self.assertTrue(self.breaker.failed())
        self.assertFalse(self.breaker.allows())
        self.clock.now += celerybroker.FIRST_PROBE
        self.assertTrue(self.breaker.allows())
        self.assertFalse(self.breaker.allows())
        self.assertTrue(self.breaker.succeeded())
        self.assertTrue(self.breaker.allows())
        self.assertFalse(self.breaker.succeeded())

    def test_waits_longer_each_time(self):
        """A broker that is down for long is tried seldom."""
        self.breaker.failed()
        for _ in range(10):
            self.assertFalse(self.breaker.failed())
        self.clock.now += celerybroker.LAST_PROBE - 1
        self.assertFalse(self.breaker.allows())
        self.clock.now += 1
        self.assertTrue(self.breaker.allows())


class SenderTest(unittest.TestCase):

    def setUp(self):
        self.clock = Clock()
        self.sender = Sender(Broker(URL, {}, 1.0, 10.0), self.clock)

    def publish(self, call):
        patch = unittest.mock.patch.object(self.sender, '_publish', call)
        patch.start()
        self.addCleanup(patch.stop)

    def test_takes_no_longer(self):
        """A broker that is slow is not given more than its time."""
        def publish(queue, address):
            self.clock.now += 0.4
        self.publish(publish)
        self.assertEqual(3, self.sender.send('events', [{}] * 10))
        self.assertTrue(self.sender.breaker.allows())

    def test_failure(self):
        """Tried once more at once; after that, nothing is tried."""
        publish = unittest.mock.Mock(side_effect=OSError('no broker'))
        self.publish(publish)
        with self.assertLogs(celerybroker.log, 'WARNING') as logs:
            self.assertEqual(0, self.sender.send('events', [{}] * 10))
        self.assertIn('no broker', logs.output[0])
        self.assertEqual(2, publish.call_count)
        self.assertEqual(0, self.sender.send('events', [{}]))
        self.assertIsNone(self.sender.waiting('events'))
        self.assertEqual(2, publish.call_count)

    def test_once_more(self):
        """A connection that the broker has closed is not a failure."""
        self.publish(unittest.mock.Mock(side_effect=[OSError(), None]))
        self.assertEqual(1, self.sender.send('events', [{}]))
        self.assertTrue(self.sender.breaker.allows())

    def test_once_more_is_not_first(self):
        """The broker may have the message that has failed."""
        sent = []

        def publish(queue, address):
            sent.append(getattr(address, 'first', False))
            if len(sent) == 1:
                raise OSError
        self.publish(publish)
        address = Address({'job': 1})
        address.first = True
        self.assertEqual(1, self.sender.send('events', [address]))
        self.assertEqual([True, False], sent)

    def test_headers(self):
        """Beside the address, the name of the function and what is first."""
        address = Address({'job': 1})
        for first in False, True:
            address.function, address.first = 'a.function', first
            with unittest.mock.patch.object(
                    self.sender._app, 'send_task') as send_task:
                self.assertEqual(1, self.sender.send('events', [address]))
            said = send_task.call_args.kwargs
            self.assertEqual('a.function', said['shadow'])
            self.assertEqual({'first': True} if first else None,
                             said['headers'])
            self.assertEqual({'job': 1}, said['kwargs'])

    def test_what_is_not_installed(self):
        """It will not be there later, either: an error at the start."""
        with self.assertRaisesRegex(KeyError, 'No such transport: pigeon'):
            Sender(Broker('pigeon://127.0.0.1', {}, 1.0, 10.0))

    def test_queues(self):
        """Who sends has none in its settings, and sends nevertheless."""
        for options in {}, {'task_create_missing_queues': False}:
            with self.subTest(options):
                sender = Sender(Broker('memory://', options, 1.0, 10.0))
                self.addCleanup(sender.close)
                self.assertEqual(1, sender.send('events', [{'job': 1}]))

    def test_environment(self):
        """What it says goes to other applications of Celery."""
        other = 'redis://other.example/7'
        self.enterContext(unittest.mock.patch.dict(
            os.environ, dict.fromkeys(declared.IGNORED, other)))
        app = Sender(Broker(URL, {}, 1.0, 10.0))._app
        for connect in (app.connection_for_read, app.connection_for_write,
                        app.connection):
            self.assertIn('127.0.0.1:1', connect().as_uri())
            self.assertIn('127.0.0.2', connect('redis://127.0.0.2').as_uri())
        self.assertEqual('disabled://', app.backend.as_uri())

    def test_settings(self):
        """Nothing is pickled, and no step waits longer than its part."""
        settings = celerybroker.sender_settings(
            Broker(URL, {'broker_transport_options': {'client_name': 'x'}},
                   2.0, 10.0))
        self.assertEqual('json', settings['task_serializer'])
        self.assertEqual(['json'], settings['accept_content'])
        options = settings['broker_transport_options']
        self.assertEqual('x', options['client_name'])
        self.assertEqual(0.125, options['socket_timeout'])
        self.assertEqual(0.125, options['socket_connect_timeout'])
        self.assertEqual(0.25, celerybroker.sender_settings(Broker(
            'amqp://localhost//', {}, 2.0, 10.0))[
                'broker_transport_options']['read_timeout'])


class SettingsTest(unittest.TestCase):

    layer = FUNCTIONAL_LAYER

    def setUp(self):
        self.addCleanup(setProductConfiguration, 'gocept.async', None)

    def test_directive(self):
        """What ZCML says is a utility."""
        execute(self, f'''<async:celery broker="{URL}"
            options='{{"worker_prefetch_multiplier": 4}}' />''')
        broker = celerybroker.broker()
        self.assertTrue(verifyObject(
            IBroker, zope.component.getUtility(IBroker)))
        self.assertEqual(
            Broker(URL, {'worker_prefetch_multiplier': 4}, 1.0, 10.0), broker)
        self.assertEqual(
            4, celerybroker.settings(broker)['worker_prefetch_multiplier'])

    def test_zope_conf(self):
        """It precedes ZCML; so no password has to stand there."""
        execute(self, '<async:celery publish_timeout="3" />')
        setProductConfiguration('gocept.async', {
            'celery-broker': 'redis://:secret@db/0',
            'celery-resend-after': '60'})
        self.assertEqual(
            Broker('redis://:secret@db/0', {}, 3.0, 60.0),
            celerybroker.broker())

    def test_nothing_said(self):
        """The message says where to tell."""
        with self.assertRaisesRegex(LookupError, '<async:celery broker='):
            celerybroker.broker()

    def test_bad_options(self):
        """Settings on which the package stands cannot be changed."""
        for options, reason in (
                ('{', 'no JSON'), ('[]', 'no JSON object'),
                ('{"task_serializer": "pickle"}', 'task_serializer'),
                ('{"worker_pool_start_method": "spawn"}', 'start_method'),
                ('{"task_annotations": {"*": {"acks_late": false}}}',
                 'task_annotations')):
            with self.subTest(options), self.assertRaisesRegex(
                    ConfigurationError, reason):
                execute(self, f"<async:celery options='{options}' />")

    def test_seconds(self):
        """More than any clock of a socket can count are refused."""
        for name in 'publish_timeout', 'resend_after':
            for bad in '0', '-1', 'nan', 'inf', '1e12':
                with self.subTest(name, bad=bad), self.assertRaisesRegex(
                        ConfigurationError, 'no positive number of seconds'):
                    execute(self, f'<async:celery {name}="{bad}" />')
        self.assertEqual(31536000.0, parse_seconds('31536000'))

    def test_queues_of_a_worker(self):
        """It makes none that nobody has declared: see -Q."""
        broker = Broker(URL, {}, 1.0, 10.0)
        self.assertIs(False, celerybroker.settings(broker)[
            'task_create_missing_queues'])

    def test_zcml_shows_no_secret(self):
        """Whatever is wrong with a directive, not even with its source."""
        good = 'broker="redis://:s3cret@host/0"'
        for bad in (f'{good} options="{{"', f'{good} publish_timeout="soon"',
                    f'{good} resend_after="-1"', f'{good} brokr="x"',
                    'brokr="redis://:s3cret@host/0"',
                    'options="s3cret"', 'publish_timeout="s3cret"',
                    'broker="s3&#10;cret" options="["',
                    """options='{"broker_login_method": "s3cret"}'""",
                    """options='{"broker_url": "redis://:s3cret@h"}'"""):
            with self.subTest(bad), \
                    tempfile.NamedTemporaryFile('w', suffix='.zcml') as file:
                file.write(configuration.OPEN + f'<async:celery {bad} />'
                           + configuration.CLOSE)
                file.flush()
                with self.assertRaises(ConfigurationError) as raised:
                    configuration.execute(
                        self, f'<include file="{file.name}" />')
                said = ''.join(traceback.format_exception(raised.exception))
                self.assertNotIn('cret', said)
                self.assertIn(file.name, said)

    def test_conflict_shows_no_secret(self):
        """Of two directives that contradict each other."""
        directive = '<async:celery broker="redis://:s3cret@host/0" />'
        with self.assertRaises(ConfigurationError) as raised:
            execute(self, directive * 2)
        self.assertNotIn('s3cret', str(raised.exception))

    def test_zope_conf_shows_no_secret(self):
        """Whatever stands where something else should stand."""
        for bad in test_celerysecret.WRONG:
            self.check_hidden({'celery-broker': bad})
        for key in ('celery-options', 'celery-publish-timeout',
                    'celery-resend-after'):
            for bad in ('redis://:s3cret@host/0', 's3cret', '{"x": "s3cret',
                        '["s3cret"]', '{"S3CRET": 1}', '[' * 100_000,
                        '{"broker_transport_options": "s3cret"}'):
                with self.subTest(key, bad=bad):
                    said = self.check_hidden(
                        {'celery-broker': URL, key: bad})
                    self.assertIn(f'{key} in zope.conf', said)

    def check_hidden(self, said):
        setProductConfiguration('gocept.async', said)
        with self.assertRaises(ValueError) as raised:
            celerybroker.broker()
        shown = ''.join(traceback.format_exception(raised.exception))
        self.assertNotRegex(shown, '(?i)s3c|ret@')
        return shown

    def test_representation(self):
        """It shows which broker it is, and the names of the options."""
        broker = Broker('redis://:s3cret@host/0', {
            'broker_transport_options': {'password': 's3cret'}}, 1.0, 10.0)
        for shown in repr(broker), str(broker), f'{broker}', f'{[broker]}':
            self.assertNotIn('s3cret', shown)
            self.assertIn('redis://**@host/0', shown)
            self.assertIn('broker_transport_options', shown)

    def test_log_of_who_sends(self):
        """What clients of brokers say may have anything in it."""
        options = {'broker_transport_options': {'password': 'an0ther'}}
        setProductConfiguration('gocept.async', {
            'celery-broker': 'redis://:s3cret@127.0.0.1:1/0',
            'celery-options': json.dumps(options)})
        sender = celerybroker.Sender(celerybroker.broker())
        with unittest.mock.patch.object(
                sender, '_publish',
                side_effect=OSError('s3cret an0ther')), \
                self.assertLogs(celerybroker.log) as logs:
            sender.send('events', [{}])
        self.assertIn('(** **)', logs.output[0])
        self.assertEqual('no ** here', celerybroker.hide('no s3cret here'))

    def test_counts_are_not_trusted(self):
        """A broker may say anything of its messages."""
        sender = celerybroker.Sender(Broker(URL, {}, 1.0, 10.0))
        channel = unittest.mock.Mock()
        for said, believed in ((0, 0), (5, 5), (None, 1), (-1, 1), ('7', 1),
                               (True, 1), (1.5, 1), ([], 1)):
            channel.queue_declare.return_value.message_count = said
            with unittest.mock.patch.object(sender, '_producer') as producer:
                producer().connection.default_channel = channel
                self.assertEqual(believed, sender.waiting('events'), said)

    def test_threads(self):
        """How many jobs run at a time is said to Celery."""
        verifyObject(IProcessorFactory, celery_factory)
        celery_factory.check(1)
        with self.assertRaisesRegex(ValueError, '--concurrency'):
            celery_factory.check(2)

    def test_not_installed(self):
        """The message says how to install it."""
        with unittest.mock.patch.object(
                celerybroker, 'is_installed', lambda: False), \
                self.assertRaisesRegex(ValueError, 'pip install'):
            celery_factory.check(1)


class SentTest(unittest.TestCase):

    def setUp(self):
        self.clock = Clock()
        patch = unittest.mock.patch('time.monotonic', self.clock)
        patch.start()
        self.addCleanup(patch.stop)
        self.sent = Sent()
        self.waiting = Waiting((5, 0), {}, 0.0, True)

    def is_lost_after(self, seconds):
        now, self.clock.now = self.clock.now, self.clock.now + seconds
        try:
            return self.sent.is_lost(self.waiting, 0.0)
        finally:
            self.clock.now = now

    def test_queue_is_emptied(self):
        """What the patience is counts when it is asked for, not before."""
        self.sent.be_patient(10.0, messages=5)
        self.sent.remember([self.waiting])
        self.assertFalse(self.is_lost_after(299))
        self.sent.be_patient(10.0, messages=0)
        self.assertFalse(self.is_lost_after(9))
        self.assertTrue(self.is_lost_after(10))

    def test_sent_again(self):
        """Each time twice as long; then it is forgotten."""
        self.sent.be_patient(10.0, messages=0)
        for wait in 10, 20, 40, 80, 160, 300, 300:
            self.sent.remember([self.waiting])
            self.assertFalse(self.is_lost_after(wait - 1))
            self.assertTrue(self.is_lost_after(wait))
        self.clock.now += 601
        self.sent.remember([])
        self.assertEqual({}, self.sent._sent)


class Declaration:
    """What the test says of a service."""

    error = None

    def __init__(self, name):
        self.name = name

    def find(self, root):
        if self.error is not None:
            raise self.error
        return root.get('tasks')


class ProcessorTest(CeleryCase):

    def test_interface(self):
        """It is a processor, and has no thread."""
        made = self.start()
        verifyObject(IProcessor, made)
        self.assertIsNone(made.thread)
        self.assertFalse(made.threads)
        self.assertFalse(made.processNext())
        self.assertTrue(self.service.isProcessing())

    def test_sent_after_the_commit(self):
        """Neither before that, nor when the transaction is aborted."""
        self.start()
        jobid = self.service.add('test.task', 1)
        self.assertEqual([], self.sender.sent)
        transaction.commit()
        self.assertEqual([('tasks', jobid)], self.sender.sent)
        self.service.add('test.task', 1)
        transaction.abort()
        self.assertEqual(1, len(self.sender.sent))

    def test_failed_commit(self):
        """Nothing is sent of a job that conflicts have kept out."""
        self.start()
        self.service.add('test.task', 1)
        self.service.paused = False
        with self.elsewhere() as service:
            service.paused = False
        with self.assertRaises(ConflictError):
            transaction.commit()
        transaction.abort()
        self.assertEqual([], self.sender.sent)

    def test_what_is_not_due(self):
        """Delayed jobs and cron jobs stay in the database."""
        self.start()
        self.service.add('test.task', 1, delay=60)
        self.service.add('test.task', 1, startLater=True)
        self.service.addCronJob('test.task', 1, hour=(2,))
        self.service.addCronJob('test.task', 1, delay=5)
        transaction.commit()
        self.assertEqual([], self.sender.sent)

    def test_other_service(self):
        """A processor is not told of the jobs of others."""
        made = self.start()
        made.place = made.db, self.root._p_oid
        self.add('test.task', 1)
        self.assertEqual([], self.sender.sent)

    def test_address(self):
        """It is made of strings and numbers, and waits for the commit."""
        made = self.start()
        sent = []
        made.send = sent.extend
        jobid = self.add('test.task', 1)
        self.assertEqual([{
            'database': self.db.database_name, 'service': 'tasks',
            'job': jobid, 'attempt': 1,
            'tid': self.job(jobid)._p_serial.hex()}], sent)

    def declare(self, *declarations):
        self.enterContext(unittest.mock.patch.object(
            processor, 'declarations', lambda: declarations))

    def test_queue(self):
        """It is named after the declaration."""
        self.declare(Declaration('mine'))
        self.assertEqual('mine', self.start().queue)

    def test_queue_while_another_database_is_away(self):
        """That of another service keeps nobody from sending."""
        other = Declaration('a')
        other.error = OSError('away')
        self.declare(other, Declaration('mine'))
        self.assertEqual('mine', self.start().queue)

    def test_queue_while_its_own_database_is_away(self):
        """Nothing is sent to a queue that may be another one."""
        mine = Declaration('mine')
        mine.error = OSError('away')
        self.declare(mine)
        made = self.start()
        with self.assertRaisesRegex(OSError, 'away'):
            made.queue  # noqa: B018
        mine.error = None
        self.assertEqual('mine', made.queue)

    def test_no_broker(self):
        """The request goes on; the log says what is missing."""
        with unittest.mock.patch.object(
                celerybroker, 'sender',
                side_effect=LookupError('no broker')), \
                self.assertLogs('gocept.async_', 'ERROR'):
            self.start()
            jobid = self.add('test.task', 1)
        self.assertEqual('queued', self.job(jobid).status)
