"""Records that cannot be read: they are set aside, and all others go on."""

import contextlib
import itertools
import pathlib
import resource
import sys
import time
import types
import unittest.mock

import transaction
import zope.interface.verify
from transaction.interfaces import TransientError
from ZEO.Exceptions import ClientDisconnected
from ZODB.Connection import resetCaches
from ZODB.POSException import ConflictError
from ZODB.POSException import ConnectionStateError
from ZODB.POSException import POSKeyError
from ZODB.POSException import ReadConflictError
from ZODB.POSException import StateLoadError
from ZODB.utils import p64

from lovely.remotetask import TaskService
from lovely.remotetask import bulk
from lovely.remotetask import service
from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import IJob
from lovely.remotetask.interfaces import UnreadableResult
from lovely.remotetask.job import Job
from lovely.remotetask.policy import DAY
from lovely.remotetask.storage import adder
from lovely.remotetask.storage import audit
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage import passing
from lovely.remotetask.storage import removal
from lovely.remotetask.storage import source
from lovely.remotetask.storage.lane import SEGMENT_SIZE
from lovely.remotetask.storage.source import LAST
from lovely.remotetask.tests.fixture import Opened
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.fixture import upkeep
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_selection import StoredCall
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import B
from lovely.remotetask.tests.test_store import StoreCase


class Bomb:
    """Raises something when it is loaded."""

    def __init__(self, exception):
        self.exception = exception

    def __reduce__(self):
        return explode, (type(self.exception), self.exception.args)


def explode(class_, args):
    raise class_(*args)


class Talkative:
    """Says something else each time."""

    numbers = itertools.count(time.time())

    def __reduce__(self):
        return complain, ()


def complain():
    raise ValueError(f'no {next(Talkative.numbers)}')


class Unpleasant(BaseException):
    """Nobody expects it."""


class Call:

    def __init__(self, name):
        self.function_name = name


@contextlib.contextmanager
def limited_memory(size):
    """Let this process have no more memory than it has, and some bytes."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


class UnreadableCase(StoreCase):
    """Records of the database can be made unreadable."""

    def setUp(self):
        super().setUp()
        self.broken = {}
        storage = self.jobs_db.storage
        load = storage.loadBefore

        def load_or_raise(oid, tid):
            how = self.broken.get(oid)
            if isinstance(how, bytes):
                return how, *load(oid, tid)[1:]
            if how is not None:
                raise how
            return load(oid, tid)
        storage.loadBefore = load_or_raise

    def break_(self, record, how=None):
        """Make a record unreadable.

        how -- an exception, or the bytes of a record; by default it is
            missing.
        """
        transaction.commit()
        self.broken[record._p_oid] = how or POSKeyError(record._p_oid)
        self.forget()

    def forget(self):
        """Let no connection have anything in its cache."""
        transaction.abort()
        self.connection.close()
        resetCaches()
        self.connection = self.db.open()
        self.root = self.connection.root()['Application']
        self.service = self.root['tasks']

    def check(self, **expected):
        """Check how many jobs there are by status, and that all are shown."""
        self.forget()
        counts = {status: number for status, number
                  in self.service.counts().items() if number}
        self.assertEqual(expected, counts)
        number = sum(expected.values())
        self.assertEqual(number, len(self.service.jobs))
        self.assertEqual(number, len(list(self.service.jobs.values())))
        self.assertEqual(number, len(dict(self.service.jobs.items())))
        self.assertEqual(number, len(self.service.find().jobs))

    def step(self, worker=A, now=NOW):
        """Do what a processor does; return the ids of what it has claimed."""
        self.forget()
        workers(self.service).release(lambda worker: True, now)
        engine(self.service).settle(worker, [
            jobid for jobid in workers(self.service).claimed_ids(worker)
            if self.service.getStatus(jobid) != PROCESSING])
        claims = engine(self.service).claim(worker, 100, now)
        ids = [claim.job for claim in claims]
        workers(self.service).beat(worker, now)
        upkeep(self.service).prune(100, 0)
        engine(self.service).next_due()
        self.service.oldest_waiting(now)
        engine(self.service).is_behind()
        transaction.commit()
        return ids


class JobTest(UnreadableCase):
    """The record of a job."""

    STATUSES = (QUEUED, 'passed', COMPLETED, ERROR, PROCESSING, CANCELLED,
                STARTLATER, CRONJOB)

    def broken_job(self, status):
        """Return the id of a job with a status that cannot be read."""
        jobid = {
            QUEUED: lambda: self.add('test.task'),
            'passed': lambda: self.add('test.task', delay=100),
            COMPLETED: lambda: self.add('test.task'),
            ERROR: lambda: self.add('test.task', 'fail'),
            PROCESSING: lambda: self.add('test.task'),
            CANCELLED: lambda: self.add('test.task'),
            STARTLATER: lambda: self.add('test.task', startLater=True),
            CRONJOB: lambda: self.service.addCronJob(
                'test.task', minute=(10,))}[status]()
        if status == CANCELLED:
            self.service.cancel(jobid)
        transaction.commit()
        if status != QUEUED:
            self.claim(now=0 if status in ('passed', CRONJOB) else NOW)
        if status in (COMPLETED, ERROR):
            self.finish()
        self.break_(self.service.jobs[jobid])
        return jobid

    def each(self, check, statuses=STATUSES):
        for status in statuses:
            with self.subTest(status):
                check(self.broken_job(status))
                self.broken.clear()
                del self.root['tasks']
                self.root['tasks'] = self.service = TaskService()
                transaction.commit()

    def test_others_go_on(self):
        """Jobs that are added before and after it are run."""
        def check(jobid):
            ids = [self.add('test.task') for _ in range(3)]
            self.assertCountEqual(ids, set(self.step()) - {jobid})
            self.assertEqual([], self.step(B))
        self.each(check)

    def test_shown(self):
        """It is on the pages, has a status and an error, and is a job."""
        def check(jobid):
            for _ in range(2):
                self.assertEqual(HELD, self.service.getStatus(jobid))
                self.assertIn('cannot be read: ZODB.POSException.POSKeyError',
                              self.service.getError(jobid))
                self.assertIsNone(self.service.getResult(jobid))
                job = self.service.jobs[jobid]
                self.assertTrue(
                    zope.interface.verify.verifyObject(IJob, job))
                self.assertIs(self.service, job.__parent__)
                found = [job.id for job in self.service.find().jobs]
                self.assertEqual([jobid], found)
                for selection in ({'function': 'f'}, {'since': 9e9},
                                  {'principal': 'jane'}, {'errorClass': 'E'}):
                    page = self.service.find(**selection)
                    self.assertEqual([], page.jobs)
                self.assertEqual(1, len(self.service.jobs))
                self.step()
        self.each(check)

    def test_counted(self):
        """It is counted as one job, and as held in the end."""
        def check(jobid):
            self.step(now=NOW)
            engine(self.service).settle(A, [jobid])
            transaction.commit()
            self.step(now=NOW)
            self.check(held=1)
            self.assertEqual([jobid], self.service.unreadable())
            page = self.service.find(status=HELD)
            self.assertEqual([jobid], [job.id for job in page.jobs])
        self.each(check)

    def test_removed(self):
        """It can be removed, before and after processors came to it."""
        for step in (False, True):
            def check(jobid, step=step):
                if step:
                    self.step()
                self.assertTrue(self.service.remove(jobid))
                transaction.commit()
                for _ in range(2):
                    self.check()
                    with self.assertRaises(KeyError):
                        self.service.getStatus(jobid)
                    self.step()
                self.assertEqual([], self.service.unreadable())
            self.each(check)

    def test_pruned(self):
        """It does not stay for ever."""
        def check(jobid):
            self.step()
            engine(self.service).settle(A, [jobid])
            transaction.commit()
            self.assertEqual(
                1, upkeep(self.service).prune(100, NOW + 40 * DAY))
            transaction.commit()
            self.check()
        self.each(check)

    def test_in_bulk(self):
        """Many are removed together."""
        def check(jobid):
            self.assertEqual(1, bulk.apply(self.service, 'remove'))
            self.forget()
            self.assertNotIn(jobid, self.service.jobs)
            self.step()
            self.check()
        self.each(check)

    def test_not_to_be_changed(self):
        """What means nothing for it is refused as for any held job."""
        def check(jobid):
            self.step()
            self.assertFalse(self.service.cancel(jobid))
            self.assertFalse(self.service.startJob(jobid))
            self.assertFalse(self.service.requeue(jobid))
            with self.assertRaises(ValueError):
                self.service.reschedule(jobid)
            self.assertFalse(self.service.processNext(NOW, jobid))
            self.assertEqual([], engine(self.service).claim_job(B, jobid, NOW))
        self.each(check)

    def test_cleaned(self):
        """To clean what has ended does not stumble over it."""
        def check(jobid):
            self.service.clean()
            transaction.commit()
            self.step()
        self.each(check)

    def test_readable_again(self):
        """Requeued, it runs once it can be read again."""
        def check(jobid):
            self.step()
            self.broken.clear()
            self.forget()
            self.assertEqual(HELD, self.service.getStatus(jobid))
            self.assertTrue(self.service.requeue(jobid))
            transaction.commit()
            self.assertEqual([jobid], self.step())
            self.assertEqual(PROCESSING, self.service.getStatus(jobid))
            self.finish()
            self.check_counts()
            self.assertTrue(self.service.remove(jobid))
            transaction.commit()
            self.step()
            self.check()
        self.each(check, (QUEUED, 'passed', ERROR, CANCELLED))

    def test_ended_and_readable_again(self):
        """What is at rest is put back where it was."""
        def check(jobid):
            self.step()
            self.broken.clear()
            self.forget()
            self.assertFalse(self.service.requeue(jobid))
            transaction.commit()
            self.check(completed=1)
        self.each(check, [COMPLETED])

    def test_readable_in_time(self):
        """One that was not put aside meanwhile is what it was."""
        jobid = self.broken_job(ERROR)
        self.assertEqual(HELD, self.service.getStatus(jobid))
        self.broken.clear()
        self.forget()
        self.assertEqual(ERROR, self.service.getStatus(jobid))


class BlindTest(UnreadableCase):
    """A processor cannot read what a caller can, in the same moment.

    In a rolling deployment, say, one of them has the class already.
    """

    def change_while_put_aside(self, before, *changes):
        self.jobid = self.add('test.task', 'fail')
        if before == ERROR:
            self.claim()
            self.finish()
        caller = Opened(self)
        for name in changes:
            self.assertTrue(getattr(caller.service, name)(self.jobid))
        processor = Opened(self)
        with self.blind():
            upkeep(processor.service).look_after(NOW)
            engine(processor.service).claim(A, 10, NOW)
        processor.commit()
        caller.commit()
        # It sees the notes.
        with self.blind():
            self.claim()

    @contextlib.contextmanager
    def blind(self):
        """Let nobody read the job."""
        def checked(job, jobid, original=lookup.checked):
            if jobid == self.jobid:
                raise ValueError('its class is not there yet')
            return original(job, jobid)
        with contextlib.ExitStack() as stack:
            for module in lookup, passing, source, removal, audit:
                stack.enter_context(unittest.mock.patch.object(
                    module, 'checked', checked))
            yield

    def test_changed(self):
        """It is held, and is what the caller has made of it afterwards."""
        self.add('test.task')
        for before, changes in (
                (QUEUED, ['cancel']), (ERROR, ['requeue']),
                (ERROR, ['requeue', 'cancel'])):
            with self.subTest(before, changes=changes):
                self.change_while_put_aside(before, *changes)
                self.check_counts()
                self.assertEqual(HELD, self.service.getStatus(self.jobid))
                self.service.requeue(self.jobid)
                transaction.commit()
                self.check_counts()
                self.assertEqual([self.jobid], self.claim())
                self.finish()
                self.check_counts()
                self.service.remove(self.jobid)
                transaction.commit()
                self.claim()
                self.check_counts()

    def test_removed(self):
        """It is gone, also if it can be read later."""
        self.add('test.task')
        for before in QUEUED, ERROR:
            with self.subTest(before):
                self.change_while_put_aside(before, 'remove')
                self.assertNotIn(self.jobid, self.service.jobs)
                self.check_counts()
                self.claim()
                upkeep(self.service).look_after(NOW)
                transaction.commit()
                self.assertNotIn(self.jobid, self.service.jobs)
                self.check_counts()


class KindTest(UnreadableCase):
    """However it comes that a record cannot be read."""

    def setUp(self):
        super().setUp()
        self.jobid = self.add('test.task')
        self.other = self.add('test.task')

    def check_set_aside(self, reason):
        self.assertIn(reason, self.service.getError(self.jobid))
        self.assertEqual([self.other], self.step())
        self.check(held=1, processing=1)

    def test_garbage(self):
        """No pickle at all."""
        self.break_(self.service.jobs[self.jobid], b'garbage')
        self.check_set_aside('cannot be read')

    def test_anything_raised(self):
        """Whatever is raised while it is loaded."""
        for exception in (RuntimeError('no'), SystemExit(3), Unpleasant(),
                          GeneratorExit(), RecursionError(), KeyError('x'),
                          MemoryError('bad length'),
                          FileNotFoundError(2, 'no such file'),
                          # As if it were the database.
                          TransientError(), ConflictError('no'),
                          ReadConflictError('no'), ConnectionStateError()):
            with self.subTest(exception):
                self.jobid = self.add('test.task', 'other')
                self.other = self.add('test.task')
                job = self.service.jobs[self.jobid]
                job.extra = Bomb(exception)
                transaction.commit()
                self.forget()
                self.assertIn(type(exception).__name__,
                              self.service.getError(self.jobid))
                self.assertIn(self.other, self.step())
                self.assertEqual(HELD, self.service.getStatus(self.jobid))
                self.assertTrue(self.service.remove(self.jobid))
                transaction.commit()

    def test_a_class_that_is_gone(self):
        """ZODB loads an object of such a class; it is no job."""
        module = types.ModuleType('test_that_goes')
        class_ = type('OldJob', (Job,), {'__module__': module.__name__})
        module.OldJob = class_
        sys.modules[module.__name__] = module
        self.addCleanup(sys.modules.pop, module.__name__, None)
        place = self.service.store.reserve(5)
        self.jobid = place.id
        self.service.store.add(
            class_(place.id, 'test.task', None), place, QUEUED)
        transaction.commit()
        self.other = self.add('test.task')
        del sys.modules[module.__name__]
        self.forget()
        self.assertIn('test_that_goes.OldJob is gone',
                      self.service.getError(self.jobid))
        self.assertNotIn(self.jobid, self.step())
        self.assertEqual([self.jobid], self.service.unreadable())
        self.assertEqual(PROCESSING, self.service.getStatus(self.other))

    def test_odd_values(self):
        """A record that loads, and cannot be worked with."""
        for name, value in (('priority', Call('x')), ('due', 'tomorrow'),
                            ('created', Call('y')), ('status', 'asleep'),
                            ('id', 42)):
            with self.subTest(name):
                self.jobid = self.add('test.task')
                job = self.service.jobs[self.jobid]
                job._p_changed = True
                job.__dict__[name] = value
                transaction.commit()
                self.forget()
                self.assertEqual(HELD, self.service.getStatus(self.jobid))
                self.step()
                self.assertEqual(HELD, self.service.getStatus(self.jobid))
                self.assertTrue(self.service.remove(self.jobid))
                transaction.commit()

    def test_told(self):
        """The log is told once, without what the class says: it is private.
        """
        self.service.jobs[self.jobid].extra = Talkative()
        transaction.commit()
        with logged('lovely.remotetask') as lines:
            for _ in range(10):
                self.forget()
                self.assertEqual(HELD, self.service.getStatus(self.jobid))
        line, = lines
        self.assertRegex(
            line, r'^WARNING a record cannot be read: ValueError \([^ ]*'
            r'test_unreadable.py:\d+, complain\)$')

    def test_more_than_there_is_memory(self):
        """A record that asks for more than there could be is to blame."""
        # Its state is an empty mapping, said to be the object 2 ** 32 - 1.
        self.break_(self.service.jobs[self.jobid],
                    b'\x80\x03clovely.remotetask.job\nJob\nq\x00.'
                    b'\x80\x03}r\xff\xff\xff\xff.')
        with limited_memory(2 ** 30):
            self.check_set_aside('MemoryError')
            self.assertTrue(self.service.remove(self.jobid))
            transaction.commit()

    def test_no_memory(self):
        """A process that has none is to blame, and no record."""
        self.service.jobs[self.jobid].extra = Bomb(MemoryError())
        transaction.commit()
        self.forget()
        with limited_memory(2 ** 24), self.assertRaises(StateLoadError):
            self.service.getStatus(self.jobid)
        self.assertEqual(HELD, self.service.getStatus(self.jobid))

    def test_trouble_of_the_storage(self):
        """A conflict, or a server that is away, says nothing of a record."""
        for exception in (ReadConflictError(), ClientDisconnected(),
                          MemoryError()):
            with self.subTest(exception):
                self.broken.clear()
                self.forget()
                self.break_(self.service.jobs[self.jobid], exception)
                for call in (lambda: self.service.getStatus(self.jobid),
                             self.service.find,
                             lambda: list(self.service.jobs),
                             lambda: engine(self.service).claim(A, 1, NOW)):
                    with self.assertRaises(type(exception)):
                        call()
                    transaction.abort()
        self.broken.clear()
        self.forget()
        self.assertEqual([self.jobid, self.other], self.step())

    def test_a_closed_database(self):
        """Nor does a connection that is closed."""
        self.forget()
        service = self.service
        service.store.lanes[0]._p_activate()
        self.connection.close()
        with self.assertRaises(ConnectionStateError):
            service.getStatus(self.jobid)


class OtherRecordsTest(UnreadableCase):
    """What is not a job."""

    def test_input(self):
        """An input does not matter before the job is run."""
        jobid = self.add('test.task', StoredCall('module.f'))
        self.break_(self.service.jobs[jobid].__dict__['input'])
        other = self.add('test.task', StoredCall('module.f'))
        page = self.service.find(function='module.f')
        self.assertEqual([other], [job.id for job in page.jobs])
        self.assertEqual([jobid, other], self.step())
        self.assertEqual(PROCESSING, self.service.getStatus(jobid))
        self.assertEqual([], self.service.unreadable())

    def test_reason_of_an_input(self):
        """A job that is held tells what the class has raised."""
        self.task(print)
        jobid = self.add('test.task', Call('module.f'))
        input = self.service.jobs[jobid].__dict__['input']
        input.extra = Bomb(ValueError('what it needs'))
        input._p_changed = True
        transaction.commit()
        self.forget()
        self.service.processNext(NOW, jobid)
        self.assertIn('ValueError: what it needs',
                      self.service.getError(jobid))

    def test_input_that_does_anything(self):
        """It is not asked for a function: that would run code of its class.
        """
        # Of code that is read back well enough to be added.
        with unittest.mock.patch.object(
                service.value, 'copy', lambda value, *args: value):
            ids = [self.add('test.task', value) for value in (
                Bomb(SystemExit()), Odd(Unpleasant()), Call('m.f'))]
        self.forget()
        with logged('lovely.remotetask') as lines:
            self.assertEqual([], self.service.find(function='m.f').jobs)
        self.assertEqual([], lines)
        for jobid in ids:
            stored = vars(self.service.jobs[jobid])['input']
            self.assertIsNone(stored._p_changed)

    def test_result(self):
        """A result that cannot be read keeps nobody from removing the job."""
        jobid = self.add('test.task')
        self.claim()
        claim, = crew.all_claims(self.service.store)
        engine(self.service).complete(
            engine(self.service).claimed(claim), Run_(claim), ['result'], NOW)
        engine(self.service).settle(A, [jobid])
        self.break_(self.service.jobs[jobid].__dict__['output'])
        self.check(completed=1)
        self.assertEqual(COMPLETED, self.service.getStatus(jobid))
        with self.assertRaisesRegex(UnreadableResult, f'job {jobid}'):
            self.service.getResult(jobid)
        self.assertEqual(1, upkeep(self.service).prune(100, NOW + 40 * DAY))
        transaction.commit()
        self.check()

    def test_details(self):
        """The texts of a failure are missing, not the job."""
        jobid = self.add('test.task', 'fail')
        self.claim()
        self.finish()
        self.break_(self.service.jobs[jobid].details)
        job = self.service.jobs[jobid]
        for text in (job.error, job.traceback, job.history[0].error,
                     self.service.getError(jobid)):
            self.assertIn('cannot be read', text)
        self.assertTrue(self.service.requeue(jobid))
        transaction.commit()
        self.assertEqual([jobid], self.step())

    def test_one_exception(self):
        """One that a class raises each time keeps nothing of the walks."""
        ids = [self.service.add('test.task') for _ in range(3)]
        transaction.commit()
        cause = ValueError('cause')
        error = StateLoadError('the same each time')
        error.__cause__ = cause
        self.break_(self.service.jobs[ids[1]], error)
        try:
            raise KeyError('handled')
        except KeyError as handled:
            for _ in range(20):
                self.assertEqual(3, len(list(self.service.jobs.values())))
            self.assertIsNotNone(handled.__traceback__)
        self.assertIsNone(error.__traceback__)
        self.assertIsNone(cause.__traceback__)
        # It is told still.
        self.assertIs(cause, error.__cause__)
        self.assertIn('cause', self.service.getError(ids[1]))

    def test_segment(self):
        """Of a segment all places are put aside; later ones are found."""
        ids = [self.service.add('test.task') for _ in range(40)]
        transaction.commit()
        strand = self.service.store.lanes[0].strands[5]
        self.break_(strand.segments[1])
        self.assertEqual(ids, list(self.service.jobs))
        found = self.step()
        self.assertEqual([*ids[:16], *ids[32:]], found)
        self.assertEqual(ids[16:32], sorted(self.service.unreadable()))
        self.check(processing=24, held=16)
        self.service.remove(ids[20])
        transaction.commit()
        self.check(processing=24, held=15)

    def emptied(self):
        """Return a strand whose first four segments are empty."""
        for _ in range(4 * SEGMENT_SIZE + 1):
            self.service.add('test.task')
        transaction.commit()
        self.claim()
        self.finish()
        upkeep(self.service).prune(100, NOW + 100 * DAY)
        return self.service.store.lanes[0].strands[5]

    def check_adder(self, left):
        """Check that calls are stored, and which empty segments are left."""
        ids = [self.service.add('test.task') for _ in range(2 * SEGMENT_SIZE)]
        transaction.commit()
        self.broken.clear()
        self.forget()
        self.assertLessEqual({*ids}, {*self.service.jobs})
        segments = self.service.store.lanes[0].strands[5].segments
        self.assertEqual(left, [*segments.keys(max=3)])

    def test_segment_behind_an_adder(self):
        """Calls go on, and what is empty besides is dropped."""
        self.break_(self.emptied().segments[1])
        self.check_adder([1])

    def test_trouble_behind_an_adder(self):
        """Calls go on, and nothing is dropped."""
        self.break_(self.emptied().segments[2], ClientDisconnected())
        self.check_adder([0, 1, 2, 3])

    def test_segment_behind_which_nobody_adds(self):
        """What is empty besides is dropped, too."""
        strand = self.emptied()
        self.break_(strand.segments[1])
        strand = self.service.store.lanes[0].strands[5]
        self.assertTrue(strand.trim(4 * SEGMENT_SIZE, 100))
        self.assertEqual([1, 4], [*strand.segments])

    def test_trouble_half_way(self):
        """No bucket is emptied that cannot be taken out of its tree."""
        self.root.strand = strand = lane.Strand()
        for _ in range(122 * SEGMENT_SIZE):
            strand.append(None, lane.NOTHING)
        self.break_(strand.segments._firstbucket, ClientDisconnected())
        strand = self.root.strand
        # Those of the second bucket.
        strand._v_trim_from = 30
        for _ in range(10):
            with contextlib.suppress(ClientDisconnected):
                strand.trim_some(60 * SEGMENT_SIZE)
        self.broken.clear()
        strand.segments._check()

    def test_tail(self):
        """Nobody adds to a lane whose end cannot be read."""
        self.add('test.task')
        self.break_(self.service.store.lanes[0].strands[5].tail)
        ids = [self.add('test.task') for _ in range(3)]
        self.assertEqual(ids, self.step())
        self.assertEqual(['lane 0'], self.service.unreadable())
        self.assertLess(2, len(self.service.jobs))
        self.service.find()

    def test_cursor(self):
        """Nothing is claimed from a strand of which nobody knows how much was
        claimed before; all others go on, and nobody adds to it.
        """
        before = self.add('test.task')
        self.assertEqual([before], self.step())
        self.break_(self.service.store.cursors[numbering.strand_key(before)])
        adder._spare.clear()
        ids = [self.add('test.task') for _ in range(40)]
        urgent = self.add('test.task', priority=9)
        self.assertEqual({*ids, urgent}, {*self.step(), *self.step()})
        self.assertEqual(PROCESSING, self.service.getStatus(before))
        self.assertIn(
            f'cursor {numbering.strand_key(before)}',
            self.service.unreadable())
        self.service.find()
        self.service.counts()
        self.assertLess(40, len(list(self.service.jobs)))
        self.service.clean()
        transaction.commit()

    def test_added_at_a_cursor_that_is_broken(self):
        """Who has the lane already adds to it, and meets nothing."""
        first = self.add('test.task')
        self.step()
        self.break_(self.service.store.cursors[numbering.strand_key(first)])
        for _ in range(2 * SEGMENT_SIZE):
            self.add('test.task')
        later = self.add('test.task', priority=9)
        self.assertIn(later, self.step())

    def test_lane(self):
        """Nor to one that cannot be read at all."""
        self.add('test.task')
        self.break_(self.service.store.lanes[0])
        ids = [self.add('test.task') for _ in range(3)]
        self.assertEqual(ids, self.step())
        self.assertEqual(['lane 0'], self.service.unreadable())
        self.assertEqual(ids[::-1],
                         [job.id for job in self.service.find().jobs])

    def test_worker(self):
        """Jobs of a worker record that is gone wait again."""
        ids = [self.add('test.task') for _ in range(3)]
        self.claim()
        self.break_(self.service.store.workers[A])
        later = self.add('test.task')
        self.assertEqual([f'worker {A}'], self.service.unreadable())
        self.assertEqual([later], self.step(B))
        self.assertCountEqual(ids, self.step(B))
        self.assertEqual([], self.service.unreadable())
        self.check(processing=4)

    def test_own_worker(self):
        """A processor whose own record is gone goes on with a new one."""
        ids = [self.add('test.task') for _ in range(3)]
        self.claim(1)
        self.break_(self.service.store.workers[A])
        self.assertEqual(ids[1:], self.step())
        self.assertEqual(ids[:1], self.step())
        self.check(processing=3)

    def test_heartbeat(self):
        """A worker without one gets a new one, and is not taken for dead."""
        jobid = self.add('test.task')
        self.claim()
        self.break_(self.service.store.workers[A].heartbeat)

        def is_alive(worker):
            return worker.heartbeat.time > now - 60
        now = NOW
        self.assertEqual([], workers(self.service).release(is_alive, now))
        transaction.commit()
        self.assertEqual(PROCESSING, self.service.getStatus(jobid))
        now = NOW + 61
        self.assertEqual([jobid], workers(self.service).release(is_alive, now))

    def test_schedule(self):
        """Without a schedule, what waits for nothing is run."""
        self.add('test.task', delay=10)
        self.claim(now=0)
        self.break_(self.service.store.schedule)
        jobid = self.add('test.task')
        self.assertEqual([jobid], self.step())
        self.assertEqual(['tree schedule'], self.service.unreadable())
        self.assertEqual(2, len(self.service.find().jobs))

    def test_ledger(self):
        """A tree of jobs at rest does not matter to the others."""
        self.add('test.task')
        self.claim()
        self.finish()
        self.break_(self.service.store.ledger.trees(COMPLETED)[0])
        jobid = self.add('test.task')
        self.assertEqual([jobid], self.step())
        self.assertEqual(['tree completed'], self.service.unreadable())
        for status in (COMPLETED, None, QUEUED):
            self.service.find(status=status)

    def test_counts(self):
        """A number that cannot be read is missing, not the others."""
        self.add('test.task')
        self.claim()
        self.break_(self.service.store.ledger.counts[0][COMPLETED])
        self.assertEqual(1, self.service.counts()[PROCESSING])

    def test_counts_of_what_goes_on(self):
        """Jobs are claimed, run and counted, whichever number is broken."""
        for status in STATUSES:
            with self.subTest(status):
                ids = [self.add('test.task') for _ in range(2)]
                delayed = self.add('test.task', delay=1)
                self.finish_all()
                self.break_(self.service.store.ledger.counts[0][status])
                later = [self.add('test.task') for _ in range(20)]
                self.add('test.task', delay=1)
                before = self.service.counts()
                self.assertLessEqual(0, min(before.values()))
                self.assertLess(0, len(self.service.jobs))
                self.finish_all()
                for jobid in ids + later + [delayed]:
                    self.assertEqual(
                        COMPLETED, self.service.getStatus(jobid))
                counts = self.service.counts()
                self.assertEqual(
                    len(list(self.service.jobs)), counts[COMPLETED])
                self.assertEqual(sum(counts.values()), counts[COMPLETED])

    def finish_all(self):
        """Run all that waits, as a processor does."""
        late = time.time() + 9
        while self.claim(now=late):
            self.finish()

    def test_cron_job(self):
        """A cron job that cannot be read waits for nothing."""
        jobid = self.service.addCronJob('test.task', minute=(10,))
        transaction.commit()
        self.claim(now=0)
        self.break_(self.service.jobs[jobid])
        upkeep(self.service).correct_schedule(0)
        self.assertEqual([], self.step())
        self.check(held=1)


class NumberTest(StoreCase):
    """Numbers and texts of callers are stored as int, float and str."""

    def test_priority(self):
        """A member of an enum is stored as the number that it is."""
        import enum

        class Priority(enum.IntEnum):
            HIGH = 9
        jobid = self.add('test.task', priority=Priority.HIGH)
        job = self.service.jobs[jobid]
        self.assertIs(int, type(job.priority))
        for found in self.service.store.lanes.values():
            for key in found.strands:
                self.assertIs(int, type(key))
        self.assertIs(int, type(jobid))

    def test_task(self):
        """A name of a class of its own is stored as a str."""
        class Name(str):
            pass
        jobid = self.add(Name('test.task'))
        self.assertIs(str, type(self.service.jobs[jobid].task))

    def test_strands_of_others(self):
        """A strand with an odd key hides no others."""
        jobid = self.add('test.task')
        self.add('test.task', priority=3)
        for found in self.service.store.lanes.values():
            if 3 in found.strands:
                strands = dict(found.strands)
                strands[Call('x')] = strands.pop(3)
                found.strands = strands
        transaction.commit()
        self.assertEqual([jobid], self.claim())
        self.service.find()
        self.service.counts()
        self.assertLess(jobid, LAST)


class Odd:
    """Raises something when it is asked for its function."""

    def __init__(self, exception):
        self.exception = exception

    @property
    def function_name(self):
        raise self.exception


def Run_(claim):
    from lovely.remotetask.job import Run
    return Run(claim, NOW)


NO_OID = p64(2 ** 62)
