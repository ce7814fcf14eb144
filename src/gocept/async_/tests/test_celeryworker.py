"""Messages reach declared services only, and wait while nothing works."""

import unittest.mock

import transaction
from ZODB.POSException import ConflictError

from gocept.async_.celery import worker
from gocept.async_.celery.attendant import Attendant
from gocept.async_.celery.attendant import Interrupted
from gocept.async_.celery.worker import Attendance
from gocept.async_.celery.worker import GivenBack
from gocept.async_.celery.worker import NotDeclared
from gocept.async_.tests.celerycase import CeleryCase
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import NoSuchService
from lovely.remotetask.running.gate import ProcessorStopped


class Declaration:
    """What the test says of a service at a path."""

    processorFactory = 'celery'

    def __init__(self, *path):
        self.name = path[-1]
        self.path = path
        self.error = None

    def find(self, root):
        if self.error is not None:
            raise self.error
        for name in self.path:
            root = root.get(name)
            if root is None:
                return None
        return root


class Clock:

    now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class AttendanceCase(CeleryCase):

    def setUp(self):
        super().setUp()
        self.root['others'] = TaskService()
        transaction.commit()
        self.declarations = [Declaration('tasks')]
        for name, value in (
                ('declarations', lambda: self.declarations),
                ('is_for_celery',
                 lambda each: each.processorFactory == 'celery')):
            patch = unittest.mock.patch.object(worker, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.attendance = Attendance(self.db)

    def address(self, **said):
        return {'database': self.db.database_name, 'service': 'tasks',
                'job': 0, 'attempt': 1,
                'tid': self.jobs_db.lastTransaction().hex(), **said}

    def run_job(self, **said):
        return self.attendance.run(self.address(**said))


class ServicesTest(AttendanceCase):

    def test_declared(self):
        """Its jobs are run."""
        jobid = self.add('test.task', 'a')
        self.assertTrue(self.run_job(job=jobid))
        self.assertEqual(['a'], self.effects)

    def test_others(self):
        """Nothing else is, whatever its address; each kind is told of once.
        """
        jobid = self.root['others'].add('test.task', 'a')
        transaction.commit()
        self.declarations.append(Declaration('others'))
        self.declarations[-1].processorFactory = 'multi'
        addresses = [{'service': 'others'}, {'service': ''},
                     {'service': 'effects'}, {'service': '../others'},
                     {'service': 'tasks/'}, {'service': 'tasks/x'},
                     {'service': '/tasks'}, {'service': 'x\ny' * 1000},
                     {'database': 'other'}, {'database': 'x' * 10_000}]
        with self.assertLogs(worker.log, 'WARNING') as logs:
            for said in addresses * 5:
                self.assertIs(False, self.run_job(job=jobid, **said))
        self.assertEqual(1, len(logs.output))
        self.assertLess(len(logs.output[0]), 400)
        self.assertNotIn('\n', logs.output[0])
        self.assertEqual([], self.effects)

    def test_traversal(self):
        """No object is even looked at that a message names."""
        with unittest.mock.patch.object(
                worker, 'root_folder', side_effect=self.fail), \
                self.assertRaises(NotDeclared):
            self.attendance.of('no database', ['others'])
        self.attendance.enter_declared()
        with unittest.mock.patch.object(
                Attendant, 'run_job', side_effect=self.fail), \
                self.assertLogs(worker.log, 'WARNING'):
            self.run_job(service='others')

    def test_site_that_was_added(self):
        """The first message finds its service."""
        self.declarations.append(Declaration('new'))
        self.attendance.enter_declared()
        self.root['new'] = service = TaskService()
        transaction.commit()
        jobid = service.add('test.task', 'a')
        transaction.commit()
        self.assertTrue(self.run_job(service='new', job=jobid))

    def test_service_that_lies_in_no_folder(self):
        """It is left alone, as one that is not there."""
        self.root.lost = TaskService()
        transaction.commit()
        self.declarations.append(Declaration('lost'))
        self.declarations[-1].find = lambda root: root.lost
        self.attendance.enter_declared()
        with self.assertRaises(NotDeclared):
            self.attendance.of(self.db.database_name, [])

    def test_site_that_was_removed(self):
        """Its messages are refused; what comes to its place is another one.
        """
        self.attendance.enter_declared()
        del self.root['tasks']
        transaction.commit()
        self.attendance.enter_declared()
        with self.assertRaises(NotDeclared):
            self.attendance.of(self.db.database_name, ['tasks'])
        self.root['tasks'] = service = TaskService()
        transaction.commit()
        jobid = service.add('test.task', 'a')
        transaction.commit()
        self.assertTrue(self.run_job(job=jobid))

    def test_replaced_between_two_rounds(self):
        """The one that was declared is meant, not what lies there now."""
        self.attendance.enter_declared()
        del self.root['tasks']
        self.root['tasks'] = service = TaskService()
        transaction.commit()
        jobid = service.add('test.task', 'a')
        transaction.commit()
        with self.assertLogs(worker.log, 'WARNING'):
            self.assertFalse(self.run_job(job=jobid))
        self.assertEqual([], self.effects)
        self.attendance.enter_declared()
        self.assertTrue(self.run_job(job=jobid))

    def test_odd_declaration(self):
        """It does not keep others out, nor does it let go of anything."""
        self.declarations.insert(0, Declaration('odd'))
        self.attendance.enter_declared()
        self.declarations[0].error = TypeError('odd')
        jobid = self.add('test.task', 'a')
        with self.assertLogs('gocept.async_', 'ERROR') as logs:
            for _ in range(5):
                self.attendance.make_round()
        self.assertEqual(1, len(logs.output))
        self.assertIn('cannot look after all declared services: odd',
                      logs.output[0])
        self.assertTrue(self.run_job(job=jobid))

    def test_each_service_by_itself(self):
        """One that cannot be looked after does not keep others waiting."""
        self.declarations += [Declaration('others'), Declaration('gone')]
        seen = []

        def sweep(attendant):
            seen.append(attendant.servicePath)
            if attendant.servicePath == ['tasks']:
                raise TypeError('odd')
        with unittest.mock.patch.object(Attendant, 'sweep', sweep), \
                self.assertLogs('lovely.remotetask', 'WARNING') as logs:
            self.attendance.enter_declared()
            for _ in range(3):
                self.attendance.make_round()
        self.assertEqual([['tasks'], *[['others']] * 3], sorted(
            seen, reverse=True))
        self.assertEqual(1, len(logs.output))


class OutageTest(AttendanceCase):
    """While the database, or the process, cannot be worked with."""

    def setUp(self):
        super().setUp()
        self.clock = Clock()
        for name in 'monotonic', 'sleep':
            patch = unittest.mock.patch(
                f'time.{name}', getattr(self.clock, name, self.clock))
            patch.start()
            self.addCleanup(patch.stop)
        self.attendance = Attendance(self.db, lambda: self.stopping)
        self.stopping = False
        self.attendance.enter_declared()
        self.tried = []

    def failing(self, error, times=1):
        """Let running a job fail for some times, then work.

        error -- class.
        """
        left = [error] * times

        def run_job(attendant, jobid, tid):
            self.tried.append(self.clock.now)
            if left:
                raise left.pop()('odd')
            return True
        return unittest.mock.patch.object(Attendant, 'run_job', run_job)

    def test_works_again(self):
        """The message waits, with pauses that grow, and its job is run."""
        with self.failing(Interrupted, 4), \
                self.assertLogs(worker.log, 'INFO') as logs:
            self.assertTrue(self.run_job())
        pauses = [after - before for before, after
                  in zip(self.tried, self.tried[1:], strict=False)]
        self.assertEqual(4, len(pauses))
        self.assertEqual(pauses, sorted(pauses))
        self.assertGreater(pauses[-1], 3)
        # One for the outage, one for its end.
        self.assertEqual(2, len(logs.output))

    def test_lasts(self):
        """The message is given back, not acknowledged, and nothing spins."""
        with self.failing(Interrupted, 10_000), \
                self.assertLogs(worker.log, 'WARNING') as logs:
            while self.clock.now < 3600:
                with self.assertRaises(GivenBack):
                    self.run_job()
        self.assertLess(len(self.tried), 3600 / 5)
        self.assertLess(len(logs.output), 15)

    def test_conflicts(self):
        """Those that do not end are like an outage."""
        with self.failing(ConflictError), \
                self.assertLogs(worker.log, 'WARNING'):
            self.assertTrue(self.run_job())

    def test_stopping(self):
        """A worker that is to end does not wait."""
        self.stopping = True
        with self.failing(Interrupted), self.assertRaises(GivenBack), \
                self.assertLogs(worker.log, 'WARNING'):
            self.run_job()
        self.assertLess(self.clock.now, 1)

    def test_ending(self):
        """Nothing can be committed any more; the message is kept."""
        with self.failing(ProcessorStopped), \
                self.assertRaises(GivenBack), \
                self.assertNoLogs(worker.log, 'WARNING'):
            self.run_job()

    def test_odd_job(self):
        """It holds nobody up; another message will come."""
        for error in TypeError, NoSuchService, KeyError:
            with self.failing(error), self.assertLogs(worker.log):
                attendance = Attendance(self.db)
                attendance.enter_declared()
                self.assertIs(False, attendance.run(self.address()))
        self.assertEqual(0, self.clock.now)

    def test_odd_jobs(self):
        """One line, and others now and then."""
        with self.failing(TypeError, 1000), \
                self.assertLogs(worker.log) as logs:
            for number in range(1000):
                self.run_job(job=number)
        self.assertEqual(1, len(logs.output))
        self.assertIn('builtins.TypeError: odd', logs.output[0])
