"""A service that was copied does not run the jobs of the original."""

import io
import pickle

import transaction
import zope.location.interfaces
import zope.site.folder
from zope.location.location import inside

from lovely.remotetask import TaskService
from lovely.remotetask import named
from lovely.remotetask.interfaces import COMPLETED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import PROCESSING
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.storage import crew
from lovely.remotetask.tests.fixture import engine
from lovely.remotetask.tests.fixture import logged
from lovely.remotetask.tests.fixture import workers
from lovely.remotetask.tests.test_store import NOW
from lovely.remotetask.tests.test_store import A
from lovely.remotetask.tests.test_store import B
from lovely.remotetask.tests.test_store import StoreCase


# Classes, as attributes of a pickler and its like are read-only in some
# versions of Python.

class Pickler(pickle.Pickler):
    """Leaves out what is not inside of a location."""

    def __init__(self, target, location, others):
        super().__init__(target, 2)
        self._location = location
        self._others = others

    def persistent_id(self, obj):
        if not zope.location.interfaces.ILocation.providedBy(obj) or (
                inside(obj, self._location)):
            return None
        self._others.append(obj)
        return len(self._others) - 1


class Unpickler(pickle.Unpickler):
    """Takes what was left out from a list."""

    def __init__(self, source, others):
        super().__init__(source)
        self._others = others

    def persistent_load(self, number):
        return self._others[number]


def clone(location):
    """Copy an object as zope.copy and zope.location do."""
    others, target = [], io.BytesIO()
    Pickler(target, location, others).dump(location)
    target.seek(0)
    copied = Unpickler(target, others).load()
    copied.__parent__ = copied.__name__ = None
    return copied


class CopyCase(StoreCase):

    def setUp(self):
        super().setUp()
        self.root['a'] = site = zope.site.folder.Folder()
        self.original = site['tasks'] = TaskService()
        transaction.commit()
        self.ids = [self.original.add('test.task', number)
                    for number in range(3)]
        transaction.commit()

    def exported(self):
        """Return the service of a site that was exported and imported."""
        site, target = self.root['a'], io.BytesIO()
        parent, site.__parent__ = site.__parent__, None
        transaction.savepoint()
        self.connection.exportFile(site._p_oid, target)
        site.__parent__ = parent
        transaction.commit()
        target.seek(0)
        copy = self.connection.importFile(target)
        copy.__name__ = copy.__parent__ = None
        self.root['b'] = copy
        transaction.commit()
        return copy['tasks']

    def pasted(self):
        """Return the service of a site that was copied and pasted."""
        self.root['b'] = clone(self.root['a'])
        transaction.commit()
        return self.root['b']['tasks']

    def take(self, service, worker=B, limit=10):
        transaction.begin()
        claims = engine(service).claim(worker, limit, NOW)
        transaction.commit()
        return [claim.job for claim in claims]

    def statuses(self, service):
        transaction.begin()
        return [service.getStatus(jobid) for jobid in self.ids]


class CopyTest(CopyCase):

    def each(self, check):
        for name in ('exported', 'pasted'):
            with self.subTest(name):
                check(getattr(self, name)())
                del self.root['b']
                transaction.commit()

    def test_waiting(self):
        """Waiting jobs are held in the copy, and run by the original."""
        def check(copy):
            self.assertEqual([], self.take(copy))
            self.assertEqual([HELD] * 3, self.statuses(copy))
            self.assertIn('was copied', copy.getError(self.ids[0]))
            self.assertEqual(3, copy.counts()[HELD])
            self.assertEqual(3, len(copy.find(status=HELD).jobs))
            self.assertEqual([QUEUED] * 3, self.statuses(self.original))
        self.each(check)
        self.assertEqual(self.ids, self.take(self.original))

    def test_added_to_the_copy(self):
        """What is added to the copy, before or after that, is run there."""
        def check(copy):
            first = copy.add('test.task')
            transaction.commit()
            self.assertEqual([first], self.take(copy))
            second = copy.add('test.task')
            transaction.commit()
            self.assertEqual([second], self.take(copy))
            self.assertEqual([], self.take(copy))
        self.each(check)

    def test_requeued(self):
        """So is what somebody requeues, or has changed before."""
        def check(copy):
            self.assertTrue(copy.cancel(self.ids[2]))
            self.assertTrue(copy.requeue(self.ids[2]))
            transaction.commit()
            self.assertEqual(self.ids[2:], self.take(copy))
            self.assertTrue(copy.requeue(self.ids[0]))
            transaction.commit()
            self.assertEqual(self.ids[:1], self.take(copy))
            self.assertEqual([PROCESSING, HELD, PROCESSING],
                             self.statuses(copy))
        self.each(check)

    def test_by_its_id(self):
        """Nor is one claimed by its id."""
        def check(copy):
            self.take(copy, limit=0)
            self.assertEqual([], engine(copy).claim_job(
                B, self.ids[0], NOW))
        self.each(check)

    def test_claimed(self):
        """What a worker of the original runs, the copy does not."""
        self.take(self.original, A)

        def check(copy):
            self.assertEqual([], self.take(copy))
            self.assertEqual([], self.take(copy))
            self.assertEqual([HELD] * 3, self.statuses(copy))
            workers(copy).release(lambda worker: False, NOW)
            transaction.commit()
            self.assertEqual([HELD] * 3, self.statuses(copy))
            self.assertEqual([], list(crew.all_claims(copy.store)))
        self.each(check)
        self.assertEqual([PROCESSING] * 3, self.statuses(self.original))

    def test_scheduled(self):
        """Jobs that wait for a time are held when that has come."""
        cron = self.original.addCronJob('test.task', minute=(10,))
        later = self.original.add('test.task', delay=100)
        transaction.commit()
        self.original.hasJobsWaiting(0)
        transaction.commit()

        def check(copy):
            self.assertEqual([], self.take(copy))
            self.assertEqual([HELD] * 2, [
                copy.getStatus(jobid) for jobid in (cron, later)])
            self.assertEqual(5, copy.counts()[HELD])
        self.each(check)

    def test_ended(self):
        """Jobs at rest are there, in both."""
        self.original.process(NOW)
        transaction.commit()

        def check(copy):
            self.take(copy)
            self.assertEqual([COMPLETED] * 3, self.statuses(copy))
            copy.clean()
            transaction.commit()
            self.assertEqual(0, len(copy.jobs))
            self.assertEqual(3, len(self.original.jobs))
        self.each(check)

    def test_is_told(self):
        """The log says so, once."""
        copy = self.exported()
        with logged('lovely.remotetask') as lines:
            for _ in range(3):
                self.take(copy)
                self.take(self.original)
        found = [line for line in lines if 'a copy' in line]
        self.assertEqual(1, len(found))
        self.assertIn('WARNING', found[0])
        self.assertIn('b/tasks', found[0])

    def test_a_copy_of_a_copy(self):
        """It is one more."""
        first = self.exported()
        self.take(first)
        new = first.add('test.task')
        transaction.commit()
        self.root['c'] = clone(self.root['b'])
        transaction.commit()
        second = self.root['c']['tasks']
        self.assertEqual([], self.take(second))
        self.assertEqual(HELD, second.getStatus(new))
        self.assertEqual([new], self.take(first))

    def test_written_before_a_processor_meets_it(self):
        """They are held all the same, and nothing that was added since."""
        def check(copy):
            copy.store._p_changed = True
            transaction.commit()
            new = copy.add('test.task')
            transaction.commit()
            copy.store._p_changed = True
            transaction.commit()
            self.connection.cacheMinimize()
            self.assertEqual([new], self.take(copy))
            self.assertEqual([HELD] * 3, self.statuses(copy))
        self.each(check)
        self.assertEqual(self.ids, self.take(self.original))

    def test_named_at_once(self):
        """Also where such a cron job is put into the copy when it is made."""
        wanted = named.Wanted('test.task', None, {'minute': (0,)}, ())
        self.root['b'] = clone(self.root['a'])
        transaction.savepoint()
        copy = self.root['b']['tasks']
        named.put(copy, 'hourly', wanted)
        transaction.commit()
        self.assertEqual([], self.take(copy))
        self.assertEqual([HELD] * 3, self.statuses(copy))
        self.assertEqual(self.ids, self.take(self.original))

    def test_named(self):
        """A cron job with a name is there once more, and not held."""
        wanted = named.Wanted('test.task', None, {'minute': (0,)}, ())
        named.put(self.original, 'hourly', wanted)
        transaction.commit()
        held = named.job_of(self.original, 'hourly').id

        def check(copy):
            self.assertEqual('added', named.put(copy, 'hourly', wanted))
            transaction.commit()
            self.assertEqual([], self.take(copy))
            self.assertEqual([HELD] * 3, self.statuses(copy))
            self.assertNotIn(held, copy.jobs)
            self.assertEqual(
                CRONJOB, named.job_of(copy, 'hourly').status)
            self.assertIsNone(named.put(copy, 'hourly', wanted))
        self.each(check)
        self.assertIsNone(named.put(self.original, 'hourly', wanted))

    def test_held_at_once(self):
        """Before the copy goes to another database, say."""
        self.take(self.original, A)
        self.ids += [
            self.original.addCronJob('test.task', minute=(10,)),
            self.original.add('test.task', delay=100),
            self.original.add('test.task', startLater=True)]
        transaction.commit()
        self.original.hasJobsWaiting(0)
        late = self.original.add('test.task', delay=100)
        transaction.commit()

        def check(copy):
            new = [copy.add('test.task'), copy.add('test.task', delay=100)]
            transaction.commit()
            for _ in range(2):
                engine(copy).upkeep.hold_copies(NOW)
                transaction.commit()
            self.assertEqual(
                [*[HELD] * 5, STARTLATER], self.statuses(copy))
            self.assertEqual(HELD, copy.getStatus(late))
            self.assertEqual(6, copy.counts()[HELD])
            self.assertEqual([QUEUED] * 2, [
                copy.getStatus(jobid) for jobid in new])
            self.assertEqual(new, self.take(copy))
        self.each(check)
        before = self.db.lastTransaction()
        engine(self.original).upkeep.hold_copies(NOW)
        transaction.commit()
        self.assertEqual(before, self.db.lastTransaction())

    def test_requeued_and_claimed_at_once(self):
        """By somebody who wants to run it here."""
        self.original.cancel(self.ids[0])
        transaction.commit()

        def check(copy):
            self.take(copy, limit=0)
            self.assertTrue(copy.requeue(self.ids[0]))
            claim, = engine(copy).claim_job(B, self.ids[0], NOW)
            self.assertEqual(self.ids[0], claim.job)
        self.each(check)

    def test_processed_by_the_caller(self):
        """Nor does `process` run them."""
        copy = self.exported()
        copy.process(NOW)
        transaction.commit()
        self.assertEqual([HELD] * 3, self.statuses(copy))
        self.assertEqual([], self.calls)


class OriginalTest(CopyCase):
    """What is no copy is not taken for one."""

    def test_moved(self):
        """A service that goes to another place is the same."""
        site = self.root['a']
        del self.root['a']
        self.root['z'] = site
        transaction.commit()
        self.assertEqual(self.ids, self.take(self.root['z']['tasks']))

    def test_written_again(self):
        """Nor one whose store is written once more."""
        self.original.store._p_changed = True
        transaction.commit()
        self.connection.cacheMinimize()
        self.assertEqual(self.ids, self.take(self.original))

    def test_new(self):
        """Nor one that was just made."""
        self.root['new'] = new = TaskService()
        transaction.savepoint()
        jobid = new.add('test.task')
        transaction.commit()
        self.assertEqual([jobid], self.take(new))
