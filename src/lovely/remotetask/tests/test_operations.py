"""What people do is done, permitted, and remembered."""

import unittest.mock

import transaction
import zope.event
from transaction.interfaces import TransientError
from ZODB.POSException import ReadOnlyError
from zope.interface.verify import verifyObject
from zope.security.interfaces import Unauthorized
from zope.securitypolicy.interfaces import IPrincipalPermissionManager

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import IAction
from lovely.remotetask.interfaces import IActionTaken
from lovely.remotetask.interfaces import IOperations
from lovely.remotetask.operations import Operations
from lovely.remotetask.storage import actions
from lovely.remotetask.storage import tidy
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.test_crons import NOON
from lovely.remotetask.tests.test_security import LocalCase
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import StoreCase
from lovely.remotetask.tests.test_xmlrpc import MANAGE


OPERATE = 'lovely.remotetask.Operate'


class OperationsCase(StoreCase):

    def setUp(self):
        super().setUp()
        self.operations = Operations(self.service, 'jane')

    def failed(self, count):
        ids = [self.service.add('test.task', 'fail') for _ in range(count)]
        transaction.commit()
        self.claim(count)
        self.finish()
        return ids

    def done(self):
        """Return what was done, as who, what, job and number."""
        transaction.begin()
        return [(action.who, action.what, action.job, action.number)
                for action in self.operations.actions()]


class DoneTest(OperationsCase):

    def test_interface(self):
        self.assertTrue(verifyObject(IOperations, self.operations))
        self.operations.cancel(self.add('test.task'))
        action, = self.operations.actions()
        self.assertTrue(verifyObject(IAction, action))
        self.assertIs(self.service, action.__parent__)

    def test_one_job(self):
        """It is done, and remembered: the last first."""
        jobid, = self.failed(1)
        for what in ('requeue', 'cancel', 'copy', 'remove'):
            self.assertTrue(getattr(self.operations, what)(jobid))
            transaction.commit()
        self.assertNotIn(jobid, self.service.jobs)
        self.assertEqual([
            ('jane', 'remove', jobid, 1), ('jane', 'copy', jobid, 1),
            ('jane', 'cancel', jobid, 1), ('jane', 'requeue', jobid, 1)],
            self.done())

    def test_in_vain(self):
        """What changes nothing is not remembered; nor is an error."""
        jobid = self.add('test.task')
        self.assertFalse(self.operations.requeue(jobid))
        self.assertFalse(self.operations.pause_job(jobid))
        self.assertFalse(self.operations.resume())
        self.assertEqual(0, self.operations.clean())
        for call in (self.operations.requeue, self.operations.remove,
                     self.operations.copy, self.operations.run_now,
                     self.operations.pause_job, self.operations.update_cron):
            with self.assertRaises(KeyError):
                call(42)
        for call in (self.operations.run_now, self.operations.update_cron):
            with self.assertRaisesRegex(ValueError, f'{jobid} is no cron'):
                call(jobid)
        self.assertEqual([], self.done())

    def test_cron(self):
        """A cron job is paused, resumed, changed, and run besides."""
        jobid = self.service.addCronJob('test.task', minute=(0,))
        transaction.commit()
        self.claim(now=NOON + 1)
        copied = self.operations.run_now(jobid)
        transaction.commit()
        self.assertEqual([copied], self.claim(now=NOON + 1))
        self.operations.update_cron(jobid, minute=(30,))
        transaction.commit()
        self.claim(now=NOON + 1)
        self.assertEqual((30,), self.job(jobid).minute)
        self.assertEqual(NOON + 1800, self.job(jobid).due)
        with self.assertRaises(ValueError):
            self.operations.update_cron(jobid, minute=(99,))
        self.operations.pause_job(jobid)
        self.operations.resume_job(jobid)
        transaction.commit()
        self.assertEqual(CRONJOB, self.job(jobid).status)
        self.assertEqual(
            ['resume_job', 'pause_job', 'update_cron', 'run_now'],
            [what for _, what, _, _ in self.done()])

    def test_processing(self):
        """What cannot be remembered is not done."""
        with unittest.mock.patch.object(
                TaskService, 'startProcessing') as start, \
                unittest.mock.patch.object(
                    TaskService, 'stopProcessing') as stop:
            with unittest.mock.patch.object(
                    self.connection, 'isReadOnly', lambda: True):
                for call in (self.operations.start_processing,
                             self.operations.stop_processing):
                    with self.assertRaises(ReadOnlyError):
                        call()
            self.assertFalse(start.called or stop.called)
            self.operations.start_processing()
            self.operations.stop_processing()
            self.assertTrue(start.called and stop.called)

    def test_service(self):
        """It is paused, resumed and cleaned."""
        self.failed(3)
        self.assertTrue(self.operations.pause())
        self.assertTrue(self.service.paused)
        self.assertFalse(self.operations.pause())
        self.assertTrue(self.operations.resume())
        self.assertEqual(3, self.operations.clean(iter([ERROR, ERROR])))
        self.assertEqual(0, self.operations.clean(ERROR))
        for wrong in QUEUED, [QUEUED]:
            with self.assertRaisesRegex(ValueError, "'queued'"):
                self.operations.clean(wrong)
        transaction.commit()
        self.assertEqual([
            ('jane', 'clean', None, 3), ('jane', 'resume', None, 0),
            ('jane', 'pause', None, 0)], self.done())


class SomeTest(OperationsCase):
    """Slices."""

    def all(self, what, **selection):
        """Do all slices.  Return them."""
        slices, after = [], None
        for _ in range(1000):
            slices.append(getattr(self.operations, f'{what}_some')(
                after=after, **selection))
            transaction.commit()
            after = slices[-1].after
            if after is None:
                return slices
        return self.fail('There is no last slice.')

    def test_all(self):
        """Each does as many as it may; together they do all."""
        ids = self.failed(130)
        self.add('test.task')
        as_of = self.service.find().as_of
        slices = self.all('requeue', status=ERROR, limit=60, as_of=as_of)
        self.assertEqual([60, 60, 10], [each.done for each in slices])
        self.check_counts()
        self.assertEqual(
            {QUEUED}, {self.service.getStatus(jobid) for jobid in ids})
        # One action, of all slices.
        self.assertEqual([('jane', 'requeue_some', None, 130)], self.done())
        action, = self.operations.actions()
        self.assertEqual(
            (('as_of', as_of), ('status', ERROR)), action.selection)

    def test_what_was_not_seen(self):
        """What has failed since the page was shown is left alone."""
        seen = self.failed(30)
        transaction.begin()
        as_of = self.service.find(status=ERROR).as_of
        again = seen[::3]
        for jobid in again:
            self.service.requeue(jobid)
        transaction.commit()
        later = self.failed(20)
        self.all('remove', status=ERROR, as_of=as_of, limit=7)
        self.assertCountEqual([*again, *later], self.service.jobs)

    def test_deadline(self):
        """It ends after a time, and the next one gets on."""
        self.failed(5)
        slices = self.all('cancel', deadline=0)
        self.assertLessEqual(5, len(slices))
        slices = self.all('remove', deadline=0)
        self.assertEqual([1] * 5, [each.done for each in slices if each.done])

    def test_skipped(self):
        """What it cannot be done to is told, and stops nothing."""
        ids = [self.add('test.task') for _ in range(4)]
        crons = [self.service.addCronJob('test.task', minute=(0,))
                 for _ in range(2)]
        transaction.commit()
        self.claim(2)
        done, skipped, after = self.operations.remove_some()
        self.assertEqual((4, 2, None), (done, skipped, after))
        transaction.abort()
        for jobid in crons:
            self.service.cancel(jobid)
        # Earlier versions took those.
        self.job(crons[0]).dayOfMonth = (30,)
        self.service.jobs[crons[0]].month = (2,)
        for jobid in (ids[2], *crons):
            self.service.cancel(jobid)
        transaction.commit()
        self.assertEqual(
            (2, 1), self.operations.requeue_some(status=CANCELLED)[:2])

    def test_filters(self):
        """Whatever `find` can select by."""
        self.failed(3)
        name = self.service.find(status=ERROR).jobs[0].errorClass
        self.assertEqual(0, self.operations.requeue_some(
            errorClass='Other', status=ERROR).done)
        self.assertEqual(3, self.operations.requeue_some(
            errorClass=name, since=NOW, until=NOW + 1, status=ERROR).done)

    def test_bad_input(self):
        self.failed(2)
        for bad in ({'status': 'asleep'}, {'as_of': 'x'}, {'limit': 0},
                    {'limit': 'a'}, {'after': 'x'}, {'function': 1}):
            with self.subTest(**bad), self.assertRaises(ValueError):
                self.operations.remove_some(**bad)
        with self.assertRaises(TypeError):
            self.operations.remove_some(colour='red')
        self.assertEqual(2, len(self.service.jobs))

    def test_two_managers(self):
        """The second of two meets a conflict, and finds less to do."""
        self.failed(10)
        other = Opened(self)
        transaction.begin()
        self.operations.requeue_some(status=ERROR)
        others = Operations(other.service, 'joe')
        others.requeue_some(status=ERROR)
        transaction.commit()
        with self.assertRaises(TransientError):
            other.commit()
        other.abort()
        self.assertEqual(0, others.requeue_some(status=ERROR).done)
        self.assertEqual([('jane', 'requeue_some', None, 10)], self.done())


class ActionsTest(OperationsCase):
    """Who writes what, and how much is kept."""

    def test_two_at_once(self):
        """Two people who act at the same moment do not meet."""
        first, second = self.add('test.task'), self.add('test.task')
        self.operations.pause()
        transaction.commit()
        other = Opened(self)
        for number in range(30):
            transaction.begin()
            other.manager.begin()
            what = 'requeue' if number % 2 else 'cancel'
            getattr(self.operations, what)(first)
            getattr(Operations(other.service, 'joe'), what)(second)
            transaction.commit()
            other.commit()
        self.assertEqual(61, len(self.done()))
        self.assertEqual({'jane', 'joe'}, {who for who, *_ in self.done()})

    def test_those_who_add_write_nothing(self):
        """Nor do processors, nor applications that cancel jobs."""
        self.operations.cancel(self.add('test.task'))
        transaction.commit()
        before = self.jobs_db.lastTransaction()
        self.service.cancel(self.add('test.task'))
        transaction.commit()
        self.failed(3)
        written = {record.oid for found in self.jobs_db.storage.iterator()
                   if found.tid > before for record in found}
        records = [each for each in self.service.store.lanes.values()
                   if each.actions is not None]
        self.assertEqual(1, len(records))
        for record in (records[0], records[0].actions,
                       *records[0].actions.chunks):
            self.assertNotIn(record._p_oid, written)

    def test_last(self):
        """The last 500 are kept, in records of a few of them."""
        jobid = self.add('test.task')
        with unittest.mock.patch.object(actions, 'KEPT', 100):
            for number in range(150):
                what = 'requeue' if number % 2 else 'cancel'
                getattr(self.operations, what)(jobid)
            transaction.commit()
            self.assertEqual(100, len(self.done()))
            log, = [each.actions for each in self.service.store.lanes.values()
                    if each.actions is not None]
            self.assertLessEqual(len(log.chunks), 100 // actions.SIZE + 1)
            self.assertLessEqual(
                max(len(chunk.actions) for chunk in log.chunks), actions.SIZE)
        self.assertEqual(500, actions.KEPT)

    def test_of_dropped_lanes(self):
        """A lane that nobody needs any more leaves them behind."""
        jobid = self.add('test.task')
        self.operations.cancel(jobid)
        self.operations.remove(jobid)
        transaction.commit()
        self.claim()
        store = self.service.store
        for _ in range(2):
            for found in list(store.lanes.values()):
                if found.actions is not None:
                    tidy._retire(store, found)
            transaction.commit()
            self.assertEqual(['remove', 'cancel'],
                             [what for _, what, *_ in self.done()])
            # Of another one there is nothing to keep.
            next(iter(store.lanes.values())).actions = actions.ActionLog()

    def test_unreadable(self):
        """A record that cannot be read hides no others."""
        self.operations.pause()
        transaction.commit()
        log, = [each.actions for each in self.service.store.lanes.values()
                if each.actions is not None]
        log.chunks = (*log.chunks, None)
        other = next(iter(self.service.store.lanes.values()))
        other.actions = actions.ActionLog()
        other.actions.add(actions.Action(1.0, 'joe', 'pause', None, (), 0))
        transaction.commit()
        self.assertIn(('joe', 'pause', None, 0), self.done())

    def test_names(self):
        """However long or strange, they harm nobody."""
        strange = 'x' * 5000, 'a\nb\x1b[31m\ud800', ''
        for who in strange:
            transaction.begin()
            with logged('lovely.remotetask.operations') as lines:
                Operations(self.service, who).cancel(self.add('test.task'))
                transaction.commit()
            self.assertEqual(1, len(lines))
            self.assertNotIn('\n', lines[0])
            self.assertLess(len(lines[0]), 400)
        self.operations.requeue_some(function='f' * 5000)
        self.assertEqual(3, len(self.done()))


class ToldTest(OperationsCase):

    def setUp(self):
        super().setUp()
        self.events = []
        zope.event.subscribers.append(self.note)
        self.addCleanup(zope.event.subscribers.remove, self.note)

    def note(self, event):
        if IActionTaken.providedBy(event):
            self.events.append(event)

    def test_after_the_commit(self):
        """The log, subscribers, and the note of the transaction."""
        jobid, = self.failed(1)
        with logged('lovely.remotetask.operations') as lines:
            self.operations.requeue(jobid)
            self.assertEqual([], lines)
            transaction.commit()
            expected = f'tasks/{jobid}: requeue, by jane'
            self.assertEqual([f'INFO {expected}'], lines)
        event, = self.events
        self.assertTrue(verifyObject(IActionTaken, event))
        self.assertEqual(('tasks',), event.path)
        self.assertEqual(('jane', 'requeue', jobid), event.action[1:4])
        last = list(self.jobs_db.storage.iterator())[-1]
        self.assertIn(expected, last.description.decode())

    def test_many(self):
        self.failed(3)
        with logged('lovely.remotetask.operations') as lines:
            self.operations.requeue_some(status=ERROR)
            transaction.commit()
            self.assertEqual(
                ['INFO tasks: requeue_some, 3 jobs, status=error, by jane'],
                lines)

    def test_not_committed(self):
        """Nothing is told, nor kept, of what was rolled back."""
        jobid, = self.failed(1)
        savepoint = transaction.savepoint()
        self.operations.requeue(jobid)
        savepoint.rollback()
        transaction.commit()
        self.operations.requeue(jobid)
        transaction.abort()
        self.assertEqual([], self.events)
        self.assertEqual([], self.done())

    def test_nobody(self):
        """Without a principal it is known that nobody was logged in."""
        Operations(self.service).pause()
        transaction.commit()
        self.assertIsNone(self.events[0].action.who)
        self.assertEqual([(None, 'pause', None, 0)], self.done())


class AddCronTest(LocalCase):

    def test_without_a_delay(self):
        """One of 0 seconds is none: the job would run every minute."""
        operations = Operations(self.service, 'jane')
        before = len(self.service.jobs)
        for delay in (0, 0.0, -0.0):
            with self.subTest(delay), \
                    self.assertRaisesRegex(ValueError, 'more than 0 sec'):
                operations.add_cron('echo', delay=delay)
        self.assertEqual(before, len(self.service.jobs))
        for delay in (0.5, None):
            operations.add_cron('echo', delay=delay)
        self.assertEqual(before + 2, len(self.service.jobs))


class PermissionTest(LocalCase):

    OPERATED = {'requeue', 'cancel', 'run_now', 'pause_job', 'resume_job',
                'pause', 'resume', 'requeue_some', 'cancel_some'}
    MANAGED = {'remove', 'copy', 'clean', 'add_cron', 'update_cron',
               'remove_some', 'actions', 'start_processing',
               'stop_processing'}

    def allowed(self, service):
        """Return which operations of a service are allowed."""
        operations = IOperations(service)
        found = set()
        for name in self.OPERATED | self.MANAGED:
            try:
                getattr(operations, name)
            except Unauthorized:
                continue
            found.add(name)
        return found

    def test_each(self):
        """Each permission is good for its own, on its service alone."""
        self.assertEqual(
            self.OPERATED | self.MANAGED, set(IOperations) - {'service'})
        self.login()
        self.assertEqual(set(), self.allowed(self.proxied))
        self.grant(OPERATE)
        self.assertEqual(self.OPERATED, self.allowed(self.proxied))
        IPrincipalPermissionManager(self.service).denyPermissionToPrincipal(
            OPERATE, 'zope.user')
        self.grant(MANAGE)
        self.assertEqual(self.MANAGED, self.allowed(self.proxied))

    def test_who(self):
        """Whoever is logged in is remembered."""
        self.grant(OPERATE)
        self.grant(MANAGE)
        operations = IOperations(self.proxied)
        self.assertTrue(operations.requeue(self.ended))
        self.assertEqual(2, operations.cancel_some(status=QUEUED).done)
        found = operations.actions()
        self.assertEqual({'zope.user'}, {action.who for action in found})
        self.assertEqual(
            {'requeue', 'cancel_some'}, {action.what for action in found})

    def test_trusted(self):
        """Trusted code is asked for nothing."""
        self.assertIs(Operations, type(IOperations(self.service)))
        self.assertEqual([], IOperations(self.service).actions())
