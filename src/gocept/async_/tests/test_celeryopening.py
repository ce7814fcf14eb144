"""A process of a Celery worker opens the database, beside others that do."""

import unittest
import unittest.mock

import ZODB
import zope.app.appsetup.appsetup
import zope.event
import zope.processlifetime
from celery.exceptions import Reject
from celery.exceptions import WorkerShutdown
from ZODB.POSException import ConflictError

from gocept.async_.celery import application
from gocept.async_.celery import worker
from gocept.async_.celery.entrance import Entrance
from lovely.remotetask import retry
from lovely.remotetask.running import quirks
from lovely.remotetask.running.application import OPENINGS
from lovely.remotetask.running.application import Configuration
from lovely.remotetask.tests.fixture import logged


class OpeningTest(unittest.TestCase):

    def setUp(self):
        self.opened = []
        self.failures = []
        for owner, name, value in (
                (application, 'configuration', lambda: Configuration(
                    'zope.conf', unittest.mock.Mock())),
                (retry.time, 'sleep', lambda seconds: None),
                (zope.app.appsetup.appsetup, 'multi_database',
                 self.multi_database),
                (zope.event, 'notify', self.notify)):
            self.enterContext(unittest.mock.patch.object(owner, name, value))

    def multi_database(self, databases):
        db = ZODB.DB(None)
        self.addCleanup(self.close, db)
        self.opened.append(db)
        return [db], {}

    def notify(self, event):
        self.assertTrue(zope.processlifetime.IDatabaseOpened.providedBy(event))
        if self.failures:
            raise self.failures.pop()

    def close(self, db):
        if not quirks.is_closed(db):
            db.close()

    def test_others_start_at_the_same_time(self):
        """Who was slower to make the root folder tries once more."""
        self.failures = [ConflictError(), ConflictError()]
        found = application._open()
        self.assertIs(self.opened[-1], found)
        self.assertEqual(3, len(self.opened))
        self.assertEqual([True, True, False],
                         list(map(quirks.is_closed, self.opened)))

    def test_what_is_wrong_for_good(self):
        """What trying again does not help is raised at once."""
        self.failures = [ValueError('no')]
        with self.assertRaises(ValueError):
            application._open()
        self.assertEqual(1, len(self.opened))

    def test_opened_again(self):
        """A job has closed the database, and the server is away: the message
        stays in the broker, and nothing of the error leaves the worker.
        """
        slept = []
        now = [0.0]

        def sleep(seconds):
            slept.append(seconds)
            now[0] += seconds
        with unittest.mock.patch.multiple(
                application.time, sleep=sleep, monotonic=lambda: now[0]), \
                unittest.mock.patch.object(
                    application, '_open', side_effect=OSError('s3cret')), \
                unittest.mock.patch.object(
                    application, '_attendance', None), \
                logged('gocept.async_.celery') as lines, \
                self.assertRaises(Reject) as raised:
            application._run({})
        self.assertTrue(raised.exception.requeue)
        self.assertGreater(sum(slept), 10)
        self.assertNotIn('s3cret', f'{lines} {raised.exception}')

    def test_it_has_an_end(self):
        """Where it never works, that is raised in the end."""
        self.failures = [ConflictError()] * 100
        with self.assertRaises(ConflictError):
            application._open()
        self.assertEqual(OPENINGS, len(self.opened))


class EntranceTest(unittest.TestCase):
    """A process of a pool starts while the database is away."""

    def setUp(self):
        self.now = 0.0
        self.entrance = Entrance()
        self.enterContext(unittest.mock.patch.multiple(
            application.time, sleep=self.sleep, monotonic=lambda: self.now))
        self.enterContext(unittest.mock.patch.multiple(
            application, entrance=self.entrance, _attendance=None,
            _open=unittest.mock.Mock(side_effect=OSError('refused'))))

    def sleep(self, seconds):
        self.now += seconds

    def enter(self, said):
        """Let a process start, and end.  Return after how many seconds."""
        with self.assertLogs(application.log, 'ERROR') as logs, \
                self.assertRaises(WorkerShutdown):
            application._enter_process()
        self.assertIn(said, logs.output[0])
        return self.now

    def test_replaced(self):
        """It ends later: the pool starts the next one at once."""
        self.entrance.report(True)
        self.assertAlmostEqual(
            worker.LONGEST_PAUSE, self.enter('another one is started'), 0)

    def test_first(self):
        """The worker ends, so nobody waits."""
        self.assertEqual(0, self.enter('this worker cannot run jobs'))

    def test_worker_that_ends(self):
        """Nor does anybody if it is to end."""
        self.entrance.report(True)
        self.entrance.close()
        self.assertEqual(0, self.enter('this process cannot run jobs'))
