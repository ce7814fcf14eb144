"""What goes to the broker, when, and what does not; without a broker."""

import concurrent.futures
import time
import unittest
import unittest.mock

import transaction
import zope.component
from persistent.timestamp import TimeStamp
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import ConflictError
from zope.app.appsetup.product import setProductConfiguration
from zope.configuration.exceptions import ConfigurationError
from zope.interface.verify import verifyObject

from gocept.async_ import celerybroker
from gocept.async_ import celeryworker
from gocept.async_.celerybroker import Breaker
from gocept.async_.celerybroker import Broker
from gocept.async_.celerybroker import Sender
from gocept.async_.celeryprocessor import CeleryProcessor
from gocept.async_.celeryprocessor import celery_factory
from gocept.async_.celerysent import Sent
from gocept.async_.celerysent import Waiting
from gocept.async_.interfaces import IBroker
from gocept.async_.testing import FUNCTIONAL_LAYER
from gocept.async_.tests.configuration import execute
from lovely.remotetask import registry
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import IProcessor
from lovely.remotetask.interfaces import IProcessorFactory
from lovely.remotetask.tests.fixture import DatabaseCase
from lovely.remotetask.tests.fixture import effect


URL = 'redis://127.0.0.1:1/0'


def tid_at(seconds):
    """Return the id of a transaction at a time (POSIX seconds)."""
    return TimeStamp(*time.gmtime(seconds)[:6]).raw()


class Clock:
    """Shows the time that a test says."""

    now = 100.0

    def __call__(self):
        return self.now


class FakeSender:
    """Keeps what it is given."""

    broker = Broker(URL, {}, 1.0, 10.0)
    # In the queue; None: the broker does not answer.
    messages = 0

    def __init__(self):
        self.sent = []

    def send(self, queue, addresses):
        if self.messages is None:
            return 0
        self.sent += [(queue, address['job']) for address in addresses]
        return len(addresses)

    def waiting(self, queue):
        return self.messages


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

    def test_what_is_not_installed(self):
        """It will not be there later, either: an error at the start."""
        with self.assertRaisesRegex(KeyError, 'No such transport: pigeon'):
            Sender(Broker('pigeon://127.0.0.1', {}, 1.0, 10.0))

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
                ('{"task_serializer": "pickle"}', 'task_serializer')):
            with self.subTest(options), self.assertRaisesRegex(
                    ConfigurationError, reason):
                execute(self, f"<async:celery options='{options}' />")

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


class CeleryCase(DatabaseCase):

    def setUp(self):
        super().setUp()
        self.sender = FakeSender()
        patch = unittest.mock.patch.object(
            celerybroker, 'sender', lambda: self.sender)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(registry.stop_all, 0)
        self.service_task(effect)

    def start(self, factory=CeleryProcessor):
        made = self.processor(factory)
        made.service_db, made.service_oid = self.jobs_db, self.service._p_oid
        registry.start_processor(made)
        return made


class AttendanceTest(unittest.TestCase):

    def enter(self, attendance):
        """Do what the rounds begin with."""
        attendance._report(celeryworker.attempt(attendance.enter_declared))

    def test_service_that_cannot_be_entered(self):
        """It does not keep others out, and is told of once, not each round.
        """
        entered = []

        def of(database, path):
            entered.append(path)
            if path == 'broken':
                raise LookupError('no such thing')
        attendance = celeryworker.Attendance(unittest.mock.Mock())
        attendance.of = of
        declared = [unittest.mock.Mock(**{'find.return_value': name})
                    for name in ('broken', 'good')]
        with unittest.mock.patch.multiple(
                celeryworker, root_folder=unittest.mock.MagicMock(),
                declared=lambda: declared), \
                unittest.mock.patch.object(
                    celeryworker.registry, 'service_path', lambda name: name
                    ), \
                self.assertLogs(celeryworker.log, 'WARNING') as logs:
            for _ in range(3):
                self.enter(attendance)
        self.assertEqual(['broken', 'good'] * 3, entered)
        self.assertEqual(1, len(logs.output))


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


class ProcessorTest(CeleryCase):

    def test_interface(self):
        """It is a processor, and has no thread."""
        made = self.start()
        verifyObject(IProcessor, made)
        self.assertIsNone(made.thread)
        self.assertEqual([], made.threads)
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
        made.service_oid = self.root._p_oid
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

    def test_no_broker(self):
        """The request goes on; the log says what is missing."""
        with unittest.mock.patch.object(
                celerybroker, 'sender',
                side_effect=LookupError('no broker')), \
                self.assertLogs('gocept.async_', 'ERROR'):
            self.start()
            jobid = self.add('test.task', 1)
        self.assertEqual('queued', self.job(jobid).status)


class AttendantTest(CeleryCase):

    def setUp(self):
        super().setUp()
        self.attendant = self.start(celeryworker.Attendant)
        self.enter(self.attendant)

    def enter(self, attendant):
        """Let an attendant be known, as the first sweep does."""
        with self.elsewhere() as service:
            service.enter(attendant.worker_id)

    def run_job(self, jobid, tid=None):
        return self.attendant.run_job(
            jobid, tid or self.jobs_db.lastTransaction())

    def later(self, seconds):
        return time.time() + seconds

    def test_runs_once(self):
        """The second message of a job finds nothing to do."""
        jobid = self.add('test.task', 'a')
        self.assertTrue(self.run_job(jobid))
        self.assertFalse(self.run_job(jobid))
        self.attendant.settle()
        self.assertFalse(self.run_job(jobid))
        self.assertEqual(['a'], self.effects)
        self.assertEqual(COMPLETED, self.job(jobid).status)
        self.assertEqual(1, self.service.counts()[COMPLETED])

    def test_waits_for_the_transaction(self):
        """A message that comes before the commit is not lost."""
        jobid = self.service.add('test.task', 'a')
        tid = tid_at(time.time() + 30)
        looks = []

        def sleep(seconds):
            looks.append(seconds)
            if len(looks) == 3:
                with self.elsewhere():
                    pass
                self.jobs_db.lastTransaction = lambda: tid
        transaction.commit()
        with unittest.mock.patch('time.sleep', sleep):
            self.assertTrue(self.run_job(jobid, tid))
        self.assertEqual(3, len(looks))
        self.assertEqual(['a'], self.effects)

    def test_does_not_wait_for_ever(self):
        """What is not seen in time is left to another message."""
        with unittest.mock.patch.object(celeryworker, 'PATIENCE', 0), \
                self.assertLogs(celeryworker.log, 'WARNING'):
            self.assertFalse(self.run_job(2 ** 40, tid_at(time.time() + 30)))

    def test_does_not_wait_for_what_nobody_has_committed(self):
        """A message may be forged; it is not to hold a thread up."""
        jobid = self.add('test.task', 'a')
        with unittest.mock.patch('time.sleep', self.fail):
            self.assertTrue(self.run_job(jobid, tid_at(time.time() + 600)))

    def test_sweep_of_what_was_sent(self):
        """A job is taken for lost only after a while."""
        jobid = self.add('test.task', 'a')
        self.assertEqual(0, self.attendant.sweep())
        self.assertEqual(1, self.attendant.sweep(self.later(11)))
        self.assertEqual([('tasks', jobid)] * 2, self.sender.sent)
        # And not again at once.
        self.assertEqual(0, self.attendant.sweep(self.later(11)))

    def test_sweep_of_another_attempt(self):
        """It is sent when it is due, though the one before was just sent."""
        jobid = self.add('test.task', 'a')
        self.attendant.sweep(self.later(11))
        job = self.job(jobid)
        job.attempts, job.due = 1, time.time()
        transaction.commit()
        self.assertEqual(1, self.attendant.sweep())

    def test_sweep_while_there_are_messages(self):
        """Much later: most likely its own is among them."""
        self.sender.messages = 1000
        self.add('test.task', 'a')
        self.assertEqual(0, self.attendant.sweep(self.later(11)))
        self.assertEqual(1, self.attendant.sweep(self.later(301)))

    def test_sweep_without_a_broker(self):
        """Nothing is noted as sent."""
        self.sender.messages = None
        self.add('test.task', 'a')
        self.assertEqual(0, self.attendant.sweep(self.later(11)))
        self.sender.messages = 0
        self.assertEqual(1, self.attendant.sweep(self.later(11)))

    def test_sweep_of_what_is_due(self):
        """Sent when due, for nobody has sent it before."""
        jobid = self.add('test.task', 'a', delay=60)
        self.assertEqual(0, self.attendant.sweep())
        self.assertEqual(1, self.attendant.sweep(self.later(61)))
        self.assertEqual([('tasks', jobid)], self.sender.sent)

    def test_one_of_several_sweeps(self):
        """While it lives; two would send each job twice."""
        second = celeryworker.Attendant(
            self.attendant.db, self.attendant.servicePath)
        self.addCleanup(second.close)
        first, second = sorted(
            [self.attendant, second], key=lambda each: each.worker_id)
        for attendant in first, second:
            self.assertTrue(attendant.run_job(
                self.add('test.task', 'a'), self.db.lastTransaction()))
        self.add('test.task', 'b')
        self.assertEqual(0, second.sweep(self.later(11)))
        self.assertEqual(1, first.sweep(self.later(11)))
        first.close()
        self.assertEqual(1, second.sweep(self.later(11)))

    def test_who_sweeps_is_chosen(self):
        """Of many that have nothing to run, and so are not known yet."""
        with self.elsewhere() as service:
            service.stop_worker(self.attendant.worker_id)
        crowd = [self.attendant, *(
            celeryworker.Attendant(self.db, self.attendant.servicePath)
            for _ in range(7))]
        for attendant in crowd:
            self.addCleanup(attendant.close)
            self.assertEqual(0, attendant.sweep())
        self.assertEqual([], list(self.service.store.workers))
        self.add('test.task', 'a', delay=60)
        first = sum(each.sweep(self.later(61)) for each in crowd)
        second = sum(each.sweep(self.later(61)) for each in crowd)
        self.assertEqual((0, 1), (first, second))
        leader, = [each for each in crowd if each._leading]
        self.assertTrue(leader._beats(celeryworker.processor.HEARTBEAT * 9e9))

    def test_sweep_leaves_no_trace(self):
        """It claims nothing."""
        jobid = self.add('test.task', 'a')
        self.attendant.sweep(self.later(11))
        self.assertEqual('queued', self.job(jobid).status)
        self.assertEqual([], self.service.held(self.attendant.worker_id))
        self.assertTrue(self.run_job(jobid))

    def test_paused(self):
        """A service that is paused is left alone."""
        self.service.paused = True
        jobid = self.add('test.task', 'a')
        self.assertEqual(0, self.attendant.sweep(self.later(11)))
        self.assertFalse(self.run_job(jobid))

    def test_orphan(self):
        """A message for a job whose process is gone: it is run at once."""
        jobid = self.add('test.task', 'a')
        machine = self.attendant.worker_id.rpartition(':')[2].split('-')[0]
        self.service.claim_job(f'host:{2 ** 22 + 1}:x:{machine}-x', jobid)
        transaction.commit()
        with self.assertLogs('lovely.remotetask', 'WARNING'):
            self.assertTrue(self.run_job(jobid))
        self.assertEqual(['a'], self.effects)
        self.assertEqual(2, self.job(jobid).attempts)

    def test_stopped(self):
        """It settles what was run, and leaves no record."""
        self.run_job(self.add('test.task', 'a'))
        registry.stop_all(0)
        transaction.begin()
        self.assertEqual([], list(self.service.store.workers))
        self.assertEqual(1, self.service.counts()[COMPLETED])

    def test_answer_of_a_commit_is_lost(self):
        """The claim is there, and nobody knows: it is made once more."""
        jobid = self.add('test.task', 'a')
        with self.elsewhere() as service:
            service.claim_job(self.attendant.worker_id, jobid)
        self.assertTrue(self.run_job(jobid))
        self.assertEqual(1, self.job(jobid).attempts)

    def test_claim_that_nobody_runs(self):
        """It is dropped."""
        jobid = self.add('test.task', 'a')
        with self.elsewhere() as service:
            service.claim_job(self.attendant.worker_id, jobid)
        self.run_job(self.add('test.task', 'b'))
        self.attendant.tend()
        self.assertEqual('queued', self.job(jobid).status)

    def test_content_cannot_be_seen(self):
        """The job waits again, and this is no attempt."""
        jobid = self.add('test.task', 'a')
        with unittest.mock.patch.object(
                self.attendant, '_catch_up', side_effect=ClientDisconnected), \
                self.assertRaises(ClientDisconnected):
            self.run_job(jobid)
        self.attendant.tend()
        self.assertEqual('queued', self.job(jobid).status)
        self.assertTrue(self.run_job(jobid))
        self.assertEqual(1, self.job(jobid).attempts)

    def test_message_of_a_job_that_runs_here(self):
        """It does not touch the claim of the thread that has the job."""
        again = []

        def task(service, input):
            again.append(self.in_thread(self.run_job, *service.jobs))
            self.in_thread(self.attendant.settle, True)
            again.append(self.in_thread(held))

        def held():
            with self.elsewhere() as service:
                return service.held(self.attendant.worker_id)
        self.service_task(task, 'test.other')
        jobid = self.add('test.other', 'a')
        self.assertTrue(self.run_job(jobid))
        self.assertEqual([False, [jobid]], again)

    def in_thread(self, call, *args):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(call, *args).result()

    def test_next_attempt_before_the_claim_is_settled(self):
        """No count is lost with the claim of the attempt before."""
        runs = []

        def task(service, input):
            runs.append(input)
            if len(runs) == 1:
                raise ConflictError
        self.service_task(task, 'test.other')
        jobid = self.add('test.other', 'a')
        with self.assertLogs('lovely.remotetask', 'WARNING'):
            self.assertTrue(self.run_job(jobid))
        with unittest.mock.patch('time.time', return_value=self.later(60)):
            self.assertTrue(self.run_job(jobid))
        self.attendant.tend()
        transaction.begin()
        counts = {status: number for status, number
                  in self.service.counts().items() if number}
        self.assertEqual({COMPLETED: 1}, counts)

    def test_settles_before_there_are_many(self):
        """Each claim would write those once more that were run before."""
        with unittest.mock.patch.object(celeryworker, 'SETTLE_AT', 3):
            for number in range(5):
                self.run_job(self.add('test.task', number))
        transaction.begin()
        self.assertEqual(
            2, len(self.service.held(self.attendant.worker_id)))

    def test_beats(self):
        """A worker whose job takes long is heard of."""
        jobid = self.add('test.task', 'a')
        self.attendant._begin(jobid)
        self.attendant._claim_job(jobid)
        worker_id = self.attendant.worker_id
        transaction.begin()
        self.service.beat(worker_id, 0)
        transaction.commit()
        self.attendant.tend()
        transaction.begin()
        worker = self.service.store.workers[worker_id]
        self.assertGreater(worker.heartbeat.time, time.time() - 5)
