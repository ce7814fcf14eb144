"""async-jobs move: a service with its jobs goes to another database."""

import collections
import contextlib
import copyreg
import functools
import io
import json
import time
import unittest.mock

import BTrees.OOBTree
import persistent
import transaction
import ZODB
import zope.component
import zope.component.hooks
import zope.location
from BTrees.Length import Length
from BTrees.OOBTree import OOTreeSet
from persistent.wref import WeakRef
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError
from ZODB.POSException import POSKeyError
from ZODB.utils import oid_repr
from ZODB.utils import p64
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

from gocept.async_ import database
from gocept.async_.manage import command
from gocept.async_.manage import desk
from gocept.async_.manage import moving
from gocept.async_.move import copying
from gocept.async_.move import handover
from gocept.async_.move import reference
from gocept.async_.testing import login
from gocept.async_.testing import process
from gocept.async_.tests import configuration
from gocept.async_.tests import sample
from gocept.async_.tests.functional import FunctionalTestCase
from gocept.async_.tests.functional import add_service
from lovely.remotetask import TaskService
from lovely.remotetask import named
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import IJobExecution
from lovely.remotetask.interfaces import IOperations
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.storage.lane import SEGMENT_SIZE
from lovely.remotetask.tests.test_copies import clone


class Loner(persistent.Persistent):
    """An argument that is nowhere in the content."""

    value = 0


class Money:
    """A value with a keyword, and the usual recipe for that."""

    def __init__(self, amount, cur):
        self.amount, self.cur = amount, cur

    def __reduce__(self):
        return functools.partial(Money, cur=self.cur), (self.amount,)


class Unreadable(persistent.Persistent):
    """Something that does not say where it is."""

    @property
    def __parent__(self):
        raise SystemExit()


@sample.function('events')
def grow(content, number):
    """Change something that is stored."""
    content.value = content.value + number


@sample.function('events')
def keep(money, content):
    """Store what a value says."""
    content.value = money.amount, money.cur


class MoveCase(FunctionalTestCase):

    def setUp(self):
        super().setUp()
        self.db = self.layer.db
        # The names of the storages put them behind that of the layer.
        for name in ('jobs', 'more'):
            made = ZODB.DB(MappingStorage(name), database_name=name,
                           databases=self.db.databases)
            self.addCleanup(made.close)
        self.addCleanup(self.layer._close_db)
        self.addCleanup(zope.component.hooks.setSite, None)
        self.enterContext(unittest.mock.patch.object(
            desk, 'opened', self.opened))
        self.content_name = self.db.database_name
        # What has run the jobs of a test is gone at once.
        self.enterContext(unittest.mock.patch.object(
            moving, 'SILENT', -3600))

    @contextlib.contextmanager
    def opened(self, path):
        yield desk.Desk(self.db, path)

    def move(self, to, *args, code=0, site='/'):
        """Run the command, as if `to` were declared.  Return what it says."""
        transaction.commit()
        application = unittest.TestCase()
        configuration.declare(application, 'events', site=site, database=(
            '' if to == self.content_name else to))
        out, self.complaints = io.StringIO(), io.StringIO()
        try:
            with (contextlib.redirect_stdout(out),
                  contextlib.redirect_stderr(self.complaints),
                  self.assertRaises(SystemExit) as caught):
                command.main(['zope.conf', 'move', *args])
        finally:
            application.doCleanups()
            transaction.begin()
        self.assertEqual(code, caught.exception.code, (
            out.getvalue(), self.complaints.getvalue()))
        self.service = zope.component.getUtility(
            ITaskService, 'events', context=self.root)
        return out.getvalue()

    def is_in(self):
        """Return the name of the database in which the service is."""
        return self.service._p_jar.db().database_name

    def kept(self, name):
        """Return the names by which a database refers to services."""
        found = self.root._p_jar.get_connection(name).root()
        return sorted(found.get(database.KEY, ()))

    def last_transactions(self):
        return {name: each.lastTransaction()
                for name, each in self.db.databases.items()}

    def fill(self):
        """Add jobs of every kind."""
        login('zope.user')
        self.root['content'] = self.content = sample.Content()
        self.content.value = 0
        transaction.commit()
        sample.fail('no')
        sample.add(1, 2)
        self.service.addCronJob('echo', {'a': [1]}, hour=3)
        process('events', raise_errors=False)
        operations = IOperations(self.service)
        grow(self.content, 1)
        for _ in range(20):
            sample.record('x')
        sample.record.enqueue_with(delay=3600, priority=9)('later')
        self.service.add('echo', 'start', startLater=True)
        operations.cancel(self.service.add('echo', 'cancelled'))
        cron = self.service.addCronJob(sample.context, hour=2)
        operations.pause_job(cron)
        named.put(self.service, 'nightly', named.Wanted(
            'echo', None, {'hour': 4}, ()))
        held = self.service.add('echo', 'held')
        job = self.service.jobs[held]
        self.service.store.change(job, job.hold, 'because', 1.0)
        transaction.commit()

    def told(self):
        """Return what there is to be told of the jobs, and of the service."""
        jobs = {job.id: (
            job.status, job.task, job.priority, repr(job.error), job.created,
            job.started, job.completed, len(job.history), job.function,
            job.principal, getattr(job, 'paused', None),
            getattr(job, 'name', None), job.due)
            for job in self.service.jobs.values()}
        return (jobs, self.service.counts(), [
            tuple(each) for each in IOperations(self.service).actions()],
            [job.id for job in self.service.cron_jobs()])


class CopiedTest(MoveCase):
    """A service that is a copy runs nothing that its original runs."""

    def setUp(self):
        super().setUp()
        self.jobid = self.service.add('echo', 'x', delay=3600)
        self.service.add('echo', 'y')
        transaction.commit()

    def copy(self):
        """Copy the service to another site."""
        self.root['b'] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        site['tasks'] = copied = clone(self.service)
        site.getSiteManager().registerUtility(
            copied, ITaskService, name='events')
        transaction.commit()
        return copied

    def check(self):
        self.move('jobs', site='/b')
        moved = zope.component.getUtility(
            ITaskService, 'events', context=self.root['b'])
        self.assertEqual('jobs', moved._p_jar.db().database_name)
        self.assertIsNone(moved.claimNextJob(time.time() + 7200))
        self.assertEqual(2, moved.counts()[HELD])
        self.assertEqual(HELD, moved.getStatus(self.jobid))

    def test_new(self):
        """No processor has met the copy before it is moved."""
        self.copy()
        self.check()

    def test_known(self):
        """One has, and the job waits for its time."""
        self.service.hasJobsWaiting()
        transaction.commit()
        copied = self.copy()
        self.assertFalse(copied.processNext())
        transaction.commit()
        self.assertEqual(QUEUED, copied.getStatus(self.jobid))
        self.check()


class MoveTest(MoveCase):

    def test_there_and_back(self):
        """All is as it was, and goes on; ids stay, and so does the content.
        """
        self.fill()
        told = self.told()
        for name in ('jobs', 'more', self.content_name, 'jobs'):
            said = self.move(name)
            self.assertIn(f'to "{name}"', said)
            self.assertEqual(name, self.is_in())
            self.assertEqual(told, self.told())
        self.check_goes_on()

    def check_goes_on(self):
        before = set(self.service.jobs)
        sample.calls.clear()
        zope.component.hooks.setSite(self.root)
        sample.record('new')
        transaction.commit()
        process('events', after=24 * 3600, raise_errors=False)
        transaction.begin()
        self.assertEqual(1, self.root['content'].value)
        self.assertEqual(
            20, sample.calls.count((('x',), {})), sample.calls)
        self.assertIn((('later',), {}), sample.calls)
        self.assertEqual(1, len(set(self.service.jobs) - before))
        self.assertEqual(0, self.service.counts()['queued'])
        self.assertEqual([], self.service.unreadable())

    def test_nothing_is_left(self):
        """The database of before refers to it no longer."""
        self.fill()
        self.move('jobs')
        self.assertEqual(1, len(self.kept('jobs')))
        old = self.service
        self.move('more')
        self.assertEqual(([], 1), (self.kept('jobs'), len(self.kept('more'))))
        self.assertIsNot(old, self.service)
        folder = self.service.__parent__
        self.assertIs(self.service, folder[self.service.__name__])
        self.assertEqual([('events', self.service)], [
            (each.name, each.component) for each
            in self.root.getSiteManager().registeredUtilities()
            if each.provided is ITaskService])

    def test_second_time(self):
        self.move('jobs')
        before = self.last_transactions()
        self.assertIn('as declared', self.move('jobs'))
        self.assertEqual(before, self.last_transactions())

    def test_dry_run(self):
        self.fill()
        before = self.last_transactions()
        said = self.move('jobs', '--dry-run')
        self.assertIn(f'{len(self.jobs())} jobs, would be moved from the '
                      f'database "{self.content_name}" to "jobs"', said)
        found = json.loads(self.move('jobs', '--dry-run', '--json'))
        self.assertEqual(
            (self.content_name, 'jobs', len(self.jobs()), False),
            (found['from'], found['to'], found['jobs'], found['moved']))
        self.assertEqual(before, self.last_transactions())
        self.assertEqual(self.content_name, self.is_in())

    def test_objects_that_are_nowhere_else(self):
        """They stay, are kept, and are the same for the jobs."""
        loner = Loner()
        grow(loner, 3)
        transaction.commit()
        oid = loner._p_oid
        self.assertIn('1 objects', self.move('jobs'))
        process('events')
        self.root._p_jar.cacheMinimize()
        self.assertEqual(3, self.root._p_jar.get(oid).value)
        self.assertEqual(1, len(self.root._p_jar.root()[handover.LEFT]))

    def test_objects_that_were_removed(self):
        """A job that waits needs them, whatever their parents are."""
        self.root['folder'] = folder = Folder()
        folder['order'] = order = sample.Content()
        located = Loner()
        order.value = 0
        zope.location.locate(located, folder, 'located')
        grow(order, 3)
        grow(located, 4)
        transaction.commit()
        del self.root['folder']
        self.assertIn('2 objects', self.move('jobs'))
        self.assert_kept(order, located)

    def assert_kept(self, *objects):
        """They are there for the jobs, and no packing throws them away."""
        kept, = self.root._p_jar.root()[handover.LEFT].values()
        self.assertEqual({each._p_oid for each in objects},
                         {each._p_oid for each in kept})
        self.root._p_jar.cacheMinimize()
        process('events')
        self.assertEqual(0, self.service.counts()['queued'])
        self.assertEqual([], self.service.unreadable())

    def test_objects_with_odd_parents(self):
        """They are kept: whether they are in the content is not known."""
        objects = [Loner() for _ in range(5)]
        for each in objects:
            grow(each, 1)
        self.root['order'] = Loner()
        looped, nowhere, elsewhere, moved, unreadable = objects
        zope.location.locate(looped, looped, 'looped')
        zope.location.locate(nowhere, self.root, 'nowhere')
        # Another object has its place.
        zope.location.locate(elsewhere, self.root, 'order')
        zope.location.locate(moved, Loner(), 'moved')
        transaction.commit()
        # To call something with it would fail.
        zope.location.locate(unreadable, Unreadable(), 'unreadable')
        self.assertIn('5 objects', self.move('jobs'))
        self.assert_kept(*objects)

    def test_objects_of_the_content(self):
        """They are not kept once more, site managers and their folders too.
        """
        self.root['shop'] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        site['order'] = Loner()
        for each in (self.root, site, site['order'],
                     site.getSiteManager(), site.getSiteManager()['default'],
                     self.root.getSiteManager()):
            self.service.add('echo', [each])
        self.assertNotIn('objects', self.move('jobs'))
        self.assertNotIn(handover.LEFT, self.root._p_jar.root())

    def test_arguments_that_move_too(self):
        """The service, and its jobs, wherever they are among the others."""
        first = self.service.add('echo', None)
        jobid = self.service.add('echo', self.service)
        for _ in range(2 * SEGMENT_SIZE):
            self.service.add('echo', None)
        last = self.service.add('echo', None)
        jobs = self.service.jobs
        jobs[first].input = [jobs[last], jobs[jobid]]
        jobs[last].input = WeakRef(jobs[first])
        self.move('jobs')
        jobs = self.service.jobs
        self.assertIs(self.service, jobs[jobid].input)
        self.assertEqual([jobs[last], jobs[jobid]], jobs[first].input)
        self.assertIs(jobs[first], jobs[last].input())

    def test_arguments_that_are_made_by_calls(self):
        """What lies beside them is still the same object."""
        self.root['content'] = content = sample.Content()
        content.value = 0
        transaction.commit()
        keep(Money(5, 'EUR'), content)
        self.move('jobs')
        process('events')
        transaction.begin()
        self.assertEqual((5, 'EUR'), content.value)

    def test_input_of_old(self):
        """The jobs of lovely.remotetask 0.5 refer to content themselves."""
        self.root['content'] = sample.Content()
        found = {'tree': BTrees.OOBTree.OOBTree(), 'set': OOTreeSet(),
                 'length': Length()}
        self.root['content'].value = found
        jobids = [self.service.add('echo', None) for _ in found]
        for jobid, value in zip(jobids, found.values(), strict=True):
            job = self.service.jobs[jobid]
            vars(job)['input'] = [value] if jobid == jobids[0] else value
            job._p_changed = True
        self.move('jobs')
        inputs = [self.service.jobs[jobid].input for jobid in jobids]
        for value, kept in zip(
                [inputs[0][0], *inputs[1:]], found.values(), strict=True):
            self.assertEqual(
                (self.content_name, kept._p_oid),
                (value._p_jar.db().database_name, value._p_oid))

    def test_service_in_a_site(self):
        """It is that of the site, under both of its names."""
        self.root['shop'] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        service = add_service(site, 'events')
        site.getSiteManager().registerUtility(
            service, ITaskService, name='other')
        zope.component.hooks.setSite(site)
        sample.record('in the site')
        transaction.commit()
        outer = self.service
        self.move('jobs', site='/shop')
        self.assertEqual(self.content_name, self.is_in())
        self.assertIs(outer, self.service)
        moved = site['tasks']
        self.assertEqual('jobs', moved._p_jar.db().database_name)
        for name in ('events', 'other'):
            self.assertIs(moved, zope.component.getUtility(
                ITaskService, name, context=site))
        moved.process()
        self.assertEqual([(('in the site',), {})], sample.calls)

    def test_annotations(self):
        """What is stored with the service of the application's own stays."""
        self.service.__annotations__ = persistent.mapping.PersistentMapping(
            {'mine': Loner()})
        self.move('jobs')
        self.assertEqual(0, self.service.__annotations__['mine'].value)

    def test_subscribers(self):
        """They are told, as of any object that goes, and comes."""
        seen = []
        manager = zope.component.getGlobalSiteManager()

        def note(event):
            seen.append((type(event).__name__,
                         event.object._p_jar.db().database_name))
        for event in (zope.lifecycleevent.IObjectRemovedEvent,
                      zope.lifecycleevent.IObjectAddedEvent):
            manager.registerHandler(note, (event,))
            self.addCleanup(manager.unregisterHandler, note, (event,))
        self.move('jobs')
        self.assertEqual([('ObjectRemovedEvent', self.content_name),
                          ('ObjectAddedEvent', 'jobs')], seen)


class UnreadableTest(MoveCase):

    def test_class_that_is_gone(self):
        """It is moved as it is, and runs when the class is there again."""
        gone = type('Gone', (persistent.Persistent,), {'__module__': 'shop'})
        with unittest.mock.patch.dict('sys.modules', shop=(
                unittest.mock.MagicMock(__name__='shop', Gone=gone))):
            self.service.add('echo', gone())
            self.service.add('echo', [gone()])
            transaction.commit()
        self.fill()
        self.service._p_jar.cacheMinimize()
        told = self.told()
        self.move('jobs')
        self.assertEqual(told, self.told())

    def test_record_that_is_broken(self):
        """What cannot be read stays like that; the others are moved."""
        self.fill()
        job = next(iter(self.service.find(status='queued').jobs))
        oid, jobid = job._p_oid, job.id
        load = copying.quirks.load
        with unittest.mock.patch.object(
                copying.quirks, 'load', lambda connection, each: (
                    b'nonsense' if each == oid else load(connection, each))):
            counts = self.service.counts()
            self.move('jobs')
        self.assertEqual(counts, self.service.counts())
        self.assertIn('cannot be read', self.service.jobs[jobid].error)

    def test_record_that_is_missing(self):
        self.fill()
        job = next(iter(self.service.find(status='queued').jobs))
        oid, jobid = job._p_oid, job.id
        load = copying.quirks.load

        def lacking(connection, each):
            if each == oid:
                raise POSKeyError(each)
            return load(connection, each)
        with unittest.mock.patch.object(copying.quirks, 'load', lacking):
            self.move('jobs')
        self.assertTrue(self.service.jobs[jobid].error)


    def test_argument_that_is_missing(self):
        """The job still has none; others keep what they need."""
        gone, loner = Loner(), Loner()
        grow(gone, 1)
        grow(loner, 1)
        transaction.commit()
        oid = gone._p_oid
        get = ZODB.Connection.Connection.get

        def lacking(connection, each):
            if each == oid:
                raise POSKeyError(each)
            return get(connection, each)
        with unittest.mock.patch.object(
                ZODB.Connection.Connection, 'get', lacking):
            self.assertIn('1 objects', self.move('jobs'))
        self.assertEqual(2, self.service.counts()['queued'])


class RefusedTest(MoveCase):

    def assert_refused(self, text, to='jobs', code=3):
        self.move(to, code=code)
        self.assertIn(text, self.complaints.getvalue())
        self.assertEqual(self.content_name, self.is_in())

    def test_worker(self):
        self.service.add('echo')
        transaction.commit()
        IJobExecution(self.service).claim('host:1:thread:token', 1)
        with unittest.mock.patch.object(moving, 'SILENT', 60):
            self.assert_refused('host:1:thread was heard of')
        self.assertIn('stop all processes', self.complaints.getvalue())
        self.move('jobs')
        self.assertEqual('jobs', self.is_in())

    def test_somebody_writes(self):
        """Before the copy takes its place; nothing is lost then."""
        self.fill()
        told = self.told()
        arrive = handover.arrive

        def meddle(*args):
            with self.db.transaction() as connection:
                connection.root()['meddled'] = True
            return arrive(*args)
        with unittest.mock.patch.object(handover, 'arrive', meddle):
            self.assert_refused('somebody has written to the database')
        self.assertEqual(told, self.told())
        # What is left of that is given up by the next one.
        self.assertEqual(1, len(self.kept('jobs')))
        self.move('jobs')
        self.assertEqual(1, len(self.kept('jobs')))
        self.assertEqual('jobs', self.is_in())
        self.assertEqual(told, self.told())

    def test_somebody_writes_at_the_last_moment(self):
        """While the transaction of the change is about to commit."""
        self.fill()
        told = self.told()
        replace = handover._replace

        def meddle(*args):
            replace(*args)
            manager = transaction.TransactionManager()
            connection = self.db.open(manager)
            connection.root()['meddled'] = True
            manager.commit()
            connection.close()
        with unittest.mock.patch.object(handover, '_replace', meddle):
            self.assert_refused('somebody has written to the database')
        self.assertEqual(told, self.told())

    def test_somebody_adds(self):
        """A call that is committed afterwards is made again: nothing is lost.
        """
        self.fill()
        for args in (('echo', 'x'), ('echo', 'x', False, 8)):
            before = self.is_in()
            manager = transaction.TransactionManager()
            connection = self.db.open(manager)
            service = connection.get_connection(before).get(
                self.service._p_oid)
            service.add(*args)
            self.move('jobs' if before != 'jobs' else 'more')
            self.assertNotEqual(before, self.is_in())
            with self.assertRaises(ConflictError):
                manager.commit()
            manager.abort()
            connection.close()

    def test_other_counts(self):
        self.fill()
        with unittest.mock.patch.object(
                TaskService, 'counts',
                side_effect=[{'queued': 1}, {'queued': 1}, {}]):
            self.assert_refused('the copy has other jobs')

    def test_references_that_cannot_be_read(self):
        """They would lead to something else in the other database."""
        self.fill()
        told = self.told()
        oid = next(iter(self.service.find(status='queued').jobs))._p_oid
        load = copying.quirks.load

        def load_unknown(connection, each):
            # Nobody has registered this number of a class.
            return load(connection, each)[:-1] + (
                b'\x82\x630.' if each == oid else b'.')
        with unittest.mock.patch.object(copying.quirks, 'load', load_unknown):
            self.assert_refused(f'{oid_repr(oid)} in the database "main"')
        self.assertIn('extension code 99', self.complaints.getvalue())
        self.assertEqual(told, self.told())
        self.assertEqual([], self.kept('jobs'))

    def test_old_data(self):
        self.service.schema = 0
        self.assert_refused('earlier code')

    def test_class_of_the_application(self):
        self.root.getSiteManager().unregisterUtility(
            self.service, ITaskService, 'events')
        self.root['own'] = own = sample.Content()
        zope.interface.alsoProvides(own, ITaskService)
        self.root.getSiteManager().registerUtility(
            own, ITaskService, 'events')
        self.assert_refused('a class of your own')


class ReferenceTest(unittest.TestCase):
    """Records in which references are replaced."""

    OID = p64(7)

    def record(self, state):
        """Return the bytes of a record whose state refers to something."""
        connection = ZODB.DB(MappingStorage('a'), databases={}).open()
        self.addCleanup(connection.db().close)
        self.addCleanup(transaction.abort)
        other = persistent.mapping.PersistentMapping()
        made = persistent.mapping.PersistentMapping(state(other))
        connection.root()['made'] = made
        connection.root()['other'] = other
        transaction.commit()
        self.other = other._p_oid
        return connection._storage.load(made._p_oid)[0]

    def test_each_place(self):
        """However they are nested, and however often they are there."""
        for state in (
                lambda each: {'a': each},
                lambda each: {'a': [each, (each, {'b': each})], 'c': each},
                lambda each: {'a': {1: ('x', each)}, 'b': b'Q' * 100},
                lambda each: {'a': ([each],) * 3, 'b': [each] * 2000},
                lambda each: {'a': {frozenset('ab'), 'b'}, 'c': each}):
            data = self.record(state)
            found = reference.read(data)
            self.assertEqual({self.other},
                             {each.oid for each in found.references})
            for made in (
                    reference.Reference(self.OID),
                    reference.Reference(self.OID, ('shop', 'Näme')),
                    reference.Reference(self.OID, None, 'main'),
                    reference.Reference(self.OID, ('a.b', 'C'), 'other db'),
                    reference.Reference(self.OID, None, 'main', True),
                    reference.Reference(self.OID, None, None, True)):
                new = reference.rewritten(data, found, lambda _: made)  # noqa: B023
                self.assertEqual(
                    [made] * len(found.references),
                    reference.read(new).references)

    def test_each_way_to_make_objects(self):
        """Records have references whatever is done to what they name."""
        for value in (
                Money(5, 'EUR'), {Money(5, 'EUR'): 1}, ByMeta, ByMeta(),
                Filled(([1, 2], None)), Filled((None, [(1, 2), (3, 4)])),
                collections.OrderedDict(a=1), collections.deque([1])):
            data = self.record(lambda each: {'a': value, 'b': each})  # noqa: B023
            found = reference.read(data)
            self.assertEqual(
                [self.other], [each.oid for each in found.references], value)

    def test_strings_of_python_2(self):
        """They may have any bytes, and so have the oids that they are."""
        oid = b'\xff' * 8
        data = self.record(lambda each: {'a': each})
        data = data[:-1] + b'U\x01\xff0U\x08' + oid + b'Q0.'
        self.assertEqual(
            [self.other, oid],
            [each.oid for each in reference.read(data).references])

    def test_what_is_no_record(self):
        """It refers to nothing: it is moved as it is."""
        data = self.record(lambda each: {'a': each})
        self.assertTrue(reference.refers(data))
        self.assertFalse(reference.refers(self.record(lambda each: {'a': 1})))
        for broken in data[:-1], data[:20], b'nonsense', b'':
            self.assertFalse(reference.refers(broken))

    def test_classes_that_are_not_named(self):
        """References to their objects do without; so do their records."""
        stored = StoredByMeta()
        found = reference.read(self.record(
            lambda each: {'a': each, 'b': stored}))
        self.assertIn(reference.Reference(stored._p_oid), found.references)
        again = reference.read(stored._p_jar._storage.load(stored._p_oid)[0])
        self.assertIsNone(again.class_)

    def test_no_code_is_run(self):
        """Whatever the classes do when they are loaded."""
        data = self.record(lambda each: {'a': each, 'b': Exploding()})
        with unittest.mock.patch.object(
                Exploding, '__setstate__', side_effect=SystemExit):
            self.assertEqual(1, len(reference.read(data).references))

    def test_nothing_to_replace(self):
        data = self.record(lambda each: {'a': b'Q', 'b': 'Q'})
        self.assertIs(data, reference.rewritten(
            data, reference.read(data), None))


class Exploding:

    def __init__(self):
        self.a = 1

    def __setstate__(self, state):
        """As usual."""


class Meta(type):
    """A class of classes that pickles make by a call."""


def make_class(name):
    """Return the class of a name."""
    return globals()[name]


copyreg.pickle(Meta, lambda class_: (make_class, (class_.__name__,)))


class ByMeta(metaclass=Meta):
    """A value of a class that a pickle makes."""


class StoredByMeta(persistent.Persistent, metaclass=Meta):
    """An object of its own, of such a class."""


class Filled:
    """A value that a pickle fills like a list or a dict."""

    def __init__(self, items):
        self.items = items

    def __reduce__(self):
        return (functools.partial(Filled, self.items), (), {'a': 1},
                *(each and iter(each) for each in self.items))

    def append(self, value):
        """As usual."""

    def __setitem__(self, key, value):
        """As usual."""
